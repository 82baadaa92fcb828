"""What to do with a connection before it is handed out: pure decisions, no I/O, no clock."""

from __future__ import annotations

from enum import Enum

from warmline._clock import reached

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from warmline._clock import Instant
    from warmline._slot import Slot

PING_MAX_S = 0.5


class Polled(Enum):
    """What a non-blocking look at the socket saw, before anything was written."""

    QUIET = "quiet"
    """Open, nothing to read."""
    DATA = "data"
    """Open, bytes to read: a PostgreSQL notice perhaps; in MySQL a server that speaks first has given up on us."""
    CLOSED = "closed"
    """The server closed it. As nothing was sent since the last answer, nothing can have been lost."""
    BLIND = "blind"
    """The driver does not show its socket."""


class Reason(str, Enum):
    """Why a connection was reused, pinged, made or discarded: the same word in log, metric and report."""

    ALIVE = "alive"
    IDLE_LONG = "idle-long"
    UNREADABLE = "unreadable"
    FIRST = "first"
    FORKED = "forked"
    RESTORED = "restored"
    OTHER_LOOP = "other-event-loop"
    EPOCH = "credential-epoch"
    EXPIRED = "max-lifetime"
    SERVER_CLOSED = "server-closed"
    PING_FAILED = "ping-failed"
    OUTAGE = "older-than-an-outage"
    LOST = "lost"
    READ_ONLY = "read-only-server"
    ROLLBACK_FAILED = "rollback-failed"
    RESET_FAILED = "reset-failed"
    DIRTY = "dirty-session"
    PER_REQUEST = "per-request"
    NOT_RELEASED = "not-released"
    NOT_COMMITTED = "not-committed"
    CANCELLED = "cancelled"
    REFUSED = "refused"
    CROWDED = "crowded-server"
    CLOSED = "closed"
    BEFORE_SNAPSHOT = "before-snapshot"
    SIGTERM = "sigterm"
    FAILED = "failed"


class Reuse:
    """Hand it out as it is: no round trip."""

    __slots__ = ("reason",)

    def __init__(self, reason: Reason) -> None:
        self.reason = reason

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.reason.value})"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.reason is other.reason

    def __hash__(self) -> int:
        return hash((type(self), self.reason))


class Ping(Reuse):
    """Spend one bounded round trip to learn whether it still answers."""

    __slots__ = ()


class Retire(Reuse):
    """Close it the polite way, and connect."""

    __slots__ = ()


class Abandon(Reuse):
    """Drop it without a byte on its socket, which is not ours or leads nowhere, and connect."""

    __slots__ = ()


class Here:
    """Where the question is asked: this process, snapshot generation, event loop and credential epoch."""

    __slots__ = ("epoch", "generation", "loop", "outage", "pid")

    def __init__(
        self, *, pid: int, generation: int, epoch: int, loop: Any = None, outage: Instant | None = None
    ) -> None:
        self.pid = pid
        self.generation = generation
        self.epoch = epoch
        self.loop = loop
        self.outage = outage


_ALIVE = Reuse(Reason.ALIVE)
_FORKED = Abandon(Reason.FORKED)
_RESTORED = Abandon(Reason.RESTORED)
_OTHER_LOOP = Abandon(Reason.OTHER_LOOP)
_SERVER_CLOSED = Abandon(Reason.SERVER_CLOSED)
_EPOCH = Retire(Reason.EPOCH)
_EXPIRED = Retire(Reason.EXPIRED)
_IDLE_LONG = Ping(Reason.IDLE_LONG)
_UNREADABLE = Ping(Reason.UNREADABLE)
_OUTAGE = Ping(Reason.OUTAGE)
_QUIET = Polled.QUIET
_DATA = Polled.DATA
_CLOSED = Polled.CLOSED


def decide(  # noqa: PLR0911, PLR0913 - one return a rule, and all it depends on
    slot: Slot, *, here: Here, now: Instant, polled: Polled, server_speaks_first: bool, ping_after_s: float
) -> Reuse:
    """Say what to do with the connection that *slot* holds, from most certain to least.

    Identity comes first: a connection that belongs to another process, snapshot or loop is abandoned whatever its
    socket says. Then what the poll proved; then epoch and age, which retire a healthy connection; then doubt, which
    costs a ping: an idle time past *ping_after_s*, when a network on the path may have forgotten the flow without
    telling either end, or another connection found dead since this one was last used. *server_speaks_first* is True
    for PostgreSQL, where bytes to read can be a notification.
    """
    if slot.pid != here.pid:
        return _FORKED
    if slot.generation != here.generation:
        return _RESTORED
    if slot.loop is not here.loop:
        return _OTHER_LOOP
    if polled is _CLOSED or (polled is _DATA and not server_speaks_first):
        return _SERVER_CLOSED
    if slot.epoch != here.epoch:
        return _EPOCH
    assert slot.connected_at is not None and slot.idle_since is not None  # noqa: S101, PT018 - a held connection has both
    if reached(slot.connected_at, now, slot.lifetime_s):
        return _EXPIRED
    if polled is not _QUIET:
        return _UNREADABLE
    if ping_after_s <= 0 or reached(slot.idle_since, now, ping_after_s):
        return _IDLE_LONG
    if here.outage is not None and here.outage.monotonic_s >= slot.idle_since.monotonic_s:
        return _OUTAGE
    return _ALIVE


def ping_budget_s(remaining_s: float | None) -> float:
    """Return how long a ping may take: half a second, or a quarter of what the invocation still has."""
    return PING_MAX_S if remaining_s is None else max(0.01, min(PING_MAX_S, remaining_s / 4))


def lifetime_s(max_lifetime_s: float, *, random: float) -> float:
    """Return a connection's lifetime: up to a tenth shorter than the setting, so that no fleet reconnects at once."""
    return max_lifetime_s * (1 - random / 10)


def backoff_s(attempt: int, *, base_s: float, cap_s: float, random: float) -> float:
    """Return how long to wait before attempt number *attempt* + 1: uniform in 0..min(cap, base x 2^attempt)."""
    return random * float(min(cap_s, base_s * 2 ** min(attempt, 30)))
