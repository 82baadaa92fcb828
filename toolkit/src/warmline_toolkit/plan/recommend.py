"""Recommend: the changes that help, each sized and priced like the workload itself, and one of them per goal."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from warmline_toolkit.plan import capacity, cost
from warmline_toolkit.plan.limits import limit_of, size_of, sizes
from warmline_toolkit.plan.size import DatabaseSize, size_database
from warmline_toolkit.plan.workload import Database, Function, Proxy, Workload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from warmline_toolkit.plan.reference import Reference

Goal: TypeAlias = Literal["cost", "latency", "safety"]
GOALS: tuple[Goal, ...] = ("cost", "latency", "safety")

HEADROOM = 1.3
"""A proxy's share is set this much above what its queue needs, as AWS advises."""
MOST_THROTTLED = 1e-3
"""A cap that turns away more than this share of the busy hour's arrivals is no recommendation."""
MOST_TIMEOUTS = 1e-3


@dataclass(frozen=True, kw_only=True)
class Option:
    """One way to run the workload on one database: what changes, and what it then means."""

    name: str
    changes: tuple[str, ...]
    size: DatabaseSize
    per_month: float
    """Functions, database and proxy; the database is left out where its price is not known."""
    database_priced: bool
    added_ms: float
    """Mean time that connecting adds to an invocation."""
    throttled_share: float

    @property
    def holds(self) -> bool:
        """Whether the limit holds a usual hour, the busiest moment and a deploy, and nobody is turned away."""
        queue = self.size.proxy
        return (
            self.size.deploy <= self.size.limit.for_functions
            and self.throttled_share <= MOST_THROTTLED
            and (queue is None or queue.timeout_share <= MOST_TIMEOUTS)
        )

    @property
    def cannot_break(self) -> bool:
        """Whether even the worst case, in a deploy too, stays within the limit."""
        worst = self.size.total.worst
        return self.holds and worst is not None and worst <= self.size.limit.for_functions

    @property
    def headroom(self) -> float:
        """Share of the limit that stays free in a deploy at the busiest moment."""
        allowed = self.size.limit.for_functions
        return 1 - self.size.deploy / allowed if allowed else -math.inf


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """The option for a goal, and why. *option* is None where none of them holds."""

    goal: Goal
    option: Option | None
    why: str


def options(database: Database, workload: Workload, reference: Reference) -> tuple[Option, ...]:
    """Return the workload as it is, then each change that can be made, sized and priced."""
    found = [_option("as it is", (), database, workload, reference)]
    found.extend(
        _option(name, changes, changed, load, reference)
        for name, changes, changed, load in _candidates(database, workload, reference)
    )
    return tuple(found)


def recommend(found: tuple[Option, ...], goal: Goal) -> Recommendation:
    """Pick the option for *goal* among those that hold: the cheapest, the fastest, or the one that cannot break."""
    holding = [option for option in found if option.holds]
    if not holding:
        return Recommendation(goal=goal, option=None, why="none of the options holds the busiest moment and a deploy")
    if goal == "safety":
        safe = [option for option in holding if option.cannot_break]
        if safe:
            best = min(safe, key=lambda option: (option.per_month, -option.headroom))
            return Recommendation(goal=goal, option=best, why="even every cap reached at once stays within the limit")
        best = max(holding, key=lambda option: option.headroom)
        return Recommendation(
            goal=goal, option=best, why="the most headroom; only a cap on every function can exclude a burst"
        )
    if goal == "latency":
        best = min(holding, key=lambda option: (round(option.added_ms, 3), option.per_month))
        return Recommendation(
            goal=goal, option=best, why=f"connecting adds {_ms(best.added_ms)} to a mean invocation, the least"
        )
    best = min(holding, key=lambda option: (round(option.per_month, 2), option.added_ms))
    return Recommendation(
        goal=goal, option=best, why="the lowest monthly price that holds the busiest moment and a deploy"
    )


