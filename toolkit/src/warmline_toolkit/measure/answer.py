"""The guide's question, answered from a run: how many connections does each strategy open?"""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    )


def _offer(summary: RunSummary) -> str:
    first = summary.strategies[0]
    offer = f"{_number(first.invocations)} requests"
    if all(one.environments == first.environments for one in summary.strategies):
        offer += f" on {_number(first.environments)} execution environments"
    if first.limit is not None and all(one.limit == first.limit for one in summary.strategies):
        offer += f", against a database that takes {first.limit} connections"
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
        each = " with each" if len(strategies) > 1 else ""
        yield f"At most {_number(strategies[0].connections_peak)} were open at once{each}."
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


def _listed(strategies: Sequence[StrategySummary], pick: Callable[[StrategySummary], Spread]) -> str:
    return ", ".join(f"{one.strategy} {_number(pick(one))}" for one in strategies)


def _number(value: Spread) -> str:
    if value.same:
        return f"{value.median:,.10g}"
    return f"{value.median:,.10g} ({value.lowest:,.10g} to {value.highest:,.10g} over the trials)"
