"""The engine: one pass over arrivals and the events they cause, compiled to machine code.

Cost: constant per event but for the heap of scheduled events, which grows with the logarithm of what is in flight; no
object per request. Memory follows the environments and invocations that exist at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from warmline_toolkit.plan.simulate.clock import advance, count, note, take_next_event
from warmline_toolkit.plan.simulate.compiled import compiled, part
from warmline_toolkit.plan.simulate.constants import (
    BUSY,
    COUNT_ARRIVED,
    DONE,
    FLOW_ARRIVED,
    NEVER,
    PARTIAL,
    PER_REQUEST,
    PROVISIONED,
    PROXY,
    READY,
    RELEASED,
)
from warmline_toolkit.plan.simulate.database import open_connections
from warmline_toolkit.plan.simulate.environments import create, deploy, put, reap
from warmline_toolkit.plan.simulate.invocations import (
    begin,
    finish,
    give_up_waiting,
    new_invocation,
    place_invocation,
    release,
    serve_waiters,
)
from warmline_toolkit.plan.simulate.layout import NONE

if TYPE_CHECKING:
    from warmline_toolkit.plan.simulate.layout import Fleet


@part
def happen(fleet: Fleet, code: int, rng: Any) -> None:
    """Do what a scheduled event says."""
    invocation, what = code >> 2, code & 3
    if what == DONE:
        finish(fleet, invocation, rng)
    elif what == READY:
        inv = fleet.invocations[invocation]
        env = fleet.environments[inv.environment]
        if env.active < fleet.functions[inv.function].processes and env.place == BUSY and not env.retired:
            put(fleet, inv.environment, PARTIAL)
        begin(fleet, invocation, rng)
    elif what == RELEASED:
        release(fleet, invocation, rng)
    else:
        place_invocation(fleet, invocation, rng)


@part
def close_longest_idle(fleet: Fleet) -> None:
    """The server's own timeout: it closes the connections of the environment that has been idle longest."""
    world = fleet.world[0]
    env = fleet.environments[world.next_closed]
    if fleet.functions[env.function].strategy != PROXY and env.connections > 0:
        world.connections -= env.connections
        env.connections = 0
        env.processes_used = 0
        env.was_connected = 1
    world.next_closed = env.newer


@part
def provision(fleet: Fleet, rng: Any) -> None:
    """Create the provisioned environments, connected already where the function connects in Init."""
    for function in range(fleet.functions.shape[0]):
        fun = fleet.functions[function]
        for _ in range(fun.provisioned):
            environment = create(fleet, function, rng)
            env = fleet.environments[environment]
            env.provisioned = 1
            if fun.connect_in_init and fun.strategy not in (PER_REQUEST, PROXY):
                env.processes_used = fun.processes
                env.connections = open_connections(fleet, function, fun.pool_size * fun.processes)
            put(fleet, environment, PROVISIONED)


@compiled
def run(  # noqa: C901 - the one loop: which of the next things is first
    fleet: Fleet, arrivals_s: Any, functions: Any, rng: Any
) -> None:
    """Run the fleet until its end: whichever of the next arrival, event, reap, close or timeout is first, happens."""
    world = fleet.world[0]
    provision(fleet, rng)
    arrival, arrivals = 0, arrivals_s.shape[0]
    deploy_at_s = world.deploy_at_s
    while True:
        arrival_s = arrivals_s[arrival] if arrival < arrivals else NEVER
        event_s = fleet.events[0].at_s if world.events > 0 else NEVER
        reap_s = NEVER if world.oldest == NONE else fleet.environments[world.oldest].released_s + world.idle_timeout_s
        close_s = NEVER
        if world.next_closed != NONE:
            close_s = fleet.environments[world.next_closed].released_s + world.server_timeout_s
        ghost_s = fleet.ghosts[world.ghost_first].until_s if world.ghost_first < world.ghost_end else NEVER
        borrow_s = NEVER
        if world.waiter_first != NONE:
            borrow_s = fleet.invocations[world.waiter_first].queued_s + world.borrow_timeout_s
        others_s = min(reap_s, close_s, ghost_s, borrow_s, deploy_at_s)
        next_s = min(arrival_s, event_s, others_s)
        if next_s > world.end_s:
            break
        world.happened += 1
        advance(fleet, next_s)
        if event_s == next_s:  # before an arrival of the same moment: what is free now can be used now
            happen(fleet, take_next_event(fleet), rng)
        elif others_s == next_s:
            if ghost_s == next_s:
                gone = fleet.ghosts[world.ghost_first].connections
                world.connections -= gone
                world.ghosts -= gone
                world.ghost_first += 1
            elif close_s == next_s:
                close_longest_idle(fleet)
            elif reap_s == next_s:
                reap(fleet, world.oldest)
            elif borrow_s == next_s:
                give_up_waiting(fleet)
            else:
                deploy(fleet)
                provision(fleet, rng)
                deploy_at_s = NEVER
            serve_waiters(fleet, rng)
        else:
            function = functions[arrival] if functions.shape[0] else 0
            arrival += 1
            count(fleet, function, COUNT_ARRIVED)
            note(fleet, FLOW_ARRIVED, 1)
            place_invocation(fleet, new_invocation(fleet, function, arrival_s), rng)
    advance(fleet, world.end_s)
