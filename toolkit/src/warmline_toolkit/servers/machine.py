"""What this machine has for the lab: servers, drivers, runtimes, the right to freeze, and its size."""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal, TypeAlias

from warmline_toolkit.servers import find, guardian
from warmline_toolkit.servers.users import ENGINES

Need: TypeAlias = Literal["required", "optional"]

DRIVERS = ("PyMySQL", "psycopg", "mysqlclient", "mysql-connector-python", "psycopg2-binary", "asyncpg", "SQLAlchemy")
NODE_LEAST = 18
LAB_MIB = 1024
"""Memory and disk to be comfortable with a private server and a handful of Python processes: a round figure."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing this machine has (*ok*) or lacks. *next_step* says what to do about a lack."""

    name: str
    ok: bool
    need: Need
    found: str
    next_step: str | None = None


def checks() -> list[Check]:
    """Look at everything. Costs a `--version` of each program: a second or two."""
    return [_python(), *_servers(), _freeze(), _node(), _proxy(), _drivers(), _cores(), _memory(), _disk(), _cpu_time()]


def _python() -> Check:
    return Check(name="Python", ok=True, need="required", found=f"{platform.python_version()} ({sys.executable})")


def _servers() -> list[Check]:
    """List each engine; one of them is required, whichever."""
    programs = find.all_installed()
    lacking: Need = "optional" if any(programs.values()) else "required"
    return [
        Check(name=engine, ok=False, need=lacking, found="not found", next_step=find.INSTALL[engine])
        if (program := programs[engine]) is None
        else Check(name=engine, ok=True, need="required", found=f"{program.version} ({program.path})")
        for engine in ENGINES
    ]


def _freeze() -> Check:
    """Stop and continue a real child, as the lab does with an environment."""
    command, stdin = guardian.guarded_command(["/bin/sh", "-c", "sleep 60"])
    child = subprocess.Popen(command, stdin=stdin, start_new_session=True)
    try:
        os.kill(child.pid, signal.SIGSTOP)
        _, status = os.waitpid(child.pid, os.WUNTRACED)
        works = os.WIFSTOPPED(status)
    except OSError:
        works = False
    finally:
        guardian.kill_and_remove({child.pid: 0}, [])
        child.wait()
        guardian.release_process_group(child.pid)
    return Check(
        name="freeze and thaw",
        ok=works,
        need="required",
        found="works: a process was stopped and continued"
        if works
        else "this system does not let a process stop its child",
        next_step=None if works else "Run it outside the sandbox that forbids signals.",
    )


def _node() -> Check:
    version = _version_of("node", r"v(\d+(?:\.\d+)*)")
    ok = version is not None and int(version.partition(".")[0]) >= NODE_LEAST
    return Check(
        name="Node",
        ok=ok,
        need="optional",
        found=version or "not found",
        next_step=None
        if ok
        else f"For Node handlers: Node {NODE_LEAST} or newer (on Debian: sudo apt-get install nodejs).",
    )


def _proxy() -> Check:
    version = _installed_version("warmline-proxy")
    return Check(
        name="warmline-proxy",
        ok=version is not None,
        need="optional",
        found=version or "not installed",
        next_step=None if version else 'For the strategy proxy: pip install "warmline[proxy]".',
    )


def _drivers() -> Check:
    versions = {name: _installed_version(name) for name in DRIVERS}
    found = [f"{name} {version}" for name, version in versions.items() if version is not None]
    return Check(name="drivers", ok=bool(found), need="required", found=", ".join(found) or "none")


def _installed_version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _cores() -> Check:
    usable = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return Check(
        name="cores",
        ok=True,
        need="optional",
        found=f"{usable} usable" + ("; latencies of a burst include waiting for a core" if usable < 4 else ""),  # noqa: PLR2004
    )


def _memory() -> Check:
    total, free = memory_mib()
    if total is None or free is None:
        return Check(name="memory", ok=True, need="optional", found="unknown on this system")
    ok = free >= LAB_MIB
    return Check(
        name="memory",
        ok=ok,
        need="optional",
        found=f"{free} MiB available of {total} MiB",
        next_step=None if ok else f"The demo wants about {LAB_MIB} MiB; use fewer environments.",
    )


def memory_mib() -> tuple[int | None, int | None]:
    """Return this machine's memory and what of it is available, the container's limit respected."""
    try:
        fields = dict(re.findall(r"(\w+): +(\d+) kB", Path("/proc/meminfo").read_text()))
    except OSError:
        return None, None
    total, free = int(fields["MemTotal"]) // 1024, int(fields["MemAvailable"]) // 1024
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (said := limit.read_text().strip()).isdigit():
        allowed = int(said) // 1024**2
        used = int(limit.with_name("memory.current").read_text()) // 1024**2
        total, free = min(total, allowed), min(free, max(0, allowed - used))
    return total, free


def _disk() -> Check:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free // 1024**2
    ok = free >= LAB_MIB
    return Check(
        name="temporary folder",
        ok=ok,
        need="required",
        found=f"{free} MiB free in {folder}",
        next_step=None if ok else "Free some space, or set TMPDIR to a larger folder.",
    )


def _cpu_time() -> Check:
    ok = guardian.proc_stat(os.getpid()) is not None
    return Check(
        name="server CPU time",
        ok=ok,
        need="optional",
        found="read from /proc" if ok else "not known on this system",
        next_step=None if ok else "The report leaves it out; Linux tells it.",
    )


def _version_of(program: str, pattern: str) -> str | None:
    path = shutil.which(program)
    if path is None:
        return None
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=20).stdout
    match = re.search(pattern, said)
    return match[1] if match else None
