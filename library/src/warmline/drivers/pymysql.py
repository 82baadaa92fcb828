"""PyMySQL."""

from __future__ import annotations

import time
from typing import Any

import pymysql
from pymysql.connections import Connection

from warmline._outcome import Failure
from warmline._url import tls_context
from warmline.drivers import _mysql
from warmline.drivers._tcp import keep_alive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from warmline._session import Session
    from warmline._url import Target

ENGINE = _mysql.ENGINE
SPEAKS_FIRST = _mysql.SPEAKS_FIRST


# the stubs know only what PyMySQL documents; what is used of its inside is in this class alone
_Connection: Any = Connection


class WarmlineConnection(_Connection):  # type: ignore[misc]  # see above
    """PyMySQL's connection, which also reports each statement to its session."""

    def __init__(self, session: Session, options: dict[str, Any]) -> None:
        self.warmline_session = session
        self._until_s: float | None = None
        super().__init__(defer_connect=True, **options)

    # PyMySQL reads these two before each socket operation: as properties they follow the time that is left.
    @property
    def _read_timeout(self) -> float | None:
        if self._until_s is not None:
            return max(0.001, self._until_s - time.monotonic())
        deadline = self.warmline_session.deadline
        return None if deadline is None else deadline.cleanup_s()

    @_read_timeout.setter
    def _read_timeout(self, value: float | None) -> None:
        """Ignore what the driver would set: `limit` and the deadline decide."""

    _write_timeout = _read_timeout

    def limit(self, timeout_s: float | None) -> None:
        """Let no socket operation from now on end later than in *timeout_s*; None follows the deadline again."""
        self._until_s = None if timeout_s is None else time.monotonic() + timeout_s

    def connect(self, sock: Any = None) -> None:
        """Connect, once: a second time, behind its user's back, would silently lose what the first had open."""
        if not self.warmline_session.by_library:
            raise pymysql.err.OperationalError(
                2006, "MySQL server has gone away (a connection is not reopened: acquire another)"
            )
        super().connect(sock)

    def _execute_command(self, command: int, sql: str | bytes) -> None:
        session = self.warmline_session
        if not session.before(sql, in_transaction=in_transaction(self), at_rest=at_rest(self)):
            self._force_close()
            raise pymysql.err.OperationalError(2006, "MySQL server has gone away (found before sending)")
        try:
            super()._execute_command(command, sql)
        except pymysql.err.OperationalError as error:
            # 2006: the kernel did not take the whole command, so the server cannot have run it
            session.not_sent = _mysql.code_of(error) == 2006  # noqa: PLR2004 - CR_SERVER_GONE_ERROR
            raise
        if not session.by_library:
            session.wait()

    def _read_query_result(self, unbuffered: bool = False) -> int:  # noqa: FBT001, FBT002 - PyMySQL's signature
        try:
            return int(super()._read_query_result(unbuffered=unbuffered))
        except pymysql.err.MySQLError as error:
            if classify(error) is Failure.CONFLICT:
                self.warmline_session.rolled_back_by_server = True
            raise


def _options(target: Target, timeout_s: float) -> dict[str, Any]:
    context = None if target.unix_socket else tls_context(target)
    options: dict[str, Any] = {
        "host": target.host,
        "port": target.port,
        "user": target.user,
        "password": target.password or "",
        "database": target.database or None,
        "charset": target.charset,
        "autocommit": True,
        "connect_timeout": max(0.05, timeout_s),
        "program_name": target.application_name,
    }
    if target.unix_socket:
        options["unix_socket"] = target.unix_socket
    if target.tls == "disable":
        options["ssl_disabled"] = True
    elif target.tls != "prefer" and context is not None:
        options["ssl"] = context
    return {**options, **target.driver_options}


def connect(target: Target, session: Session, *, timeout_s: float) -> WarmlineConnection:
    """Open a connection; TLS when the server offers it, or the mode requires it. SET NAMES is its only statement."""
    connection = WarmlineConnection(session, _options(target, timeout_s))
    connection.limit(timeout_s)
    connection.connect()
    connection.limit(None)
    fd: int = connection._sock.fileno()  # noqa: SLF001 - PyMySQL has no public name for its socket
    keep_alive(fd)
    session.watch(fd)
    session.cancel = lambda seconds: _kill_query(target, connection.thread_id(), seconds)
    return connection


