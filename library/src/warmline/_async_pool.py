"""The bounded set of slots for asyncio: as `_pool`, with futures where that one has locks."""

from __future__ import annotations

import asyncio
from collections import deque

from warmline._errors import PoolTimeout, QueueFull
from warmline._slot import Slot, State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from warmline._clock import Clock


class AsyncPool:
    """At most *limit* slots, for one event loop at a time. No I/O happens here, and only `take` suspends."""

    def __init__(self, *, limit: int, wait: bool, queue_limit: int, clock: Clock) -> None:
        self._limit = limit
        self._wait = wait
        self._queue_limit = queue_limit
        self._clock = clock
        self._idle: list[Slot] = []
        self._out: dict[Slot, Any] = {}
        self._waiters: deque[tuple[asyncio.Future[Slot], Any]] = deque()

    def take_now(self) -> Slot | None:
        """Return a slot when one is to be had without waiting."""
        if self._idle:
            slot = self._idle.pop()
        elif len(self._out) < self._limit:
            slot = Slot()
        else:
            return None
        self._out[slot] = asyncio.current_task()
        return slot

    async def take(self, timeout_s: float) -> Slot:
        """Return a slot, waiting up to *timeout_s*; raises `PoolTimeout` and `QueueFull` as the other pool does."""
        slot = self.take_now()
        if slot is not None:
            return slot
        self._drop_cancelled()
        if self._queue_limit and len(self._waiters) >= self._queue_limit:
            raise QueueFull(
                f"all {self._limit} connections are in use, {len(self._waiters)} callers wait, "
                f"and queue_limit is {self._queue_limit}",
                next_step="Raise queue_limit or connection_limit, or hold connections for less long.",
            )
        me = asyncio.current_task()
        if all(holder is me for holder in self._out.values()):
            raise PoolTimeout(
                f"this task asks for another connection while it holds all there are ({self._limit})",
                next_step='Pass the connection on instead, or use strategy="pool" with a larger connection_limit.',
                waited_s=0.0,
                size=self._limit,
            )
        if not self._wait or timeout_s <= 0:
            raise self._timeout(0.0)
        future: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        self._waiters.append((future, me))
        start_s = self._clock.read().monotonic_s
        try:
            return await asyncio.wait_for(asyncio.shield(future), timeout_s)
        except asyncio.TimeoutError:
            if future.done():
                return future.result()
            raise self._timeout(self._clock.read().monotonic_s - start_s) from None
        except asyncio.CancelledError:
            if future.done():
                self.give(future.result())
            raise
        finally:
            if not future.done():
                future.cancel()
            self._drop_cancelled()

    def _drop_cancelled(self) -> None:
        """Forget waiters that gave up, or whose event loop is closed."""
        self._waiters = deque(
            (future, task) for future, task in self._waiters if not future.done() and not future.get_loop().is_closed()
        )

    def _timeout(self, waited_s: float) -> PoolTimeout:
        return PoolTimeout(
            f"no connection after {waited_s:.2f} s: {len(self._out)} of {self._limit} in use, "
            f"{len(self._waiters)} waiting",
            next_step="Raise connection_limit, or hold connections for less long.",
            waited_s=waited_s,
            size=self._limit,
        )

    def give(self, slot: Slot) -> bool:
        """Take a slot back, idle or empty; say False when it is not one that is out."""
        if self._out.pop(slot, None) is None:
            return False
        self._drop_cancelled()
        if self._waiters:
            future, task = self._waiters.popleft()
            self._out[slot] = task
            future.set_result(slot)
        elif slot.state is State.IDLE:
            self._idle.append(slot)
        return True

    def forget(self, slot: Slot) -> bool:
        """Make room in place of a slot that its user never gave back; say whether it was out."""
        if slot not in self._out:
            return False
        holder = self._out.pop(slot)
        room = Slot()
        self._out[room] = holder
        return self.give(room)

    def drain(self) -> list[Slot]:
        """Take out and return all idle slots, for the caller to close."""
        idle, self._idle = self._idle, []
        return idle

    def after_fork(self) -> list[Slot]:
        """Begin anew, in a forked child or on another event loop: return the slots that were out."""
        self._waiters = deque()
        lost, self._out = list(self._out), {}
        return lost

    def counts(self) -> dict[str, int]:
        """Return how many slots are idle and in use, and how many callers wait."""
        return {"idle": len(self._idle), "in_use": len(self._out), "waiting": len(self._waiters)}
