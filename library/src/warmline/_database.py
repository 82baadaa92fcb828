"""`Database`: the one object a function makes outside its handler."""

from __future__ import annotations

import contextvars
import os

from warmline._clock import SystemClock
from warmline._connect import Base, Connector, random_unit
from warmline._environment import init_type, invocation_from
from warmline._errors import Error, NotSent, ReadOnlyServer, SettingsError, TransactionLost
from warmline._events import Event, Events, Kind, emf_line, warn
from warmline._hooks import register
from warmline._outcome import Failure, translate
from warmline._policy import Reason, backoff_s
from warmline._pool import Pool
from warmline._retry import REPLAY_BASE_S, REPLAY_CAP_S, may_replay
from warmline._settings import Settings
from warmline._slot import State, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Any, Literal, TypeVar

    from warmline._clock import Clock
    from warmline._credentials import Provider
    from warmline._environment import Deadline, Invocation
    from warmline._settings import Strategy, Via
    from warmline._slot import Slot

    T = TypeVar("T")

_IN_USE = State.IN_USE
_RELEASE = Step.RELEASE
PREWARMS_IN_INIT = ("on-demand", "provisioned-concurrency", "lambda-managed-instances", "local")


class Common:
    """What `Database` and `AsyncDatabase` share: settings, invocations, events, statistics."""

    settings: Settings
    _connector: Base
    _pool: Any
    _is_async = False

    def __init__(  # noqa: PLR0913 - one argument a setting, all by keyword
        self,
        url: str,
        *,
        auth: Provider | str | Callable[[], str | tuple[str, str]] | None = None,
        strategy: Strategy = "keep-open",
        via: Via = "auto",
        connection_limit: int | None = None,
        wait_for_connections: bool = True,
        queue_limit: int = 0,
        acquire_timeout_s: float = 30.0,
        ping_after_s: float = 240.0,
        max_lifetime_s: float = 900.0,
        connect_timeout_s: float = 5.0,
        connect_budget_s: float = 15.0,
        close_when_crowded: bool = True,
        tls: str | None = None,
        ca_file: str | None = None,
        driver_options: Mapping[str, Any] | None = None,
        on_event: Callable[[Event], None] | None = None,
        metrics: str | None = None,
        clock: Clock | None = None,
        driver: Any = None,
    ) -> None:
        if metrics not in (None, "emf"):
            raise SettingsError(
                f"metrics is {metrics!r}", next_step='Use "emf" for CloudWatch embedded metrics, or leave it out.'
            )
        self._clock = clock or SystemClock()
        self._events = Events(on_event)
        self._metrics = metrics
        self._current: contextvars.ContextVar[Invocation | None] = contextvars.ContextVar("warmline", default=None)
        self._active: list[Invocation] = []
        self.settings = Settings(
            strategy=strategy,
            via=via,
            connection_limit=connection_limit,
            wait_for_connections=wait_for_connections,
            queue_limit=queue_limit,
            acquire_timeout_s=acquire_timeout_s,
            ping_after_s=ping_after_s,
            max_lifetime_s=max_lifetime_s,
            connect_timeout_s=connect_timeout_s,
            connect_budget_s=connect_budget_s,
            close_when_crowded=close_when_crowded,
        )
        self._make(
            url=url,
            settings=self.settings,
            auth=auth,
            tls=tls,
            ca_file=ca_file,
            application_name=os.environ.get("AWS_LAMBDA_FUNCTION_NAME"),
            driver_options=driver_options or {},
            clock=self._clock,
            events=self._events,
            is_async=self._is_async,
            driver=driver,
        )
        register(self)

    def close(self) -> None:
        """Close all idle connections. The object stays usable."""
        raise NotImplementedError

    def before_snapshot(self) -> None:
        """Close everything before SnapStart's snapshot."""
        raise NotImplementedError

    def after_fork(self) -> None:
        """In a forked child, drop everything of the parent's without touching it."""
        raise NotImplementedError

    def _make(self, **collaborators: Any) -> None:
        """Make the connector and the pool."""
        raise NotImplementedError

    def __repr__(self) -> str:
        counts = self._pool.counts()
        return f"<{type(self).__name__} {self.settings.strategy} {counts['in_use']} in use, {counts['idle']} idle>"

    def _enter(self, invocation: Invocation) -> None:
        """Make *invocation* the current one."""
        self._active.append(invocation)
        self._current.set(invocation)

    def _leave(self, invocation: Invocation) -> None:
        """End being in *invocation*; also in another context than it was entered in, as a test's fixture may be."""
        self._current.set(None)
        self._active.remove(invocation)

    def _acquire_timeout_s(self, deadline: Deadline | None) -> float:
        """Return how long to wait for a connection to become free."""
        timeout_s = self.settings.acquire_timeout_s
        return timeout_s if deadline is None else min(timeout_s, deadline.budget_s())

    def _has_time(self, pause_s: float) -> bool:
        """Say whether the invocation has time left after a pause."""
        invocation = self._invocation()
        return invocation is None or invocation.deadline is None or invocation.deadline.budget_s() > pause_s

    def _closes_at_end(self) -> Reason | None:
        """Return why idle connections are closed at the end of an invocation, if they are."""
        if self.settings.close_when_crowded and self._connector.crowded:
            self._connector.crowded = False
            return Reason.CROWDED
        return Reason.PER_REQUEST if self.settings.strategy == "per-request" else None

    def invalidate(self) -> None:
        """Retire all connections that exist now at their next use, as after a change of credential or host."""
        self._connector.epoch += 1

    def stats(self) -> dict[str, int | str]:
        """Return the strategy, connections open, idle and in use, callers waiting, and each event's count."""
        counts = self._pool.counts()
        open_now = counts["idle"] + counts["in_use"]
        events = {f"{name}s": count for name, count in self._events.counts.items()}
        return {"strategy": self.settings.strategy, "open": open_now, **counts, **events}

    def _invocation(self) -> Invocation | None:
        """Return the invocation that this code belongs to.

        A thread that a handler starts does not inherit the context; when there is only one invocation in the process,
        as on Lambda, it is that one.
        """
        invocation = self._current.get()
        if invocation is None and len(self._active) == 1:
            return self._active[0]
        return invocation

    def _ended(self, invocation: Invocation) -> None:
        """Write the invocation's metrics, when asked to."""
        if self._metrics is None:
            return
        function = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "local")
        now_ms = int(self._clock.read().wall_s * 1000)
        line = emf_line(invocation, function=function, strategy=self.settings.strategy, timestamp_ms=now_ms)
        print(line, flush=True)  # noqa: T201 - CloudWatch reads embedded metrics from standard output


