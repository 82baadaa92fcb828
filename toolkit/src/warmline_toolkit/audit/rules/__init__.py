"""The rules, one module each: `wl_a001_connect_in_handler` holds WL-A001. They are found by their names."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import TYPE_CHECKING

from warmline_toolkit.audit.finding import Rule

if TYPE_CHECKING:
    from collections.abc import Iterable


@cache
def all_rules() -> tuple[Rule, ...]:
    """Return every rule, by code."""
    found = []
    for module in pkgutil.iter_modules(__path__):
        if module.name.startswith("wl_a"):
            rule = importlib.import_module(f"{__name__}.{module.name}").RULE
            assert isinstance(rule, Rule)  # noqa: S101 - a programming error of ours, not a user's
            found.append(rule)
    return tuple(sorted(found, key=lambda rule: rule.code))


def rules_by_code(codes: Iterable[str]) -> tuple[Rule, ...]:
    """Return the rules with the given codes; raises KeyError with the first code that no rule has."""
    known = {rule.code: rule for rule in all_rules()}
    return tuple(known[code] for code in codes)
