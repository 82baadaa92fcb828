"""What holds for every fleet: nothing is lost from the count, limits hold, more room never makes it worse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from warmline_toolkit.plan.simulate.layout import Count
from warmline_toolkit.plan.simulate.run import Server, simulate
from warmline_toolkit.plan.workload import Arrivals, Costs, Function, Platform, Proxy

if TYPE_CHECKING:
    from warmline_toolkit.plan.simulate.result import Simulation

COSTS = Costs(connect_ms=3, connect_cpu_ms=1, query_cpu_ms=0.5)
DURATION_S = 300.0

functions = st.fixed_dictionaries(
    {
        "rate_per_s": st.floats(0.1, 20),
        "warm_ms": st.floats(1, 3_000),
        "variation": st.sampled_from([0.0, 0.5, 1.0, 2.0]),
        "strategy": st.sampled_from(["per-request", "keep-open", "pool", "proxy"]),
        "trigger": st.sampled_from(["sync", "async", "queue"]),
        "pool_size": st.integers(1, 4),
        "processes": st.integers(1, 3),
        "reserved_concurrency": st.none() | st.integers(1, 20),
        "provisioned_concurrency": st.integers(0, 3),
        "query_ms": st.none() | st.floats(1, 500),
        "pinned_share": st.sampled_from([0.0, 0.3, 1.0]),
    }
)
platforms = st.fixed_dictionaries(
    {
        "idle_timeout_s": st.floats(1, 120),
        "reap": st.sampled_from(["fin", "silent"]),
        "reuse": st.sampled_from(["newest", "oldest"]),
        "deploy_at_s": st.none() | st.floats(0, 250),
        "scale_out_per_s": st.floats(0, 10),
        "scale_out_burst": st.integers(1, 20),
        "account_concurrency": st.none() | st.integers(1, 60),
    }
)


def fleet(several: list[dict[str, Any]], platform: dict[str, Any], limit: int | None, timeout_s: float) -> Simulation:
    return simulate(
        [Function(name=f"f{index}", **one) for index, one in enumerate(several)],
        server=Server(limit=limit, server_timeout_s=timeout_s, vcpus=2, costs=COSTS, proxy=Proxy(borrow_timeout_s=2)),
        platform=Platform(**platform),
        duration_s=DURATION_S,
        seed=4,
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(functions, min_size=1, max_size=3), platforms, st.none() | st.integers(1, 40), st.floats(1, 200))
def test_every_arrival_and_every_second_is_accounted_for(several, platform, limit, timeout_s):
    found = fleet(several, platform, limit, timeout_s)
    for index, one in enumerate(several):
        invoked, ok = found.count(Count.INVOKED, index), found.count(Count.OK, index)
        failed = found.count(Count.REFUSED, index) + found.count(Count.BORROW_TIMEOUT, index)
        throttled = found.count(Count.THROTTLED_CAP, index) + found.count(Count.THROTTLED_SCALE_OUT, index)
        assert ok + failed <= invoked
        arrived, lost, retried = (found.count(c, index) for c in (Count.ARRIVED, Count.LOST, Count.RETRIED))
        assert lost + retried == failed + throttled
        assert ok + lost <= arrived
        if one["trigger"] == "sync":
            assert retried == 0
    ended = found.count(Count.OK) + found.failed
    assert found.count(Count.INVOKED) == ended + found.in_flight
    created = found.count(Count.COLD) + sum(one["provisioned_concurrency"] for one in several) * (
        2 if platform["deploy_at_s"] is not None else 1
    )
    assert created == found.environments_at_end + found.count(Count.REAPED)
    assert abs(found.environment_time_s.sum() - DURATION_S) < 1e-6
    assert abs(found.connection_time_s.sum() - DURATION_S) < 1e-6
    assert 0 <= found.connections_at_end <= found.count(Count.OPENED)
    assert found.mean_running <= found.mean_environments * max(one["processes"] for one in several) + 1e-9
    if limit is not None:
        assert found.connections_peak <= limit
    if platform["account_concurrency"] is not None:
        assert found.running_peak <= platform["account_concurrency"]


@settings(max_examples=25, deadline=None)
@given(st.lists(functions, min_size=1, max_size=2), platforms, st.integers(1, 40))
def test_the_same_seed_gives_the_same_fleet(several, platform, limit):
    one, two = fleet(several, platform, limit, 60), fleet(several, platform, limit, 60)
    assert np.array_equal(one.counts, two.counts)
    assert np.array_equal(one.latency, two.latency)
    assert np.array_equal(one.lines, two.lines)


arrival_times = st.lists(st.floats(0, 500), min_size=1, max_size=80).map(sorted)


def on(times_s: list[float], *, idle_timeout_s: float = 60, limit: int | None = None, **function: Any) -> Simulation:
    """Fixed service, no Init: the path depends on the arrivals alone."""
    given_function: dict[str, Any] = {"warm_ms": 2_000, "cold_ms": 2_000, "variation": 0, **function}
    return simulate(
        [Function(arrivals=Arrivals(shape="file", times_s=tuple(times_s)), **given_function)],
        server=Server(limit=limit),
        platform=Platform(idle_timeout_s=idle_timeout_s),
        duration_s=1_000,
        seed=1,
    )


@settings(max_examples=80, deadline=None)
@given(arrival_times, st.floats(1, 100), st.floats(1, 100))
def test_a_longer_idle_timeout_never_means_fewer_environments_or_more_cold_starts(times_s, one_s, other_s):
    short, long = (on(times_s, idle_timeout_s=timeout_s) for timeout_s in sorted((one_s, other_s)))
    assert long.mean_environments >= short.mean_environments - 1e-9
    assert long.count(Count.COLD) <= short.count(Count.COLD)


@settings(max_examples=80, deadline=None)
@given(arrival_times, st.integers(1, 8))
def test_a_higher_limit_never_refuses_more(times_s, limit):
    lower, higher = (on(times_s, limit=most, strategy="per-request") for most in (limit, limit + 1))
    assert higher.count(Count.REFUSED) <= lower.count(Count.REFUSED)


@settings(max_examples=80, deadline=None)
@given(arrival_times, st.integers(1, 8))
def test_more_proxy_connections_never_make_the_longest_wait_longer(times_s, limit):
    lower, higher = (on(times_s, limit=most, strategy="proxy") for most in (limit, limit + 1))
    assert higher.waiting_peak <= lower.waiting_peak
    assert (higher.wait_ms(1.0) or 0) <= (lower.wait_ms(1.0) or 0)


@settings(max_examples=80, deadline=None)
@given(arrival_times, st.floats(5, 100))
def test_alive_is_the_most_in_flight_within_the_idle_timeout(times_s, idle_timeout_s):
    """The identity behind the closed form, computed independently: extend each level's busy time by the timeout."""
    found = on(times_s, idle_timeout_s=idle_timeout_s)
    starts = np.array(times_s)
    changes = np.concatenate(
        [np.stack([starts, np.ones_like(starts)]), np.stack([starts + 2, -np.ones_like(starts)])], axis=1
    )
    order = np.lexsort((changes[1], changes[0]))  # an end before a start of the same moment
    at_s, level = changes[0][order], np.cumsum(changes[1][order])
    expected = 0.0
    for height in range(1, int(level.max()) + 1):
        last_s = -np.inf
        for begin_s, end_s, here in zip(at_s, np.append(at_s[1:], np.inf), level, strict=True):
            if here >= height:
                expected += end_s + idle_timeout_s - max(begin_s, last_s)
                last_s = end_s + idle_timeout_s
    assert abs(found.environment_time_s @ np.arange(len(found.environment_time_s)) - expected) < 1e-6 * max(1, expected)
