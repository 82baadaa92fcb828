"""A scatter of alternatives as inline SVG, in the page's own colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from warmline_toolkit.report.charts import STYLE, Ink, new_figure, to_svg

if TYPE_CHECKING:
    from warmline_toolkit.report.document import ScatterFigure

WIDE = 8.0
"""Values that span more than this factor are drawn on a logarithmic axis."""

LOOKS: dict[str, dict[str, Any]] = {
    "beaten": {"marker": "o", "markersize": 3.5, "color": Ink.FAINT.value, "alpha": 0.6},
    "failing": {"marker": "x", "markersize": 5, "markeredgewidth": 1.2, "color": Ink.LIMIT.value},
    "frontier": {"marker": "o", "markersize": 5.5, "color": Ink.ACCENT.value},
    "chosen": {
        "marker": "o",
        "markersize": 11,
        "markeredgewidth": 2,
        "markerfacecolor": "none",
        "markeredgecolor": Ink.ACCENT.value,
    },
}


def draw(figure: ScatterFigure) -> str:
    """Return *figure* as one SVG: the recommended point ringed, the frontier joined, the failing ones crossed."""
    with mpl.rc_context(STYLE):
        drawn, axes = new_figure()
        frontier = sorted((x, y) for x, y, kind in figure.points if kind in ("frontier", "chosen"))
        axes.step(
            [x for x, _ in frontier],
            [y for _, y in frontier],
            where="post",
            color=Ink.ACCENT.value,
            linewidth=0.8,
            alpha=0.5,
        )
        for kind, look in LOOKS.items():
            chosen = [(x, y) for x, y, one in figure.points if one == kind]
            axes.plot([x for x, _ in chosen], [y for _, y in chosen], linestyle="none", **look)
        for axis, values, scale in (
            (axes.xaxis, [x for x, _, _ in figure.points], axes.set_xscale),
            (axes.yaxis, [y for _, y, _ in figure.points], axes.set_yscale),
        ):
            positive = min(values, default=1) > 0
            if positive and max(values) / min(values) > WIDE:
                scale("log")
                axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
                axis.set_minor_locator(NullLocator())
            else:
                axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.margins(0.08)
        axes.set_xlabel(f"{figure.x}   (up: {figure.y})")
        return to_svg(drawn, f"scatter-{figure.title}", figure.title, figure.alternative)
