"""Sizes, what breaks first, and what is recommended: the arithmetic, and that a recommendation does what it says."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from warmline_toolkit.plan import cost
from warmline_toolkit.plan.errors import BadData
from warmline_toolkit.plan.model import server_of
from warmline_toolkit.plan.recommend import GOALS, options, recommend
from warmline_toolkit.plan.reference import shipped, with_overrides
from warmline_toolkit.plan.simulate.run import simulate
from warmline_toolkit.plan.size import size_database, strategies
from warmline_toolkit.plan.workload import STRATEGIES, Database, Function, Platform, Proxy, Workload


def workload(*functions: Function, database: Database | None = None, platform: Platform | None = None) -> Workload:
    return Workload(
        functions=functions, databases=(database or Database(max_connections=100),), platform=platform or Platform()
    )


def sized(*functions: Function, **settings_):
    load = workload(*functions, **settings_)
    return size_database(load.databases[0], load, shipped())


def test_the_guides_question_has_its_answer_for_each_strategy():
    found = {
        one.strategy: one
        for one in strategies(environments=5, requests=25, processes=1, pool_size=1, max_connections=5)
    }
    assert {name: one.opened for name, one in found.items()} == {
        "per-request": 25,
        "keep-open": 5,
        "pool": 5,
        "proxy": 5,
    }
    assert found["per-request"].held == 0
    assert all(one.holds for one in found.values())


def test_a_pool_of_ten_in_five_environments_can_hold_fifty():
    pool = strategies(environments=5, requests=25, processes=1, pool_size=10, max_connections=5)[2]
    assert (pool.peak, pool.holds) == (50, False)


def test_processes_times_pool_times_environments_is_what_a_fleet_can_hold():
    function = Function(environments=6, strategy="pool", pool_size=4, processes=8)
    found = sized(function)
    assert found.total.worst == 6 * 8 * 4
    assert found.functions[0].arithmetic == "6 environments (as given) × 8 processes × pool of 4 = 192"


def test_the_worst_case_is_the_cap_and_the_accounts_where_there_is_none():
    capped = Function(name="a", rate_per_s=1, reserved_concurrency=30)
    free = Function(name="b", rate_per_s=1)
    found = sized(capped, free)
    assert [one.connections.worst for one in found.functions] == [30, 1000]
    assert found.total.worst == 1030


def test_kept_connections_follow_the_most_in_flight_not_the_mean():
    """Little's mean says 1.8; AWS kept 7.9 alive at this rate."""
    found = sized(Function(rate_per_s=0.90246, warm_ms=1981.3))
    assert found.functions[0].in_flight == pytest.approx(1.79, abs=0.01)
    assert found.total.typical == pytest.approx(7.87, rel=0.05)


def test_a_deploy_doubles_what_is_kept_and_not_what_is_opened_per_request():
    kept, fresh = sized(Function(rate_per_s=20)), sized(Function(rate_per_s=20, strategy="per-request"))
    assert kept.deploy == 2 * kept.total.peak
    assert fresh.deploy == fresh.total.peak


def test_what_breaks_first_is_the_likeliest_thing_that_does_not_fit():
    function = Function(rate_per_s=100, warm_ms=200, reserved_concurrency=60)
    by_limit = {
        limit: sized(function, database=Database(max_connections=limit)).first_break for limit in (20, 45, 60, 200)
    }
    assert [one and one.name for one in by_limit.values()] == ["a usual hour", "the busiest moment", "a deploy", None]


def test_a_queue_above_its_cap_waits_and_a_caller_is_turned_away():
    queue = sized(Function(concurrency=12, warm_ms=100, trigger="queue", maximum_concurrency=14))
    caller = sized(Function(concurrency=12, warm_ms=100, reserved_concurrency=14))
    assert queue.functions[0].throttled_share == 0
    assert caller.functions[0].throttled_share > 0.05
    assert queue.total.typical <= 14


def test_silent_reaps_make_a_storm_of_ghosts():
    function = Function(rate_per_s=100, warm_ms=200, reserved_concurrency=60)
    loud = sized(function, database=Database(max_connections=70))
    silent = sized(function, database=Database(max_connections=70), platform=Platform(reap="silent"))
    assert next(one for one in loud.breaks if one.name == "a reap storm").holds
    assert not next(one for one in silent.breaks if one.name == "a reap storm").holds


def test_connects_cost_the_server_its_processor():
    found = sized(
        Function(rate_per_s=500, strategy="per-request"), database=Database(engine="postgres", max_connections=500)
    )
    costs = shipped().costs["postgres"]
    assert found.connect_cores == pytest.approx(500 * costs["connect_cpu_ms"] / 1000)


def test_a_proxys_queue_is_reported_with_the_share_it_needs():
    function = Function(rate_per_s=200, warm_ms=100, query_ms=20, strategy="proxy")
    found = sized(function, database=Database(max_connections=100, proxy=Proxy(max_connections_percent=10)))
    assert found.proxy.size == 10
    assert found.proxy.load == pytest.approx(4)
    assert 0 < found.proxy.waits_share < 0.1
    assert 10 < found.proxy.percent_needed < 20


