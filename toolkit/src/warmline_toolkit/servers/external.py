"""A server the user already has: observed as far as its user's rights go, and never changed."""

from __future__ import annotations

import contextlib
import importlib
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from warmline_toolkit.servers.engine import AppSession, Counters, Totals
from warmline_toolkit.servers.errors import NotADatabase, NotOurServer
from warmline_toolkit.servers.observer import Observer

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from warmline_toolkit.servers.engine import Admin, Setting
    from warmline_toolkit.servers.users import Engine

SCHEMES: dict[str, str] = {"mysql": "mysql", "mariadb": "mysql", "postgresql": "postgres", "postgres": "postgres"}
PORTS = {"mysql": 3306, "postgres": 5432}

NOTES = (
    "the server is yours: the lab changes none of its settings and cannot stop, freeze or restart it",
    "connections opened, refused and their peak are not the server's count: its counters include every other client",
    "the server's CPU time is not known: its processes are out of sight",
    "open connections are those of this user, seen over one more connection of the same user",
)


def external(url: str) -> ExternalServer:
    """Return the user's own server at *url* (mysql://, mariadb:// or postgresql://USER:PASSWORD@HOST:PORT/DATABASE).

    Connects once to learn what it is. Its settings are never changed; what cannot be measured is None, and `notes` say
    what and why. Raises `NotADatabase`, `Unreachable` or `AccessRefused`.
    """
    parts = urlsplit(url)
    family = SCHEMES.get(parts.scheme.partition("+")[0])
    if family is None or not parts.hostname:
        raise NotADatabase(
            f"not the URL of a database: {_shown(parts) if parts.scheme else repr(url)}",
            next_step="Use mysql://USER:PASSWORD@HOST:PORT/DATABASE or postgresql://USER:PASSWORD@HOST:PORT/DATABASE.",
        )
    try:
        port = parts.port or PORTS[family]
    except ValueError as error:
        raise NotADatabase(f"no port in {_shown(parts)}: {error}", next_step="Give a number up to 65535.") from error
    return ExternalServer(family, parts, port)


class ExternalServer:
    """The part of `Server` that holds for a server that is not ours. Made by `external`."""

    def __init__(self, family: str, parts: SplitResult, port: int) -> None:
        self._family = family
        self._parts = parts
        self.host = parts.hostname or ""
        self.port = port
        self.user = unquote(parts.username or "")
        self.password = unquote(parts.password or "")
        self.database = unquote(parts.path.lstrip("/"))
        self.url = parts.geturl()
        self.notes = list(NOTES)
        self.settings: dict[str, Setting] = {}
        self.ca_file: Path | None = None
        self._observers: set[Observer] = set()
        session = self._session()
        try:
            version, limit = session.query(
                "SELECT VERSION(), @@max_connections"
                if family == "mysql"
                else "SELECT current_setting('server_version'), current_setting('max_connections')::int"
            )[0]
        finally:
            session.close()
        self.version = str(version)
        self.max_connections = int(limit)
        self.engine: Engine
        if family == "postgres":
            self.engine = "postgres"
        else:
            self.engine = "mariadb" if "mariadb" in self.version.lower() else "mysql"

    def __repr__(self) -> str:
        return f"<ExternalServer {self.engine} {self.version} {self.host}:{self.port}>"

    def observer(self) -> Observer:
        """Return an observer: it knows the user's open sessions, and None for all else."""
        observer = Observer(self._open_counters, self._close_counters, closed=self._observers.discard)
        self._observers.add(observer)
        return observer

    def cpu_ms(self) -> None:
        """Return None: the server's processes are out of sight."""
        return

    def processes(self) -> frozenset[int]:
        """Return nothing: the server's processes are out of sight."""
        return frozenset()

    def set(self, name: str, value: Any) -> NoReturn:
        """Refuse."""
        raise self._not_ours(f"set {name} = {value!r}")

    def freeze(self) -> NoReturn:
        """Refuse."""
        raise self._not_ours("freeze it")

    def thaw(self) -> NoReturn:
        """Refuse."""
        raise self._not_ours("thaw it")

    def kill(self) -> NoReturn:
        """Refuse."""
        raise self._not_ours("kill it")

    def restart(self) -> NoReturn:
        """Refuse."""
        raise self._not_ours("restart it")

    def stop(self) -> None:
        """End the lab's own sessions; the server goes on."""
        for observer in tuple(self._observers):
            with contextlib.suppress(Exception):
                observer.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the lab's own sessions."""
        self.stop()

    def _not_ours(self, what: str) -> NotOurServer:
        return NotOurServer(
            f"the server at {self.host}:{self.port} is yours: warmline does not {what}",
            next_step="Use a private server for this: --database mariadb, mysql or postgres.",
        )

    def _session(self) -> Admin:
        # only the driver of this server is imported
        session: Admin = importlib.import_module(f"{__package__}.external_{self._family}").Session(self)
        return session

    def _open_counters(self) -> Counters:
        return ExternalCounters(self._session(), self)

    def _close_counters(self, counters: Counters) -> None:
        counters.admin.close()

    def options(self) -> dict[str, str]:
        """Return the options in the URL's query."""
        return dict(parse_qsl(self._parts.query))


class ExternalCounters(Counters):
    """What the user may see: their own sessions, without the one that looks."""

    notes = NOTES

    def __init__(self, session: Admin, server: ExternalServer) -> None:
        self.admin = session
        self.server = server
        if server.engine == "postgres":
            self.list = (
                "SELECT pid, usename, client_port, state FROM pg_stat_activity "
                "WHERE usename = current_user AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
        else:
            self.list = (
                "SELECT ID, USER, SUBSTRING_INDEX(HOST, ':', -1), COMMAND FROM information_schema.PROCESSLIST "
                "WHERE USER = SUBSTRING_INDEX(CURRENT_USER(), '@', 1) AND ID <> CONNECTION_ID() AND COMMAND <> 'Daemon'"
            )

    def totals(self) -> Totals:
        """Return nothing known."""
        return Totals(opened=None, refused=None, aborted_handshakes=None)

    def open_now(self) -> int:
        """Count the user's other sessions."""
        return len(self.sessions())

    def sessions(self) -> list[AppSession]:
        """List the user's other sessions."""
        return [
            AppSession(id=int(id_), user=user, client_port=_port(port), state=state or "")
            for id_, user, port, state in self.admin.query(self.list)
        ]

    def kill(self, sessions: Sequence[AppSession]) -> int:
        """End these sessions; the observer lets it come to this only for client ports that the lab knows as its own."""
        end = "SELECT pg_terminate_backend({})" if self.server.engine == "postgres" else "KILL CONNECTION {}"
        for session in sessions:
            self.admin.query(end.format(session.id))
        return len(sessions)

    def may_kill(self, client_ports: Collection[int] | None) -> None:
        """Refuse to end sessions that may be someone else's."""
        if client_ports is None:
            raise NotOurServer(
                f"the sessions at {self.server.host}:{self.server.port} may be another client's",
                next_step="Name the client ports of your own connections.",
            )


def _port(port: Any) -> int | None:
    return int(port) if str(port).isdigit() else None


def _shown(parts: SplitResult) -> str:
    """Return the URL without its password."""
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
