"""Where and with what a run was made: what must stand beside a number for it to mean anything."""

from __future__ import annotations

import datetime as dt
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from warmline_toolkit import __version__


def collect(server: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the provenance of a run that begins now, as a flat mapping; *server* is what the caller knows of it.

    A fact this machine does not tell is left out. Runs git twice when warmline runs from a checkout (some 10 ms).
    """
    facts: dict[str, Any] = {
        **(server or {}),
        "warmline": __version__,
        **_commit(Path(__file__).resolve().parent),
        "date": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": _system(),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": _cpu_model(),
        "cores": _cores(),
        "memory_gib": _memory_gib(),
        "load_1m": _load_1m(),
    }
    return {name: value for name, value in facts.items() if value is not None}


def _commit(folder: Path) -> dict[str, Any]:
    """Tell the commit of the checkout that this code runs from; nothing for an installed package."""
    top = _git(folder, "rev-parse", "--show-toplevel")
    if top is None or not (Path(top) / "toolkit" / "pyproject.toml").exists():
        return {}
    commit = _git(folder, "rev-parse", "--short=12", "HEAD")
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "commit_dirty": None if changed is None else bool(changed)}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _system() -> str | None:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.platform(terse=True) or None


def _cpu_model() -> str | None:
    for line in _lines("/proc/cpuinfo"):
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return " ".join(value.split())
    return platform.processor() or None


def _cores() -> int | None:
    """Count the cores this process may use, which a container may hold below the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None


def _load_1m() -> float | None:
    try:
        return round(os.getloadavg()[0], 2)
    except (OSError, AttributeError):
        return None


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
