"""A run: every strategy of a scenario, trial by trial, interleaved, on one server; everything recorded."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from warmline_toolkit.errors import UsageError
from warmline_toolkit.lab.journal import Journal
from warmline_toolkit.lab.platform import Platform
from warmline_toolkit.lab.route import open_route
from warmline_toolkit.lab.settings import PlatformSettings
from warmline_toolkit.lab.stage import Stage
from warmline_toolkit.lab.witness import Witness, idle_cpu_ms_per_s
from warmline_toolkit.model.events import Initialised, RunEnded, RunStarted, TrialEnded, TrialStarted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from warmline_toolkit.lab.scenario import Scenario, Settings
    from warmline_toolkit.lab.strategy import Strategy
    from warmline_toolkit.model.events import Event
    from warmline_toolkit.servers import AnyServer


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What is run: a scenario with its settings, the strategies, and what the handlers get."""

    scenario: Scenario
    settings: Settings
    strategies: tuple[Strategy, ...]
    event: dict[str, Any]
    environment: Mapping[str, str]


def order(strategies: Sequence[Strategy], trial: int) -> list[Strategy]:
    """Return the strategies in the order of *trial*: each trial begins with another, so that none always runs first."""
    first = (trial - 1) % len(strategies)
    return [*strategies[first:], *strategies[:first]]


class HandlerDoesNotStart(UsageError):
    """The handler's Init fails: it cannot be imported, ends its process, or takes longer than Lambda allows."""

    code = "WL-L110"


async def rehearse(experiment: Experiment, server: AnyServer) -> None:
    """Start one environment of each handler and end it again, so that one that cannot start is told of at once.

    Raises `HandlerDoesNotStart` with the runtime's own error. Costs an Init a handler; nothing of it is recorded.
    """
    for strategy in experiment.strategies:
        events: list[Event] = []
        settings = _platform_settings(experiment, strategy)
        async with Platform(settings, strategy.handler, journal=Journal(events.append), database=server) as platform:
            await platform.prewarm(1)
            await platform.reap_all("fin")
        for event in events:
            if isinstance(event, Initialised) and event.outcome != "ok":
                what = f"{event.error_type}: {event.error_message}" if event.error_type else event.outcome
                raise HandlerDoesNotStart(
                    f"{strategy.handler.source} does not start: {what}",
                    next_step="Make sure that this Python (or Node) finds what it imports, and that Init needs "
                    "no variable that --env does not set.",
                )


async def run(
    experiment: Experiment, server: AnyServer, record: Callable[[Event], None], provenance: Mapping[str, Any]
) -> None:
    """Play every trial on *server* and record it. Stops everything it started, also when it is cancelled."""
    journal = Journal(record)
    settings = experiment.settings
    await rehearse(experiment, server)
    idle_cpu = await idle_cpu_ms_per_s(server)
    facts = {**provenance, **({} if idle_cpu is None else {"server_idle_cpu_ms_per_s": round(idle_cpu, 2)})}
    record(
        RunStarted(
            **journal.stamp(),
            scenario=experiment.scenario.name,
            title=experiment.scenario.title,
            expectation=experiment.scenario.expectation,
            started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            settings={
                **dataclasses.asdict(settings),
                "strategies": [strategy.label for strategy in experiment.strategies],
                "handlers": {strategy.label: strategy.handler.name for strategy in experiment.strategies},
            },
            provenance=facts,
        )
    )
    complete = False
    try:
        with server.observer() as observer:
            for trial in range(1, settings.trials + 1):
                for strategy in order(experiment.strategies, trial):
                    trial_journal = journal.of_trial(trial, strategy.label)
                    witness = Witness(server, observer, trial_journal, idle_cpu_ms_per_s=idle_cpu)
                    await _trial(experiment, strategy, server, witness, trial_journal)
        complete = True
    finally:
        record(RunEnded(**journal.stamp(), complete=complete))


async def _trial(
    experiment: Experiment, strategy: Strategy, server: AnyServer, witness: Witness, journal: Journal
) -> None:
    settings = experiment.settings
    platform_settings = _platform_settings(experiment, strategy)
    before = await witness.open_now() or 0
    async with witness.watch():
        journal.record(
            TrialStarted(
                **journal.stamp(),
                limit=server.max_connections,
                server=f"{server.engine} {server.version}",
                path=strategy.route,
            )
        )
        with open_route(strategy.route, server, max_connections=settings.max_connections) as route:
            async with Platform(
                platform_settings, strategy.handler, journal=journal, database=server, route=route
            ) as platform:
                stage = Stage(
                    experiment=experiment, strategy=strategy, platform=platform, witness=witness, journal=journal
                )
                await experiment.scenario.play(stage)
                journal.record(await stage.counted())
                journal.record(TrialEnded(**journal.stamp()))
                await platform.reap_all("fin")
                platform.release_ghosts()
                await stage.settle()
    await witness.until_at_most(before)


def _platform_settings(experiment: Experiment, strategy: Strategy) -> PlatformSettings:
    settings = experiment.settings
    return PlatformSettings(
        timeout_s=settings.timeout_s,
        max_concurrency=settings.environments * settings.processes,
        scale_out_per_s=settings.scale_out_per_s,
        freeze=settings.freeze and strategy.freeze,
        idle_timeout_s=settings.idle_timeout_s,
        reap=settings.reap,
        processes_per_environment=settings.processes,
        rtt_ms=settings.rtt_ms,
        environment=experiment.environment,
    )
