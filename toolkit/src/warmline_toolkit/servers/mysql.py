"""MySQL: initialise, command line, users, and counting by its performance schema."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

from warmline_toolkit.servers import processes
from warmline_toolkit.servers.engine import HOST, Admin, Counters, Options, Place, Totals, text
from warmline_toolkit.servers.errors import ServerDidNotStart
from warmline_toolkit.servers.mysql_protocol import MySqlCounters, MySqlEngine, create_users, quoted
from warmline_toolkit.servers.users import ADMIN, DATABASE

if TYPE_CHECKING:
    from pathlib import Path

    from warmline_toolkit.servers.accounts import Account
    from warmline_toolkit.servers.find import Program

LAB_SESSIONS = 2  # what a server has after its start: one session to use, one to make room with
INIT_SETTINGS = ("innodb_page_size", "innodb_data_file_path", "lower_case_table_names")
REFUSALS = (1040, 1044, 1045, 1049, 1203, 1226, 1698, 1862, 3118, 3159, 3955)
"""Errors that refuse a connection after its user is known. Some can happen in a session too."""


class MySql(MySqlEngine):
    """MySQL 8.0 or newer."""

    graceful = signal.SIGTERM
    port_taken = re.compile(
        r"Do you already have another mysqld server running on port|Bind on .*Address already in use"
    )
    owned = frozenset(
        {
            *(
                "port",
                "admin_port",
                "admin_address",
                "bind_address",
                "socket",
                "datadir",
                "pid_file",
                "max_connections",
            ),
            *("user", "skip_networking", "log_error", "skip_grant_tables", "performance_schema", "mysqlx", "basedir"),
        }
    )

    def template_key(self, program: Program, options: Options) -> str:
        """Distinguish the few settings that are fixed for good when a data directory is made."""
        del program
        return "-".join(f"{name}={options.settings[name]}" for name in INIT_SETTINGS if name in options.settings)

    def build_template(
        self, program: Program, options: Options, directory: Path, account: Account, password: str
    ) -> None:
        """Run `mysqld --initialize`, which makes the keys for caching_sha2_password too."""
        (directory / "init.sql").write_text(
            f"CREATE USER '{ADMIN}'@'%' IDENTIFIED BY '{password}';\n"
            f"GRANT ALL ON *.* TO '{ADMIN}'@'%' WITH GRANT OPTION;\n"
            "DROP USER 'root'@'localhost';\n"
            f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4;\n"
        )
        init = [f"--{name}={options.settings[name]}" for name in INIT_SETTINGS if name in options.settings]
        code, said = processes.run(
            [
                *(*program.command, "--no-defaults", "--initialize-insecure", *_paths(program)),
                *(f"--datadir={directory}/data", f"--init-file={directory}/init.sql", "--innodb-doublewrite=OFF"),
                *("--innodb-flush-method=nosync", "--loose-innodb-redo-log-capacity=32M", "--secure-file-priv=", *init),
            ],
            cwd=directory,
            account=account,
        )
        if code != 0:
            raise ServerDidNotStart(
                f"MySQL could not make a data directory (exit code {code}):\n{said[-1500:]}",
                next_step="The lines above are the server's own.",
            )

    def command(self, program: Program, place: Place, options: Options, account: Account) -> list[str]:
        """Run without any settings file, on loopback, with the admin port for the lab."""
        del account
        settings = {
            "innodb_buffer_pool_size": "32M",
            "loose_innodb_redo_log_capacity": "32M",
            "innodb_flush_method": "nosync",
            "innodb_doublewrite": False,
            **options.settings,
        }
        tls = {"ssl_ca": "ca.pem", "ssl_cert": "server-cert.pem", "ssl_key": "server-key.pem"}
        secured = [f"--{name.replace('_', '-')}={place.directory / file}" for name, file in tls.items()]
        return [
            *(*program.command, "--no-defaults", *_paths(program), f"--datadir={place.data}"),
            *(f"--socket={place.socket}", f"--pid-file={place.directory}/pid", f"--tmpdir={place.directory}"),
            *(f"--port={place.port}", f"--bind-address={HOST}", "--mysqlx=OFF", "--skip-name-resolve"),
            "--skip-log-bin",
            *(f"--admin-port={place.admin_port}", f"--admin-address={HOST}", "--create-admin-listener-thread=ON"),
            *(f"--max-connections={options.max_connections + LAB_SESSIONS}", "--secure-file-priv="),
            *(secured if options.tls else ["--tls-version=", "--auto-generate-certs=OFF"]),
            *(f"--{name.replace('_', '-')}={text(value)}" for name, value in settings.items()),
        ]

    def prepare(self, program: Program, place: Place, admin: Admin, options: Options) -> None:
        """Create the users."""
        del program, place
        create_users(
            admin,
            options,
            {user.name: f"IDENTIFIED WITH caching_sha2_password BY {quoted(user.password)}" for user in options.users},
        )

    def make_room(self, admin: Admin, options: Options, *, sessions: int) -> None:
        """Raise max_connections by the lab's own sessions: MySQL counts those on the admin port too."""
        admin.query(f"SET GLOBAL max_connections = {options.max_connections + sessions}")

    def limit(self, admin: Admin, options: Options, *, sessions: int) -> None:
        """SET GLOBAL, with the lab's own sessions on top."""
        self.make_room(admin, options, sessions=sessions)

    def notes(self, program: Program, options: Options) -> list[str]:
        """Say why @@max_connections is not the number that was asked for."""
        return [
            *super().notes(program, options),
            f"{options.max_connections} connections are left to the users: @@max_connections is more by the lab's own",
        ]

    def counters(self, admin: Admin, place: Place) -> Counters:
        """Return the counters: the performance schema and the status."""
        del place
        return PerformanceSchemaCounters(admin)


