"""`warmline plan limits`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from warmline_toolkit.cli._plan.output import emit, output_options
from warmline_toolkit.plan.workload import ENGINES, Database, EngineName

if TYPE_CHECKING:
    from pathlib import Path

    from warmline_toolkit.plan.limits import Limit
    from warmline_toolkit.report.document import Document


@click.command(short_help="How many connections a database size or a live server allows.")
@click.argument("classes", nargs=-1)
@click.option("--engine", type=click.Choice(ENGINES), default="mysql", show_default=True, help="The engine.")
@click.option("--max-acu", type=float, help="Aurora Serverless v2: maximum capacity.")
@click.option("--min-acu", type=float, help="Aurora Serverless v2: minimum capacity.")
@click.option("--url", help="Ask this server instead: mysql://… or postgresql://….")
@click.option("--data", type=click.Path(), help="Your own limits: a YAML file over the shipped ones.")
@output_options
def limits(  # noqa: PLR0913, PLR0917 - one parameter an option
    classes: tuple[str, ...],
    engine: EngineName,
    max_acu: float | None,
    min_acu: float | None,
    url: str | None,
    data: str | None,
    format_: str | None,
    output: Path | None,
) -> None:
    r"""Print max_connections of CLASSES (all known ones without any), of a Serverless v2 capacity, or of a live server.

    \b
    warmline plan limits --engine aurora-postgres db.r6g.large
    warmline plan limits --engine aurora-mysql --max-acu 16
    warmline plan limits --url postgresql://app@db.example/app
    """
    from pathlib import Path  # noqa: PLC0415 - `warmline --help` stays fast

    from warmline_toolkit.plan.limits import limit_of, sizes  # noqa: PLC0415
    from warmline_toolkit.plan.reference import with_overrides  # noqa: PLC0415

    reference = with_overrides(None if data is None else Path(data))
    if url is not None:
        from warmline_toolkit.cli._plan.live import read_limit  # noqa: PLC0415 - loads the drivers

        live = read_limit(url)
        databases = [
            Database(
                name=f"{live.engine} {live.version}",
                engine=live.engine,
                max_connections=live.max_connections,
                reserved_connections=live.reserved,
            )
        ]
        origin = "the server itself"
    elif max_acu is not None:
        databases = [Database(name=f"{max_acu:g} ACU", engine=engine, max_acu=max_acu, min_acu=min_acu)]
        origin = f"limits of {reference.limits['as_of']}"
    else:
        names = classes or tuple(sizes(reference))
        databases = [Database(name=name, engine=engine, instance_class=name) for name in names]
        origin = f"limits of {reference.limits['as_of']}"
    rows = [(database, limit_of(database, reference)) for database in databases]
    emit(_document(rows, engine=databases[0].engine, origin=origin), format_=format_, output=output)


def _document(rows: list[tuple[Database, Limit]], *, engine: str, origin: str) -> Document:
    from warmline_toolkit.report.document import Cell, Document, Section, Table  # noqa: PLC0415

    found = [(database.name, limit) for database, limit in rows]
    table = Table(
        columns=("", "max_connections", "for functions", "from"),
        rows=tuple(
            (Cell(name), Cell(f"{limit.max_connections:,}"), Cell(f"{limit.for_functions:,}"), Cell(limit.origin))
            for name, limit in found
        ),
        numeric=True,
    )
    name, first = found[0]
    what = name if first.origin == "given" else first.arithmetic
    return Document(
        title=f"max_connections of {engine}",
        subtitle="the default, where nobody changed it",
        lead=(f"{what}: {first.max_connections:,}, of which {first.reserved} kept for others.",),
        label="plan",
        provenance=(("from", origin),),
        sections=(Section(title="Limits", blocks=(table,)),),
        data={
            "schema": 1,
            "kind": "plan-limits",
            "engine": engine,
            "limits": [
                {
                    "name": name,
                    "max_connections": limit.max_connections,
                    "for_functions": limit.for_functions,
                    "reserved": limit.reserved,
                    "origin": limit.origin,
                    "arithmetic": limit.arithmetic,
                }
                for name, limit in found
            ],
        },
    )
