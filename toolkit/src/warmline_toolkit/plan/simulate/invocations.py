"""An invocation, from arrival to end: throttled or placed, connected or refused, run, released, retried."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from warmline_toolkit.plan.simulate.clock import count, note, schedule, tally
from warmline_toolkit.plan.simulate.compiled import part
from warmline_toolkit.plan.simulate.constants import (
    ASYNC,
    ASYNC_RETRIES,
    ASYNC_RETRY_AFTER_S,
    BORROW_TIMEOUT,
    COUNT_BORROW_TIMEOUT,
    COUNT_CAP,
    COUNT_COLD,
    COUNT_INVOKED,
    COUNT_LOST,
    COUNT_OK,
    COUNT_RECONNECTED,
    COUNT_REFUSED,
    COUNT_RETRIED,
    COUNT_SCALE_OUT,
    DONE,
    FLOW_COLD,
    FLOW_FAILED,
    FLOW_THROTTLED,
    IDLE,
    OK,
    PARTIAL,
    PER_REQUEST,
    PROVISIONED,
    PROXY,
    QUEUE,
    READY,
    REFUSED,
    RELEASED,
    RETIRED,
    RETRY,
    THROTTLE_BACKOFF_MAX_S,
    THROTTLE_MAX_AGE_S,
)
from warmline_toolkit.plan.simulate.database import can_borrow, open_connections, processor_wait_s
from warmline_toolkit.plan.simulate.environments import create, put, take
from warmline_toolkit.plan.simulate.layout import NONE

if TYPE_CHECKING:
    from warmline_toolkit.plan.simulate.layout import Fleet


@part
def new_invocation(fleet: Fleet, function: int, arrived_s: float) -> int:
    """Return a free record, filled for an arrival."""
    world = fleet.world[0]
    invocation = world.invocations_free
    if invocation == NONE:
        invocation = world.invocations_used
        world.invocations_used = invocation + 1
    else:
        world.invocations_free = fleet.invocations[invocation].next
    inv = fleet.invocations[invocation]
    inv.environment = NONE
    inv.function = function
    inv.arrived_s = arrived_s
    inv.next = NONE
    inv.attempt = 0
    inv.throttles = 0
    inv.cold = 0
    inv.holds = 0
    inv.outcome = OK
    return int(invocation)


@part
def forget(fleet: Fleet, invocation: int) -> None:
    """Give the record back."""
    fleet.invocations[invocation].next = fleet.world[0].invocations_free
    fleet.world[0].invocations_free = invocation


@part
def service_s(fleet: Fleet, function: int, rng: Any) -> float:
    """Draw the handler's time: from measured samples, or fixed, exponential or gamma with the mean that is given."""
    fun = fleet.functions[function]
    if fun.samples > 0:
        return float(fleet.samples[fun.samples_from + int(rng.random() * fun.samples)])
    return draw_s(fun.warm_s, fun.variation, rng)


@part
def draw_s(mean_s: float, variation: float, rng: Any) -> float:
    """Draw a duration with this mean and coefficient of variation."""
    if variation == 0 or mean_s == 0:
        return mean_s
    if variation == 1:
        return float(rng.standard_exponential()) * mean_s
    shape = 1 / (variation * variation)
    return float(rng.standard_gamma(shape)) * mean_s / shape


@part
def throttle(fleet: Fleet, invocation: int, why: int) -> None:
    """Turn an attempt away: a queue keeps it, Lambda retries an asynchronous one, a synchronous caller gets the 429."""
    world = fleet.world[0]
    inv = fleet.invocations[invocation]
    fun = fleet.functions[inv.function]
    if fun.trigger == QUEUE:
        inv.next = NONE
        if fun.backlog_last == NONE:
            fun.backlog_first = invocation
        else:
            fleet.invocations[fun.backlog_last].next = invocation
        fun.backlog_last = invocation
        fun.backlog += 1
        world.waiting += 1
        return
    count(fleet, inv.function, why)
    note(fleet, FLOW_THROTTLED, 1)
    if fun.trigger == ASYNC and world.now_s - inv.arrived_s < THROTTLE_MAX_AGE_S:
        schedule(fleet, world.now_s + min(2.0**inv.throttles, THROTTLE_BACKOFF_MAX_S), invocation * 4 + RETRY)
        inv.throttles = min(inv.throttles + 1, 30)
        count(fleet, inv.function, COUNT_RETRIED)
        return
    count(fleet, inv.function, COUNT_LOST)
    forget(fleet, invocation)


