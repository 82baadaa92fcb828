"""Numbers of a run, computed from its events: per strategy, over its trials, each with its spread."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from warmline_toolkit.errors import UsageError
from warmline_toolkit.measure.quantiles import Latency, Spread, latency, spread
from warmline_toolkit.measure.trials import MS_PER_S, Trial, failure
from warmline_toolkit.model.events import Fault, Noted, RunEnded, RunStarted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from warmline_toolkit.model.events import Event, Invoked


class NothingMeasured(UsageError):
    """The run file holds no trial that ran to its end, so there is no number to report."""

    code = "WL-R004"


@dataclass(frozen=True, kw_only=True)
class StrategySummary:
    """One strategy's numbers. A `Spread` is over the trials; None where no trial could tell the number."""

    strategy: str
    server: str
    path: str
    limit: int | None
    trials: tuple[Trial, ...]

    invocations: Spread
    environments: Spread
    cold_starts: Spread
    connections_opened: Spread
    """Sessions that the server granted: by its own counter, by the relay where the server cannot tell."""
    client_connections_opened: Spread
    """Sessions as the relay on the function's side counted them: the same number on a direct path."""
    connections_peak: Spread
    """The larger of the two peaks below, the relay's no higher than the limit."""
    connections_peak_relay: Spread | None
    connections_peak_server: Spread | None
    still_open: Spread
    ghosts: Spread
    """Server connections that reaped environments left open during the trial."""
    ghosts_at_end: Spread | None
    refused: Spread
    refused_by_code: dict[str, Spread]
    errors: Spread
    errors_by_code: dict[str, Spread]
    throttled: Spread
    dropped: Spread
    resets: Spread
    latency: Latency | None
    """Time in the handler (from handing over the event until its response), failed invocations too."""
    latency_cold: Latency | None
    latency_warm: Latency | None
    caller_latency: Latency | None
    """What the caller waits: a cold start's Init and any queueing are in it."""
    init: Latency | None
    answers_per_busy_second: Spread | None
    """Successful invocations for each second that environments spent in handlers."""
    answers_per_busy_second_warm: Spread | None
    """The same of warm invocations alone."""
    round_trips_per_invocation: Spread | None
    server_cpu_ms_per_invocation: Spread | None
    opened_by_server: bool
    """Whether `connections_opened` is the server's own counter."""

    def latencies(self) -> list[tuple[float, bool]]:
        """Return every handler latency in milliseconds, with whether it was a cold start."""
        return [(event.handler_ms, event.cold) for trial in self.trials for event in trial.invoked]


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """A whole run. *unfinished* names the trials that were cut and are in no number."""

    scenario: str
    title: str
    expectation: str
    started: str
    settings: dict[str, Any]
    provenance: dict[str, Any]
    complete: bool
    strategies: tuple[StrategySummary, ...]
    unfinished: tuple[str, ...] = ()
    notes: tuple[Noted, ...] = ()
    faults: tuple[Fault, ...] = field(default=())

    def strategy(self, name: str) -> StrategySummary:
        """Return the strategy called *name*; raises `KeyError`."""
        for candidate in self.strategies:
            if candidate.strategy == name:
                return candidate
        raise KeyError(name)

    @property
    def trial_count(self) -> int:
        """How many trials the strategy with the most has."""
        return max(len(strategy.trials) for strategy in self.strategies)


def summarise(events: Iterable[Event]) -> RunSummary:
    """Compute a run's numbers from its *events*, the first of which is its `RunStarted`.

    Strategies keep the order in which they first ran. A trial that did not end is left out and named; where none
    ended, raises `NothingMeasured`. Keeps the events in memory: some 1 KB each.
    """
    stream = iter(events)
    head = next(stream, None)
    if not isinstance(head, RunStarted):
        raise NothingMeasured("There is no run: no run-started event.", next_step="Give the events of one run.")
    trials: dict[tuple[str, int], Trial] = {}
    notes: list[Noted] = []
    faults: list[Fault] = []
    complete = False
    for event in stream:
        match event:
            case RunEnded():
                complete = event.complete
            case Fault():
                faults.append(event)
            case Noted():
                notes.append(event)
        if event.strategy:
            key = (event.strategy, event.trial)
            trials.setdefault(key, Trial(strategy=event.strategy, number=event.trial)).add(event)

    finished = [trial for trial in trials.values() if trial.finished]
    unfinished = tuple(f"{trial.strategy}, trial {trial.number}" for trial in trials.values() if not trial.finished)
    if not finished:
        raise NothingMeasured(
            f"No trial of this run ended: {len(unfinished)} began.",
            next_step="Run it again and let at least one trial finish.",
        )
    names = list(dict.fromkeys(trial.strategy for trial in finished))
    return RunSummary(
        scenario=head.scenario,
        title=head.title,
        expectation=head.expectation,
        started=head.started,
        settings=head.settings,
        provenance=head.provenance,
        complete=complete,
        strategies=tuple(_strategy([trial for trial in finished if trial.strategy == name]) for name in names),
        unfinished=unfinished,
        notes=tuple(notes),
        faults=tuple(faults),
    )


