"""A report as neutral data: what it says, before any renderer decides how it looks."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias


class Tone(enum.Enum):
    """What a cell's content means for the reader; every renderer shows it by more than colour."""

    NEUTRAL = "neutral"
    GOOD = "good"
    FAIR = "fair"
    POOR = "poor"


@dataclass(frozen=True)
class Cell:
    """One cell: its *text*, an optional second line of *detail*, and its *tone*."""

    text: str
    detail: str = ""
    tone: Tone = Tone.NEUTRAL


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table. *numeric* is whether the columns after the first hold numbers, to be aligned right."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    numeric: bool = False
    plain: bool = False
    """Cells of words are running text, not verdicts: only a toned one stands out."""


@dataclass(frozen=True, kw_only=True)
class Paragraph:
    """Running text."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Notes:
    """A list of short texts: (what, text); *what* may be empty."""

    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class StepPanel:
    """One strategy's connections over time: a step line a trial, the first in front."""

    name: str
    lines: tuple[tuple[tuple[float, float], ...], ...]
    """(seconds since the trial's work began, connections from then on), a line a trial."""
    samples: tuple[tuple[float, float], ...] = ()
    """The server's own samples of the first trial."""
    refusals_s: tuple[float, ...] = ()
    """When the server refused a connection, in the first trial; thinned where there were many."""
    refusals: int = 0
    """How many it refused in the first trial."""


@dataclass(frozen=True, kw_only=True)
class StepFigure:
    """Connections over time against the limit: small multiples on one scale."""

    title: str
    alternative: str
    """The figure in words, for those who do not see it."""
    panels: tuple[StepPanel, ...]
    limit: float | None
    since: str = "the first request was begun"
    """What the time axis counts from."""
    key: str = "connections, first trial"
    """What the line in front is."""


@dataclass(frozen=True, kw_only=True)
class DistributionPanel:
    """One strategy's latencies in milliseconds, cold and warm apart."""

    name: str
    cold_ms: tuple[float, ...]
    warm_ms: tuple[float, ...]
    marks: tuple[tuple[str, float], ...] = ()
    """Quantiles to mark: (name, milliseconds)."""


@dataclass(frozen=True, kw_only=True)
class DistributionFigure:
    """Latency distributions: every value visible, quantiles marked."""

    title: str
    alternative: str
    panels: tuple[DistributionPanel, ...]


@dataclass(frozen=True, kw_only=True)
class BarFigure:
    """Counts per strategy: (strategy, (count of each series, …)), with the names of the *series*."""

    title: str
    alternative: str
    series: tuple[str, ...]
    bars: tuple[tuple[str, tuple[float, ...]], ...]
    about: str = "Strategy"
    """What a bar's name is."""


PointKind: TypeAlias = Literal["chosen", "frontier", "beaten", "failing"]
"""The recommended one; one that nothing beats; one that another beats in everything; one that fails too often."""


@dataclass(frozen=True, kw_only=True)
class ScatterFigure:
    """Alternatives by two of their values: (x, y, what it is). Both axes are logarithmic where the values span much."""

    title: str
    alternative: str
    x: str
    y: str
    points: tuple[tuple[float, float, PointKind], ...]


Block: TypeAlias = Table | Paragraph | Notes | StepFigure | DistributionFigure | BarFigure | ScatterFigure


@dataclass(frozen=True, kw_only=True)
class Section:
    """A titled part. *detail* sections are for those who want to know more: a terminal leaves them out."""

    title: str
    blocks: tuple[Block, ...]
    detail: bool = False


@dataclass(frozen=True, kw_only=True)
class Highlight:
    """One number that the reader came for: *name* is whose, *formula* what gives it, *trouble* what else went wrong."""

    name: str
    number: str
    what: str
    formula: str = ""
    trouble: str = ""


@dataclass(frozen=True, kw_only=True)
class Document:
    """One report: the *lead* answers first, warnings next, then the sections; *provenance* heads every output."""

    title: str
    subtitle: str
    lead: tuple[str, ...]
    """The answer, a sentence each."""
    expectation: str = ""
    """What was expected before the run, to read the answer against."""
    provenance: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    highlights: tuple[Highlight, ...] = ()
    warnings: tuple[str, ...] = ()
    accents: tuple[str, ...] = ()
    """The names that get a colour of their own, in their order: the strategies."""
    label: str = "lab report"
    """What kind of document it is, in a word or two."""
    data: dict[str, Any] = field(default_factory=dict)
    """The same report for programs: what the JSON output holds."""