class Database(Common):
    """A database as one Lambda function uses it: made once outside the handler, alive whenever it is used.

    Making it costs nothing: no socket is opened and no driver imported until the first `connection`. What a `with`
    block gets is the driver's own connection (a subclass that reports its statements), in autocommit.

    Args:
        url: `engine[+driver]://user:password@host:port/database?option=value`; see the reference for options.
        auth: Where the password comes from when the URL has none: a string, a function, or a provider.
        strategy: "keep-open" holds one connection over invocations; "per-request" closes it when the invocation ends;
            "pool" holds up to *connection_limit*, for handlers that fan out over threads.
        via: The path to the server. "auto" knows an RDS Proxy by its name and PgBouncer by its port.
        connection_limit: The pool's size, 1 or more; default 10. Only with "pool".
        wait_for_connections: Whether to wait when all are in use; if not, `PoolTimeout` at once.
        queue_limit: How many callers may wait; 0 is no limit.
        acquire_timeout_s: How long to wait at most, 30 s by default; the invocation's deadline bounds it further.
        ping_after_s: How long a connection may be idle before it is pinged, 240 s by default: NAT gateways and load
            balancers forget flows after 350 s without telling.
        max_lifetime_s: Age at which a connection is replaced, 900 s by default, up to 10 % earlier at random.
        connect_timeout_s: How long one attempt to connect may take, 5 s by default.
        connect_budget_s: How long all attempts together may take, 15 s by default; the deadline bounds it further.
        close_when_crowded: Whether to close the connection at the end of an invocation in which the server refused
            one, so that others get in.
        tls: "disable", "prefer", "require", "verify-ca" or "verify-full"; the last when a CA is given, else "prefer".
        ca_file: Path of the CA's certificate; for RDS, the region's bundle.
        driver_options: Passed on to the driver's connect as they are.
        on_event: Called with each `Event`.
        metrics: "emf" writes one CloudWatch embedded-metric line for each invocation to standard output.
    """

    _connector: Connector
    _pool: Pool

    def _make(self, **collaborators: Any) -> None:
        self._connector = Connector(**collaborators)
        self._pool = Pool(
            limit=self.settings.connection_limit,
            wait=self.settings.wait_for_connections,
            queue_limit=self.settings.queue_limit,
            clock=self._clock,
        )

    # ------------------------------------------------------------------ invocations

    def invocation(self, context: Any = None) -> _Invoked:
        """Mark an invocation: `with db.invocation(context):`.

        Its deadline, from *context*, bounds everything inside. At its end nothing is left over: what was not released
        is closed, with a warning. One inside another belongs to the outer one.
        """
        return _Invoked(self, context)

    def handler(self, function: Callable[[Any, Any], T]) -> Callable[[Any, Any], T]:
        """Mark each call of a Lambda handler as an invocation: `@db.handler`."""

        def wrapped(event: Any, context: Any) -> T:
            with self.invocation(context):
                return function(event, context)

        named_after(function, wrapped)
        return wrapped

    def _end(self, invocation: Invocation) -> None:
        for slot in list(invocation.acquired):
            warn(
                "a connection of this invocation was not released; it is closed. Its last statement was: %s",
                shown_last(slot),
            )
            if self._pool.forget(slot) and slot.state is State.IN_USE:
                self._connector.discard(slot, Reason.NOT_RELEASED, polite=False, invocation=invocation)
        reason = self._closes_at_end()
        if reason is not None:
            self._close_idle(reason, invocation)
        self._ended(invocation)

    # ------------------------------------------------------------------ acquire and release

    def connection(self) -> _Use:
        """Acquire this process's connection: `with db.connection() as c:`, in autocommit.

        Costs no round trip on a warm invocation; one (a ping) after *ping_after_s* idle; a connect when the server
        closed it meanwhile, or on the first use. A transaction that the block leaves open is rolled back, with a
        warning. Driver exceptions pass through; those that say that the connection is lost leave the block as
        `NotSent`, `OutcomeUnknown`, `TransactionLost` or `CommitUnknown`, with the driver's as their cause.

        Raises `DeadlineExceeded`, `PoolTimeout`, `QueueFull`, `TooManyConnections`, `AuthRejected`, `NotSent`.
        """
        return _Use(self, transaction=False, read_only=False)

    def transaction(self, *, read_only: bool = False) -> _Use:
        """Acquire, BEGIN, and COMMIT when the block ends well: `with db.transaction() as tx:`.

        Anything that leaves the block as an exception, also one that is no `Exception`, rolls back. Costs two round
        trips more than `connection`.
        """
        return _Use(self, transaction=True, read_only=read_only)

    def run(self, function: Callable[[Any], T], *, read_only: bool = False, attempts: int = 10) -> T:
        """Run *function* with a connection in a transaction, again from its start when the transaction was rolled back.

        Runs it again after a deadlock, a serialization failure, a connection lost before COMMIT was sent, or a server
        that turned read-only: up to *attempts* times, with a growing random pause, within the deadline. Never when
        COMMIT may have worked: that raises `CommitUnknown`, unless it is *read_only*. What *function* does outside
        the database must bear being done again.
        """
        attempt = 0
        while True:
            attempt += 1
            use = self.transaction(read_only=read_only)
            try:
                with use as connection:
                    return function(connection)
            except Exception as error:
                failure = self._connector.driver.classify(error)
                if attempt >= attempts or not may_replay(error, failure, effects=use.effects, read_only=read_only):
                    raise
                pause_s = backoff_s(attempt, base_s=REPLAY_BASE_S, cap_s=REPLAY_CAP_S, random=random_unit())
                invocation = self._invocation()
                if (
                    invocation is not None
                    and invocation.deadline is not None
                    and invocation.deadline.budget_s() <= pause_s
                ):
                    raise
                self._events.tell(
                    Kind.REPLAY, Reason.FAILED, elapsed_us=int(pause_s * 1_000_000), invocation=invocation
                )
            self._clock.sleep(pause_s)

    def prewarm(self) -> bool:
        """Connect now, in Init, so that the first invocation need not; say whether it did.

        Does nothing under SnapStart, where one snapshot becomes many environments. A server that cannot be reached, or
        refuses, does not break Init: the answer is then False, and the first use tries again.
        """
        if init_type() not in PREWARMS_IN_INIT:
            return False
        try:
            slot = self._acquire(None)
        except NotSent:
            return False
        self._release(slot, None)
        return True

    def after_fork(self) -> None:
        """In a forked child, drop everything of the parent's without touching it."""
        if self._connector.pid != os.getpid():
            self._connector.pid = os.getpid()
            self._active.clear()
            for slot in self._pool.drain() + self._pool.after_fork():
                if slot.connection is not None:
                    self._connector.discard(slot, Reason.FORKED, polite=False)

    def _acquire(self, invocation: Invocation | None) -> Slot:
        if self._connector.pid != os.getpid():
            self.after_fork()
        deadline = None if invocation is None else invocation.deadline
        slot = self._pool.take_now()
        if slot is None:
            slot = self._pool.take(self._acquire_timeout_s(deadline))
        try:
            self._connector.prepare(slot, deadline, invocation)
            if invocation is not None:
                invocation.acquired.append(slot)
        except BaseException:
            if slot.state is State.IN_USE:
                self._connector.discard(slot, Reason.FAILED, polite=False, invocation=invocation)
            self._pool.give(slot)
            raise
        return slot

    def _release(self, slot: Slot, invocation: Invocation | None, *, discard: Reason | None = None) -> None:
        if invocation is not None and slot in invocation.acquired:
            invocation.acquired.remove(slot)
        if slot.state is not _IN_USE:
            return
        deadline = None if invocation is None else invocation.deadline
        try:
            reason = discard or self._connector.settle(slot, deadline, invocation)
            if reason is None and invocation is None and self.settings.strategy == "per-request":
                reason = Reason.PER_REQUEST
        except BaseException:
            self._connector.discard(slot, Reason.FAILED, polite=False, invocation=invocation)
            self._pool.give(slot)
            raise
        if reason is None:
            slot.idle_since = self._clock.read()
            slot.step(_RELEASE)
        else:
            polite = reason in (Reason.PER_REQUEST, Reason.DIRTY, Reason.READ_ONLY)
            self._connector.discard(slot, reason, polite=polite, invocation=invocation)
        self._pool.give(slot)

    # ------------------------------------------------------------------ closing and looking

    def _close_idle(self, reason: Reason, invocation: Invocation | None = None) -> None:
        pid = os.getpid()
        for slot in self._pool.drain():
            self._connector.discard(slot, reason, polite=slot.pid == pid, invocation=invocation)

    def close(self) -> None:
        """Close all idle connections. The object stays usable: the next `connection` connects anew."""
        self._close_idle(Reason.CLOSED)

    def before_snapshot(self) -> None:
        """Close everything before SnapStart's snapshot: what is open then would be shared by all that restore it."""
        self._close_idle(Reason.BEFORE_SNAPSHOT)