class PerformanceSchemaCounters(MySqlCounters):
    """Connections by user and errors by user from the performance schema; error 1040 from the global status.

    A user's TOTAL_CONNECTIONS includes those refused after their handshake, so these are taken off. 1044, 1045 and 1049
    may come from a statement of a session as well: what goes beyond Aborted_connects (every refused or dropped
    connection that got as far as the handshake) did.
    """

    PROCESS_LIST = "performance_schema.processlist"

    def totals(self) -> Totals:
        """Return the counts since the server's start: four short statements."""
        status = self.status("Aborted_connects", "Connection_errors_max_connections")
        by_code = {
            int(code): int(n)
            for code, n in self.admin.query(
                "SELECT ERROR_NUMBER, SUM(SUM_ERROR_RAISED) FROM "  # noqa: S608 - our own names
                "performance_schema.events_errors_summary_by_user_by_error "
                f"WHERE USER <> '{ADMIN}' AND SUM_ERROR_RAISED > 0 "
                f"AND ERROR_NUMBER IN ({', '.join(map(str, REFUSALS))}) GROUP BY ERROR_NUMBER"
            )
        }
        dropped = self._handshakes()
        in_session = max(0, sum(by_code.values()) + dropped - status["Aborted_connects"])
        for code in (1049, 1044, 1045):
            taken = min(in_session, by_code.get(code, 0))
            by_code[code] = by_code.get(code, 0) - taken
            in_session -= taken
        opened = self._total() - sum(by_code.values())
        by_code[1040] = status["Connection_errors_max_connections"]
        return Totals(
            opened=opened, refused={str(code): n for code, n in by_code.items() if n}, aborted_handshakes=dropped
        )

    def _total(self) -> int:
        return int(
            self.admin.query(
                "SELECT COALESCE(SUM(TOTAL_CONNECTIONS), 0) FROM performance_schema.users "  # noqa: S608 - our own name
                f"WHERE USER NOT IN ('{ADMIN}', 'event_scheduler')"
            )[0][0]
        )

    def _handshakes(self) -> int:
        return int(
            self.admin.query(
                "SELECT COALESCE(SUM(SUM_ERROR_RAISED), 0) "
                "FROM performance_schema.events_errors_summary_by_user_by_error "
                "WHERE USER IS NULL AND ERROR_NUMBER = 1043"
            )[0][0]
        )

    def open_now(self) -> int:
        """Count the users' lines of the process list."""
        return int(
            self.admin.query(
                f"SELECT COUNT(*) FROM {self.PROCESS_LIST} "  # noqa: S608 - our own names
                f"WHERE USER NOT IN {self.NOT_USERS} AND COMMAND NOT IN ('Connect', 'Daemon')"
            )[0][0]
        )


def _paths(program: Program) -> list[str]:
    """Return the options that tell an unpacked MySQL where its files are."""
    if program.root is None:
        return []
    usr = program.root / "usr"
    return [
        *(f"--basedir={usr}", f"--plugin-dir={usr}/lib/mysql/plugin", f"--lc-messages-dir={usr}/share/mysql"),
        f"--character-sets-dir={usr}/share/mysql/charsets",
    ]


ENGINE = MySql()
