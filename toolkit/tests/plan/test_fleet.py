"""The fleet's rules, on arrivals that are written down one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from warmline_toolkit.plan.simulate.layout import Count
from warmline_toolkit.plan.simulate.run import Server, simulate
from warmline_toolkit.plan.workload import Arrivals, Costs, Function, Platform, Proxy

if TYPE_CHECKING:
    from warmline_toolkit.plan.simulate.result import Simulation

COSTS = Costs(connect_ms=10, connect_cpu_ms=0, query_cpu_ms=0)


def run(  # noqa: PLR0913 - a scenario's settings
    times_s: list[float],
    *,
    limit: int | None = None,
    server_timeout_s: float = 28_800,
    platform: dict[str, Any] | None = None,
    proxy: Proxy | None = None,
    duration_s: float = 1_000,
    **function: Any,
) -> Simulation:
    """One function: every invocation takes exactly a second, a cold start one more."""
    settings: dict[str, Any] = {"warm_ms": 1000, "cold_ms": 2000, "variation": 0, **function}
    arrivals = Arrivals(shape="file", times_s=tuple(times_s))
    return simulate(
        [Function(arrivals=arrivals, **settings)],
        server=Server(limit=limit, server_timeout_s=server_timeout_s, costs=COSTS, proxy=proxy),
        platform=Platform(**{"idle_timeout_s": 60, **(platform or {})}),
        duration_s=duration_s,
        seed=1,
    )


def seconds_with(found: Simulation, connections: int) -> float:
    return float(found.connection_time_s[connections]) if connections < len(found.connection_time_s) else 0.0


def test_a_second_invocation_within_the_idle_timeout_is_warm_and_one_after_it_is_cold():
    found = run([0, 50, 200])
    assert (found.count(Count.INVOKED), found.count(Count.COLD), found.count(Count.REAPED)) == (3, 2, 2)


def test_an_environment_is_reaped_one_idle_timeout_after_its_last_invocation():
    found = run([0])
    assert found.mean_lifespan_s == pytest.approx(2 + 0.010 + 60)


def test_of_two_idle_environments_the_most_recently_used_is_taken():
    """Two at once, then one every 40 s: the other idles out although both could have shared the work."""
    found = run([0, 0.5, 40, 80, 120], duration_s=130)
    assert found.count(Count.COLD) == 2
    assert found.environments_at_end == 1


def test_keep_open_connects_once_and_holds_the_connection_until_the_reap():
    found = run([0, 10, 20])
    assert found.count(Count.OPENED) == 1
    assert seconds_with(found, 1) == pytest.approx(21 + 60 - 1)  # from the end of Init to the reap


def test_per_request_connects_every_time_and_holds_nothing_between():
    found = run([0, 10, 20], strategy="per-request")
    assert found.count(Count.OPENED) == 3
    assert seconds_with(found, 1) == pytest.approx(3 * 1.010)


def test_per_request_holds_its_connection_for_the_query_alone_where_that_is_said():
    found = run([0, 10], strategy="per-request", query_ms=200)
    assert seconds_with(found, 1) == pytest.approx(2 * 0.210)


def test_a_pool_opens_its_size_in_every_environment():
    found = run([0, 0], strategy="pool", pool_size=4)
    assert (found.count(Count.OPENED), found.connections_peak) == (8, 8)


def test_every_process_of_an_environment_has_a_pool_of_its_own():
    """Managed Instances: three invocations, the third once a place in the first environment is free."""
    found = run([0, 3, 3.1, 3.2], strategy="pool", pool_size=2, processes=4)
    assert found.count(Count.COLD) == 1
    assert found.connections_peak == 2 * 3


def test_connections_above_the_limit_are_refused_and_fail_after_the_attempt():
    found = run([0, 0, 0], limit=2)
    assert (found.count(Count.OK), found.count(Count.REFUSED), found.connections_peak) == (2, 1, 2)
    assert found.count(Count.LOST) == 1


def test_a_silent_reap_leaves_a_ghost_until_the_servers_timeout():
    found = run([0], platform={"reap": "silent"}, server_timeout_s=300)
    assert found.ghosts_peak == 1
    assert seconds_with(found, 1) == pytest.approx(1.010 + 300)
    assert found.connections_at_end == 0


def test_a_ghost_takes_a_place_that_a_new_environment_is_refused():
    found = run([0, 100], limit=1, platform={"reap": "silent"}, server_timeout_s=300)
    assert found.count(Count.REFUSED) == 1
    assert run([0, 100], limit=1, platform={"reap": "fin"}, server_timeout_s=300).count(Count.REFUSED) == 0


def test_a_server_that_closes_idle_connections_sooner_costs_a_reconnect():
    found = run([0, 50], server_timeout_s=20)
    assert (found.count(Count.COLD), found.count(Count.OPENED), found.count(Count.RECONNECTED)) == (1, 2, 1)
    assert seconds_with(found, 1) == pytest.approx(1.010 + 20 + 1.010 + 20)


def test_reserved_concurrency_throttles_what_is_above_it():
    found = run([0, 0, 0], reserved_concurrency=2)
    assert (found.count(Count.THROTTLED_CAP), found.count(Count.OK), found.running_peak) == (1, 2, 2)


def test_the_scale_out_rate_throttles_what_is_faster():
    found = run([0, 0, 0.5, 1], platform={"scale_out_burst": 1, "scale_out_per_s": 1})
    assert (found.count(Count.THROTTLED_SCALE_OUT), found.count(Count.COLD)) == (2, 2)


def test_an_asynchronous_event_that_fails_comes_back_after_one_and_two_minutes():
    ghosts = {"reap": "silent", "idle_timeout_s": 5}
    found = run([0, 1], limit=1, trigger="async", platform=ghosts, server_timeout_s=100)
    assert (found.count(Count.REFUSED), found.count(Count.RETRIED), found.count(Count.OK)) == (2, 2, 2)
    assert found.count(Count.LOST) == 0


def test_an_asynchronous_event_that_is_throttled_comes_back_after_a_second():
    found = run([0, 0], trigger="async", reserved_concurrency=1)
    assert found.count(Count.OK) == 2
    assert found.count(Count.THROTTLED_CAP) == found.count(Count.RETRIED)


def test_a_queue_keeps_what_is_above_its_maximum_concurrency():
    found = run([0, 0, 0, 0], trigger="queue", maximum_concurrency=1)
    assert (found.count(Count.OK), found.throttled, found.running_peak, found.waiting_peak) == (4, 0, 1, 3)


def test_provisioned_environments_are_connected_before_the_first_invocation_and_never_reaped():
    found = run([500], provisioned_concurrency=3)
    assert (found.count(Count.COLD), found.environments_at_end, found.connections_at_end) == (0, 3, 3)
    assert seconds_with(found, 3) == pytest.approx(1_000)


def test_a_deploy_doubles_the_connections_until_the_old_environments_are_reaped():
    found = run([0, 0, 30, 30], platform={"deploy_at_s": 20})
    assert (found.count(Count.COLD), found.connections_peak) == (4, 4)
    assert found.connections_at_end == 0


def test_the_proxy_lends_its_server_connections_in_turn():
    found = run([0, 0, 0], limit=1, strategy="proxy", proxy=Proxy())
    assert (found.count(Count.OK), found.connections_peak, found.waiting_peak) == (3, 1, 2)
    assert found.latency_ms(1.0) == pytest.approx(4010, rel=0.02)


def test_a_borrow_that_waits_too_long_fails():
    found = run([0, 0, 0], limit=1, strategy="proxy", proxy=Proxy(borrow_timeout_s=1.5))
    assert (found.count(Count.OK), found.count(Count.BORROW_TIMEOUT)) == (2, 1)


def test_a_pinned_client_keeps_its_server_connection_until_it_is_reaped():
    pinned = run([0, 10], limit=1, strategy="proxy", proxy=Proxy(), pinned_share=1)
    assert pinned.count(Count.OK) == 2
    two = run([0, 0], limit=1, strategy="proxy", proxy=Proxy(borrow_timeout_s=120), pinned_share=1)
    assert two.latency_ms(1.0) == pytest.approx((1 + 1.010 + 60 + 1) * 1000, rel=0.02)


def test_the_proxy_uses_its_share_of_the_limit_alone():
    found = run([0.0] * 10, limit=10, strategy="proxy", proxy=Proxy(max_connections_percent=30))
    assert found.connections_peak == 3
