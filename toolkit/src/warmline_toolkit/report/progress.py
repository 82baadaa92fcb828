"""Progress of a run on stderr, from the same events that are recorded: a live line, or plain lines."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from warmline_toolkit.measure.trials import failure
from warmline_toolkit.model.events import (
    ConnectionClosed,
    ConnectionOpened,
    Invoked,
    RunEnded,
    RunStarted,
    TrialEnded,
    TrialStarted,
)

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from warmline_toolkit.model.events import Event

BAR_CELLS = 12
REFRESHES_PER_S = 8


class Progress:
    """Show how far a run is: `progress(event)` for every event, within `with Progress() as progress`.

    On a terminal one line is drawn anew some times a second and is gone at the end; elsewhere every trial leaves one
    plain line when it ends. Costs a microsecond or two an event. Never writes to stdout.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._scenario = ""
        self._trials: int | None = None
        self._requests: int | None = None
        self._begin(None)
        self._console = Console(file=stream or sys.stderr, highlight=False, markup=False, emoji=False)
        self._live: Live | None = None
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(
                console=self._console,
                get_renderable=self._line,
                refresh_per_second=REFRESHES_PER_S,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )

    def _begin(self, trial: TrialStarted | None) -> None:
        self._trial = trial
        self._done = self._failed = self._refused = self._opened = 0
        self._open: set[str] = set()

    def __call__(self, event: Event) -> None:
        """Take one event of the run."""
        match event:
            case Invoked():
                self._done += 1
                self._failed += failure(event) is not None
            case ConnectionOpened():
                self._open.add(event.connection)
                self._opened += 1
            case ConnectionClosed():
                self._open.discard(event.connection)
                if event.refused_code is not None:
                    self._refused += 1
                    self._opened -= 1
            case TrialStarted():
                self._begin(event)
            case TrialEnded():
                self._end(event)
            case RunStarted():
                self._scenario = event.scenario
                self._trials = _whole(event.settings.get("trials"))
                self._requests = _whole(event.settings.get("requests"))
            case RunEnded():
                self._begin(None)

    def _end(self, event: TrialEnded) -> None:
        if self._live is None and self._trial is not None:
            took_s = event.at_s - self._trial.at_s
            counts = f"{self._done} requests, {self._opened} connections opened, {self._refused} refused"
            failed = f", {self._failed} failed" if self._failed else ""
            self._console.print(f"{self._where()}: {counts}{failed} ({took_s:.1f} s)", soft_wrap=True)
        self._trial = None

    def _where(self) -> str:
        if self._trial is None:
            return self._scenario
        of = f"/{self._trials}" if self._trials else ""
        return f"{self._scenario}: trial {self._trial.trial}{of}, {self._trial.strategy}"

    def _line(self) -> Text:
        line = Text(self._where(), no_wrap=True, overflow="ellipsis")
        if self._trial is None:
            return line.append("  …" if self._scenario else "")
        line.append("  ")
        if self._requests:
            full = min(BAR_CELLS, BAR_CELLS * self._done // self._requests)
            line.append("━" * full, style="cyan").append("─" * (BAR_CELLS - full), style="dim")
            line.append(f" {self._done}/{self._requests}")
        else:
            line.append(f"{self._done} requests")
        limit = f"/{self._trial.limit}" if self._trial.limit is not None else ""
        line.append(f"  open {len(self._open)}{limit}")
        if self._refused:
            line.append(f"  refused {self._refused}", style="red")
        if self._failed:
            line.append(f"  failed {self._failed}", style="red")
        return line

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None
