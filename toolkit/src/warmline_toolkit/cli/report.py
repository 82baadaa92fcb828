"""`warmline report`: a report from a recorded run, on any machine."""

from __future__ import annotations

from pathlib import Path

import click

from warmline_toolkit.errors import UsageError


class CannotWrite(UsageError):
    """The report cannot be written where it was asked for."""

    code = "WL-R003"


@click.command(name="report", short_help="Render a recorded run as HTML, Markdown, JSON or a table.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "format_",
    type=click.Choice(["html", "markdown", "json", "table"]),
    help="What to write. Default: what the name of --output ends in, else a table.",
)
@click.option("--output", type=click.Path(path_type=Path), help="Write to this file instead of stdout.")
def command(run: Path, format_: str | None, output: Path | None) -> None:
    """Render RUN, a run file (run.jsonl) or the folder of one, as a report.

    Needs nothing but the file: no server, no network. The HTML is one file that opens offline.
    """
    from warmline_toolkit.measure.record import read  # noqa: PLC0415 - `warmline --help` stays fast
    from warmline_toolkit.measure.summary import summarise  # noqa: PLC0415
    from warmline_toolkit.report import console, lab_document, render  # noqa: PLC0415

    chosen = format_ or _by_ending(output)
    text = render(
        lab_document(summarise(read(run))),
        chosen,
        width=console.width() if output is None else console.COLUMNS,
        colour=output is None and console.colour(),
    )
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CannotWrite(
            f"{output} cannot be written: {error.strerror}.", next_step="Choose another file with --output."
        ) from error
    click.echo(f"Wrote {output} ({len(text.encode()) / 1024:,.0f} KB).", err=True)


def _by_ending(output: Path | None) -> str:
    endings = {".html": "html", ".htm": "html", ".md": "markdown", ".json": "json"}
    return endings.get(output.suffix.lower(), "table") if output else "table"
