from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from run_builder import RunBuilder
from warmline_toolkit.model.events import TrialEnded
from warmline_toolkit.report.progress import Progress

if TYPE_CHECKING:
    import pytest


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_elsewhere_every_trial_leaves_one_plain_line() -> None:
    stream = io.StringIO()
    with Progress(stream) as progress:
        for event in RunBuilder(trials=2, strategies=("per-request", "pool")).events():
            progress(event)
    lines = [re.sub(r"\(\d+\.\d s\)", "(T)", line) for line in stream.getvalue().splitlines()]
    assert lines == [
        "guide: trial 1/2, per-request: 25 requests, 25 connections opened, 0 refused (T)",
        "guide: trial 1/2, pool: 25 requests, 5 connections opened, 0 refused (T)",
        "guide: trial 2/2, per-request: 25 requests, 25 connections opened, 0 refused (T)",
        "guide: trial 2/2, pool: 25 requests, 5 connections opened, 0 refused (T)",
    ]


def test_refusals_and_failures_are_told() -> None:
    stream = io.StringIO()
    with Progress(stream) as progress:
        for event in RunBuilder(trials=1, strategies=("pool",), environments=25, at_once=25).events():
            progress(event)
    assert "25 requests, 5 connections opened, 20 refused, 20 failed" in stream.getvalue()


def test_on_a_terminal_the_line_shows_requests_connections_and_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    progress = Progress(Terminal())
    events = RunBuilder(trials=1, strategies=("pool",), environments=25, at_once=25).events()
    for event in events:
        if isinstance(event, TrialEnded):
            break
        progress(event)
    line = progress._line().plain
    found = re.fullmatch(r"guide: trial 1/1, pool  ━{12} 25/25  open 5/5  refused 20  failed 20", line)
    assert found, line
    assert len(line) <= 80


def test_on_a_terminal_the_line_is_gone_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with Progress(stream) as progress:
        for event in RunBuilder(trials=1).events():
            progress(event)
    assert stream.getvalue().endswith("\x1b[2K") or stream.getvalue().rstrip("\r\n").endswith("\x1b[2K")


def test_a_run_without_a_number_of_requests_counts_them() -> None:
    builder = RunBuilder(trials=1, strategies=("pool",))
    events = builder.events()
    events[0].settings.pop("requests")
    progress = Progress(Terminal())
    for event in events[:40]:
        progress(event)
    assert re.search(r"pool  \d+ requests  open", progress._line().plain)
