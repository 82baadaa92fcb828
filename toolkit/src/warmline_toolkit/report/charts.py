"""Charts as inline SVG whose colours are CSS variables, so that one file looks right in light, dark and print.

A chart is drawn in sentinel colours, one for each `Ink`, that are then replaced by `var(--…)`; text stays text, in the
page's own font. One panel is one SVG: the page decides how many stand side by side.
"""

from __future__ import annotations

import enum
import html
import io
import math
import re
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from warmline_toolkit.report.wording import number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from warmline_toolkit.report.document import DistributionFigure, DistributionPanel, StepFigure, StepPanel

PANEL_INCHES = (4.0, 2.6)
SHORT_S = 2.0
"""Up to here a time axis is in milliseconds."""
MS_PER_S = 1000.0


class Ink(enum.Enum):
    """What is drawn, by its sentinel colour; the page gives each its colour in light and in dark."""

    TEXT = "#010101"
    FAINT = "#010102"
    GRID = "#010103"
    ACCENT = "#010104"
    LIMIT = "#010105"

    @property
    def variable(self) -> str:
        """The CSS variable that stands for it."""
        return f"var(--{self.name.lower()})"


STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "warmline",
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.edgecolor": Ink.GRID.value,
    "axes.labelcolor": Ink.FAINT.value,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": Ink.GRID.value,
    "grid.linewidth": 0.7,
    "xtick.color": Ink.GRID.value,
    "ytick.color": Ink.GRID.value,
    "xtick.labelcolor": Ink.FAINT.value,
    "ytick.labelcolor": Ink.FAINT.value,
    "ytick.major.size": 0.0,
    "xtick.major.size": 3.0,
    "path.simplify": True,
}


def step_panels(figure: StepFigure) -> list[str]:
    """Draw the connections over time, an SVG a strategy, all on one scale."""
    last_s = max((point[0] for panel in figure.panels for line in panel.lines for point in line), default=1.0)
    highest = max((point[1] for panel in figure.panels for line in panel.lines for point in line), default=0)
    highest = max(highest, figure.limit or 0, *(y for panel in figure.panels for _, y in panel.samples), 1)
    return [
        _steps(panel, limit=figure.limit, last_s=last_s, highest=highest, since=figure.since) for panel in figure.panels
    ]


def _steps(panel: StepPanel, *, limit: float | None, last_s: float, highest: float, since: str) -> str:
    scale, unit = (MS_PER_S, "ms") if last_s <= SHORT_S else (1.0, "s")
    with mpl.rc_context(STYLE):
        figure, axes = new_figure()
        for line in reversed(panel.lines[1:]):
            xs, ys = [x * scale for x, _ in line], [y for _, y in line]
            axes.step(xs, ys, where="post", color=Ink.ACCENT.value, linewidth=0.8, alpha=0.35)
        for line in panel.lines[:1]:
            xs, ys = [x * scale for x, _ in line], [y for _, y in line]
            axes.fill_between(xs, ys, step="post", color=Ink.ACCENT.value, alpha=0.12, linewidth=0)
            axes.step(xs, ys, where="post", color=Ink.ACCENT.value, linewidth=1.7)
        if panel.samples:
            axes.plot(
                [x * scale for x, _ in panel.samples],
                [y for _, y in panel.samples],
                linestyle="none",
                marker="o",
                markersize=2.2,
                color=Ink.TEXT.value,
                alpha=0.55,
            )
        if limit is not None:
            axes.axhline(limit, color=Ink.LIMIT.value, linewidth=1.1, linestyle=(0, (5, 3)))
        if panel.refusals_s:
            axes.plot(
                [x * scale for x in panel.refusals_s],
                [highest * 1.13] * len(panel.refusals_s),
                linestyle="none",
                marker="x",
                markersize=4,
                markeredgewidth=1.1,
                color=Ink.LIMIT.value,
                clip_on=False,
            )
        axes.set_ylim(0, highest * 1.2)
        axes.set_xlim(0, last_s * scale)
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        axes.xaxis.grid(visible=False)
        axes.set_xlabel(f"{unit} since {since}")
        return to_svg(figure, f"steps-{panel.name}", f"{panel.name}: connections open over time", _told(panel, limit))