@part
def may_scale_out(fleet: Fleet, function: int) -> bool:
    """Take one token of the function's scale-out rate, if there is one. Tokens come continuously up to the burst."""
    world = fleet.world[0]
    fun = fleet.functions[function]
    fun.tokens = min(world.scale_out_burst, fun.tokens + (world.now_s - fun.tokens_at) * world.scale_out_per_s)
    fun.tokens_at = world.now_s
    if fun.tokens < 1 - 1e-9:
        return False
    fun.tokens -= 1
    return True


@part
def place_invocation(fleet: Fleet, invocation: int, rng: Any) -> bool:
    """Give an attempt an environment, warm or new, or turn it away. Returns whether it has one."""
    world = fleet.world[0]
    inv = fleet.invocations[invocation]
    function = inv.function
    fun = fleet.functions[function]
    if (fun.cap != NONE and fun.running >= fun.cap) or (world.cap != NONE and world.running >= world.cap):
        throttle(fleet, invocation, COUNT_CAP)
        return False
    environment = fleet.heads[function, PARTIAL]
    if environment == NONE:
        environment = fleet.heads[function, PROVISIONED]
    if environment == NONE:
        environment = fleet.heads[function, IDLE]
        if environment != NONE and world.oldest_first:
            while fleet.environments[environment].below != NONE:
                environment = fleet.environments[environment].below
    cold = environment == NONE
    if cold:
        if not may_scale_out(fleet, function):
            throttle(fleet, invocation, COUNT_SCALE_OUT)
            return False
        environment = create(fleet, function, rng)
        count(fleet, function, COUNT_COLD)
        note(fleet, FLOW_COLD, 1)
    else:
        take(fleet, environment)
    env = fleet.environments[environment]
    env.active += 1
    env.processes_used = max(env.processes_used, env.active)
    inv.environment = environment
    inv.cold = 1 if cold else 0
    inv.outcome = OK
    fun.running += 1
    world.running += 1
    count(fleet, function, COUNT_INVOKED)
    if cold:
        schedule(fleet, world.now_s + draw_s(fun.init_s, fun.variation, rng), invocation * 4 + READY)
    else:
        if env.active < fun.processes:
            put(fleet, environment, PARTIAL)
        begin(fleet, invocation, rng)
    return True


@part
def begin(fleet: Fleet, invocation: int, rng: Any) -> None:
    """The handler starts: it gets its connection by the function's strategy, waits for one, or is refused."""
    world = fleet.world[0]
    inv = fleet.invocations[invocation]
    function = inv.function
    fun = fleet.functions[function]
    env = fleet.environments[inv.environment]
    opened = 0
    if fun.strategy == PER_REQUEST:
        opened = open_connections(fleet, function, 1)
        inv.holds = opened
        if opened == 0:
            refuse(fleet, invocation)
            return
    elif fun.strategy == PROXY:
        if not (env.pinned and env.connections > 0):
            opened = can_borrow(fleet, function)
            if opened < 0:
                inv.queued_s = world.now_s
                inv.next = NONE
                if world.waiter_last == NONE:
                    world.waiter_first = invocation
                else:
                    fleet.invocations[world.waiter_last].next = invocation
                world.waiter_last = invocation
                world.waiting += 1
                return
            lend(fleet, invocation)
            tally(fleet.wait, function, 0.0)
    else:
        wanted = fun.pool_size * env.processes_used - env.connections
        if wanted > 0:
            opened = open_connections(fleet, function, wanted)
            env.connections += opened
            if env.was_connected:
                fleet.counts[function, COUNT_RECONNECTED] += opened
            if env.connections <= fun.pool_size * (env.processes_used - 1):
                refuse(fleet, invocation)
                return
            env.was_connected = 0
    run_handler(fleet, invocation, opened, rng)


@part
def lend(fleet: Fleet, invocation: int) -> None:
    """The proxy lends a server connection: for the transaction, or to a pinning client for as long as it lives."""
    world = fleet.world[0]
    inv = fleet.invocations[invocation]
    env = fleet.environments[inv.environment]
    world.borrowed += 1
    if env.pinned:
        env.connections += 1
    else:
        inv.holds = 1


@part
def refuse(fleet: Fleet, invocation: int) -> None:
    """The server has no connection left: the handler fails after the attempt to connect."""
    world = fleet.world[0]
    inv = fleet.invocations[invocation]
    inv.outcome = REFUSED
    schedule(fleet, world.now_s + fleet.functions[inv.function].connect_s, invocation * 4 + DONE)


