from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from warmline_toolkit.measure.quantiles import latency, quantile, spread

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure
VALUES = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=200)


@UNHURRIED
@given(VALUES, st.floats(0.001, 1.0))
def test_a_quantile_is_the_smallest_value_that_enough_values_do_not_exceed(values: list[float], q: float) -> None:
    ordered = sorted(values)
    found = quantile(ordered, q)
    assert found in values
    assert sum(value <= found for value in values) >= q * len(values) - 1e-6
    assert sum(value < found for value in values) < q * len(values) + 1e-6


@pytest.mark.parametrize(
    ("n", "q", "rank"), [(25, 0.95, 24), (20, 0.95, 19), (100, 0.99, 99), (75, 0.99, 75), (1, 0.5, 1), (4, 0.5, 2)]
)
def test_the_rank_is_the_nearest_one(n: int, q: float, rank: int) -> None:
    assert quantile(range(1, n + 1), q) == rank


@pytest.mark.parametrize("q", [0.0, -0.1, 1.1])
def test_a_quantile_outside_its_range_is_refused(q: float) -> None:
    with pytest.raises(ValueError, match="quantile"):
        quantile([1.0], q)


def test_no_values_have_no_quantile() -> None:
    with pytest.raises(ValueError, match="no values"):
        quantile([], 0.5)


def test_a_spread_is_the_median_and_the_ends_and_whole_numbers_stay_integers() -> None:
    value = spread([25, 25, 26])
    assert value is not None
    assert (value.median, value.lowest, value.highest) == (25, 25, 26)
    assert isinstance(spread([2, 4]).median, int)  # type: ignore[union-attr]
    assert spread([2, 3]).median == 2.5  # type: ignore[union-attr]


def test_a_trial_that_cannot_tell_is_left_out_of_the_spread_but_keeps_its_place() -> None:
    value = spread([None, 3, 5])
    assert value is not None
    assert value.median == 4
    assert value.per_trial == (None, 3, 5)
    assert spread([None, None]) is None


@UNHURRIED
@given(st.lists(VALUES, min_size=1, max_size=5))
def test_a_quantile_over_all_trials_lies_within_the_trials_own(trials: list[list[float]]) -> None:
    together = latency(trials)
    assert together is not None
    assert together.n == sum(len(trial) for trial in trials)
    for name in ("p50", "p95", "p99", "max"):
        of_trials = together.spread[name]
        assert of_trials.lowest <= getattr(together, name) <= of_trials.highest


def test_no_latencies_have_no_distribution() -> None:
    assert latency([[], []]) is None
