"""The database: its connections up to the limit, its processors, and the proxy's server connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmline_toolkit.plan.simulate.clock import note
from warmline_toolkit.plan.simulate.compiled import part
from warmline_toolkit.plan.simulate.constants import COUNT_OPENED, FLOW_OPENED
from warmline_toolkit.plan.simulate.layout import NONE

if TYPE_CHECKING:
    from warmline_toolkit.plan.simulate.layout import Fleet


@part
def open_connections(fleet: Fleet, function: int, wanted: int) -> int:
    """Open as many of *wanted* connections as the server still has; return how many."""
    world = fleet.world[0]
    opened = wanted
    if world.limit != NONE:
        opened = min(wanted, max(0, world.limit - world.connections))
    world.connections += opened
    fleet.counts[function, COUNT_OPENED] += opened
    if opened:
        note(fleet, FLOW_OPENED, opened)
    return int(opened)


@part
def processor_wait_s(fleet: Fleet, work_s: float) -> float:
    """Give *work_s* to the processor that is free first; return how long it takes to begin."""
    world = fleet.world[0]
    world.cpu_busy_s += work_s
    if world.vcpus == 0 or work_s <= 0:
        return 0.0
    best = 0
    for processor in range(1, world.vcpus):
        if fleet.cpu_free_s[processor] < fleet.cpu_free_s[best]:
            best = processor
    begin_s = max(world.now_s, fleet.cpu_free_s[best])
    fleet.cpu_free_s[best] = begin_s + work_s
    return float(begin_s - world.now_s)


@part
def can_borrow(fleet: Fleet, function: int) -> int:
    """Return -1 where the proxy has nothing to lend, else how many connections it opens to lend one (0 or 1)."""
    world = fleet.world[0]
    if world.borrowed < world.proxy_open:
        return 0
    if world.proxy_open < world.proxy_size and open_connections(fleet, function, 1) == 1:
        world.proxy_open += 1
        return 1
    return -1
