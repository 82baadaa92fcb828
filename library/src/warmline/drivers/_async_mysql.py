"""What asyncmy and aiomysql have in common: both grew out of PyMySQL, and share its inner names."""

from __future__ import annotations

import asyncio
from typing import Any

from warmline._async_wait import in_time
from warmline._outcome import Failure
from warmline.drivers import _mysql

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from warmline._session import Session


def reporting(base: Any, operational_error: Any, classify: Callable[[BaseException], Failure]) -> Any:
    """Return a subclass of a driver's connection class *base* that reports each command to its session."""

    class WarmlineConnection(base):  # type: ignore[misc]  # the drivers have no types
        """The driver's connection, which also reports each command to its session."""

        warmline_session: Session
        warmline_cancel: Callable[[float], Awaitable[bool]]

        async def _execute_command(self, command: int, sql: Any) -> None:
            session = self.warmline_session
            result = self._result
            at_rest = result is None or not (result.unbuffered_active or result.has_next)
            if not session.before(sql, in_transaction=in_transaction(self), at_rest=at_rest):
                self.close()
                raise operational_error(2006, "MySQL server has gone away (found before sending)")
            await super()._execute_command(command, sql)

        async def _read_query_result(self, unbuffered: bool = False) -> Any:  # noqa: FBT001, FBT002 - the drivers' signature
            try:
                answer = super()._read_query_result(unbuffered=unbuffered)
                return await in_time(answer, self.warmline_session, self.warmline_cancel)
            except Exception as error:
                if classify(error) is Failure.CONFLICT:
                    self.warmline_session.rolled_back_by_server = True
                raise

        async def _read_ok_packet(self) -> Any:
            session = self.warmline_session
            # while connecting there is nothing to cancel yet, and the library bounds the whole of it
            if session.by_library:
                return await super()._read_ok_packet()
            return await in_time(super()._read_ok_packet(), session, self.warmline_cancel)

        async def ping(self, reconnect: bool = False) -> None:  # noqa: FBT001, FBT002 - the drivers' signature
            """Spend a round trip; never reconnect, as that would silently lose what was open."""
            del reconnect
            await super().ping(reconnect=False)

    return WarmlineConnection


def in_transaction(connection: Any) -> bool:
    """Read the server's last status; with autocommit off, one statement is enough.

    Neither driver updates its status with all answers: both can say True too long, which costs a ROLLBACK.
    """
    status = connection.server_status or _mysql.STATUS_AUTOCOMMIT
    if status & _mysql.STATUS_IN_TRANSACTION:
        return True
    return not status & _mysql.STATUS_AUTOCOMMIT and connection.warmline_session.statement is not None


def failed(connection: Any) -> bool:
    """Say whether a deadlock ended the transaction."""
    return bool(connection.warmline_session.rolled_back_by_server)


def half_read(connection: Any) -> bool:
    """Say whether a result is half read."""
    result = connection._result  # noqa: SLF001 - the drivers have no public name for it
    return result is not None and bool(result.unbuffered_active or result.has_next)


async def ping(connection: Any, *, timeout_s: float) -> None:
    """Send COM_PING."""
    await asyncio.wait_for(connection.ping(), timeout_s)


async def begin(connection: Any, *, read_only: bool) -> None:
    """Open a transaction."""
    await connection.query(_mysql.begin_statement(read_only=read_only))


async def commit(connection: Any) -> None:
    """Commit."""
    await connection.commit()


async def rollback(connection: Any, *, timeout_s: float) -> None:
    """Roll back."""
    await asyncio.wait_for(connection.query("ROLLBACK"), timeout_s)


async def reset(connection: Any, *, timeout_s: float) -> bool:
    """Send COM_RESET_CONNECTION, then restore character set and autocommit, which it sets to the server's defaults."""
    await asyncio.wait_for(_reset(connection), timeout_s)
    return True


async def _reset(connection: Any) -> None:
    await connection._execute_command(_mysql.COM_RESET_CONNECTION, b"")  # noqa: SLF001 - no public name for it
    await connection._read_ok_packet()  # noqa: SLF001
    await connection.query(f"SET NAMES {connection.charset}")
    await connection.autocommit(True)  # noqa: FBT003 - the drivers' signature
