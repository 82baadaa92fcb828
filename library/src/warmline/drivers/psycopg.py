"""psycopg 3, synchronous."""

from __future__ import annotations

import contextvars
import time
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from warmline._outcome import Failure
from warmline._session import too_late
from warmline.drivers import _postgres

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

    from warmline._session import Session
    from warmline._url import Target

ENGINE = _postgres.ENGINE
SPEAKS_FIRST = _postgres.SPEAKS_FIRST

_ACTIVE = TransactionStatus.ACTIVE
_IDLE = TransactionStatus.IDLE
_INTERVAL_S = 0.1
CONNECT_UNTIL_S: contextvars.ContextVar[float] = contextvars.ContextVar("warmline_connect_until_s")
_NAMES = {"_rollback_gen": "ROLLBACK", "_enter_gen": "BEGIN", "_commit_gen": "COMMIT"}


class WarmlineCursor(psycopg.Cursor[Any]):
    """psycopg's cursor, which also tells its connection the text of each statement."""

    def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        """Execute *query*."""
        self.connection.warmline_text = query  # type: ignore[attr-defined]  # the connection is a WarmlineConnection
        return super().execute(query, *args, **kwargs)

    def executemany(self, query: Any, *args: Any, **kwargs: Any) -> None:
        """Execute *query* once for each set of parameters."""
        self.connection.warmline_text = query  # type: ignore[attr-defined]  # the connection is a WarmlineConnection
        super().executemany(query, *args, **kwargs)

    def stream(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        """Execute *query* and yield its rows one by one."""
        self.connection.warmline_text = query  # type: ignore[attr-defined]  # the connection is a WarmlineConnection
        return super().stream(query, *args, **kwargs)

    def copy(self, statement: Any, *args: Any, **kwargs: Any) -> Any:
        """Begin a COPY."""
        self.connection.warmline_text = statement  # type: ignore[attr-defined]  # the connection is a WarmlineConnection
        return super().copy(statement, *args, **kwargs)


class WarmlineConnection(psycopg.Connection[Any]):
    """psycopg's connection, which also reports each statement to its session and waits no longer than allowed."""

    warmline_session: Session | None = None
    warmline_text: Any = None
    _until_s: float | None = None

    @classmethod
    def _connect_gen(cls, *args: Any, **kwargs: Any) -> Any:
        """Connect by the library's clock: libpq's own timeout knows whole seconds, two at least."""
        return until(super()._connect_gen(*args, **kwargs), CONNECT_UNTIL_S.get())

    def limit(self, timeout_s: float | None) -> None:
        """Let no wait from now on end later than in *timeout_s*; None follows the deadline again."""
        self._until_s = None if timeout_s is None else time.monotonic() + timeout_s

    def wait(self, gen: Any, interval: float = _INTERVAL_S, timeout: float | None = None) -> Any:
        """Run one of psycopg's generators: every byte of a connection passes here, after connecting."""
        # older versions of psycopg take no timeout here
        kwargs: dict[str, Any] = {} if timeout is None else {"timeout": timeout}
        session = self.warmline_session
        if session is None:
            return super().wait(gen, interval, **kwargs)
        status = self.pgconn.transaction_status
        if not session.by_library and status != _ACTIVE:
            text = self.warmline_text
            if text is None:
                text = text_of_step(gen)
            self.warmline_text = None
            if not session.before(text, in_transaction=status != _IDLE):
                self.pgconn.finish()
                raise psycopg.OperationalError("the server closed the connection (found before sending)")
        if self._until_s is not None:
            left_s = self._until_s - time.monotonic()
            return super().wait(until(gen, self._until_s), min(interval, max(0.001, left_s)), **kwargs)
        if session.deadline is not None and not session.by_library:
            return super().wait(
                _in_time(gen, session), min(interval, max(0.001, session.deadline.budget_s())), **kwargs
            )
        return super().wait(gen, interval, **kwargs)


def text_of_step(gen: Any) -> str:
    """Return a statement that stands for a step of psycopg's own: what is not known to be harmless may be a COMMIT."""
    name = getattr(gen, "__name__", "")
    return _NAMES.get(name, f"END /* {name} */")


def until(gen: Generator[Any, Any, Any], until_s: float) -> Generator[Any, Any, Any]:
    """Run *gen* until a time on the monotonic clock."""
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() >= until_s:
                raise psycopg.errors.ConnectionTimeout("timed out")
            wanted = gen.send(ready)
    except StopIteration as done:
        return done.value
    finally:
        gen.close()


def _in_time(gen: Generator[Any, Any, Any], session: Session) -> Generator[Any, Any, Any]:
    """Run *gen* until the deadline, then have the server cancel and wait for its word."""
    deadline = session.deadline
    assert deadline is not None  # noqa: S101 - the caller looked
    give_up_s: float | None = None
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if give_up_s is None and deadline.budget_s() <= 0:
                session.expire()
                give_up_s = time.monotonic() + (deadline.cleanup_s() if session.cancelled else 0)
            if give_up_s is not None and not ready and time.monotonic() >= give_up_s:
                session.cancelled = False
                session.lost = True
                raise too_late(deadline, "while a statement ran, and the server did not confirm that it was cancelled")
            wanted = gen.send(ready)
    except StopIteration as done:
        return done.value
    finally:
        gen.close()


def options(target: Target, timeout_s: float, *, cursor: Any) -> dict[str, Any]:
    """Return the arguments of psycopg's connect."""
    given: dict[str, Any] = {
        "host": target.unix_socket or target.host,
        "port": target.port,
        "user": target.user or None,
        "password": target.password,
        "dbname": target.database or None,
        "sslmode": target.tls,
        "sslrootcert": target.ca_file,
        "application_name": target.application_name,
        "client_encoding": None if target.charset.startswith("utf8") else target.charset,
        "keepalives_idle": 60,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 20_000,
    }
    return {
        **{name: value for name, value in given.items() if value is not None},
        "connect_timeout": max(2, int(timeout_s) + 1),
        "autocommit": True,
        "prepare_threshold": None if target.multiplexed else 5,
        "cursor_factory": cursor,
        **target.driver_options,
    }


def connect(target: Target, session: Session, *, timeout_s: float) -> WarmlineConnection:
    """Open a connection in autocommit; no statement is sent.

    Behind a proxy that shares server connections, named prepared statements are off.
    """
    CONNECT_UNTIL_S.set(time.monotonic() + timeout_s)
    connection = WarmlineConnection.connect(**options(target, timeout_s, cursor=WarmlineCursor))
    connection.warmline_session = session
    session.watch(connection.fileno())
    session.cancel = lambda seconds: _cancel(connection, seconds)
    return connection


def _cancel(connection: WarmlineConnection, timeout_s: float) -> bool:
    try:
        connection.cancel_safe(timeout=timeout_s)
    except (psycopg.Error, OSError):
        return False
    return True


def fileno(connection: Any) -> int:
    """Return the socket's number, -1 once it is closed."""
    try:
        return int(connection.pgconn.socket)
    except psycopg.Error:
        return -1


def in_transaction(connection: Any) -> bool:
    """Read libpq's transaction status, which is never wrong."""
    return bool(connection.pgconn.transaction_status not in (_IDLE, TransactionStatus.UNKNOWN))


def failed(connection: Any) -> bool:
    """Say whether an error ended the transaction: COMMIT would then be answered with ROLLBACK."""
    return bool(connection.pgconn.transaction_status == TransactionStatus.INERROR)


def at_rest(connection: Any) -> bool:
    """Say whether the connection is open and runs nothing."""
    return connection.pgconn.transaction_status not in (_ACTIVE, TransactionStatus.UNKNOWN)


def _bounded(connection: Any, timeout_s: float, action: Any) -> None:
    connection.limit(timeout_s)
    try:
        action()
    finally:
        connection.limit(None)


def ping(connection: Any, *, timeout_s: float) -> None:
    """Send an empty query."""
    _bounded(connection, timeout_s, lambda: connection.execute(""))


def begin(connection: Any, *, read_only: bool) -> None:
    """Open a transaction."""
    connection.execute(_postgres.begin_statement(read_only=read_only))


def commit(connection: Any) -> None:
    """Commit."""
    connection.commit()


def rollback(connection: Any, *, timeout_s: float) -> None:
    """Roll back; no round trip when no transaction is open."""
    _bounded(connection, timeout_s, connection.rollback)


def reset(connection: Any, *, timeout_s: float) -> bool:
    """Undo everything that a session keeps, but prepared statements, in one message."""
    _bounded(connection, timeout_s, lambda: connection.execute(_postgres.RESET))
    return True


def close(connection: Any) -> None:
    """Send Terminate and close."""
    connection.close()


def classify(error: BaseException) -> Failure:
    """Say what psycopg's exception means. OperationalError without an SQLSTATE is libpq's for a lost connection."""
    if not isinstance(error, psycopg.Error):
        return Failure.LOST if isinstance(error, (ConnectionError, TimeoutError)) else Failure.OTHER
    if error.sqlstate is None:
        return Failure.LOST if isinstance(error, psycopg.OperationalError) else Failure.OTHER
    return _postgres.failure_of(error.sqlstate)


def classify_connect(error: BaseException) -> Failure:
    """Say what an exception from connecting means."""
    failure = classify(error)
    return _postgres.connect_failure_of(str(error)) if failure is Failure.LOST else failure
