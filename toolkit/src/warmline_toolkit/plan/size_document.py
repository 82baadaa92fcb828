"""A sized workload, and counted strategies, as neutral documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from warmline_toolkit.plan.wording import money, percent, plural, shorten
from warmline_toolkit.report.document import (
    BarFigure,
    Cell,
    Document,
    Highlight,
    Notes,
    Paragraph,
    Section,
    Table,
    Tone,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from warmline_toolkit.plan.recommend import Option, Recommendation
    from warmline_toolkit.plan.reference import Reference
    from warmline_toolkit.plan.size import DatabaseSize, Range, StrategyCount
    from warmline_toolkit.plan.workload import Workload

SCHEMA = 1


def strategies_document(
    found: Sequence[StrategyCount], *, environments: int, requests: int, max_connections: int | None
) -> Document:
    """Say what each strategy does to the database in a counted experiment."""
    by_name = {one.strategy: one for one in found}
    per_request, keep = by_name["per-request"], by_name["keep-open"]
    lead = [
        (
            f"{requests:,} requests on {environments:,} environments: connecting per request opens "
            f"{per_request.opened:,} connections, keeping one open per environment opens {keep.opened:,} and holds "
            f"{keep.held:,}."
        )
    ]
    if max_connections is not None:
        over = [one.strategy for one in found if not one.holds]
        lead.append(
            f"The database allows {max_connections:,}: "
            + (
                f"too few for {', '.join(over)} when all environments are busy at once."
                if over
                else "enough for each strategy."
            )
        )
    rows = tuple(
        (
            Cell(one.strategy),
            Cell(f"{one.opened:,}"),
            Cell(f"{one.peak:,}", tone=Tone.NEUTRAL if one.holds is None else Tone.GOOD if one.holds else Tone.POOR),
            Cell(f"{one.held:,}"),
        )
        for one in found
    )
    table = Table(columns=("", "opened", "at once", "kept after"), rows=rows, numeric=True)
    sums = Notes(items=tuple((one.strategy, f"{one.arithmetic} = {one.opened:,}") for one in found))
    return Document(
        title="Connections of each strategy",
        subtitle=f"{requests:,} requests, {environments:,} environments",
        lead=tuple(lead),
        label="plan",
        provenance=(("limit", "none given" if max_connections is None else f"{max_connections:,}"),),
        sections=(Section(title="Connections", blocks=(table,)), Section(title="The sums", blocks=(sums,))),
        accents=tuple(one.strategy for one in found),
        data={
            "schema": SCHEMA,
            "kind": "plan-size",
            "environments": environments,
            "requests": requests,
            "max_connections": max_connections,
            "strategies": [
                {
                    "strategy": one.strategy,
                    "connections_opened": one.opened,
                    "connections_peak": one.peak,
                    "connections_held": one.held,
                    "holds": one.holds,
                    "arithmetic": f"{one.arithmetic} = {one.opened:,}",
                }
                for one in found
            ],
        },
    )


def size_document(
    workload: Workload,
    answers: Sequence[tuple[DatabaseSize, tuple[Option, ...], tuple[Recommendation, ...]]],
    reference: Reference,
) -> Document:
    """Say how many connections the workload holds, against which limit, what breaks first, and what to change."""
    sections: list[Section] = []
    leads: list[str] = []
    warnings: list[str] = []
    several = len(answers) > 1
    for sized, options, recommendations in answers:
        name = f"{sized.database.name}: " if several else ""
        leads.extend(name + sentence for sentence in _size_lead(sized, recommendations[0]))
        if not options[0].holds and recommendations[0].option is None:
            warnings.append(
                f"{name}no single change holds; split the functions over several databases or combine changes."
            )
        sections.extend(_size_sections(name, sized, options, recommendations))
    sections.append(Section(title="How it is computed", detail=True, blocks=(Notes(items=METHOD),)))
    return Document(
        title="Connections of this fleet",
        subtitle=f"{len(workload.functions)} {plural('function', len(workload.functions))} from {workload.source}",
        lead=tuple(leads),
        label="plan",
        highlights=tuple(_highlight(sized, several=several) for sized, _, _ in answers),
        provenance=(
            *((part, date) for part, date in reference.dates()),
            ("idle timeout", f"{workload.platform.idle_timeout_s:g} s"),
        ),
        sections=tuple(sections),
        warnings=tuple(warnings),
        accents=tuple(function.name for function in workload.functions),
        data={
            "schema": SCHEMA,
            "kind": "plan-size",
            "source": workload.source,
            "reference": dict(reference.dates()),
            "databases": [_size_data(*answer) for answer in answers],
        },
    )


METHOD = (
    (
        "typical",
        "the mean number of environments that the arrivals keep alive: the most in flight within the idle timeout",
    ),
    ("peak", "at the busy rate, exceeded on one day in twenty"),
    ("worst case", "every cap reached at once: reserved concurrency, a queue's maximum, or the account's concurrency"),
    ("a deploy", "old and new environments beside each other, both at their peak"),
    ("the proxy's queue", "M/M/c with the server connections as servers"),
    ("prices", "list prices of the dated file, without storage; --data takes your own"),
)


def _size_lead(sized: DatabaseSize, recommendation: Recommendation) -> list[str]:
    allowed = sized.limit.for_functions
    worst = "without bound" if sized.total.worst is None else f"{sized.total.worst:,}"
    lead = [
        (
            f"{shorten(sized.total.typical)} connections in a usual hour, {sized.total.peak:,} at the busiest "
            f"moment, {sized.deploy:,} in a deploy, {worst} in the worst case; the database leaves {allowed:,} to the "
            "functions."
        )
    ]
    broken = sized.first_break
    lead.append("Nothing here breaks it." if broken is None else f"First to break: {broken.name} ({broken.what}).")
    option = recommendation.option
    if option is not None:
        what = "; ".join(option.changes) if option.changes else "leave it as it is"
        lead.append(f"For {recommendation.goal}: {what}.")
    return lead


def _highlight(sized: DatabaseSize, *, several: bool) -> Highlight:
    broken = sized.first_break
    return Highlight(
        name=sized.database.name if several else "connections",
        number=f"{sized.deploy:,} / {sized.limit.for_functions:,}",
        what="connections in a deploy at the busiest moment, of what the limit leaves",
        formula=sized.limit.arithmetic,
        trouble="" if broken is None else f"first to break: {broken.name}",
    )


def _range(value: Range) -> tuple[str, str, str]:
    return shorten(value.typical), f"{value.peak:,}", "no cap" if value.worst is None else f"{value.worst:,}"


def _size_sections(
    name: str, sized: DatabaseSize, options: tuple[Option, ...], recommendations: tuple[Recommendation, ...]
) -> list[Section]:
    allowed = sized.limit.for_functions
    rows = [
        (Cell(one.function.name, detail=one.function.strategy), *(Cell(text) for text in _range(one.connections)))
        for one in sized.functions
    ]
    totals = (sized.total.typical, sized.total.peak, sized.total.worst)
    rows.append(
        (
            Cell("all"),
            *(
                Cell(text, tone=_tone(value is not None and value <= allowed))
                for text, value in zip(_range(sized.total), totals, strict=True)
            ),
        )
    )
    rows.append((Cell("the limit leaves"), *(Cell(f"{allowed:,}") for _ in range(3))))
    table = Table(columns=("", "typical", "peak", "worst case"), rows=tuple(rows), numeric=True)
    limit = sized.limit
    sums = [(one.function.name, f"peak: {one.peak_arithmetic}; worst: {one.arithmetic}") for one in sized.functions]
    if len(sized.functions) > 1:
        parts = " + ".join(f"{one.connections.peak:,}" for one in sized.functions)
        sums.append(("together", f"peak: {parts} = {sized.total.peak:,}"))
    sums.append(("limit", f"{limit.arithmetic} ({limit.origin}), less {limit.reserved} kept for others = {allowed:,}"))
    bars = BarFigure(
        title="Connections against the limit",
        alternative=(
            f"Typical {shorten(sized.total.typical)}, peak {sized.total.peak:,}, deploy {sized.deploy:,}, limit "
            f"{allowed:,}."
        ),
        about="Function",
        series=("typical", "peak", "worst case"),
        bars=(
            *(
                (
                    one.function.name,
                    (one.connections.typical, float(one.connections.peak), float(one.connections.worst or 0)),
                )
                for one in sized.functions
            ),
            ("the limit", (float(allowed),) * 3),
        ),
    )
    breaks = Table(
        columns=("when", "connections", "what happens"),
        plain=True,
        rows=tuple(
            (
                Cell(event.name),
                Cell(
                    "no cap" if event.connections is None else f"{event.connections:,} of {allowed:,}",
                    tone=_tone(event.holds),
                ),
                Cell(event.what),
            )
            for event in sized.breaks
        ),
    )
    return [
        Section(title=f"{name}Connections", blocks=(table, bars)),
        Section(title=f"{name}The sums", blocks=(Notes(items=tuple(sums)),)),
        Section(title=f"{name}What breaks first", blocks=(breaks,)),
        Section(title=f"{name}The server's work", blocks=(Paragraph(text=_work(sized)), *_queue(sized))),
        Section(title=f"{name}What to change", blocks=_options(options, recommendations)),
    ]


def _work(sized: DatabaseSize) -> str:
    text = (
        f"{shorten(sized.connects_per_s)} connects a second × {sized.costs.connect_cpu_ms:g} ms of server CPU = "
        f"{shorten(sized.connect_cores)} cores; queries take {shorten(sized.query_cores)} cores"
    )
    if sized.cpu_share is not None:
        text += f"; together {percent(sized.cpu_share)} of its {sized.vcpus} processors"
    return f"{text}. Costs: {sized.costs.source}; `warmline plan calibrate` measures your own."


def _queue(sized: DatabaseSize) -> tuple[Notes, ...]:
    queue = sized.proxy
    if queue is None:
        return ()
    return (
        Notes(
            items=(
                (
                    "proxy",
                    (
                        f"{queue.size:,} server connections, {shorten(queue.load)} in use at the busy rate; "
                        f"{percent(queue.waits_share)} of borrows wait, {shorten(queue.mean_wait_ms)} ms on average; "
                        f"{percent(queue.timeout_share)} pass the borrow timeout; MaxConnectionsPercent needs "
                        f"{queue.percent_needed:.0f}"
                    ),
                ),
            )
        ),
    )


def _options(options: tuple[Option, ...], recommendations: tuple[Recommendation, ...]) -> tuple[Table | Notes, ...]:
    goals: dict[str, list[str]] = {}
    for recommendation in recommendations:
        if recommendation.option:
            goals.setdefault(recommendation.option.name, []).append(recommendation.goal)
    rows = tuple(
        (
            Cell(option.name),
            Cell(f"{option.size.deploy:,} of {option.size.limit.for_functions:,}", tone=_tone(option.holds)),
            Cell(money(option.per_month) + ("" if option.database_priced else " *")),
            Cell(f"{option.added_ms:.2g} ms"),
            Cell(", ".join(goals.get(option.name, ()))),
        )
        for option in options
    )
    star = "" if all(option.database_priced for option in options) else " * without the database: no price for it."
    table = Table(
        columns=("option", "in a deploy", "a month", "connecting adds", "best for"),
        rows=rows,
        plain=True,
        caption=f"Prices: functions, database and proxy.{star}",
    )
    notes = [
        (
            recommendation.goal,
            "; ".join(recommendation.option.changes or ("leave it as it is",)) + f": {recommendation.why}",
        )
        if recommendation.option
        else (recommendation.goal, recommendation.why)
        for recommendation in recommendations
    ]
    return table, Notes(items=tuple(notes))


def _size_data(
    sized: DatabaseSize, options: tuple[Option, ...], recommendations: tuple[Recommendation, ...]
) -> dict[str, Any]:
    queue = sized.proxy
    return {
        "database": sized.database.name,
        "limit": {
            "max_connections": sized.limit.max_connections,
            "for_functions": sized.limit.for_functions,
            "reserved": sized.limit.reserved,
            "origin": sized.limit.origin,
            "arithmetic": sized.limit.arithmetic,
        },
        "functions": [
            {
                "function": one.function.name,
                "strategy": one.function.strategy,
                "in_flight": one.in_flight,
                "environments": _range_data(one.environments),
                "connections": _range_data(one.connections),
                "connects_per_s": one.connects_per_s,
                "cold_probability": one.cold_probability,
                "added_ms": one.added_ms,
                "throttled_share": one.throttled_share,
                "peak_arithmetic": one.peak_arithmetic,
                "worst_arithmetic": one.arithmetic,
            }
            for one in sized.functions
        ],
        "connections": {**_range_data(sized.total), "deploy": sized.deploy},
        "server": {
            "connects_per_s": sized.connects_per_s,
            "connect_cores": sized.connect_cores,
            "query_cores": sized.query_cores,
            "vcpus": sized.vcpus,
            "cpu_share": sized.cpu_share,
            "costs": sized.costs.source,
        },
        "proxy": None
        if queue is None
        else {
            "server_connections": queue.size,
            "load": queue.load,
            "waits_share": queue.waits_share,
            "mean_wait_ms": None if queue.mean_wait_ms == float("inf") else queue.mean_wait_ms,
            "timeout_share": queue.timeout_share,
            "max_connections_percent_needed": queue.percent_needed,
        },
        "breaks": [
            {"when": event.name, "connections": event.connections, "holds": event.holds, "what": event.what}
            for event in sized.breaks
        ],
        "first_break": None if sized.first_break is None else sized.first_break.name,
        "options": [
            {
                "option": option.name,
                "changes": list(option.changes),
                "holds": option.holds,
                "cannot_break": option.cannot_break,
                "connections": {**_range_data(option.size.total), "deploy": option.size.deploy},
                "max_connections": option.size.limit.max_connections,
                "usd_per_month": round(option.per_month, 2),
                "database_priced": option.database_priced,
                "added_ms": None if option.added_ms == float("inf") else option.added_ms,
                "throttled_share": option.throttled_share,
            }
            for option in options
        ],
        "recommendations": [
            {
                "goal": recommendation.goal,
                "option": None if recommendation.option is None else recommendation.option.name,
                "changes": [] if recommendation.option is None else list(recommendation.option.changes),
                "why": recommendation.why,
            }
            for recommendation in recommendations
        ],
    }


def _range_data(value: Range) -> dict[str, float | int | None]:
    return {"typical": value.typical, "peak": value.peak, "worst": value.worst}


def _tone(good: bool) -> Tone:  # noqa: FBT001 - one truth, one tone
    return Tone.GOOD if good else Tone.POOR
