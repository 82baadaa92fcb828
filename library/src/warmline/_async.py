"""`AsyncDatabase`: as `Database`, for asyncio drivers, on one event loop for the life of the process."""

from __future__ import annotations

import asyncio
import functools
import os

from warmline._async_connect import AsyncConnector
from warmline._async_pool import AsyncPool
from warmline._connect import random_unit
from warmline._database import PREWARMS_IN_INIT, Common, Judge, shown_last
from warmline._environment import init_type, invocation_from
from warmline._errors import Error, NotSent
from warmline._events import Kind, warn
from warmline._outcome import Failure
from warmline._policy import Reason, backoff_s
from warmline._retry import REPLAY_BASE_S, REPLAY_CAP_S, may_replay
from warmline._slot import State, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import Any, Literal, TypeVar

    from warmline._environment import Invocation
    from warmline._slot import Slot

    T = TypeVar("T")


class AsyncDatabase(Common):
    """A database as one Lambda function uses it, for asyncio drivers: the words and settings of `Database`.

    `@db.handler` turns a coroutine function into the plain function that the Lambda runtime calls, and runs every
    invocation on one event loop that lives as long as the process. Under another loop each time, as `asyncio.run`
    makes, everything works too, but a connection is opened for each invocation; a warning says so, once.
    """

    _is_async = True
    _connector: AsyncConnector
    _pool: AsyncPool

    def _make(self, **collaborators: Any) -> None:
        self._connector = AsyncConnector(**collaborators)
        self._pool = AsyncPool(
            limit=self.settings.connection_limit,
            wait=self.settings.wait_for_connections,
            queue_limit=self.settings.queue_limit,
            clock=self._clock,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._seen_loop: asyncio.AbstractEventLoop | None = None

    # ------------------------------------------------------------------ invocations

    def invocation(self, context: Any = None) -> _Invoked:
        """Mark an invocation: `async with db.invocation(context):`; see `Database.invocation`."""
        return _Invoked(self, context)

    def handler(self, function: Callable[[Any, Any], Coroutine[Any, Any, T]]) -> Callable[[Any, Any], T]:
        """Make a Lambda handler of a coroutine function; each call is an invocation, all on one event loop."""

        async def invoked(event: Any, context: Any) -> T:
            async with self.invocation(context):
                return await function(event, context)

        @functools.wraps(function)
        def wrapped(event: Any, context: Any) -> T:
            return self.run_on_loop(invoked(event, context))

        return wrapped

    def run_on_loop(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end on this object's own event loop, as `handler` does; not from within a loop."""
        if self._loop is None or self._loop.is_closed() or self._connector.pid != os.getpid():
            self.after_fork()
            self._loop = asyncio.new_event_loop()
        return self._loop.run_until_complete(coroutine)

    async def _end(self, invocation: Invocation) -> None:
        for slot in list(invocation.acquired):
            warn(
                "a connection of this invocation was not released; it is closed. Its last statement was: %s",
                shown_last(slot),
            )
            if self._pool.forget(slot) and slot.state is State.IN_USE:
                self._connector.abandon(slot, Reason.NOT_RELEASED, invocation)
        reason = self._closes_at_end()
        if reason is not None:
            await self._close_idle(reason, invocation)
        self._ended(invocation)

    # ------------------------------------------------------------------ acquire and release

    def connection(self) -> _Use:
        """Acquire this process's connection: `async with db.connection() as c:`; see `Database.connection`."""
        return _Use(self, transaction=False, read_only=False)

    def transaction(self, *, read_only: bool = False) -> _Use:
        """Acquire, BEGIN, and COMMIT when the block ends well; see `Database.transaction`."""
        return _Use(self, transaction=True, read_only=read_only)

    async def run(self, function: Callable[[Any], Awaitable[T]], *, read_only: bool = False, attempts: int = 10) -> T:
        """Run a coroutine *function* in a transaction, again from its start when it was rolled back."""
        attempt = 0
        while True:
            attempt += 1
            use = self.transaction(read_only=read_only)
            try:
                async with use as connection:
                    return await function(connection)
            except Exception as error:
                failure = self._connector.driver.classify(error)
                if attempt >= attempts or not may_replay(error, failure, effects=use.effects, read_only=read_only):
                    raise
                pause_s = backoff_s(attempt, base_s=REPLAY_BASE_S, cap_s=REPLAY_CAP_S, random=random_unit())
                if not self._has_time(pause_s):
                    raise
                self._events.tell(
                    Kind.REPLAY, Reason.FAILED, elapsed_us=int(pause_s * 1_000_000), invocation=self._invocation()
                )
            await asyncio.sleep(pause_s)

    async def prewarm(self) -> bool:
        """Connect now, in Init: `db.run_on_loop(db.prewarm())`; see `Database.prewarm`."""
        if init_type() not in PREWARMS_IN_INIT:
            return False
        try:
            slot = await self._acquire(None)
        except NotSent:
            return False
        await self._release(slot, None)
        return True

    def after_fork(self) -> None:
        """In a forked child, drop everything of the parent's without touching it."""
        if self._connector.pid != os.getpid():
            self._connector.pid = os.getpid()
            self._active.clear()
            self._loop = None
            for slot in self._pool.drain() + self._pool.after_fork():
                if slot.connection is not None:
                    self._connector.abandon(slot, Reason.FORKED)

    async def _acquire(self, invocation: Invocation | None) -> Slot:
        if self._connector.pid != os.getpid():
            self.after_fork()
        loop = asyncio.get_running_loop()
        if loop is not self._seen_loop:
            # what tasks of a loop that is gone still held can never be given back
            if self._seen_loop is not None and self._seen_loop.is_closed():
                for lost in self._pool.after_fork():
                    if lost.state is State.IN_USE:
                        self._connector.abandon(lost, Reason.OTHER_LOOP)
            self._seen_loop = loop
        deadline = None if invocation is None else invocation.deadline
        slot = self._pool.take_now()
        if slot is None:
            slot = await self._pool.take(self._acquire_timeout_s(deadline))
        try:
            await self._connector.prepare(slot, deadline, invocation)
            if invocation is not None:
                invocation.acquired.append(slot)
        except BaseException:
            if slot.state is State.IN_USE:
                self._connector.abandon(slot, Reason.FAILED, invocation)
            self._pool.give(slot)
            raise
        return slot

    async def _release(self, slot: Slot, invocation: Invocation | None, *, discard: Reason | None = None) -> None:
        if invocation is not None and slot in invocation.acquired:
            invocation.acquired.remove(slot)
        if slot.state is not State.IN_USE:
            return
        deadline = None if invocation is None else invocation.deadline
        try:
            reason = discard or await self._connector.settle(slot, deadline, invocation)
            if reason is None and invocation is None and self.settings.strategy == "per-request":
                reason = Reason.PER_REQUEST
            if reason is None:
                slot.idle_since = self._clock.read()
                slot.step(Step.RELEASE)
            else:
                polite = reason in (Reason.PER_REQUEST, Reason.DIRTY, Reason.READ_ONLY)
                await self._connector.discard(slot, reason, polite=polite, invocation=invocation)
        except BaseException:
            if slot.state is State.IN_USE:
                self._connector.abandon(slot, Reason.FAILED, invocation)
            raise
        finally:
            self._pool.give(slot)

    # ------------------------------------------------------------------ closing

    async def _close_idle(self, reason: Reason, invocation: Invocation | None = None) -> None:
        pid = os.getpid()
        loop = asyncio.get_running_loop()
        for slot in self._pool.drain():
            mine = slot.pid == pid and slot.loop is loop
            await self._connector.discard(slot, reason, polite=mine, invocation=invocation)

    async def aclose(self) -> None:
        """Close all idle connections. The object stays usable."""
        await self._close_idle(Reason.CLOSED)

    def close(self) -> None:
        """Drop all idle connections without waiting: for signal handlers, snapshots and code without an event loop."""
        for slot in self._pool.drain():
            self._connector.abandon(slot, Reason.CLOSED)
        if self._loop is not None and not self._loop.is_running():
            self._loop.close()
            self._loop = None

    def before_snapshot(self) -> None:
        """Close everything before SnapStart's snapshot."""
        self.close()


class _Invoked:
    """The `async with` block of one invocation."""

    __slots__ = ("_context", "_database", "_invocation")

    def __init__(self, database: AsyncDatabase, context: Any) -> None:
        self._database = database
        self._context = context
        self._invocation: Invocation | None = None

    async def __aenter__(self) -> None:
        database = self._database
        database.after_fork()
        if database._current.get() is None:  # noqa: SLF001 - one class in two parts
            self._invocation = invocation_from(self._context, clock=database._clock)  # noqa: SLF001
            database._enter(self._invocation)  # noqa: SLF001

    async def __aexit__(self, kind: object, error: object, trace: object) -> Literal[False]:
        if self._invocation is not None:
            self._database._leave(self._invocation)  # noqa: SLF001 - one class in two parts
            await self._database._end(self._invocation)  # noqa: SLF001
        return False


class _Use(Judge):
    """The `async with` block of one acquired connection, with or without a transaction."""

    __slots__ = ()

    _database: AsyncDatabase

    async def __aenter__(self) -> Any:
        database = self._database
        self._invocation = invocation = database._invocation()  # noqa: SLF001 - one class in two parts
        self._slot = slot = await database._acquire(invocation)  # noqa: SLF001
        if self._transaction:
            slot = await self._begin(slot)
        return slot.connection

    async def _begin(self, slot: Slot) -> Slot:
        """Open the transaction; BEGIN has no effect, so that a connection lost on it is replaced, once."""
        database = self._database
        driver = database._connector.driver  # noqa: SLF001 - one class in two parts
        try:
            await driver.begin(slot.connection, read_only=self._read_only)
        except BaseException as error:
            failure = driver.classify(error)
            self._slot = None
            await database._release(slot, self._invocation, discard=Reason.LOST)  # noqa: SLF001
            if failure not in (Failure.LOST, Failure.IDLE_CLOSED) or isinstance(error, Error):
                raise
        else:
            return slot
        self._slot = slot = await database._acquire(self._invocation)  # noqa: SLF001
        try:
            await driver.begin(slot.connection, read_only=self._read_only)
        except BaseException as error:
            self._slot = None
            await database._release(slot, self._invocation, discard=Reason.LOST)  # noqa: SLF001
            raise self.lost_twice(error) from error
        return slot

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> Literal[False]:
        slot = self._slot
        if slot is None:
            return False
        self._slot = None
        discard: Reason | None = None
        try:
            if error is None and self._transaction:
                await self._commit(slot)
            elif error is not None:
                self.judge(slot, error, committing=False)
        except Error as translated:
            discard = self.discard_for(slot, translated)
            raise
        finally:
            self.before_release(slot, error)
            await self._database._release(slot, self._invocation, discard=discard)  # noqa: SLF001 - one class in two parts
        return False

    async def _commit(self, slot: Slot) -> None:
        if not self.needs_commit(slot):
            return
        try:
            await self._database._connector.driver.commit(slot.connection)  # noqa: SLF001 - one class in two parts
        except BaseException as error:
            self.judge(slot, error, committing=True)
            raise
        assert slot.session is not None  # noqa: S101 - the slot is in use
        slot.session.committed()
