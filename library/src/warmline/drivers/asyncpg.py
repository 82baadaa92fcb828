"""asyncpg."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
from asyncpg import connect_utils

from warmline._async_wait import in_time
from warmline._outcome import Failure
from warmline._url import tls_context
from warmline.drivers import _postgres
from warmline.drivers._tcp import keep_alive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from warmline._session import Session
    from warmline._url import Target

ENGINE = _postgres.ENGINE
SPEAKS_FIRST = _postgres.SPEAKS_FIRST


class Reporting:
    """asyncpg's protocol object with its statements reported: every way to run one passes through here.

    Preparing runs nothing, so that a connection lost on it lost nothing.
    """

    def __init__(self, protocol: Any, session: Session, cancel: Any) -> None:
        self._protocol = protocol
        self._session = session
        self._cancel = cancel

    def __getattr__(self, name: str) -> Any:
        return getattr(self._protocol, name)

    async def _run(self, statement: Any, call: Any) -> Any:
        session = self._session
        in_transaction = self._protocol.is_in_transaction()
        if not session.before(statement, in_transaction=in_transaction):
            self._protocol.abort()
            raise asyncpg.ConnectionDoesNotExistError("the server closed the connection (found before sending)")
        try:
            return await in_time(call(), session, self._cancel)
        except Exception as error:
            lost = classify(error) is Failure.LOST
            session.not_sent = lost and statement is None
            session.rolled_back_by_server = in_transaction and not lost
            raise

    async def query(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        """Run a script."""
        return await self._run(query, lambda: self._protocol.query(query, *args, **kwargs))

    async def prepare(self, *args: Any, **kwargs: Any) -> Any:
        """Parse and describe a statement."""
        return await self._run(None, lambda: self._protocol.prepare(*args, **kwargs))

    async def bind_execute(self, state: Any, *args: Any, **kwargs: Any) -> Any:
        """Run a prepared statement."""
        return await self._run(state.query, lambda: self._protocol.bind_execute(state, *args, **kwargs))

    async def bind_execute_many(self, state: Any, *args: Any, **kwargs: Any) -> Any:
        """Run a prepared statement for each set of arguments."""
        return await self._run(state.query, lambda: self._protocol.bind_execute_many(state, *args, **kwargs))

    async def bind(self, state: Any, *args: Any, **kwargs: Any) -> Any:
        """Open a cursor."""
        return await self._run(state.query, lambda: self._protocol.bind(state, *args, **kwargs))

    async def execute(self, state: Any, *args: Any, **kwargs: Any) -> Any:
        """Fetch from a cursor."""
        return await self._run(state.query, lambda: self._protocol.execute(state, *args, **kwargs))

    async def copy_in(self, copy_stmt: Any, *args: Any, **kwargs: Any) -> Any:
        """Run COPY FROM."""
        return await self._run(copy_stmt, lambda: self._protocol.copy_in(copy_stmt, *args, **kwargs))

    async def copy_out(self, copy_stmt: Any, *args: Any, **kwargs: Any) -> Any:
        """Run COPY TO."""
        return await self._run(copy_stmt, lambda: self._protocol.copy_out(copy_stmt, *args, **kwargs))


class WarmlineConnection(asyncpg.Connection):  # type: ignore[misc,type-arg,unused-ignore]  # asyncpg has no types
    """asyncpg's connection, with room for its session and the transaction that the library opened."""

    warmline_session: Session
    warmline_transaction: Any = None