def _told(panel: StepPanel, limit: float | None) -> str:
    if not panel.lines:
        return "No connection was opened."
    first = panel.lines[0]
    against = f", against a limit of {number(limit)}" if limit is not None else ""
    refused = f"; {panel.refusals} refusals are marked" if panel.refusals else ""
    return (
        f"In the first trial at most {number(max(y for _, y in first))} connections were open at once{against}, and "
        f"{number(first[-1][1])} at the end{refused}."
    )


def distribution_panels(figure: DistributionFigure) -> list[str]:
    """Draw the latency distributions, an SVG a strategy, all on one logarithmic scale."""
    values = [ms for panel in figure.panels for ms in (*panel.cold_ms, *panel.warm_ms) if ms > 0]
    low, high = (min(values), max(values)) if values else (0.1, 10.0)
    return [_distribution(panel, low=low / 1.25, high=high * 1.25) for panel in figure.panels]


def _distribution(panel: DistributionPanel, *, low: float, high: float) -> str:
    with mpl.rc_context(STYLE):
        figure, axes = new_figure()
        axes.set_xscale("log")
        axes.set_xlim(low, high)
        axes.set_ylim(0, 104)
        for values, dashed in ((panel.cold_ms, True), (panel.warm_ms, False)):
            if values:
                xs, ys = _shares(values, low, high)
                axes.step(
                    xs,
                    ys,
                    where="post",
                    color=Ink.TEXT.value if dashed else Ink.ACCENT.value,
                    linewidth=1.2 if dashed else 1.9,
                    linestyle=(0, (3, 2)) if dashed else "solid",
                )
        for _, ms in panel.marks:
            axes.plot([ms, ms], [0, 5], color=Ink.ACCENT.value, linewidth=2.2, solid_capstyle="butt")
        axes.yaxis.set_major_locator(FixedLocator([0, 25, 50, 75, 100]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} %"))
        axes.xaxis.set_major_locator(FixedLocator(_decades(low, high)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_xlabel("ms in the handler, logarithmic")
        marks = ", ".join(f"{name} {number(ms)} ms" for name, ms in panel.marks)
        told = f"{len(panel.warm_ms)} warm and {len(panel.cold_ms)} cold values. {marks}."
        return to_svg(
            figure, f"latency-{panel.name}", f"{panel.name}: share of invocations answered within a time", told
        )


def _shares(values: Sequence[float], low: float, high: float) -> tuple[list[float], list[float]]:
    """Return the share of *values*, in percent, that each does not exceed, drawn from edge to edge."""
    ordered = sorted(values)
    share = [100.0 * rank / len(ordered) for rank in range(1, len(ordered) + 1)]
    return [low, *ordered, high], [0.0, *share, 100.0]


def _decades(low: float, high: float) -> list[float]:
    """Return the ticks of a logarithmic axis: 1, 2 and 5 of every decade, or fewer where that would crowd."""
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [
            step * 10.0**decade
            for decade in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            for step in steps
            if low <= step * 10.0**decade <= high
        ]
        if len(ticks) <= 6:  # noqa: PLR2004 - what a panel has room for
            return ticks
    return ticks[:: math.ceil(len(ticks) / 6)]


def new_figure() -> tuple[Figure, Axes]:
    """Return an empty panel."""
    figure = Figure(figsize=PANEL_INCHES)
    FigureCanvasSVG(figure)
    axes = figure.add_axes((0.115, 0.2, 0.865, 0.75))
    axes.set_facecolor("none")
    return figure, axes


def to_svg(figure: Figure, name: str, title: str, description: str) -> str:
    """Return *figure* as an SVG element: CSS colours, the page's font, unique ids, a title and a description."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    for ink in Ink:
        text = text.replace(ink.value, ink.variable)
    key = re.sub(r"[^a-z0-9]+", "-", name.lower())
    text = re.sub(r'\bid="([^"]+)"', rf'id="{key}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{key}-\1)", text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{key}-\1"', text)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px var(--sans)", text)
    box = re.search(r'viewBox="([^"]+)"', text)
    assert box is not None  # noqa: S101 - the backend writes one
    opening = (
        f'<svg viewBox="{box.group(1)}" class="chart" role="img" aria-labelledby="{key}-title {key}-desc">'
        f'<title id="{key}-title">{html.escape(title)}</title><desc id="{key}-desc">{html.escape(description)}</desc>'
    )
    return opening + text[text.index(">") + 1 :]
