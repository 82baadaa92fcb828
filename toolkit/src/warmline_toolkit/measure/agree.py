"""The server's counters against the relay's events: two witnesses of the same connections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from warmline_toolkit.errors import FailedExpectation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from warmline_toolkit.measure.summary import RunSummary
    from warmline_toolkit.measure.trials import Trial


class CountsDisagree(FailedExpectation):
    """The server and the relay counted different numbers of connections: the run proves nothing."""

    code = "WL-R002"


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """One count that the two witnesses tell differently."""

    strategy: str
    trial: int
    what: str
    server: int
    relay: int

    def __str__(self) -> str:
        where = f"{self.strategy}, trial {self.trial}"
        return f"{where}: {self.what}: the server counted {self.server}, the relay {self.relay}"


def disagreements(summary: RunSummary) -> tuple[Disagreement, ...]:
    """Return every count where the server and the relay differ, over all trials on a direct path.

    Compared are the sessions opened, the refusals by code, and the connections open at the trial's end. A count that
    the server cannot tell is not compared, and neither is a trial behind a proxy, whose connections are other ones.
    Where TLS hides from the relay whether a connection got a session, the server may count it either way.
    """
    return tuple(
        found
        for strategy in summary.strategies
        for trial in strategy.trials
        if trial.direct
        for found in _of_trial(trial)
    )


def check(summary: RunSummary) -> None:
    """Raise `CountsDisagree`, with both numbers of each count, unless server and relay agree."""
    found = disagreements(summary)
    if found:
        lines = "\n  ".join(str(one) for one in found)
        raise CountsDisagree(
            f"The server's counters and the relay's events disagree in {len(found)} counts:\n  {lines}",
            next_step="Make sure that nothing else uses the server as the same user during a run, and run again.",
        )


def _of_trial(trial: Trial) -> Iterator[Disagreement]:
    counted = trial.counted
    if counted is None:
        return
    hidden = trial.relay_hidden
    # (what, the server's count, the relay's count, from and to which the server's is no contradiction)
    counts: list[tuple[str, int | None, int, int, int]] = []
    opened, still_open = trial.relay_opened, trial.relay_still_open
    counts.append(("connections opened", counted.opened, opened, opened - hidden, opened))
    counts.append(("connections open at the end", counted.still_open, still_open, still_open, still_open))
    if counted.opened is not None or counted.refused:
        for code in sorted({*counted.refused, *trial.relay_refused}):
            seen = trial.relay_refused[code]
            counts.append((f"refused with {code}", counted.refused.get(code, 0), seen, seen, seen + hidden))
    for what, server, relay, lowest, highest in counts:
        if server is not None and not lowest <= server <= highest:
            yield Disagreement(strategy=trial.strategy, trial=trial.number, what=what, server=server, relay=relay)
