"""Sweep a grid of settings: simulate each, price it, and find the ones that nothing beats."""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from warmline_toolkit.plan import cost, workload_file
from warmline_toolkit.plan.errors import BadWorkload
from warmline_toolkit.plan.model import simulate_workload
from warmline_toolkit.plan.workload import Database, Function, Platform, Proxy, Workload, rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from warmline_toolkit.plan.recommend import Goal
    from warmline_toolkit.plan.reference import Reference

Value: TypeAlias = float | str | None
OWNERS: tuple[type, ...] = (Function, Database, Proxy, Platform)
MOST_POINTS = 20_000
NEVER_VARIED = frozenset({"name", "database", "file"})


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One setting and the values it takes. *of* is the function or database it belongs to, or all of them."""

    setting: str
    owner: type
    of: str | None
    values: tuple[Value, ...]

    @property
    def label(self) -> str:
        """How the user wrote it."""
        return f"{self.of}.{self.setting}" if self.of else self.setting


@dataclass(frozen=True, kw_only=True)
class Job:
    """One point of the grid, with all that its simulation needs: it can be sent to another process or machine."""

    workload: Workload
    reference: Reference
    values: tuple[tuple[str, Value], ...]
    duration_s: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class Point:
    """What one point of the grid came to."""

    values: tuple[tuple[str, Value], ...]
    usd_per_month: float
    p99_ms: float
    mean_ms: float
    lost_share: float
    """Share of the arrivals that got no answer: throttled, refused, or out of borrow time, and not retried."""
    failed_share: float
    """Share of the attempts that were refused, throttled or ran out of borrow time, retried or not."""
    connections_peak: int
    mean_environments: float
    cold_probability: float


Mapper: TypeAlias = "Callable[[Callable[[Job], Point], Sequence[Job]], Iterable[Point]]"
"""Runs jobs, in order: plain `map`, a pool of processes, or a cluster."""


def axis(text: str, workload: Workload) -> Axis:
    """Read `setting=value,value,…` or `name.setting=value,…`; raise `BadWorkload` with what was expected."""
    left, equals, right = text.partition("=")
    of, dot, setting = left.rpartition(".")
    if not equals or not right:
        raise BadWorkload(
            f"--vary {text!r}; expected setting=value,value,….",
            next_step="--vary pool_size=1,2,5 --vary strategy=pool,proxy",
        )
    owner = next((one for one in OWNERS if setting in rules(one) and setting not in NEVER_VARIED), None)
    if owner is None:
        known = sorted({name for one in OWNERS for name in rules(one)} - NEVER_VARIED)
        raise BadWorkload(
            f"--vary {setting!r} is no setting; expected one of {', '.join(known)}.", next_step="Correct it."
        )
    names = [one.name for one in (workload.functions if owner is Function else workload.databases)]
    if dot and of not in names:
        raise BadWorkload(
            f"--vary {left!r}: there is no {of!r}; expected one of {', '.join(names)}.", next_step="Correct it."
        )
    rule = rules(owner)[setting]
    values = tuple(_value(word, whole=rule.whole) for word in right.split(","))
    for value in values:
        bad = None if value is None else workload_file.check(setting, value, rule)
        if bad:
            raise BadWorkload(f"--vary: {bad}", next_step="Correct the value; `none` takes a setting away.")
    return Axis(setting=setting, owner=owner, of=of or None, values=values)


def _value(word: str, *, whole: bool) -> Value:
    text = word.strip()
    if text.lower() == "none":
        return None
    try:
        return int(text) if whole else float(text)
    except ValueError:
        return text


def jobs(
    workload: Workload, axes: Sequence[Axis], reference: Reference, *, duration_s: float, seed: int
) -> tuple[Job, ...]:
    """Return every point of the grid. The same seed everywhere: points differ by their settings, not by their luck."""
    points = math.prod(len(one.values) for one in axes)
    if points > MOST_POINTS:
        raise BadWorkload(
            f"The grid has {points:,} points; at most {MOST_POINTS:,}.",
            next_step="Vary fewer settings or give fewer values.",
        )
    found = []
    for values in itertools.product(*(one.values for one in axes)):
        changed = workload
        for one, value in zip(axes, values, strict=True):
            changed = _with(changed, one, value)
        labels = tuple((one.label, value) for one, value in zip(axes, values, strict=True))
        found.append(Job(workload=changed, reference=reference, values=labels, duration_s=duration_s, seed=seed))
    return tuple(found)


def _with(workload: Workload, one: Axis, value: Value) -> Workload:
    change: dict[str, Any] = {one.setting: value}
    if one.owner is Platform:
        return dataclasses.replace(workload, platform=dataclasses.replace(workload.platform, **change))
    if one.owner is Function:
        return dataclasses.replace(
            workload,
            functions=tuple(
                dataclasses.replace(function, **change) if one.of in (None, function.name) else function
                for function in workload.functions
            ),
        )
    return dataclasses.replace(
        workload,
        databases=tuple(
            _database(database, one.owner, change) if one.of in (None, database.name) else database
            for database in workload.databases
        ),
    )


def _database(database: Database, owner: type, change: dict[str, Any]) -> Database:
    if owner is Proxy:
        return dataclasses.replace(database, proxy=dataclasses.replace(database.proxy or Proxy(), **change))
    return dataclasses.replace(database, **change)


def run_job(job: Job) -> Point:
    """Simulate and price one point. All databases of the workload together: prices add, latencies take the worst."""
    from warmline_toolkit.plan.simulate.layout import Count  # noqa: PLC0415 - loads numpy
    from warmline_toolkit.plan.simulate.result import histogram_mean_ms  # noqa: PLC0415

    found = simulate_workload(job.workload, job.reference, duration_s=job.duration_s, seed=job.seed, intervals=1)
    runs = [one.simulation for one in found]
    month = 0.0
    for one in found:
        month += cost.database_per_month(one.database, job.reference) or 0.0
        functions = job.workload.of(one.database)
        for index, function in enumerate(functions):
            extra_ms = max(0.0, histogram_mean_ms(one.simulation.latency[index]) - function.warm_ms)
            month += cost.function_per_month(function, job.reference, extra_ms=extra_ms)
        if any(function.strategy == "proxy" for function in functions):
            month += cost.proxy_per_month(one.database, job.reference)
    arrived = sum(run.count(Count.ARRIVED) for run in runs)
    attempts = sum(run.count(Count.INVOKED) + run.throttled for run in runs)
    answered = sum(run.count(Count.OK) for run in runs)
    return Point(
        values=job.values,
        usd_per_month=month,
        p99_ms=max((run.latency_ms(0.99) or 0.0 for run in runs), default=0.0),
        mean_ms=sum(histogram_mean_ms(run.latency.sum(axis=0)) * run.count(Count.OK) for run in runs)
        / max(1, answered),
        lost_share=sum(run.count(Count.LOST) for run in runs) / max(1, arrived),
        failed_share=sum(run.failed + run.throttled for run in runs) / max(1, attempts),
        connections_peak=max((run.connections_peak for run in runs), default=0),
        mean_environments=sum(run.mean_environments for run in runs),
        cold_probability=sum(run.count(Count.COLD) for run in runs)
        / max(1, sum(run.count(Count.INVOKED) for run in runs)),
    )


def frontier(points: Sequence[Point]) -> tuple[int, ...]:
    """Return the points that no other beats: none is as good in cost, p99 and failures, and better in one."""
    scored = [(round(point.usd_per_month, 2), round(point.p99_ms, 3), round(point.failed_share, 9)) for point in points]
    return tuple(
        index
        for index, mine in enumerate(scored)
        if not any(
            all(theirs <= own for theirs, own in zip(other, mine, strict=True)) and other != mine for other in scored
        )
        and mine not in scored[:index]
    )


def choose(points: Sequence[Point], goal: Goal, *, tolerated_share: float) -> int:
    """Return the recommended point: by the goal among those that fail rarely enough, else the one that fails least."""
    good = [index for index, point in enumerate(points) if point.failed_share <= tolerated_share]
    if not good:
        return min(range(len(points)), key=lambda index: (points[index].failed_share, points[index].usd_per_month))
    keys: dict[str, Callable[[Point], tuple[float, ...]]] = {
        "cost": lambda point: (round(point.usd_per_month, 2), point.p99_ms),
        "latency": lambda point: (round(point.p99_ms, 2), point.usd_per_month),
        "safety": lambda point: (point.failed_share, point.connections_peak, point.usd_per_month),
    }
    return min(good, key=lambda index: keys[goal](points[index]))
