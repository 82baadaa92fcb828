"""The model against ten measured rows of AWS Lambda, and against SimFaaS's published example."""

from __future__ import annotations

import csv
import importlib.resources
import statistics

import numpy as np
import pytest
from warmline_toolkit.plan.capacity import keeps_alive
from warmline_toolkit.plan.simulate.run import Server, simulate
from warmline_toolkit.plan.workload import Function, Platform

PLATFORM = Platform(idle_timeout_s=600, account_concurrency=None)
COLD_STARTS_WANTED = 3_000
POOLED_WARM_MS, POOLED_COLD_MS = 1981.3, 2303.7
"""Mean service times over the ten rows: each row's own are noise of a few hundred samples."""


def measured_rows() -> list[dict[str, float]]:
    text = (importlib.resources.files("warmline_toolkit.plan") / "data" / "aws-lambda-fleet.csv").read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(lines)]


@pytest.fixture(scope="module")
def simulated() -> list[tuple[dict[str, float], float, float]]:
    """Each row with the model's mean environments and cold probability, long enough for 3,000 cold starts."""
    found = []
    for row in measured_rows():
        duration_s = COLD_STARTS_WANTED / (row["rate_per_s"] * row["cold_probability"])
        function = Function(rate_per_s=row["rate_per_s"], warm_ms=POOLED_WARM_MS, cold_ms=POOLED_COLD_MS)
        run = simulate([function], server=Server(), platform=PLATFORM, duration_s=duration_s, seed=11)
        found.append((row, run.mean_environments, run.cold_probability))
    return found


def test_mean_environments_are_within_4_percent_of_aws_on_average_and_9_in_the_worst_row(simulated):
    errors = [abs(found / row["mean_environments"] - 1) for row, found, _ in simulated]
    assert statistics.mean(errors) <= 0.04
    assert max(errors) <= 0.09


def test_cold_probability_is_within_18_percent_of_aws_on_average_and_4_standard_errors_in_each_row(simulated):
    errors = [abs(found / row["cold_probability"] - 1) for row, _, found in simulated]
    assert statistics.mean(errors) <= 0.18
    for row, _, found in simulated:
        own = found / np.sqrt(COLD_STARTS_WANTED)
        assert abs(found - row["cold_probability"]) <= 4 * np.hypot(row["cold_probability_se"], own), row


def test_the_closed_form_says_what_the_simulation_says_and_so_what_aws_measured(simulated):
    for row, environments, cold in simulated:
        form = keeps_alive(row["rate_per_s"], POOLED_WARM_MS / 1000, PLATFORM.idle_timeout_s)
        assert form.mean_environments == pytest.approx(environments, rel=0.04)
        assert form.cold_probability == pytest.approx(cold, rel=0.12)


def test_reusing_the_oldest_environment_is_not_what_aws_did():
    """Round robin keeps far more environments alive than AWS had: most recently used first is what fits."""
    row = measured_rows()[-1]
    function = Function(rate_per_s=row["rate_per_s"], warm_ms=POOLED_WARM_MS, cold_ms=POOLED_COLD_MS)
    oldest = Platform(idle_timeout_s=600, account_concurrency=None, reuse="oldest")
    run = simulate([function], server=Server(), platform=oldest, duration_s=500_000, seed=3)
    assert run.mean_environments > 1.25 * row["mean_environments"]


def test_simfaas_published_example_is_reproduced():
    """SimFaaS, λ 0.9, warm 1.991 s, cold 2.244 s, 600 s: 7.66 and 7.69 servers, .0014 and .0013 cold, 1.79 running."""
    function = Function(rate_per_s=0.9, warm_ms=1991, cold_ms=2244)
    run = simulate([function], server=Server(), platform=PLATFORM, duration_s=1_000_000, seed=1)
    assert run.mean_environments == pytest.approx(7.676, rel=0.015)
    assert run.cold_probability == pytest.approx(0.00133, rel=0.08)
    assert run.mean_running == pytest.approx(1.7925, rel=0.01)
    assert run.mean_lifespan_s == pytest.approx(6_430, rel=0.06)
    shares = run.environment_time_s / run.duration_s
    for servers, share in {6: 0.052, 7: 0.404, 8: 0.388, 9: 0.120, 10: 0.031}.items():
        assert shares[servers] == pytest.approx(share, abs=0.03), servers
