"""Size a workload: the connections each function can hold, their sum against the limit, and what breaks first."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from warmline_toolkit.plan import capacity
from warmline_toolkit.plan.limits import limit_of, vcpus_of
from warmline_toolkit.plan.workload import Costs, Proxy

if TYPE_CHECKING:
    from warmline_toolkit.plan.limits import Limit
    from warmline_toolkit.plan.reference import Reference
    from warmline_toolkit.plan.workload import Database, Function, Platform, Workload

DAY_S = 86_400.0
PEAK_SHARE = 0.95
"""A peak is exceeded on one day in twenty."""
TYPICAL_WINDOW_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Range:
    """Typical: the mean of a usual hour. Peak: exceeded on one day in twenty, at the busy rate. Worst: every cap full.

    *worst* is None where nothing caps it.
    """

    typical: float
    peak: int
    worst: int | None


@dataclass(frozen=True, kw_only=True)
class FunctionSize:
    """One function: its environments, its connections, and the sum in words."""

    function: Function
    in_flight: float
    environments: Range
    connections: Range
    connects_per_s: float
    queries_per_s: float
    cold_probability: float
    added_ms: float
    """Mean time that connecting adds to an invocation."""
    throttled_share: float
    """Share of the busy hour's arrivals above the function's cap."""
    arithmetic: str
    """How the worst case is computed."""
    peak_arithmetic: str


@dataclass(frozen=True, kw_only=True)
class Break:
    """One thing that can happen, the connections it means, and whether the limit holds them."""

    name: str
    connections: int | None
    holds: bool
    what: str


@dataclass(frozen=True, kw_only=True)
class ProxyQueue:
    """A proxy's queue at the busy rate (M/M/c)."""

    size: int
    load: float
    waits_share: float
    mean_wait_ms: float
    timeout_share: float
    percent_needed: float
    """MaxConnectionsPercent that keeps 99.9 % of the waits below 10 ms, with 30 % headroom."""


@dataclass(frozen=True, kw_only=True)
class DatabaseSize:
    """One database: its limit, its functions' connections together, its processor, and what breaks first."""

    database: Database
    limit: Limit
    functions: tuple[FunctionSize, ...]
    total: Range
    deploy: int
    connects_per_s: float
    connect_cores: float
    query_cores: float
    vcpus: int | None
    costs: Costs
    proxy: ProxyQueue | None
    breaks: tuple[Break, ...]

    @property
    def first_break(self) -> Break | None:
        """The likeliest thing that the limit does not hold."""
        return next((event for event in self.breaks if not event.holds), None)

    @property
    def cpu_share(self) -> float | None:
        """Share of the server's processors that connects and queries take."""
        return None if self.vcpus is None else (self.connect_cores + self.query_cores) / self.vcpus


@dataclass(frozen=True, kw_only=True)
class StrategyCount:
    """What one strategy makes of a counted experiment: so many requests on so many environments."""

    strategy: str
    opened: int
    peak: int
    held: int
    arithmetic: str
    holds: bool | None


def costs_of(database: Database, reference: Reference) -> Costs:
    """Return the costs of a connect and a query: the workload's own, or the reference's for the engine."""
    return database.costs or Costs(**reference.costs[database.engine])


def size(workload: Workload, reference: Reference) -> tuple[DatabaseSize, ...]:
    """Size every database of the workload."""
    return tuple(size_database(database, workload, reference) for database in workload.databases)


def size_database(database: Database, workload: Workload, reference: Reference) -> DatabaseSize:
    """Size one database and the functions that use it."""
    limit = limit_of(database, reference)
    costs = costs_of(database, reference)
    functions = workload.of(database)
    queue = _proxy_queue(database, limit, functions)
    sizes = tuple(
        size_function(
            function, workload.platform, costs=costs, queue=queue, proxy_added_ms=reference.costs["proxy_added_ms"]
        )
        for function in functions
    )
    total = _total(sizes, queue)
    deploy = total.peak + sum(
        one.connections.peak
        for one in sizes
        if one.function.strategy in ("keep-open", "pool") and not _fixed(one.function)
    )
    vcpus = vcpus_of(database, reference)
    connects = sum(one.connects_per_s for one in sizes)
    return DatabaseSize(
        database=database,
        limit=limit,
        functions=sizes,
        total=total,
        deploy=deploy,
        connects_per_s=connects,
        connect_cores=connects * costs.connect_cpu_ms / 1000,
        query_cores=sum(one.queries_per_s for one in sizes) * costs.query_cpu_ms / 1000,
        vcpus=vcpus,
        costs=costs,
        proxy=queue,
        breaks=_breaks(database, workload.platform, limit, sizes, total, deploy, costs),
    )


