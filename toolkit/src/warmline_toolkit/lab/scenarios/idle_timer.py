"""A timer that closes an idle connection cannot run in a frozen environment.

One environment serves a request, is idle for three times the timer's second, and serves another. Not frozen (as most
emulators run it), the timer closes the connection and the server's slot is free in between. Frozen, as on AWS Lambda,
the slot stays taken, and the overdue timer fires at the thaw: the connection is closed just when it is needed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from warmline_toolkit.lab.checks import noted
from warmline_toolkit.lab.scenario import Scenario, Settings, Variant

if TYPE_CHECKING:
    from warmline_toolkit.lab.stage import Stage
    from warmline_toolkit.measure.summary import RunSummary

IDLE_S = 3.0
"""How long the environment is idle: three times the example handler's timer."""


async def play(stage: Stage) -> None:
    """Send a request, wait past the timer, count at the server, send another."""
    await stage.wave(1)
    await asyncio.sleep(IDLE_S)
    stage.note("connections held while idle", await stage.open_now())
    await stage.wave(1)
    await stage.settle()


def check(summary: RunSummary, settings: Settings) -> list[str]:
    """Frozen, the slot is held; not frozen, it is free."""
    del settings
    return [
        *noted(summary, "idle-timer, frozen", "connections held while idle", 1),
        *noted(summary, "idle-timer, not frozen", "connections held while idle", 0),
    ]


SCENARIO = Scenario(
    name="idle-timer",
    title="An idle timer of 1 s, 3 s of idleness: frozen and not frozen",
    question="Does an idle timeout free the server's slot between requests?",
    expectation="frozen, the timer does not run and the slot stays taken; not frozen, it is free after a second.",
    settings=Settings(requests=2, environments=1, max_connections=5, trials=2),
    play=play,
    check=check,
    handler="idle_timer",
    variants=(
        Variant(strategy="idle-timer", label="idle-timer, frozen"),
        Variant(strategy="idle-timer", label="idle-timer, not frozen", freeze=False),
    ),
)
