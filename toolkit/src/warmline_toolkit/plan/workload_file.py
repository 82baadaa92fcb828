"""Read and write a workload file: YAML, checked against the settings' rules, every error with its line."""

from __future__ import annotations

import dataclasses
import difflib
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from warmline_toolkit.plan import series
from warmline_toolkit.plan.errors import BadWorkload
from warmline_toolkit.plan.workload import (
    Arrivals,
    Costs,
    Database,
    Function,
    Platform,
    Proxy,
    Rule,
    Workload,
    rules,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

T = TypeVar("T")
NESTED: dict[type, dict[str, type]] = {Function: {"arrivals": Arrivals}, Database: {"proxy": Proxy, "costs": Costs}}
"""Settings that are settings of their own."""

LOADS = ("rate_per_s", "concurrency", "environments", "arrivals")
"""What a function offers: one of these."""


class _Node:
    """A YAML node with its file, so that what is wrong with it can be said with its line."""

    def __init__(self, node: yaml.Node, file: str, where: str) -> None:
        self.node = node
        self.file = file
        self.where = where

    @property
    def line(self) -> int:
        return int(self.node.start_mark.line) + 1

    def wrong(self, what: str, *, next_step: str = "Correct the line.") -> BadWorkload:
        at = f" at {self.where}" if self.where else ""
        return BadWorkload(f"{self.file}, line {self.line}{at}: {what}", next_step=next_step)

    def found(self) -> str:
        """Say what stands there, as the user wrote it."""
        if isinstance(self.node, yaml.ScalarNode):
            return repr(self.node.value) if self.node.value else "nothing"
        return "a list" if isinstance(self.node, yaml.SequenceNode) else "a mapping"

    def items(self) -> Iterator[tuple[_Node, str, _Node]]:
        if not isinstance(self.node, yaml.MappingNode):
            raise self.wrong(f"expected a mapping of settings, found {self.found()}.")
        seen: set[str] = set()
        for key, value in self.node.value:
            name = str(key.value)
            place = _Node(key, self.file, self.where)
            if name in seen:
                raise place.wrong(f"{name!r} is there twice.", next_step="Keep one of them.")
            seen.add(name)
            yield place, name, _Node(value, self.file, f"{self.where}.{name}" if self.where else name)


def read(file: Path) -> Workload:
    """Return the workload that *file* holds, or raise `BadWorkload` with the line and what was expected."""
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise BadWorkload(
            f"{file} cannot be read: {reason}.", next_step="Name a workload file: docs/reference/workload-file.md."
        ) from error
    return parse(text, file=str(file), open_series=lambda name: _series(file.parent / name))


def parse(text: str, *, file: str, open_series: Callable[[str], series.Series]) -> Workload:
    """Return the workload in *text*. *open_series* reads a file of arrivals that a function names."""
    root = _composed(text, file)
    functions: list[Function] = []
    databases: list[Database] = []
    platform = Platform()
    owners: dict[str, _Node] = {}
    for key, name, value in _Node(root, file, "").items():
        if name == "functions":
            for _, function_name, node in value.items():
                function = _function(node, function_name, open_series)
                functions.append(function)
                owners[function_name] = node
        elif name == "databases":
            databases.extend(_fill(Database, node, {"name": database_name}) for _, database_name, node in value.items())
        elif name == "platform":
            platform = _fill(Platform, value, {})
        else:
            raise key.wrong(_unknown(name, ["functions", "databases", "platform"]))
    top = _Node(root, file, "")
    if not functions:
        raise top.wrong("there are no functions; expected a mapping 'functions' with at least one.")
    if not databases:
        raise top.wrong("there are no databases; expected a mapping 'databases' with at least one.")
    names = [database.name for database in databases]
    placed = tuple(_placed(function, names, owners[function.name]) for function in functions)
    return Workload(functions=placed, databases=tuple(databases), platform=platform, source=file)


def _composed(text: str, file: str) -> yaml.Node:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise BadWorkload(f"{file}{line}: this is not YAML: {problem}.", next_step="Correct the line.") from error
    if root is None:
        raise BadWorkload(
            f"{file} is empty; expected functions and databases.", next_step="See docs/reference/workload-file.md."
        )
    return root


def _placed(function: Function, databases: list[str], node: _Node) -> Function:
    """Return the function with its database: the only one of the file unless it names one."""
    if function.database == Function().database and len(databases) == 1:
        return dataclasses.replace(function, database=databases[0])
    if function.database not in databases:
        raise node.wrong(
            f"database {function.database!r} is not in this file; expected {_or(databases)}.",
            next_step="Name one of the file's databases with `database:`.",
        )
    return function


def check(name: str, value: Any, rule: Rule) -> str | None:
    """Return what is wrong with a value, or None. The rules of the file and of the command line are the same."""
    wrong = f"{name} is {value!r}; expected {rule.expectation()}."
    if rule.choices or rule.text or rule.flag:
        kind = bool if rule.flag else str
        bad = not isinstance(value, kind) or (bool(rule.choices) and value not in rule.choices)
        return wrong if bad else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value or value == float("inf"):  # noqa: PLR0124
        return wrong
    if rule.whole and value != int(value):
        return wrong
    too_low = (rule.minimum is not None and value < rule.minimum) or (rule.above is not None and value <= rule.above)
    too_high = rule.maximum is not None and value > rule.maximum
    return wrong if too_low or too_high else None


def to_yaml(workload: Workload, *, comments: tuple[str, ...] = ()) -> str:
    """Return the workload as a file: only what differs from the defaults, with *comments* at the top."""
    document: dict[str, Any] = {}
    platform = _differences(workload.platform, skip=())
    if platform:
        document["platform"] = platform
    document["databases"] = {d.name: _differences(d, skip=("name",)) for d in workload.databases}
    document["functions"] = {f.name: _differences(f, skip=("name",)) for f in workload.functions}
    head = "".join(f"# {comment}\n" for comment in comments)
    return head + yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)


