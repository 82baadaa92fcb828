"""The strategies: which handler each one is, for which database.

A strategy's place is one line here and one file in examples/.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import warmline_toolkit
from warmline_toolkit.errors import MachineError, UsageError
from warmline_toolkit.lab.handler import Handler, find_handler

if TYPE_CHECKING:
    from collections.abc import Sequence

    from warmline_toolkit.lab.scenario import HandlerKind, Scenario

EXAMPLES = Path(warmline_toolkit.__file__).parent / "examples"

WHAT = {
    "per-request": "connect, work and close in every invocation",
    "keep-open": "connect once outside the handler and keep the connection for every invocation",
    "pool": "a pool outside the handler; each invocation borrows a connection and gives it back",
    "proxy": "keep-open through warmline's proxy, which shares the server's connections among all environments",
    "per-request+warmline": "per-request, with the warmline library",
    "keep-open+warmline": "keep-open, with the warmline library",
    "pool+warmline": "pool, with the warmline library",
}
"""Every strategy and what it does: the guide's four, and those inside the function with the library."""

Route: TypeAlias = Literal["direct", "proxy"]

DEFAULT = ("per-request", "keep-open", "pool", "proxy", "keep-open+warmline")
"""What runs when no strategy is named."""

DEFAULT_FAMILY = {"mariadb": "pymysql", "mysql": "pymysql", "postgres": "psycopg"}


class UnknownStrategy(UsageError):
    """There is no such strategy, or the chosen family of examples does not have it."""

    code = "WL-L102"


class ExampleNotInstalled(MachineError):
    """A Node example's packages are not installed."""

    code = "WL-L103"


@dataclass(frozen=True, kw_only=True)
class Family:
    """Example handlers of one driver: one a strategy."""

    name: str
    folder: Path
    engines: tuple[str, ...]
    handlers: dict[str, str]
    """Strategy → file in *folder*."""
    installed_by: str = ""
    """What to run in *folder* first; empty where nothing is."""


def _python(name: str, *engines: str, extra: dict[str, str] | None = None) -> Family:
    plain = {"per-request": "per_request.py", "keep-open": "keep_open.py", "pool": "pool.py"}
    handlers = {**plain, "proxy": plain["keep-open"], **(extra or {})}
    return Family(name=name, folder=EXAMPLES / "python" / name, engines=engines, handlers=handlers)


_MYSQL = ("mariadb", "mysql")
_MORE = {
    "per-request+warmline": "per_request_warmline.py",
    "keep-open+warmline": "keep_open_warmline.py",
    "pool+warmline": "pool_warmline.py",
    "idle-timer": "idle_timer.py",
}

FAMILIES = {
    family.name: family
    for family in (
        _python("pymysql", *_MYSQL, extra=_MORE),
        _python("psycopg", "postgres", extra=_MORE),
        _python("sqlalchemy", *_MYSQL, "postgres"),
        Family(
            name="mysql2",
            folder=EXAMPLES / "node" / "mysql2-pool",
            engines=_MYSQL,
            handlers={"pool": "index.mjs"},
            installed_by="npm install",
        ),
        Family(
            name="typeorm",
            folder=EXAMPLES / "node" / "typeorm",
            engines=(*_MYSQL, "postgres"),
            handlers={"keep-open": "index.mjs"},
            installed_by="npm install",
        ),
    )
}


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """One thing that is measured: *label* in the table, and the *handler* that runs."""

    label: str
    handler: Handler
    freeze: bool = True
    route: Route = "direct"


def of_user(handler: str) -> Strategy:
    """Return the strategy that is the user's own handler, called by its name. Raises `UnknownHandler`."""
    found = find_handler(handler)
    return Strategy(label=found.name, handler=found)


def choose(scenario: Scenario, *, engine: str, family: str | None, names: Sequence[str]) -> tuple[Strategy, ...]:
    """Return the strategies that *scenario* runs on *engine*: all it has, or those called *names*.

    *family* is the driver whose examples run; the engine's own by default. Raises `UnknownStrategy` for a name or a
    family that is not there, and `ExampleNotInstalled` where a Node example lacks its packages.
    """
    chosen = _family(family or DEFAULT_FAMILY[engine], engine)
    if scenario.variants:
        offered = {
            variant.label: _strategy(chosen, variant.strategy, variant.label, scenario.handler, freeze=variant.freeze)
            for variant in scenario.variants
            if variant.strategy in chosen.handlers
        }
    else:
        offered = {name: _strategy(chosen, name, name, scenario.handler) for name in WHAT if name in chosen.handlers}
    if not offered:
        raise UnknownStrategy(
            f"The {chosen.name} examples have no handler for the scenario {scenario.name!r}.",
            next_step=f"Use --example {DEFAULT_FAMILY[engine]}.",
        )
    unknown = [name for name in names if name not in offered]
    if unknown:
        raise UnknownStrategy(
            f"There is no strategy {unknown[0]!r} in the scenario {scenario.name!r} with the {chosen.name} examples.",
            next_step=f"Choose from: {', '.join(offered)}.",
        )
    chosen_names = names or [name for name in offered if scenario.variants or name in DEFAULT]
    return tuple(offered[name] for name in chosen_names)


def _family(name: str, engine: str) -> Family:
    if name not in FAMILIES:
        raise UnknownStrategy(
            f"There are no examples called {name!r}.", next_step=f"Choose one of: {', '.join(FAMILIES)}."
        )
    family = FAMILIES[name]
    if engine not in family.engines:
        able = [other.name for other in FAMILIES.values() if engine in other.engines]
        raise UnknownStrategy(
            f"The {name} examples do not speak to {engine}.",
            next_step=f"For {engine}, choose one of: {', '.join(able)}.",
        )
    if family.installed_by and not (family.folder / "node_modules").is_dir():
        raise ExampleNotInstalled(
            f"The packages of the {name} example are not installed.",
            next_step=f"Run `{family.installed_by}` in {family.folder.resolve()}.",
        )
    return family


def _strategy(family: Family, name: str, label: str, handler: HandlerKind, *, freeze: bool = True) -> Strategy:
    function = "transfer" if handler == "transfer" else "handler"
    file = family.folder / family.handlers[name]
    route: Route = "proxy" if name == "proxy" else "direct"
    return Strategy(label=label, handler=find_handler(f"{file}:{function}"), freeze=freeze, route=route)
