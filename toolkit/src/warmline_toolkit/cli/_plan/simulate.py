"""`warmline plan simulate`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from warmline_toolkit.cli._plan.inputs import reference_of, workload_of, workload_options
from warmline_toolkit.cli._plan.output import emit, output_options

if TYPE_CHECKING:
    from warmline_toolkit.plan.workload import Workload


@click.command(short_help="Simulate the fleet: environments, connections, refusals, latency over time.")
@workload_options
@click.option(
    "--duration",
    "duration_s",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds to simulate; a record's own length, else an hour.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=1, show_default=True, help="The same seed gives the same run."
)
@click.option(
    "--from-run",
    type=click.Path(path_type=Path),
    help="Draw durations from a lab run's warm invocations of the strategy.",
)
@output_options
def simulate(
    *,
    duration_s: float | None,
    seed: int,
    from_run: Path | None,
    format_: str | None,
    output: Path | None,
    **given: Any,
) -> None:
    r"""Simulate the workload in FILE, or of the options.

    The first run on a machine compiles the simulator, which takes up to a minute; later runs start at once.

    \b
    warmline plan simulate --rate 50 --warm-ms 120 --max-connections 100 --duration 86400
    warmline plan simulate --burst 500 --max-connections 100 --strategy per-request
    warmline plan simulate workload.yaml --output fleet.html
    """
    from warmline_toolkit.plan.model import simulate_workload  # noqa: PLC0415
    from warmline_toolkit.plan.simulation_document import simulation_document  # noqa: PLC0415 - `warmline --help` stays fast

    workload = workload_of(given)
    if from_run is not None:
        workload = _with_measured_times(workload, from_run)
    length_s = duration_s if duration_s is not None else _length(workload)
    found = simulate_workload(workload, reference_of(given), duration_s=length_s, seed=seed)
    emit(
        simulation_document(workload, found, duration_s=length_s, seed=seed),
        format_=format_,
        output=output,
    )


def _with_measured_times(workload: Workload, run: Path) -> Workload:
    from warmline_toolkit.measure.record import read  # noqa: PLC0415 - `warmline --help` stays fast
    from warmline_toolkit.plan.calibrate import samples_of, times_of  # noqa: PLC0415

    times = times_of(read(run))
    functions = []
    for function in workload.functions:
        samples_ms, init_ms = samples_of(times, function.strategy)
        mean_ms = sum(samples_ms) / len(samples_ms)
        functions.append(
            dataclasses.replace(function, samples_ms=samples_ms, warm_ms=mean_ms, cold_ms=mean_ms + init_ms)
        )
    return dataclasses.replace(workload, functions=tuple(functions))


HOUR_S = 3600.0
DAY_S = 86_400.0


def _length(workload: Workload) -> float:
    lengths = [HOUR_S]
    for function in workload.functions:
        arrivals = function.arrivals
        if arrivals is None:
            continue
        if arrivals.shape == "daily":
            lengths.append(DAY_S)
        if arrivals.counts:
            lengths.append(arrivals.counts[-1][1])
        if arrivals.times_s:
            lengths.append(arrivals.times_s[-1] + 1)
    return max(lengths)
