"""One process group of an environment: started, stopped (frozen), continued, killed, and its output read.

Every environment is a process group of its own in the lab's session. Stopping signals the whole group in one call; a
stop counts when the kernel has reported the leader's as complete. A group that loses the lab while it is stopped gets
SIGHUP and SIGCONT from the kernel, as every orphaned stopped job does, and dies of it; the guardian ends the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from warmline_toolkit.servers.guardian import guard_process_group, release_process_group

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

MAX_LINES = 20
MAX_LINE_CHARS = 400
_READ_BYTES = 65_536
_DRAIN_READS = 16
_POLL_S = 0.02
_STOP_SPINS = 8
_STOP_POLL_S = 0.001
DESCRIPTORS = 1024
"""Lambda's limit of open files in an environment."""


class Output:
    """What a process group prints, in bounded memory: the first lines of each stretch, cut to length.

    `take()` ends a stretch. A stretch is an invocation, or what was printed outside any.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.dropped_lines = 0
        self._partial = b""

    def feed(self, data: bytes) -> None:
        """Add what was read."""
        *whole, rest = (self._partial + data).replace(b"\r", b"\n").split(b"\n")
        for line in whole:
            self._add(line)
        self._partial = rest[: 4 * MAX_LINE_CHARS]

    def _add(self, line: bytes) -> None:
        if len(self.lines) >= MAX_LINES:
            self.dropped_lines += 1
        elif line.strip():
            self.lines.append(line[: 4 * MAX_LINE_CHARS].decode(errors="replace")[:MAX_LINE_CHARS])

    def take(self) -> list[str]:
        """Return the stretch's lines and begin the next."""
        if self._partial:
            self._add(self._partial)
            self._partial = b""
        lines, self.lines, self.dropped_lines = self.lines, [], 0
        return lines


class ProcessGroup:
    """A started process group. *on_exit* is called once, with the leader's exit status, when the leader is gone.

    The status is as `subprocess` gives it: negative is the signal's number.
    """

    def __init__(self, pid: int, output_fd: int, on_exit: Callable[[int], None]) -> None:
        self.pid = pid
        self.output = Output()
        self.exited: int | None = None
        self._loop = asyncio.get_running_loop()
        self._on_exit = on_exit
        self._output_fd = output_fd
        self._pidfd = -1
        guard_process_group(pid)
        os.set_blocking(output_fd, False)
        self._loop.add_reader(output_fd, self._read)
        self._watch()

    # exit

    def _watch(self) -> None:
        if hasattr(os, "pidfd_open"):
            self._pidfd = os.pidfd_open(self.pid)
            self._loop.add_reader(self._pidfd, self._reap)
        else:
            self._loop.call_later(_POLL_S, self._poll_exit)

    def _poll_exit(self) -> None:
        self._reap()
        if self.exited is None:
            self._loop.call_later(_POLL_S, self._poll_exit)

    def _wait(self) -> int | None:
        """Return the wait status that is there, or None."""
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED)
        except ChildProcessError:
            return 0
        return status if pid else None

    def _reap(self) -> None:
        status = self._wait()
        if status is not None and not os.WIFSTOPPED(status):
            self._gone(os.waitstatus_to_exitcode(status))

    def _gone(self, exit_status: int) -> None:
        if self.exited is not None:
            return
        self.exited = exit_status
        release_process_group(self.pid)
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        self.signal_group(signal.SIGKILL)  # children that the leader left behind
        self.drain()
        self._loop.remove_reader(self._output_fd)
        os.close(self._output_fd)
        self._output_fd = -1
        self._on_exit(exit_status)

    # output

    def _read(self) -> None:
        try:
            data = os.read(self._output_fd, _READ_BYTES)
        except BlockingIOError:
            return
        if data:
            self.output.feed(data)
        else:
            self._loop.remove_reader(self._output_fd)

    def drain(self) -> None:
        """Read what the pipe holds now (at most 1 MiB): all that the runtime wrote before its last call."""
        if self._output_fd < 0:
            return
        for _ in range(_DRAIN_READS):
            try:
                data = os.read(self._output_fd, _READ_BYTES)
            except BlockingIOError:
                return
            if not data:
                return
            self.output.feed(data)

    # signals

    def signal_group(self, number: signal.Signals) -> None:
        """Signal every process of the group; a group that is gone already is no error."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def terminate_leader(self) -> None:
        """Send SIGTERM to the runtime's own process, as Lambda does."""
        if self.exited is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)

    def stop(self, on_stopped: Callable[[], None]) -> None:
        """Stop the group; *on_stopped* is called when the leader's stop is complete (not if it exits instead)."""
        self.signal_group(signal.SIGSTOP)
        self._confirm_stop(on_stopped, 0)

    def _confirm_stop(self, on_stopped: Callable[[], None], tries: int) -> None:
        if self.exited is not None:
            return
        status = self._wait()
        if status is None:
            if tries < _STOP_SPINS:
                self._loop.call_soon(self._confirm_stop, on_stopped, tries + 1)
            else:
                self._loop.call_later(_STOP_POLL_S, self._confirm_stop, on_stopped, tries + 1)
        elif os.WIFSTOPPED(status):
            on_stopped()
        else:
            self._gone(os.waitstatus_to_exitcode(status))

    def resume(self) -> None:
        """Continue the group."""
        self.signal_group(signal.SIGCONT)

    def kill(self) -> None:
        """Kill the group; `on_exit` follows."""
        self.signal_group(signal.SIGKILL)

    def kill_now(self) -> None:
        """Kill the group and wait for its leader here: for an exit that cannot wait for the loop."""
        if self.exited is None:
            self._on_exit = _ignore
            self.kill()
            self._wait_here()
            self._gone(-signal.SIGKILL)

    def _wait_here(self) -> None:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def _ignore(_status: int) -> None: ...


def start_process(
    command: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    on_exit: Callable[[int], None],
    pass_descriptors: Sequence[int] = (),
) -> ProcessGroup:
    """Start *command* as a process group of its own, its stdout and stderr in one pipe. Raises `OSError`."""
    read_fd, write_fd = os.pipe()
    for descriptor in pass_descriptors:
        os.set_inheritable(descriptor, True)  # noqa: FBT003 - the standard library's own signature
    try:
        # Every descriptor of the lab is close-on-exec, so there is nothing to close one by one in the child.
        options: dict[str, object] = (
            {"process_group": 0} if sys.version_info >= (3, 11) else {"start_new_session": True}
        )
        popen = subprocess.Popen(  # type: ignore[call-overload]
            command,
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=write_fd,
            stderr=write_fd,
            close_fds=False,
            **options,
        )
    except BaseException:
        os.close(read_fd)
        raise
    finally:
        os.close(write_fd)
    popen.returncode = 0  # this class waits for the process; Popen must not
    _limit_descriptors(popen.pid)
    return ProcessGroup(popen.pid, read_fd, on_exit)


def _limit_descriptors(pid: int) -> None:
    if sys.platform == "linux":
        import resource  # noqa: PLC0415 - not on every system

        with contextlib.suppress(OSError, ValueError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
