"""MySQL Connector/Python, its pure Python implementation: the C one hides its socket."""

from __future__ import annotations

import time
from typing import Any

import mysql.connector
from mysql.connector import errors
from mysql.connector.connection import MySQLConnection
from mysql.connector.constants import ServerCmd

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

_STATEMENTS = frozenset({ServerCmd.QUERY, ServerCmd.STMT_PREPARE})
# what is used of the driver's inside is in this class and the few functions that name it
_MySQLConnection: Any = MySQLConnection


class WarmlineConnection(_MySQLConnection):  # type: ignore[misc]  # see above
    """The connector's connection, which also reports each command to its session, and does not ping before a cursor."""

    warmline_session: Session | None = None
    warmline_context: Any = None
    warmline_autocommit = True
    warmline_text: Any = None
    _until_s: float | None = None

    def limit(self, timeout_s: float | None) -> None:
        """Let no read from now on wait longer than *timeout_s*; None follows the deadline again."""
        self._until_s = None if timeout_s is None else time.monotonic() + timeout_s

    def _left_s(self) -> float | None:
        if self._until_s is not None:
            return max(0.001, self._until_s - time.monotonic())
        session = self.warmline_session
        return None if session is None or session.deadline is None else session.deadline.cleanup_s()

    def _get_connection(self) -> Any:
        channel = super()._get_connection()
        receive = channel.recv
        # every read passes here: it waits no longer than the time that is left when it begins
        channel.recv = lambda read_timeout=None: receive(read_timeout or self._left_s())
        if self.warmline_context is not None:
            # the connector would make a context, and load every CA of the machine, for each connection
            channel.build_ssl_context = lambda *_arguments, **_named: self.warmline_context
        return channel

    def _post_connection(self) -> None:
        """Set the character set; autocommit only where the handshake says that it is off."""
        self.set_charset_collation(charset=self._charset_id)
        if not self._handshake.get("server_status", 0) & _mysql.STATUS_AUTOCOMMIT:
            self._execute_query("SET autocommit = 1")

    def is_connected(self) -> bool:
        """Say from the socket alone whether the connection is open: `cursor` asks this every time."""
        return fileno(self) >= 0

    def reconnect(self, attempts: int = 1, delay: int = 0) -> None:
        """Refuse: a new connection behind its user's back would silently lose what the old one had open."""
        del attempts, delay
        raise errors.OperationalError(errno=2006, msg="a connection is not reopened: acquire another")

    def _handle_server_status(self, flags: int) -> None:
        super()._handle_server_status(flags)
        self.warmline_autocommit = bool(flags & _mysql.STATUS_AUTOCOMMIT)

    def _send_cmd(self, command: int, argument: bytes | None = None, *args: Any, **named: Any) -> Any:
        session = self.warmline_session
        if session is None or session.by_library:
            return super()._send_cmd(command, argument, *args, **named)
        statement: Any = argument if command in _STATEMENTS else f"END /* command {int(command)} */"
        if self.warmline_text is not None:
            statement, self.warmline_text = self.warmline_text, None
        if command == ServerCmd.PING:
            statement = "SELECT 'ping'"
        resting = not self.unread_result and not self.can_consume_results
        if not session.before(statement, in_transaction=self.in_transaction, at_rest=resting):
            raise errors.OperationalError(errno=2006, msg="MySQL server has gone away (found before sending)")
        if named.pop("expect_response", True) is False or args:
            return super()._send_cmd(command, argument, *args, expect_response=False, **named)
        try:
            super()._send_cmd(command, argument, expect_response=False, **named)
        except errors.OperationalError:
            session.not_sent = True
            raise
        session.wait()
        return self._socket.recv()

    def cmd_query(self, query: Any, *args: Any, **named: Any) -> Any:
        """Send a statement; its text is taken here, as query attributes come before it on the wire."""
        self.warmline_text = query
        try:
            return super().cmd_query(query, *args, **named)
        except mysql.connector.Error as error:
            session = self.warmline_session
            if session is not None and classify(error) is Failure.CONFLICT:
                session.rolled_back_by_server = True
            raise


