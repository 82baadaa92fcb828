"""PostgreSQL: initdb, settings, users, and counting by the server's own log."""

from __future__ import annotations

import contextlib
import itertools
import re
import signal
import time
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql as pgsql

from warmline_toolkit.servers import processes
from warmline_toolkit.servers.engine import (
    HOST,
    Admin,
    AppSession,
    Counters,
    Engine,
    Options,
    Place,
    Setting,
    Totals,
    text,
)
from warmline_toolkit.servers.errors import BadServerOption, ServerDidNotStart
from warmline_toolkit.servers.users import ADMIN, DATABASE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from warmline_toolkit.servers.accounts import Account
    from warmline_toolkit.servers.find import Program

RESERVED = 3  # superuser_reserved_connections, as PostgreSQL ships it
WALSENDERS = 20
ADMIN_OID = 10  # the role that initdb makes
RELOAD_LIMIT_S = 10.0
LOG_PREFIX = "%p|%u|%e|%b|"


class PostgresAdmin(Admin):
    """A superuser's session as a walsender: these have slots of their own, apart from max_connections."""

    def __init__(self, place: Place) -> None:
        try:
            self.connection = psycopg.connect(
                host=str(place.directory),
                port=place.port,
                user=ADMIN,
                dbname="postgres",
                replication="database",
                autocommit=True,
                connect_timeout=10,
                prepare_threshold=None,  # a walsender speaks the simple protocol only
            )
            with contextlib.suppress(psycopg.errors.UndefinedObject):  # before PostgreSQL 14 there is no such setting
                self.connection.execute("SET idle_session_timeout = 0")
        except psycopg.OperationalError as error:
            raise ConnectionError(str(error)) from error

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows. A walsender takes no parameters."""
        cursor = self.connection.execute(pgsql.SQL(sql))
        return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        """End the session; again is fine."""
        self.connection.close()


class Postgres(Engine):
    """PostgreSQL 12 or newer (from 12 on walsenders have their own slots)."""

    scheme = "postgresql"
    accounts = ("postgres",)
    graceful = signal.SIGINT
    port_taken = re.compile(r"could not create any TCP/IP sockets|could not bind .*: Address already in use")
    owned = frozenset(
        {
            "port",
            "listen_addresses",
            "unix_socket_directories",
            "data_directory",
            "hba_file",
            "max_connections",
            "log_destination",
            "logging_collector",
            "log_line_prefix",
            "log_connections",
            "log_disconnections",
            "lc_messages",
            "max_wal_senders",
            "wal_level",
            "superuser_reserved_connections",
            "reserved_connections",
            "ssl",
            "ssl_cert_file",
            "ssl_key_file",
            "ssl_ca_file",
        }
    )

    def template_key(self, program: Program, options: Options) -> str:
        """All clusters of a version start alike."""
        del program, options
        return ""

    def build_template(
        self, program: Program, options: Options, directory: Path, account: Account, password: str
    ) -> None:
        """Run initdb, and create the database in single-user mode."""
        del options
        (directory / "password").write_text(password + "\n")
        data = str(directory / "data")
        initdb = [
            *(str(program.path.resolve().parent / "initdb"), "-D", data, "-U", ADMIN, "--pwfile=password"),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"),
        ]
        single = [*program.command, "--single", "-D", data, "-c", "fsync=off", "postgres"]
        for command, stdin in ((initdb, ""), (single, f"CREATE DATABASE {DATABASE}\n")):
            code, said = processes.run(command, cwd=directory, account=account, stdin=stdin)
            if code != 0:
                raise ServerDidNotStart(
                    f"PostgreSQL could not make a data directory (exit code {code}):\n{said[-1500:]}",
                    next_step="The lines above are the server's own.",
                )
        (directory / "password").unlink()

    def command(self, program: Program, place: Place, options: Options, account: Account) -> list[str]:
        """Write the settings and pg_hba.conf at the first start, and run the server in the foreground."""
        written = place.data / "warmline.conf"
        settings: dict[str, Setting] = {
            "max_connections": options.max_connections + RESERVED,
            "superuser_reserved_connections": RESERVED,
            "max_wal_senders": WALSENDERS,
            "fsync": False,
            **options.settings,
            "listen_addresses": HOST,
            "unix_socket_directories": str(place.directory),
            "log_destination": "stderr",
            "logging_collector": False,
            "log_line_prefix": LOG_PREFIX,
            "log_connections": True,
            "log_disconnections": True,
            "lc_messages": "C",
        }
        if options.tls:
            settings |= {
                "ssl": True,
                "ssl_ca_file": str(place.directory / "ca.pem"),
                "ssl_cert_file": str(place.directory / "server-cert.pem"),
                "ssl_key_file": str(place.directory / "server-key.pem"),
            }
        first = not written.exists()
        written.write_text("".join(f"{name} = {conf_value(value)}\n" for name, value in settings.items()))
        if first:
            with (place.data / "postgresql.conf").open("a") as conf:
                conf.write("\ninclude 'warmline.conf'\n")
            (place.data / "pg_hba.conf").write_text(hba(options))
            account.own(place.data)
        return [*program.command, "-D", str(place.data), "-p", str(place.port)]

    def admin(self, place: Place) -> Admin:
        """Open a walsender's session over the unix socket in the private directory."""
        return PostgresAdmin(place)

    def version(self, admin: Admin) -> str:
        """Return `server_version`."""
        return str(admin.query("SHOW server_version")[0][0])

    def os_thread(self, admin: Admin) -> int:
        """Return the backend's process."""
        return int(admin.query("SELECT pg_backend_pid()")[0][0])

    def prepare(self, program: Program, place: Place, admin: Admin, options: Options) -> None:
        """Create the users; the first owns the database, the others may do everything in it."""
        del program, place
        for number, user in enumerate(options.users):
            kept_as = "md5" if user.auth == "md5" else "scram-sha-256"
            admin.query(f"SET password_encryption = '{kept_as}'")
            admin.query(f"CREATE ROLE {quoted_name(user.name)} LOGIN PASSWORD {quoted(user.password)}")
            if number == 0:
                admin.query(f"ALTER DATABASE {DATABASE} OWNER TO {quoted_name(user.name)}")
            else:
                admin.query(f"GRANT {quoted_name(options.users[0].name)} TO {quoted_name(user.name)}")

    def change(self, admin: Admin, name: str, value: Setting) -> None:
        """ALTER SYSTEM and reload, and wait until the server has taken it."""
        known = admin.query(f"SELECT context FROM pg_settings WHERE name = {quoted(name)}")  # noqa: S608 - quoted
        if not known or known[0][0] in ("postmaster", "internal"):
            raise BadServerOption(
                f"PostgreSQL does not take {name} while it runs" if known else f"PostgreSQL has no setting {name}",
                next_step="Give it at the start (settings={…}).",
            )
        try:
            admin.query(f"ALTER SYSTEM SET {name} = {quoted(text(value))}")
        except psycopg.Error as error:
            raise BadServerOption(
                f"PostgreSQL does not take {name} = {value!r}: {str(error).splitlines()[0]}",
                next_step="Use a value that it takes.",
            ) from error
        before = admin.query("SELECT pg_conf_load_time()")
        admin.query("SELECT pg_reload_conf()")
        limit = time.monotonic() + RELOAD_LIMIT_S
        while admin.query("SELECT pg_conf_load_time()") == before and time.monotonic() < limit:
            time.sleep(0.002)

    def counters(self, admin: Admin, place: Place) -> Counters:
        """Return the counters: the log, and pg_stat_activity for what is open now."""
        return PostgresCounters(admin, place)


