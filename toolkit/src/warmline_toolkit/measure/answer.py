"""The guide's question, answered from a run: how many connections does each strategy open?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmline_toolkit.measure.quantiles import spread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from warmline_toolkit.measure.quantiles import Spread
    from warmline_toolkit.measure.summary import RunSummary, StrategySummary

_DOING = {
    "per-request": "Closing after each request",
    "keep-open": "Keeping the connection open",
    "pool": "A pool in each environment",
    "proxy": "A proxy between",
}


def answer(summary: RunSummary) -> str:
    """Say in a few sentences what was offered, what each strategy opened, and what came of it."""
    return " ".join(sentences(summary))


def sentences(summary: RunSummary) -> tuple[str, ...]:
    """Return the answer's sentences: the offer, one for each strategy with its count beside the formula, the outcome.

    Counted, not assumed: a formula is named only where the counts of every trial fit it.
    """
    return (
        f"{_offer(summary)}.",
        *(f"{_doing(one)} opened {_opened(one)}." for one in summary.strategies),
        *_outcome(summary),
        *_noted(summary),
    )


def _offer(summary: RunSummary) -> str:
    first = summary.strategies[0]
    offer = _some(first.invocations, "request")
    if all(one.environments == first.environments for one in summary.strategies):
        offer += f" on {_some(first.environments, 'execution environment')}"
    if first.limit is not None and all(one.limit == first.limit for one in summary.strategies):
        offer += f", against a database that takes {first.limit} connection{'' if first.limit == 1 else 's'}"
    return offer


def _doing(strategy: StrategySummary) -> str:
    doing = _DOING.get(strategy.strategy)
    return f"{doing} ({strategy.strategy})" if doing else strategy.strategy


def _opened(strategy: StrategySummary) -> str:
    opened = strategy.connections_opened
    text = f"{_number(opened)}"
    product = formula(strategy)
    return f"{text}: {product}" if product else text


def formula(strategy: StrategySummary) -> str:
    """Name the product that gives the count in every trial, if one does: the simplest first."""
    products = [
        (multiple, per, total)
        for per, total in (("environment", strategy.environments), ("request", strategy.invocations))
        if total.same and (multiple := _multiple(strategy.connections_opened, total)) is not None
    ]
    if not products:
        return ""
    multiple, per, total = min(products, key=lambda product: product[0])
    each = "one" if multiple == 1 else f"{multiple}"
    return f"{each} per {per} ({total.median:,.0f} × {multiple})"


def _multiple(have: Spread, of: Spread) -> int | None:
    """Return the whole number that *of* times gives *have* in every trial, None where there is none."""
    if not have.same or not of.median or have.median % of.median or not have.median:
        return None
    return int(have.median // of.median)


def _outcome(summary: RunSummary) -> Iterator[str]:
    strategies = summary.strategies
    if all(one.connections_peak == strategies[0].connections_peak for one in strategies):
        peak = strategies[0].connections_peak
        were = "was" if peak.same and peak.median == 1 else "were"
        yield f"At most {_number(peak)} {were} open at once{' with each' if len(strategies) > 1 else ''}."
    else:
        yield f"Most open at once: {_listed(strategies, lambda one: one.connections_peak)}."
    refused = [one for one in strategies if one.refused.highest > 0]
    if refused:
        yield f"The server refused connections: {_listed(refused, lambda one: one.refused)}."
    else:
        yield "The server refused none."
    failed = [one for one in strategies if one.errors.highest > 0]
    if failed:
        yield f"Requests failed: {_listed(failed, lambda one: one.errors)}."


def _noted(summary: RunSummary) -> Iterator[str]:
    """Say what the scenario measured in its own way: it is what the scenario is for."""
    own = [note for note in summary.notes if note.strategy and _is_number(note.value)]
    for name in dict.fromkeys(note.name for note in own):
        parts = []
        for strategy in dict.fromkeys(note.strategy for note in own if note.name == name):
            value = spread([float(note.value) for note in own if note.name == name and note.strategy == strategy])
            unit = next((note.unit for note in own if note.name == name and note.unit), "")
            if value is not None:
                parts.append(f"{strategy} {_number(value, unit)}")
        yield f"{name[:1].upper()}{name[1:].replace('-', ' ').replace('_', ' ')}: {'; '.join(parts)}."


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _listed(strategies: Sequence[StrategySummary], pick: Callable[[StrategySummary], Spread]) -> str:
    return ", ".join(f"{one.strategy} {_number(pick(one))}" for one in strategies)


def _some(value: Spread, noun: str) -> str:
    return f"{_number(value)} {noun}{'' if value.same and value.median == 1 else 's'}"


def _number(value: Spread, unit: str = "") -> str:
    median = f"{_plain(value.median)} {unit}".rstrip()
    if value.same:
        return median
    return f"{median} ({_plain(value.lowest)} to {_plain(value.highest)} over the trials)"


def _plain(value: float) -> str:
    """Write counts whole and other numbers with three significant digits."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.3g}" if abs(value) < MANY else f"{value:,.0f}"


MANY = 1000
