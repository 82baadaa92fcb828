"""Costs and durations from measurements: a lab run's events, or connects and queries timed on a server.

Pure: the events come from `warmline_toolkit.measure`, the timings from the command line.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from warmline_toolkit.model.events import Initialised, Invoked, RunStarted, ServerCounted, TrialStarted
from warmline_toolkit.plan.errors import NotMeasured
from warmline_toolkit.plan.workload import Costs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from warmline_toolkit.model.events import Event

FEWEST = 5
"""Fewer warm invocations than this are no distribution."""


@dataclass(kw_only=True)
class StrategyTimes:
    """What a run holds about one strategy."""

    warm_ms: list[float] = field(default_factory=list)
    cold_ms: list[float] = field(default_factory=list)
    """Handler time of the invocations that waited for a new environment."""
    init_ms: list[float] = field(default_factory=list)
    trials: list[tuple[int, int, float]] = field(default_factory=list)
    """(connections opened, invocations, server CPU ms) of each trial whose server told its CPU."""


@dataclass(frozen=True, kw_only=True)
class RunTimes:
    """What a lab run holds for the planner."""

    scenario: str
    server: str
    strategies: dict[str, StrategyTimes]

    def of(self, strategy: str | None) -> StrategyTimes:
        """Return the strategy's times, or the only one's; raise `NotMeasured` where that is not possible."""
        known = ", ".join(self.strategies) or "none"
        if strategy is None and len(self.strategies) == 1:
            return next(iter(self.strategies.values()))
        if strategy not in self.strategies:
            raise NotMeasured(
                f"The run {self.scenario!r} has no strategy {strategy!r}; it holds: {known}.",
                next_step="Name one of them with --strategy.",
            )
        return self.strategies[strategy]


def times_of(events: Iterable[Event]) -> RunTimes:
    """Collect durations and server CPU from a run's events. Only invocations that succeeded count."""
    scenario, server = "", "unknown server"
    found: dict[str, StrategyTimes] = {}
    invoked: dict[tuple[str, int], int] = {}
    for event in events:
        one = found.setdefault(event.strategy, StrategyTimes()) if event.strategy else None
        if isinstance(event, RunStarted):
            scenario = event.scenario
            server = str(event.provenance.get("server", server))
        elif isinstance(event, TrialStarted):
            server = event.server
        elif one is None:
            continue
        elif isinstance(event, Initialised) and event.outcome == "ok":
            one.init_ms.append(event.duration_ms)
        elif isinstance(event, Invoked):
            key = (event.strategy, event.trial)
            invoked[key] = invoked.get(key, 0) + 1
            if event.outcome == "ok":
                (one.cold_ms if event.cold else one.warm_ms).append(event.handler_ms)
        elif isinstance(event, ServerCounted) and event.cpu_ms is not None and event.opened is not None:
            one.trials.append((event.opened, invoked.get((event.strategy, event.trial), 0), event.cpu_ms))
    return RunTimes(scenario=scenario, server=server, strategies=found)


def samples_of(run: RunTimes, strategy: str | None) -> tuple[tuple[float, ...], float]:
    """Return the warm durations to draw from, and the mean Init, both in ms."""
    times = run.of(strategy)
    if len(times.warm_ms) < FEWEST:
        raise NotMeasured(
            f"The run {run.scenario!r} holds {len(times.warm_ms)} warm invocations that succeeded; at least "
            f"{FEWEST} are needed for a distribution.",
            next_step="Take a longer run: warmline lab run --requests 200.",
        )
    return tuple(times.warm_ms), statistics.fmean(times.init_ms) if times.init_ms else 0.0


