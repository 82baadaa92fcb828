"""mysqlclient (MySQLdb), on MySQL's or MariaDB's C library."""

from __future__ import annotations

import select
from typing import Any

import MySQLdb
from MySQLdb.connections import Connection

from warmline._errors import SettingsError
from warmline._outcome import Failure
from warmline._statements import ends_transaction as commits
from warmline._statements import is_all_or_nothing, rolls_back
from warmline.drivers import _mysql
from warmline.drivers._tcp import keep_alive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from warmline._session import Session
    from warmline._url import Target

ENGINE = _mysql.ENGINE
SPEAKS_FIRST = _mysql.SPEAKS_FIRST

# the driver has no types; what is used of its inside is in this class alone
_Connection: Any = Connection


class WarmlineConnection(_Connection):  # type: ignore[misc]  # see above
    """mysqlclient's connection, which also reports each statement to its session.

    The driver does not show the server's status flags, so whether a transaction is open is told from the statements:
    "maybe" after one that can go either way, which counts as open when the connection is released, and as not open
    when an outcome is judged.
    """

    def __init__(self, session: Session, options: dict[str, Any]) -> None:
        self.warmline_session = session
        self.warmline_open = False
        self.warmline_maybe = False
        super().__init__(**options)

    def query(self, query: Any) -> None:
        """Send *query* and wait for its answer, no longer than the deadline allows."""
        session = self.warmline_session
        text = bytes(query) if isinstance(query, bytearray) else query
        if not session.before(text, in_transaction=self.warmline_open):
            raise MySQLdb.OperationalError(2006, "MySQL server has gone away (found before sending)")
        try:
            self.send_query(text)
            if not session.by_library:
                session.wait()
            self.read_query_result()
        except MySQLdb.MySQLError as error:
            failure = classify(error)
            if failure is Failure.CONFLICT:
                session.rolled_back_by_server = self.warmline_open
            if failure is not Failure.OTHER:
                raise
            self.warmline_maybe = self.warmline_maybe or not is_all_or_nothing(text)
            raise
        self._follow(text)

    def _follow(self, text: Any) -> None:
        """Tell from a statement that worked whether a transaction is open now."""
        if _mysql.opens_transaction(text):
            self.warmline_open, self.warmline_maybe = True, False
        elif rolls_back(text):
            self.warmline_open = self.warmline_maybe = False
        elif commits(text):
            self.warmline_open = False
            self.warmline_maybe = not _mysql.is_plain_commit(text)
        elif not is_all_or_nothing(text):
            # DDL has committed; a procedure may have committed, or opened one
            self.warmline_open = False
            self.warmline_maybe = _mysql.may_open_transaction(text)
        elif not self.get_autocommit():
            self.warmline_open = True

    def begin(self) -> None:
        """Open a transaction."""
        self.query(b"BEGIN")

    def commit(self) -> None:
        """Commit."""
        self.query(b"COMMIT")

    def rollback(self) -> None:
        """Roll back."""
        self.query(b"ROLLBACK")

    def ping(self, reconnect: bool = False) -> None:  # noqa: FBT001, FBT002 - the driver's signature
        """Spend a round trip; never reconnect, whatever is asked, as that would silently lose what was open."""
        del reconnect
        self.query(b"DO 0")


def _options(target: Target, timeout_s: float) -> dict[str, Any]:
    if target.context is not None:
        raise SettingsError("mysqlclient takes no SSLContext", next_step="Give ca_file= instead.")
    options: dict[str, Any] = {
        "host": target.host,
        "port": target.port,
        "user": target.user,
        "passwd": target.password or "",
        "db": target.database,
        "charset": target.charset,
        "autocommit": None,
        "connect_timeout": max(1, round(timeout_s)),
    }
    if target.unix_socket:
        options["unix_socket"] = target.unix_socket
    elif target.tls == "disable":
        options["ssl_mode"] = "DISABLED"
    elif target.tls in ("verify-ca", "verify-full"):
        options["ssl_mode"] = "VERIFY_CA" if target.tls == "verify-ca" else "VERIFY_IDENTITY"
        options["ssl"] = {"ca": target.ca_file} if target.ca_file else {}
    elif target.tls == "require":
        options["ssl_mode"] = "REQUIRED"
    return {**options, **target.driver_options}


