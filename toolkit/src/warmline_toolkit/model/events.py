"""What a run file holds: one JSON object a line, each an event with its time.

The first line is a `RunStarted` with the provenance, the last a `RunEnded`; a file without the last line is a run that
was cut, and its events are still good. Nothing in a run file is computed from other events: a count, a percentile or
a peak belongs to `warmline_toolkit.measure`.

Times (`at_s`) are seconds on the lab's monotonic clock since the run began. `trial` counts from 1; an event outside any
trial (the run's own) has trial 0 and strategy "". An environment is named once in a run, as `environment` ("e17").
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias

Outcome: TypeAlias = Literal["ok", "error", "timeout", "crash"]
"""How an invocation or an Init ended: a response, an error the runtime reported, the limit, or the process's death."""

ReapHow: TypeAlias = Literal["fin", "rst", "silent"]
"""What the server sees of a reaped environment's connections: a close, a reset, or nothing at all (a ghost)."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """One recorded fact."""

    kind: ClassVar[str]

    at_s: float
    trial: int = 0
    strategy: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the line to write: the fields, with the kind first."""
        return {"kind": self.kind, **dataclasses.asdict(self)}


@dataclass(frozen=True, kw_only=True)
class RunStarted(Event):
    """The head of the file. *provenance* is a flat mapping: server, version, settings, kernel, cores, commit, …."""

    kind: ClassVar[str] = "run-started"

    schema: int = 1
    scenario: str
    title: str
    expectation: str
    """The scenario's own claim, in a sentence, and what it was run with."""
    started: str
    """Wall-clock start, ISO 8601, UTC."""
    settings: dict[str, Any]
    """The experiment's settings: requests, environments, max_connections, trials, strategies, rates, rtt_ms, …."""
    provenance: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class RunEnded(Event):
    """The run's last line: *complete* is False when it was interrupted."""

    kind: ClassVar[str] = "run-ended"

    complete: bool


@dataclass(frozen=True, kw_only=True)
class TrialStarted(Event):
    """One strategy begins one repetition. *limit* is how many connections the server leaves to the function."""

    kind: ClassVar[str] = "trial-started"

    limit: int | None
    server: str
    """The engine and its version, as the server says it: "MariaDB 10.11.19"."""
    path: Literal["direct", "proxy"] = "direct"
    """What the function's connections reach. On "proxy" the relay counts client connections and the server counts
    server connections, so the two need not agree."""


@dataclass(frozen=True, kw_only=True)
class TrialEnded(Event):
    """One strategy ends one repetition, before its environments are reaped."""

    kind: ClassVar[str] = "trial-ended"


@dataclass(frozen=True, kw_only=True)
class Initialised(Event):
    """An environment's Init ended. *at_s* is its end; the process was started at `at_s - duration_ms / 1000`."""

    kind: ClassVar[str] = "initialised"

    environment: str
    duration_ms: float
    outcome: Outcome
    error_type: str | None = None
    error_message: str | None = None
    restored: bool = False
    """True where the environment came from a snapshot (SnapStart) instead of a full Init."""


@dataclass(frozen=True, kw_only=True)
class Arrived(Event):
    """A caller's request arrived at the platform. *scheduled_s* is when it was meant to."""

    kind: ClassVar[str] = "arrived"

    invocation: str
    scheduled_s: float


@dataclass(frozen=True, kw_only=True)
class Dropped(Event):
    """An arrival that the generator could not offer on time."""

    kind: ClassVar[str] = "dropped"

    invocation: str
    late_ms: float


@dataclass(frozen=True, kw_only=True)
class Throttled(Event):
    """The platform answered 429: *concurrency* invocations were running, and *cap* may.

    With *reason* "scale-out" there was room under the cap, but environments may not be added that fast.
    """

    kind: ClassVar[str] = "throttled"

    invocation: str
    concurrency: int
    cap: int
    reason: Literal["concurrency", "scale-out"] = "concurrency"


@dataclass(frozen=True, kw_only=True)
class Invoked(Event):
    """An invocation ended. *at_s* is when its response, error or end was known."""

    kind: ClassVar[str] = "invoked"

    invocation: str
    environment: str
    cold: bool
    """It waited for a new environment (a cold start)."""
    thawed: bool
    """The environment was frozen before it."""
    wait_ms: float
    """From arrival until the event was handed to the runtime: a cold start's Init is in here."""
    handler_ms: float
    """From handing the event to the runtime until its response: the handler, the runtime, and the invoke overhead."""
    outcome: Outcome
    status: int | None = None
    """The `statusCode` of a response that has one (an API Gateway answer)."""
    error_type: str | None = None
    error_message: str | None = None
    error_code: str | None = None
    """The database's own code where the message carries one: "1040", "53300", "57P01", "2013"."""
    connections_opened: int = 0
    """Connections opened through the environment's relay during it."""
    round_trips: int = 0
    """Round trips through the environment's relay during it: a request direction followed by an answer."""
    bytes_sent: int = 0
    bytes_received: int = 0
    logs: list[str] = field(default_factory=list)
    """What it printed, at most 20 lines of at most 400 characters."""