def named_after(function: Any, wrapped: Any) -> None:
    """Give *wrapped* the identity of *function*, as functools.wraps does without its import."""
    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        if hasattr(function, name):
            setattr(wrapped, name, getattr(function, name))
    wrapped.__wrapped__ = function


def shown_last(slot: Slot) -> str:
    """Return the last statement of a slot's user, for a message."""
    from warmline._statements import shown  # noqa: PLC0415 - only when there is something to show

    return "none" if slot.session is None or slot.session.statement is None else shown(slot.session.statement)


class _Invoked:
    """The `with` block of one invocation."""

    __slots__ = ("_context", "_database", "_invocation")

    def __init__(self, database: Database, context: Any) -> None:
        self._database = database
        self._context = context
        self._invocation: Invocation | None = None

    def __enter__(self) -> None:
        database = self._database
        database.after_fork()
        if database._current.get() is None:  # noqa: SLF001 - one class in two parts
            self._invocation = invocation_from(self._context, clock=database._clock)  # noqa: SLF001
            database._enter(self._invocation)  # noqa: SLF001

    def __exit__(self, kind: object, error: object, trace: object) -> Literal[False]:
        if self._invocation is not None:
            self._database._leave(self._invocation)  # noqa: SLF001 - one class in two parts
            self._database._end(self._invocation)  # noqa: SLF001
        return False