class PostgresCounters(Counters):
    """Sessions and refusals from the server's log, which a backend writes before its client gets the answer.

    A session is a "connection authorized" line whose backend did not end with a FATAL error before it was ready: the
    limit (53300), a missing database (3D000) and a missing right (42501) come after it. A refusal is such an error or
    any other FATAL error of a backend that never was authorized. `pg_stat_database.sessions` is not used: backends
    report it up to a second late, and for every user together.
    """

    SESSION_ENDS = ("57", "25", "08", "XX")
    """Classes of FATAL errors that end a session. Any other one after "authorized" kept it from beginning."""
    LINE = re.compile(rb"^(\d+)\|([^|]*)\|([0-9A-Z]{5})\|[^|]*\|([A-Z0-9]+):  (.*)$")

    def __init__(self, admin: Admin, place: Place) -> None:
        self.admin = admin
        self.log = place.log.open("rb")
        self.rest = b""
        self.opened = 0
        self.refused: dict[str, int] = {}
        self.aborted = 0
        self.starting: set[bytes] = set()
        self.open: dict[bytes, int] = {}  # backend → its opening's place in the window's steps
        self.steps: list[int] = []  # +1 and -1 in the order of the log

    def _read(self) -> None:
        lines = (self.rest + self.log.read()).split(b"\n")
        self.rest = lines.pop()
        for line in lines:
            if (match := self.LINE.match(line)) is not None:
                self._take(pid=match[1], user=match[2].decode(), code=match[3].decode(), level=match[4], said=match[5])

    def _take(self, *, pid: bytes, user: str, code: str, level: bytes, said: bytes) -> None:
        """Follow one backend by one line of its own."""
        if user == ADMIN:
            return
        if said.startswith(b"connection received"):
            self.starting.add(pid)
        elif said.startswith(b"connection authorized"):
            self.starting.discard(pid)
            self.opened += 1
            self.open[pid] = len(self.steps)
            self.steps.append(1)
        elif level == b"FATAL" and pid in self.open and not code.startswith(self.SESSION_ENDS):
            self.steps[self.open.pop(pid)] = 0
            self.opened -= 1
            self.refused[code] = self.refused.get(code, 0) + 1
        elif level == b"FATAL" and pid in self.starting and user not in ("", "[unknown]"):
            self.starting.discard(pid)
            self.refused[code] = self.refused.get(code, 0) + 1
        elif said.startswith(b"disconnection"):
            self.starting.discard(pid)
            if self.open.pop(pid, None) is not None:
                self.steps.append(-1)
        elif said.startswith(b"starting PostgreSQL"):  # after a kill, nobody said goodbye
            self.steps += [-1] * len(self.open)
            self.open.clear()
            self.starting.clear()

    def totals(self) -> Totals:
        """Return the counts since the server's start: reads what the log has gained."""
        self._read()
        return Totals(opened=self.opened, refused=dict(self.refused), aborted_handshakes=0)

    def open_now(self) -> int:
        """Count the users' backends in the table behind pg_stat_activity, without its joins."""
        return int(
            self.admin.query(
                "SELECT count(*) FROM pg_stat_get_backend_idset() AS i "  # noqa: S608 - our own number
                f"WHERE pg_stat_get_backend_userid(i) NOT IN (0, {ADMIN_OID}) "
                "AND pg_stat_get_backend_client_port(i) IS NOT NULL"
            )[0][0]
        )

    def sessions(self) -> list[AppSession]:
        """List the users' backends from pg_stat_activity."""
        rows = self.admin.query(
            "SELECT pid, usename, client_port, state FROM pg_stat_activity "  # noqa: S608 - our own name
            f"WHERE backend_type = 'client backend' AND usename <> '{ADMIN}' AND state IS DISTINCT FROM 'starting'"
        )
        return [AppSession(id=pid, user=user, client_port=port, state=state or "") for pid, user, port, state in rows]

    def kill(self, sessions: Sequence[AppSession]) -> int:
        """pg_terminate_backend each."""
        return sum(bool(self.admin.query(f"SELECT pg_terminate_backend({s.id})")[0][0]) for s in sessions)

    def peak(self) -> int | None:
        """Return the most sessions at once in the order of the log."""
        self._read()
        return max(itertools.accumulate(self.steps, initial=0))

    def restart_peak(self) -> None:
        """Begin a new window at what is open now."""
        self._read()
        self.open = {pid: place for place, pid in enumerate(self.open)}
        self.steps = [1] * len(self.open)

    def close(self) -> None:
        """Close the log."""
        self.log.close()


def hba(options: Options) -> str:
    """Return pg_hba.conf: over TCP each user by their method, over the private socket only the superuser."""
    kind = "host"
    lines = [f"local all {ADMIN} trust", f"{kind} all {ADMIN} {HOST}/32 scram-sha-256"]
    lines += [f'{kind} all "{user.name}" {HOST}/32 {user.auth}' for user in options.users]
    # an unknown user is asked for a password like everyone, and refused
    lines.append(f"{kind} all all {HOST}/32 scram-sha-256")
    return "\n".join(lines) + "\n"


def conf_value(value: Setting) -> str:
    """Return a value as postgresql.conf takes it."""
    return "'" + text(value).replace("\\", "\\\\").replace("'", "''") + "'"


def quoted(value: str) -> str:
    """Return *value* as an SQL string."""
    doubled = value.replace("'", "''")
    return f"'{doubled}'" if "\\" not in value else "E'" + doubled.replace("\\", "\\\\") + "'"


def quoted_name(name: str) -> str:
    """Return *name* as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


ENGINE = Postgres()
