"""`warmline plan sweep`."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any

import click

from warmline_toolkit.cli._plan.inputs import reference_of, workload_of, workload_options
from warmline_toolkit.cli._plan.output import emit, output_options
from warmline_toolkit.plan.errors import ClusterUnreachable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from warmline_toolkit.plan.recommend import Goal
    from warmline_toolkit.plan.sweep import Job, Point

CLUSTER_TIMEOUT_S = 5
USUAL = ("strategy=per-request,keep-open,proxy", "reserved_concurrency=none,25,50,100,200")


@click.command(short_help="Simulate a grid of settings; show what nothing beats.")
@workload_options
@click.option(
    "--vary", multiple=True, help="setting=value,value,… (or name.setting=…); again for each further setting."
)
@click.option(
    "--duration",
    "duration_s",
    type=click.FloatRange(min=0, min_open=True),
    default=3600.0,
    show_default=True,
    help="Seconds to simulate.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=1, show_default=True, help="The same seed gives the same sweep."
)
@click.option(
    "--goal",
    type=click.Choice(["cost", "latency", "safety"]),
    default="cost",
    show_default=True,
    help="What to recommend for.",
)
@click.option(
    "--tolerate",
    type=click.FloatRange(0, 1),
    default=0.001,
    show_default=True,
    help="Share of attempts that may be turned away.",
)
@click.option("--workers", type=click.IntRange(min=1), default=None, help="Processes; all cores unless given.")
@click.option("--dask", help="Address of a Dask scheduler (tcp://host:8786), for more than this machine.")
@output_options
def sweep(  # noqa: PLR0913 - one parameter an option
    *,
    vary: tuple[str, ...],
    duration_s: float,
    seed: int,
    goal: Goal,
    tolerate: float,
    workers: int | None,
    dask: str | None,
    format_: str | None,
    output: Path | None,
    **given: Any,
) -> None:
    r"""Simulate the workload under every combination of the --vary values, and show the frontier.

    Without --vary: the strategies, each with several reserved concurrencies.

    \b
    warmline plan sweep --rate 200 --class db.t4g.medium --vary strategy=keep-open,proxy
    warmline plan sweep workload.yaml --vary api.pool_size=1,2,5 --vary orders.instance_class=db.t4g.medium,db.t4g.large
    """
    from warmline_toolkit.plan import sweep as grid  # noqa: PLC0415 - `warmline --help` stays fast
    from warmline_toolkit.plan.sweep_document import sweep_document  # noqa: PLC0415

    workload = workload_of(given)
    axes = [grid.axis(text, workload) for text in vary or USUAL]
    work = grid.jobs(workload, axes, reference_of(given), duration_s=duration_s, seed=seed)
    for job in work:
        for database in job.workload.databases:
            _check_class(database, job.reference)
    click.echo(f"{len(work):,} settings …", err=True)
    points = _on_cluster(work, dask) if dask else _on_cores(work, workers or os.cpu_count() or 1)
    document = sweep_document(
        points, source=workload.source, goal=goal, tolerated_share=tolerate, duration_s=duration_s, seed=seed
    )
    emit(document, format_=format_, output=output)


def _check_class(database: Any, reference: Any) -> None:
    from warmline_toolkit.plan.model import known_limit  # noqa: PLC0415 - `warmline --help` stays fast

    known_limit(database, reference)  # raises for an unknown class, before anything is simulated


def _on_cores(work: Sequence[Job], workers: int) -> list[Point]:
    """Run the first point here, so that the simulator is compiled once, and the others on all cores."""
    from warmline_toolkit.plan.sweep import run_job  # noqa: PLC0415 - `warmline --help` stays fast

    first, rest = run_job(work[0]), work[1:]
    if not rest or workers == 1:
        return [first, *map(run_job, rest)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(rest)), mp_context=context) as pool:
        return [first, *_watched(pool.map(run_job, rest), len(rest))]


def _on_cluster(work: Sequence[Job], address: str) -> list[Point]:
    try:
        import distributed  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ClusterUnreachable(
            "--dask needs Dask, which is not installed.", next_step='pip install "warmline-toolkit[dask]"'
        ) from error
    from warmline_toolkit.plan.sweep import run_job  # noqa: PLC0415 - `warmline --help` stays fast

    connect: Any = distributed.Client  # it has no types
    try:
        client = connect(address, timeout=CLUSTER_TIMEOUT_S, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise ClusterUnreachable(
            f"No Dask scheduler answers at {address}: {error}.",
            next_step="Start one (dask scheduler), or leave out --dask.",
        ) from error
    with client:
        return list(client.gather(client.map(run_job, work, pure=False)))


def _watched(points: Iterable[Point], total: int) -> Iterable[Point]:
    from rich.console import Console  # noqa: PLC0415 - `warmline --help` stays fast
    from rich.progress import track  # noqa: PLC0415

    return track(points, total=total, description="simulating", console=Console(stderr=True), transient=True)
