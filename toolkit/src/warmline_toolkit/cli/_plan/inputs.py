"""Options that describe a workload, built from the settings' own rules, and the workload they and a file make."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from warmline_toolkit.plan import workload_file
from warmline_toolkit.plan.errors import BadWorkload
from warmline_toolkit.plan.reference import Reference, with_overrides
from warmline_toolkit.plan.workload import Arrivals, Database, Function, Platform, Proxy, ShapeName, Workload, rules

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")

OPTIONS: tuple[tuple[type, str, str], ...] = (
    (Function, "rate_per_s", "--rate"),
    (Function, "peak_rate_per_s", "--peak-rate"),
    (Function, "concurrency", "--concurrency"),
    (Function, "environments", "--environments"),
    (Function, "warm_ms", "--warm-ms"),
    (Function, "cold_ms", "--cold-ms"),
    (Function, "variation", "--variation"),
    (Function, "memory_mb", "--memory"),
    (Function, "reserved_concurrency", "--reserved-concurrency"),
    (Function, "maximum_concurrency", "--maximum-concurrency"),
    (Function, "provisioned_concurrency", "--provisioned-concurrency"),
    (Function, "processes", "--processes"),
    (Function, "trigger", "--trigger"),
    (Function, "strategy", "--strategy"),
    (Function, "pool_size", "--pool-size"),
    (Function, "query_ms", "--query-ms"),
    (Function, "queries", "--queries"),
    (Function, "pinned_share", "--pinned-share"),
    (Arrivals, "shape", "--arrivals"),
    (Arrivals, "to_rate_per_s", "--to-rate"),
    (Arrivals, "requests", "--burst"),
    (Arrivals, "file", "--arrivals-file"),
    (Database, "engine", "--engine"),
    (Database, "instance_class", "--class"),
    (Database, "min_acu", "--min-acu"),
    (Database, "max_acu", "--max-acu"),
    (Database, "max_connections", "--max-connections"),
    (Database, "reserved_connections", "--reserved-connections"),
    (Database, "server_timeout_s", "--server-timeout"),
    (Database, "vcpus", "--vcpus"),
    (Proxy, "max_connections_percent", "--proxy-percent"),
    (Proxy, "borrow_timeout_s", "--borrow-timeout"),
    (Platform, "idle_timeout_s", "--idle-timeout"),
    (Platform, "account_concurrency", "--account-concurrency"),
    (Platform, "scale_out_per_s", "--scale-out"),
    (Platform, "scale_out_burst", "--scale-out-burst"),
    (Platform, "reap", "--reap"),
    (Platform, "reuse", "--reuse"),
    (Platform, "deploy_at_s", "--deploy-at"),
)


def _parameter(of: type, name: str) -> str:
    return f"{of.__name__.lower()}__{name}"


def workload_options(command: F) -> F:
    """Add the workload's file and options, and --data, to a command; they arrive as `**given`."""
    command = click.option(
        "--data",
        type=click.Path(path_type=Path),
        help="Your own limits, prices or costs: a YAML file over the shipped ones.",
    )(command)
    for of, name, flag in reversed(OPTIONS):
        rule = rules(of)[name]
        kind: Any = float
        if rule.choices:
            kind = click.Choice(rule.choices)
        elif rule.text:
            kind = str
        elif rule.whole:
            kind = int
        command = click.option(flag, _parameter(of, name), type=kind, default=None, help=rule.doc)(command)
    return click.argument("file", type=click.Path(path_type=Path), required=False)(command)


def reference_of(given: dict[str, Any]) -> Reference:
    """Return the reference data, with the user's file over it."""
    return with_overrides(given["data"])


