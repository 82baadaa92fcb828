"""`warmline doctor`: what this machine has for the lab, and what to install for what it lacks."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from warmline_toolkit.servers.machine import Check

CANNOT_RUN = 3


@click.command(name="doctor", short_help="Say what this machine has: servers, drivers, freeze permission.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="A table, or one JSON object.",
)
@click.option(
    "--unpack",
    "packages",
    multiple=True,
    metavar="PACKAGE",
    help="First fetch PACKAGE from Debian unstable into the cache, without installing it; may be repeated. "
    "mysql-server-core gives the lab a MySQL.",
)
@click.pass_context
def command(context: click.Context, format_: str, packages: tuple[str, ...]) -> None:
    """Look at this machine and say whether the lab can run on it.

    Exit codes: 0 it can, 3 something required is missing (the line says what to do).
    """
    from warmline_toolkit.servers import machine, unpack  # noqa: PLC0415 - `warmline --help` stays fast

    for package in packages:
        click.echo(f"Fetching {package} and what it depends on: half a minute or so …", err=True)
        click.echo(f"Unpacked: its programs are started from {unpack.unpack(package)}", err=True)
    found = machine.checks()
    missing = [check for check in found if not check.ok and check.need == "required"]
    # of the servers one is enough: they are only required when there is none
    if format_ == "json":
        click.echo(json.dumps({"ok": not missing, "checks": [asdict(check) for check in found]}, indent=2))
    else:
        _table(found, can_run=not missing)
    if missing:
        context.exit(CANNOT_RUN)


def _table(found: list[Check], *, can_run: bool) -> None:
    from rich.console import Console  # noqa: PLC0415 - `warmline --help` stays fast
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from warmline_toolkit.report import console as terminal  # noqa: PLC0415

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in found:
        mark, style = (
            ("ok", "green") if check.ok else ("MISSING", "bold red") if check.need == "required" else ("-", "dim")
        )
        table.add_row(Text(mark, style=style), check.name, Text(check.found))
        if check.next_step:
            table.add_row("", "", Text(check.next_step, style="dim" if check.need == "optional" else ""))
    console = Console(width=terminal.width(), no_color=not terminal.colour(), highlight=False)
    console.print(table)
    console.print()
    console.print("The lab can run here: warmline lab run" if can_run else "The lab cannot run here yet: see MISSING.")
