"""The guide's question: 5 environments, a database that takes 5 connections, 25 requests.

The requests come in waves, one request an environment at once, and a wave begins when the one before is answered and
the server has finished closing what was closed. So the counts are exact: closing after each request opens one
connection a request, keeping it open (alone or in a pool) one an environment. What happens without that pause between
waves, `burst` and `steady` show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmline_toolkit.lab.checks import equals, none_failed, none_refused
from warmline_toolkit.lab.scenario import Scenario, Settings

if TYPE_CHECKING:
    from warmline_toolkit.lab.stage import Stage
    from warmline_toolkit.measure.summary import RunSummary


async def play(stage: Stage) -> None:
    """Send the requests in waves as wide as there are environments (or as `concurrency` says)."""
    width = stage.settings.concurrency or stage.settings.environments * stage.settings.processes
    left = stage.settings.requests
    while left > 0:
        await stage.wave(min(width, left))
        await stage.settle()
        left -= width


def check(summary: RunSummary, settings: Settings) -> list[str]:
    """Closing opens one a request, keeping at most one an environment; nothing is refused, nothing fails."""
    wrong = []
    for strategy in summary.strategies:
        if strategy.strategy == "per-request":
            wrong += equals(strategy, "connections opened", strategy.connections_opened, settings.requests)
        elif strategy.strategy in ("keep-open", "pool"):
            environments = min(settings.environments, settings.concurrency or settings.environments, settings.requests)
            wrong += equals(
                strategy, "connections opened", strategy.connections_opened, environments * settings.processes
            )
        wrong += none_refused(strategy) + none_failed(strategy)
    return wrong


SCENARIO = Scenario(
    name="guide",
    title="The guide's question: 25 requests, 5 environments, 5 connections",
    question="How many connections does each strategy open?",
    expectation="per-request opens one connection a request, keep-open and pool one an environment; none is refused.",
    settings=Settings(requests=25, environments=5, max_connections=5),
    play=play,
    check=check,
)
