"""What MariaDB and MySQL share: the superuser's session, changing a setting, listing and killing sessions."""

from __future__ import annotations

import contextlib
import warnings
from typing import TYPE_CHECKING, Any

import pymysql

from warmline_toolkit.servers.engine import HOST, Admin, AppSession, Counters, Engine, Setting, text
from warmline_toolkit.servers.errors import BadServerOption
from warmline_toolkit.servers.users import ADMIN, DATABASE, HOLDER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from warmline_toolkit.servers.engine import Options, Place

FOREVER_S = 31_536_000  # the largest wait_timeout there is: a year
NO_SUCH_THREAD = 1094


class MySqlAdmin(Admin):
    """A superuser's session over the admin port."""

    def __init__(self, *, port: int, password: str, socket: str) -> None:
        try:
            self.connection = pymysql.connect(
                host=HOST,
                port=port,
                user=ADMIN,
                password=password,
                autocommit=True,
                connect_timeout=10,
                ssl_disabled=True,
            )
            # A server of someone else may answer on that port while ours is failing to bind it
            if self.query("SELECT @@socket") != [(socket,)]:
                self.close()
                raise ConnectionError(f"port {port} belongs to another server")
            self.query(f"SET SESSION wait_timeout = {FOREVER_S}")
        except pymysql.MySQLError as error:
            raise ConnectionError(str(error)) from error

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        with warnings.catch_warnings(), self.connection.cursor() as cursor:
            warnings.simplefilter("ignore")  # the server's notes on a statement are not the caller's
            cursor.execute(sql)
            return list(cursor.fetchall())

    def close(self) -> None:
        """End the session; again is fine."""
        with contextlib.suppress(pymysql.MySQLError):
            self.connection.close()


def quoted(value: str) -> str:
    """Return *value* as an SQL string."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def sql_value(value: Setting) -> str:
    """Return a setting's value as SET GLOBAL takes it: a number bare, all else as a string."""
    if isinstance(value, bool):
        return text(value).upper()
    try:
        float(value)
    except ValueError:
        return quoted(str(value))
    return str(value)


class MySqlEngine(Engine):
    """The shared half of MariaDB and MySQL."""

    scheme = "mysql"
    accounts = ("mysql",)

    def admin(self, place: Place) -> Admin:
        """Open a session over the admin port, which takes none of the users' connections."""
        return MySqlAdmin(port=place.admin_port, password=place.admin_password, socket=str(place.socket))

    def version(self, admin: Admin) -> str:
        """Return the server's `@@version`."""
        return str(admin.query("SELECT @@version")[0][0])

    def os_thread(self, admin: Admin) -> int:
        """Return the id that the performance schema has for the session's thread."""
        return int(
            admin.query("SELECT THREAD_OS_ID FROM performance_schema.threads WHERE PROCESSLIST_ID = CONNECTION_ID()")[
                0
            ][0]
        )

    def change(self, admin: Admin, name: str, value: Setting) -> None:
        """SET GLOBAL: sessions that are open keep the value they have."""
        try:
            admin.query(f"SET GLOBAL {name} = {sql_value(value)}")
        except pymysql.MySQLError as error:
            raise BadServerOption(
                f"the server does not take {name} = {value!r} now: {error.args[-1]}",
                next_step="Give it at the start (settings={…}) if it cannot be changed while the server runs.",
            ) from error

    def admin_url_port(self, place: Place) -> int:
        """Return the admin port."""
        return place.admin_port


class MySqlCounters(Counters):
    """The shared half of counting: sessions by the process list."""

    PROCESS_LIST = "information_schema.PROCESSLIST"
    NOT_USERS = f"('{ADMIN}', '{HOLDER}', 'unauthenticated user', 'system user', 'event_scheduler')"

    def __init__(self, admin: Admin) -> None:
        self.admin = admin

    def status(self, *names: str) -> dict[str, int]:
        """Return the global status counters *names*."""
        listed = ", ".join(quoted(name) for name in names)
        return {
            name: int(value)
            for name, value in self.admin.query(f"SHOW GLOBAL STATUS WHERE Variable_name IN ({listed})")
        }

    def sessions(self) -> list[AppSession]:
        """List the users' sessions from the process list. A connection still in its handshake is not in it."""
        rows = self.admin.query(
            f"SELECT ID, USER, HOST, COMMAND FROM {self.PROCESS_LIST} "  # noqa: S608 - our own names
            f"WHERE USER NOT IN {self.NOT_USERS} AND COMMAND NOT IN ('Connect', 'Daemon')"
        )
        return [
            AppSession(
                id=int(id_), user=user, client_port=int(host.rpartition(":")[2]) if ":" in host else None, state=command
            )
            for id_, user, host, command in rows
        ]

    def kill(self, sessions: Sequence[AppSession]) -> int:
        """KILL CONNECTION each."""
        return sum(self._kill_one(session.id) for session in sessions)

    def _kill_one(self, id_: int) -> bool:
        try:
            self.admin.query(f"KILL CONNECTION {id_}")
        except pymysql.MySQLError as error:
            if error.args[0] == NO_SUCH_THREAD:
                return False
            raise
        return True


def hold_one(place: Place) -> Any:
    """Open one idle connection that takes a slot for as long as it is kept."""
    held = pymysql.connect(unix_socket=str(place.socket), user=HOLDER, password=place.admin_password, ssl_disabled=True)
    with held.cursor() as cursor:
        cursor.execute(f"SET SESSION wait_timeout = {FOREVER_S}")
    return held


def create_users(admin: Admin, options: Options, identified: dict[str, str]) -> None:
    """Create each user with *identified* (name → its IDENTIFIED clause) and every right in the database."""
    for user in options.users:
        admin.query(f"CREATE USER '{user.name}'@'%' {identified[user.name]}")
        admin.query(f"GRANT ALL PRIVILEGES ON `{DATABASE}`.* TO '{user.name}'@'%'")
