"""How numbers read: one place, so that every output writes them alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from warmline_toolkit.measure.quantiles import Spread

UNKNOWN = "not told"
"""Stands for a number that the server or the run cannot tell."""


def number(value: float) -> str:
    """Write a plain number: whole ones with thousands apart, others with three significant digits."""
    if float(value).is_integer() and abs(value) < 1e15:  # noqa: PLR2004 - where floats stop being exact integers
        return f"{value:,.0f}"
    if abs(value) >= 100:  # noqa: PLR2004 - three digits are before the point
        return f"{value:,.0f}"
    if abs(value) >= 10:  # noqa: PLR2004
        return f"{value:.1f}"
    if abs(value) >= 1:
        return f"{value:.2f}"
    return f"{value:.3f}"


def spread_range(value: Spread) -> str:
    """Write the range over the trials; empty where every trial gave the same."""
    return "" if value.same else f"{number(value.lowest)}–{number(value.highest)}"


def fact(value: Any) -> str:
    """Write a provenance value or a setting, whatever its type."""
    match value:
        case bool():
            return "yes" if value else "no"
        case dict():
            return ", ".join(f"{name} {fact(inner)}" for name, inner in value.items())
        case list() | tuple():
            return ", ".join(fact(inner) for inner in value)
        case float():
            return f"{value:.6g}"
        case None:
            return "none"
        case _:
            return str(value)


def plural(count: int, noun: str) -> str:
    """Write a count with its noun: "1 trial", "3 trials"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
