"""Builds run files as the lab records them, from a seed: test data for what reads them."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from warmline_toolkit.model.events import (
    Arrived,
    ConnectionClosed,
    ConnectionOpened,
    Event,
    Frozen,
    Initialised,
    Invoked,
    Noted,
    Reaped,
    RunEnded,
    RunStarted,
    ServerCounted,
    ServerSampled,
    Thawed,
    TrialEnded,
    TrialStarted,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CONNECT_MS, QUERY_MS, INIT_MS = 1.1, 0.35, 60.0


@dataclass(kw_only=True)
class RunBuilder:
    """A run of *requests* on *environments* against a limit of *max_connections*, *at_once* of them in flight."""

    scenario: str = "guide"
    strategies: Sequence[str] = ("per-request", "keep-open", "pool")
    trials: int = 3
    requests: int = 25
    environments: int = 5
    max_connections: int = 5
    at_once: int = 5
    server: str = "MariaDB 10.11.19"
    too_many: str = "1040"
    seed: int = 7
    ghosts: int = 0
    """Environments that are reaped silently, with their connection, in the middle of every trial."""
    _names: Iterator[int] = field(init=False)

    def events(self) -> list[Event]:
        """Return the whole run."""
        self._names = iter(range(1, 1_000_000))
        rng = random.Random(self.seed)  # noqa: S311 - test data
        at_s = 0.8
        body: list[Event] = []
        for trial in range(1, self.trials + 1):
            for strategy in self.strategies:
                made, at_s = self._trial(strategy, trial, at_s + 0.2, rng)
                body += made
        return [self._head(), *body, RunEnded(at_s=at_s, complete=True)]

    def _head(self) -> RunStarted:
        return RunStarted(
            at_s=0.0,
            scenario=self.scenario,
            title="The guide's experiment",
            expectation="per-request opens one connection per request, keep-open and pool one per environment",
            started="2026-01-02T03:04:05+00:00",
            settings={
                "strategies": list(self.strategies),
                "trials": self.trials,
                "requests": self.requests,
                "environments": self.environments,
                "max_connections": self.max_connections,
                "rtt_ms": 0.0,
            },
            provenance={
                "server": self.server,
                "warmline": "0.1.0",
                "commit": "0123456789ab",
                "commit_dirty": False,
                "date": "2026-01-02T03:04:05+00:00",
                "python": "CPython 3.11.7",
                "system": "Debian GNU/Linux 12 (bookworm)",
                "kernel": "Linux 6.1.0 x86_64",
                "cores": 2,
                "memory_gib": 23.5,
                "load_1m": 0.42,
            },
        )

    def _trial(self, strategy: str, trial: int, start_s: float, rng: random.Random) -> tuple[list[Event], float]:  # noqa: PLR0915 - one trial, told in order
        common = {"trial": trial, "strategy": strategy}
        made: list[Event] = []
        keeps = strategy != "per-request"
        held: dict[str, str] = {}
        live = 0
        refused = opened = 0
        free = [(start_s, f"e{next(self._names)}") for _ in range(min(self.at_once, self.environments))]
        heapq.heapify(free)
        seen: set[str] = set()
        closes: list[tuple[float, Event]] = []
        ends_s = start_s
        for _ in range(self.requests):
            at_s, environment = heapq.heappop(free)
            for moment, event in [one for one in closes if one[0] <= at_s]:
                closes.remove((moment, event))
                live -= 1
            invocation = f"i{next(self._names)}"
            cold = environment not in seen
            seen.add(environment)
            made.append(Arrived(at_s=at_s, invocation=invocation, scheduled_s=at_s, **common))
            wait_s = 0.0001
            if cold:
                wait_s = rng.gauss(INIT_MS, 4) / 1000
                made.append(
                    Initialised(
                        at_s=at_s + wait_s, environment=environment, duration_ms=wait_s * 1000, outcome="ok", **common
                    )
                )
            else:
                made.append(Thawed(at_s=at_s, environment=environment, frozen_s=rng.uniform(0.0, 0.01), **common))
            begins_s = at_s + wait_s
            handler_s = max(0.0001, rng.lognormvariate(0, 0.25) * QUERY_MS / 1000)
            error = None
            opens = 0
            trips = 1
            if not (keeps and environment in held):
                connection = f"c{next(self._names)}"
                handler_s += rng.lognormvariate(0, 0.3) * CONNECT_MS / 1000
                made.append(
                    ConnectionOpened(
                        at_s=begins_s + 0.0001,
                        environment=environment,
                        connection=connection,
                        invocation=invocation,
                        **common,
                    )
                )
                closing = {"environment": environment, "connection": connection, **common}
                if live >= self.max_connections:
                    refused += 1
                    error = self.too_many
                    made.append(
                        ConnectionClosed(
                            at_s=begins_s + 0.0004,
                            by="server",
                            round_trips=0,
                            refused_code=error,
                            session=False,
                            **closing,
                        )
                    )
                else:
                    opened, live, opens, trips = opened + 1, live + 1, 1, 4
                    if keeps:
                        held[environment] = connection
                    else:
                        close = ConnectionClosed(
                            at_s=begins_s + handler_s - 0.00005, by="function", round_trips=4, session=True, **closing
                        )
                        made.append(close)
                        closes.append((close.at_s, close))
            ends_s = begins_s + handler_s
            made.append(
                Invoked(
                    at_s=ends_s,
                    invocation=invocation,
                    environment=environment,
                    cold=cold,
                    thawed=not cold,
                    wait_ms=wait_s * 1000,
                    handler_ms=handler_s * 1000,
                    outcome="error" if error else "ok",
                    status=None if error else 200,
                    error_type="OperationalError" if error else None,
                    error_message=f"({error}, 'Too many connections')" if error else None,
                    error_code=error,
                    connections_opened=opens,
                    round_trips=trips,
                    **common,
                )
            )
            made.append(Frozen(at_s=ends_s + 0.0001, environment=environment, **common))
            heapq.heappush(free, (ends_s + 0.0005, environment))
        ends_s = max(event.at_s for event in made) + 0.001
        gone = list(held)[: self.ghosts]
        made += [
            Reaped(at_s=ends_s - 0.0005, environment=e, how="silent", idle_s=1.0, ghosts=1, **common) for e in gone
        ]
        made += self._samples(made, start_s, ends_s, common)
        still_open = len(held) if keeps else 0
        head = TrialStarted(at_s=start_s, limit=self.max_connections, server=self.server, **common)
        tail = [
            TrialEnded(at_s=ends_s, **common),
            ServerCounted(
                at_s=ends_s + 0.001,
                opened=opened,
                refused={self.too_many: refused} if refused else {},
                still_open=still_open,
                ghosts=len(gone),
                cpu_ms=opened * rng.gauss(0.16, 0.01) + self.requests * 0.0135,
                **common,
            ),
            *(
                ConnectionClosed(
                    at_s=ends_s + 0.01,
                    environment=e,
                    connection=c,
                    by="platform",
                    round_trips=9,
                    session=True,
                    **common,
                )
                for e, c in held.items()
            ),
            *(Reaped(at_s=ends_s + 0.01, environment=e, how="fin", idle_s=0.0, ghosts=0, **common) for e in held),
        ]
        if strategy == "pool":
            tail.append(Noted(at_s=ends_s, name="timer-fired", value=False, **common))
        return [head, *sorted(made, key=lambda event: event.at_s), *tail], ends_s + 0.05

    def _samples(self, made: list[Event], start_s: float, ends_s: float, common: dict[str, object]) -> list[Event]:
        refused = {e.connection for e in made if isinstance(e, ConnectionClosed) and e.refused_code}
        changes = [(e.at_s, 1) for e in made if isinstance(e, ConnectionOpened) and e.connection not in refused]
        changes += [(e.at_s, -1) for e in made if isinstance(e, ConnectionClosed) and e.connection not in refused]
        moments = [start_s + 0.005 * i for i in range(int((ends_s - start_s) / 0.005))]
        return [
            ServerSampled(at_s=m, connections=sum(change for at_s, change in changes if at_s <= m), **common)
            for m in moments
        ]
