"""asyncmy."""

from __future__ import annotations

from typing import Any

import asyncmy
from asyncmy import errors
from asyncmy.connection import Connection

from warmline._outcome import Failure
from warmline._url import tls_context
from warmline.drivers import _async_mysql, _mysql
from warmline.drivers._tcp import keep_alive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from warmline._session import Session
    from warmline._url import Target

ENGINE = _mysql.ENGINE
SPEAKS_FIRST = _mysql.SPEAKS_FIRST

in_transaction = _async_mysql.in_transaction
failed = _async_mysql.failed
ping = _async_mysql.ping
begin = _async_mysql.begin
commit = _async_mysql.commit
rollback = _async_mysql.rollback
reset = _async_mysql.reset


def classify(error: BaseException) -> Failure:
    """Say what asyncmy's exception means. InterfaceError(0) is its word for a connection it closed itself."""
    if isinstance(error, errors.InterfaceError) and _mysql.code_of(error) in (0, None):
        return Failure.LOST
    if isinstance(error, errors.MySQLError):
        return _mysql.failure_of(_mysql.code_of(error), str(error))
    return Failure.LOST if isinstance(error, (ConnectionError, TimeoutError)) else Failure.OTHER


WarmlineConnection = _async_mysql.reporting(Connection, errors.OperationalError, classify)


def _options(target: Target, timeout_s: float) -> dict[str, Any]:
    options: dict[str, Any] = {
        "host": target.host,
        "port": target.port,
        "user": target.user,
        "password": target.password or "",
        "database": target.database or None,
        "charset": target.charset,
        "autocommit": True,
        "connect_timeout": max(0.05, timeout_s),
        "program_name": target.application_name or "",
    }
    if target.unix_socket:
        options["unix_socket"] = target.unix_socket
    elif target.tls not in ("disable", "prefer"):
        options["ssl"] = tls_context(target)
    return {**options, **target.driver_options}


async def connect(target: Target, session: Session, *, timeout_s: float) -> Any:
    """Open a connection; no statement is sent where the server's default is autocommit. "prefer" is plain here."""
    connection = WarmlineConnection(**_options(target, timeout_s))
    connection.warmline_session = session

    async def kill_query(seconds: float) -> bool:
        side = None
        try:
            side = await asyncmy.connect(**_options(target, seconds), read_timeout=seconds)
            await side.query(f"KILL QUERY {connection.thread_id()}")  # type: ignore[no-untyped-call]
        except (errors.MySQLError, OSError):
            return False
        finally:
            if side is not None:
                side.close()
        return True

    connection.warmline_cancel = kill_query
    try:
        await connection.connect()
    except BaseException:
        connection.close()
        raise
    fd = fileno(connection)
    keep_alive(fd)
    session.watch(fd)
    return connection


def fileno(connection: Any) -> int:
    """Return the socket's number, -1 once it is closed or the server's goodbye was read."""
    transport = connection._transport  # noqa: SLF001 - asyncmy has no public name for it
    if transport is None or transport.is_closing() or connection._stream_broken:  # noqa: SLF001
        return -1
    return int(transport.get_extra_info("socket").fileno())


def at_rest(connection: Any) -> bool:
    """Say whether the connection is open and no result is half read."""
    return fileno(connection) >= 0 and not _async_mysql.half_read(connection)


async def close(connection: Any) -> None:
    """Send COM_QUIT and close."""
    await connection.ensure_closed()


def terminate(connection: Any) -> None:
    """Close without a word."""
    transport = connection._transport  # noqa: SLF001 - asyncmy has no public name for it
    if transport is not None:
        transport.abort()
    connection.close()


def classify_connect(error: BaseException) -> Failure:
    """Say what an exception from connecting means: a connection lost so early was not made."""
    failure = classify(error)
    return Failure.UNREACHABLE if failure is Failure.LOST or isinstance(error, OSError) else failure
