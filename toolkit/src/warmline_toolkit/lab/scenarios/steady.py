"""Open arrivals at a steady rate: requests come when they come, however long the ones before take.

Arrivals are Poisson. Kept connections follow the largest number of requests in flight at once, not the mean; closing
after each request makes the server open and close one for each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmline_toolkit.lab.checks import no_more_than_environments, none_failed
from warmline_toolkit.lab.scenario import Scenario, Settings

if TYPE_CHECKING:
    from warmline_toolkit.lab.stage import Stage
    from warmline_toolkit.measure.summary import RunSummary


async def play(stage: Stage) -> None:
    """Offer Poisson arrivals for the duration."""
    await stage.arrivals(rate_per_s=stage.settings.rate_per_s or 40.0, duration_s=stage.settings.duration_s or 5.0)
    await stage.settle()


def check(summary: RunSummary, settings: Settings) -> list[str]:
    """Kept connections number no more than the environments; with room enough nothing fails."""
    wrong = []
    for strategy in summary.strategies:
        if strategy.strategy in ("keep-open", "pool"):
            wrong += no_more_than_environments(strategy, settings)
        if settings.environments * settings.processes < settings.max_connections:
            wrong += none_failed(strategy)
    return wrong


SCENARIO = Scenario(
    name="steady",
    title="Steady arrivals: 40 requests a second for 5 seconds, up to 20 environments, 30 connections",
    question="What does each strategy cost the server at a steady rate?",
    expectation="kept connections follow the largest number of requests in flight; per-request opens one a request.",
    settings=Settings(
        requests=0, environments=20, max_connections=30, rate_per_s=40.0, duration_s=5.0, trials=3, rtt_ms=1.0
    ),
    play=play,
    check=check,
)
