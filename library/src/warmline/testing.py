"""For tests of functions that use warmline: a clock that a test moves, a driver that needs no server, a context.

```python
from warmline import Database
from warmline.testing import Context, FakeClock, FakeDriver

clock, driver = FakeClock(), FakeDriver()
db = Database("mysql://app@db/shop", clock=clock, driver=driver)
with db.invocation(Context(3.0, clock=clock)), db.connection() as connection:
    connection.cursor().execute("SELECT 1")
driver.server_closes()                 # as an idle timeout does, while the environment is frozen
clock.freeze(3600)
with db.connection():
    assert driver.opened == 2
```

To test a function on a real database, through real freezes and kills, run it in the lab: `warmline lab run HANDLER`.
"""

from __future__ import annotations

from warmline._clock import Instant
from warmline._outcome import Failure
from warmline._policy import Polled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from warmline._clock import Clock
    from warmline._session import Session
    from warmline._url import Target


class FakeClock:
    """Three clocks that stand still until a test moves them."""

    def __init__(self) -> None:
        self._wall_s = 1_800_000_000.0
        self._monotonic_s = 1000.0
        self._boot_s = 1000.0
        self.slept_s: list[float] = []

    def read(self) -> Instant:
        """Return the time as it was set."""
        return Instant(self._wall_s, self._monotonic_s, self._boot_s)

    def sleep(self, seconds: float) -> None:
        """Let time pass, and remember that it was waited for."""
        self.slept_s.append(seconds)
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Let time pass on all clocks, as while code runs."""
        self._wall_s += seconds
        self._monotonic_s += seconds
        self._boot_s += seconds

    def freeze(self, seconds: float) -> None:
        """Let time pass on the wall and boot clocks alone, as while a virtual machine is suspended."""
        self._wall_s += seconds
        self._boot_s += seconds

    def step(self, seconds: float) -> None:
        """Correct the wall clock, either way."""
        self._wall_s += seconds


class Context:
    """A Lambda context with *seconds* left; on *clock* where one is given, else it never runs down."""

    def __init__(self, seconds: float, *, clock: Clock | None = None, request_id: str = "test") -> None:
        self.aws_request_id = request_id
        self._seconds = seconds
        self._clock = clock
        self._start_s = 0.0 if clock is None else clock.read().monotonic_s

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds that are left, never negative."""
        passed_s = 0.0 if self._clock is None else self._clock.read().monotonic_s - self._start_s
        return max(0, int((self._seconds - passed_s) * 1000))


class FakeError(Exception):
    """What the fake driver raises; its *failure* says what kind of error it stands for."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.value)
        self.failure = failure


class FakeCursor:
    """Runs statements on a fake connection. Returns the rows that the driver was told to."""

    def __init__(self, connection: FakeConnection) -> None:
        self._connection = connection

    def execute(self, statement: str, parameters: object = None) -> None:
        """Send a statement: it is remembered, and fails when the driver was told that it would."""
        self._connection.send(statement, parameters)

    def fetchall(self) -> list[tuple[object, ...]]:
        """Return the driver's rows."""
        return list(self._connection.driver.rows)

    def fetchone(self) -> tuple[object, ...] | None:
        """Return the first of the driver's rows."""
        return next(iter(self._connection.driver.rows), None)

    def close(self) -> None:
        """Do nothing."""


