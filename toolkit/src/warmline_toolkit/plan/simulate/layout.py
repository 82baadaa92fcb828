"""What the engine's memory holds: one record a function, an environment, an invocation in flight, and the world."""

from __future__ import annotations

import hashlib
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

NONE = -1
"""No environment, no invocation, no limit."""


class Strategy(IntEnum):
    """How a function uses its database."""

    PER_REQUEST = 0
    KEEP_OPEN = 1
    POOL = 2
    PROXY = 3


class Trigger(IntEnum):
    """Who retries: nobody (a synchronous caller gets the error), Lambda (asynchronous), or a queue that waits."""

    SYNC = 0
    ASYNC = 1
    QUEUE = 2


class Place(IntEnum):
    """The list an environment is in. Exactly one at a time; a full one is in none."""

    BUSY = 0
    """Every process of it has an invocation."""
    IDLE = 1
    PARTIAL = 2
    """Some processes are free (Managed Instances)."""
    PROVISIONED = 3
    """Idle and kept by provisioned concurrency: never reaped."""
    RETIRED = 4
    """Idle, of an earlier deployment: never used again, reaped like any other."""


class Happening(IntEnum):
    """What a scheduled event is about; the low two bits of its code."""

    READY = 0
    """Init ended."""
    DONE = 1
    """The handler ended."""
    RELEASED = 2
    """The handler is done with the database."""
    RETRY = 3
    """An asynchronous event comes back."""


class Outcome(IntEnum):
    """How an attempt ended."""

    OK = 0
    REFUSED = 1
    """The database had no connection left."""
    BORROW_TIMEOUT = 2
    """The proxy had no server connection within its borrow timeout."""


class Count(IntEnum):
    """A counter of one function."""

    ARRIVED = 0
    INVOKED = 1
    """Attempts that got an environment."""
    COLD = 2
    OK = 3
    REFUSED = 4
    BORROW_TIMEOUT = 5
    THROTTLED_CAP = 6
    """Attempts above reserved or account concurrency."""
    THROTTLED_SCALE_OUT = 7
    """Attempts above the scale-out rate."""
    LOST = 8
    """Arrivals that ended without an answer: throttled or failed, and nobody retries (any more)."""
    RETRIED = 9
    OPENED = 10
    """Connections opened on the server."""
    REAPED = 11
    RECONNECTED = 12
    """Of the opened, those that replace one the server had closed while the environment was idle."""


class Line(IntEnum):
    """A line of the picture: its highest value in each interval of time."""

    ENVIRONMENTS = 0
    RUNNING = 1
    CONNECTIONS = 2
    WAITING = 3
    GHOSTS = 4


class Flow(IntEnum):
    """A rate of the picture: how many in each interval of time."""

    ARRIVED = 0
    COLD = 1
    OPENED = 2
    FAILED = 3
    """Refused or out of borrow time."""
    THROTTLED = 4


FUNCTION = np.dtype(
    [
        ("warm_s", "f8"),
        ("init_s", "f8"),
        ("variation", "f8"),
        ("hold_s", "f8"),
        ("connect_s", "f8"),
        ("connect_cpu_s", "f8"),
        ("query_cpu_s", "f8"),
        ("pinned_share", "f8"),
        ("samples_from", "i8"),
        ("samples", "i8"),
        ("strategy", "i4"),
        ("trigger", "i4"),
        ("pool_size", "i4"),
        ("processes", "i4"),
        ("cap", "i8"),
        ("provisioned", "i8"),
        ("connect_in_init", "i4"),
        # what the run changes
        ("running", "i8"),
        ("tokens", "f8"),
        ("tokens_at", "f8"),
        ("backlog_first", "i8"),
        ("backlog_last", "i8"),
        ("backlog", "i8"),
    ]
)

