"""What the relay itself costs: the same query, directly and through a relay, turn by turn."""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from warmline_toolkit.lab.delay import DelayLine
from warmline_toolkit.lab.loop import run
from warmline_toolkit.lab.relay import Address, Relay

if TYPE_CHECKING:
    from collections.abc import Callable

    from warmline_toolkit.lab.relay import EndedBy, Link
    from warmline_toolkit.lab.settings import DatabaseAddress

_BLOCK = 25


@dataclass(frozen=True, kw_only=True)
class RelayOverhead:
    """The medians of *round_trips* trivial queries each way, in microseconds."""

    round_trips: int
    direct_us: float
    relayed_us: float

    @property
    def added_us(self) -> float:
        """What a relay adds to a round trip, at the median."""
        return self.relayed_us - self.direct_us


class _Ignore:
    def connection_opened(self, link: Link) -> None: ...

    def connection_closed(self, link: Link, by: EndedBy) -> None: ...


def measure_overhead(server: DatabaseAddress, *, round_trips: int = 2000) -> RelayOverhead:
    """Return what a relay adds to a `SELECT 1` on *server*, over one connection each way.

    The two are interleaved in blocks of 25. The relay runs in a thread of its own here, so the client competes with it
    for Python's lock: a run's relays, beside clients in other processes, cost no more than this. Blocks the caller;
    takes about a second for 2,000.
    """
    ready: list[Address] = []
    waiting = threading.Event()
    stop: list[Callable[[], object]] = []

    async def relay() -> None:
        delays = DelayLine()
        line = Relay(Address(server.host, server.port), engine=server.engine, observer=_Ignore(), delays=delays)
        finished = asyncio.Event()
        loop = asyncio.get_running_loop()
        stop.append(lambda: loop.call_soon_threadsafe(finished.set))
        ready.append(await line.start())
        waiting.set()
        await finished.wait()
        await line.close()
        delays.close()

    thread = threading.Thread(target=run, args=(relay(),), name="relay", daemon=True)
    thread.start()
    waiting.wait()
    direct, relayed = (_cursor(server, at) for at in (Address(server.host, server.port), ready[0]))
    samples: dict[int, list[float]] = {0: [], 1: []}
    try:
        for start in range(0, round_trips, _BLOCK):
            for way, (_, cursor) in enumerate((direct, relayed)):
                samples[way].extend(_time_one(cursor) for _ in range(min(_BLOCK, round_trips - start)))
    finally:
        for connection, _ in (direct, relayed):
            connection.close()
        stop[0]()
        thread.join()
    return RelayOverhead(
        round_trips=round_trips, direct_us=statistics.median(samples[0]), relayed_us=statistics.median(samples[1])
    )


def _time_one(cursor: Any) -> float:
    started = time.perf_counter()
    cursor.execute("SELECT 1")
    cursor.fetchall()
    return (time.perf_counter() - started) * 1e6


def _cursor(server: DatabaseAddress, at: Address) -> tuple[Any, Any]:
    connection: Any
    if server.engine == "postgres":
        import psycopg  # noqa: PLC0415 - only the driver that is needed

        connection = psycopg.connect(
            host=at.host,
            port=at.port,
            user=server.user,
            password=server.password,
            dbname=server.database,
            sslmode="disable",
            autocommit=True,
        )
    else:
        import pymysql  # noqa: PLC0415 - only the driver that is needed

        connection = pymysql.connect(
            host=at.host, port=at.port, user=server.user, password=server.password, database=server.database
        )
    return connection, connection.cursor()
