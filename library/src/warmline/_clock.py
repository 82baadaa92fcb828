"""Three clocks, read together: the only place in the library that reads time."""

from __future__ import annotations

import time
from collections import namedtuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple, Protocol

    class Instant(NamedTuple):
        """One moment on three clocks, in seconds. Only differences mean anything."""

        wall_s: float
        monotonic_s: float
        boot_s: float

    class Clock(Protocol):
        """Where the library reads time. `warmline.testing.FakeClock` is one that a test moves."""

        def read(self) -> Instant:
            """Read all clocks, as close together as can be."""
            ...

        def sleep(self, seconds: float) -> None:
            """Let *seconds* pass."""
            ...

else:
    # typing alone takes milliseconds to import
    Instant = namedtuple("Instant", ["wall_s", "monotonic_s", "boot_s"])  # noqa: PYI024 - see above


def elapsed_s(since: Instant, now: Instant) -> float:
    """Return how long ago *since* was by whichever clock moved most, never negative.

    A frozen environment may stop the monotonic clock, and a correction may step the wall clock either way. Believing
    the largest difference can only make a connection look older than it is, which costs a ping; the other mistake
    hands out a dead connection.
    """
    return max(now.wall_s - since.wall_s, now.monotonic_s - since.monotonic_s, now.boot_s - since.boot_s, 0.0)


def reached(since: Instant, now: Instant, limit_s: float) -> bool:
    """Say whether `elapsed_s` is *limit_s* or more, at half its cost."""
    return now[0] - since[0] >= limit_s or now[1] - since[1] >= limit_s or now[2] - since[2] >= limit_s


_new = tuple.__new__
_wall = time.time
_monotonic = time.monotonic
_CLOCK_BOOTTIME: int = getattr(time, "CLOCK_BOOTTIME", -1)


class SystemClock:
    """The machine's clocks. Reading them costs about half a microsecond."""

    if _CLOCK_BOOTTIME >= 0:

        def read(self) -> Instant:
            """Read wall, monotonic and boot clock together."""
            return _new(Instant, (_wall(), _monotonic(), time.clock_gettime(_CLOCK_BOOTTIME)))

    else:  # macOS has no such clock, and its monotonic clock already counts through sleep

        def read(self) -> Instant:
            """Read wall and monotonic clock together."""
            now_s = time.monotonic()
            return Instant(time.time(), now_s, now_s)

    def sleep(self, seconds: float) -> None:
        """Block this thread for *seconds*."""
        time.sleep(seconds)
