"""MariaDB: bootstrap, command line, users, and what its counters truthfully say."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING, Any

from warmline_toolkit.servers import processes, unpack
from warmline_toolkit.servers.engine import HOST, Admin, Counters, Options, Place, Totals, text
from warmline_toolkit.servers.errors import CannotUnpack, NoAuthPlugin, ServerDidNotStart
from warmline_toolkit.servers.mysql_protocol import MySqlCounters, MySqlEngine, create_users, hold_one, quoted
from warmline_toolkit.servers.users import ADMIN, DATABASE, HOLDER

if TYPE_CHECKING:
    from pathlib import Path

    from warmline_toolkit.servers.accounts import Account
    from warmline_toolkit.servers.find import Program

LEAST_MAX_CONNECTIONS = 10
ADMIN_CONNECTIONS = 100
SYSTEM_SQL = ("mariadb_system_tables", "mariadb_performance_tables", "mariadb_system_tables_data", "mariadb_sys_schema")
INIT_SETTINGS = ("innodb_page_size", "innodb_undo_tablespaces", "innodb_data_file_path", "lower_case_table_names")


class MariaDb(MySqlEngine):
    """MariaDB 10.4 or newer."""

    graceful = signal.SIGTERM
    port_taken = re.compile(r"Address already in use|Can't start server: Bind on", re.IGNORECASE)
    owned = frozenset(
        {
            "port",
            "extra_port",
            "extra_max_connections",
            "bind_address",
            "socket",
            "datadir",
            "pid_file",
            "max_connections",
            "userstat",
            "user",
            "skip_networking",
            "log_error",
            "log_warnings",
            "skip_grant_tables",
        }
    )

    def template_key(self, program: Program, options: Options) -> str:
        """Distinguish the few settings that are fixed for good when a data directory is made."""
        del program
        return "-".join(f"{name}={options.settings[name]}" for name in INIT_SETTINGS if name in options.settings)

    def build_template(
        self, program: Program, options: Options, directory: Path, account: Account, password: str
    ) -> None:
        """Bootstrap the system tables from the SQL files the server comes with."""
        (directory / "data").mkdir()
        share = _share(program)
        sql = ["CREATE DATABASE mysql;\nUSE mysql;\n"]
        for name in SYSTEM_SQL:
            found = [
                f for f in (share / f"{name}.sql", share / f"{name.replace('mariadb', 'mysql')}.sql") if f.exists()
            ]
            if found:
                sql.append(found[0].read_text())
        sql.append(
            "\nFLUSH PRIVILEGES;\n"
            "DELETE FROM mysql.global_priv WHERE User <> 'mariadb.sys';\nDELETE FROM mysql.proxies_priv;\n"
            "FLUSH PRIVILEGES;\n"
            f"CREATE USER '{ADMIN}'@'%' IDENTIFIED BY '{password}';\n"
            f"GRANT ALL ON *.* TO '{ADMIN}'@'%' WITH GRANT OPTION;\n"
            f"CREATE USER '{HOLDER}'@'localhost' IDENTIFIED BY '{password}';\n"
            f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4;\n"
        )
        init = [f"--{name}={options.settings[name]}" for name in INIT_SETTINGS if name in options.settings]
        code, said = processes.run(
            [
                *(*program.command, "--no-defaults", "--bootstrap", f"--datadir={directory}/data", "--skip-networking"),
                *("--innodb-log-file-size=10M", "--innodb-buffer-pool-size=32M", "--max-allowed-packet=64M"),
                *("--loose-innodb-flush-log-at-trx-commit=0", *init),
            ],
            cwd=directory,
            account=account,
            stdin="".join(sql),
        )
        if code != 0:
            raise ServerDidNotStart(
                f"MariaDB could not make a data directory (exit code {code}):\n{said[-1500:]}",
                next_step="The lines above are the server's own.",
            )

    def command(self, program: Program, place: Place, options: Options, account: Account) -> list[str]:
        """Run without any settings file, on loopback, with the extra port for the lab."""
        del account
        settings = {
            "innodb_buffer_pool_size": "32M",
            "innodb_log_file_size": "10M",
            "innodb_flush_log_at_trx_commit": 2,
            **options.settings,
        }
        tls = {"ssl_ca": "ca.pem", "ssl_cert": "server-cert.pem", "ssl_key": "server-key.pem"} if options.tls else {}
        return [
            *(*program.command, "--no-defaults", f"--datadir={place.data}", f"--socket={place.socket}"),
            *(f"--port={place.port}", f"--bind-address={HOST}", f"--pid-file={place.directory}/pid"),
            *(f"--extra-port={place.admin_port}", f"--extra-max-connections={ADMIN_CONNECTIONS}"),
            f"--max-connections={max(options.max_connections, LEAST_MAX_CONNECTIONS)}",
            *("--userstat=ON", "--log-warnings=2", "--skip-name-resolve", f"--tmpdir={place.directory}"),
            *(f"--{name.replace('_', '-')}={place.directory / file}" for name, file in tls.items()),
            *(["--skip-ssl"] if not options.tls else []),
            *([f"--plugin-dir={_ed25519_folder(program)}"] if _needs_ed25519(options) else []),
            *(f"--{name.replace('_', '-')}={text(value)}" for name, value in settings.items()),
        ]

    def prepare(self, program: Program, place: Place, admin: Admin, options: Options) -> None:
        """Create the users, loading the ed25519 plugin where one needs it."""
        del program, place
        if _needs_ed25519(options):
            admin.query("INSTALL SONAME 'auth_ed25519'")
        create_users(
            admin,
            options,
            {
                user.name: f"IDENTIFIED VIA ed25519 USING PASSWORD({quoted(user.password)})"
                if user.auth == "ed25519"
                else f"IDENTIFIED VIA mysql_native_password USING PASSWORD({quoted(user.password)})"
                for user in options.users
            },
        )

    def hold(self, place: Place, options: Options) -> list[Any]:
        """Take what lies between the limit that was asked for and MariaDB's own least, 10."""
        return [hold_one(place) for _ in range(LEAST_MAX_CONNECTIONS - options.max_connections)]

    def notes(self, program: Program, options: Options) -> list[str]:
        """Say when the lab holds connections itself."""
        notes = super().notes(program, options)
        if (held := LEAST_MAX_CONNECTIONS - options.max_connections) > 0:
            notes.append(
                f"MariaDB takes no max_connections under {LEAST_MAX_CONNECTIONS}: the lab holds {held} idle ones, so "
                f"that {options.max_connections} are left; error 1040 is the server's own"
            )
        return notes

    def os_thread(self, admin: Admin) -> int:
        """Return the process list's TID of the session's thread: the performance schema is off by default."""
        return int(admin.query("SELECT TID FROM information_schema.PROCESSLIST WHERE ID = CONNECTION_ID()")[0][0])

    def counters(self, admin: Admin, place: Place) -> Counters:
        """Return the counters: USER_STATISTICS, the status and the error log."""
        return MariaDbCounters(admin, place)

    def limit(self, admin: Admin, options: Options, *, sessions: int) -> None:
        """SET GLOBAL: the lab's sessions have slots of their own."""
        del sessions
        admin.query(f"SET GLOBAL max_connections = {max(options.max_connections, LEAST_MAX_CONNECTIONS)}")