def _differences(settings: Any, *, skip: tuple[str, ...]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    known = rules(type(settings))
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        nested = NESTED.get(type(settings), {}).get(field.name)
        if field.name in skip or value is None or (field.name not in known and nested is None):
            continue
        if nested is not None:
            result[field.name] = _differences(value, skip=())
        elif value != field.default:
            result[field.name] = value
    return result


def _function(node: _Node, name: str, open_series: Callable[[str], series.Series]) -> Function:
    function = _fill(Function, node, {"name": name})
    loads = [load for load in LOADS if getattr(function, load) is not None]
    if not loads:
        raise node.wrong(
            f"function {name!r} has no load; expected one of {', '.join(LOADS)}.",
            next_step="Say how often it is invoked: `rate_per_s: 10`.",
        )
    if len(loads) > 1:
        raise node.wrong(
            f"function {name!r} has {' and '.join(loads)}; expected one of them.",
            next_step="Keep the one you know best.",
        )
    if function.cold_ms is not None and function.cold_ms < function.warm_ms:
        raise node.wrong(
            f"cold_ms is {function.cold_ms:g}, below warm_ms {function.warm_ms:g}; expected it to include the Init.",
        )
    arrivals = function.arrivals
    if arrivals is not None:
        place = next(value for _, key, value in node.items() if key == "arrivals")
        if (arrivals.shape == "file") != (arrivals.file is not None):
            raise place.wrong("shape 'file' and a file belong together; expected both or neither.")
        if arrivals.file is not None:
            found = open_series(arrivals.file)
            arrivals = dataclasses.replace(
                arrivals,
                times_s=found.times_s,
                counts=found.counts,
                rate_per_s=found.rate_per_s,
                peak_rate_per_s=found.peak_rate_per_s,
            )
            return dataclasses.replace(function, arrivals=arrivals)
        if arrivals.shape == "burst" and not arrivals.requests:
            raise place.wrong("a burst without requests; expected how many arrive at once.")
    return function


def _fill(of: type[T], node: _Node, given: dict[str, Any]) -> T:
    known = rules(of)
    nested = NESTED.get(of, {})
    values: dict[str, Any] = dict(given)
    for key, name, value in node.items():
        if name in nested:
            values[name] = _fill(nested[name], value, {})
            continue
        if name not in known or name in given:
            raise key.wrong(_unknown(name, [*known, *nested]))
        found = _scalar(value, known[name])
        bad = check(name, found, known[name])
        if bad:
            raise value.wrong(bad)
        values[name] = int(found) if known[name].whole and found is not None else found
    missing = [
        field.name
        for field in dataclasses.fields(of)  # type: ignore[arg-type] # every class here is a dataclass
        if field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
        and field.name not in values
    ]
    if missing:
        raise node.wrong(f"{missing[0]} is missing; expected {known[missing[0]].expectation()}.")
    return of(**values)


def _scalar(node: _Node, rule: Rule) -> Any:
    if not isinstance(node.node, yaml.ScalarNode):
        raise node.wrong(f"expected {rule.expectation()}, found {node.found()}.")
    value = yaml.constructor.SafeConstructor().construct_object(node.node)
    if rule.text and value is not None:
        return str(node.node.value)
    if value is None:
        raise node.wrong(f"expected {rule.expectation()}, found nothing.")
    return value


def _series(file: Path) -> series.Series:
    return series.read(file)


def _unknown(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"unknown setting {name!r}; " + (f"did you mean {near[0]!r}?" if near else f"expected {_or(known)}.")


def _or(names: list[str]) -> str:
    return ", ".join(names[:-1]) + f" or {names[-1]}" if len(names) > 1 else names[0]
