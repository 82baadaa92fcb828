"""One file a driver, imported on first use: connect, socket, ping, transaction state, close, what errors mean."""

from __future__ import annotations

from warmline._errors import DriverMissing, SettingsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from warmline._outcome import Failure
    from warmline._session import Session
    from warmline._url import Target

    class Driver(Protocol):
        """What a driver file for synchronous code provides. All functions take the driver's own connection."""

        ENGINE: str
        SPEAKS_FIRST: bool
        """True where the server may send without being asked (PostgreSQL notifications)."""

        def connect(self, target: Target, session: Session, *, timeout_s: float) -> Any:
            """Open a connection in autocommit that reports to *session*; no step waits longer than *timeout_s*."""
            ...

        def fileno(self, connection: Any) -> int:
            """Return the socket's number; -1 when it is closed, or the driver does not show it."""
            ...

        def in_transaction(self, connection: Any) -> bool:
            """Say, without a round trip, whether a transaction may be open."""
            ...

        def failed(self, connection: Any) -> bool:
            """Say whether the server has rolled the open transaction back, so that COMMIT would keep nothing."""
            ...

        def at_rest(self, connection: Any) -> bool:
            """Say, without a round trip, whether the connection is open and no result is half read."""
            ...

        def ping(self, connection: Any, *, timeout_s: float) -> None:
            """Spend one round trip; raise when it takes longer than *timeout_s*."""
            ...

        def begin(self, connection: Any, *, read_only: bool) -> None:
            """Open a transaction."""
            ...

        def commit(self, connection: Any) -> None:
            """Commit; the caller's deadline applies."""
            ...

        def rollback(self, connection: Any, *, timeout_s: float) -> None:
            """Roll back, within *timeout_s*."""
            ...

        def reset(self, connection: Any, *, timeout_s: float) -> bool:
            """Bring the session back to how it was after connecting; say False where this driver cannot."""
            ...

        def close(self, connection: Any) -> None:
            """Say goodbye to the server and close. Never raises."""
            ...

        def classify(self, error: BaseException) -> Failure:
            """Say what a driver's exception means."""
            ...

        def classify_connect(self, error: BaseException) -> Failure:
            """Say what an exception from `connect` means."""
            ...


class Known:
    """A driver that there is a file for: what to import to see whether it is installed, and how to install it."""

    __slots__ = ("engine", "install", "is_async", "module", "name", "package")

    def __init__(  # noqa: PLR0913 - a row of the table below
        self, name: str, *, engine: str, package: str, module: str, install: str, is_async: bool = False
    ) -> None:
        self.name = name
        self.engine = engine
        self.package = package
        self.module = module
        self.install = install
        self.is_async = is_async


KNOWN = (
    Known("pymysql", engine="mysql", package="pymysql", module="pymysql", install="pymysql"),
    Known("mysqlclient", engine="mysql", package="MySQLdb", module="mysqlclient", install="mysqlclient"),
    Known(
        "mysqlconnector",
        engine="mysql",
        package="mysql.connector",
        module="mysqlconnector",
        install="mysql-connector-python",
    ),
    Known("psycopg", engine="postgres", package="psycopg", module="psycopg", install='"psycopg[binary]"'),
    Known("asyncmy", engine="mysql", package="asyncmy", module="asyncmy", install="asyncmy", is_async=True),
    Known("aiomysql", engine="mysql", package="aiomysql", module="aiomysql", install="aiomysql", is_async=True),
    Known(
        "psycopg",
        engine="postgres",
        package="psycopg",
        module="psycopg_async",
        install='"psycopg[binary]"',
        is_async=True,
    ),
    Known("asyncpg", engine="postgres", package="asyncpg", module="asyncpg", install="asyncpg", is_async=True),
)
"""In order of preference, for a URL that names no driver."""

_OTHER_NAMES = {"mysqldb": "mysqlclient", "psycopg_async": "psycopg", "psycopg3": "psycopg"}


def choose(engine: str, name: str | None, *, is_async: bool) -> Known:
    """Return the driver that *name* says, or the first installed one for *engine*.

    Looks for packages without importing one. Raises `DriverMissing` with the install line, `SettingsError` for a name
    that there is no file for.
    """
    from importlib.util import find_spec  # noqa: PLC0415 - kept out of the import of the library

    fitting = [known for known in KNOWN if known.engine == engine and known.is_async == is_async]
    if name is not None:
        wanted = _OTHER_NAMES.get(name, name)
        fitting = [known for known in fitting if known.name == wanted]
        if not fitting:
            usable = ", ".join(known.name for known in KNOWN if known.engine == engine and known.is_async == is_async)
            kind = "AsyncDatabase" if is_async else "Database"
            raise SettingsError(f"{kind} has no driver {name!r} for {engine}", next_step=f"Use one of {usable}.")
    for known in fitting:
        try:
            if find_spec(known.package) is not None:
                return known
        except ModuleNotFoundError:  # noqa: PERF203 - the parent of a dotted package; eight rows
            continue
    names = " or ".join(known.name for known in fitting)
    raise DriverMissing(f"{names} is not installed", next_step=f"Install it: pip install {fitting[0].install}.")


def load(known: Known) -> Any:
    """Import the driver's file, and with it the driver."""
    from importlib import import_module  # noqa: PLC0415 - kept out of the import of the library

    return import_module(f"warmline.drivers.{known.module}")