class MariaDbCounters(MySqlCounters):
    """Sessions by user from USER_STATISTICS (userstat=ON); refusals from the global status and the error log.

    Every refused or dropped connection raises Aborted_connects. Of these, one dropped before it named a user is in
    Aborted_connects_preauth, and one with a wrong password (1045) or a forbidden database (1044) has a line in the log
    (Access_denied_errors counts refusals of statements too). The rest is error 1040, whether before the handshake (then
    also in Connection_errors_max_connections) or after it. The lab's own sessions come through the extra port and
    never fail.
    """

    DENIED = re.compile(rb"\[Warning\] Access denied for user '[^\n]*")

    def __init__(self, admin: Admin, place: Place) -> None:
        self.admin = admin
        self.log = place.log.open("rb")
        self.rest = self.log.read().rpartition(b"ready for connections")[2]  # this process's part only
        self.denied = {"1044": 0, "1045": 0}

    def totals(self) -> Totals:
        """Return the counts since the server's start: two statements and what the log has gained."""
        status = self.status("Aborted_connects", "Aborted_connects_preauth")
        self._read_log()
        dropped = status["Aborted_connects_preauth"]
        refused = {"1040": status["Aborted_connects"] - dropped - sum(self.denied.values()), **self.denied}
        opened = self._sum("TOTAL_CONNECTIONS")
        return Totals(opened=opened, refused={c: n for c, n in refused.items() if n}, aborted_handshakes=dropped)

    def _read_log(self) -> None:
        lines = (self.rest + self.log.read()).split(b"\n")
        self.rest = lines.pop()
        for line in lines:
            if (match := self.DENIED.search(line)) is not None:
                self.denied["1044" if b" to database " in match[0] else "1045"] += 1

    def close(self) -> None:
        """Close the log."""
        self.log.close()

    def open_now(self) -> int:
        """Return the users' CONCURRENT_CONNECTIONS."""
        return self._sum("CONCURRENT_CONNECTIONS")

    def _sum(self, column: str) -> int:
        return int(
            self.admin.query(
                f"SELECT COALESCE(SUM({column}), 0) FROM information_schema.USER_STATISTICS "  # noqa: S608 - our own names
                f"WHERE USER NOT IN ('{ADMIN}', '{HOLDER}')"
            )[0][0]
        )


def _needs_ed25519(options: Options) -> bool:
    return any(user.auth == "ed25519" for user in options.users)


def _ed25519_folder(program: Program) -> Path:
    """Return the folder of the plugin auth_ed25519, fetched where Debian has left it in another package."""
    prefix = program.path.resolve().parent.parent
    for root in (prefix, prefix.parent / "usr"):
        for plugin in sorted((*root.glob("lib*/*/plugin/auth_ed25519.so"), *root.glob("lib*/plugin/auth_ed25519.so"))):
            return plugin.parent
    try:
        unpacked = unpack.unpack_installed_release("mariadb-server", beside="mariadb-server-core")
    except CannotUnpack as error:
        raise NoAuthPlugin(
            f"this MariaDB ({program.path}) comes without the plugin auth_ed25519, and {error.what}",
            next_step="On Debian it is in the package mariadb-server; or use mysql_native_password.",
        ) from error
    for plugin in sorted(unpacked.glob("usr/lib/**/auth_ed25519.so")):
        return plugin.parent
    raise NoAuthPlugin("the package mariadb-server has no auth_ed25519.so", next_step="Use mysql_native_password.")


def _share(program: Program) -> Path:
    """Return the folder of the SQL files: share/mysql or share/mariadb beside the program."""
    for base in (program.path.resolve().parent.parent, program.path.resolve().parent.parent.parent):
        for name in ("share/mysql", "share/mariadb", "share"):
            for first in (SYSTEM_SQL[0], SYSTEM_SQL[0].replace("mariadb", "mysql")):
                if (base / name / f"{first}.sql").exists():
                    return base / name
    raise ServerDidNotStart(
        f"the system tables' SQL files of {program.path} were not found beside it",
        next_step="Install the whole package: on Debian, mariadb-server-core.",
    )


ENGINE = MariaDb()
