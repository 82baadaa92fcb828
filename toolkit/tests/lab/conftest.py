from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import uvloop
from warmline_toolkit.lab.handler import find_handler
from warmline_toolkit.lab.journal import Journal
from warmline_toolkit.lab.platform import Platform
from warmline_toolkit.lab.settings import PlatformSettings

if TYPE_CHECKING:
    from pathlib import Path

    from warmline_toolkit.model.events import Event


def pytest_asyncio_loop_factories(config, item):
    """The lab's own loop."""
    return {"uvloop": uvloop.new_event_loop}


class Recorded(list):
    """The events of a test, by kind."""

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self if isinstance(event, kind)]


@pytest.fixture
def events() -> Recorded:
    return Recorded()


@pytest.fixture
def platform_of(tmp_path: Path, events: Recorded):
    """Write a handler file and return the platform that runs it."""

    def make(source: str, *, name: str = "app.py", database=None, handler: str | None = None, **settings) -> Platform:
        (tmp_path / name).write_text(source)
        return Platform(
            PlatformSettings(scratch=tmp_path, **settings),
            find_handler(handler or name, base=tmp_path),
            journal=Journal(events.append),
            database=database,
        )

    return make