@dataclass(frozen=True, kw_only=True)
class Frozen(Event):
    """The environment's processes were stopped."""

    kind: ClassVar[str] = "frozen"

    environment: str


@dataclass(frozen=True, kw_only=True)
class Thawed(Event):
    """The environment's processes were continued, after *frozen_s* seconds."""

    kind: ClassVar[str] = "thawed"

    environment: str
    frozen_s: float


@dataclass(frozen=True, kw_only=True)
class Reset(Event):
    """The environment was reset after a timeout or a crash: its processes are gone, its next invoke runs Init again."""

    kind: ClassVar[str] = "reset"

    environment: str
    cause: Literal["timeout", "crash", "init"]


@dataclass(frozen=True, kw_only=True)
class Reaped(Event):
    """The platform discarded the environment. *ghosts* is how many server connections it left open."""

    kind: ClassVar[str] = "reaped"

    environment: str
    how: ReapHow
    idle_s: float
    ghosts: int


@dataclass(frozen=True, kw_only=True)
class ConnectionOpened(Event):
    """A connection was opened through the environment's relay and reached the server."""

    kind: ClassVar[str] = "connection-opened"

    environment: str
    connection: str
    invocation: str | None = None


@dataclass(frozen=True, kw_only=True)
class ConnectionClosed(Event):
    """A connection through the relay ended. *by* is who ended it; a refusal is the server's close with a *code*."""

    kind: ClassVar[str] = "connection-closed"

    environment: str
    connection: str
    by: Literal["function", "server", "platform"]
    round_trips: int
    refused_code: str | None = None
    """The server's error code where it refused the login with one: "1040", "53300", "1045", "28P01"."""
    session: bool | None = None
    """Whether the server gave it a session; None where TLS hides the login, or it was a cancel request."""


@dataclass(frozen=True, kw_only=True)
class ServerSampled(Event):
    """The server's own count of the function's connections at one moment (the lab's own are not in it)."""

    kind: ClassVar[str] = "server-sampled"

    connections: int


@dataclass(frozen=True, kw_only=True)
class ServerCounted(Event):
    """The server's own counters over one trial, the truth that the relay's counts must agree with.

    A value is None where the server cannot tell it (a user's own server, say); the report then says so.
    """

    kind: ClassVar[str] = "server-counted"

    opened: int | None
    """Connections that got a session."""
    refused: dict[str, int]
    """Connections that the server refused, by its error code."""
    still_open: int | None
    """The function's connections open at the end of the trial, its environments still alive."""
    ghosts: int | None
    """Of those, the ones whose environment is gone."""
    cpu_ms: float | None
    """User and system time of the server's processes during the trial."""


@dataclass(frozen=True, kw_only=True)
class Fault(Event):
    """The lab did something to the path or the server on purpose."""

    kind: ClassVar[str] = "fault"

    what: str


@dataclass(frozen=True, kw_only=True)
class Noted(Event):
    """A fact that a scenario measured in its own way: *name* is documented on the scenario's page."""

    kind: ClassVar[str] = "noted"

    name: str
    value: float | int | str | bool
    unit: str = ""


EVENTS: dict[str, type[Event]] = {
    event.kind: event
    for event in (
        RunStarted,
        RunEnded,
        TrialStarted,
        TrialEnded,
        Initialised,
        Arrived,
        Dropped,
        Throttled,
        Invoked,
        Frozen,
        Thawed,
        Reset,
        Reaped,
        ConnectionOpened,
        ConnectionClosed,
        ServerSampled,
        ServerCounted,
        Fault,
        Noted,
    )
}


def from_json(line: dict[str, Any]) -> Event:
    """Return the event that *line* holds. Raises `ValueError` for an unknown kind or fields it does not have."""
    fields = dict(line)
    kind = fields.pop("kind", None)
    if kind not in EVENTS:
        raise ValueError(f"unknown event kind {kind!r}")
    try:
        return EVENTS[kind](**fields)
    except TypeError as error:
        raise ValueError(f"not a {kind} event: {error}") from error
