"""The dated data the planner knows: limits, prices, costs. A user's file of the same form overrides any part."""

from __future__ import annotations

import importlib.resources
from functools import cache
from typing import TYPE_CHECKING, Any

import yaml

from warmline_toolkit.plan.errors import BadData

if TYPE_CHECKING:
    from pathlib import Path

PARTS = ("limits", "prices", "costs")


class Reference:
    """Limits, prices and costs, as plain mappings, each with its date."""

    def __init__(self, limits: dict[str, Any], prices: dict[str, Any], costs: dict[str, Any]) -> None:
        """Hold the three mappings."""
        self.limits = limits
        self.prices = prices
        self.costs = costs

    def dates(self) -> tuple[tuple[str, str], ...]:
        """Say how old each part is."""
        return tuple((part, str(getattr(self, part)["as_of"])) for part in PARTS)


@cache
def shipped() -> Reference:
    """Return the data that comes with warmline."""
    folder = importlib.resources.files("warmline_toolkit.plan") / "data"
    return Reference(*(yaml.safe_load((folder / f"{part}.yaml").read_text("utf-8")) for part in PARTS))


def with_overrides(file: Path | None) -> Reference:
    """Return the shipped data with what *file* says instead: a YAML mapping with any of limits, prices and costs."""
    if file is None:
        return shipped()
    try:
        given = yaml.safe_load(file.read_text("utf-8"))
    except OSError as error:
        raise BadData(f"{file} cannot be read: {error.strerror}.", next_step="Name a file that exists.") from error
    except yaml.YAMLError as error:
        raise BadData(f"{file} is not YAML: {error}", next_step="Correct it.") from error
    if not isinstance(given, dict) or not given or set(given) - set(PARTS):
        raise BadData(
            f"{file} holds {', '.join(map(str, given)) if isinstance(given, dict) else given!r}; expected a mapping "
            f"with any of {', '.join(PARTS)}.",
            next_step="Put your values under these keys, in the form of the shipped files.",
        )
    base = shipped()
    return Reference(*(_over(getattr(base, part), given.get(part, {}), where=f"{file}: {part}") for part in PARTS))


def _over(base: Any, given: Any, *, where: str) -> Any:
    if isinstance(base, dict):
        if not isinstance(given, dict):
            raise BadData(f"{where} is {given!r}; expected a mapping.", next_step="Use the shipped file's form.")
        return base | {
            key: _over(base[key], value, where=f"{where}.{key}") if key in base else value
            for key, value in given.items()
        }
    if isinstance(base, (int, float)) and not isinstance(base, bool) and not isinstance(given, (int, float)):
        raise BadData(f"{where} is {given!r}; expected a number.", next_step="Use the shipped file's form.")
    return given
