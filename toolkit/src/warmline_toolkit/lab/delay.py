"""Calls made after a delay of microseconds, for the network round trips that the relay adds.

asyncio's own timers (and uvloop's) are good to a millisecond: no use for a round trip of 0.3 ms. On Linux one timerfd
serves every delayed call of a loop, good to some tens of microseconds on an idle core; elsewhere asyncio's serve.
"""

from __future__ import annotations

import asyncio
import ctypes
import heapq
import itertools
import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_CLOCK_MONOTONIC = 1
_TFD_FLAGS = os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class DelayLine:
    """Calls functions after given delays, in order of their due times (first come first for equal ones)."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._handle: asyncio.TimerHandle | None = None
        self._fd = -1
        if sys.platform == "linux":
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._fd = self._libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_FLAGS)
            if self._fd >= 0:
                self._loop.add_reader(self._fd, self._expired)

    def call_at(self, due: float, function: Callable[[], None]) -> None:
        """Call *function* at *due* (`time.monotonic()`), or as soon as the loop can when that is past."""
        heapq.heappush(self._due, (due, next(self._order), function))
        if self._due[0][2] is function:
            self._arm(due)

    def _arm(self, due: float) -> None:
        wait = max(due - time.monotonic(), 0.000_001)
        if self._fd >= 0:
            seconds = int(wait)
            timer = _Itimerspec(_Timespec(0, 0), _Timespec(seconds, int((wait - seconds) * 1e9)))
            self._libc.timerfd_settime(self._fd, 0, ctypes.byref(timer), None)
            return
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop.call_later(wait, self._run_due)

    def _expired(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return
        self._run_due()

    def _run_due(self) -> None:
        while self._due and self._due[0][0] <= time.monotonic():
            heapq.heappop(self._due)[2]()
        if self._due:
            self._arm(self._due[0][0])

    def close(self) -> None:
        """Drop what is still to come and release the timer."""
        self._due.clear()
        if self._handle is not None:
            self._handle.cancel()
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
