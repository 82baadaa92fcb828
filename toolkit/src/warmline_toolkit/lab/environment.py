"""One execution environment: its processes, its Runtime API, its relay, and the states Lambda takes it through.

    STARTING → IDLE ⇄ FREEZING → FROZEN          nothing to do
                 ⇅                  ↓ thaw
               BUSY ← ← ← ← ← ← ← ← ┘             one invocation (several on Managed Instances)
                 ↓ timeout, crash
               RESET → (next invocation: Init again)
    any → GONE                                    reaped

An invocation begins when its event is handed to the runtime and ends when the runtime asks for the next one; its
response is known before that. The deadline covers all of it. Sources: docs/explanation/how-the-lab-emulates-lambda.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from warmline_toolkit.lab import outcome as outcomes
from warmline_toolkit.lab.outcome import InvocationResult, database_error_code, error_document, read_error, status_of
from warmline_toolkit.lab.owner import children_of, owning_process
from warmline_toolkit.lab.relay import Tally
from warmline_toolkit.lab.runtime_api import RuntimeApi, Worker
from warmline_toolkit.model.events import (
    ConnectionClosed,
    ConnectionOpened,
    Frozen,
    Initialised,
    Invoked,
    Reaped,
    Reset,
    Thawed,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from warmline_toolkit.lab.journal import Journal
    from warmline_toolkit.lab.process import ProcessGroup
    from warmline_toolkit.lab.relay import EndedBy, Link, Relay
    from warmline_toolkit.lab.settings import PlatformSettings
    from warmline_toolkit.model.events import Outcome, ReapHow

_LAST_CALLS_S = 0.05
"""How long the calls of a process that has exited may still be in its sockets."""
TERMINATE_S = 0.5
"""What Lambda gives a runtime between SIGTERM and SIGKILL where an internal extension is registered."""


class State(enum.Enum):
    """An environment's state; `Environment._move` is the only place that changes it."""

    STARTING = "starting"
    IDLE = "idle"
    FREEZING = "freezing"
    FROZEN = "frozen"
    BUSY = "busy"
    RESET = "reset"
    GONE = "gone"


_MOVES = {
    State.STARTING: {State.IDLE, State.RESET, State.GONE},
    State.IDLE: {State.BUSY, State.FREEZING, State.RESET, State.GONE},
    State.FREEZING: {State.FROZEN, State.RESET, State.GONE},
    State.FROZEN: {State.BUSY, State.IDLE, State.RESET, State.GONE},
    State.BUSY: {State.IDLE, State.RESET, State.GONE},
    State.RESET: {State.STARTING, State.GONE},
    State.GONE: set[State](),
}


@dataclass
class _Init:
    """An Init under way or done: what the invocation that redoes it must know."""

    started: float
    done: asyncio.Future[None]
    outcome: Outcome = "ok"
    error_type: str | None = None
    error_message: str | None = None
    payload: bytes = b""
    reported: bool = False


@dataclass
class Running:
    """One invocation in an environment."""

    invocation: str
    request_id: str
    arrived: float
    cold: bool
    delivered: float
    ended: asyncio.Future[None]
    deadline: asyncio.TimerHandle | None = None
    thawed: bool = False
    answered: float = 0.0
    outcome: Outcome | None = None
    payload: bytes = b""
    error_type: str | None = None
    error_message: str | None = None
    opened: int = 0
    round_trips: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    logs: list[str] = field(default_factory=list)
    worker: Worker | None = None
    tally: Tally | None = None


