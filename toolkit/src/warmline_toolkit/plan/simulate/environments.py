"""Environments: the lists they are in, from their creation to their reap.

An idle time starts when the last invocation ends, and every environment has the same idle timeout, so environments
are reaped in the order of their release. One list in that order makes a reap constant-time, and the ghosts that
silent reaps leave expire in the same order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from warmline_toolkit.plan.simulate.clock import count
from warmline_toolkit.plan.simulate.compiled import part
from warmline_toolkit.plan.simulate.constants import BUSY, COUNT_REAPED, IDLE, PARTIAL, PROVISIONED, PROXY, RETIRED
from warmline_toolkit.plan.simulate.layout import NONE

if TYPE_CHECKING:
    from warmline_toolkit.plan.simulate.layout import Fleet


@part
def put(fleet: Fleet, environment: int, place: int) -> None:
    """Put an environment that is in no list on top of its function's list for *place*."""
    env = fleet.environments[environment]
    env.place = place
    if place in (IDLE, RETIRED):  # it now waits for its reap, behind everything released before it
        world = fleet.world[0]
        env.older, env.newer = world.newest, NONE
        if world.newest == NONE:
            world.oldest = environment
        else:
            fleet.environments[world.newest].newer = environment
        world.newest = environment
        if world.next_closed == NONE and env.connections > 0:
            world.next_closed = environment
    if place != RETIRED:
        top = fleet.heads[env.function, place]
        env.below, env.above = top, NONE
        if top != NONE:
            fleet.environments[top].above = environment
        fleet.heads[env.function, place] = environment


@part
def take(fleet: Fleet, environment: int) -> None:
    """Take an environment out of the list it is in."""
    env = fleet.environments[environment]
    place = env.place
    if place in (IDLE, RETIRED):
        world = fleet.world[0]
        if world.next_closed == environment:
            world.next_closed = env.newer
        if env.older == NONE:
            world.oldest = env.newer
        else:
            fleet.environments[env.older].newer = env.newer
        if env.newer == NONE:
            world.newest = env.older
        else:
            fleet.environments[env.newer].older = env.older
    if place != RETIRED:
        if env.above == NONE:
            fleet.heads[env.function, place] = env.below
        else:
            fleet.environments[env.above].below = env.below
        if env.below != NONE:
            fleet.environments[env.below].above = env.above
    env.place = BUSY


@part
def create(fleet: Fleet, function: int, rng: Any) -> int:
    """Create an environment, in no list yet."""
    world = fleet.world[0]
    environment = world.environments_free
    if environment == NONE:
        environment = world.environments_used
        world.environments_used = environment + 1
    else:
        world.environments_free = fleet.environments[environment].below
    env = fleet.environments[environment]
    env.function = function
    env.active = 0
    env.processes_used = 0
    env.connections = 0
    env.place = BUSY
    env.provisioned = 0
    env.retired = 0
    env.was_connected = 0
    share = fleet.functions[function].pinned_share
    env.pinned = 1 if share > 0 and rng.random() < share else 0
    env.created_s = world.now_s
    world.environments += 1
    return int(environment)


@part
def reap(fleet: Fleet, environment: int) -> None:
    """Discard an idle environment: its connections end now, or stay as ghosts until the server's own timeout."""
    world = fleet.world[0]
    env = fleet.environments[environment]
    take(fleet, environment)
    proxied = fleet.functions[env.function].strategy == PROXY
    if env.connections > 0:
        if proxied:  # the proxy sees its client go, and has its server connection back
            world.borrowed -= env.connections
        elif world.silent_reap and env.released_s + world.server_timeout_s > world.now_s:
            fleet.ghosts[world.ghost_end].until_s = env.released_s + world.server_timeout_s
            fleet.ghosts[world.ghost_end].connections = env.connections
            world.ghost_end += 1
            world.ghosts += env.connections
        else:
            world.connections -= env.connections
        env.connections = 0
    count(fleet, env.function, COUNT_REAPED)
    world.lifespan_s += world.now_s - env.created_s
    world.environments -= 1
    env.below = world.environments_free
    world.environments_free = environment


@part
def deploy(fleet: Fleet) -> None:
    """A new version of every function: what is idle is never used again, what is busy retires when it is done."""
    world = fleet.world[0]
    for environment in range(world.environments_used):
        env = fleet.environments[environment]
        if env.place == IDLE:
            env.place = RETIRED  # stays where it is in the order of reaps
        elif env.place in (PROVISIONED, PARTIAL):
            partial = env.place == PARTIAL
            take(fleet, environment)
            env.released_s = world.now_s
            if not partial:
                put(fleet, environment, RETIRED)
        env.retired = 1
        env.provisioned = 0
    for function in range(fleet.functions.shape[0]):
        fleet.heads[function, :] = NONE
