"""The emulated Lambda service for one function: places invocations on environments, scales out, throttles, reaps.

    async with Platform(settings, find_handler("app.py"), database=server, journal=Journal(record)) as platform:
        result = await platform.invoke({"id": 1})
        print(result.outcome, result.json(), result.handler_ms)

`invoke` returns when the runtime has asked for its next event: a caller that invokes again at once finds the
environment free, and a closed loop of N callers never makes more than N environments. Run it with `lab.loop.run`, which
uses uvloop where it is installed. Leaving the block ends every process and every connection, whatever ended the block.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from typing import TYPE_CHECKING, Any, Literal

from warmline_toolkit.errors import FailedExpectation, UsageError
from warmline_toolkit.lab.delay import DelayLine
from warmline_toolkit.lab.environment import Environment
from warmline_toolkit.lab.outcome import MAX_PAYLOAD_BYTES, InvocationResult, error_document
from warmline_toolkit.lab.process import start_process
from warmline_toolkit.lab.relay import Address, Relay
from warmline_toolkit.lab.runtimes import command_of, variables_of
from warmline_toolkit.lab.settings import database_environment
from warmline_toolkit.lab.snapstart.snapshot import Entrance, Snapshot
from warmline_toolkit.model.events import Arrived, Throttled
from warmline_toolkit.servers.guardian import remove_directory, temporary_directory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from warmline_toolkit.lab.handler import Handler
    from warmline_toolkit.lab.journal import Journal
    from warmline_toolkit.lab.process import ProcessGroup
    from warmline_toolkit.lab.settings import DatabaseAddress, PlatformSettings
    from warmline_toolkit.model.events import ReapHow

_LONG_INIT_S = 130.0
"""Init's limit with provisioned concurrency and SnapStart (or the function's timeout, where that is longer)."""


class SnapshotFailed(FailedExpectation):
    """SnapStart's Init failed, as publishing the version would on Lambda. Exit code 1."""

    code = "WL-L002"