def costs_of_run(run: RunTimes) -> Costs:
    """Return a connect's and a query's costs from a run that has per-request beside a strategy that keeps connections.

    Connect time: what per-request's median warm invocation takes longer. Server CPU: least squares over all trials of
    CPU = connects × connect + invocations × query.
    """
    kept = next((name for name in ("keep-open", "pool") if name in run.strategies), None)
    if kept is None or "per-request" not in run.strategies:
        raise NotMeasured(
            f"The run {run.scenario!r} holds {', '.join(run.strategies) or 'no strategy'}; costs need per-request "
            "beside keep-open or pool.",
            next_step="warmline lab run --scenario guide",
        )
    per_request, other = run.strategies["per-request"], run.strategies[kept]
    for name, times in (("per-request", per_request), (kept, other)):
        if len(times.warm_ms) < FEWEST:
            raise NotMeasured(
                f"The run {run.scenario!r} holds {len(times.warm_ms)} warm invocations of {name}; at least "
                f"{FEWEST} are needed.",
                next_step="Take a longer run: warmline lab run --requests 200.",
            )
    connect_ms = statistics.median(per_request.warm_ms) - statistics.median(other.warm_ms)
    trials = [*per_request.trials, *other.trials]
    connect_cpu_ms, query_cpu_ms = _least_squares(trials)
    count = len(per_request.warm_ms) + len(other.warm_ms)
    return Costs(
        connect_ms=max(0.0, connect_ms),
        connect_cpu_ms=connect_cpu_ms,
        query_cpu_ms=query_cpu_ms,
        source=f"lab run {run.scenario!r} on {run.server}, {count} warm invocations, {len(trials)} trials",
    )


def costs_of_timings(
    connects_ms: Sequence[float], *, connects_cpu_ms: float, queries: int, queries_cpu_ms: float, source: str
) -> Costs:
    """Return costs from timed connects and queries: the median connect, and server CPU over how many there were."""
    return Costs(
        connect_ms=statistics.median(connects_ms),
        connect_cpu_ms=max(0.0, connects_cpu_ms) / len(connects_ms),
        query_cpu_ms=max(0.0, queries_cpu_ms) / queries,
        source=source,
    )


def data_file(costs: Costs, engines: Sequence[str], *, as_of: str) -> str:
    """Return a file for --data that gives these costs to *engines*."""
    values: dict[str, Any] = {
        "connect_ms": round(costs.connect_ms, 4),
        "connect_cpu_ms": round(costs.connect_cpu_ms, 5),
        "query_cpu_ms": round(costs.query_cpu_ms, 5),
        "source": costs.source,
    }
    document = {"costs": {"as_of": as_of, **{engine: dict(values) for engine in engines}}}
    return "# Measured by `warmline plan calibrate`. Use it with --data.\n" + yaml.safe_dump(
        document, sort_keys=False, allow_unicode=True
    )


def _least_squares(trials: Sequence[tuple[int, int, float]]) -> tuple[float, float]:
    """Solve CPU = connects × a + invocations × b for non-negative a and b."""
    opened_opened = sum(opened * opened for opened, _, _ in trials)
    opened_invoked = sum(opened * invoked for opened, invoked, _ in trials)
    invoked_invoked = sum(invoked * invoked for _, invoked, _ in trials)
    opened_cpu = sum(opened * cpu for opened, _, cpu in trials)
    invoked_cpu = sum(invoked * cpu for _, invoked, cpu in trials)
    determinant = opened_opened * invoked_invoked - opened_invoked * opened_invoked
    if determinant <= 0:
        raise NotMeasured(
            "The run's trials do not tell connects from queries: the server's CPU was not measured, or every trial "
            "opens as many connections for each invocation.",
            next_step="Take a run with a private server and several requests for each environment.",
        )
    a = (opened_cpu * invoked_invoked - invoked_cpu * opened_invoked) / determinant
    b = (invoked_cpu * opened_opened - opened_cpu * opened_invoked) / determinant
    if a < 0:
        return 0.0, invoked_cpu / invoked_invoked
    if b < 0:
        return opened_cpu / opened_opened, 0.0
    return a, b