@part
def run_handler(fleet: Fleet, invocation: int, opened: int, rng: Any) -> None:
    """The handler has its connection: schedule when it is done with the database, and when it ends."""
    world = fleet.world[0]
    inv = fleet.invocations[invocation]
    fun = fleet.functions[inv.function]
    handler_s = service_s(fleet, inv.function, rng)
    delay_s = processor_wait_s(fleet, fun.query_cpu_s + opened * fun.connect_cpu_s)
    if opened:
        delay_s += fun.connect_s
    hold_s = handler_s if fun.hold_s < 0 else min(handler_s, fun.hold_s)
    if inv.holds and hold_s < handler_s:
        schedule(fleet, world.now_s + delay_s + hold_s, invocation * 4 + RELEASED)
    schedule(fleet, world.now_s + delay_s + handler_s, invocation * 4 + DONE)


@part
def release(fleet: Fleet, invocation: int, rng: Any) -> None:
    """The handler is done with its connection: closed, or back to the proxy and to whoever has waited longest."""
    world = fleet.world[0]
    inv = fleet.invocations[invocation]
    if not inv.holds:
        return
    inv.holds = 0
    if fleet.functions[inv.function].strategy != PROXY:
        world.connections -= 1
        return
    world.borrowed -= 1
    serve_waiters(fleet, rng)


@part
def serve_waiters(fleet: Fleet, rng: Any) -> None:
    """Lend what the proxy has to whoever has waited longest."""
    world = fleet.world[0]
    while world.waiter_first != NONE:
        waiter = world.waiter_first
        opened = can_borrow(fleet, fleet.invocations[waiter].function)
        if opened < 0:
            return
        leave_queue(fleet)
        lend(fleet, waiter)
        run_handler(fleet, waiter, opened, rng)


@part
def leave_queue(fleet: Fleet) -> None:
    """The first waiter leaves the proxy's queue; its wait is recorded."""
    world = fleet.world[0]
    inv = fleet.invocations[world.waiter_first]
    world.waiter_first = inv.next
    if inv.next == NONE:
        world.waiter_last = NONE
    inv.next = NONE
    world.waiting -= 1
    tally(fleet.wait, inv.function, world.now_s - inv.queued_s)


@part
def give_up_waiting(fleet: Fleet) -> None:
    """The first waiter's borrow timeout has passed: its handler fails now."""
    world = fleet.world[0]
    waiter = world.waiter_first
    leave_queue(fleet)
    fleet.invocations[waiter].outcome = BORROW_TIMEOUT
    schedule(fleet, world.now_s, waiter * 4 + DONE)


@part
def finish(fleet: Fleet, invocation: int, rng: Any) -> None:
    """The handler ended: the environment is free, the outcome counted, a failed asynchronous event comes back."""
    world = fleet.world[0]
    release(fleet, invocation, rng)
    inv = fleet.invocations[invocation]
    function = inv.function
    fun = fleet.functions[function]
    environment = inv.environment
    env = fleet.environments[environment]
    if env.place == PARTIAL:
        take(fleet, environment)
    env.active -= 1
    env.released_s = world.now_s
    fun.running -= 1
    world.running -= 1
    if env.active > 0:
        if not env.retired:
            put(fleet, environment, PARTIAL)
    elif env.retired:
        put(fleet, environment, RETIRED)
    elif env.provisioned:
        put(fleet, environment, PROVISIONED)
    else:
        put(fleet, environment, IDLE)
    tally(fleet.latency, function, world.now_s - inv.arrived_s)
    if inv.outcome == OK:
        count(fleet, function, COUNT_OK)
        forget(fleet, invocation)
    else:
        count(fleet, function, COUNT_REFUSED if inv.outcome == REFUSED else COUNT_BORROW_TIMEOUT)
        note(fleet, FLOW_FAILED, 1)
        inv.attempt += 1
        if fun.trigger != 0 and inv.attempt <= ASYNC_RETRIES:
            count(fleet, function, COUNT_RETRIED)
            schedule(fleet, world.now_s + ASYNC_RETRY_AFTER_S * inv.attempt, invocation * 4 + RETRY)
        else:
            count(fleet, function, COUNT_LOST)
            forget(fleet, invocation)
    if fun.backlog_first != NONE:
        waiting = fun.backlog_first
        fun.backlog_first = fleet.invocations[waiting].next
        if fun.backlog_first == NONE:
            fun.backlog_last = NONE
        fun.backlog -= 1
        world.waiting -= 1
        place_invocation(fleet, waiting, rng)
