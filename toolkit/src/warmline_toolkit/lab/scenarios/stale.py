"""The server closes idle connections while the environments are frozen; then every environment gets two more requests.

It happens at the server's idle timeout, at a failover, at a restart, when an administrator cleans up. A handler that
keeps a connection without a look at it fails, and one that keeps the broken connection object goes on failing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmline_toolkit.lab.checks import none_failed, some_failed
from warmline_toolkit.lab.scenario import Scenario, Settings

if TYPE_CHECKING:
    from warmline_toolkit.lab.stage import Stage
    from warmline_toolkit.measure.summary import RunSummary


async def play(stage: Stage) -> None:
    """One wave connects; the server closes every connection; two more waves."""
    width = stage.settings.environments * stage.settings.processes
    await stage.wave(width)
    await stage.settle()
    await stage.close_at_server()
    await stage.wave(width)
    await stage.wave(width)
    await stage.settle()


def check(summary: RunSummary, settings: Settings) -> list[str]:
    """keep-open fails after the thaw; per-request does not notice."""
    del settings
    wrong = []
    for strategy in summary.strategies:
        if strategy.strategy == "per-request":
            wrong += none_failed(strategy)
        elif strategy.strategy == "keep-open":
            wrong += some_failed(strategy)
    return wrong


SCENARIO = Scenario(
    name="stale",
    title="Stale connections: the server closes them while 5 environments are frozen",
    question="What does the next request get when the server closed the connection during the freeze?",
    expectation="keep-open fails until its environment ends, pool once a connection; per-request does not notice.",
    settings=Settings(requests=15, environments=5, max_connections=10, trials=3),
    play=play,
    check=check,
)
