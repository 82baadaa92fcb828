"""The scenarios: one module each, found by its name. `warmline lab list` lists them."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

from warmline_toolkit.errors import UsageError

if TYPE_CHECKING:
    from types import ModuleType

    from warmline_toolkit.lab.scenario import Scenario

ORDER = (
    "guide",
    "burst",
    "steady",
    "scale-out",
    "idle-timer",
    "stale",
    "ghosts",
    "timeout-in-transaction",
    "managed-instances",
)
"""How they are listed: from the guide's question to the corners."""


class UnknownScenario(UsageError):
    """There is no scenario of that name."""

    code = "WL-L101"


def names() -> list[str]:
    """Return every scenario's name, in the order of `ORDER`."""
    found = {module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__)}
    return [name for name in ORDER if name in found] + sorted(found - set(ORDER))


def load(name: str) -> Scenario:
    """Return the scenario called *name*. Raises `UnknownScenario`."""
    if name not in names():
        raise UnknownScenario(f"There is no scenario {name!r}.", next_step=f"Choose one of: {', '.join(names())}.")
    scenario: Scenario = module_of(name).SCENARIO
    return scenario


def module_of(name: str) -> ModuleType:
    """Return the module of the scenario called *name*; its docstring tells how it works."""
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
