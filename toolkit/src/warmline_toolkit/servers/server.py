"""Start a private server, and hold it: the one object the rest of the toolkit sees."""

from __future__ import annotations

import contextlib
import enum
import hashlib
import importlib
import random
import secrets
import shutil
import signal
import socket
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from warmline_toolkit.servers import accounts, cache, find, guardian, processes
from warmline_toolkit.servers.engine import HOST, Engine, Options, Place, checked
from warmline_toolkit.servers.errors import BadServerOption, PortTaken, ServerDidNotStart, ServerGone
from warmline_toolkit.servers.observer import Observer
from warmline_toolkit.servers.users import ADMIN, DATABASE, ENGINES, User

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterable, Iterator, Mapping
    from types import TracebackType

    from typing_extensions import Self

    from warmline_toolkit.servers.accounts import Account
    from warmline_toolkit.servers.engine import Admin, Counters, Setting
    from warmline_toolkit.servers.find import Program

START_LIMIT_S = 60.0
STOP_LIMIT_S = 30.0
TRIES = 10
PORTS = range(20_000, 32_000)  # below the range from which clients get theirs
LONGEST_FOLDER = 57
TEMPLATE_FORMAT = 1  # raise it when what build_template makes changes


class State(enum.Enum):
    """Where a private server is in its life."""

    RUNNING = "running"
    FROZEN = "frozen"
    DOWN = "down"
    STOPPED = "stopped"


def start(  # noqa: PLR0913 - one call describes one server
    engine: str,
    *,
    max_connections: int = 100,
    settings: Mapping[str, Setting] | None = None,
    tls: bool = False,
    users: Iterable[User] = (),
    port: int | None = None,
    keep_log: Path | None = None,
) -> Server:
    """Start a private *engine* ("mariadb", "mysql" or "postgres") on loopback, ready to connect to.

    Use it as a context manager, or call `stop`. *max_connections* is exactly what the unprivileged users get;
    *settings* are the server's own names. Without *users* there is one, `app`. Without *port* a free one is found.
    *keep_log* is where the server's log is copied when it stops.

    Ready in well under a second after an engine's first start on a machine, which makes a data directory in the cache
    (a few seconds). Nothing is left behind when it stops, or when this process ends in whatever way. Raises
    `NoServerProgram`, `ServerDidNotStart`, `PortTaken`, `BadServerOption`.
    """
    if engine not in ENGINES:
        raise BadServerOption(f"no engine is called {engine!r}", next_step=f"The engines: {', '.join(ENGINES)}.")
    implementation: Engine = importlib.import_module(f"warmline_toolkit.servers.{engine}").ENGINE
    asked = Options(
        max_connections=max_connections, settings=dict(settings or {}), tls=tls, users=tuple(users) or (User(),)
    )
    options = checked(engine, implementation, asked)
    program = find.required(engine)
    return Server(implementation, program, options, port=port, keep_log=keep_log)