class Judge:
    """One acquired connection's `with` block, without its I/O: what an exception that leaves it means."""

    __slots__ = ("_database", "_invocation", "_read_only", "_slot", "_transaction", "effects")

    def __init__(self, database: Any, *, transaction: bool, read_only: bool) -> None:
        self._database = database
        self._transaction = transaction
        self._read_only = read_only
        self._slot: Slot | None = None
        self._invocation: Invocation | None = None
        self.effects = False
        """Whether something of the block is in the database although the block failed."""

    def needs_commit(self, slot: Slot) -> bool:
        """Say whether the block left a transaction to commit; raise where the server has ended it, as that lost it."""
        driver = self._database._connector.driver  # noqa: SLF001 - one class in two parts
        session = slot.session
        assert session is not None  # noqa: S101 - the slot is in use
        if session.lost or session.not_sent:
            return True  # committing raises what losing it means
        if driver.failed(slot.connection):
            raise TransactionLost(
                "an error inside the transaction was caught, and the server has rolled all of it back",
                next_step="Let the error leave the block, or use a savepoint around what may fail.",
            )
        return not driver.at_rest(slot.connection) or bool(driver.in_transaction(slot.connection))

    def judge(self, slot: Slot, error: BaseException, *, committing: bool) -> None:
        """Raise the library's error for what leaves the block, when it has one."""
        driver = self._database._connector.driver  # noqa: SLF001 - one class in two parts
        session = slot.session
        if session is None or not isinstance(error, Exception):
            return
        failure = driver.classify(error)
        if failure in (Failure.LOST, Failure.IDLE_CLOSED):
            session.lost = True
        translated = translate(
            error, session, failure, committing=committing, commits_implicitly=driver.ENGINE == "mysql"
        )
        if translated is None or translated is error:
            return
        raise translated from error

    def discard_for(self, slot: Slot, error: Error) -> Reason | None:
        """Return why an error of the library ends the connection too, if it does."""
        if isinstance(error, ReadOnlyServer):
            return Reason.READ_ONLY
        return Reason.LOST if slot.session is not None and slot.session.lost else None

    def before_release(self, slot: Slot, error: BaseException | None) -> None:
        """Keep what `run` needs to know, and why the block ended."""
        if slot.session is not None:
            self.effects = slot.session.effects
            slot.session.left_by_exception = error is not None

    @staticmethod
    def lost_twice(error: BaseException) -> BaseException:
        """Return the error for a second connection lost on BEGIN."""
        if isinstance(error, Error) or not isinstance(error, Exception):
            return error
        return TransactionLost(
            f"the connection was lost twice as a transaction began: {error}",
            next_step="Run it again; if it lasts, look at the server: it closes new connections.",
        )


