"""The cache: initialised data directories and unpacked programs, made once, atomically, by whoever comes first."""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from warmline_toolkit.servers import guardian

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def directory() -> Path:
    """Return the cache directory: $WARMLINE_CACHE, $XDG_CACHE_HOME/warmline, or ~/.cache/warmline.

    Root's is /var/cache/warmline: a server that runs as another account cannot enter root's home.
    """
    if chosen := os.environ.get("WARMLINE_CACHE"):
        return Path(chosen)
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen) / "warmline"
    return Path("/var/cache/warmline") if os.geteuid() == 0 else Path.home() / ".cache" / "warmline"


@contextmanager
def lock(name: str) -> Iterator[None]:
    """Hold the cache's lock *name* against every other process; the kernel releases it when the holder dies."""
    locks = directory() / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with (locks / name).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def get(name: str, build: Callable[[Path], None]) -> Path:
    """Return the cached directory *name*, made by *build* in an empty directory first if there is none.

    It appears by one rename, so it is whole or not there, also when a build is cut; two processes build it once.
    """
    wanted = directory() / name
    if wanted.is_dir():
        return wanted
    wanted.parent.mkdir(parents=True, exist_ok=True)
    with lock(name.replace("/", "-")):
        if wanted.is_dir():
            return wanted
        for cut in wanted.parent.glob(f".{wanted.name}.*"):  # the lock is ours: nobody builds these
            shutil.rmtree(cut, ignore_errors=True)
        building = guardian.temporary_directory(f".{wanted.name}.", parent=wanted.parent)
        try:
            build(building)
            building.rename(wanted)
        finally:
            guardian.remove_directory(building)
    return wanted
