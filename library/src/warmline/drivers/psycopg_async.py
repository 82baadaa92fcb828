"""psycopg 3, asyncio."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from warmline._session import too_late
from warmline.drivers import _postgres
from warmline.drivers import psycopg as synchronous

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

    from warmline._session import Session
    from warmline._url import Target

ENGINE = _postgres.ENGINE
SPEAKS_FIRST = _postgres.SPEAKS_FIRST

in_transaction = synchronous.in_transaction
failed = synchronous.failed
at_rest = synchronous.at_rest
fileno = synchronous.fileno
classify = synchronous.classify
classify_connect = synchronous.classify_connect

_INTERVAL_S = 0.1


class WarmlineCursor(psycopg.AsyncCursor[Any]):
    """psycopg's cursor, which also tells its connection the text of each statement."""

    async def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        """Execute *query*."""
        self.connection.warmline_text = query  # type: ignore[attr-defined]  # the connection is a WarmlineConnection
        return await super().execute(query, *args, **kwargs)

    async def executemany(self, query: Any, *args: Any, **kwargs: Any) -> None:
        """Execute *query* once for each set of parameters."""
        self.connection.warmline_text = query  # type: ignore[attr-defined]  # the connection is a WarmlineConnection
        await super().executemany(query, *args, **kwargs)

    def stream(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        """Execute *query* and yield its rows one by one."""
        self.connection.warmline_text = query  # type: ignore[attr-defined]  # the connection is a WarmlineConnection
        return super().stream(query, *args, **kwargs)

    def copy(self, statement: Any, *args: Any, **kwargs: Any) -> Any:
        """Begin a COPY."""
        self.connection.warmline_text = statement  # type: ignore[attr-defined]  # the connection is a WarmlineConnection
        return super().copy(statement, *args, **kwargs)


class WarmlineConnection(psycopg.AsyncConnection[Any]):
    """psycopg's connection, which also reports each statement to its session and waits no longer than allowed."""

    warmline_session: Session | None = None
    warmline_text: Any = None
    warmline_until_s: float | None = None

    @classmethod
    def _connect_gen(cls, *args: Any, **kwargs: Any) -> Any:
        """Connect by the library's clock."""
        return synchronous.until(super()._connect_gen(*args, **kwargs), synchronous.CONNECT_UNTIL_S.get())

    async def wait(self, gen: Any, interval: float = _INTERVAL_S, timeout: float | None = None) -> Any:
        """Run one of psycopg's generators: every byte of a connection passes here, after connecting."""
        kwargs: dict[str, Any] = {} if timeout is None else {"timeout": timeout}
        session = self.warmline_session
        if self.warmline_until_s is not None:
            left_s = max(0.001, self.warmline_until_s - time.monotonic())
            bounded = synchronous.until(gen, self.warmline_until_s)
            return await super().wait(bounded, min(interval, left_s), **kwargs)
        if session is None or session.by_library:
            return await super().wait(gen, interval, **kwargs)
        status = self.pgconn.transaction_status
        if status != TransactionStatus.ACTIVE:
            text = self.warmline_text
            if text is None:
                text = synchronous.text_of_step(gen)
            self.warmline_text = None
            if not session.before(text, in_transaction=status != TransactionStatus.IDLE):
                self.pgconn.finish()
                raise psycopg.OperationalError("the server closed the connection (found before sending)")
        if session.deadline is None:
            return await super().wait(gen, interval, **kwargs)
        interval = min(interval, max(0.001, session.deadline.budget_s()))
        return await super().wait(_in_time(gen, session, self), interval, **kwargs)


def _in_time(
    gen: Generator[Any, Any, Any], session: Session, connection: WarmlineConnection
) -> Generator[Any, Any, Any]:
    """Run *gen* until the deadline, then have the server cancel and wait for its word."""
    deadline = session.deadline
    assert deadline is not None  # noqa: S101 - the caller looked
    give_up_s: float | None = None
    cancelling: asyncio.Task[None] | None = None

    async def cancel(timeout_s: float) -> None:
        try:
            await connection.cancel_safe(timeout=timeout_s)
        except (psycopg.Error, OSError):
            return
        session.cancelled = True

    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if give_up_s is None and deadline.budget_s() <= 0:
                session.expired = True
                seconds = deadline.cleanup_s()
                give_up_s = time.monotonic() + seconds
                cancelling = asyncio.get_running_loop().create_task(cancel(seconds))
            if give_up_s is not None and not ready and time.monotonic() >= give_up_s:
                session.cancelled = False
                session.lost = True
                raise too_late(deadline, "while a statement ran, and the server did not confirm that it was cancelled")
            wanted = gen.send(ready)
    except StopIteration as done:
        return done.value
    finally:
        if cancelling is not None:
            cancelling.cancel()
        gen.close()


async def connect(target: Target, session: Session, *, timeout_s: float) -> WarmlineConnection:
    """Open a connection in autocommit; no statement is sent."""
    synchronous.CONNECT_UNTIL_S.set(time.monotonic() + timeout_s)
    connection = await WarmlineConnection.connect(**synchronous.options(target, timeout_s, cursor=WarmlineCursor))
    connection.warmline_session = session
    session.watch(connection.fileno())
    return connection


async def _bounded(connection: Any, timeout_s: float, action: Any) -> None:
    """Bound *action* from within: cancelling psycopg's task would have it wait for the server for seconds more."""
    connection.warmline_until_s = time.monotonic() + timeout_s
    try:
        await action
    finally:
        connection.warmline_until_s = None


async def ping(connection: Any, *, timeout_s: float) -> None:
    """Send an empty query."""
    await _bounded(connection, timeout_s, connection.execute(""))


async def begin(connection: Any, *, read_only: bool) -> None:
    """Open a transaction."""
    await connection.execute(_postgres.begin_statement(read_only=read_only))


async def commit(connection: Any) -> None:
    """Commit."""
    await connection.commit()


async def rollback(connection: Any, *, timeout_s: float) -> None:
    """Roll back; no round trip when no transaction is open."""
    await _bounded(connection, timeout_s, connection.rollback())


async def reset(connection: Any, *, timeout_s: float) -> bool:
    """Undo everything that a session keeps, but prepared statements, in one message."""
    await _bounded(connection, timeout_s, connection.execute(_postgres.RESET))
    return True


async def close(connection: Any) -> None:
    """Send Terminate and close."""
    await connection.close()


def terminate(connection: Any) -> None:
    """Close; psycopg says Terminate to wherever its socket leads."""
    connection.pgconn.finish()
    connection._closed = True  # noqa: SLF001 - what its close() sets, which needs a running loop
