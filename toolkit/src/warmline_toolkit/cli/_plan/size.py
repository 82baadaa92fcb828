"""`warmline plan size`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from warmline_toolkit.cli._plan.inputs import reference_of, workload_of, workload_options
from warmline_toolkit.cli._plan.output import emit, output_options

if TYPE_CHECKING:
    from pathlib import Path

    from warmline_toolkit.plan.recommend import Goal
    from warmline_toolkit.plan.workload import Workload


@click.command(short_help="Connections against the limit, what breaks first, what to change.")
@workload_options
@click.option("--requests", type=click.IntRange(min=1), help="With --environments: count what each strategy opens.")
@click.option("--url", help="Read the limit from this server: mysql://… or postgresql://….")
@click.option(
    "--goal",
    type=click.Choice(["cost", "latency", "safety"]),
    default="safety",
    show_default=True,
    help="What to recommend for.",
)
@output_options
def size(
    requests: int | None, url: str | None, goal: Goal, format_: str | None, output: Path | None, **given: Any
) -> None:
    r"""Size the workload in FILE, or of the options: its connections, their sum against the limit, what breaks first.

    \b
    warmline plan size --rate 50 --warm-ms 120 --class db.t4g.medium --engine postgres
    warmline plan size --environments 5 --requests 25 --max-connections 5
    warmline plan size workload.yaml --goal latency --output size.html
    """
    workload = workload_of(given)
    reference = reference_of(given)
    if url is not None:
        workload = _with_live_limit(workload, url)
    if requests is not None:
        document = _counted(workload, requests)
    else:
        from warmline_toolkit.plan.recommend import GOALS, options, recommend  # noqa: PLC0415
        from warmline_toolkit.plan.size_document import size_document  # noqa: PLC0415 - `warmline --help` stays fast

        goals = (goal, *(other for other in GOALS if other != goal))
        answers = []
        for database in workload.databases:
            found = options(database, workload, reference)
            answers.append((found[0].size, found, tuple(recommend(found, one) for one in goals)))
        document = size_document(workload, answers, reference)
    emit(document, format_=format_, output=output)


def _counted(workload: Workload, requests: int) -> Any:
    from warmline_toolkit.plan.errors import BadWorkload  # noqa: PLC0415
    from warmline_toolkit.plan.size import strategies  # noqa: PLC0415
    from warmline_toolkit.plan.size_document import strategies_document  # noqa: PLC0415 - `warmline --help` stays fast

    function, database = workload.functions[0], workload.databases[0]
    if function.environments is None or len(workload.functions) > 1:
        raise BadWorkload(
            "--requests counts one function on a fixed number of environments; expected --environments N.",
            next_step="warmline plan size --environments 5 --requests 25 --max-connections 5",
        )
    found = strategies(
        environments=function.environments,
        requests=requests,
        processes=function.processes,
        pool_size=function.pool_size,
        max_connections=database.max_connections,
    )
    return strategies_document(
        found, environments=function.environments, requests=requests, max_connections=database.max_connections
    )


def _with_live_limit(workload: Workload, url: str) -> Workload:
    from warmline_toolkit.cli._plan.live import read_limit  # noqa: PLC0415 - loads the drivers
    from warmline_toolkit.plan.errors import BadWorkload  # noqa: PLC0415

    if len(workload.databases) != 1:
        raise BadWorkload(
            f"--url reads one server's limit, and the workload has {len(workload.databases)} databases.",
            next_step="Write each max_connections into the file: warmline plan limits --url URL prints it.",
        )
    live = read_limit(url)
    database = dataclasses.replace(
        workload.databases[0],
        engine=live.engine if "aurora" not in workload.databases[0].engine else workload.databases[0].engine,
        max_connections=live.max_connections,
        reserved_connections=live.reserved,
    )
    return dataclasses.replace(workload, databases=(database,))
