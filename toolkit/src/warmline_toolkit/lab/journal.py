"""Where the lab writes what happened: stamps each fact with the run's clock, the trial and the strategy.

One `Journal` is one trial of one strategy. All journals of a run share a clock and the numbering, so that "e17" names
one environment in the whole run file: make the first with `Journal(record)` and the others with `journal.of_trial(…)`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from warmline_toolkit.model.events import Event


class Journal:
    """Stamps events and hands them to *record*, which must not block: it is called on the invoke path.

    *started* is the run's start on the monotonic clock (`time.monotonic()`); now, when it is not given.
    """

    def __init__(
        self,
        record: Callable[[Event], None],
        *,
        trial: int = 0,
        strategy: str = "",
        started: float | None = None,
        numbers: dict[str, int] | None = None,
    ) -> None:
        self.record = record
        self.trial = trial
        self.strategy = strategy
        self.started = time.monotonic() if started is None else started
        self._numbers = {} if numbers is None else numbers

    def of_trial(self, trial: int, strategy: str) -> Journal:
        """Return a journal of the same run (same clock, same numbering) for another trial."""
        return Journal(self.record, trial=trial, strategy=strategy, started=self.started, numbers=self._numbers)

    def now(self) -> float:
        """Return the seconds since the run began."""
        return time.monotonic() - self.started

    def stamp(self, at_s: float | None = None) -> dict[str, Any]:
        """Return the fields that every event has; *at_s* is now when it is not given."""
        return {"at_s": self.now() if at_s is None else at_s, "trial": self.trial, "strategy": self.strategy}

    def name(self, prefix: str) -> str:
        """Return the run's next name with *prefix*: "e1", "e2", …; "c1" is a connection, "i1" an invocation."""
        number = self._numbers.get(prefix, 0) + 1
        self._numbers[prefix] = number
        return f"{prefix}{number}"
