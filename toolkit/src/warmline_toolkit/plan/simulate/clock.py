"""The clock: the heap of scheduled events, and what is recorded while time passes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from warmline_toolkit.plan.simulate.compiled import part
from warmline_toolkit.plan.simulate.constants import (
    LINE_CONNECTIONS,
    LINE_ENVIRONMENTS,
    LINE_GHOSTS,
    LINE_RUNNING,
    LINE_WAITING,
)
from warmline_toolkit.plan.simulate.layout import LATENCY_BINS, LATENCY_BINS_PER_DECADE, LATENCY_FIRST_S

if TYPE_CHECKING:
    from warmline_toolkit.plan.simulate.layout import Fleet


@part
def schedule(fleet: Fleet, at_s: float, code: int) -> None:
    """Add an event to the heap."""
    events = fleet.events
    slot = fleet.world[0].events
    fleet.world[0].events = slot + 1
    while slot > 0:
        parent = (slot - 1) >> 1
        if events[parent].at_s <= at_s:
            break
        events[slot].at_s = events[parent].at_s
        events[slot].code = events[parent].code
        slot = parent
    events[slot].at_s = at_s
    events[slot].code = code


@part
def take_next_event(fleet: Fleet) -> int:
    """Remove the earliest event and return its code."""
    events = fleet.events
    code = events[0].code
    size = fleet.world[0].events - 1
    fleet.world[0].events = size
    at_s, last = events[size].at_s, events[size].code
    slot = 0
    while True:
        child = 2 * slot + 1
        if child >= size:
            break
        if child + 1 < size and events[child + 1].at_s < events[child].at_s:
            child += 1
        if events[child].at_s >= at_s:
            break
        events[slot].at_s = events[child].at_s
        events[slot].code = events[child].code
        slot = child
    events[slot].at_s = at_s
    events[slot].code = last
    return int(code)


@part
def advance(fleet: Fleet, to_s: float) -> None:
    """Let time pass: the state has been what it is since the last event."""
    world = fleet.world[0]
    seconds = to_s - world.now_s
    lines = fleet.lines
    column = min(int(world.now_s / world.interval_s), lines.shape[1] - 1)
    last = min(int(to_s / world.interval_s), lines.shape[1] - 1)
    while True:
        lines[LINE_ENVIRONMENTS, column] = max(lines[LINE_ENVIRONMENTS, column], world.environments)
        lines[LINE_RUNNING, column] = max(lines[LINE_RUNNING, column], world.running)
        lines[LINE_CONNECTIONS, column] = max(lines[LINE_CONNECTIONS, column], world.connections)
        lines[LINE_WAITING, column] = max(lines[LINE_WAITING, column], world.waiting)
        lines[LINE_GHOSTS, column] = max(lines[LINE_GHOSTS, column], world.ghosts)
        if column >= last:
            break
        column += 1
    world.environments_peak = max(world.environments_peak, world.environments)
    world.running_peak = max(world.running_peak, world.running)
    world.connections_peak = max(world.connections_peak, world.connections)
    world.waiting_peak = max(world.waiting_peak, world.waiting)
    world.ghosts_peak = max(world.ghosts_peak, world.ghosts)
    if seconds > 0:
        fleet.environment_time[world.environments] += seconds
        fleet.connection_time[min(world.connections, fleet.connection_time.shape[0] - 1)] += seconds
        world.running_integral += seconds * world.running
        world.now_s = to_s


@part
def count(fleet: Fleet, function: int, what: int) -> None:
    """Add one to a function's counter."""
    fleet.counts[function, what] += 1


@part
def note(fleet: Fleet, flow: int, amount: int) -> None:
    """Add to a rate of the picture, at the present time."""
    world = fleet.world[0]
    fleet.flows[flow, min(int(world.now_s / world.interval_s), fleet.flows.shape[1] - 1)] += amount


@part
def tally(histogram: Any, function: int, seconds: float) -> None:
    """Add a duration to a function's histogram."""
    place = 0
    if seconds >= LATENCY_FIRST_S:
        place = 1 + int(math.log10(seconds / LATENCY_FIRST_S) * LATENCY_BINS_PER_DECADE)
    histogram[function, min(place, LATENCY_BINS - 1)] += 1