def _kill_query(target: Target, thread_id: int, timeout_s: float) -> bool:
    try:
        side = _Connection(**{**_options(target, timeout_s), "read_timeout": timeout_s, "write_timeout": timeout_s})
    except (pymysql.err.Error, OSError):
        return False
    try:
        side.query(f"KILL QUERY {thread_id}")
    except pymysql.err.Error:
        return False
    finally:
        side.close()
    return True


def fileno(connection: Any) -> int:
    """Return the socket's number, -1 once it is closed."""
    sock = connection._sock  # noqa: SLF001 - PyMySQL has no public name for its socket
    return -1 if sock is None else int(sock.fileno())


def in_transaction(connection: Any) -> bool:
    """Read the server's last status; with autocommit off one statement is enough, as results leave the flag alone."""
    status: int = connection.server_status
    if connection._sock is None:  # noqa: SLF001 - PyMySQL has no public name for its socket
        return bool(connection.warmline_session.in_transaction_before)
    if status & _mysql.STATUS_IN_TRANSACTION:
        return True
    return not status & _mysql.STATUS_AUTOCOMMIT and connection.warmline_session.statement is not None


def failed(connection: Any) -> bool:
    """Say whether a deadlock ended the transaction."""
    return bool(connection.warmline_session.rolled_back_by_server)


def at_rest(connection: Any) -> bool:
    """Say whether the connection is open and no unbuffered result is half read."""
    result = connection._result  # noqa: SLF001 - PyMySQL has no public name for it
    return bool(connection._sock is not None and (result is None or not (result.unbuffered_active or result.has_next)))  # noqa: SLF001


def _bounded(connection: Any, timeout_s: float, action: Any) -> None:
    connection.limit(timeout_s)
    try:
        action()
    finally:
        connection.limit(None)


def ping(connection: Any, *, timeout_s: float) -> None:
    """Send COM_PING; never reconnect."""
    _bounded(connection, timeout_s, lambda: connection.ping(reconnect=False))


def begin(connection: Any, *, read_only: bool) -> None:
    """Open a transaction."""
    connection.query(_mysql.begin_statement(read_only=read_only))


def commit(connection: Any) -> None:
    """Commit."""
    connection.commit()


def rollback(connection: Any, *, timeout_s: float) -> None:
    """Roll back."""
    _bounded(connection, timeout_s, connection.rollback)


def reset(connection: Any, *, timeout_s: float) -> bool:
    """Send COM_RESET_CONNECTION, then restore character set and autocommit, which it sets to the server's defaults."""

    def both() -> None:
        connection._execute_command(_mysql.COM_RESET_CONNECTION, b"")  # noqa: SLF001 - PyMySQL has no public name for it
        connection._read_ok_packet()  # noqa: SLF001
        connection.set_character_set(connection.charset, connection.collation)
        connection.autocommit(value=True)

    _bounded(connection, timeout_s, both)
    return True


def close(connection: Any) -> None:
    """Send COM_QUIT and close."""
    try:
        connection.limit(1.0)
        connection.close()
    except (pymysql.err.Error, OSError):
        connection._force_close()  # noqa: SLF001 - what close() would have ended with


def classify(error: BaseException) -> Failure:
    """Say what PyMySQL's exception means. InterfaceError(0) is its word for a connection it closed itself."""
    if isinstance(error, pymysql.err.InterfaceError) and _mysql.code_of(error) in (0, None):
        return Failure.LOST
    if isinstance(error, pymysql.err.Error):
        return _mysql.failure_of(_mysql.code_of(error), str(error))
    return Failure.LOST if isinstance(error, (ConnectionError, TimeoutError)) else Failure.OTHER


def classify_connect(error: BaseException) -> Failure:
    """Say what an exception from connecting means: a connection lost so early was not made."""
    failure = classify(error)
    return Failure.UNREACHABLE if failure is Failure.LOST or isinstance(error, OSError) else failure
