"""What an engine must know about itself; `mariadb`, `mysql` and `postgres` are the three."""

from __future__ import annotations

import abc
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from warmline_toolkit.servers.errors import BadServerOption
from warmline_toolkit.servers.users import AUTH_METHODS, User

if TYPE_CHECKING:
    import signal
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from warmline_toolkit.servers.accounts import Account
    from warmline_toolkit.servers.find import Program

Setting: TypeAlias = str | int | float | bool

HOST = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What was asked for. *max_connections* is what the unprivileged users get, exactly."""

    max_connections: int
    settings: dict[str, Setting] = field(default_factory=dict)
    tls: bool = False
    users: tuple[User, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where one server lives: its private directory, its ports, and its superuser's password."""

    directory: Path
    port: int
    admin_port: int
    admin_password: str

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.directory / "data"

    @property
    def log(self) -> Path:
        """Everything the server prints."""
        return self.directory / "server.log"

    @property
    def socket(self) -> Path:
        """The unix socket (MariaDB, MySQL)."""
        return self.directory / "socket"


@dataclass(frozen=True, kw_only=True)
class Totals:
    """A server's own counts since it started, for the users' connections only; None where it cannot tell."""

    opened: int | None
    refused: dict[str, int] | None
    aborted_handshakes: int | None


@dataclass(frozen=True, kw_only=True)
class AppSession:
    """One open session of a user, as the server lists it. *client_port* tells whose it is."""

    id: int
    user: str
    client_port: int | None
    state: str


class Admin(abc.ABC):
    """A superuser's session that takes none of the users' connections. Not safe for two threads at once."""

    @abc.abstractmethod
    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""

    @abc.abstractmethod
    def close(self) -> None:
        """End the session; again is fine."""


class Counters(abc.ABC):
    """How an engine counts. Each method is one look at the server."""

    admin: Admin
    notes: tuple[str, ...] = ()

    @abc.abstractmethod
    def totals(self) -> Totals:
        """Return the counts since the server's start."""

    @abc.abstractmethod
    def open_now(self) -> int:
        """Return how many of the users' sessions are open. Cheap: under a millisecond."""

    @abc.abstractmethod
    def sessions(self) -> list[AppSession]:
        """List the users' open sessions."""

    @abc.abstractmethod
    def kill(self, sessions: Sequence[AppSession]) -> int:
        """End *sessions* on the server's side, and return how many there were to end."""

    def peak(self) -> int | None:
        """Return the most sessions open at once since `restart_peak`, or None where the server does not know."""
        return None

    def restart_peak(self) -> None:
        """Begin a new window for `peak`, where there is one."""
        return

    def may_kill(self, client_ports: Collection[int] | None) -> None:
        """Raise `NotOurServer` where ending these sessions (None: all) is not the lab's to do."""
        del client_ports

    def close(self) -> None:
        """Let go of what the counters keep open besides the session they were given."""
        return


class Engine(abc.ABC):
    """How to build, start, reach, change and count one kind of server."""

    scheme: str
    accounts: tuple[str, ...]
    owned: frozenset[str]
    """Settings that warmline sets itself: a user's value for one would break the server's isolation or its counts."""
    graceful: signal.Signals
    port_taken: re.Pattern[str]
    """What the log says when the port is in use."""

    @abc.abstractmethod
    def template_key(self, program: Program, options: Options) -> str:
        """Return what makes one initialised data directory differ from another of the same version."""

    @abc.abstractmethod
    def build_template(
        self, program: Program, options: Options, directory: Path, account: Account, password: str
    ) -> None:
        """Initialise directory/data with the superuser and an empty database `app`."""

    @abc.abstractmethod
    def command(self, program: Program, place: Place, options: Options, account: Account) -> list[str]:
        """Return the command that runs the server at *place* (and write the files that it reads)."""

    @abc.abstractmethod
    def admin(self, place: Place) -> Admin:
        """Open a superuser's session. Raises `ConnectionError` while the server is not ready."""

    @abc.abstractmethod
    def prepare(self, program: Program, place: Place, admin: Admin, options: Options) -> None:
        """Create the users. Called once, after the first start."""

    @abc.abstractmethod
    def counters(self, admin: Admin, place: Place) -> Counters:
        """Return the counters of the server at *place*, read over *admin*."""

    @abc.abstractmethod
    def version(self, admin: Admin) -> str:
        """Return the version as the server says it."""

    @abc.abstractmethod
    def os_thread(self, admin: Admin) -> int:
        """Return the kernel's id of the thread (or process) that serves *admin*'s session."""

    @abc.abstractmethod
    def change(self, admin: Admin, name: str, value: Setting) -> None:
        """Change a setting now, for new sessions. Raises `BadServerOption` where it needs a restart."""

    def make_room(self, admin: Admin, options: Options, *, sessions: int) -> None:
        """Keep the users' limit what it is with *sessions* of the lab's own, where the server counts these too."""
        del admin, options, sessions

    def limit(self, admin: Admin, options: Options, *, sessions: int) -> None:
        """Give the users *options.max_connections* from now on. Raises `BadServerOption` where it needs a restart."""
        del admin, options, sessions
        raise BadServerOption(
            "this server takes another max_connections only at its start",
            next_step="Start a server with max_connections=….",
        )

    def hold(self, place: Place, options: Options) -> list[Any]:
        """Take the connections that stand between *max_connections* and the least the server allows."""
        del place, options
        return []

    def notes(self, program: Program, options: Options) -> list[str]:
        """Say what a reader of the numbers must know about this server."""
        del options
        return [program.note] if program.note else []

    def admin_url_port(self, place: Place) -> int:
        """Return the port that a superuser's URL names."""
        return place.port


def checked(engine_name: str, engine: Engine, options: Options) -> Options:
    """Return *options* with every name normalised; raises `BadServerOption` for what no server can take."""
    if options.max_connections < 1:
        raise BadServerOption(
            f"max_connections={options.max_connections}: a server needs at least 1", next_step="Ask for 1 or more."
        )
    settings: dict[str, Setting] = {}
    for name, value in options.settings.items():
        key = name.lower().replace("-", "_")
        if not re.fullmatch(r"[a-z][a-z0-9_.]*", key):
            raise BadServerOption(
                f"{name!r} is not the name of a setting", next_step="Use the server's own name for it."
            )
        if key in engine.owned:
            raise BadServerOption(
                f"the setting {key} belongs to warmline: it keeps private servers apart and their counts exact",
                next_step="Use the arguments max_connections, tls, port or users, or leave it out.",
            )
        settings[key] = value
    methods = AUTH_METHODS[engine_name]  # type: ignore[index]
    users = tuple(User(name=u.name, password=u.password, auth=u.auth or methods[0]) for u in options.users)
    for user in users:
        if user.auth not in methods:
            raise BadServerOption(
                f"{engine_name} has no authentication method {user.auth} here",
                next_step=f"It has: {', '.join(methods)}.",
            )
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,30}", user.name) or user.name.startswith("warmline_"):
            raise BadServerOption(
                f"{user.name!r} cannot be a user here",
                next_step="Use letters, digits and underscores; names that begin with warmline_ are the lab's own.",
            )
    if len({user.name for user in users}) < len(users):
        raise BadServerOption("two users have the same name", next_step="Name each once.")
    return Options(max_connections=options.max_connections, settings=settings, tls=options.tls, users=users)


def text(value: Setting) -> str:
    """Return a setting's value as both families of servers write it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)
