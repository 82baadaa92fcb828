"""What scenarios check in a measured run: each function returns a sentence where its claim does not hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from warmline_toolkit.lab.scenario import Settings
    from warmline_toolkit.measure.quantiles import Spread
    from warmline_toolkit.measure.summary import RunSummary, StrategySummary

PLAIN = ("per-request", "keep-open", "pool")
"""The guide's strategies inside the function, without help."""


def equals(strategy: StrategySummary, what: str, measured: Spread, expected: float) -> list[str]:
    """Every trial's number is *expected*."""
    if measured.same and measured.median == expected:
        return []
    return [f"{strategy.strategy}: {what}: expected {expected:g}, measured {_range(measured)}"]


def none_refused(strategy: StrategySummary) -> list[str]:
    """No trial had a refused connection."""
    return equals(strategy, "connections refused", strategy.refused, 0)


def none_failed(strategy: StrategySummary) -> list[str]:
    """No invocation failed in any trial."""
    return equals(strategy, f"failed invocations {_codes(strategy)}".rstrip(), strategy.errors, 0)


def proxied(summary: RunSummary) -> list[str]:
    """Behind the proxy nothing is refused and nothing fails; a run without it has nothing to hold."""
    found = [strategy for strategy in summary.strategies if strategy.strategy == "proxy"]
    return [line for strategy in found for line in none_refused(strategy) + none_failed(strategy)]


def some_refused(strategy: StrategySummary) -> list[str]:
    """Every trial had a refused connection, counted with the server's code."""
    if strategy.refused.lowest >= 1:
        return []
    return [f"{strategy.strategy}: expected refused connections in every trial, measured {_range(strategy.refused)}"]


def some_failed(strategy: StrategySummary) -> list[str]:
    """Every trial had a failed invocation."""
    if strategy.errors.lowest >= 1:
        return []
    return [f"{strategy.strategy}: expected failed invocations in every trial, measured {_range(strategy.errors)}"]


def no_more_than_environments(strategy: StrategySummary, settings: Settings) -> list[str]:
    """In every trial at most one connection was opened for each process of each environment."""
    for opened, environments in zip(
        strategy.connections_opened.per_trial, strategy.environments.per_trial, strict=True
    ):
        if opened is not None and environments is not None and opened > environments * settings.processes:
            one = f"{settings.processes} processes each"
            return [f"{strategy.strategy}: opened {opened:g} connections on {environments:g} environments of {one}"]
    return []


def noted(summary: RunSummary, strategy: str, name: str, expected: float) -> list[str]:
    """Every trial of *strategy* noted *expected* under *name*; a strategy that did not run has nothing to hold."""
    return [
        f"{strategy}, trial {note.trial}: {name}: expected {expected:g}, measured {note.value}"
        for note in summary.notes
        if note.strategy == strategy and note.name == name and note.value != expected
    ]


def noted_at_least(summary: RunSummary, strategy: str, name: str, least: float) -> list[str]:
    """Every trial of *strategy* noted at least *least* under *name*."""
    return [
        f"{strategy}, trial {note.trial}: {name}: expected at least {least:g}, measured {note.value}"
        for note in summary.notes
        if note.strategy == strategy and note.name == name and float(note.value) < least
    ]


def _range(measured: Spread) -> str:
    return f"{measured.median:g}" if measured.same else f"{measured.lowest:g} to {measured.highest:g}"


def _codes(strategy: StrategySummary) -> str:
    return f"({', '.join(strategy.errors_by_code)})" if strategy.errors_by_code else ""