class Environment:
    """One execution environment. Made and owned by the platform; its methods are the platform's verbs.

    *start_process* starts the runtime's processes: given the Runtime API's address and what to call at their exit.
    """

    def __init__(  # noqa: PLR0913 - the platform hands over what it decided, each by name
        self,
        name: str,
        *,
        settings: PlatformSettings,
        handler_name: str,
        journal: Journal,
        start_process: Callable[[Environment, Callable[[int], None]], ProcessGroup],
        on_idle: Callable[[Environment], None],
        init_timeout_s: float,
        restored: bool = False,
    ) -> None:
        self.name = name
        self.settings = settings
        self.journal = journal
        self.relay: Relay | None = None
        self.state = State.STARTING
        self.api = RuntimeApi(self, function_name=settings.function_name, handler_name=handler_name)
        self.processes: ProcessGroup | None = None
        self.idle_since = 0.0
        self.invocations = 0
        self.snapshot = False
        """Whether it is the one whose Init makes the snapshot: it takes no invocation."""
        self.reserved = 0
        """Invocations that wait for its Init (several on Managed Instances)."""
        self._start_process = start_process
        self._on_idle = on_idle
        self._init_timeout_s = init_timeout_s
        self._restored = restored
        self._init: _Init | None = None
        self._running: dict[str, Running] = {}
        self._tallies: dict[int, Tally] = {}
        self._frozen_at = 0.0
        self._stopped: asyncio.Future[None] | None = None
        self._gone: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()

    def __repr__(self) -> str:
        pid = None if self.processes is None else self.processes.pid
        return f"<Environment {self.name} {self.state.value} pid={pid} invocations={self.invocations}>"

    def _move(self, to: State) -> None:
        if to not in _MOVES[self.state]:
            raise AssertionError(f"{self.name} cannot go from {self.state.value} to {to.value}")
        self.state = to

    @property
    def busy(self) -> int:
        """Invocations in it now."""
        return len(self._running)

    @property
    def free(self) -> bool:
        """Whether it can take one more invocation now."""
        if self.state is State.RESET:
            return True
        if self.state in (State.GONE, State.STARTING):
            return False
        if self.settings.processes_per_environment > 1:
            return len(self.api.waiting) > self.reserved
        return not self._running

    # Init

    async def initialise(self) -> Outcome:
        """Start the processes and wait until the runtime asks for its first event, at most Init's limit.

        An overrun or an error leaves the environment RESET: Lambda redoes Init inside the first invocation.
        """
        await self.api.start()
        return await self._run_init(self._init_timeout_s)

    @property
    def init_error(self) -> str:
        """What its last Init failed with."""
        init = self._init
        return "" if init is None else f"{init.error_type}: {init.error_message}"

    async def _run_init(self, limit_s: float) -> Outcome:
        self._init = init = _Init(started=time.monotonic(), done=self._loop.create_future())
        try:
            self.processes = self._start_process(self, self._exited)
        except OSError as error:
            init.outcome, init.error_type, init.error_message = "crash", "Runtime.InvalidEntrypoint", str(error)
        else:
            try:
                await asyncio.wait_for(asyncio.shield(init.done), limit_s)
            except asyncio.TimeoutError:
                init.outcome = "timeout"
                init.error_type = "Sandbox.Timedout"
                init.error_message = f"Init did not finish within {limit_s:.2f} seconds"
        duration_ms = (time.monotonic() - init.started) * 1000
        if self.state is State.GONE:
            return init.outcome
        if init.outcome == "ok":
            self._move(State.IDLE)
        self.journal.record(
            Initialised(
                environment=self.name,
                duration_ms=duration_ms,
                outcome=init.outcome,
                error_type=init.error_type,
                error_message=init.error_message,
                restored=self._restored,
                **self.journal.stamp(),
            )
        )
        if init.outcome == "ok" and not self.snapshot:
            self._settle()
        elif init.outcome != "ok":
            await self._reset("init")
        return init.outcome

    def init_failed(self, payload: bytes, error_type: str | None) -> None:
        """Keep what the runtime reported; its exit follows."""
        init = self._init
        if init is None or init.done.done():
            return
        kind, message = read_error(payload)
        init.outcome, init.error_type, init.error_message = "error", kind or error_type, message
        init.payload, init.reported = payload, True
        if self.settings.processes_per_environment > 1:
            init.done.set_result(None)  # its other workers may live on, its parent waits for them: the platform ends it

    # the runtime's calls

    def runtime_polled(self, worker: Worker) -> None:
        """Init is over, or an invocation is, or it is a further worker of a Managed Instance."""
        init = self._init
        if init is not None and not init.done.done():
            if len(self.api.waiting) >= self.settings.processes_per_environment:
                init.done.set_result(None)
            return
        for running in list(self._running.values()):
            if running.worker is worker and running.outcome is not None:
                self._end(running)
                return
            if running.outcome is not None and self.settings.processes_per_environment == 1:
                self._end(running)
                return

    def runtime_responded(self, request_id: str, payload: bytes) -> None:
        """Note the response and its time."""
        self._answer(request_id, "ok", payload, None, None)

    def runtime_response_too_large(self, request_id: str, size: int) -> None:
        """Note the error that the caller gets instead; the official runtimes then exit."""
        del size
        message = f"Response payload size exceeded maximum allowed payload size ({outcomes.MAX_PAYLOAD_BYTES} bytes)."
        kind = "Function.ResponseSizeTooLarge"
        self._answer(request_id, "error", error_document(kind, message), kind, message)

    def runtime_failed(self, request_id: str, payload: bytes, error_type: str | None) -> None:
        """Note the handler's error."""
        kind, message = read_error(payload)
        self._answer(request_id, "error", payload, kind or error_type, message)

    def restore_polled(self, worker: Worker) -> None:
        """Answer at once: a copy of the snapshot calls this only when it is restored."""
        worker.answer(200)

    def snapshot_taken(self) -> None:
        """Its process waits for orders to be copied: that is the end of its Init, and it takes no invocation."""
        if self._init is not None and not self._init.done.done():
            self._init.done.set_result(None)

    def restore_failed(self, payload: bytes, error_type: str | None) -> None:
        """A failed after-restore hook fails the Init."""
        self.init_failed(payload, error_type)

    def extension_polled(self, name: str) -> None:
        """An extension is waiting: nothing to send before the next invocation."""
        del name

    def worker_lost(self, worker: Worker, request_ids: list[str]) -> None:
        """On Managed Instances a lost connection is a lost worker: the others go on."""
        del worker
        if self.settings.processes_per_environment == 1:
            return
        for request_id in request_ids:
            self.api.current.pop(request_id, None)
            running = self._running.get(request_id)
            if running is not None:
                self._crashed(running, "Runtime exited without providing a reason")
                self._end(running)

    def _answer(
        self, request_id: str, outcome: Outcome, payload: bytes, error_type: str | None, message: str | None
    ) -> None:
        running = self._running.get(request_id)
        if running is None or running.outcome is not None:
            return
        running.answered = time.monotonic()
        running.outcome, running.payload = outcome, payload
        running.error_type, running.error_message = error_type, message
        if self.settings.processes_per_environment > 1:
            return  # the worker's next poll ends it
        if self.processes is not None:
            self.processes.drain()

    # an invocation

    async def invoke(self, invocation: str, event: bytes, *, arrived: float, cold: bool) -> InvocationResult:
        """Run one invocation to its end and return what it came to.

        Redoes a failed or overrun Init first, under the function's timeout, as Lambda does.
        """
        started = time.monotonic()
        limit_s = self.settings.timeout_s
        if cold:
            self.reserved = max(self.reserved - 1, 0)
        if self.state is State.RESET:
            self._move(State.STARTING)
            await self._run_init(limit_s)
            limit_s -= time.monotonic() - started
        if self.state is State.FREEZING and self._stopped is not None:
            await asyncio.shield(self._stopped)
        running = Running(
            invocation=invocation,
            request_id=str(uuid.uuid4()),
            arrived=arrived,
            cold=cold,
            delivered=time.monotonic(),
            ended=self._loop.create_future(),
        )
        if not self._deliver(running, event, limit_s):
            self._init_was_fatal(running)
        try:
            await running.ended
        finally:
            if running.deadline is not None:
                running.deadline.cancel()
        self.invocations += 1
        return self._report(running)

    def _deliver(self, running: Running, event: bytes, limit_s: float) -> bool:
        if self.state not in (State.IDLE, State.FROZEN, State.BUSY) or not self.api.waiting:
            return False
        processes = self.processes
        self._running[running.request_id] = running
        was_frozen = self.state is State.FROZEN
        if self.state is not State.BUSY:
            self._move(State.BUSY)
        worker = self.api.waiting.popleft()
        running.worker = worker
        if self.relay is not None:
            running.tally = tally = self._tally_of_worker(worker) or self.relay.tally
            running.opened, running.round_trips = tally.opened, tally.round_trips
            running.bytes_sent, running.bytes_received = tally.bytes_sent, tally.bytes_received
        deadline_ms = int((time.time() + limit_s) * 1000)
        headers = (
            f"Lambda-Runtime-Aws-Request-Id: {running.request_id}\r\n"
            f"Lambda-Runtime-Deadline-Ms: {deadline_ms}\r\n"
            f"Lambda-Runtime-Invoked-Function-Arn: {self.settings.arn}\r\n"
            f"Lambda-Runtime-Trace-Id: {_trace_id(running.request_id)}\r\n"
        ).encode()
        running.delivered = time.monotonic()
        worker.deliver(running.request_id, headers, event)
        if was_frozen and processes is not None:
            processes.resume()
            running.thawed = True
        if self.settings.processes_per_environment == 1:
            # Managed Instances tell the deadline and do not enforce it.
            running.deadline = self._loop.call_later(max(limit_s, 0), self._timed_out, running)
        if self.api.extensions:
            self.api.tell_extensions(
                {
                    "eventType": "INVOKE",
                    "deadlineMs": deadline_ms,
                    "requestId": running.request_id,
                    "invokedFunctionArn": self.settings.arn,
                }
            )
        if running.thawed:
            self.journal.record(
                Thawed(environment=self.name, frozen_s=running.delivered - self._frozen_at, **self.journal.stamp())
            )
        return True

    def _init_was_fatal(self, running: Running) -> None:
        """End an invocation whose Init failed again: its error is the invocation's."""
        init = self._init
        running.outcome = "crash" if init is None else init.outcome
        running.answered = time.monotonic()
        if init is not None and init.outcome == "timeout":
            self._say_timeout(running)
        elif init is not None:
            running.error_type, running.error_message = init.error_type, init.error_message
            running.payload = init.payload or error_document(init.error_type or "", init.error_message or "")
        if not running.ended.done():
            running.ended.set_result(None)

    def _end(self, running: Running) -> None:
        """The runtime asked for the next event: the invocation is over, and its environment may be frozen."""
        self._close_books(running)
        if not self._running and self.state is State.BUSY:
            self._move(State.IDLE)
            self._settle()
        elif self.state is State.BUSY:
            self._on_idle(self)

    def _close_books(self, running: Running) -> None:
        self._running.pop(running.request_id, None)
        self.api.current.pop(running.request_id, None)
        tally = running.tally
        if tally is not None:
            running.opened = tally.opened - running.opened
            running.round_trips = tally.round_trips - running.round_trips
            running.bytes_sent = tally.bytes_sent - running.bytes_sent
            running.bytes_received = tally.bytes_received - running.bytes_received
        if self.processes is not None:
            self.processes.drain()
            running.logs = self.processes.output.take()
        if not running.ended.done():
            running.ended.set_result(None)

    def _report(self, running: Running) -> InvocationResult:
        handler_ms = (running.answered - running.delivered) * 1000
        wait_ms = (running.delivered - running.arrived) * 1000
        outcome = running.outcome or "crash"
        status = status_of(running.payload) if outcome == "ok" else None
        if outcome != "ok":
            code = database_error_code(running.error_type, running.error_message)
        elif status is not None and status >= 500:  # noqa: PLR2004 - HTTP's own number
            code = database_error_code(None, running.payload[:4000].decode(errors="replace"))
        else:
            code = None
        journal = self.journal
        journal.record(
            Invoked(
                invocation=running.invocation,
                environment=self.name,
                cold=running.cold,
                thawed=running.thawed,
                wait_ms=wait_ms,
                handler_ms=handler_ms,
                outcome=outcome,
                status=status,
                error_type=running.error_type,
                error_message=running.error_message,
                error_code=code,
                connections_opened=running.opened,
                round_trips=running.round_trips,
                bytes_sent=running.bytes_sent,
                bytes_received=running.bytes_received,
                logs=running.logs,
                **journal.stamp(running.answered - journal.started),
            )
        )
        return InvocationResult(
            invocation=running.invocation,
            environment=self.name,
            outcome=outcome,
            payload=running.payload,
            cold=running.cold,
            wait_ms=wait_ms,
            handler_ms=handler_ms,
            status=status,
            error_type=running.error_type,
            error_message=running.error_message,
            error_code=code,
            connections_opened=running.opened,
            round_trips=running.round_trips,
            logs=tuple(running.logs),
        )

    # freeze and thaw

    def _settle(self) -> None:
        """The runtime waits: note the time, freeze where this platform does, and offer the environment."""
        self.idle_since = time.monotonic()
        if self.settings.freezes:
            self.freeze()
        self._on_idle(self)

    def freeze(self) -> None:
        """Stop the processes; `Frozen` is recorded when they have stopped."""
        if self.state is not State.IDLE or self.processes is None:
            return
        self._move(State.FREEZING)
        self._stopped = self._loop.create_future()
        self.processes.stop(self._is_stopped)

    def _is_stopped(self) -> None:
        if self.state is not State.FREEZING or self._stopped is None:
            return
        self._move(State.FROZEN)
        self._frozen_at = time.monotonic()
        self._stopped.set_result(None)
        self.journal.record(Frozen(environment=self.name, **self.journal.stamp()))

    async def thaw(self) -> None:
        """Continue the processes without an invocation; they stay thawed until the next one ends."""
        if self.state is State.FREEZING and self._stopped is not None:
            await asyncio.shield(self._stopped)
        if self.state is State.FROZEN and self.processes is not None:
            self.processes.resume()
            self._move(State.IDLE)
            frozen_s = time.monotonic() - self._frozen_at
            self.journal.record(Thawed(environment=self.name, frozen_s=frozen_s, **self.journal.stamp()))

    # the ends

    def _say_timeout(self, running: Running) -> None:
        running.outcome = "timeout"
        running.error_type = "Sandbox.Timedout"
        running.error_message = (
            f"RequestId: {running.request_id} Error: Task timed out after {self.settings.timeout_s:.2f} seconds"
        )
        running.payload = error_document(running.error_type, running.error_message)

    def _timed_out(self, running: Running) -> None:
        if running.ended.done():
            return
        if running.outcome is None:
            running.answered = time.monotonic()
            self._say_timeout(running)
        task = self._loop.create_task(self._reset("timeout", running))
        task.add_done_callback(_raise_error)

    def _crashed(self, running: Running, why: str) -> None:
        if running.outcome is None:
            running.answered = time.monotonic()
            running.outcome = "crash"
            running.error_type = "Runtime.ExitError"
            running.error_message = f"RequestId: {running.request_id} Error: {why}"
            running.payload = error_document(running.error_type, running.error_message)

    def _exited(self, status: int) -> None:
        """The runtime's process is gone: act when its last calls have been read from its sockets."""
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)
            return
        if self.state in (State.GONE, State.RESET):
            return
        self._loop.call_later(_LAST_CALLS_S if self.api.workers else 0, self._act_on_exit, status)

    def _act_on_exit(self, status: int) -> None:
        if self.state in (State.GONE, State.RESET):
            return
        why = f"Runtime exited with error: {f'signal: {-status}' if status < 0 else f'exit status {status}'}"
        if status == 0:
            why = "Runtime exited without providing a reason"
        init = self._init
        if init is not None and not init.done.done():
            if not init.reported:
                init.outcome, init.error_type, init.error_message = "crash", "Runtime.ExitError", why
                if self.processes is not None and self.processes.output.lines:
                    init.error_message = f"{why}: {self.processes.output.lines[-1]}"
            init.done.set_result(None)
            return
        for running in list(self._running.values()):
            self._crashed(running, why)
        task = self._loop.create_task(self._reset("crash", *self._running.values()))
        task.add_done_callback(_raise_error)

    async def _reset(self, cause: Literal["timeout", "crash", "init"], *ended: Running) -> None:
        """Kill what runs, end the invocations it had, and wait for the next one to run Init again."""
        if self.state in (State.RESET, State.GONE):
            return
        self._move(State.RESET)
        if self._stopped is not None and not self._stopped.done():
            self._stopped.set_result(None)
        await self._kill()
        for running in ended:
            self._close_books(running)
        self.processes = None
        self.journal.record(Reset(environment=self.name, cause=cause, **self.journal.stamp()))
        self.idle_since = time.monotonic()
        if cause != "init":
            self._on_idle(self)

    async def _kill(self) -> None:
        """Kill the processes, wait until they are gone, and forget their connections to the Runtime API."""
        processes = self.processes
        if processes is not None and processes.exited is None:
            self._gone = self._loop.create_future()
            if self.relay is not None:
                self.relay.killing = True
            processes.kill()
            await self._gone
            self._gone = None
        self.api.drop_workers()
        if self.relay is not None:
            await asyncio.sleep(0)  # the kernel's closes of a killed process are read before its next life begins
            self.relay.killing = False

    async def reap(self, how: ReapHow) -> int:
        """Discard the environment and return how many ghosts it leaves.

        SIGTERM comes first only where an extension is registered, with Lambda's 500 ms before SIGKILL.
        """
        if self.state is State.GONE:
            return 0
        processes = self.processes
        if processes is not None and processes.exited is None and self.api.extensions and not self._running:
            await self._terminate(processes)
        idle_s = time.monotonic() - self.idle_since if self.idle_since else 0.0
        self._move(State.GONE)
        ghosts = 0 if self.relay is None else self.relay.detach(how)
        self._abandon("the environment was reaped")
        await self._kill()
        self.api.close()
        self.journal.record(
            Reaped(environment=self.name, how=how, idle_s=idle_s, ghosts=ghosts, **self.journal.stamp())
        )
        return ghosts

    async def _terminate(self, processes: ProcessGroup) -> None:
        self._gone = self._loop.create_future()
        # Thawed first: SIGTERM sent to a stopped process may go to any of its threads; Python acts in the main one.
        processes.resume()
        processes.terminate_leader()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._gone), TERMINATE_S)
        self._gone = None

    def _abandon(self, why: str) -> None:
        """End what waits on this environment."""
        if self._init is not None and not self._init.done.done():
            self._init.outcome, self._init.error_message = "crash", why
            self._init.done.set_result(None)
        if self._stopped is not None and not self._stopped.done():
            self._stopped.set_result(None)
        for running in list(self._running.values()):
            self._crashed(running, why)
            self._close_books(running)

    def kill_now(self) -> None:
        """End the processes here and now, without the loop."""
        if self.processes is not None:
            self.processes.kill_now()
        if self.state is not State.GONE:
            self._move(State.GONE)
        self._abandon("the platform ended")
        self.api.close()

    # the relay's connections

    def connection_opened(self, link: Link) -> None:
        """Record it under the invocation that is running, where one is."""
        link.name = self.journal.name("c")
        running = self._running_of(link)
        self.journal.record(
            ConnectionOpened(
                environment=self.name,
                connection=link.name,
                invocation=None if running is None else running.invocation,
                **self.journal.stamp(),
            )
        )

    def connection_closed(self, link: Link, by: EndedBy) -> None:
        """Record it."""
        self.journal.record(
            ConnectionClosed(
                environment=self.name,
                connection=link.name,
                by=by,
                round_trips=link.round_trips,
                refused_code=link.refused_code,
                session=link.session,
                **self.journal.stamp(),
            )
        )

    def _running_of(self, link: Link) -> Running | None:
        if self.settings.processes_per_environment == 1:
            return next(iter(self._running.values()), None)
        return next((running for running in self._running.values() if running.tally is link.tally), None)

    # Managed Instances: which worker process a connection belongs to

    def tally_of_port(self, client_port: int) -> Tally | None:
        """Return the tally of the worker process that holds the client's end of a connection to the relay."""
        if self.relay is None or self.processes is None:
            return None
        pid = owning_process(client_port, self.relay.port, children_of(self.processes.pid))
        return None if pid is None else self._tallies.setdefault(pid, Tally())

    def _tally_of_worker(self, worker: Worker) -> Tally | None:
        if self.settings.processes_per_environment == 1 or self.processes is None:
            return None
        if worker.pid is None:
            port = int(self.api.address.rpartition(":")[2])
            worker.pid = owning_process(worker.peer_port, port, children_of(self.processes.pid))
        return None if worker.pid is None else self._tallies.setdefault(worker.pid, Tally())


def _trace_id(request_id: str) -> str:
    plain = request_id.replace("-", "")
    return f"Root=1-{int(time.time()):08x}-{plain[:24]};Parent={plain[16:]};Sampled=0"


def _raise_error(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        raise task.exception()  # type: ignore[misc]
