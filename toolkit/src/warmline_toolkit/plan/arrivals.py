"""When invocations arrive: one sorted array of times, from a shape or from a recorded series."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from warmline_toolkit.plan.workload import Arrivals

DAY_S = 86_400.0
BUSIEST_HOUR_S = 15 * 3_600.0
STEPS = 4_096
"""Pieces a changing rate is cut into; the rate within one is constant."""


def expected_count(arrivals: Arrivals, *, duration_s: float) -> float:
    """Return how many arrivals the shape means in *duration_s*."""
    if arrivals.shape == "burst":
        return float(arrivals.requests)
    if arrivals.times_s is not None:
        return float(sum(1 for time_s in arrivals.times_s if time_s < duration_s))
    return float(cumulative(arrivals, duration_s=duration_s)[1][-1])


def rate_at(arrivals: Arrivals, at_s: NDArray[np.float64], *, duration_s: float) -> NDArray[np.float64]:
    """Return the rate at each moment: constant, a ramp, or a day's wave with its top at 15:00."""
    mean = arrivals.rate_per_s
    if arrivals.shape == "ramp":
        end = arrivals.to_rate_per_s if arrivals.to_rate_per_s is not None else mean
        return mean + (end - mean) * at_s / duration_s
    if arrivals.shape == "daily":
        peak = arrivals.peak_rate_per_s if arrivals.peak_rate_per_s is not None else 2 * mean
        swing = min(max(peak - mean, 0.0), mean)
        wave = np.cos(2 * math.pi * (at_s - BUSIEST_HOUR_S) / DAY_S)
        return np.maximum(mean + swing * wave, 0.0)
    return np.full_like(at_s, mean)


def cumulative(arrivals: Arrivals, *, duration_s: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return times and the expected number of arrivals until each, piecewise linear."""
    if arrivals.counts is not None:
        starts, ends, amounts = (np.array(column, dtype=np.float64) for column in zip(*arrivals.counts, strict=True))
        times, totals = [0.0], [0.0]
        for start, end, amount in zip(starts, ends, amounts, strict=True):
            if start >= duration_s:
                break
            if start > times[-1]:
                times.append(float(start))
                totals.append(totals[-1])
            kept = min(float(end), duration_s)
            times.append(kept)
            totals.append(totals[-1] + float(amount) * (kept - float(start)) / float(end - start))
        return np.array(times), np.array(totals)
    steps = STEPS if arrivals.shape in ("ramp", "daily") else 1
    edges = np.linspace(0.0, duration_s, steps + 1)
    middles = (edges[1:] + edges[:-1]) / 2
    pieces = rate_at(arrivals, middles, duration_s=duration_s) * np.diff(edges)
    return edges, np.concatenate(([0.0], np.cumsum(pieces)))


def times(arrivals: Arrivals, *, duration_s: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the arrival times in [0, duration_s), sorted. Costs about 30 ns and 24 bytes an arrival.

    A random shape is a Poisson process with the shape's rate: unit-rate arrivals, mapped through the cumulative rate.
    """
    if arrivals.shape == "burst":
        return np.zeros(arrivals.requests)
    if arrivals.times_s is not None:
        recorded = np.array(arrivals.times_s, dtype=np.float64)
        return recorded[recorded < duration_s]
    edges, totals = cumulative(arrivals, duration_s=duration_s)
    expected = float(totals[-1])
    if expected <= 0:
        return np.empty(0)
    if arrivals.shape == "constant":
        points = np.arange(math.floor(expected + 0.5), dtype=np.float64)
        points = points[points < expected]
    else:
        points = _unit_poisson(expected, rng)
    if edges.shape[0] == 2:  # noqa: PLR2004 - one piece: a plain scale, in place
        points *= (edges[1] - edges[0]) / expected
        return points
    return np.interp(points, totals, edges)


def _unit_poisson(until: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a unit-rate Poisson process on [0, until)."""
    pieces: list[NDArray[np.float64]] = []
    reached = 0.0
    while reached < until:
        missing = until - reached
        steps = rng.standard_exponential(math.ceil(missing + 6 * math.sqrt(missing) + 16))
        np.cumsum(steps, out=steps)
        steps += reached
        reached = float(steps[-1])
        pieces.append(steps)
    points = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
    return points[: int(np.searchsorted(points, until))]
