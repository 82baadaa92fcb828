"""Quantiles by nearest rank, and the spread of a number over trials."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def quantile(ordered: Sequence[float], q: float) -> float:
    """Return the *q* quantile (0 < q ≤ 1) of *ordered*, ascending and not empty, by nearest rank.

    The smallest value that at least a share *q* of the values do not exceed: always a value that was measured, never
    one between two. The 0.99 quantile of fewer than 100 values is their maximum.
    """
    if not ordered:
        raise ValueError("no values have no quantile")
    if not 0 < q <= 1:
        raise ValueError(f"a quantile is in (0, 1], not {q}")
    # q * n is rounded first: 0.95 * 20 is 19.000000000000004 in binary, and its ceiling must be 19
    return ordered[max(0, math.ceil(round(q * len(ordered), 9)) - 1)]


@dataclass(frozen=True, kw_only=True)
class Spread:
    """One number over the trials: its *median*, *lowest* and *highest*. Whole numbers stay integers."""

    median: float
    lowest: float
    highest: float
    per_trial: tuple[float | None, ...]
    """In the order of the trials; None where that trial could not tell."""

    @property
    def same(self) -> bool:
        """Whether every trial gave the same number."""
        return self.lowest == self.highest


def spread(values: Iterable[float | None]) -> Spread | None:
    """Return the spread of one number's *values*, a value a trial; None where no trial could tell it."""
    per_trial = tuple(values)
    known = [value for value in per_trial if value is not None]
    if not known:
        return None
    return Spread(
        median=_whole(statistics.median(known)),
        lowest=_whole(min(known)),
        highest=_whole(max(known)),
        per_trial=per_trial,
    )


def _whole(value: float) -> float:
    return int(value) if isinstance(value, float) and value.is_integer() else value


@dataclass(frozen=True, kw_only=True)
class Latency:
    """The distribution of one time in milliseconds, over all trials together (n values).

    Each quantile's *spread* is that of the trials' own quantiles.
    """

    n: int
    p50: float
    p95: float
    p99: float
    max: float
    spread: dict[str, Spread]


QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99, "max": 1.0}


def latency(trials_ms: Iterable[Iterable[float]]) -> Latency | None:
    """Return the distribution of *trials_ms*, one collection a trial; None where there is no value at all."""
    ordered = [sorted(trial) for trial in trials_ms]
    together = sorted(value for trial in ordered for value in trial)
    if not together:
        return None
    spreads = {
        name: spread([quantile(trial, q) if trial else None for trial in ordered]) for name, q in QUANTILES.items()
    }
    return Latency(
        n=len(together),
        **{name: quantile(together, q) for name, q in QUANTILES.items()},
        spread={name: value for name, value in spreads.items() if value is not None},
    )