def size_function(
    function: Function, platform: Platform, *, costs: Costs, queue: ProxyQueue | None, proxy_added_ms: float
) -> FunctionSize:
    """Size one function: environments by the closed form of the fleet, connections by its strategy."""
    service_s = _service_s(function)
    rate, busy = function.mean_rate_per_s, function.busy_rate_per_s
    fleet = capacity.keeps_alive(rate, service_s, platform.idle_timeout_s)
    highest = _highest(function, busy, service_s)
    cap = function.cap if function.cap is not None else platform.account_concurrency
    worst = function.environments if function.environments is not None else cap
    per_process = -(-highest // function.processes)
    environments = Range(
        typical=float(function.environments)
        if function.environments is not None
        else min(
            max(fleet.mean_environments / function.processes, float(function.provisioned_concurrency)),
            math.inf if worst is None else worst,
        ),
        peak=function.environments
        if function.environments is not None
        else _at_most(max(per_process, function.provisioned_concurrency), worst),
        worst=worst,
    )
    connections, arithmetic, peak_arithmetic = _connections(function, environments, fleet.in_flight, queue)
    connects = _connects_per_s(function, rate, fleet.cold_probability)
    added_ms = connects / rate * costs.connect_ms if rate else 0.0
    if function.strategy == "proxy":
        added_ms = proxy_added_ms * function.queries + (queue.mean_wait_ms if queue else 0.0)
    return FunctionSize(
        function=function,
        in_flight=fleet.in_flight,
        environments=environments,
        connections=connections,
        connects_per_s=connects,
        queries_per_s=rate * function.queries,
        cold_probability=fleet.cold_probability,
        added_ms=added_ms,
        throttled_share=capacity.erlang_b(busy * service_s, cap) if cap is not None and _throttles(function) else 0.0,
        arithmetic=arithmetic,
        peak_arithmetic=peak_arithmetic,
    )


def strategies(
    *, environments: int, requests: int, processes: int, pool_size: int, max_connections: int | None
) -> tuple[StrategyCount, ...]:
    """Count what each strategy does to a database when *requests* are spread over *environments*."""
    places = environments * processes
    used = min(places, requests)
    each = f"{environments} environments" + (f" × {processes} processes" if processes > 1 else "")
    rows = [
        ("per-request", requests, used, 0, f"{requests} requests × 1 connection each"),
        ("keep-open", used, used, used, f"{each} × 1 connection"),
        ("pool", used * pool_size, used * pool_size, used * pool_size, f"{each} × pool of {pool_size}"),
    ]
    lent = used if max_connections is None else min(used, max_connections)
    rows.append(("proxy", lent, lent, lent, f"min({used} clients, {max_connections or 'no limit'})"))
    return tuple(
        StrategyCount(
            strategy=name,
            opened=opened,
            peak=peak,
            held=held,
            arithmetic=words,
            holds=None if max_connections is None else peak <= max_connections,
        )
        for name, opened, peak, held, words in rows
    )


def _service_s(function: Function) -> float:
    if function.samples_ms:
        return sum(function.samples_ms) / len(function.samples_ms) / 1000
    return function.warm_ms / 1000


def _throttles(function: Function) -> bool:
    """Return whether what is above the cap is turned away: a queue waits instead."""
    return function.busy_rate_per_s > 0 and function.trigger != "queue"


def _fixed(function: Function) -> bool:
    return function.environments is not None


def _at_most(value: int, cap: int | None) -> int:
    return value if cap is None else min(value, cap)


def _highest(function: Function, busy_rate: float, service_s: float) -> int:
    if function.arrivals is not None and function.arrivals.shape == "burst":
        return function.arrivals.requests
    return capacity.highest_in_flight(busy_rate, service_s, DAY_S, share=PEAK_SHARE)


def _connections(
    function: Function, environments: Range, in_flight: float, queue: ProxyQueue | None
) -> tuple[Range, str, str]:
    if function.strategy == "proxy":
        size = queue.size if queue else 0
        hold = min(1.0, (function.query_ms or function.warm_ms) / function.warm_ms)
        busy = environments.typical if _fixed(function) else in_flight
        clients = environments.peak * function.processes
        return (
            Range(typical=min(float(size), busy * hold), peak=min(size, clients), worst=size),
            f"the proxy's {size:,} server connections, shared",
            f"min({clients:,} clients, {size:,} server connections)",
        )
    each = function.connections_per_environment
    if function.strategy == "per-request":
        each = function.processes
        typical = environments.typical * each if _fixed(function) else in_flight
    else:
        typical = environments.typical * each
    factors = f"{function.processes} processes × " if function.processes > 1 else ""
    pool = f"pool of {function.pool_size}" if function.strategy == "pool" else "1 connection"
    worst = None if environments.worst is None else environments.worst * each
    if worst is None:
        words = "no cap: as many as Lambda starts"
    else:
        words = f"{environments.worst:,} environments ({_cap_name(function)}) × {factors}{pool} = {worst:,}"
    peak = environments.peak * each
    return (
        Range(typical=typical, peak=peak, worst=worst),
        words,
        f"{environments.peak:,} environments × {factors}{pool} = {peak:,}",
    )


def _cap_name(function: Function) -> str:
    if _fixed(function):
        return "as given"
    if function.cap is None:
        return "account concurrency"
    return (
        "reserved concurrency" if function.cap == function.reserved_concurrency else "the queue's maximum concurrency"
    )


def _connects_per_s(function: Function, rate: float, cold_probability: float) -> float:
    if function.strategy == "per-request":
        return rate
    if function.strategy == "proxy":
        return 0.0
    return rate * cold_probability * function.connections_per_environment


def _total(sizes: tuple[FunctionSize, ...], queue: ProxyQueue | None) -> Range:
    direct = [one.connections for one in sizes if one.function.strategy != "proxy"]
    proxied = [one.connections for one in sizes if one.function.strategy == "proxy"]
    size = queue.size if queue else 0
    worsts = [one.worst for one in direct]
    lent = size if proxied else 0
    return Range(
        typical=sum(one.typical for one in direct) + min(float(size), sum(one.typical for one in proxied)),
        peak=sum(one.peak for one in direct) + min(size, sum(one.peak for one in proxied)),
        worst=None if any(worst is None for worst in worsts) else sum(worst or 0 for worst in worsts) + lent,
    )


def _proxy_queue(database: Database, limit: Limit, functions: tuple[Function, ...]) -> ProxyQueue | None:
    proxied = [function for function in functions if function.strategy == "proxy"]
    if not proxied:
        return None
    settings = database.proxy or Proxy()
    servers = max(1, math.floor(limit.for_functions * settings.max_connections_percent / 100))
    rate = sum(function.busy_rate_per_s for function in proxied)
    if rate == 0:
        return ProxyQueue(size=servers, load=0, waits_share=0, mean_wait_ms=0, timeout_share=0, percent_needed=0)
    holds = [(function.busy_rate_per_s, (function.query_ms or function.warm_ms) / 1000) for function in proxied]
    pinned = sum(
        function.pinned_share * capacity.little(function.busy_rate_per_s, _service_s(function)) for function in proxied
    )
    hold_s = sum(part * seconds for part, seconds in holds) / rate
    free = max(1, servers - math.ceil(pinned))
    needed = capacity.servers_for(rate, hold_s, wait_s=0.010, share=0.001) + math.ceil(pinned)
    return ProxyQueue(
        size=servers,
        load=rate * hold_s,
        waits_share=capacity.erlang_c(rate * hold_s, free),
        mean_wait_ms=capacity.mmc_mean_wait_s(rate, hold_s, free) * 1000,
        timeout_share=capacity.mmc_wait_exceeds(rate, hold_s, free, settings.borrow_timeout_s),
        percent_needed=100 * needed * 1.3 / max(1, limit.for_functions),
    )


def _breaks(  # noqa: PLR0913, PLR0917 - the parts of one database
    database: Database,
    platform: Platform,
    limit: Limit,
    sizes: tuple[FunctionSize, ...],
    total: Range,
    deploy: int,
    costs: Costs,
) -> tuple[Break, ...]:
    allowed = limit.for_functions
    kept = [one for one in sizes if one.function.strategy in ("keep-open", "pool")]
    events = [
        _break("a usual hour", math.ceil(total.typical), allowed, "the mean of a usual hour"),
        _break("the busiest moment", total.peak, allowed, "exceeded on one day in twenty"),
    ]
    if any(not _fixed(one.function) for one in kept):
        events.append(
            _break(
                "a deploy",
                deploy,
                allowed,
                f"old environments keep their connections up to {platform.idle_timeout_s:g} s beside the new ones",
            )
        )
        back = sum(one.connections.peak for one in kept)
        cpu_s = back * costs.connect_cpu_ms / 1000
        if platform.reap == "silent":
            text = f"{back:,} ghosts of the reaped stay up to {database.server_timeout_s:g} s beside the new ones"
            events.append(_break("a reap storm", total.peak + back, allowed, text))
        else:
            text = f"{back:,} connect again after a quiet time: {cpu_s:.2g} s of one server processor"
            events.append(_break("a reap storm", total.peak, allowed, text))
    events.append(_burst(platform, sizes, total, allowed))
    return tuple(events)


def _break(name: str, connections: int, allowed: int, what: str) -> Break:
    return Break(name=name, connections=connections, holds=connections <= allowed, what=what)


def _burst(platform: Platform, sizes: tuple[FunctionSize, ...], total: Range, allowed: int) -> Break:
    if total.worst is not None and total.worst <= allowed:
        return Break(name="a burst", connections=total.worst, holds=True, what="every cap reached at once")
    direct = [one.function.connections_per_environment for one in sizes if one.function.strategy != "proxy"]
    needed = allowed // max(direct, default=1) + 1
    after_s = (
        max(0.0, (needed - platform.scale_out_burst) / platform.scale_out_per_s)
        if platform.scale_out_per_s
        else math.inf
    )
    when = "at once" if after_s == 0 else f"after {after_s:.0f} s"
    return Break(
        name="a burst",
        connections=total.worst,
        holds=False,
        what=f"{needed:,} environments are enough, and Lambda starts that many {when}",
    )
