"""Fixtures with real servers, as a pytest plugin: `pytest_plugins = ["warmline_toolkit.servers.testing"]`.

`mariadb`, `mysql` and `postgres` are shared by the whole session and have plenty of connections: a test that needs a
limit, a setting, or exact counts starts its own with `start_server`. After the last test, the session fails if
anything that was started is still there.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from warmline_toolkit.servers import guardian
from warmline_toolkit.servers.server import Server, start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SHARED_MAX_CONNECTIONS = 300


@pytest.fixture(scope="session", autouse=True)
def nothing_left_running() -> Iterator[None]:
    """Fail the session where a process or a directory that was started under guard is left at its end."""
    before = set(guardian.still_here())
    yield
    left = [what for what in guardian.still_here() if what not in before]
    assert not left, f"left behind by process {os.getpid()}: {left}"  # noqa: S101 - this is a test's


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Server]:
    """A MariaDB server shared by the session."""
    with start("mariadb", max_connections=SHARED_MAX_CONNECTIONS) as server:
        yield server


@pytest.fixture(scope="session")
def mysql() -> Iterator[Server]:
    """A MySQL server shared by the session."""
    with start("mysql", max_connections=SHARED_MAX_CONNECTIONS) as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server shared by the session."""
    with start("postgres", max_connections=SHARED_MAX_CONNECTIONS) as server:
        yield server


@pytest.fixture
def start_server() -> Iterator[Callable[..., Server]]:
    """Start private servers with the arguments of `start`; they stop when the test ends."""
    with ExitStack() as servers:
        yield lambda *arguments, **settings: servers.enter_context(start(*arguments, **settings))
