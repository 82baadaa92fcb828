"""Numbers as people read them."""

from __future__ import annotations


def shorten(value: float) -> str:
    """Write a number as people read it: whole from ten on, else two digits."""
    return f"{value:,.0f}" if abs(value) >= 10 or value == int(value) else f"{value:.2g}"  # noqa: PLR2004


def money(value: float) -> str:
    """Write a monthly price."""
    return f"${value:,.0f}" if value >= 10 else f"${value:,.2f}"  # noqa: PLR2004


def percent(share: float) -> str:
    """Write a share: enough digits for a small one."""
    if share == 0:
        return "0 %"
    if share < 1e-6:  # noqa: PLR2004
        return "< 0.0001 %"
    return f"{share * 100:.3g} %"


def plural(word: str, number: int) -> str:
    """Write a noun for its number."""
    return word if number == 1 else f"{word}s"