ENVIRONMENT = np.dtype(
    [
        ("function", "i4"),
        ("active", "i4"),
        ("processes_used", "i4"),
        ("connections", "i4"),
        ("place", "i4"),
        ("provisioned", "i1"),
        ("retired", "i1"),
        ("pinned", "i1"),
        ("was_connected", "i1"),
        ("released_s", "f8"),
        ("created_s", "f8"),
        ("below", "i4"),
        ("above", "i4"),
        ("older", "i4"),
        ("newer", "i4"),
    ]
)

INVOCATION = np.dtype(
    [
        ("environment", "i4"),
        ("function", "i4"),
        ("arrived_s", "f8"),
        ("queued_s", "f8"),
        ("next", "i8"),
        ("attempt", "i2"),
        ("throttles", "i2"),
        ("cold", "i1"),
        ("holds", "i1"),
        ("outcome", "i1"),
    ]
)

EVENT = np.dtype([("at_s", "f8"), ("code", "i8")])

GHOST = np.dtype([("until_s", "f8"), ("connections", "i8")])


def _source_digest() -> str:
    """Return a digest of the engine's source."""
    digest = hashlib.sha256()
    for module in ("layout", "constants", "compiled", "clock", "environments", "database", "invocations", "engine"):
        digest.update((Path(__file__).parent / f"{module}.py").read_bytes())
    return digest.hexdigest()[:12]


WORLD = np.dtype(
    [
        # never read: it makes the compiled engine's argument types, and so its cache, those of this source
        (f"source_{_source_digest()}", "i1"),
        # settings
        ("end_s", "f8"),
        ("idle_timeout_s", "f8"),
        ("server_timeout_s", "f8"),
        ("borrow_timeout_s", "f8"),
        ("scale_out_per_s", "f8"),
        ("scale_out_burst", "f8"),
        ("deploy_at_s", "f8"),
        ("interval_s", "f8"),
        ("limit", "i8"),
        ("proxy_size", "i8"),
        ("cap", "i8"),
        ("vcpus", "i8"),
        ("silent_reap", "i4"),
        ("oldest_first", "i4"),
        # state
        ("now_s", "f8"),
        ("environments", "i8"),
        ("running", "i8"),
        ("connections", "i8"),
        ("ghosts", "i8"),
        ("waiting", "i8"),
        ("borrowed", "i8"),
        ("proxy_open", "i8"),
        ("oldest", "i8"),
        ("newest", "i8"),
        ("next_closed", "i8"),
        ("waiter_first", "i8"),
        ("waiter_last", "i8"),
        ("ghost_first", "i8"),
        ("ghost_end", "i8"),
        ("events", "i8"),
        ("environments_used", "i8"),
        ("environments_free", "i8"),
        ("invocations_used", "i8"),
        ("invocations_free", "i8"),
        # what comes out
        ("running_integral", "f8"),
        ("cpu_busy_s", "f8"),
        ("lifespan_s", "f8"),
        ("environments_peak", "i8"),
        ("running_peak", "i8"),
        ("connections_peak", "i8"),
        ("waiting_peak", "i8"),
        ("ghosts_peak", "i8"),
        ("happened", "i8"),
    ]
)

LATENCY_BINS_PER_DECADE = 128
LATENCY_FIRST_S = 1e-6
LATENCY_DECADES = 12
LATENCY_BINS = LATENCY_BINS_PER_DECADE * LATENCY_DECADES + 1
"""Bin 0 is everything below a microsecond; each further bin is 1.8 % wider than the one before."""


class Fleet(NamedTuple):
    """Everything the engine reads and writes. What is large only in the worst case is allocated, not touched."""

    world: Any
    functions: Any
    environments: Any
    invocations: Any
    events: Any
    ghosts: Any
    heads: Any
    """Top of each function's list of environments, by place."""
    cpu_free_s: Any
    """When each of the server's processors is free."""
    samples: Any
    counts: Any
    environment_time: Any
    """Seconds with exactly this many environments."""
    connection_time: Any
    """Seconds with exactly this many connections."""
    latency: Any
    wait: Any
    lines: Any
    flows: Any
