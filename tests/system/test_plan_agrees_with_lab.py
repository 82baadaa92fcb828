"""The planner's model beside the lab's measurement: the same arrivals, the counted connections side by side."""

from __future__ import annotations

import dataclasses
import statistics
import subprocess
import sys
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest
from warmline_toolkit.measure.record import read
from warmline_toolkit.model.events import (
    Arrived,
    ConnectionClosed,
    ConnectionOpened,
    Initialised,
    Invoked,
    RunStarted,
    ServerCounted,
    TrialStarted,
)
from warmline_toolkit.plan.simulate.layout import Count
from warmline_toolkit.plan.simulate.run import Server, simulate
from warmline_toolkit.plan.workload import Arrivals, Costs, Function, Platform

if TYPE_CHECKING:
    from pathlib import Path

    from warmline_toolkit.model.events import Event

pytestmark = pytest.mark.timeout(300)


@dataclasses.dataclass(frozen=True)
class Counted:
    """Connections of one strategy in one trial."""

    opened: int
    refused: int
    peak: int


def lab(folder: Path, *options: str) -> dict[str, tuple[Counted, Counted]]:
    """Run the lab as a user does; return by strategy what it counted and what the model predicts."""
    strategies = [word for name in ("per-request", "keep-open") for word in ("--strategy", name)]
    command = [sys.executable, "-m", "warmline_toolkit", "lab", "run", *options, *strategies]
    done = subprocess.run(
        [*command, "--trials", "1", "--output", str(folder), "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    events = list(read(folder))
    head = events[0]
    assert isinstance(head, RunStarted)
    by_strategy: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event.strategy:
            by_strategy[event.strategy].append(event)
    found = {name: (measured(trial), predicted(name, trial, head.settings)) for name, trial in by_strategy.items()}
    for name, (counted, model) in found.items():
        print(f"{head.scenario}, {name}: the lab counted {counted}, the model predicts {model}")
    return found


def measured(events: list[Event]) -> Counted:
    """Count by the server's own counters, and the peak by the connections' lives."""
    counted = next(event for event in events if isinstance(event, ServerCounted))
    refused = {event.connection for event in events if isinstance(event, ConnectionClosed) and event.refused_code}
    changes = [(e.at_s, 1) for e in events if isinstance(e, ConnectionOpened) and e.connection not in refused]
    changes += [(e.at_s, -1) for e in events if isinstance(e, ConnectionClosed) and e.connection not in refused]
    open_now = peak = 0
    for _, change in sorted(changes):
        open_now += change
        peak = max(peak, open_now)
    assert counted.opened is not None
    return Counted(counted.opened, sum(counted.refused.values()), peak)


def predicted(strategy: str, events: list[Event], settings: dict[str, Any]) -> Counted:
    """Simulate the trial's own arrivals with its own median durations, environments and limit."""
    arrived = sorted(event.at_s for event in events if isinstance(event, Arrived))
    invoked = [event for event in events if isinstance(event, Invoked)]
    times_ms = [event.handler_ms for event in invoked if not event.cold] or [event.handler_ms for event in invoked]
    inits_ms = [event.duration_ms for event in events if isinstance(event, Initialised)]
    warm_ms = statistics.median(times_ms)
    started = next(event for event in events if isinstance(event, TrialStarted))
    function = Function(
        arrivals=Arrivals(shape="file", times_s=tuple(at_s - arrived[0] for at_s in arrived)),
        warm_ms=warm_ms,
        cold_ms=warm_ms + statistics.median(inits_ms),
        variation=0,
        strategy=strategy,
        # above the lab's cap of environments, open arrivals are throttled and the others wait for their turn
        trigger="sync" if settings["rate_per_s"] else "queue",
        reserved_concurrency=settings["environments"],
    )
    run = simulate(
        [function],
        server=Server(limit=started.limit, costs=Costs(connect_ms=1, connect_cpu_ms=0, query_cpu_ms=0)),
        platform=Platform(
            idle_timeout_s=settings["idle_timeout_s"],
            account_concurrency=None,
            scale_out_per_s=settings["scale_out_per_s"] or 1e9,
        ),
        duration_s=arrived[-1] - arrived[0] + 30,  # before a failed event comes back after a minute
        seed=1,
    )
    return Counted(run.count(Count.OPENED), run.count(Count.REFUSED), run.connections_peak)


def test_guide_opens_as_many_connections_as_the_model_says(tmp_path):
    found = lab(tmp_path, "--scenario", "guide")
    assert found["per-request"][0].opened == found["per-request"][1].opened == 25
    for counted, model in found.values():
        assert (model.refused, counted.refused) == (0, 0)
        assert counted.peak <= model.peak == 5
    assert found["keep-open"][0] == found["keep-open"][1] == Counted(opened=5, refused=0, peak=5)


def test_burst_is_refused_as_often_as_the_model_says(tmp_path):
    found = lab(tmp_path, "--scenario", "burst")
    for strategy in ("keep-open", "per-request"):
        counted, model = found[strategy]
        assert model == Counted(opened=5, refused=20, peak=5)
        assert counted.opened + counted.refused == 25
        # MariaDB counts a connection while it refuses it, so it may refuse one more than there are too many
        assert counted.peak in (4, 5)


def test_scale_out_fills_the_limit_as_the_model_says(tmp_path):
    found = lab(tmp_path, "--scenario", "scale-out")
    counted, model = found["keep-open"]
    assert (counted.opened, counted.peak) == (model.opened, model.peak) == (20, 20)
    assert counted.refused > 0
    assert model.refused > 0
    counted, model = found["per-request"]
    assert counted.opened + counted.refused == model.opened + model.refused


def test_steady_traffic_keeps_about_as_many_connections_as_the_model_says(tmp_path):
    found = lab(tmp_path, "--scenario", "steady", "--rate", "5", "--duration", "8")
    counted, model = found["per-request"]
    assert abs(counted.opened - model.opened) <= max(3, 0.35 * counted.opened)
    counted, model = found["keep-open"]
    assert counted.opened == counted.peak
    assert abs(counted.peak - model.peak) <= max(2, 0.35 * counted.peak)