def _options(target: Target, timeout_s: float) -> dict[str, Any]:
    options: dict[str, Any] = {
        "host": target.host,
        "port": target.port,
        "user": target.user,
        "password": target.password or "",
        "charset": target.charset,
        "autocommit": True,
        "connection_timeout": max(0.05, timeout_s),
    }
    if target.database:
        options["database"] = target.database
    if target.application_name:
        options["conn_attrs"] = {"program_name": target.application_name}
    if target.unix_socket:
        options["unix_socket"] = target.unix_socket
    if target.tls == "disable":
        options["ssl_disabled"] = True
    elif target.tls != "prefer":
        options["ssl_ca"] = target.ca_file
        options["ssl_verify_cert"] = target.tls.startswith("verify")
        options["ssl_verify_identity"] = target.tls == "verify-full"
    return {**options, **target.driver_options}


def connect(target: Target, session: Session, *, timeout_s: float) -> WarmlineConnection:
    """Open a connection. SET NAMES is its only statement. Timeouts are whole seconds."""
    connection = WarmlineConnection()
    connection.warmline_session = session
    connection.warmline_context = tls_context(target)
    connection.limit(timeout_s)
    connection.connect(**_options(target, timeout_s))
    connection.limit(None)
    fd = fileno(connection)
    keep_alive(fd)
    session.watch(fd)
    session.cancel = lambda seconds: _kill_query(target, connection.connection_id, seconds)
    return connection


def _kill_query(target: Target, thread_id: int | None, timeout_s: float) -> bool:
    try:
        side = _MySQLConnection(**_options(target, timeout_s))
    except (mysql.connector.Error, OSError):
        return False
    try:
        side.cmd_query(f"KILL QUERY {thread_id}")
    except mysql.connector.Error:
        return False
    finally:
        side.close()
    return True


def fileno(connection: Any) -> int:
    """Return the socket's number, -1 once it is closed."""
    channel = connection._socket  # noqa: SLF001 - the connector has no public name for it
    return -1 if channel is None or channel.sock is None else int(channel.sock.fileno())


def in_transaction(connection: Any) -> bool:
    """Read the server's last status; with autocommit off, one statement is enough."""
    if connection.in_transaction:
        return True
    return not connection.warmline_autocommit and connection.warmline_session.statement is not None


def failed(connection: Any) -> bool:
    """Say whether a deadlock ended the transaction."""
    return bool(connection.warmline_session.rolled_back_by_server)


def at_rest(connection: Any) -> bool:
    """Say whether the connection is open and no result is half read."""
    return not connection.unread_result and fileno(connection) >= 0


def _bounded(connection: Any, timeout_s: float, action: Any) -> None:
    connection.limit(timeout_s)
    try:
        action()
    finally:
        connection.limit(None)


def ping(connection: Any, *, timeout_s: float) -> None:
    """Send COM_PING; never reconnect."""
    _bounded(connection, timeout_s, connection.cmd_ping)


def begin(connection: Any, *, read_only: bool) -> None:
    """Open a transaction."""
    connection.cmd_query(_mysql.begin_statement(read_only=read_only))


def commit(connection: Any) -> None:
    """Commit."""
    connection.commit()


def rollback(connection: Any, *, timeout_s: float) -> None:
    """Roll back."""
    _bounded(connection, timeout_s, connection.rollback)


def reset(connection: Any, *, timeout_s: float) -> bool:
    """Send COM_RESET_CONNECTION, which the connector follows with SET NAMES; then autocommit where it is off."""

    def both() -> None:
        if not connection.cmd_reset_connection():
            raise errors.OperationalError(msg="COM_RESET_CONNECTION failed")
        if not connection.warmline_autocommit:
            connection.cmd_query("SET autocommit = 1")

    _bounded(connection, timeout_s, both)
    return True


def close(connection: Any) -> None:
    """Send COM_QUIT and close."""
    try:
        connection.close()
    except (mysql.connector.Error, OSError):
        return


def classify(error: BaseException) -> Failure:
    """Say what the connector's exception means; it gives a lost connection the number -1, or 2013, or none."""
    if not isinstance(error, mysql.connector.Error):
        return Failure.LOST if isinstance(error, (ConnectionError, TimeoutError)) else Failure.OTHER
    if isinstance(error, (errors.ReadTimeoutError, errors.WriteTimeoutError)):
        return Failure.LOST
    if isinstance(error, errors.OperationalError) and error.errno in (-1, None):
        return Failure.LOST
    return _mysql.failure_of(error.errno, str(error))


def classify_connect(error: BaseException) -> Failure:
    """Say what an exception from connecting means: a connection lost so early was not made."""
    if isinstance(error, errors.ConnectionTimeoutError):
        return Failure.UNREACHABLE
    failure = classify(error)
    return Failure.UNREACHABLE if failure is Failure.LOST or isinstance(error, OSError) else failure
