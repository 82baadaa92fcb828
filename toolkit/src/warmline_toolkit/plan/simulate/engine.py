"""The engine: one pass over arrivals and the events they cause, compiled to machine code.

Cost: constant per event but for the heap of scheduled events, which grows with the logarithm of what is in flight; one
event list, no object per request. Memory follows the environments and invocations that exist at once.

Order: an environment's idle time starts when its last invocation ends, and every environment has the same idle timeout,
so environments are reaped in the order of their release. One list in that order makes a reap constant-time, and the
ghosts that silent reaps leave expire in the same order.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from warmline_toolkit.plan.simulate.compiled import compiled, part
from warmline_toolkit.plan.simulate.layout import (
    LATENCY_BINS,
    LATENCY_BINS_PER_DECADE,
    LATENCY_FIRST_S,
    NONE,
    Count,
    Flow,
    Happening,
    Line,
    Outcome,
    Place,
    Strategy,
    Trigger,
)

if TYPE_CHECKING:
    from warmline_toolkit.plan.simulate.layout import Fleet

LAYOUT = 1
"""Raise it with every change of layout.py, so that cached machine code is compiled anew."""

BUSY, IDLE, PARTIAL, PROVISIONED, RETIRED = (
    int(place) for place in (Place.BUSY, Place.IDLE, Place.PARTIAL, Place.PROVISIONED, Place.RETIRED)
)
PER_REQUEST, PROXY = int(Strategy.PER_REQUEST), int(Strategy.PROXY)
ASYNC, QUEUE = int(Trigger.ASYNC), int(Trigger.QUEUE)
READY, DONE, RELEASED, RETRY = (int(happening) for happening in Happening)
OK, REFUSED, BORROW_TIMEOUT = (int(outcome) for outcome in Outcome)
COUNT_ARRIVED, COUNT_INVOKED, COUNT_COLD = int(Count.ARRIVED), int(Count.INVOKED), int(Count.COLD)
COUNT_OK, COUNT_REFUSED, COUNT_BORROW_TIMEOUT = int(Count.OK), int(Count.REFUSED), int(Count.BORROW_TIMEOUT)
COUNT_CAP, COUNT_SCALE_OUT, COUNT_LOST = int(Count.THROTTLED_CAP), int(Count.THROTTLED_SCALE_OUT), int(Count.LOST)
COUNT_RETRIED, COUNT_OPENED = int(Count.RETRIED), int(Count.OPENED)
COUNT_REAPED, COUNT_RECONNECTED = int(Count.REAPED), int(Count.RECONNECTED)
LINE_ENVIRONMENTS, LINE_RUNNING, LINE_CONNECTIONS = int(Line.ENVIRONMENTS), int(Line.RUNNING), int(Line.CONNECTIONS)
LINE_WAITING, LINE_GHOSTS = int(Line.WAITING), int(Line.GHOSTS)
FLOW_ARRIVED, FLOW_COLD, FLOW_OPENED = int(Flow.ARRIVED), int(Flow.COLD), int(Flow.OPENED)
FLOW_FAILED, FLOW_THROTTLED = int(Flow.FAILED), int(Flow.THROTTLED)

NEVER = math.inf
ASYNC_RETRIES = 2
ASYNC_RETRY_AFTER_S = 60.0
"""Times the attempt: one minute before the second, two before the third (Lambda's asynchronous invocation)."""
THROTTLE_BACKOFF_MAX_S = 300.0
THROTTLE_MAX_AGE_S = 6 * 3600.0


# --- scheduled events: a binary heap ---------------------------------------------------------------------------------


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


# --- the clock, and what is recorded while nothing changes -----------------------------------------------------------


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


# --- environments: the lists they are in -----------------------------------------------------------------------------


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


# --- the database ----------------------------------------------------------------------------------------------------


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


# --- an invocation, from arrival to end ------------------------------------------------------------------------------


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


# --- the run ---------------------------------------------------------------------------------------------------------


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
def run(fleet: Fleet, arrivals_s: Any, functions: Any, rng: Any) -> None:
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
