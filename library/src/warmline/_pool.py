"""The bounded set of slots behind every strategy: last in, first out; waiters first come, first served."""

from __future__ import annotations

import threading
from collections import deque

from warmline._errors import PoolTimeout, QueueFull
from warmline._slot import Slot, State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from warmline._clock import Clock

_IDLE = State.IDLE
_get_ident = threading.get_ident


class _Waiter:
    """One thread that waits: released with a slot in its hand."""

    __slots__ = ("gate", "holder", "slot")

    def __init__(self) -> None:
        self.holder = threading.get_ident()
        self.gate = threading.Lock()
        self.gate.acquire()
        self.slot: Slot | None = None


class Pool:
    """At most *limit* slots. Holds no thread and no timer: everything happens in the call that needs it.

    A slot is handed out idle (with the connection that was used last) or empty; it comes back the same way. No I/O
    happens here, and none while the lock is held.
    """

    def __init__(self, *, limit: int, wait: bool, queue_limit: int, clock: Clock) -> None:
        self._limit = limit
        self._wait = wait
        self._queue_limit = queue_limit
        self._clock = clock
        self._lock = threading.Lock()
        self._idle: list[Slot] = []
        self._out: dict[Slot, int] = {}
        self._waiters: deque[_Waiter] = deque()

    def take_now(self) -> Slot | None:
        """Return a slot when one is to be had without waiting."""
        with self._lock:
            if self._idle:
                slot = self._idle.pop()
            elif len(self._out) < self._limit:
                slot = Slot()
            else:
                return None
            self._out[slot] = _get_ident()
            return slot

    def take(self, timeout_s: float) -> Slot:
        """Return a slot, waiting up to *timeout_s* for one.

        Raises `PoolTimeout` when none came, at once when waiting is off or could never end as this very thread holds
        them all; `QueueFull` when *queue_limit* callers wait already.
        """
        me = threading.get_ident()
        with self._lock:
            if self._idle:
                slot = self._idle.pop()
                self._out[slot] = me
                return slot
            if len(self._out) < self._limit:
                slot = Slot()
                self._out[slot] = me
                return slot
            self._refuse(me, timeout_s)
            waiter = _Waiter()
            self._waiters.append(waiter)
        start_s = self._clock.read().monotonic_s
        try:
            waiter.gate.acquire(timeout=timeout_s)
        finally:
            with self._lock:
                if waiter.slot is None:
                    self._waiters.remove(waiter)
        if waiter.slot is None:
            raise self._timeout(self._clock.read().monotonic_s - start_s)
        return waiter.slot

    def _refuse(self, me: int, timeout_s: float) -> None:
        if self._queue_limit and len(self._waiters) >= self._queue_limit:
            raise QueueFull(
                f"all {self._limit} connections are in use, {len(self._waiters)} callers wait, "
                f"and queue_limit is {self._queue_limit}",
                next_step="Raise queue_limit or connection_limit, or hold connections for less long.",
            )
        if all(holder == me for holder in self._out.values()):
            raise PoolTimeout(
                f"this thread asks for another connection while it holds all there are ({self._limit})",
                next_step='Pass the connection on instead, or use strategy="pool" with a larger connection_limit.',
                waited_s=0.0,
                size=self._limit,
            )
        if not self._wait or timeout_s <= 0:
            raise self._timeout(0.0)

    def _timeout(self, waited_s: float) -> PoolTimeout:
        return PoolTimeout(
            f"no connection after {waited_s:.2f} s: {len(self._out)} of {self._limit} in use, "
            f"{len(self._waiters)} waiting",
            next_step="Raise connection_limit, or hold connections for less long.",
            waited_s=waited_s,
            size=self._limit,
        )

    def give(self, slot: Slot) -> bool:
        """Take a slot back, idle or empty; say False when it is not one that is out (it was forgotten meanwhile)."""
        with self._lock:
            if self._out.pop(slot, None) is None:
                return False
            if self._waiters:
                waiter = self._waiters.popleft()
                waiter.slot = slot
                self._out[slot] = waiter.holder
                waiter.gate.release()
            elif slot.state is _IDLE:
                self._idle.append(slot)
            return True

    def forget(self, slot: Slot) -> bool:
        """Make room in place of a slot that its user never gave back; say whether it was out."""
        with self._lock:
            if self._out.pop(slot, None) is None:
                return False
            if self._waiters:
                waiter = self._waiters.popleft()
                waiter.slot = Slot()
                self._out[waiter.slot] = waiter.holder
                waiter.gate.release()
            return True

    def drain(self) -> list[Slot]:
        """Take out and return all idle slots, for the caller to close."""
        with self._lock:
            idle, self._idle = self._idle, []
            return idle

    def after_fork(self) -> list[Slot]:
        """In a forked child: begin anew, and return the slots that were out, whose users stayed in the parent.

        The lock may have been held by a thread that does not exist here, hence a new one. Idle slots stay: the policy
        abandons their connections when they are next taken.
        """
        self._lock = threading.Lock()
        self._waiters = deque()
        lost, self._out = list(self._out), {}
        return lost

    def counts(self) -> dict[str, int]:
        """Return how many slots are idle and in use, and how many callers wait."""
        with self._lock:
            return {"idle": len(self._idle), "in_use": len(self._out), "waiting": len(self._waiters)}
