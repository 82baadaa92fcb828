"""The simulation against closed forms, and the closed forms against each other. Fixed seeds; 4 sigma or more."""

from __future__ import annotations

import math

import numpy as np
import pytest
from warmline_toolkit.plan import capacity
from warmline_toolkit.plan.simulate.layout import LATENCY_BINS, LATENCY_BINS_PER_DECADE, LATENCY_FIRST_S, Count
from warmline_toolkit.plan.simulate.run import Server, simulate
from warmline_toolkit.plan.workload import Costs, Function, Platform, Proxy

PLATFORM = Platform(idle_timeout_s=600, account_concurrency=None, scale_out_burst=100_000)
FREE = Costs(connect_ms=0, connect_cpu_ms=0, query_cpu_ms=0)


def histogram_mean_s(histogram: np.ndarray) -> float:
    middles = LATENCY_FIRST_S * 10 ** ((np.arange(LATENCY_BINS) - 0.5) / LATENCY_BINS_PER_DECADE)
    middles[0] = 0
    return float(middles @ histogram) / float(histogram.sum())


def test_per_request_connections_are_refused_as_erlang_b_says():
    function = Function(rate_per_s=100, warm_ms=100, cold_ms=100, strategy="per-request")
    run = simulate([function], server=Server(limit=12, costs=FREE), platform=PLATFORM, duration_s=20_000, seed=5)
    expected = capacity.erlang_b(10, 12)
    assert run.count(Count.REFUSED) / run.count(Count.INVOKED) == pytest.approx(expected, rel=0.02)
    assert run.connections_peak == 12


def test_a_proxys_queue_waits_as_erlang_c_says():
    function = Function(rate_per_s=100, warm_ms=100, cold_ms=100, strategy="proxy")
    server = Server(limit=12, costs=FREE, proxy=Proxy(borrow_timeout_s=3600))
    run = simulate([function], server=server, platform=PLATFORM, duration_s=20_000, seed=6)
    waits = run.wait.sum(axis=0)
    assert 1 - waits[0] / waits.sum() == pytest.approx(capacity.erlang_c(10, 12), rel=0.03)
    assert histogram_mean_s(waits) == pytest.approx(capacity.mmc_mean_wait_s(100, 0.1, 12), rel=0.06)
    longer = waits[1 + int(math.log10(0.1 / LATENCY_FIRST_S) * LATENCY_BINS_PER_DECADE) :].sum() / waits.sum()
    assert longer == pytest.approx(capacity.mmc_wait_exceeds(100, 0.1, 12, 0.1), rel=0.08)


def test_the_servers_processor_waits_as_m_d_1_says():
    function = Function(rate_per_s=100, warm_ms=0.002, cold_ms=0.002, variation=0, queries=1)
    costs = Costs(connect_ms=0, connect_cpu_ms=0, query_cpu_ms=7)
    run = simulate([function], server=Server(vcpus=1, costs=costs), platform=PLATFORM, duration_s=20_000, seed=7)
    assert histogram_mean_s(run.latency.sum(axis=0)) == pytest.approx(capacity.md1_mean_wait_s(100, 0.007), rel=0.03)
    assert run.server_cpu_s == pytest.approx(run.count(Count.INVOKED) * 0.007, rel=1e-6)


def test_at_low_load_a_cold_start_is_an_idle_timeout_without_arrival():
    function = Function(rate_per_s=0.002, warm_ms=1, cold_ms=1)
    run = simulate([function], server=Server(), platform=PLATFORM, duration_s=20_000_000, seed=8)
    assert run.cold_probability == pytest.approx(capacity.low_load_cold_probability(0.002, 600), rel=0.03)
    assert run.mean_environments == pytest.approx(1 - math.exp(-0.002 * 600), rel=0.02)


@pytest.mark.parametrize(("load", "service_s"), [(0.5, 0.1), (10, 0.1), (100, 0.1), (1000, 1.0)])
def test_the_fleet_that_arrivals_keep_alive_is_the_simulations(load, service_s):
    function = Function(rate_per_s=load / service_s, warm_ms=service_s * 1000, cold_ms=service_s * 1000)
    run = simulate([function], server=Server(), platform=PLATFORM, duration_s=3_000, seed=9)
    settled = run.lines[0][60:].mean()  # the highest in each interval, after the first idle timeout
    form = capacity.keeps_alive(load / service_s, service_s, 600)
    assert form.mean_environments == pytest.approx(settled, rel=0.03)
    assert form.in_flight == pytest.approx(run.mean_running, rel=0.03)


@pytest.mark.parametrize("variation", [0, 0.5, 2])
def test_littles_law_holds_for_every_service_time(variation):
    function = Function(rate_per_s=50, warm_ms=200, cold_ms=200, variation=variation)
    run = simulate([function], server=Server(), platform=PLATFORM, duration_s=10_000, seed=10)
    assert run.mean_running == pytest.approx(10, rel=0.02)


def test_erlang_formulas_reproduce_textbook_values():
    assert capacity.erlang_b(10, 10) == pytest.approx(0.2146, abs=5e-5)
    assert capacity.erlang_c(8, 10) == pytest.approx(0.4092, abs=5e-5)
    assert capacity.md1_mean_wait_s(0.5, 1) == pytest.approx(0.5)
    assert capacity.mmc_mean_wait_s(0.5, 1, 1) == pytest.approx(1.0)


def test_an_overloaded_queue_waits_for_ever_and_everybody_waits():
    assert capacity.erlang_c(12, 10) == 1
    assert capacity.mmc_mean_wait_s(12, 1, 10) == math.inf
    assert capacity.mmc_wait_exceeds(12, 1, 10, 120) == 1
    assert capacity.md1_mean_wait_s(2, 1) == math.inf


def test_the_fewest_servers_for_a_wait_are_enough_and_one_less_is_not():
    servers = capacity.servers_for(100, 0.1, wait_s=0.01, share=0.001)
    assert capacity.mmc_wait_exceeds(100, 0.1, servers, 0.01) <= 0.001
    assert capacity.mmc_wait_exceeds(100, 0.1, servers - 1, 0.01) > 0.001


def test_nothing_arrives_and_nothing_lives():
    assert capacity.keeps_alive(0, 1, 600).mean_environments == 0
    assert capacity.highest_in_flight(0, 1, 600, share=0.95) == 0
