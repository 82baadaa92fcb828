"""The server as a witness: its own counters over one trial, sampled while it runs and read at its end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from warmline_toolkit.model.events import ServerCounted, ServerSampled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from warmline_toolkit.lab.journal import Journal
    from warmline_toolkit.servers import AnyServer, Observer

SAMPLE_S = 0.05
"""How often the server's open connections are sampled: a statement of some 0.1 ms on the lab's own session."""


IDLE_WINDOW_S = 0.3
IDLE_WINDOWS = 4
CLOSE_LIMIT_S = 20.0


async def idle_cpu_ms_per_s(server: AnyServer) -> float | None:
    """Return the processor time that *server* takes while nothing is asked of it: its housekeeping.

    The least of four windows, 1.2 s in all: a server that has just started is busy with itself for a moment.
    """
    rates: list[float] = []
    before, began = server.cpu_ms(), time.monotonic()
    while before is not None and len(rates) < IDLE_WINDOWS:
        await asyncio.sleep(IDLE_WINDOW_S)
        now, at = server.cpu_ms(), time.monotonic()
        if now is None:
            return None
        rates.append((now - before) / (at - began))
        before, began = now, at
    return min(rates, default=None)


class Witness:
    """One server's counters in one trial. The window begins with `watch`.

    The processor time it tells is the function's: the lab's own sessions are not in it, and neither is the server's
    housekeeping, *idle_cpu_ms_per_s* over the window.
    """

    def __init__(
        self, server: AnyServer, observer: Observer, journal: Journal, *, idle_cpu_ms_per_s: float | None = None
    ) -> None:
        self._server = server
        self._observer = observer
        self._journal = journal
        self._idle_cpu_ms_per_s = idle_cpu_ms_per_s or 0.0
        self._cpu_ms_before: float | None = None
        self._began = 0.0

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[None]:
        """Begin the window, and record the open connections whenever a sample differs from the one before."""
        await asyncio.to_thread(self._observer.reset)
        self._cpu_ms_before, self._began = self._server.cpu_ms(), time.monotonic()
        sampling = asyncio.create_task(self._sample())
        try:
            yield
        finally:
            sampling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sampling

    async def _sample(self) -> None:
        last = -1
        while True:
            connections = await self.open_now()
            if connections is not None and connections != last:
                self._journal.record(ServerSampled(**self._journal.stamp(), connections=connections))
                last = connections
            await asyncio.sleep(SAMPLE_S)

    async def open_now(self) -> int | None:
        """Return how many connections of the function are open by the server's count; None where it cannot tell."""
        return await asyncio.to_thread(self._observer.open_now)

    async def until_at_most(self, connections: int) -> None:
        """Wait, at most 20 s, until the server has closed what the trial before left it to close."""
        limit = time.monotonic() + CLOSE_LIMIT_S
        while (await self.open_now() or 0) > connections and time.monotonic() < limit:  # noqa: ASYNC110 - the server's
            await asyncio.sleep(0.005)

    async def close(self, client_ports: set[int] | None) -> int:
        """Close the connections from *client_ports* (None: all) at the server, as an administrator would."""
        return await asyncio.to_thread(self._observer.kill_sessions, client_ports=client_ports)

    async def counted(self, *, ghosts: int) -> ServerCounted:
        """Return the window's counters as an event; *ghosts* is what the platform knows that the server cannot."""
        counts = await asyncio.to_thread(self._observer.counts)
        return ServerCounted(
            **self._journal.stamp(),
            opened=counts.opened,
            refused=counts.refused or {},
            still_open=counts.open_now,
            ghosts=None if counts.open_now is None else ghosts,
            cpu_ms=self._cpu_ms(),
        )

    def _cpu_ms(self) -> float | None:
        after = self._server.cpu_ms()
        if after is None or self._cpu_ms_before is None:
            return None
        idle_ms = self._idle_cpu_ms_per_s * (time.monotonic() - self._began)
        return max(0.0, after - self._cpu_ms_before - idle_ms)