class Server:
    """A private server that runs. Made by `start`."""

    def __init__(
        self, engine: Engine, program: Program, options: Options, *, port: int | None, keep_log: Path | None
    ) -> None:
        self._engine = engine
        self._program = program
        self._options = options
        self._keep_log = keep_log
        self._lock = threading.RLock()
        self._observers: set[Observer] = set()
        self._held: list[Any] = []
        self._cpu_ms_read = 0.0
        self._cpu_ms_before: float | None = 0.0  # of the processes before the last restart
        self._process: subprocess.Popen[bytes] | None = None
        # The lab's own and the thread of each, never fewer again: where the server counts them, room is made
        self._sessions: dict[Admin, int] = {}
        self._idle: list[Admin] = []
        self._state = State.DOWN
        self._account = accounts.unprivileged(engine.accounts)
        self.engine = program.engine
        self.host = HOST
        self.database = DATABASE
        self.users = {user.name: user for user in options.users}
        self.user = options.users[0].name
        self.password = options.users[0].password
        self.notes = engine.notes(program, options)

        directory = guardian.temporary_directory(f"warmline-{self.engine}-", parent=_short_temporary_folder())
        try:
            template = _template(engine, program, options, self._account)
            shutil.copytree(template / "data", directory / "data")
            if options.tls:
                from warmline_toolkit.servers import certificates  # noqa: PLC0415 - a slow import, seldom needed

                certificates.make(directory)
            self._account.own(directory)
            self._place = Place(
                directory=directory, port=0, admin_port=0, admin_password=(template / "admin_password").read_text()
            )
            self._first_start(port)
            with self._superuser() as admin:
                engine.prepare(program, self._place, admin, options)
                self.version = engine.version(admin)
            self._held = engine.hold(self._place, options)
        except BaseException:
            self.stop()
            guardian.remove_directory(directory)
            raise

    # -- where it is -------------------------------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """The port for the users."""
        return self._place.port

    @property
    def url(self) -> str:
        """The first user's URL, in the form the drivers take."""
        return self.url_of(self.user)

    def url_of(self, user: str) -> str:
        """Return the URL of the user named *user*."""
        return self._url(user, self.users[user].password, self.port)

    @property
    def admin_url(self) -> str:
        """A superuser's URL. On MariaDB a session on it takes none of the users' connections.

        MySQL and PostgreSQL count free slots, not whose they are: there, each session on it leaves one connection fewer
        to the users while it is open. Use `query` and `observer` while a limit must be exact.
        """
        return self._url(ADMIN, self._place.admin_password, self._engine.admin_url_port(self._place))

    @property
    def ca_file(self) -> Path | None:
        """The certificate authority's file, with tls=True."""
        return self._place.directory / "ca.pem" if self._options.tls else None

    @property
    def log(self) -> Path:
        """The server's log; gone when it stops."""
        return self._place.log

    @property
    def max_connections(self) -> int:
        """How many connections the users get."""
        return self._options.max_connections

    @property
    def settings(self) -> dict[str, Setting]:
        """The settings that were asked for."""
        return dict(self._options.settings)

    @property
    def state(self) -> State:
        """Running, frozen, down (killed, to be restarted) or stopped (gone)."""
        return self._state

    def __repr__(self) -> str:
        return f"<Server {self.engine} {getattr(self, 'version', '?')} port={self.port} {self._state.value}>"

    # -- what it does ------------------------------------------------------------------------------------------------

    def observer(self) -> Observer:
        """Return a new observer whose window begins now; close it, or let it end with the server."""
        observer = Observer(self._open_counters, self._close_counters, closed=self._observers.discard)
        self._observers.add(observer)
        return observer

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Run one statement as superuser and return its rows; takes none of the users' connections."""
        with self._superuser() as admin:
            return admin.query(sql)

    def set(self, name: str, value: Setting) -> None:
        """Change a setting while the server runs. On MariaDB and MySQL, open sessions keep what they have.

        `max_connections` is what the users get, as at the start. Raises `BadServerOption` where it needs a restart.
        """
        if name == "max_connections":
            options = checked(self.engine, self._engine, replace(self._options, max_connections=int(value)))
            with self._lock, self._superuser() as admin:
                self._engine.limit(admin, options, sessions=len(self._sessions))
                self._let_held_go()
                self._options = options
                self._held = self._engine.hold(self._place, options)
            self.notes = self._engine.notes(self._program, options)
            return
        asked = checked(self.engine, self._engine, replace(self._options, settings={name: value}))
        with self._superuser() as admin:
            for key, taken in asked.settings.items():
                self._engine.change(admin, key, taken)

    def processes(self) -> frozenset[int]:
        """Return the numbers of all the server's processes."""
        return frozenset(guardian.process_tree(self._process.pid) if self._process is not None else ())

    def cpu_ms(self) -> float | None:
        """Return the user and system time that the server's processes have used for others than the lab's own sessions.

        Over all restarts, ended PostgreSQL backends included. None where it cannot be known.
        """
        if self._process is None:
            return self._cpu_ms_before
        now = processes.cpu_ms(self._process.pid)
        if now is None or self._cpu_ms_before is None:
            return None
        own = sum(processes.thread_cpu_ms(thread) for thread in list(self._sessions.values()))
        # A backend that has ended is nowhere until its parent has waited for it: what was read once does not fall.
        self._cpu_ms_read = max(self._cpu_ms_read, self._cpu_ms_before + now - own)
        return self._cpu_ms_read

    # -- its life ----------------------------------------------------------------------------------------------------

    def freeze(self) -> None:
        """Stop all of the server's processes (SIGSTOP): clients' connections stay open and get no answer."""
        with self._lock:
            self._expect(State.RUNNING)
            processes.signal_all(self._running().pid, signal.SIGSTOP)
            self._state = State.FROZEN

    def thaw(self) -> None:
        """Let a frozen server go on."""
        with self._lock:
            self._expect(State.FROZEN)
            processes.signal_all(self._running().pid, signal.SIGCONT)
            self._state = State.RUNNING

    def kill(self) -> None:
        """SIGKILL the server, as a power failure would; `restart` starts it again on the same data and port."""
        with self._lock:
            self._expect(State.RUNNING)
            self._let_go()
            processes.end(self._running())
            self._process, self._state = None, State.DOWN

    def restart(self) -> None:
        """Shut the server down as an operator would (clients' connections are closed), and start it again.

        The port and the data stay; observers count on. After `kill` it starts only.
        """
        with self._lock:
            if self._state is State.RUNNING:
                self._let_go()
                process = self._running()
                process.send_signal(self._engine.graceful)
                if not processes.wait_until_ended(process, timeout_s=STOP_LIMIT_S):
                    processes.end(process)
                guardian.release_process_group(process.pid)
                self._process, self._state = None, State.DOWN
            self._expect(State.DOWN)
            for _ in range(TRIES):
                if self._launch():
                    break
            else:
                raise PortTaken(
                    f"port {self.port} was taken while the server was down", next_step="Start a new server."
                )
            self._held = self._engine.hold(self._place, self._options)
            for observer in tuple(self._observers):
                observer.after_restart()

    def stop(self) -> None:
        """End the server at once and remove its directory; again is fine."""
        with self._lock:
            for observer in tuple(self._observers):
                with contextlib.suppress(Exception):
                    observer.close()
            self._close_sessions()
            if self._process is not None:
                processes.end(self._process)
                self._process = None
            if self._state is not State.STOPPED and hasattr(self, "_place"):
                if self._keep_log is not None and self._place.log.exists():
                    shutil.copyfile(self._place.log, self._keep_log)
                guardian.remove_directory(self._place.directory)
            self._state = State.STOPPED

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _first_start(self, port: int | None) -> None:
        if port is not None and not _free(port):
            raise PortTaken(
                f"port {port} on {HOST} is in use", next_step="Choose another one, or none: then a free one is found."
            )
        for _ in range(TRIES):
            chosen = port or _free_port()
            self._place = replace(self._place, port=chosen, admin_port=_free_port(but=chosen))
            if self._launch():
                return
            if port is not None and not _free(port):
                raise PortTaken(f"port {port} on {HOST} was taken meanwhile", next_step="Choose another one, or none.")
        raise PortTaken(f"{TRIES} free ports in a row were taken meanwhile", next_step="Try again.")

    def _launch(self) -> bool:
        """Start the process and wait until it lets the superuser in. False where a port was taken."""
        place = self._place
        place.log.touch()
        said_before = place.log.stat().st_size
        command = self._engine.command(self._program, place, self._options, self._account)
        self._process = processes.spawn(
            command,
            cwd=place.data,
            log=place.log,
            account=self._account,
            environment=processes.clean_environment(place.directory),
        )
        limit = time.monotonic() + START_LIMIT_S
        while True:
            if self._process.poll() is not None or time.monotonic() > limit:
                code = self._process.poll()
                processes.end(self._process)
                self._process = None
                said = place.log.read_bytes()[said_before:].decode(errors="replace")
                if self._engine.port_taken.search(said):
                    return False
                how = f"was not ready in {START_LIMIT_S:.0f} s" if code is None else f"ended with exit code {code}"
                raise ServerDidNotStart(
                    f"{self.engine} {self._program.version} ({self._program.path}) {how}:\n{_telling_lines(said)}",
                    next_step="The lines above are the server's own; a wrong setting is named there.",
                )
            try:
                first = self._engine.admin(place)
                self._sessions = {first: self._engine.os_thread(first)}
            except ConnectionError:
                time.sleep(0.005)
                continue
            self._idle = list(self._sessions)
            self._state = State.RUNNING
            return True

    def _open_counters(self) -> Counters:
        return self._engine.counters(self._borrow(), self._place)

    def _close_counters(self, counters: Counters) -> None:
        counters.close()
        self._give_back(counters.admin)

    @contextlib.contextmanager
    def _superuser(self) -> Iterator[Admin]:
        admin = self._borrow()
        try:
            yield admin
        finally:
            self._give_back(admin)

    def _borrow(self) -> Admin:
        """Return one of the lab's own sessions, a new one where none is idle. One always is, to make room with."""
        with self._lock:
            self._expect(State.RUNNING)
            while len(self._idle) < 2:  # noqa: PLR2004 - one to give, one to keep
                self._engine.make_room(self._idle[0], self._options, sessions=len(self._sessions) + 1)
                admin = self._engine.admin(self._place)
                self._sessions[admin] = self._engine.os_thread(admin)
                self._idle.append(admin)
            return self._idle.pop()

    def _give_back(self, admin: Admin) -> None:
        with self._lock:
            if admin in self._sessions:
                self._idle.append(admin)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            raise ServerGone(f"the {self.engine} server is not running", next_step="See its log: Server.log.")
        return self._process

    def _expect(self, state: State) -> None:
        if self._state is not state:
            raise ServerGone(
                f"the {self.engine} server is {self._state.value}, and this needs it {state.value}",
                next_step="restart() starts a server that is down, thaw() lets a frozen one go on.",
            )

    def _let_go(self) -> None:
        """Before the process ends: keep what the observers counted, and end the lab's own sessions."""
        self._cpu_ms_before = self.cpu_ms()
        for observer in tuple(self._observers):
            observer.before_restart()
        self._close_sessions()

    def _close_sessions(self) -> None:
        self._let_held_go()
        for admin in self._sessions:
            with contextlib.suppress(Exception):
                admin.close()
        self._sessions, self._idle = {}, []

    def _let_held_go(self) -> None:
        for held in self._held:
            with contextlib.suppress(Exception):
                held.close()
        self._held = []

    def _url(self, user: str, password: str, port: int) -> str:
        return f"{self._engine.scheme}://{quote(user)}:{quote(password, safe='')}@{self.host}:{port}/{self.database}"