def _ms(value: float) -> str:
    return f"{value:.2g} ms"


def _option(
    name: str, changes: tuple[str, ...], database: Database, workload: Workload, reference: Reference
) -> Option:
    sized = size_database(database, workload, reference)
    functions = sized.functions
    rate = sum(one.function.mean_rate_per_s for one in functions)
    added = sum(one.added_ms * one.function.mean_rate_per_s for one in functions) / rate if rate else 0.0
    busy = sum(one.function.busy_rate_per_s for one in functions)
    throttled = sum(one.throttled_share * one.function.busy_rate_per_s for one in functions) / busy if busy else 0.0
    price = cost.database_per_month(database, reference)
    month = (price or 0.0) + sum(
        cost.function_per_month(one.function, reference, extra_ms=min(one.added_ms, 1e6)) for one in functions
    )
    if any(one.function.strategy == "proxy" for one in functions):
        month += cost.proxy_per_month(database, reference)
    return Option(
        name=name,
        changes=changes,
        size=sized,
        per_month=month,
        database_priced=price is not None,
        added_ms=added,
        throttled_share=throttled,
    )


Candidate: TypeAlias = "tuple[str, tuple[str, ...], Database, Workload]"


def _candidates(database: Database, workload: Workload, reference: Reference) -> Iterator[Candidate]:
    functions = workload.of(database)
    kept = tuple(_keep_open(function) for function in functions)
    if kept != functions:
        changes = tuple(
            f"{old.name}: keep one connection open instead of {_name(old)}"
            for old, new in zip(functions, kept, strict=True)
            if old != new
        )
        yield "keep-open", changes, database, _with(workload, kept)
        capped = _capped(kept, database, workload, reference)
        if capped is not None and capped != kept:
            yield (
                "keep-open, reserved concurrency",
                (*changes, *_cap_changes(kept, capped)),
                database,
                _with(workload, capped),
            )
    capped = _capped(functions, database, workload, reference)
    if capped is not None and capped != functions:
        yield "reserved concurrency", _cap_changes(functions, capped), database, _with(workload, capped)
    yield from _proxied(database, workload, functions, reference)
    yield from _larger(database, workload, reference)


def _keep_open(function: Function) -> Function:
    return (
        dataclasses.replace(function, strategy="keep-open", pool_size=1)
        if function.strategy in ("per-request", "pool")
        else function
    )


def _name(function: Function) -> str:
    return f"a pool of {function.pool_size}" if function.strategy == "pool" else "connecting per request"


def _with(workload: Workload, functions: tuple[Function, ...]) -> Workload:
    changed = {function.name: function for function in functions}
    return dataclasses.replace(
        workload, functions=tuple(changed.get(function.name, function) for function in workload.functions)
    )


def _capped(
    functions: tuple[Function, ...], database: Database, workload: Workload, reference: Reference
) -> tuple[Function, ...] | None:
    """Share the limit out as reserved concurrency, in proportion to each function's peak, a deploy included.

    None where the limit cannot hold even the peaks.
    """
    sized = size_database(database, _with(workload, functions), reference)
    allowed = sized.limit.for_functions
    if any(function.environments is not None or function.strategy == "proxy" for function in functions):
        return None
    if sized.deploy > allowed or sized.total.peak == 0:
        return None
    share = allowed / (sized.deploy / sized.total.peak) / sized.total.peak
    capped = []
    for one in sized.functions:
        most = max(one.environments.peak, one.function.provisioned_concurrency)
        cap = math.floor(most * share)
        if one.function.cap is not None:
            cap = min(cap, one.function.cap)
        capped.append(dataclasses.replace(one.function, reserved_concurrency=cap))
    return tuple(capped)


def _cap_changes(old: tuple[Function, ...], new: tuple[Function, ...]) -> tuple[str, ...]:
    return tuple(
        f"{after.name}: reserved concurrency {after.reserved_concurrency:,}"
        for before, after in zip(old, new, strict=True)
        if before.reserved_concurrency != after.reserved_concurrency
    )


