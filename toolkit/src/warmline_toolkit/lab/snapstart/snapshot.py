"""The platform's side of SnapStart: takes a snapshot once, and restores environments from it.

A snapshot is a process that has run Init and its before-snapshot hooks (`zygote`); restoring is a fork of it. The
variables of all copies are the snapshot's, the database's address among them, so all of them reach the database by one
port; whose relay a connection goes through is told by the process that opened it. Linux only.

Not as on Lambda: a fork has only the thread that forks, so threads that Init started are not in the copies; the
address space, random state and all, is.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import json
import os
import select
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from warmline_toolkit.lab.owner import owning_process
from warmline_toolkit.lab.process import ProcessGroup, start_process

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from warmline_toolkit.lab.environment import Environment

_MESSAGE_BYTES = 65_536
_ANSWER_S = 10.0
"""The snapshot's process answers an order within a fork's time; this is far more."""


class Snapshot:
    """One snapshot: its process, and the control socket on which copies are ordered."""

    def __init__(self) -> None:
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ours: socket.socket | None = None
        self.process: ProcessGroup | None = None

    def start(
        self,
        command: Sequence[str],
        *,
        cwd: Path,
        environment: Mapping[str, str],
        on_exit: Callable[[int], None],
    ) -> ProcessGroup:
        """Start the process whose Init is the snapshot's; `ready` is set when it waits for orders."""
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            descriptor = theirs.fileno()
            self.process = start_process(
                command,
                cwd=cwd,
                environment={**environment, "WARMLINE_SNAPSHOT_FD": str(descriptor)},
                on_exit=on_exit,
                pass_descriptors=(descriptor,),
            )
        asyncio.get_running_loop().add_reader(self._ours.fileno(), self._is_ready)
        return self.process

    def _is_ready(self) -> None:
        assert self._ours is not None  # noqa: S101 - the reader is added after it is made
        asyncio.get_running_loop().remove_reader(self._ours.fileno())
        self._ours.settimeout(_ANSWER_S)  # the loop had made it non-blocking
        if self._ours.recv(_MESSAGE_BYTES) and not self.ready.done():
            self.ready.set_result(None)

    def restore(self, environment: Mapping[str, str], on_exit: Callable[[int], None]) -> ProcessGroup:
        """Fork a copy with *environment* over the snapshot's variables. Raises `OSError` where the snapshot is gone."""
        read_fd, write_fd = os.pipe()
        try:
            answer = self._order({"environ": dict(environment)}, write_fd)
        except BaseException:
            os.close(read_fd)
            raise
        finally:
            os.close(write_fd)
        return _Copy(int(answer["pid"]), read_fd, on_exit, self)

    def _order(self, order: Mapping[str, object], descriptor: int | None = None) -> dict[str, int]:
        if self._ours is None:
            raise OSError("the snapshot is gone")
        passed = [] if descriptor is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
        self._ours.sendmsg([json.dumps(order).encode()], passed)
        answer = self._ours.recv(_MESSAGE_BYTES)
        if not answer:
            raise OSError("the snapshot's process has ended")
        decoded: dict[str, int] = json.loads(answer)
        return decoded

    def exit_status(self, pid: int) -> int:
        """Return the exit status of a copy that has ended."""
        try:
            return self._order({"wait": pid})["status"]
        except OSError:
            return -signal.SIGKILL

    def close(self) -> None:
        """End the snapshot; its copies live on."""
        if self._ours is not None:
            with contextlib.suppress(RuntimeError, ValueError):
                asyncio.get_running_loop().remove_reader(self._ours.fileno())
            self._ours.close()
            self._ours = None
        if self.process is not None:
            self.process.kill_now()


class _Copy(ProcessGroup):
    """A restored process: the snapshot's child, not the lab's, so its states are read in other ways."""

    def __init__(self, pid: int, output_fd: int, on_exit: Callable[[int], None], snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        super().__init__(pid, output_fd, on_exit)

    def _reap(self) -> None:
        if self.exited is None:
            self._gone(self._snapshot.exit_status(self.pid))

    def _wait(self) -> int | None:
        """Return the status of a stop when every thread of the process is stopped."""
        try:
            stopped = all(
                (task / "stat").read_text().rpartition(") ")[2][0] in "TZ"
                for task in Path(f"/proc/{self.pid}/task").iterdir()
            )
        except OSError:
            return None
        return (signal.SIGSTOP << 8) | 0x7F if stopped else None

    def _wait_here(self) -> None:
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        poll.poll(1000)


class Entrance:
    """The one port by which all copies reach the database: hands each connection to its environment's relay."""

    def __init__(self, environments: Callable[[], Sequence[Environment]]) -> None:
        self._environments = environments
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._socket.settimeout(0)
        self.port: int = self._socket.getsockname()[1]
        """What the snapshot, and so every copy, is given as DB_PORT."""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to accept."""
        self._task = asyncio.get_running_loop().create_task(self._accept())

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            client, (_, client_port) = await loop.sock_accept(self._socket)
            by_pid = {
                environment.processes.pid: environment
                for environment in self._environments()
                if environment.processes is not None
            }
            pid = owning_process(client_port, self.port, by_pid)
            relay = by_pid[pid].relay if pid is not None else None
            if relay is None:
                client.close()
            else:
                await relay.take(client)

    async def close(self) -> None:
        """Accept no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._socket.close()