def test_every_goal_gets_one_recommendation_that_holds():
    load = workload(
        Function(rate_per_s=60, warm_ms=400, strategy="pool", pool_size=5),
        database=Database(engine="postgres", instance_class="db.t4g.small"),
    )
    found = options(load.databases[0], load, shipped())
    assert not found[0].holds
    for goal in GOALS:
        chosen = recommend(found, goal).option
        assert chosen is not None
        assert chosen.holds
    cheapest = recommend(found, "cost").option
    assert cheapest.per_month == min(one.per_month for one in found if one.holds)
    assert recommend(found, "safety").option.cannot_break


def test_the_alternatives_are_those_a_user_can_take():
    load = workload(
        Function(rate_per_s=60, warm_ms=400, strategy="pool", pool_size=5),
        database=Database(engine="postgres", instance_class="db.t4g.small"),
    )
    names = [one.name for one in options(load.databases[0], load, shipped())]
    assert {"as it is", "keep-open", "proxy"} <= set(names)
    assert any(name.startswith("larger: ") for name in names)


def test_where_nothing_holds_nothing_is_recommended():
    load = workload(Function(rate_per_s=5_000, warm_ms=1_000), database=Database(max_connections=3))
    found = options(load.databases[0], load, shipped())
    assert recommend(found, "safety").option is None


def test_a_recommended_cap_survives_a_simulated_deploy_without_a_refusal():
    load = workload(Function(rate_per_s=40, warm_ms=300), database=Database(max_connections=60))
    chosen = recommend(options(load.databases[0], load, shipped()), "safety").option
    functions = [one.function for one in chosen.size.functions]
    run = simulate(
        functions,
        server=server_of(load.databases[0], chosen.size.limit, shipped()),
        platform=Platform(deploy_at_s=3_600),
        duration_s=7_200,
        seed=2,
    )
    assert run.failed == 0
    assert run.throttled / run.count(0) < 0.001


def test_a_larger_class_costs_its_price():
    small = Database(engine="mysql", instance_class="db.t4g.medium")
    assert cost.database_per_month(small, shipped()) == pytest.approx(0.065 * 730)
    assert cost.database_per_month(Database(instance_class="db.x2g.16xlarge"), shipped()) is None


def test_a_proxy_costs_by_processor_with_awss_minimum():
    assert cost.proxy_per_month(Database(instance_class="db.r6g.4xlarge"), shipped()) == pytest.approx(16 * 0.015 * 730)
    assert cost.proxy_per_month(Database(instance_class="db.t4g.micro"), shipped()) == pytest.approx(2 * 0.015 * 730)
    serverless = Database(engine="aurora-mysql", max_acu=2)
    assert cost.proxy_per_month(serverless, shipped()) == pytest.approx(8 * 0.015 * 730)


def test_a_users_file_overrides_a_price_and_adds_a_class(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("prices: {classes: {mysql: {db.t4g.medium: 0.05, db.x9.large: 1}}}\n")
    found = with_overrides(file)
    assert cost.database_per_month(Database(instance_class="db.t4g.medium"), found) == pytest.approx(0.05 * 730)
    assert found.prices["classes"]["mysql"]["db.t4g.large"] == shipped().prices["classes"]["mysql"]["db.t4g.large"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("wages: {}", "wages"),
        ("[1]", "expected a mapping"),
        ("prices: {acu_hour: free}", "prices.acu_hour is 'free'; expected a number"),
        ("costs: {mysql: 3}", "costs.mysql is 3; expected a mapping"),
        ("a: [", "not YAML"),
    ],
)
def test_a_data_file_of_another_form_is_refused_with_its_place(tmp_path, text, expected):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(BadData) as caught:
        with_overrides(file)
    assert expected in caught.value.what


@settings(max_examples=60, deadline=None)
@given(
    st.floats(0.01, 300),
    st.floats(1, 3_000),
    st.sampled_from(STRATEGIES),
    st.integers(1, 5),
    st.none() | st.integers(1, 500),
    st.integers(5, 3_000),
)
def test_typical_peak_and_worst_are_in_order_and_more_rate_never_means_fewer(  # noqa: PLR0913, PLR0917 - given
    rate, warm_ms, strategy, pool, cap, limit
):
    function = Function(rate_per_s=rate, warm_ms=warm_ms, strategy=strategy, pool_size=pool, reserved_concurrency=cap)
    found = sized(function, database=Database(max_connections=limit))
    more = sized(dataclasses.replace(function, rate_per_s=rate * 1.5), database=Database(max_connections=limit))
    assert found.total.peak <= (found.total.worst or 10**9)
    assert more.total.typical >= found.total.typical - 1e-6
    assert more.total.peak >= found.total.peak
    assert len(found.breaks) >= 3
