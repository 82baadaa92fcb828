"""The report as Markdown: for a pull request, an issue or a wiki."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from warmline_toolkit.report.document import (
    BarFigure,
    Cell,
    DistributionFigure,
    Notes,
    Paragraph,
    ScatterFigure,
    StepFigure,
    Table,
    Tone,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from warmline_toolkit.report.document import Block, Document

_BOLD = (Tone.GOOD, Tone.FAIR, Tone.POOR)


def render(document: Document) -> str:
    """Return *document* as Markdown with pipe tables; a figure is given in words."""
    return "\n".join(_lines(document)).rstrip("\n") + "\n"


def _lines(document: Document) -> Iterator[str]:
    yield f"# {_text(document.title)}"
    yield ""
    yield _text(document.subtitle) + "."
    yield ""
    yield f"**{_text(document.lead[0])}** {' '.join(_text(sentence) for sentence in document.lead[1:])}"
    yield ""
    if document.expectation:
        yield f"Expected: {_text(document.expectation).rstrip('.')}."
        yield ""
    for warning in document.warnings:
        yield f"> **Warning:** {_text(warning)}"
        yield ""
    for section in document.sections:
        yield f"## {_text(section.title)}"
        yield ""
        for block in section.blocks:
            yield from _block(block)
            yield ""
    yield "## Provenance"
    yield ""
    for name, value in document.provenance:
        yield f"- {_text(name)}: {_text(value)}"


def _block(block: Block) -> Iterator[str]:
    match block:
        case Table():
            yield from _table(block)
        case Paragraph(text=text):
            yield _text(text)
        case Notes(items=items):
            for name, text in items:
                yield f"- **{_text(name)}.** {_text(text)}" if name else f"- {_text(text)}"
        case StepFigure() | DistributionFigure() | BarFigure() | ScatterFigure():
            yield f"{_text(block.title)}: {_text(block.alternative)}"


def _table(table: Table) -> Iterator[str]:
    yield _row([column or " " for column in table.columns])
    rule = "---:" if table.numeric else "---"
    yield _row(["---", *(rule for _ in table.columns[1:])], escape=False)
    for row in table.rows:
        yield _row([_cell(cell) for cell in row], escape=False)
    if table.caption:
        yield ""
        yield _text(table.caption)


def _row(cells: list[str], *, escape: bool = True) -> str:
    return "| " + " | ".join(_text(cell) if escape else cell for cell in cells) + " |"


def _cell(cell: Cell) -> str:
    text = _text(cell.text)
    if cell.text.startswith(" "):
        text = f"&emsp;{text.strip()}"
    if cell.tone in _BOLD:
        text = f"**{text}**"
    return f"{text}<br>{_text(cell.detail)}" if cell.detail else text


def _text(text: str) -> str:
    """Escape what Markdown or a pipe table would take as its own; names such as max_connections stay readable."""
    return re.sub(r"([\\`*\[\]<>|]|(?<!\w)_|_(?!\w))", r"\\\1", " ".join(text.split()) if "\n" in text else text)
