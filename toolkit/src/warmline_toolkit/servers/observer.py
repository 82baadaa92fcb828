"""What a server itself counted in a window of time, for the users' connections only."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from warmline_toolkit.servers.engine import Totals

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from types import TracebackType

    from typing_extensions import Self

    from warmline_toolkit.servers.engine import AppSession, Counters

KILL_LIMIT_S = 2.0
_NOTHING = Totals(opened=0, refused={}, aborted_handshakes=0)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The server's counters over a window; None where this server cannot tell it."""

    opened: int | None
    """Connections that got a session."""
    refused: dict[str, int] | None
    """Connections that the server refused, by its error code: "1040", "1045", "53300", "28P01"."""
    open_now: int | None
    """Sessions open at the end of the window."""
    peak: int | None
    """The most sessions open at once in the window."""
    aborted_handshakes: int | None
    """Connections that were dropped before they named a user."""


class Observer:
    """The counters of one server since `reset` (or since it was made), the lab's own connections excluded.

    Exact once the clients have their answers: a session or a refusal that a client has seen is counted. It works over
    one session of its own that takes none of the users' connections, and it survives `restart()` and `kill()` of the
    server. Every method blocks for a look at the server and may be called from any thread (one at a time gets
    through): from asyncio, call it by `asyncio.to_thread` or `run_in_executor`.
    """

    def __init__(
        self,
        connect: Callable[[], Counters],
        disconnect: Callable[[Counters], None],
        *,
        closed: Callable[[Observer], None],
    ) -> None:
        self._lock = threading.Lock()
        self._connect = connect
        self._disconnect = disconnect
        self._closed = closed
        self._counters: Counters | None = connect()
        self._start: Totals | None = None
        self._carried = _NOTHING  # from before the server's restarts
        self._carried_peak = 0
        self.reset()

    @property
    def notes(self) -> tuple[str, ...]:
        """What cannot be measured here, and why."""
        return self._reader().notes

    def reset(self) -> None:
        """Begin a new window now."""
        with self._lock:
            reader = self._reader()
            self._start, self._carried, self._carried_peak = reader.totals(), _NOTHING, 0
            reader.restart_peak()

    def counts(self) -> Counts:
        """Return what was counted since the window began. Costs one to three short statements."""
        with self._lock:
            reader = self._reader()
            sum_ = _add(self._carried, _since(self._start, reader.totals()))
            return Counts(
                opened=sum_.opened,
                refused=sum_.refused,
                open_now=reader.open_now(),
                peak=None if (peak := reader.peak()) is None else max(peak, self._carried_peak),
                aborted_handshakes=sum_.aborted_handshakes,
            )

    def open_now(self) -> int:
        """Return how many sessions are open: one short statement, for sampling every few milliseconds."""
        with self._lock:
            return self._reader().open_now()

    def sessions(self) -> list[AppSession]:
        """List the users' open sessions with their client ports."""
        with self._lock:
            return self._reader().sessions()

    def kill_sessions(self, *, client_ports: Collection[int] | None = None) -> int:
        """End the users' sessions (those from *client_ports*, or all) on the server's side; return how many.

        Returns once the server has closed them, or after two seconds: a frozen backend of PostgreSQL ends when thawed.
        """
        with self._lock:
            reader = self._reader()
            reader.may_kill(client_ports)
            chosen = [s for s in reader.sessions() if client_ports is None or s.client_port in client_ports]
            killed = reader.kill(chosen)
            gone, limit = {s.id for s in chosen}, time.monotonic() + KILL_LIMIT_S
            while any(s.id in gone for s in reader.sessions()) and time.monotonic() < limit:
                time.sleep(0.001)
            return killed

    def close(self) -> None:
        """End the observer's own session."""
        with self._lock:
            if self._counters is not None:
                self._disconnect(self._counters)
                self._counters = None
        self._closed(self)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def _reader(self) -> Counters:
        if self._counters is None:
            self._counters = self._connect()
        return self._counters

    # -- for the server: its counters end with its process ---------------------------------------------------------

    def before_restart(self) -> None:
        """Keep what was counted so far: the server is about to go down."""
        with self._lock:
            reader = self._reader()
            self._carried = _add(self._carried, _since(self._start, reader.totals()))
            self._carried_peak = max(self._carried_peak, reader.peak() or 0)
            self._disconnect(reader)
            self._counters = None

    def after_restart(self) -> None:
        """Count on from the new process's start."""
        with self._lock:
            reader = self._reader()
            self._start = reader.totals()
            reader.restart_peak()


def _since(start: Totals | None, now: Totals) -> Totals:
    return now if start is None else _combined(now, start, sign=-1)


def _add(one: Totals, two: Totals) -> Totals:
    return _combined(one, two, sign=1)


def _combined(one: Totals, two: Totals, *, sign: int) -> Totals:
    """Return one plus or minus two; what either does not know stays unknown."""

    def number(a: int | None, b: int | None) -> int | None:
        return None if a is None or b is None else a + sign * b

    refused = None
    if one.refused is not None and two.refused is not None:
        codes = sorted(one.refused.keys() | two.refused.keys())
        both = {code: one.refused.get(code, 0) + sign * two.refused.get(code, 0) for code in codes}
        refused = {code: n for code, n in both.items() if n}
    return Totals(
        opened=number(one.opened, two.opened),
        refused=refused,
        aborted_handshakes=number(one.aborted_handshakes, two.aborted_handshakes),
    )
