"""The report in a terminal: answer first, verdicts, numbers; fits any width from 60 columns on."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.markdown import Markdown
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from warmline_toolkit.report.document import Cell, Notes, Paragraph, Table, Tone

if TYPE_CHECKING:
    from warmline_toolkit.report.document import Block, Document

SIGNS = {Tone.GOOD: "+ ", Tone.FAIR: "~ ", Tone.POOR: "! ", Tone.NEUTRAL: ""}
"""A tone is told by a sign first; colour only repeats it."""

STYLES = {Tone.GOOD: "green", Tone.FAIR: "yellow", Tone.POOR: "red", Tone.NEUTRAL: ""}

NARROWEST_NUMBER = 11
"""A column of numbers with its range needs this much; more strategies than fit continue in another table."""

NARROWEST_WORDS = 14
"""The column that names what a row is about takes no more; a longer name is broken."""

WIDEST_TEXT = 100
"""Running text is no wider, however wide the terminal."""


def render(document: Document, *, width: int = 80, colour: bool = False) -> str:
    """Return *document* as lines of at most *width* columns, with terminal colours if *colour*."""
    console = _console(width=width, colour=colour)
    with console.capture() as captured:
        _print(document, console)
    return _without_trailing_blanks(captured.get())


def render_markdown(markdown: str, *, width: int = 80, colour: bool = False) -> str:
    """Return a Markdown page as lines of at most *width* columns; its first heading becomes a plain first line."""
    console = _console(width=min(width, WIDEST_TEXT), colour=colour)
    heading, _, rest = markdown.partition("\n")
    with console.capture() as captured:
        console.print(Text(heading.lstrip("# "), style="bold"))
        console.print()
        console.print(Markdown(rest.strip(), hyperlinks=False))
    return _without_trailing_blanks(captured.get())


def _console(*, width: int, colour: bool) -> Console:
    return Console(
        file=io.StringIO(),
        width=width,
        force_terminal=colour,
        color_system="standard" if colour else None,
        no_color=not colour,
        highlight=False,
        emoji=False,
        markup=False,
    )


def _without_trailing_blanks(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def _print(document: Document, console: Console) -> None:
    console.print(Text(document.title, style="bold"))
    console.print(Text(document.subtitle))
    console.print(Text(_facts(document), style="dim"))
    console.print()
    for sentence in document.lead:
        console.print(Text(sentence))
    for warning in document.warnings:
        console.print()
        console.print(Text(f"! {warning}", style="red"))
    for section in document.sections:
        shown = [block for block in section.blocks if isinstance(block, (Table, Paragraph, Notes))]
        if section.detail or not shown:
            continue
        console.print()
        console.print(Text(section.title, style="bold"))
        for block in shown:
            _print_block(block, console)


def _facts(document: Document) -> str:
    return " · ".join(f"{name} {value}" for name, value in document.provenance)


def _print_block(block: Block, console: Console) -> None:
    match block:
        case Table(numeric=True):
            _print_numbers(block, console)
        case Table():
            _print_words(block, console)
        case Paragraph(text=text):
            console.print(Text(text))
        case Notes(items=items):
            for name, text in items:
                console.print(Padding(Text(f"{name}: {text}" if name else text), (0, 0, 0, 2)))


def _print_words(table: Table, console: Console) -> None:
    shown = _grid(console)
    shown.add_column(table.columns[0], max_width=NARROWEST_WORDS, overflow="fold")
    for column in table.columns[1:]:
        shown.add_column(column, ratio=1, min_width=len(column), overflow="fold")
    for row in table.rows:
        name = row[0].text if len(row[0].text) <= NARROWEST_WORDS else row[0].text.replace("+", "\n+")
        shown.add_row(Text(name), *(_cell(cell, below=True) for cell in row[1:]))
        shown.add_section()
    console.print(shown)
    if table.caption:
        console.print(Text(table.caption, style="dim"))


def _print_numbers(table: Table, console: Console) -> None:
    label_width = max(len(row[0].text) for row in table.rows) + 2
    fits = max(1, (console.width - label_width) // (NARROWEST_NUMBER + 2))
    strategies = len(table.columns) - 1
    for first in range(1, strategies + 1, fits):
        columns = range(first, min(first + fits, strategies + 1))
        beside = (console.width - label_width) // len(columns) >= NARROWEST_NUMBER * 2
        shown = _grid(console)
        shown.add_column("", no_wrap=True)
        for index in columns:
            shown.add_column(table.columns[index], justify="right", overflow="fold")
        for row in table.rows:
            label = Text(row[0].text)
            shown.add_row(label, *(_cell(row[index], below=not beside) for index in columns))
        console.print(shown)
    if table.caption:
        console.print(Text(table.caption, style="dim"))


def _grid(console: Console) -> RichTable:
    return RichTable(
        box=box.SIMPLE_HEAD, width=console.width, padding=(0, 1), pad_edge=False, header_style="bold", show_edge=False
    )


def _cell(cell: Cell, *, below: bool) -> Text:
    sign = SIGNS[cell.tone] if below else ""
    text = Text(f"{sign}{cell.text}", style=STYLES[cell.tone])
    if cell.detail:
        text.append("\n" if below else "  ")
        text.append(cell.detail, style="dim")
    return text
