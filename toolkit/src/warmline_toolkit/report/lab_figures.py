"""The figures of a lab report, as data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmline_toolkit.measure.verdict import milliseconds
from warmline_toolkit.report.document import (
    BarFigure,
    DistributionFigure,
    DistributionPanel,
    StepFigure,
    StepPanel,
)
from warmline_toolkit.report.wording import number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from warmline_toolkit.measure.summary import RunSummary, StrategySummary

MOST_POINTS = 400
"""A line or a distribution with more points than this is thinned: the eye sees no difference, the file would."""

MOST_MARKS = 80
"""More refusals than this are not marked one by one."""

MOST_LINES = 3
"""More trials than this are not drawn."""


def connections_figure(summary: RunSummary) -> StepFigure:
    """Return the connections over time of every strategy, a line a trial."""
    limits = [strategy.limit for strategy in summary.strategies if strategy.limit is not None]
    limit = max(limits) if limits else None
    told = "; ".join(
        f"{s.strategy} opened {number(s.connections_opened.median)} and held at most "
        f"{number(s.connections_peak.median)} at once, {number(s.still_open.median)} at the end"
        for s in summary.strategies
    )
    against = f" The limit is {limit}." if limit is not None else ""
    return StepFigure(
        title="Connections open at the server, from the first request of a trial on",
        alternative=f"{told}.{against}",
        panels=tuple(_panel(strategy) for strategy in summary.strategies),
        limit=limit,
    )


def _panel(strategy: StrategySummary) -> StepPanel:
    first = strategy.trials[0]
    lines: list[tuple[tuple[float, float], ...]] = []
    for trial in strategy.trials[:MOST_LINES]:
        points = trial.open_over_time if trial.direct else trial.samples_over_time
        if points:
            lines.append(((0.0, 0), *_thin(points), (trial.ends_s - trial.works_s, points[-1][1])))
    return StepPanel(
        name=strategy.strategy,
        lines=tuple(lines),
        samples=tuple(_thin(first.samples_over_time)) if first.direct else (),
        refusals_s=tuple(first.refusals_s[:: -(-len(first.refusals_s) // MOST_MARKS) or 1]),
        refusals=len(first.refusals_s),
    )


def _thin(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Keep at most some `MOST_POINTS`: of every stretch that is merged its lowest and its highest, and the last."""
    if len(points) <= MOST_POINTS:
        return list(points)
    stretch = -(-2 * len(points) // MOST_POINTS)
    kept: list[tuple[float, float]] = []
    for start in range(0, len(points), stretch):
        part = points[start : start + stretch]
        ends = (min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1]))
        kept += sorted(set(ends))
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


def latency_figure(summary: RunSummary) -> DistributionFigure:
    """Return every strategy's handler latencies, cold and warm apart, with its quantiles."""
    told = "; ".join(
        f"{s.strategy}: p50 {milliseconds(s.latency.p50)}, p95 {milliseconds(s.latency.p95)}, "
        f"maximum {milliseconds(s.latency.max)}, n {s.latency.n}"
        for s in summary.strategies
        if s.latency
    )
    return DistributionFigure(
        title="Handler latency of every invocation",
        alternative=f"{told}.",
        panels=tuple(_distribution(strategy) for strategy in summary.strategies),
    )


def _distribution(strategy: StrategySummary) -> DistributionPanel:
    latencies = strategy.latencies()
    together = strategy.latency
    return DistributionPanel(
        name=strategy.strategy,
        cold_ms=_thin_values([ms for ms, cold in latencies if cold]),
        warm_ms=_thin_values([ms for ms, cold in latencies if not cold]),
        marks=(("p50", together.p50), ("p95", together.p95), ("p99", together.p99)) if together else (),
    )


def _thin_values(values: Sequence[float]) -> tuple[float, ...]:
    """Keep at most some `MOST_POINTS` values, evenly by rank, the extremes always."""
    ordered = sorted(values)
    if len(ordered) <= MOST_POINTS:
        return tuple(ordered)
    last = len(ordered) - 1
    return tuple(ordered[round(i * last / (MOST_POINTS - 1))] for i in range(MOST_POINTS))


def failures_figure(summary: RunSummary) -> BarFigure | None:
    """Return refusals, failed invocations and ghosts of every strategy; None where there were none."""
    series = ("refused", "failed invocations", "ghosts")
    bars = tuple((s.strategy, (s.refused.median, s.errors.median, s.ghosts.median)) for s in summary.strategies)
    if not any(s.refused.highest or s.errors.highest or s.ghosts.highest for s in summary.strategies):
        return None
    told = "; ".join(
        f"{name}: " + ", ".join(f"{number(count)} {what}" for what, count in zip(series, counts, strict=True))
        for name, counts in bars
    )
    return BarFigure(title="What went wrong, a trial", alternative=f"{told}.", series=series, bars=bars)
