"""Nothing started here outlives this process, not even when it dies by SIGKILL.

One guardian process a parent holds the read end of a pipe. The parent (and for a moment each new child) holds the
write end, so the pipe's end-of-file means that the parent is dead; the guardian then kills every registered process
group with all its descendants, stopped ones too, and removes every registered directory.

There is no gap between starting a child and registering it: `guarded_command` makes the child itself write its number
into the pipe before it becomes the program. While it has not yet, it holds the pipe open.

What is not covered: SIGKILL of the guardian and of its parent. This file runs as a script too (that is the guardian),
so it imports the standard library only.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

REGISTER_THEN_RUN = 'echo "group $$" >&0 && exec "$@" </dev/null; exit 127'
KILL_LIMIT_S = 10.0


# -- processes, as the operating system tells them -----------------------------------------------------------------


class _Processes:
    """One look at the process table: number → (parent, process group, start time in ticks, has a terminal).

    Zombies are not in it: nothing of them is left to kill.
    """

    def __init__(self) -> None:
        self.table: dict[int, tuple[int, int, int, bool]] = {}
        if sys.platform == "linux":
            self._read_proc()
        else:
            self._ask_ps()

    def _read_proc(self) -> None:
        for entry in os.listdir("/proc"):  # noqa: PTH208 - read very often
            if entry.isdigit() and (fields := proc_stat(int(entry))) is not None and fields[0] not in ("Z", "X"):
                self.table[int(entry)] = (int(fields[1]), int(fields[2]), int(fields[19]), fields[4] != "0")

    def _ask_ps(self) -> None:
        listing = subprocess.run(
            ["ps", "-A", "-o", "pid=,ppid=,pgid=,tty=,state="], capture_output=True, text=True, check=False
        ).stdout
        for line in listing.splitlines():
            pid, parent, group, terminal, state = line.split()[:5]
            if not state.startswith("Z"):
                self.table[int(pid)] = (int(parent), int(group), 0, terminal not in ("?", "??"))

    def belonging_to(self, groups: dict[int, int]) -> set[int]:
        """Return the members of *groups* (group → its leader's start time) and all their descendants.

        A group whose number has gone to another process since is left alone: a process number is not given out
        again while a group of that number has members.
        """
        real = {g for g, started in groups.items() if not started or self.table.get(g, (0, 0, started))[2] == started}
        found = {pid for pid, (_, group, _, _) in self.table.items() if group in real}
        children: dict[int, list[int]] = {}
        for pid, (parent, _, _, _) in self.table.items():
            children.setdefault(parent, []).append(pid)
        pending = list(found)
        while pending:
            for child in children.get(pending.pop(), ()):
                if child not in found:
                    found.add(child)
                    pending.append(child)
        return found

    def working_in(self, directories: list[str]) -> set[int]:
        """Return the processes without a terminal whose working directory is inside one of *directories*.

        These are PostgreSQL's orphans: each backend leads its own session, and survives its parent while it is busy.
        A user's shell has a terminal and is spared.
        """
        found = set()
        for pid, (_, _, _, has_terminal) in self.table.items():
            with contextlib.suppress(OSError):
                here = os.readlink(f"/proc/{pid}/cwd").removesuffix(" (deleted)")  # noqa: PTH115 - read very often
                if not has_terminal and any(here == d or here.startswith(d + "/") for d in directories):
                    found.add(pid)
        return found


def proc_stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the state on (index 0), or None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:  # noqa: PTH123 - read very often
            return stat.read().rpartition(") ")[2].split()
    except (OSError, ValueError):
        return None


def _start_ticks(pid: int) -> int:
    fields = proc_stat(pid) if sys.platform == "linux" else None
    return int(fields[19]) if fields else 0


def process_tree(pgid: int) -> set[int]:
    """Return the living members of process group *pgid* and all their descendants. Costs one look at /proc."""
    return _Processes().belonging_to({pgid: 0})


def kill_and_remove(groups: dict[int, int], directories: list[str]) -> None:
    """SIGKILL *groups* with all their descendants until none is left, then remove *directories*."""
    limit = time.monotonic() + KILL_LIMIT_S
    while groups or directories:
        processes = _Processes()
        alive = (processes.belonging_to(groups) | processes.working_in(directories)) - {os.getpid()}
        if not alive or time.monotonic() > limit:
            break
        for pid in alive:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


# -- the parent's side ---------------------------------------------------------------------------------------------


class _Client:
    """This process's pipe to its guardian, and what it has registered itself (to register again with a new one)."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.process: subprocess.Popen[bytes] | None = None
        self.pipe = -1
        self.registered: dict[str, None] = {}

    def connect(self) -> int:
        """Return the pipe's write end, starting the guardian first if it does not run."""
        with self.lock:
            if self.process is None or self.process.poll() is not None:
                self._start()
            return self.pipe

    def _start(self) -> None:
        if self.pipe >= 0:
            os.close(self.pipe)
        read_end, self.pipe = os.pipe()
        # -I -S: neither the user's environment nor their packages can keep the guardian from starting
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=read_end,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
        os.close(read_end)
        for line in self.registered:
            os.write(self.pipe, line.encode())

    def tell(self, line: str) -> None:
        with self.lock:
            try:
                os.write(self.connect(), line.encode())
            except BrokenPipeError:
                self._start()
                os.write(self.pipe, line.encode())

    def register(self, what: str, name: str) -> None:
        with self.lock:
            self.tell(f"{what} {name}\n")
            self.registered[f"{what} {name}\n"] = None

    def release(self, what: str, name: str) -> None:
        with self.lock:
            self.registered.pop(f"{what} {name}\n", None)
            if self.process is not None:
                self.tell(f"release {what} {name}\n")

    def close(self) -> None:
        """End the pipe and wait until the guardian has cleaned up."""
        with self.lock:
            if self.process is not None:
                os.close(self.pipe)
                self.process.wait()
                self.process, self.pipe = None, -1
                self.registered.clear()

    def forget_after_fork(self) -> None:
        """In a forked child: the guardian is the parent's; holding its pipe open would hide the parent's death."""
        if self.process is not None:
            os.close(self.pipe)
            self.process.returncode = 0  # not this process's child
        self.__init__()  # type: ignore[misc]  # a new lock too: the parent's may be held


_client = _Client()
atexit.register(_client.close)
os.register_at_fork(after_in_child=_client.forget_after_fork)


def guarded_command(command: list[str]) -> tuple[list[str], int]:
    """Return the command that runs *command* registered from its first moment, and the `stdin` it must be given.

    Start it with that `stdin=` and `start_new_session=True`, by `subprocess.Popen` or
    `asyncio.create_subprocess_exec`: the program keeps the process number, which is its process group's too, and reads
    /dev/null. Call `release_process_group` once it has been waited for. Costs a shell's start, about a millisecond.
    A program that does not exist ends with exit code 127.
    """
    return ["/bin/sh", "-c", REGISTER_THEN_RUN, "guarded", *command], _client.connect()


def guard_process_group(pgid: int) -> None:
    """Have process group *pgid* and its descendants killed when this process dies.

    For a group that runs already; a process you start yourself is safe without a gap by `guarded_command`.
    """
    _client.register("group", str(pgid))


def release_process_group(pgid: int) -> None:
    """Take *pgid* back: it has ended, or it may outlive this process. Unknown numbers are fine."""
    _client.release("group", str(pgid))


def guard_directory(path: Path | str) -> None:
    """Have the directory *path* removed when this process dies (and whatever still works inside it killed)."""
    absolute = os.path.realpath(path)
    if "\n" in absolute or absolute.count("/") < 2:  # noqa: PLR2004 - never /, never /home
        raise ValueError(f"not a directory to remove: {absolute!r}")
    _client.register("directory", absolute)


def release_directory(path: Path | str) -> None:
    """Take *path* back: it is removed already, or it may stay."""
    _client.release("directory", os.path.realpath(path))


def still_here() -> list[str]:
    """Return what this process still has: guarded directories, and running children that lead a process group."""
    me, guardian = os.getpid(), _client.process.pid if _client.process is not None else 0
    running = [
        f"process {pid}"
        for pid, (parent, group, _, _) in sorted(_Processes().table.items())
        if parent == me and group == pid != guardian
    ]
    return [*(line.rstrip("\n") for line in _client.registered), *running]


def temporary_directory(prefix: str, *, parent: Path | None = None) -> Path:
    """Make a directory only this user can enter, registered before it exists."""
    path = Path(os.path.realpath(parent or tempfile.gettempdir())) / f"{prefix}{secrets.token_hex(6)}"
    guard_directory(path)
    path.mkdir(mode=0o700)
    return path


def remove_directory(path: Path) -> None:
    """Remove *path* with its content and release it."""
    shutil.rmtree(path, ignore_errors=True)
    release_directory(path)


# -- the guardian itself -------------------------------------------------------------------------------------------


def _watch() -> None:
    for quiet in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(quiet, signal.SIG_IGN)
    groups: dict[int, int] = {}
    directories: dict[str, None] = {}
    for line in sys.stdin:  # ends when the last holder of the write end is gone
        words = line.rstrip("\n").split(" ", 2 if line.startswith("release ") else 1)
        match words:
            case ["group", pgid]:
                groups[int(pgid)] = _start_ticks(int(pgid))
            case ["directory", path]:
                directories[path] = None
            case ["release", "group", pgid]:
                groups.pop(int(pgid), None)
            case ["release", "directory", path]:
                directories.pop(path, None)
            case _:
                pass  # a line cut by its writer's death names nothing
    kill_and_remove(groups, list(directories))


if __name__ == "__main__":
    _watch()
