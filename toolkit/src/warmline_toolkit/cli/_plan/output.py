"""Write a document: to the terminal, to a file, in the format that is asked for."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from warmline_toolkit.plan.errors import BadWorkload

if TYPE_CHECKING:
    from collections.abc import Callable

    from warmline_toolkit.report.document import Document

F = TypeVar("F", bound="Callable[..., Any]")

FORMATS = ("table", "markdown", "json", "html")
COLUMNS = 80
NARROWEST_COLUMNS = 60
ENDINGS = {".md": "markdown", ".json": "json", ".html": "html", ".htm": "html"}


def output_options(command: F) -> F:
    """Add --format and --output to a command."""
    command = click.option(
        "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file instead of stdout."
    )(command)
    return click.option(
        "--format",
        "format_",
        type=click.Choice(FORMATS),
        help="What to write. Default: what the name of --output ends in, else a table.",
    )(command)


def emit(document: Document, *, format_: str | None, output: Path | None) -> None:
    """Render *document* and write it where it belongs."""
    from warmline_toolkit.report import render  # noqa: PLC0415 - `warmline --help` stays fast

    chosen = format_ or (ENDINGS.get(output.suffix.lower(), "table") if output else "table")
    terminal = output is None and sys.stdout.isatty()
    width = max(NARROWEST_COLUMNS, shutil.get_terminal_size((COLUMNS, 24)).columns) if terminal else COLUMNS
    text = render(document, chosen, width=width, colour=terminal and "NO_COLOR" not in os.environ)
    write(text, output)


def write(text: str, output: Path | None) -> None:
    """Write *text* to stdout or to a file, and say so."""
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadWorkload(
            f"{output} cannot be written: {error.strerror}.", next_step="Choose another file with --output."
        ) from error
    click.echo(f"Wrote {output}.", err=True)
