"""A handler times out in the middle of a transaction that holds a row's lock.

The platform resets the environment: the process is gone, and nobody tells the server's running statement. The lock
stays until the statement ends. The next request wants the same row and waits for it, until its own timeout.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from warmline_toolkit.lab.checks import noted_at_least
from warmline_toolkit.lab.scenario import Scenario, Settings

if TYPE_CHECKING:
    from warmline_toolkit.lab.stage import Stage
    from warmline_toolkit.measure.summary import RunSummary

STATEMENT_S = 4.0
"""How long the statement of the first request runs: well past the function's timeout."""

WAIT_S = 60.0


async def play(stage: Stage) -> None:
    """Time out with the lock held; then try the same row again and again until it is free."""
    await stage.wave(1, event={"seconds": STATEMENT_S})
    began = time.monotonic()
    while time.monotonic() - began < WAIT_S:
        [result] = await stage.wave(1, event={"seconds": 0})
        if result.outcome == "ok":
            break
        await asyncio.sleep(0)
    stage.note("seconds the row stayed locked after the timeout", round(time.monotonic() - began, 2), "s")
    await stage.settle()


def check(summary: RunSummary, settings: Settings) -> list[str]:
    """The lock outlives the timeout: the statement of the killed process runs on."""
    left_s = STATEMENT_S - settings.timeout_s
    return [
        line
        for strategy in summary.strategies
        if strategy.strategy in ("per-request", "keep-open", "pool")
        for line in noted_at_least(
            summary, strategy.strategy, "seconds the row stayed locked after the timeout", left_s / 2
        )
    ]


SCENARIO = Scenario(
    name="timeout-in-transaction",
    title="A timeout of 1 s in a transaction that holds a row's lock for 4 s",
    question="How long does the lock outlive the handler?",
    expectation="the server finishes the killed handler's statement: the row stays locked some 3 s after the timeout.",
    settings=Settings(requests=2, environments=2, max_connections=10, timeout_s=1.0, trials=2),
    play=play,
    check=check,
    handler="transfer",
)
