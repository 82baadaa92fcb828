"""The report as one HTML file: opens offline, needs no script, no font and no network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jinja2
from markupsafe import Markup

from warmline_toolkit.report import charts, scatter
from warmline_toolkit.report.document import (
    BarFigure,
    DistributionFigure,
    Notes,
    Paragraph,
    ScatterFigure,
    StepFigure,
    Table,
    Tone,
)
from warmline_toolkit.report.wording import number

if TYPE_CHECKING:
    from warmline_toolkit.report.document import Block, Document

ACCENTS = 6
"""How many strategies get a colour of their own before colours repeat; names tell them apart in any case."""

SIGNS = {Tone.GOOD: "✓", Tone.FAIR: "~", Tone.POOR: "!", Tone.NEUTRAL: ""}


def render(document: Document) -> str:
    """Return *document* as one self-contained HTML page. Takes about two seconds, mostly for the charts."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("warmline_toolkit.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    loader = environment.loader
    assert loader is not None  # noqa: S101 - set two lines above
    style = loader.get_source(environment, "report.css")[0]
    accents = {name: index % ACCENTS + 1 for index, name in enumerate(document.accents)}
    return environment.get_template("report.html.j2").render(
        document=document,
        style=Markup(style),  # noqa: S704 - our own file
        accents=accents,
        kind=_kind,
        panels=_panels,
        signs=SIGNS,
        widest=_widest,
    )


def _kind(block: Block) -> str:  # noqa: PLR0911 - one line a kind of block
    match block:
        case Table():
            return "numbers" if block.numeric else "words"
        case StepFigure():
            return "steps"
        case DistributionFigure():
            return "distribution"
        case BarFigure():
            return "bars"
        case ScatterFigure():
            return "scatter"
        case Notes():
            return "notes"
        case Paragraph():
            return "paragraph"


def _panels(block: StepFigure | DistributionFigure | ScatterFigure) -> list[tuple[str, Markup]]:
    match block:
        case StepFigure():
            drawn = [(panel.name, svg) for panel, svg in zip(block.panels, charts.step_panels(block), strict=True)]
        case DistributionFigure():
            drawn = [
                (panel.name, svg) for panel, svg in zip(block.panels, charts.distribution_panels(block), strict=True)
            ]
        case ScatterFigure():
            drawn = [(block.title, scatter.draw(block))]
    return [(name, Markup(svg)) for name, svg in drawn]  # noqa: S704 - charts escapes


def _widest(figure: BarFigure) -> float:
    """Return the count that fills a bar's whole width."""
    return max(1.0, *(count for _, counts in figure.bars for count in counts))