def _strategy(trials: Sequence[Trial]) -> StrategySummary:
    trials = sorted(trials, key=lambda trial: trial.number)
    first = trials[0].started
    assert first is not None  # noqa: S101 - only finished trials come here

    def over(number: Callable[[Trial], float | None]) -> Spread | None:
        return spread(number(trial) for trial in trials)

    def counted(number: Callable[[Trial], float]) -> Spread:
        value = over(number)
        assert value is not None  # noqa: S101 - a count is never unknown
        return value

    def distribution(pick: Callable[[Trial], Iterable[float]]) -> Latency | None:
        return latency(pick(trial) for trial in trials)

    return StrategySummary(
        strategy=trials[0].strategy,
        server=first.server,
        path=first.path,
        limit=first.limit,
        trials=tuple(trials),
        invocations=counted(lambda trial: len(trial.invoked)),
        environments=counted(lambda trial: trial.environments),
        cold_starts=counted(lambda trial: trial.cold_starts),
        connections_opened=counted(_opened),
        client_connections_opened=counted(lambda trial: trial.relay_opened),
        connections_peak=counted(_peak),
        connections_peak_relay=over(lambda trial: trial.relay_peak if trial.direct else None),
        connections_peak_server=over(lambda trial: trial.server_peak),
        still_open=counted(_still_open),
        ghosts=counted(lambda trial: trial.ghosts),
        ghosts_at_end=over(lambda trial: trial.counted.ghosts if trial.counted else None),
        refused=counted(lambda trial: sum(_refused(trial).values())),
        refused_by_code=_by_code(trials, _refused),
        errors=counted(lambda trial: sum(trial.errors_by_code.values())),
        errors_by_code=_by_code(trials, lambda trial: trial.errors_by_code),
        throttled=counted(lambda trial: trial.throttled),
        dropped=counted(lambda trial: trial.dropped),
        resets=counted(lambda trial: len(trial.resets)),
        latency=distribution(lambda trial: (event.handler_ms for event in trial.invoked)),
        latency_cold=distribution(lambda trial: (event.handler_ms for event in trial.invoked if event.cold)),
        latency_warm=distribution(lambda trial: (event.handler_ms for event in trial.invoked if not event.cold)),
        caller_latency=distribution(lambda trial: (event.wait_ms + event.handler_ms for event in trial.invoked)),
        init=distribution(lambda trial: (event.duration_ms for event in trial.initialised)),
        answers_per_busy_second=over(lambda trial: _answers_per_busy_second(trial.invoked)),
        answers_per_busy_second_warm=over(
            lambda trial: _answers_per_busy_second([event for event in trial.invoked if not event.cold])
        ),
        round_trips_per_invocation=over(
            lambda trial: _per(sum(event.round_trips for event in trial.invoked), len(trial.invoked))
        ),
        server_cpu_ms_per_invocation=over(
            lambda trial: _per(trial.counted.cpu_ms if trial.counted else None, len(trial.invoked))
        ),
        opened_by_server=all(trial.counted is not None and trial.counted.opened is not None for trial in trials),
    )


def _opened(trial: Trial) -> int:
    if trial.counted is not None and trial.counted.opened is not None:
        return trial.counted.opened
    return trial.relay_opened


def _peak(trial: Trial) -> int:
    """Take the larger of the two witnesses, the relay's no higher than the limit.

    The relay counts a connection from when it reaches the server, its login included, so it may see one too many while
    another closes; more sessions than the limit there cannot be. Behind a proxy the relay's connections are clients of
    the proxy, not of the server: only samples count.
    """
    sampled = trial.server_peak
    if not trial.direct and sampled is not None:
        return sampled
    limit = trial.started.limit if trial.started else None
    relayed = trial.relay_peak if limit is None else min(trial.relay_peak, limit)
    return max(relayed, sampled or 0)


def _still_open(trial: Trial) -> int:
    if trial.counted is not None and trial.counted.still_open is not None:
        return trial.counted.still_open
    return trial.relay_still_open


def _refused(trial: Trial) -> dict[str, int]:
    """Take the server's counts; a server that tells no counters at all leaves the relay's."""
    if trial.counted is not None and (trial.counted.opened is not None or trial.counted.refused):
        return trial.counted.refused
    return trial.relay_refused


def _by_code(trials: Sequence[Trial], counts: Callable[[Trial], dict[str, int]]) -> dict[str, Spread]:
    """Return each code's count over the trials; a code that any trial met is listed, most frequent first."""
    totals: dict[str, int] = {}
    for trial in trials:
        for code, count in counts(trial).items():
            totals[code] = totals.get(code, 0) + count
    ordered = sorted((code for code, total in totals.items() if total), key=lambda code: (-totals[code], code))
    spreads = {code: spread(counts(trial).get(code, 0) for trial in trials) for code in ordered}
    return {code: value for code, value in spreads.items() if value is not None}


def _answers_per_busy_second(invoked: Sequence[Invoked]) -> float | None:
    busy_ms = sum(event.handler_ms for event in invoked)
    answered = sum(failure(event) is None for event in invoked)
    return answered / (busy_ms / MS_PER_S) if busy_ms else None


def _per(total: float | None, count: int) -> float | None:
    return total / count if total is not None and count else None
