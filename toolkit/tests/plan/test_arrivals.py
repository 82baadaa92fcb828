"""Arrivals: the shapes have the rates they say, and records of every form are read as what they are."""

from __future__ import annotations

import json

import numpy as np
import pytest
from warmline_toolkit.plan import arrivals, series
from warmline_toolkit.plan.errors import BadSeries
from warmline_toolkit.plan.workload import Arrivals


def times(duration_s: float = 10_000, **settings) -> np.ndarray:
    return arrivals.times(Arrivals(**settings), duration_s=duration_s, rng=np.random.default_rng(1))


def test_poisson_arrivals_have_their_rate_and_exponential_gaps():
    found = times(shape="poisson", rate_per_s=10)
    gaps = np.diff(found)
    assert len(found) == pytest.approx(100_000, rel=0.02)
    assert gaps.std() / gaps.mean() == pytest.approx(1, rel=0.02)
    assert found.min() >= 0
    assert found.max() < 10_000


def test_constant_arrivals_are_evenly_spaced():
    found = times(shape="constant", rate_per_s=4, duration_s=10)
    assert np.allclose(found, np.arange(40) / 4)


def test_a_ramp_starts_at_one_rate_and_ends_at_the_other():
    found = times(shape="ramp", rate_per_s=0, to_rate_per_s=20)
    assert len(found) == pytest.approx(100_000, rel=0.02)
    assert np.count_nonzero(found < 5_000) == pytest.approx(25_000, rel=0.03)


def test_a_days_shape_has_its_top_at_15_and_its_mean_over_the_day():
    found = times(shape="daily", rate_per_s=5, peak_rate_per_s=9, duration_s=86_400)
    hours = np.histogram(found, bins=24, range=(0, 86_400))[0] / 3600
    assert hours.mean() == pytest.approx(5, rel=0.02)
    assert hours[14:16].mean() == pytest.approx(9, rel=0.04)
    assert hours[2:4].mean() == pytest.approx(1, rel=0.15)


def test_a_burst_arrives_at_once():
    assert list(times(shape="burst", requests=3)) == [0, 0, 0]


def test_counts_become_that_many_arrivals_in_their_interval():
    found = times(shape="file", counts=((0, 60, 6_000), (60, 120, 0), (120, 180, 600)), duration_s=180)
    assert np.count_nonzero(found < 60) == pytest.approx(6_000, rel=0.05)
    assert np.count_nonzero((found >= 60) & (found < 120)) == 0
    assert np.count_nonzero(found >= 120) == pytest.approx(600, rel=0.15)


def test_one_column_of_seconds_is_arrival_times():
    found = series.parse("0.5\n1.5\n7\n", file="a.csv")
    assert found.times_s == (0.5, 1.5, 7.0)


def test_two_columns_are_times_and_counts_each_until_the_next():
    found = series.parse("minute,invocations\n0,10\n60,30\n120,20\n", file="a.csv")
    assert found.counts == ((0, 60, 10), (60, 120, 30), (120, 180, 20))
    assert (found.rate_per_s, found.peak_rate_per_s) == (pytest.approx(60 / 180), 0.5)


def test_the_consoles_cloudwatch_csv_is_read_past_its_headings():
    text = (
        "FullLabel,Invocations\nLabel,Invocations\nRegion,eu-central-1\n"
        "2026/01/05 10:00:00,12\n2026/01/05 10:05:00,30\n2026/01/05 10:10:00,0\n"
    )
    assert series.parse(text, file="a.csv").counts == ((0, 300, 12), (300, 600, 30), (600, 900, 0))


def test_the_command_lines_metric_statistics_are_read_in_any_order():
    points = [{"Timestamp": f"2026-01-05T10:{minute:02}:00Z", "Sum": minute * 2.0} for minute in (10, 0, 5)]
    found = series.parse(json.dumps({"Label": "Invocations", "Datapoints": points}), file="a.json")
    assert found.counts == ((0, 300, 0), (300, 600, 10), (600, 900, 20))


def test_metric_data_is_read():
    result = {"Timestamps": ["2026-01-05T10:00:00+00:00", "2026-01-05T10:01:00+00:00"], "Values": [3, 4]}
    found = series.parse(json.dumps({"MetricDataResults": [result]}), file="a.json")
    assert found.counts == ((0, 60, 3), (60, 120, 4))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "line 1: there is no row that starts with a time"),
        ("a\nb\n", "line 1: there is no row that starts with a time"),
        ("0\n5\n3\n", "line 3: '3' is before the row above"),
        ("0\nx\n", "line 2: 'x' is not a time"),
        ("0,5\n60,many\n", "line 2: 'many' is not a count"),
        ("0,5\n60,-1\n", "line 2: '-1' is not a count"),
        ("0,5\n", "line 1: one row of counts has no period"),
        ("0,5\n0,6\n", "line 1: two rows have the same time"),
        ("{", "not JSON"),
        ("{}", "0 of 0 data points"),
        ('{"Datapoints": [{"Timestamp": "2026-01-05", "Average": 1}]}', "0 of 1 data points"),
    ],
)
def test_a_record_of_another_form_is_refused_with_its_line(text, expected):
    with pytest.raises(BadSeries) as caught:
        series.parse(text, file="a.csv")
    assert expected in caught.value.what
