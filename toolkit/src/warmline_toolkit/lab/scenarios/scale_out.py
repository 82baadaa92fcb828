"""A ramp: every wave is twice as wide as the one before, up to the largest number of environments.

What a deploy or a busy hour does to the database: connections that are kept grow with the environments, pass the limit,
and stay when the load is gone again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmline_toolkit.lab.checks import equals, proxied, some_refused
from warmline_toolkit.lab.scenario import Scenario, Settings

if TYPE_CHECKING:
    from warmline_toolkit.lab.stage import Stage
    from warmline_toolkit.measure.summary import RunSummary


async def play(stage: Stage) -> None:
    """Double the number of requests at once until every environment is in use."""
    width = 1
    while width < stage.settings.environments:
        await stage.wave(width)
        await stage.settle()
        width *= 2
    await stage.wave(stage.settings.environments)
    await stage.settle()


def check(summary: RunSummary, settings: Settings) -> list[str]:
    """Kept connections fill the limit, and what is above it is refused."""
    if settings.environments <= settings.max_connections:
        return []
    wrong = []
    for strategy in summary.strategies:
        if strategy.strategy in ("keep-open", "pool"):
            wrong += some_refused(strategy)
            wrong += equals(strategy, "connections at the end", strategy.still_open, settings.max_connections)
    return wrong + proxied(summary)


SCENARIO = Scenario(
    name="scale-out",
    title="Scale-out: from 1 to 24 environments, 20 connections",
    question="What do kept connections do when the fleet grows past the limit?",
    expectation="keep-open and pool fill the limit, hold it after the load is gone, and are refused above it.",
    settings=Settings(requests=0, environments=24, max_connections=20, trials=3, rtt_ms=1.0),
    play=play,
    check=check,
)
