"""The platform's corners: snapshots, and the signal before the end. Registered once, by weak reference."""

from __future__ import annotations

import os
import sys
import weakref

from warmline._environment import SNAPSHOT, init_type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Closable(Protocol):
        """A database, to these hooks."""

        def close(self) -> None: ...

        def before_snapshot(self) -> None: ...

        def after_fork(self) -> None: ...


_DATABASES: weakref.WeakSet[Any] = weakref.WeakSet()
_registered: list[bool] = []
_following: list[bool] = []


def register(database: Closable) -> None:
    """Remember a database for the hooks. Under SnapStart the first one also registers with the runtime."""
    if not _DATABASES and hasattr(os, "register_at_fork"):
        _follow_forks()
    _DATABASES.add(database)
    if not _registered and init_type() == "snap-start":
        _registered.append(True)
        try:
            import snapshot_restore_py  # type: ignore[import-untyped,import-not-found,unused-ignore]  # noqa: PLC0415
        except ImportError:
            return
        snapshot_restore_py.register_before_snapshot(before_snapshot)
        snapshot_restore_py.register_after_restore(SNAPSHOT.restored)


def _follow_forks() -> None:
    """Once a process: a forked child lets go of its parent's connections at once.

    Waiting for the next use would be too late for a C driver, whose destructor says goodbye to the server when the
    child exits, and with that ends the parent's connection.
    """
    if not _following:
        _following.append(True)
        os.register_at_fork(after_in_child=_after_fork)


def _after_fork() -> None:
    for database in list(_DATABASES):
        database.after_fork()


def before_snapshot() -> None:
    """Close all connections of all databases."""
    for database in list(_DATABASES):
        database.before_snapshot()


def close_on_sigterm() -> None:
    """Close all idle connections when the platform says that the environment ends.

    Lambda sends SIGTERM only to functions with an extension, 300 ms before the end. Call it from the main thread, in
    Init. A handler that was installed before runs afterwards; without one the process exits with status 0.
    """
    import signal  # noqa: PLC0415 - only who asks for it pays for it

    previous = signal.getsignal(signal.SIGTERM)

    def close(number: int, frame: Any) -> None:
        for database in list(_DATABASES):
            database.close()
        if callable(previous):
            previous(number, frame)
        else:
            sys.exit(0)

    signal.signal(signal.SIGTERM, close)