class Platform:
    """One function on an emulated Lambda. An async context manager.

    *database* is given to the handler as the address of each environment's relay. *route* may send an environment's
    relay somewhere else than to the database (a proxy): it gets the environment's name and returns the address.
    """

    def __init__(
        self,
        settings: PlatformSettings,
        handler: Handler,
        *,
        journal: Journal,
        database: DatabaseAddress | None = None,
        route: Callable[[str], Address] | None = None,
    ) -> None:
        self.settings = settings
        self.handler = handler
        self.journal = journal
        self.database = database
        self.environments: list[Environment] = []
        """The environments that are there, in the order they were made."""
        self._route = route
        self._idle: list[Environment] = []  # the last is the most recently used
        self._in_flight = 0
        self._tokens = float(settings.scale_out_burst)
        self._tokens_at = time.monotonic()
        self._starting: dict[Environment, asyncio.Future[None]] = {}
        self._reap_timers: dict[Environment, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._gone_relays: list[Relay] = []
        self._scratch: Path | None = None
        self._snapshot: Snapshot | None = None
        self._entrance: Entrance | None = None
        self._entered = False

    # life

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._inits = asyncio.Semaphore(self.settings.init_parallelism)
        self._delays = DelayLine()
        _raise_descriptor_limit()
        self._scratch = temporary_directory("warmline-lab-", parent=self.settings.scratch)
        self._entered = True
        if self.settings.snapstart:
            try:
                await self._take_snapshot()
            except BaseException as error:
                await self.__aexit__(type(error), error, error.__traceback__)
                raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered = False
        try:
            for handle in self._reap_timers.values():
                handle.cancel()
            self._reap_timers.clear()
            for task in list(self._tasks):
                task.cancel()
            if kind is None:
                await self.reap_all("fin")
        finally:
            for environment in list(self.environments):
                environment.kill_now()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            relays = [environment.relay for environment in self.environments if environment.relay is not None]
            for relay in (*relays, *self._gone_relays):
                await relay.close()
            if self._snapshot is not None:
                self._snapshot.close()
            if self._entrance is not None:
                await self._entrance.close()
            self.environments.clear()
            self._idle.clear()
            self._delays.close()
            if self._scratch is not None:
                remove_directory(self._scratch)

    # invoking

    async def invoke(self, event: object = None, *, scheduled_s: float | None = None) -> InvocationResult:
        """Invoke the function with *event* (any JSON value, or `bytes` as they are) and return what it came to.

        Takes the most recently used idle environment, else a new one (a cold start), else answers 429 ("throttled").
        *scheduled_s* is when the caller meant to (seconds since the run began), now when it is not given. Raises
        `UsageError` for an event over 6 MB. An error of the handler is a result, not an exception.
        """
        payload = event if isinstance(event, bytes) else json.dumps(event).encode()
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise UsageError(
                f"The event has {len(payload)} bytes; Lambda takes at most {MAX_PAYLOAD_BYTES}.",
                next_step="Send a smaller event, or a reference to where the data is.",
            )
        arrived = time.monotonic()
        journal = self.journal
        invocation = journal.name("i")
        at_s = arrived - journal.started
        journal.record(
            Arrived(
                invocation=invocation,
                scheduled_s=at_s if scheduled_s is None else scheduled_s,
                **journal.stamp(at_s),
            )
        )
        if self._in_flight >= self.settings.max_concurrency:
            return self._throttle(invocation, "concurrency")
        environment = self._take_idle()
        if environment is None and self._seat() is None and not self._take_token():
            return self._throttle(invocation, "scale-out")
        self._in_flight += 1
        try:
            cold = environment is None
            if environment is None:
                environment = await self._await_environment()
            return await environment.invoke(invocation, payload, arrived=arrived, cold=cold)
        finally:
            self._in_flight -= 1

    def _throttle(self, invocation: str, reason: Literal["concurrency", "scale-out"]) -> InvocationResult:
        cap = self.settings.max_concurrency
        self.journal.record(
            Throttled(
                invocation=invocation, concurrency=self._in_flight, cap=cap, reason=reason, **self.journal.stamp()
            )
        )
        kind = "TooManyRequestsException"
        return InvocationResult(
            invocation=invocation,
            environment=None,
            outcome="throttled",
            payload=error_document(kind, "Rate Exceeded."),
            status=429,
            error_type=kind,
            error_message="Rate Exceeded.",
        )

    # placing

    def _take_idle(self) -> Environment | None:
        while self._idle:
            environment = self._idle[-1]
            if not environment.free:
                self._idle.pop()
                continue
            if environment.settings.processes_per_environment == 1:
                self._idle.pop()
            timer = self._reap_timers.pop(environment, None)
            if timer is not None:
                timer.cancel()
            return environment
        return None

    def _offer(self, environment: Environment) -> None:
        """An environment can take an invocation again: it is now the most recently used one."""
        if environment in self._idle:
            self._idle.remove(environment)
        self._idle.append(environment)
        if not environment.busy:
            timer = self._reap_timers.pop(environment, None)
            if timer is not None:
                timer.cancel()
            self._reap_timers[environment] = self._loop.call_later(
                self.settings.idle_timeout_s, self._reap_idle, environment
            )

    def _take_token(self) -> bool:
        """Whether a new environment may be made now: a bucket that refills continuously and does not pile up."""
        now = time.monotonic()
        grown = (now - self._tokens_at) * self.settings.scale_out_per_s
        self._tokens = min(self._tokens + grown, float(self.settings.scale_out_burst))
        self._tokens_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _seat(self) -> tuple[Environment, asyncio.Future[None]] | None:
        """Return an environment in its Init that will have room for one more (on Managed Instances)."""
        processes = self.settings.processes_per_environment
        if processes == 1:
            return None
        return next((entry for entry in self._starting.items() if entry[0].reserved < processes), None)

    async def _await_environment(self) -> Environment:
        seat = self._seat()
        if seat is None:
            return await self._new_environment(init_timeout_s=self.settings.init_timeout_s, reserved=1)
        environment, ready = seat
        environment.reserved += 1
        await asyncio.shield(ready)
        return environment

    async def _new_environment(
        self, *, init_timeout_s: float, init_type: str = "on-demand", reserved: int = 0
    ) -> Environment:
        """Make an environment and run its Init; *reserved* invocations are waiting for it."""

        def start(environment: Environment, on_exit: Callable[[int], None]) -> ProcessGroup:
            if self._snapshot is not None:
                return self._snapshot.restore(self._variables(environment, "snap-start"), on_exit)
            return start_process(
                command_of(self.handler, self.settings),
                cwd=self.handler.task_root,
                environment=self._variables(environment, init_type),
                on_exit=on_exit,
            )

        environment = await self._make(start, init_timeout_s=init_timeout_s, restored=self._snapshot is not None)
        environment.reserved = reserved
        ready = self._starting[environment] = self._loop.create_future()
        try:
            async with self._inits:
                await environment.initialise()
        except BaseException:
            self.environments.remove(environment)
            environment.kill_now()
            if environment.relay is not None:
                self._gone_relays.append(environment.relay)
            raise
        finally:
            del self._starting[environment]
            ready.set_result(None)
        return environment

    async def _make(
        self,
        start: Callable[[Environment, Callable[[int], None]], ProcessGroup],
        *,
        init_timeout_s: float,
        restored: bool = False,
    ) -> Environment:
        """Make an environment with its relay and its scratch folder; nothing of it runs yet."""
        settings, name = self.settings, self.journal.name("e")
        if not self._entered or self._scratch is None:
            raise RuntimeError("the platform is not running: use it as `async with Platform(…)`")
        (self._scratch / name).mkdir()
        environment = Environment(
            name,
            settings=settings,
            handler_name=self.handler.name,
            journal=self.journal,
            start_process=start,
            on_idle=self._offer_started,
            init_timeout_s=init_timeout_s,
            restored=restored,
        )
        if self.database is not None:
            target = Address(self.database.host, self.database.port) if self._route is None else self._route(name)
            environment.relay = Relay(
                target,
                engine=self.database.engine,
                observer=environment,
                delays=self._delays,
                rtt_ms=settings.rtt_ms,
                tally_of=environment.tally_of_port if settings.processes_per_environment > 1 else None,
            )
            await environment.relay.start()
        self.environments.append(environment)
        return environment

    def _variables(self, environment: Environment, init_type: str) -> dict[str, str]:
        extra: dict[str, str] = {}
        if self.database is not None and environment.relay is not None:
            port = environment.relay.port if self._entrance is None else self._entrance.port
            extra = database_environment(self.database, host="127.0.0.1", port=port)
        return variables_of(
            self.handler,
            self.settings,
            environment=environment.name,
            api_address=environment.api.address,
            scratch=self._scratch_of(environment),
            init_type=init_type,
            extra=extra,
        )

    def _scratch_of(self, environment: Environment) -> Path:
        if self._scratch is None:
            raise RuntimeError("the platform is not running: use it as `async with Platform(…)`")
        return self._scratch / environment.name

    def _offer_started(self, environment: Environment) -> None:
        # The environment that one invocation was waiting for is that invocation's: nobody else may take it first.
        if environment.reserved and self.settings.processes_per_environment == 1:
            return
        self._offer(environment)

    async def _take_snapshot(self) -> None:
        """Run Init once in an environment of its own, as publishing a version with SnapStart does, and discard that.

        Its connections end as *reap* says; its process stays to be copied. Raises `SnapshotFailed`.
        """
        if self.handler.runtime != "python" or sys.platform != "linux":
            raise UsageError(
                "The lab restores snapshots of Python handlers on Linux only.",
                next_step="Run without SnapStart here.",
            )
        snapshot = Snapshot()
        if self.database is not None:
            self._entrance = Entrance(lambda: self.environments)
            self._entrance.start()

        def start(environment: Environment, on_exit: Callable[[int], None]) -> ProcessGroup:
            snapshot.ready.add_done_callback(lambda _ready: environment.snapshot_taken())
            return snapshot.start(
                command_of(self.handler, self.settings),
                cwd=self.handler.task_root,
                environment=self._variables(environment, "snap-start"),
                on_exit=on_exit,
            )

        limit_s = max(_LONG_INIT_S, self.settings.timeout_s)
        environment = await self._make(start, init_timeout_s=limit_s)
        environment.snapshot = True
        outcome = await environment.initialise()
        if outcome != "ok":
            snapshot.close()
            raise SnapshotFailed(
                f"Init failed, so there is no snapshot to restore: {environment.init_error}",
                next_step="Make the handler run without SnapStart first, then check its before-snapshot hooks.",
            )
        environment.processes = None  # kept by the snapshot
        await self.reap(environment)
        self._snapshot = snapshot

    async def prewarm(self, count: int) -> list[Environment]:
        """Make *count* environments that are initialised and wait (provisioned concurrency); return them.

        Init's limit is the longer one, 130 s or the function's timeout. They are the next to be used.
        """
        limit_s = max(_LONG_INIT_S, self.settings.timeout_s)
        made = await asyncio.gather(
            *(self._new_environment(init_timeout_s=limit_s, init_type="provisioned-concurrency") for _ in range(count))
        )
        return list(made)

    # reaping

    def _reap_idle(self, environment: Environment) -> None:
        self._reap_timers.pop(environment, None)
        if not environment.busy:
            self._spawn(self.reap(environment, self.settings.reap))

    def _spawn(self, coroutine: Any) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def reap(self, environment: Environment, how: ReapHow | None = None) -> int:
        """Discard one environment and return how many ghosts it left; *how* is the settings' own by default."""
        timer = self._reap_timers.pop(environment, None)
        if timer is not None:
            timer.cancel()
        if environment in self._idle:
            self._idle.remove(environment)
        if environment not in self.environments:
            return 0
        self.environments.remove(environment)
        ghosts = await environment.reap(how or self.settings.reap)
        if environment.relay is not None and environment.relay.links:
            self._gone_relays.append(environment.relay)
        return ghosts

    async def reap_all(self, how: ReapHow | None = None) -> int:
        """Discard every environment, at once; return how many ghosts they left."""
        return sum(await asyncio.gather(*(self.reap(environment, how) for environment in list(self.environments))))

    # looking, and breaking things on purpose

    @property
    def ghosts(self) -> int:
        """Connections that the server still holds for environments that are gone."""
        return sum(relay.ghosts for relay in self._gone_relays)

    def release_ghosts(self) -> int:
        """Close the ghosts; return how many there were."""
        return sum(relay.release_ghosts() for relay in self._gone_relays)

    @property
    def open_connections(self) -> int:
        """Connections open through the relays of the environments that are there."""
        return sum(environment.relay.open_links for environment in self.environments if environment.relay is not None)

    @property
    def relays(self) -> list[Relay]:
        """The relays of the environments that are there."""
        return [environment.relay for environment in self.environments if environment.relay is not None]


def _raise_descriptor_limit() -> None:
    """Let this process hold the sockets of a thousand environments (about 8 each)."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource  # noqa: PLC0415 - not on every system

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
        if soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
