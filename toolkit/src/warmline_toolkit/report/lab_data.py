"""The JSON form of a lab run. Its keys are a contract: docs/reference/report.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from warmline_toolkit.measure.agree import disagreements
from warmline_toolkit.measure.answer import answer
from warmline_toolkit.measure.verdict import rate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from warmline_toolkit.measure.quantiles import Latency, Spread
    from warmline_toolkit.measure.summary import RunSummary, StrategySummary
    from warmline_toolkit.measure.verdict import Verdict, Verdicts

SCHEMA = 1
"""Raised when a key changes its meaning or goes; new keys may come at any time."""

SPREADS = (
    "invocations",
    "environments",
    "cold_starts",
    "connections_opened",
    "client_connections_opened",
    "connections_peak",
    "connections_peak_relay",
    "connections_peak_server",
    "still_open",
    "ghosts",
    "ghosts_at_end",
    "refused",
    "errors",
    "throttled",
    "dropped",
    "resets",
    "answers_per_busy_second",
    "answers_per_busy_second_warm",
    "round_trips_per_invocation",
    "server_cpu_ms_per_invocation",
)
"""The numbers that are a median over the trials, by their name in `StrategySummary`."""

LATENCIES = {
    "latency_ms": "latency",
    "latency_cold_ms": "latency_cold",
    "latency_warm_ms": "latency_warm",
    "caller_latency_ms": "caller_latency",
    "init_ms": "init",
}


def lab_data(summary: RunSummary) -> dict[str, Any]:
    """Return the whole run as plain data: strings, numbers, lists, mappings; None where a number is not known."""
    verdicts = {verdict.strategy: verdict for verdict in rate(summary)}
    return {
        "schema": SCHEMA,
        "scenario": summary.scenario,
        "title": summary.title,
        "expectation": summary.expectation,
        "started": summary.started,
        "complete": summary.complete,
        "answer": answer(summary),
        "settings": summary.settings,
        "provenance": summary.provenance,
        "strategies": [_strategy(strategy, verdicts[strategy.strategy]) for strategy in summary.strategies],
        "notes": [
            {"strategy": note.strategy, "trial": note.trial, "name": note.name, "value": note.value, "unit": note.unit}
            for note in summary.notes
        ],
        "faults": [
            {"strategy": fault.strategy, "trial": fault.trial, "at_s": fault.at_s, "what": fault.what}
            for fault in summary.faults
        ],
        "disagreements": [str(one) for one in disagreements(summary)],
        "unfinished_trials": list(summary.unfinished),
    }


def _strategy(strategy: StrategySummary, verdicts: Verdicts) -> dict[str, Any]:
    spreads: dict[str, Spread | None] = {name: getattr(strategy, name) for name in SPREADS}
    latencies: dict[str, Latency | None] = {name: getattr(strategy, field) for name, field in LATENCIES.items()}
    return {
        "strategy": strategy.strategy,
        "server": strategy.server,
        "path": strategy.path,
        "limit": strategy.limit,
        "trials": len(strategy.trials),
        **{name: _rounded(value.median) if value else None for name, value in spreads.items()},
        "refused_by_code": _medians(strategy.refused_by_code),
        "errors_by_code": _medians(strategy.errors_by_code),
        **{name: _latency(value) for name, value in latencies.items()},
        "spread": {
            **{name: _spread(value) for name, value in spreads.items() if value},
            "refused_by_code": {code: _spread(value) for code, value in strategy.refused_by_code.items()},
            "errors_by_code": {code: _spread(value) for code, value in strategy.errors_by_code.items()},
            **{
                name: {q: _spread(value) for q, value in distribution.spread.items()}
                for name, distribution in latencies.items()
                if distribution
            },
        },
        "verdicts": {
            "performance": _verdict(verdicts.performance),
            "latency": _verdict(verdicts.latency),
            "load": _verdict(verdicts.load),
            "recommendation": {"word": verdicts.advice.value, "because": verdicts.because},
        },
    }


def _medians(counts: Mapping[str, Spread]) -> dict[str, float]:
    return {code: value.median for code, value in counts.items()}


def _spread(value: Spread) -> dict[str, Any]:
    return {
        "lowest": _rounded(value.lowest),
        "highest": _rounded(value.highest),
        "per_trial": [None if one is None else _rounded(one) for one in value.per_trial],
    }


def _latency(value: Latency | None) -> dict[str, float] | None:
    if value is None:
        return None
    quantiles = {"p50": value.p50, "p95": value.p95, "p99": value.p99, "max": value.max}
    return {**{name: _rounded(ms) for name, ms in quantiles.items()}, "n": value.n}


def _verdict(verdict: Verdict) -> dict[str, str]:
    return {"rating": verdict.rating.value, "word": verdict.word, "because": verdict.because}


def _rounded(value: float) -> float:
    """Keep microseconds of a time in milliseconds: more digits are noise of the clock."""
    return value if isinstance(value, int) else round(value, 3)