def workload_of(given: dict[str, Any]) -> Workload:
    """Return the workload that the file and the options describe, or raise `BadWorkload`."""
    changes = {of: _changes(given, of) for of in (Function, Arrivals, Database, Proxy, Platform)}
    if given["file"] is not None:
        return _changed(workload_file.read(given["file"]), changes)
    function = _function(Function(), changes[Function], changes[Arrivals])
    if function.arrivals is None and all(getattr(function, load) is None for load in workload_file.LOADS):
        raise BadWorkload(
            "there is no load; expected a workload file or one of --rate, --concurrency, --environments, --burst, "
            "--arrivals-file.",
            next_step="Say how often the function is invoked: --rate 10.",
        )
    database = _database(Database(), changes[Database], changes[Proxy])
    return Workload(functions=(function,), databases=(database,), platform=Platform(**changes[Platform]))


def _changes(given: dict[str, Any], of: type) -> dict[str, Any]:
    known = rules(of)
    found = {}
    for owner, name, flag in OPTIONS:
        value = given[_parameter(owner, name)]
        if owner is not of or value is None:
            continue
        bad = workload_file.check(flag, value, known[name])
        if bad:
            raise BadWorkload(bad, next_step="Correct the option.")
        found[name] = value
    return found


def _changed(workload: Workload, changes: dict[Any, dict[str, Any]]) -> Workload:
    functions = tuple(_function(function, changes[Function], changes[Arrivals]) for function in workload.functions)
    databases = tuple(_database(database, changes[Database], changes[Proxy]) for database in workload.databases)
    platform = dataclasses.replace(workload.platform, **changes[Platform])
    return dataclasses.replace(workload, functions=functions, databases=databases, platform=platform)


def _function(function: Function, changes: dict[str, Any], arrivals: dict[str, Any]) -> Function:
    loads = [load for load in workload_file.LOADS if changes.get(load) is not None]
    if len(loads) > 1:
        flags = [flag for _, name, flag in OPTIONS if name in loads]
        raise BadWorkload(
            f"{' and '.join(flags)} are given; expected one of them.", next_step="Keep the one you know best."
        )
    if loads or arrivals:
        changes = {"rate_per_s": None, "concurrency": None, "environments": None, "arrivals": None, **changes}
    if arrivals:
        rate = changes["rate_per_s"] or function.mean_rate_per_s
        changes |= {
            "arrivals": _arrivals(arrivals, rate=rate),
            "rate_per_s": None,
            "concurrency": None,
            "environments": None,
        }
    changed = dataclasses.replace(function, **changes)
    if changed.cold_ms is not None and changed.cold_ms < changed.warm_ms:
        raise BadWorkload(
            f"--cold-ms is {changed.cold_ms:g}, below --warm-ms {changed.warm_ms:g}; expected the whole duration, Init "
            "included.",
            next_step="Give the duration of an invocation that waited for a new environment.",
        )
    return changed


def _arrivals(changes: dict[str, Any], *, rate: float) -> Arrivals:
    from warmline_toolkit.plan import series  # noqa: PLC0415 - only where a file is read

    if "file" in changes:
        found = series.read(Path(changes["file"]))
        return Arrivals(
            shape="file",
            file=changes["file"],
            times_s=found.times_s,
            counts=found.counts,
            rate_per_s=found.rate_per_s,
            peak_rate_per_s=found.peak_rate_per_s,
        )
    if "requests" in changes:
        return Arrivals(shape="burst", requests=changes["requests"])
    if changes.get("shape") in ("burst", "file"):
        raise BadWorkload(
            f"--arrivals {changes['shape']} is not enough.",
            next_step="Give --burst N, or --arrivals-file FILE, instead.",
        )
    shape: ShapeName = changes.get("shape") or ("ramp" if "to_rate_per_s" in changes else "poisson")
    return Arrivals(shape=shape, rate_per_s=rate, to_rate_per_s=changes.get("to_rate_per_s"))


def _database(database: Database, changes: dict[str, Any], proxy: dict[str, Any]) -> Database:
    if proxy:
        changes = {**changes, "proxy": dataclasses.replace(database.proxy or Proxy(), **proxy)}
    return dataclasses.replace(database, **changes)