def _template(engine: Engine, program: Program, options: Options, account: Account) -> Path:
    """Return the initialised data directory for this program, from the cache or made now."""
    stat = program.path.stat()
    key = repr((program.path, stat.st_size, stat.st_mtime_ns, TEMPLATE_FORMAT, engine.template_key(program, options)))
    name = f"{program.engine}-{program.version}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"

    def build(directory: Path) -> None:
        password = secrets.token_hex(16)
        work = guardian.temporary_directory("warmline-init-")  # the account cannot enter the cache of another
        try:
            account.own(work)
            engine.build_template(program, options, work, account, password)
            shutil.copytree(work / "data", directory / "data")
        finally:
            guardian.remove_directory(work)
        (directory / "admin_password").touch(mode=0o600)
        (directory / "admin_password").write_text(password)

    return cache.get(f"data/{name}", build)


def _short_temporary_folder() -> Path:
    """Return the folder for servers' directories: a unix socket's path ends at 103 characters on some systems."""
    folder = Path(tempfile.gettempdir()).resolve()
    return folder if len(str(folder)) <= LONGEST_FOLDER else Path("/tmp")  # noqa: S108 - a private directory is made in it


def _telling_lines(said: str) -> str:
    """Return the last lines of a log that are more than notes."""
    lines = [line for line in said.splitlines() if "[Note]" not in line and "[System]" not in line]
    return "\n".join(f"    {line}" for line in lines[-8:])


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _free_port(*, but: int = 0) -> int:
    while True:
        port = random.choice(PORTS)  # noqa: S311 - a port, not a secret
        if port != but and _free(port):
            return port
