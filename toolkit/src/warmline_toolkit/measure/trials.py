"""One strategy's one repetition: its events gathered, and the counts that follow from them alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from warmline_toolkit.model.events import (
    Arrived,
    ConnectionClosed,
    ConnectionOpened,
    Dropped,
    Initialised,
    Invoked,
    Noted,
    Reaped,
    Reset,
    ServerCounted,
    ServerSampled,
    Throttled,
    TrialEnded,
    TrialStarted,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from warmline_toolkit.model.events import Event

MS_PER_S = 1000.0
FIRST_ERROR_STATUS = 500


@dataclass(kw_only=True)
class Trial:
    """The events of one strategy in one trial, sorted by kind as `add` meets them."""

    strategy: str
    number: int
    started: TrialStarted | None = None
    ended: TrialEnded | None = None
    counted: ServerCounted | None = None
    invoked: list[Invoked] = field(default_factory=list)
    initialised: list[Initialised] = field(default_factory=list)
    arrived: int = 0
    dropped: int = 0
    throttled: int = 0
    resets: list[Reset] = field(default_factory=list)
    reaped: list[Reaped] = field(default_factory=list)
    opened: list[ConnectionOpened] = field(default_factory=list)
    closed: list[ConnectionClosed] = field(default_factory=list)
    sampled: list[ServerSampled] = field(default_factory=list)
    notes: list[Noted] = field(default_factory=list)

    def add(self, event: Event) -> None:  # noqa: C901, PLR0912 - one case a kind
        """Take one event of this trial; kinds that no number needs are passed over."""
        match event:
            case Invoked():
                self.invoked.append(event)
            case ConnectionOpened():
                self.opened.append(event)
            case ConnectionClosed():
                self.closed.append(event)
            case ServerSampled():
                self.sampled.append(event)
            case Arrived():
                self.arrived += 1
            case Dropped():
                self.dropped += 1
            case Throttled():
                self.throttled += 1
            case Initialised():
                self.initialised.append(event)
            case Reset():
                self.resets.append(event)
            case Reaped():
                self.reaped.append(event)
            case ServerCounted():
                self.counted = event
            case TrialStarted():
                self.started = event
            case TrialEnded():
                self.ended = event
            case Noted():
                self.notes.append(event)

    @property
    def finished(self) -> bool:
        """Whether the trial ran to its end: only then do its counts mean anything."""
        return self.started is not None and self.ended is not None

    @property
    def begins_s(self) -> float:
        """When the trial began."""
        return self.started.at_s if self.started else 0.0

    @cached_property
    def works_s(self) -> float:
        """When the first connection was opened or the first handler began: the Inits before it are long and empty."""
        begun = [event.at_s for event in self.opened] + [e.at_s - e.handler_ms / MS_PER_S for e in self.invoked]
        return max(self.begins_s, min(begun, default=self.begins_s))

    @property
    def ends_s(self) -> float:
        """When the trial ended: what the lab tears down afterwards is not the strategy's doing."""
        return self.ended.at_s if self.ended else float("inf")

    @property
    def direct(self) -> bool:
        """Whether the function's connections reach the server itself, not a proxy."""
        return self.started is None or self.started.path == "direct"

    @property
    def environments(self) -> int:
        """Count the execution environments that took part."""
        return len({event.environment for event in self.initialised} | {event.environment for event in self.invoked})

    @property
    def cold_starts(self) -> int:
        """Count the invocations that waited for a new environment."""
        return sum(event.cold for event in self.invoked)

    @cached_property
    def errors_by_code(self) -> Counter[str]:
        """Count the failed invocations by their most telling name (see `failure`)."""
        return Counter(name for event in self.invoked if (name := failure(event)) is not None)

    @cached_property
    def relay_refused(self) -> Counter[str]:
        """Count the connections that the server refused, by its error code, as the relay saw them."""
        return Counter(
            event.refused_code for event in self.closed if event.refused_code is not None and event.at_s <= self.ends_s
        )

    @property
    def refusals_s(self) -> list[float]:
        """Tell when the server refused a connection: seconds since the trial's work began."""
        return sorted(
            event.at_s - self.works_s
            for event in self.closed
            if event.refused_code is not None and event.at_s <= self.ends_s
        )

    @cached_property
    def _sessions(self) -> list[ConnectionOpened]:
        never = {
            (event.environment, event.connection)
            for event in self.closed
            if event.refused_code is not None or event.session is False
        }
        return [
            event
            for event in self.opened
            if event.at_s <= self.ends_s and (event.environment, event.connection) not in never
        ]

    @property
    def relay_opened(self) -> int:
        """Count the connections that got a session, as the relay saw them; those that it cannot tell are counted."""
        return len(self._sessions)

    @property
    def relay_hidden(self) -> int:
        """Count the connections of which the relay cannot tell whether they got a session: TLS hides the login."""
        sessions = {(event.environment, event.connection) for event in self._sessions}
        return sum(event.session is None and (event.environment, event.connection) in sessions for event in self.closed)

    @cached_property
    def open_over_time(self) -> list[tuple[float, int]]:
        """Tell the connections open through the relay: (seconds since its work began, how many from then on)."""
        sessions = {(event.environment, event.connection) for event in self._sessions}
        changes = [(event.at_s, 1) for event in self._sessions]
        changes += [
            (event.at_s, -1)
            for event in self.closed
            if event.at_s <= self.ends_s and (event.environment, event.connection) in sessions
        ]
        return list(self._running_sum(sorted(changes)))

    def _running_sum(self, changes: list[tuple[float, int]]) -> Iterator[tuple[float, int]]:
        # At one instant closes come first (-1 sorts before +1): a slot handed on at that instant is no second slot.
        held = 0
        for at_s, change in changes:
            held += change
            yield max(0.0, at_s - self.works_s), held

    @property
    def samples_over_time(self) -> list[tuple[float, int]]:
        """Tell the server's own samples: (seconds since the trial's work began, connections)."""
        return [
            (event.at_s - self.works_s, event.connections)
            for event in self.sampled
            if self.works_s <= event.at_s <= self.ends_s
        ]

    @property
    def relay_peak(self) -> int:
        """Count the most connections open at once through the relay: exact, every open and close is an event."""
        return max((held for _, held in self.open_over_time), default=0)

    @property
    def relay_still_open(self) -> int:
        """Count the connections open through the relay when the trial ended."""
        return self.open_over_time[-1][1] if self.open_over_time else 0

    @property
    def server_peak(self) -> int | None:
        """Tell the most connections in any of the server's samples: real ones, but a short one may fall between two."""
        return max((event.connections for event in self.sampled if event.at_s <= self.ends_s), default=None)

    @property
    def ghosts(self) -> int:
        """Count the server connections that environments reaped during the trial left open; a proxy's stay its own."""
        if not self.direct:
            return 0
        return sum(event.ghosts for event in self.reaped if event.at_s <= self.ends_s)

    @property
    def duration_s(self) -> float:
        """How long the trial took."""
        return self.ends_s - self.begins_s


def failure(event: Invoked) -> str | None:
    """Name the failure of an invocation, None for a good one.

    The database's own code where the error carries one, else the error's type, else what the platform saw ("timeout",
    "crash"). A response with a status of 500 or more is a failure too: a handler that catches its error and answers so.
    """
    if event.outcome == "ok" and (event.status is None or event.status < FIRST_ERROR_STATUS):
        return None
    if event.error_code:
        return event.error_code
    if event.outcome in ("timeout", "crash"):
        return event.outcome
    return event.error_type or (f"status {event.status}" if event.status else event.outcome)
