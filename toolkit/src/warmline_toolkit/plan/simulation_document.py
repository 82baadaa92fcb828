"""A simulated fleet as a neutral document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from warmline_toolkit.plan.simulate.layout import Count, Line
from warmline_toolkit.plan.wording import percent, plural, shorten
from warmline_toolkit.report.document import Cell, Document, Section, StepFigure, StepPanel, Table, Tone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from warmline_toolkit.plan.model import Predicted
    from warmline_toolkit.plan.workload import Workload

SCHEMA = 1

QUANTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0))


def simulation_document(workload: Workload, found: Sequence[Predicted], *, duration_s: float, seed: int) -> Document:
    """Say what the simulated fleet did, over time and in distribution."""
    sections: list[Section] = []
    leads: list[str] = []
    several = len(found) > 1
    named = f"{', '.join(function.name for function in workload.functions)}, from {workload.source}"
    for one in found:
        name = f"{one.database.name}: " if several else ""
        leads.extend(name + sentence for sentence in _simulation_lead(one))
        sections.extend(_simulation_sections(name, one))
    databases = [simulation_data(one) for one in found]
    head = {
        "schema": SCHEMA,
        "kind": "plan-simulate",
        "source": workload.source,
        "duration_s": duration_s,
        "seed": seed,
    }
    alone = {key: value for key, value in databases[0].items() if key != "over_time"} if len(databases) == 1 else {}
    return Document(
        title="A simulated fleet",
        subtitle=f"{shorten(duration_s)} s of {plural('function', len(workload.functions))} {named}",
        lead=tuple(leads),
        label="simulation",
        provenance=(("seed", str(seed)), ("events", f"{sum(one.simulation.events for one in found):,}")),
        sections=tuple(sections),
        accents=("connections", "environments", "running", "waiting", "ghosts"),
        data={**head, **alone, "databases": databases},
    )


def _simulation_lead(one: Predicted) -> list[str]:
    run = one.simulation
    limit = "" if one.limit is None else f" of {one.limit.for_functions:,}"
    lead = [
        f"At most {run.connections_peak:,}{limit} connections at once, {shorten(run.mean_connections)} on average.",
        (
            f"{run.mean_environments:.2f} environments on average, {run.mean_running:.2f} of them running; "
            f"{percent(run.cold_probability)} of the invocations were cold starts."
        ),
    ]
    attempts = run.count(Count.INVOKED)
    if run.failed:
        lead.append(f"{run.failed:,} of {attempts:,} got no connection ({percent(run.failed / attempts)}).")
    if run.throttled:
        lead.append(f"{run.throttled:,} were throttled.")
    return lead


def _simulation_sections(name: str, one: Predicted) -> list[Section]:
    run = one.simulation
    limit = None if one.limit is None else one.limit.for_functions
    over = limit is not None and run.failed > 0
    levels = Table(
        columns=("", "mean", "p50", "p95", "p99", "peak"),
        numeric=True,
        rows=(
            (
                Cell("connections"),
                Cell(shorten(run.mean_connections)),
                *(Cell(f"{run.connections_quantile(share):,}") for share in (0.5, 0.95, 0.99)),
                Cell(f"{run.connections_peak:,}", tone=Tone.POOR if over else Tone.NEUTRAL),
            ),
            (
                Cell("environments"),
                Cell(f"{run.mean_environments:.2f}"),
                *(Cell(f"{run.environments_quantile(share):,}") for share in (0.5, 0.95, 0.99)),
                Cell(f"{run.environments_peak:,}"),
            ),
            (
                Cell("running"),
                Cell(f"{run.mean_running:.2f}"),
                *(Cell("") for _ in range(3)),
                Cell(f"{run.running_peak:,}"),
            ),
        ),
    )
    waits = [("latency", run.latency_ms), ("wait for the proxy", run.wait_ms)]
    times = Table(
        columns=("ms", *(label for label, _ in QUANTILES)),
        numeric=True,
        rows=tuple(
            (Cell(label), *(Cell(_ms(quantile(share))) for _, share in QUANTILES))
            for label, quantile in waits
            if quantile(0.5) is not None
        ),
        caption="From arrival to the handler's end, Init and waits included; to 2 %.",
    )
    counted = Table(
        columns=("", *run.functions),
        numeric=True,
        rows=tuple(
            (Cell(label), *(Cell(f"{run.count(what, index):,}") for index in range(len(run.functions))))
            for label, what in COUNTED
            if what in ALWAYS or run.count(what)
        ),
    )
    return [
        Section(title=f"{name}Connections and environments", blocks=(levels, _over_time(one, limit))),
        Section(title=f"{name}Latency", blocks=(times,)),
        Section(title=f"{name}Counts", blocks=(counted,)),
    ]


COUNTED = (
    ("arrived", Count.ARRIVED),
    ("invoked", Count.INVOKED),
    ("cold starts", Count.COLD),
    ("answered", Count.OK),
    ("refused", Count.REFUSED),
    ("borrow timeouts", Count.BORROW_TIMEOUT),
    ("throttled: cap", Count.THROTTLED_CAP),
    ("throttled: scale-out", Count.THROTTLED_SCALE_OUT),
    ("retried", Count.RETRIED),
    ("lost", Count.LOST),
    ("opened", Count.OPENED),
    ("reconnected", Count.RECONNECTED),
    ("reaped", Count.REAPED),
)
ALWAYS = (Count.ARRIVED, Count.INVOKED, Count.COLD, Count.OK, Count.REFUSED, Count.OPENED)
PANELS = (
    ("connections", Line.CONNECTIONS),
    ("environments", Line.ENVIRONMENTS),
    ("running", Line.RUNNING),
    ("waiting", Line.WAITING),
    ("ghosts", Line.GHOSTS),
)


def _over_time(one: Predicted, limit: int | None) -> StepFigure:
    run = one.simulation
    width_s = run.duration_s / run.lines.shape[1]
    panels = tuple(
        StepPanel(
            name=label,
            lines=(tuple((index * width_s, float(value)) for index, value in enumerate(run.lines[line])),),
        )
        for label, line in PANELS
        if line in (Line.CONNECTIONS, Line.ENVIRONMENTS, Line.RUNNING) or run.lines[line].any()
    )
    return StepFigure(
        title="Over time",
        alternative=f"The most in each of {run.lines.shape[1]} intervals; connections reach {run.connections_peak:,}.",
        panels=panels,
        limit=limit,
        since="the start",
        key="the most in each interval",
    )


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value >= 10 else f"{value:.2g}"  # noqa: PLR2004


def simulation_data(one: Predicted) -> dict[str, Any]:
    """Return a simulation for programs: the stable keys of docs/reference/plan.md."""
    run = one.simulation
    width_s = run.duration_s / run.lines.shape[1]
    return {
        "database": one.database.name,
        "limit": None if one.limit is None else one.limit.for_functions,
        "mean_environments": run.mean_environments,
        "mean_running": run.mean_running,
        "mean_idle": run.mean_environments - run.mean_running,
        "environments_peak": run.environments_peak,
        "running_peak": run.running_peak,
        "cold_probability": run.cold_probability,
        "mean_connections": run.mean_connections,
        "connections_p99": run.connections_quantile(0.99),
        "connections_peak": run.connections_peak,
        "connections_at_end": run.connections_at_end,
        "ghosts_peak": run.ghosts_peak,
        "waiting_peak": run.waiting_peak,
        "mean_lifespan_s": run.mean_lifespan_s,
        "server_cpu_s": run.server_cpu_s,
        "arrivals": run.count(Count.ARRIVED),
        "in_flight_at_end": run.in_flight,
        "counts": {what.name.lower(): run.count(what) for what in Count},
        "latency_ms": {label: run.latency_ms(share) for label, share in QUANTILES},
        "proxy_wait_ms": {label: run.wait_ms(share) for label, share in QUANTILES} if run.wait.any() else None,
        "events": run.events,
        "functions": [
            {
                "function": name,
                **{what.name.lower(): run.count(what, index) for what in Count},
                "latency_ms": {label: run.latency_ms(share, index) for label, share in QUANTILES},
            }
            for index, name in enumerate(run.functions)
        ],
        "over_time": {
            "interval_s": width_s,
            **{line.name.lower(): run.lines[line].tolist() for line in Line},
        },
    }