class _Use(Judge):
    """The `with` block of one acquired connection, with or without a transaction."""

    __slots__ = ()

    _database: Database

    def __enter__(self) -> Any:
        database = self._database
        self._invocation = invocation = database._invocation()  # noqa: SLF001 - one class in two parts
        self._slot = slot = database._acquire(invocation)  # noqa: SLF001
        if self._transaction:
            slot = self._begin(slot)
        return slot.connection

    def _begin(self, slot: Slot) -> Slot:
        """Open the transaction; BEGIN has no effect, so that a connection lost on it is replaced, once."""
        database = self._database
        driver = database._connector.driver  # noqa: SLF001 - one class in two parts
        try:
            driver.begin(slot.connection, read_only=self._read_only)
        except BaseException as error:
            failure = driver.classify(error)
            self._slot = None
            database._release(slot, self._invocation, discard=Reason.LOST)  # noqa: SLF001
            if failure not in (Failure.LOST, Failure.IDLE_CLOSED) or isinstance(error, Error):
                raise
        else:
            return slot
        self._slot = slot = database._acquire(self._invocation)  # noqa: SLF001
        try:
            driver.begin(slot.connection, read_only=self._read_only)
        except BaseException as error:
            self._slot = None
            database._release(slot, self._invocation, discard=Reason.LOST)  # noqa: SLF001
            raise self.lost_twice(error) from error
        return slot

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        slot = self._slot
        if slot is None:
            return False
        self._slot = None
        discard: Reason | None = None
        try:
            if error is None and self._transaction:
                self._commit(slot)
            elif error is not None:
                self.judge(slot, error, committing=False)
        except Error as translated:
            discard = self.discard_for(slot, translated)
            raise
        finally:
            self.before_release(slot, error)
            self._database._release(slot, self._invocation, discard=discard)  # noqa: SLF001 - one class in two parts
        return False

    def _commit(self, slot: Slot) -> None:
        if not self.needs_commit(slot):
            return
        try:
            self._database._connector.driver.commit(slot.connection)  # noqa: SLF001 - one class in two parts
        except BaseException as error:
            self.judge(slot, error, committing=True)
            raise
        assert slot.session is not None  # noqa: S101 - the slot is in use
        slot.session.committed()
