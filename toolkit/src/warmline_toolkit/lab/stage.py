"""What a scenario plays on: one strategy's trial, with its platform, its server, and the few moves a scenario has."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

from warmline_toolkit.errors import FailedExpectation
from warmline_toolkit.lab import arrivals
from warmline_toolkit.model.events import Fault, Noted

if TYPE_CHECKING:
    from warmline_toolkit.lab.experiment import Experiment
    from warmline_toolkit.lab.journal import Journal
    from warmline_toolkit.lab.outcome import InvocationResult
    from warmline_toolkit.lab.platform import Platform
    from warmline_toolkit.lab.strategy import Strategy
    from warmline_toolkit.lab.witness import Witness
    from warmline_toolkit.model.events import ServerCounted

SETTLE_S = 20.0
_POLL_S = 0.005


class NotSettled(FailedExpectation):
    """The server went on counting other connections than the relay: something else uses the same user, or it hangs."""

    code = "WL-L104"


class Stage:
    """One strategy in one trial. A scenario's `play` calls these; everything that happens is in the journal."""

    def __init__(
        self,
        *,
        experiment: Experiment,
        strategy: Strategy,
        platform: Platform,
        witness: Witness,
        journal: Journal,
    ) -> None:
        self.settings = experiment.settings
        self.platform = platform
        self.witness = witness
        self._journal = journal
        self._event = experiment.event
        self._direct = strategy.route == "direct"

    async def wave(self, count: int, event: dict[str, object] | None = None) -> list[InvocationResult]:
        """Offer *count* requests at once and wait for all answers."""
        payload = json.dumps(self._event if event is None else event).encode()
        return list(await asyncio.gather(*(self.platform.invoke(payload) for _ in range(count))))

    async def arrivals(self, *, rate_per_s: float, duration_s: float) -> None:
        """Offer Poisson arrivals at *rate_per_s* for *duration_s*, the same in each trial, and wait for the answers."""
        due_s = arrivals.poisson(rate=rate_per_s, duration_s=duration_s, seed=self.settings.seed)
        await arrivals.offer(self._invoke, due_s, journal=self._journal)

    async def _invoke(self, number: int, due_s: float) -> InvocationResult:
        del number
        return await self.platform.invoke(json.dumps(self._event).encode(), scheduled_s=due_s)

    async def settle(self) -> None:
        """Wait until the server has as many connections open as the relays: it has finished what was asked of it.

        Raises `NotSettled` after 20 s. Returns at once where the server cannot tell.
        """
        if not self._direct:  # the server's connections are the proxy's, and stay
            return
        began = time.monotonic()
        while (seen := await self.witness.open_now()) not in (None, held := self._held()):
            if time.monotonic() - began > SETTLE_S:
                raise NotSettled(
                    f"After {SETTLE_S:.0f} s the server has {seen} connections of the function open, "
                    f"the relays {held}.",
                    next_step="Make sure that nothing else connects to this server as the function's user.",
                )
            await asyncio.sleep(_POLL_S)

    async def counted(self) -> ServerCounted:
        """Return the server's counters once it is at rest: what it has open is what the relays hold, before and after.

        A server that does not come to rest within 20 s is counted as it is, and the run fails on the difference.
        """
        if not self._direct:
            return await self.witness.counted(ghosts=0)
        began = time.monotonic()
        while True:
            await self.settle()
            counted = await self.witness.counted(ghosts=self.platform.ghosts)
            if counted.still_open in (None, self._held()) or time.monotonic() - began > SETTLE_S:
                return counted

    async def ghosts_now(self) -> int:
        """Return how many connections the server has open for environments that are gone; a proxy's are not such."""
        return await self.open_now() - self.platform.open_connections if self._direct else 0

    async def until_free(self, *, timeout_s: float) -> float:
        """Wait until the server has closed every connection that no living environment holds; return the seconds."""
        began = time.monotonic()
        while True:
            waited_s = time.monotonic() - began
            if waited_s > timeout_s or await self.open_now() <= self.platform.open_connections:
                return waited_s
            await asyncio.sleep(10 * _POLL_S)

    async def open_now(self) -> int:
        """Return how many of the function's connections the server has open (or the relays, where it cannot tell)."""
        seen = await self.witness.open_now()
        return self._held() if seen is None else seen

    def _held(self) -> int:
        return self.platform.open_connections + self.platform.ghosts

    async def close_at_server(self) -> None:
        """Close every connection of the function at the server, and wait until they are gone there."""
        ports = {port for relay in self.platform.relays for port in relay.server_side_ports}
        closed = await self.witness.close(ports if self._direct else None)
        self._journal.record(Fault(**self._journal.stamp(), what=f"the server closed {closed} idle connections"))

    def note(self, name: str, value: float, unit: str = "") -> None:
        """Record a number that this scenario measures in its own way."""
        self._journal.record(Noted(**self._journal.stamp(), name=name, value=value, unit=unit))
