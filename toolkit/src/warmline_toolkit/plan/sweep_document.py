"""A sweep as a neutral document: the frontier of cost, latency and refusals, with the recommended point."""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmline_toolkit.plan.sweep import choose, frontier
from warmline_toolkit.plan.wording import money, percent, shorten
from warmline_toolkit.report.document import Cell, Document, Highlight, ScatterFigure, Section, Table, Tone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from warmline_toolkit.plan.recommend import Goal
    from warmline_toolkit.plan.sweep import Point
    from warmline_toolkit.report.document import PointKind

SCHEMA = 1
MOST_ROWS = 15


def sweep_document(  # noqa: PLR0913 - what the page says, each under its own name
    points: Sequence[Point], *, source: str, goal: Goal, tolerated_share: float, duration_s: float, seed: int
) -> Document:
    """Say which settings nothing beats, and which one to take for *goal*."""
    best = frontier(points)
    chosen = choose(points, goal, tolerated_share=tolerated_share)
    point = points[chosen]
    shown = sorted({*best, chosen}, key=lambda index: points[index].usd_per_month)
    kept = (
        shown if len(shown) <= MOST_ROWS else sorted({*shown[:: -(-len(shown) // MOST_ROWS)], chosen}, key=shown.index)
    )
    lead = [
        (
            f"For {goal}: {words(point)}: {money(point.usd_per_month)} a month, p99 {shorten(point.p99_ms)} ms, "
            f"{percent(point.failed_share)} of the attempts turned away, at most {point.connections_peak:,} "
            "connections."
        ),
        f"{len(points):,} settings simulated; nothing beats {len(best):,} of them.",
    ]
    warnings = []
    if point.failed_share > tolerated_share:
        warnings.append(
            f"Every setting turns more than {percent(tolerated_share)} away; this one the least. Vary something else."
        )
    rows = tuple(
        (
            Cell(f"{index + 1}"),
            Cell(words(points[index]), tone=Tone.GOOD if index == chosen else Tone.NEUTRAL),
            Cell(money(points[index].usd_per_month)),
            Cell(f"{shorten(points[index].p99_ms)} ms"),
            Cell(
                percent(points[index].failed_share),
                tone=Tone.GOOD if points[index].failed_share <= tolerated_share else Tone.POOR,
            ),
            Cell(f"{points[index].connections_peak:,}"),
        )
        for index in kept
    )
    kinds: list[PointKind] = [
        "chosen"
        if index == chosen
        else "failing"
        if one.failed_share > tolerated_share
        else "frontier"
        if index in best
        else "beaten"
        for index, one in enumerate(points)
    ]
    figure = ScatterFigure(
        title="Cost against latency",
        alternative=lead[0],
        x="$ a month",
        y="p99, ms",
        points=tuple((one.usd_per_month, one.p99_ms, kind) for one, kind in zip(points, kinds, strict=True)),
    )
    return Document(
        title="The frontier of cost, latency and refusals",
        subtitle=f"{len(points):,} settings, {shorten(duration_s)} s each, from {source}",
        lead=tuple(lead),
        label="sweep",
        highlights=(Highlight(name=f"for {goal}", number=money(point.usd_per_month), what=f"a month: {words(point)}"),),
        accents=(figure.title,),
        warnings=tuple(warnings),
        provenance=(("seed", str(seed)), ("tolerated", percent(tolerated_share))),
        sections=(
            Section(
                title="What nothing beats",
                blocks=(
                    Table(
                        columns=("", "settings", "a month", "p99", "turned away", "peak"),
                        rows=rows,
                        plain=True,
                        caption="Marked: recommended. Prices: functions with their waits, database and proxy.",
                    ),
                    figure,
                ),
            ),
        ),
        data={
            "schema": SCHEMA,
            "kind": "plan-sweep",
            "source": source,
            "duration_s": duration_s,
            "seed": seed,
            "goal": goal,
            "tolerated_share": tolerated_share,
            "recommended": chosen,
            "frontier": list(best),
            "points": [
                {
                    "settings": dict(one.values),
                    "usd_per_month": round(one.usd_per_month, 2),
                    "p99_ms": one.p99_ms,
                    "mean_ms": one.mean_ms,
                    "lost_share": one.lost_share,
                    "failed_share": one.failed_share,
                    "connections_peak": one.connections_peak,
                    "mean_environments": one.mean_environments,
                    "cold_probability": one.cold_probability,
                }
                for one in points
            ],
        },
    )


def words(point: Point) -> str:
    """Write a point's settings in a line."""
    return ", ".join(
        f"{label.replace('_', ' ')} {value:g}"
        if isinstance(value, (int, float))
        else f"{label.replace('_', ' ')} {value or 'none'}"
        for label, value in point.values
    )