def _proxied(
    database: Database, workload: Workload, functions: tuple[Function, ...], reference: Reference
) -> Iterator[Candidate]:
    if all(function.strategy == "proxy" for function in functions):
        return
    proxied = tuple(dataclasses.replace(function, strategy="proxy", pool_size=1) for function in functions)
    trial = size_database(dataclasses.replace(database, proxy=Proxy()), _with(workload, proxied), reference)
    queue = trial.proxy
    if queue is None or queue.load >= queue.size:
        return
    percent = float(min(100, max(1, math.ceil(queue.percent_needed))))
    rate = sum(function.busy_rate_per_s for function in functions)
    hold_s = queue.load / rate if rate else 0.0
    servers = max(1, math.floor(trial.limit.for_functions * percent / 100))
    timeout_s = _borrow_timeout_s(rate, hold_s, servers)
    changed = dataclasses.replace(database, proxy=Proxy(max_connections_percent=percent, borrow_timeout_s=timeout_s))
    yield (
        "proxy",
        (f"RDS Proxy: MaxConnectionsPercent {percent:g}, ConnectionBorrowTimeout {timeout_s:g} s",),
        changed,
        _with(workload, proxied),
    )


def _borrow_timeout_s(rate_per_s: float, hold_s: float, servers: int) -> float:
    """Return the shortest of a few timeouts that fewer than one borrow in a million would pass, at the busy rate."""
    for timeout_s in (1.0, 2.0, 5.0, 10.0, 30.0, 60.0):
        if not rate_per_s or capacity.mmc_wait_exceeds(rate_per_s, hold_s, servers, timeout_s) < 1e-6:  # noqa: PLR2004
            return timeout_s
    return 120.0


def _larger(database: Database, workload: Workload, reference: Reference) -> Iterator[Candidate]:
    """Offer the cheapest class, and the cheapest of the same generation, that holds a deploy at the busiest moment."""
    if database.instance_class is None:
        if database.max_acu is not None:
            yield from _more_acu(database, workload, reference)
        return
    now = size_database(database, workload, reference)
    current = size_of(database.instance_class, reference)
    priced = []
    for name in reference.prices["classes"].get(database.engine, {}):
        known = sizes(reference)
        if name not in known or known[name].memory_gib < current.memory_gib or name == current.name:
            continue
        bigger = dataclasses.replace(database, instance_class=name, max_connections=None, vcpus=None)
        if limit_of(bigger, reference).for_functions >= max(now.deploy, now.limit.for_functions + 1):
            priced.append((cost.database_per_month(bigger, reference) or math.inf, name, bigger))
    same = current.name.rsplit(".", 1)[0]
    cheapest = min(priced, default=None, key=lambda item: item[0])
    related = min((item for item in priced if item[1].startswith(f"{same}.")), default=None, key=lambda item: item[0])
    for _, name, bigger in {item[1]: item for item in (related, cheapest) if item}.values():
        yield f"larger: {name}", (f"{database.name}: {name} instead of {current.name}",), bigger, workload


def _more_acu(database: Database, workload: Workload, reference: Reference) -> Iterator[Candidate]:
    now = size_database(database, workload, reference)
    assert database.max_acu is not None  # noqa: S101 - the caller's branch
    for acu in sorted(reference.limits["serverless"][database.engine]):
        if acu <= database.max_acu:
            continue
        bigger = dataclasses.replace(
            database, max_acu=float(acu), max_connections=None, min_acu=max(1.0, database.min_acu or 0)
        )
        if limit_of(bigger, reference).for_functions >= now.deploy:
            yield (
                f"larger: {acu} ACU",
                (f"{database.name}: up to {acu} ACU, at least {bigger.min_acu:g}",),
                bigger,
                workload,
            )
            return
