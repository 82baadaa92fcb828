"""Managed Instances: every environment runs several processes, each with its own globals.

"One connection outside the handler" is then one a process: 2 environments of 8 processes hold 16 connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmline_toolkit.lab.checks import no_more_than_environments, none_failed
from warmline_toolkit.lab.scenario import Scenario, Settings

if TYPE_CHECKING:
    from warmline_toolkit.lab.stage import Stage
    from warmline_toolkit.measure.summary import RunSummary


async def play(stage: Stage) -> None:
    """Start the environments, then send waves as wide as there are processes."""
    width = stage.settings.environments * stage.settings.processes
    await stage.platform.prewarm(stage.settings.environments)
    for _ in range(3):
        await stage.wave(width)
        await stage.settle()


def check(summary: RunSummary, settings: Settings) -> list[str]:
    """A kept connection is one a process, not one an environment."""
    wrong = []
    for strategy in summary.strategies:
        wrong += none_failed(strategy)
        if strategy.strategy in ("keep-open", "pool"):
            wrong += no_more_than_environments(strategy, settings)
            if strategy.connections_opened.lowest <= settings.environments:
                wrong.append(
                    f"{strategy.strategy}: opened {strategy.connections_opened.lowest} connections, "
                    f"no more than the {settings.environments} environments: the processes shared them"
                )
    return wrong


SCENARIO = Scenario(
    name="managed-instances",
    title="Managed Instances: 2 environments of 8 processes, 20 connections",
    question="What is one kept connection where an environment has several processes?",
    expectation="keep-open and pool hold one connection a process: up to 16, not 2.",
    settings=Settings(requests=48, environments=2, processes=8, max_connections=20, trials=2),
    play=play,
    check=check,
)