def connect(target: Target, session: Session, *, timeout_s: float) -> WarmlineConnection:
    """Open a connection; no statement is sent where the server's default is autocommit. Timeouts are whole seconds."""
    connection = WarmlineConnection(session, _options(target, timeout_s))
    if not connection.get_autocommit():
        connection.autocommit(on=True)
    fd: int = connection.fileno()
    keep_alive(fd)
    session.watch(fd)
    session.cancel = lambda seconds: _kill_query(target, connection.thread_id(), seconds)
    return connection


def _kill_query(target: Target, thread_id: int, timeout_s: float) -> bool:
    whole_s = max(1, round(timeout_s))
    try:
        side = _Connection(**{**_options(target, timeout_s), "read_timeout": whole_s, "write_timeout": whole_s})
    except MySQLdb.MySQLError:
        return False
    try:
        side.query(f"KILL QUERY {thread_id}".encode())
    except MySQLdb.MySQLError:
        return False
    finally:
        side.close()
    return True


def fileno(connection: Any) -> int:
    """Return the socket's number, -1 once it is closed."""
    try:
        return int(connection.fileno())
    except MySQLdb.MySQLError:
        return -1


def in_transaction(connection: Any) -> bool:
    """Say whether a transaction may be open, from the statements that were sent."""
    return bool(connection.warmline_open or connection.warmline_maybe)


def failed(connection: Any) -> bool:
    """Say whether a deadlock ended the transaction."""
    return bool(connection.warmline_session.rolled_back_by_server)


def at_rest(connection: Any) -> bool:
    """Say whether the connection is open; the C library refuses a statement while a result is half read."""
    return fileno(connection) >= 0


def _bounded(connection: Any, statement: bytes, timeout_s: float) -> None:
    connection.discard_result()
    connection.send_query(statement)
    poller = select.poll()
    poller.register(connection.fileno(), select.POLLIN)
    if not poller.poll(max(1, int(timeout_s * 1000))):
        raise MySQLdb.OperationalError(2013, f"no answer within {timeout_s:.2f} s")
    connection.read_query_result()
    connection.discard_result()


def ping(connection: Any, *, timeout_s: float) -> None:
    """Send the cheapest statement: the C library's own ping cannot be bounded."""
    _bounded(connection, b"DO 0", timeout_s)


def begin(connection: Any, *, read_only: bool) -> None:
    """Open a transaction."""
    connection.query(_mysql.begin_statement(read_only=read_only).encode())


def commit(connection: Any) -> None:
    """Commit."""
    connection.commit()


def rollback(connection: Any, *, timeout_s: float) -> None:
    """Roll back."""
    _bounded(connection, b"ROLLBACK", timeout_s)
    connection.warmline_open = connection.warmline_maybe = False


def reset(connection: Any, *, timeout_s: float) -> bool:
    """Say that it cannot: the driver has no COM_RESET_CONNECTION."""
    del connection, timeout_s
    return False


def close(connection: Any) -> None:
    """Send COM_QUIT and close."""
    try:
        connection.close()
    except MySQLdb.MySQLError:
        return


def classify(error: BaseException) -> Failure:
    """Say what MySQLdb's exception means."""
    if isinstance(error, MySQLdb.MySQLError):
        return _mysql.failure_of(_mysql.code_of(error), str(error))
    return Failure.OTHER


def classify_connect(error: BaseException) -> Failure:
    """Say what an exception from connecting means: a connection lost so early was not made."""
    failure = classify(error)
    return Failure.UNREACHABLE if failure is Failure.LOST else failure
