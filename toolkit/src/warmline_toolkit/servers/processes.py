"""A server's processes: start them guarded, signal all of them, and read the time they used."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from warmline_toolkit.servers import guardian

if TYPE_CHECKING:
    import signal

    from warmline_toolkit.servers.accounts import Account


def spawn(
    command: list[str], *, cwd: Path, log: Path, account: Account, environment: dict[str, str]
) -> subprocess.Popen[bytes]:
    """Start *command* in its own process group, guarded, as *account*, its output appended to *log*."""
    guarded, stdin = guardian.guarded_command(command)
    with log.open("ab") as output:
        return subprocess.Popen(
            guarded,
            stdin=stdin,
            stdout=output,
            stderr=output,
            cwd=cwd,
            env=environment,
            start_new_session=True,
            user=account.uid if account.switch else None,
            group=account.gid if account.switch else None,
            extra_groups=[] if account.switch else None,
        )


def run(command: list[str], *, cwd: Path, account: Account, stdin: str = "", timeout_s: float = 120) -> tuple[int, str]:
    """Run *command* as *account* to its end and return its exit code and all its output; guarded meanwhile."""
    script, output = cwd / "stdin", cwd / "output"
    script.write_text(stdin)
    account.own(cwd)
    reading = ["/bin/sh", "-c", 'exec "$@" <stdin', "reading", *command]
    process = spawn(reading, cwd=cwd, log=output, account=account, environment=clean_environment(cwd))
    try:
        code = process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        code = -1
    finally:
        end(process)
    said = output.read_text(errors="replace")
    script.unlink()
    output.unlink()
    return code, said


def clean_environment(home: Path) -> dict[str, str]:
    """Return an environment in which no variable of the user's (PGDATA, MYSQL_HOME, LANG) changes a server."""
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "LC_ALL": "C", "TZ": "UTC"}


def end(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL *process*, its group and its descendants, wait for it, and release it."""
    guardian.kill_and_remove({process.pid: 0}, [])
    process.wait()
    guardian.release_process_group(process.pid)


def signal_all(pgid: int, number: signal.Signals) -> None:
    """Send *number* to the group's leader first, then to every descendant, until no new one turns up."""
    done: set[int] = set()
    with contextlib.suppress(ProcessLookupError):
        os.kill(pgid, number)
        done.add(pgid)
    while new := guardian.process_tree(pgid) - done:
        for pid in new:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        done |= new


def wait_until_ended(process: subprocess.Popen[bytes], *, timeout_s: float) -> bool:
    """Return whether *process* and all its group ended within *timeout_s*."""
    limit = time.monotonic() + timeout_s
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return False
    while guardian.process_tree(process.pid):
        if time.monotonic() > limit:
            return False
        time.sleep(0.002)
    return True


def cpu_ms(pgid: int) -> float | None:
    """Return the user and system time of the group's leader, its descendants, and the children it has waited for.

    Processes that run are read from their CPU-time clocks, to the nanosecond. A PostgreSQL backend that has ended is in
    its parent's count of waited-for children, which shows whole clock ticks (10 ms on Linux) and loses nothing between
    them. None where /proc does not tell it.
    """
    if sys.platform != "linux":
        return None
    leader = guardian.proc_stat(pgid)
    if leader is None:
        return None
    waited_for_ticks = int(leader[13]) + int(leader[14])
    running_s = 0.0
    for pid in guardian.process_tree(pgid) | {pgid}:
        with contextlib.suppress(OSError):  # it ended between the two looks: its parent waits for it
            running_s += time.clock_gettime(_cpu_clock(pid))
    return waited_for_ticks * 1000 / os.sysconf("SC_CLK_TCK") + running_s * 1000


def thread_cpu_ms(thread: int) -> float:
    """Return the user and system time of one thread (or of a process with one thread); 0 where it is gone.

    From /proc/…/schedstat, in nanoseconds: the kernel shows a thread's clock to its own process alone.
    """
    try:
        return int(Path(f"/proc/{thread}/schedstat").read_text(encoding="ascii").split()[0]) / 1_000_000
    except OSError:
        return 0.0


def _cpu_clock(pid: int) -> int:
    """Return the id of another process's CPU-time clock: what clock_getcpuclockid(3) computes on Linux."""
    return (~pid << 3) | 2
