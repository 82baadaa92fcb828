"""The guide's question, answered from a run: how many connections does each strategy open?"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from warmline_toolkit.measure.quantiles import Spread
    from warmline_toolkit.measure.summary import RunSummary, StrategySummary

_DOING = {
    "per-request": "closing after each request",
    "keep-open": "keeping the connection open",
    "pool": "a pool in each environment",
    "proxy": "a proxy between",
}


def answer(summary: RunSummary) -> str:
    """Say in a few sentences what was offered, and what each strategy opened beside the formula that gives the number.

    Counted, not assumed: a formula is named only where the counts of every trial fit it.
    """
    first = summary.strategies[0]
    offered = f"{_number(first.invocations)} requests"
    if all(one.environments == first.environments for one in summary.strategies):
        offered += f" on {_number(first.environments)} execution environments"
    limits = {one.limit for one in summary.strategies}
    if len(limits) == 1 and first.limit is not None:
        offered += f", with a database that takes {first.limit} connections"
    parts = [f"{_doing(one)} opened {_opened(one)}" for one in summary.strategies]
    return f"{offered}: {'; '.join(parts)}. {_outcome(summary)}"


def _doing(strategy: StrategySummary) -> str:
    doing = _DOING.get(strategy.strategy)
    return f"{doing} ({strategy.strategy})" if doing else strategy.strategy


def _opened(strategy: StrategySummary) -> str:
    opened = strategy.connections_opened
    text = f"{_number(opened)}"
    product = formula(strategy)
    return f"{text}, {product}" if product else text


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


def _outcome(summary: RunSummary) -> str:
    peaks = ", ".join(f"{one.strategy} {_number(one.connections_peak)}" for one in summary.strategies)
    refused = [one for one in summary.strategies if one.refused.highest > 0]
    if not refused:
        ending = "no connection was refused"
    else:
        counts = ", ".join(f"{one.strategy} {_number(one.refused)}" for one in refused)
        ending = f"connections refused: {counts}"
    return f"Most open at once: {peaks}; {ending}."


def _number(value: Spread) -> str:
    if value.same:
        return f"{value.median:,.10g}"
    return f"{value.median:,.10g} (from {value.lowest:,.10g} to {value.highest:,.10g} over the trials)"
