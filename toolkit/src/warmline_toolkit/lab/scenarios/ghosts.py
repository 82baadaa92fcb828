"""Environments vanish without a word to the server, and new ones need connections.

A wave connects, the platform reaps its environments silently (no FIN, no RST: the server sees nothing), and a second
wave runs on new ones, which were initialised beforehand but are not connected. The connections of the first are ghosts:
the server holds their slots until its own idle timeout (8 hours by default, a few seconds here). A third wave shows
that they are free again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from warmline_toolkit.lab.checks import equals, some_refused
from warmline_toolkit.lab.scenario import Scenario, Settings

if TYPE_CHECKING:
    from warmline_toolkit.lab.stage import Stage
    from warmline_toolkit.measure.summary import RunSummary

SERVER_IDLE_TIMEOUT_S = 4


async def play(stage: Stage) -> None:
    """Connect, vanish, come back too early, come back after the server's timeout."""
    platform, environments = stage.platform, stage.settings.environments
    width = environments * stage.settings.processes
    await platform.prewarm(environments)
    vanishing = await platform.prewarm(environments)  # made last, so used first
    await stage.wave(width)
    await stage.settle()
    await asyncio.gather(*(platform.reap(environment, "silent") for environment in vanishing))
    stage.note("ghosts after the silent reap", await stage.ghosts_now())
    await stage.wave(width)
    stage.note("seconds until the server freed the slots", round(await stage.until_free(timeout_s=60.0), 1), "s")
    await platform.reap_all("fin")
    await stage.wave(width)
    await stage.settle()


def check(summary: RunSummary, settings: Settings) -> list[str]:
    """Kept connections become ghosts, one an environment, and new environments are refused."""
    wrong = []
    for strategy in summary.strategies:
        held = settings.environments * settings.processes
        if strategy.strategy in ("keep-open", "pool"):
            wrong += equals(strategy, "ghosts", strategy.ghosts, held)
            if held >= settings.max_connections:
                wrong += some_refused(strategy)
        elif strategy.strategy == "per-request":
            wrong += equals(strategy, "ghosts", strategy.ghosts, 0)
    return wrong


SCENARIO = Scenario(
    name="ghosts",
    title="Ghosts: 5 environments vanish silently, 5 new ones need connections, limit 5",
    question="What do environments leave behind when they are gone without a close?",
    expectation="keep-open and pool leave a ghost each, and new environments are refused until the server's timeout.",
    settings=Settings(requests=15, environments=5, max_connections=5, trials=2),
    play=play,
    check=check,
    engine_settings={
        "mariadb": {"wait_timeout": str(SERVER_IDLE_TIMEOUT_S)},
        "mysql": {"wait_timeout": str(SERVER_IDLE_TIMEOUT_S)},
        "postgres": {"idle_session_timeout": f"{SERVER_IDLE_TIMEOUT_S}s"},
    },
)
