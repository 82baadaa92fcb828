"""25 requests at once on 25 environments, and a database that takes 5 connections.

Every environment is initialised before, and none is connected: what is measured is the connection storm, not the cold
starts. A plain handler cannot help itself: each environment needs a connection of its own at the same moment. The
refusals are counted by the server's error code. Behind the proxy the environments wait for each other instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmline_toolkit.lab.checks import PLAIN, proxied, some_refused
from warmline_toolkit.lab.scenario import Scenario, Settings

if TYPE_CHECKING:
    from warmline_toolkit.lab.stage import Stage
    from warmline_toolkit.measure.summary import RunSummary


async def play(stage: Stage) -> None:
    """Initialise the environments, then send everything at once."""
    await stage.platform.prewarm(stage.settings.environments)
    await stage.wave(stage.settings.requests)
    await stage.settle()


def check(summary: RunSummary, settings: Settings) -> list[str]:
    """Each of the three is refused when more environments than connections run at once."""
    if min(settings.requests, settings.environments) <= settings.max_connections:
        return []
    plain = [strategy for strategy in summary.strategies if strategy.strategy in PLAIN]
    return [line for strategy in plain for line in some_refused(strategy)] + proxied(summary)


SCENARIO = Scenario(
    name="burst",
    title="A burst: 25 requests at once, 25 environments, 5 connections",
    question="Who is refused when everything starts at once?",
    expectation="per-request, keep-open and pool are all refused; the proxy lets them wait, and nothing is refused.",
    settings=Settings(requests=25, environments=25, max_connections=5, rtt_ms=5.0),
    play=play,
    check=check,
)