class FakeConnection:
    """A connection to no server, with the words that all synchronous drivers share."""

    def __init__(self, driver: FakeDriver, session: Session) -> None:
        self.driver = driver
        self.session = session
        self.open = True
        self.closed_by_server = False
        self.in_transaction = False

    def cursor(self) -> FakeCursor:
        """Return a cursor."""
        return FakeCursor(self)

    def commit(self) -> None:
        """Commit."""
        self.send("COMMIT")

    def rollback(self) -> None:
        """Roll back."""
        self.send("ROLLBACK")

    def close(self) -> None:
        """Close."""
        self.open = False

    def send(self, statement: str, parameters: object = None) -> None:
        """Run one statement as a server would: remembered, unless the connection is gone or a failure is due."""
        del parameters
        if not self.session.before(statement, in_transaction=self.in_transaction):
            self.open = False
            raise FakeError(Failure.LOST)
        driver = self.driver
        driver.sent.append(statement)
        if driver.fails and (statement.split() or [""])[0].upper() in driver.fails:
            failure = driver.fails.pop(statement.split(maxsplit=1)[0].upper())
            if failure in (Failure.LOST, Failure.IDLE_CLOSED):
                self.open = False
            if failure is Failure.CONFLICT:
                self.session.rolled_back_by_server = True
            raise FakeError(failure)
        word = (statement.split() or [""])[0].upper()
        if word in ("BEGIN", "START"):
            self.in_transaction = True
        elif word in ("COMMIT", "ROLLBACK"):
            self.in_transaction = False


class FakeDriver:
    """A driver with no server behind it: counts, remembers, and fails as a test tells it to.

    *opened* counts connections, *sent* lists statements in order, *rows* is what every query returns. *refuses* lists
    the failures of the next attempts to connect, *fails* the failure of the next statement that begins with a word.
    """

    ENGINE = "mysql"
    SPEAKS_FIRST = False

    def __init__(self) -> None:
        self.opened = 0
        self.closed = 0
        self.pings = 0
        self.sent: list[str] = []
        self.rows: list[tuple[object, ...]] = []
        self.refuses: list[Failure] = []
        self.fails: dict[str, Failure] = {}
        self.targets: list[Target] = []
        self._connections: list[FakeConnection] = []

    def server_closes(self) -> None:
        """Close all connections from the server's side, so that the socket shows it."""
        for connection in self._connections:
            connection.closed_by_server = True

    def connect(self, target: Target, session: Session, *, timeout_s: float) -> FakeConnection:
        """Make a connection, or fail as *refuses* says."""
        del timeout_s
        self.targets.append(target)
        if self.refuses:
            raise FakeError(self.refuses.pop(0))
        self.opened += 1
        connection = FakeConnection(self, session)
        self._connections.append(connection)
        session.look = lambda: Polled.CLOSED if connection.closed_by_server else Polled.QUIET
        return connection

    def fileno(self, connection: FakeConnection) -> int:
        """Return the number of no socket."""
        del connection
        return -1

    def in_transaction(self, connection: FakeConnection) -> bool:
        """Say whether a transaction is open."""
        return connection.in_transaction

    def failed(self, connection: FakeConnection) -> bool:
        """Say whether a conflict ended the transaction."""
        return connection.session.rolled_back_by_server

    def at_rest(self, connection: FakeConnection) -> bool:
        """Say whether the connection is open."""
        return connection.open

    def ping(self, connection: FakeConnection, *, timeout_s: float) -> None:
        """Count, and fail when the server closed the connection."""
        del timeout_s
        self.pings += 1
        if connection.closed_by_server or "PING" in self.fails:
            self.fails.pop("PING", None)
            raise FakeError(Failure.LOST)

    def begin(self, connection: FakeConnection, *, read_only: bool) -> None:
        """Open a transaction."""
        connection.send("START TRANSACTION READ ONLY" if read_only else "BEGIN")

    def commit(self, connection: FakeConnection) -> None:
        """Commit."""
        connection.commit()

    def rollback(self, connection: FakeConnection, *, timeout_s: float) -> None:
        """Roll back."""
        del timeout_s
        connection.rollback()

    def reset(self, connection: FakeConnection, *, timeout_s: float) -> bool:
        """Remember that the session was reset."""
        del timeout_s, connection
        self.sent.append("<reset>")
        return True

    def close(self, connection: FakeConnection) -> None:
        """Close."""
        self.closed += 1
        connection.open = False

    def classify(self, error: BaseException) -> Failure:
        """Return the failure that an error stands for."""
        return error.failure if isinstance(error, FakeError) else Failure.OTHER

    def classify_connect(self, error: BaseException) -> Failure:
        """Return the failure that an error stands for."""
        return self.classify(error)