async def connect(target: Target, session: Session, *, timeout_s: float) -> Any:
    """Open a connection; no statement is sent. Behind a proxy that shares connections nothing is prepared by name."""
    options: dict[str, Any] = {
        "host": target.unix_socket or target.host,
        "port": target.port,
        "user": target.user or None,
        "password": target.password,
        "database": target.database or None,
        "timeout": timeout_s,
        "ssl": "prefer" if target.tls == "prefer" else tls_context(target) or False,
        "statement_cache_size": 0 if target.multiplexed else 100,
        "connection_class": WarmlineConnection,
    }
    if target.application_name:
        options["server_settings"] = {"application_name": target.application_name}
    connection: Any = await asyncpg.connect(**{**options, **target.driver_options})
    protocol = connection._protocol  # noqa: SLF001 - asyncpg has no public place to stand in

    async def cancel(seconds: float) -> bool:
        try:
            await asyncio.wait_for(
                connect_utils._cancel(  # noqa: SLF001 - what asyncpg itself calls when a task is cancelled
                    loop=asyncio.get_running_loop(),
                    addr=connection._addr,  # noqa: SLF001
                    params=connection._params,  # noqa: SLF001
                    backend_pid=protocol.backend_pid,
                    backend_secret=protocol.backend_secret,
                ),
                seconds,
            )
        except (OSError, asyncio.TimeoutError):
            return False
        return True

    connection._protocol = Reporting(protocol, session, cancel)  # noqa: SLF001
    connection.warmline_session = session
    fd = fileno(connection)
    keep_alive(fd)
    session.watch(fd)
    return connection


def fileno(connection: Any) -> int:
    """Return the socket's number, -1 once it is closed."""
    transport = connection._transport  # noqa: SLF001 - asyncpg has no public name for it
    if connection.is_closed() or transport is None or transport.is_closing():
        return -1
    return int(transport.get_extra_info("socket").fileno())


def in_transaction(connection: Any) -> bool:
    """Read the protocol's transaction status, which is never wrong."""
    return bool(connection.is_in_transaction())


def failed(connection: Any) -> bool:
    """Say whether an error ended the transaction; remembered, as asyncpg keeps the status to itself."""
    return bool(connection.warmline_session.rolled_back_by_server)


def at_rest(connection: Any) -> bool:
    """Say whether the connection is open."""
    return fileno(connection) >= 0


async def ping(connection: Any, *, timeout_s: float) -> None:
    """Send an empty query."""
    await asyncio.wait_for(connection.execute(""), timeout_s)


async def begin(connection: Any, *, read_only: bool) -> None:
    """Open a transaction, in a way that lets the caller's own `connection.transaction()` nest."""
    transaction = connection.transaction(readonly=read_only)
    await transaction.start()
    connection.warmline_transaction = transaction


async def commit(connection: Any) -> None:
    """Commit."""
    transaction, connection.warmline_transaction = connection.warmline_transaction, None
    await transaction.commit()


async def rollback(connection: Any, *, timeout_s: float) -> None:
    """Roll back, and forget asyncpg's own record of the transaction."""
    connection.warmline_transaction = None
    await asyncio.wait_for(connection.execute("ROLLBACK"), timeout_s)
    connection._top_xact = None  # noqa: SLF001 - it would take the next transaction for a savepoint in this one


async def reset(connection: Any, *, timeout_s: float) -> bool:
    """Undo everything that a session keeps, but prepared statements, in one message."""
    await asyncio.wait_for(connection.execute(_postgres.RESET), timeout_s)
    return True


async def close(connection: Any) -> None:
    """Send Terminate and close."""
    await connection.close()


def terminate(connection: Any) -> None:
    """Close without waiting."""
    connection.terminate()


def classify(error: BaseException) -> Failure:
    """Say what asyncpg's exception means; its InterfaceError says that it closed the connection before."""
    if isinstance(error, asyncpg.PostgresError):
        return _postgres.failure_of(error.sqlstate)
    if isinstance(error, asyncpg.InterfaceError) and "closed" in str(error):
        return Failure.LOST
    return Failure.LOST if isinstance(error, (ConnectionError, TimeoutError)) else Failure.OTHER


def classify_connect(error: BaseException) -> Failure:
    """Say what an exception from connecting means: a connection lost so early was not made."""
    if isinstance(error, asyncpg.CannotConnectNowError):
        return Failure.TOO_MANY
    failure = classify(error)
    unreachable = isinstance(error, (OSError, asyncio.TimeoutError))
    return Failure.UNREACHABLE if failure is Failure.LOST or unreachable else failure
