"""Run the model: a workload's functions on one database, from settings to a result."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from warmline_toolkit.plan import arrivals as arrival_times
from warmline_toolkit.plan.simulate import engine
from warmline_toolkit.plan.simulate.layout import (
    ENVIRONMENT,
    EVENT,
    FUNCTION,
    GHOST,
    INVOCATION,
    LATENCY_BINS,
    NONE,
    WORLD,
    Count,
    Fleet,
    Flow,
    Line,
    Place,
    Strategy,
    Trigger,
)
from warmline_toolkit.plan.simulate.result import Simulation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from warmline_toolkit.plan.workload import Costs, Function, Platform, Proxy

STRATEGY = {
    "per-request": Strategy.PER_REQUEST,
    "keep-open": Strategy.KEEP_OPEN,
    "pool": Strategy.POOL,
    "proxy": Strategy.PROXY,
}
TRIGGER = {"sync": Trigger.SYNC, "async": Trigger.ASYNC, "queue": Trigger.QUEUE}
ATTEMPTS = 3
"""The most attempts that reach an environment for one arrival: an asynchronous event's first and its two retries."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """The database as the model sees it. *limit* is what is left for the functions; None is without limit."""

    limit: int | None = None
    server_timeout_s: float = 28_800.0
    vcpus: int | None = None
    costs: Costs | None = None
    proxy: Proxy | None = None

    @property
    def proxy_size(self) -> int | None:
        """Server connections the proxy may open."""
        if self.limit is None:
            return None
        share = 100.0 if self.proxy is None else self.proxy.max_connections_percent
        return max(1, math.floor(self.limit * share / 100))


def simulate(  # noqa: PLR0913 - the model's inputs, each under its own name
    functions: Sequence[Function],
    *,
    server: Server,
    platform: Platform,
    duration_s: float,
    seed: int,
    intervals: int = 240,
) -> Simulation:
    """Simulate *functions* sharing one *server* for *duration_s*; the same seed gives the same result.

    Costs about 0.3 to 1 µs an event (an invocation is two to four) and about 40 bytes an arrival, plus about 300 bytes
    for each environment that exists at once. The first call on a machine compiles the engine (half a minute).
    """
    sequence = np.random.SeedSequence(seed)
    arriving, serving = (np.random.Generator(np.random.PCG64(child)) for child in sequence.spawn(2))
    times_s, owners = merged(functions, duration_s=duration_s, rng=arriving)
    fleet = prepare(functions, server, platform, arrivals=times_s.shape[0], duration_s=duration_s, intervals=intervals)
    engine.run(fleet, times_s, owners, serving)
    return collect(fleet, functions, duration_s=duration_s, seed=seed)


def merged(
    functions: Sequence[Function], *, duration_s: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.int16]]:
    """Return every function's arrivals in one sorted array, and whose each is (empty for a single function)."""
    series = [arrival_times.times(function.shape, duration_s=duration_s, rng=rng) for function in functions]
    if len(series) == 1:
        return series[0], np.empty(0, dtype=np.int16)
    owners = np.repeat(np.arange(len(series), dtype=np.int16), [times.shape[0] for times in series])
    times = np.concatenate(series)
    order = np.argsort(times, kind="stable")
    return times[order], owners[order]


def prepare(  # noqa: PLR0913 - the model's inputs, each under its own name
    functions: Sequence[Function],
    server: Server,
    platform: Platform,
    *,
    arrivals: int,
    duration_s: float,
    intervals: int,
) -> Fleet:
    """Lay out the engine's memory. Sizes are upper bounds; the operating system gives a page when it is first used."""
    provisioned = sum(function.provisioned_concurrency for function in functions)
    deployments = 2 if platform.deploy_at_s is not None else 1
    attempts = arrivals * (1 if all(function.trigger == "sync" for function in functions) else ATTEMPTS)
    scale_out = len(functions) * (platform.scale_out_burst + math.ceil(platform.scale_out_per_s * duration_s))
    most = min(attempts, scale_out) + provisioned * deployments + 1
    processes = max(function.processes for function in functions)
    in_flight = min(arrivals, most * processes) if attempts == arrivals else arrivals
    held = max(function.connections_per_environment for function in functions)
    connections = server.limit if server.limit is not None else min(attempts + provisioned, 2**31) * held
    fleet = Fleet(
        world=np.zeros(1, dtype=WORLD),
        functions=np.zeros(len(functions), dtype=FUNCTION),
        environments=np.empty(most, dtype=ENVIRONMENT),
        invocations=np.empty(in_flight + 1, dtype=INVOCATION),
        events=np.empty(2 * in_flight + 2, dtype=EVENT),
        ghosts=np.empty((attempts if platform.reap == "silent" else 0) + provisioned + 1, dtype=GHOST),
        heads=np.full((len(functions), len(Place)), NONE, dtype=np.int64),
        cpu_free_s=np.zeros(max(1, server.vcpus or 0)),
        samples=np.concatenate([np.array(function.samples_ms, dtype=np.float64) / 1000 for function in functions]),
        counts=np.zeros((len(functions), len(Count)), dtype=np.int64),
        environment_time=np.zeros(most + 1),
        connection_time=np.zeros(connections + 2),
        latency=np.zeros((len(functions), LATENCY_BINS), dtype=np.int64),
        wait=np.zeros((len(functions), LATENCY_BINS), dtype=np.int64),
        lines=np.zeros((len(Line), intervals), dtype=np.int64),
        flows=np.zeros((len(Flow), intervals), dtype=np.int64),
    )
    samples_from = 0
    for record, function in zip(fleet.functions, functions, strict=True):
        fill_function(record, function, server=server, platform=platform, samples_from=samples_from)
        samples_from += len(function.samples_ms)
    fill_world(fleet.world[0], server=server, platform=platform, duration_s=duration_s, intervals=intervals)
    return fleet


def fill_function(record: Any, function: Function, *, server: Server, platform: Platform, samples_from: int) -> None:
    """Write a function's settings into the engine's record."""
    record["warm_s"] = function.warm_ms / 1000
    record["init_s"] = function.init_ms / 1000
    record["variation"] = function.variation
    record["hold_s"] = NONE if function.query_ms is None else function.query_ms / 1000
    if server.costs is not None:
        record["connect_s"] = server.costs.connect_ms / 1000
        record["connect_cpu_s"] = server.costs.connect_cpu_ms / 1000
        record["query_cpu_s"] = server.costs.query_cpu_ms / 1000 * function.queries
    record["pinned_share"] = function.pinned_share if function.strategy == "proxy" else 0.0
    record["samples_from"] = samples_from
    record["samples"] = len(function.samples_ms)
    record["strategy"] = STRATEGY[function.strategy]
    record["trigger"] = TRIGGER[function.trigger]
    record["pool_size"] = function.pool_size if function.strategy == "pool" else 1
    record["processes"] = function.processes
    record["cap"] = NONE if function.cap is None else function.cap
    record["provisioned"] = function.provisioned_concurrency
    record["connect_in_init"] = function.connect_in_init
    record["tokens"] = platform.scale_out_burst
    record["backlog_first"] = record["backlog_last"] = NONE


def fill_world(world: Any, *, server: Server, platform: Platform, duration_s: float, intervals: int) -> None:
    """Write the platform's and the server's settings into the engine's record."""
    world["end_s"] = duration_s
    world["idle_timeout_s"] = platform.idle_timeout_s
    world["server_timeout_s"] = server.server_timeout_s
    world["borrow_timeout_s"] = 120.0 if server.proxy is None else server.proxy.borrow_timeout_s
    world["scale_out_per_s"] = platform.scale_out_per_s
    world["scale_out_burst"] = platform.scale_out_burst
    world["deploy_at_s"] = math.inf if platform.deploy_at_s is None else platform.deploy_at_s
    world["interval_s"] = duration_s / intervals
    world["limit"] = NONE if server.limit is None else server.limit
    world["proxy_size"] = np.iinfo(np.int64).max if server.proxy_size is None else server.proxy_size
    world["cap"] = NONE if platform.account_concurrency is None else platform.account_concurrency
    world["vcpus"] = server.vcpus or 0
    world["silent_reap"] = platform.reap == "silent"
    world["oldest_first"] = platform.reuse == "oldest"
    for name in ("oldest", "newest", "next_closed", "waiter_first", "waiter_last"):
        world[name] = NONE
    for name in ("environments_free", "invocations_free"):
        world[name] = NONE


def collect(fleet: Fleet, functions: Sequence[Function], *, duration_s: float, seed: int) -> Simulation:
    """Copy what the run left in the engine's memory into a result that can be kept."""
    world = fleet.world[0]
    environments = fleet.environment_time[: int(world["environments_peak"]) + 1].copy()
    connections = fleet.connection_time[: int(world["connections_peak"]) + 1].copy()
    return Simulation(
        functions=tuple(function.name for function in functions),
        duration_s=duration_s,
        seed=seed,
        events=int(world["happened"]),
        counts=fleet.counts,
        environment_time_s=environments,
        connection_time_s=connections,
        mean_running=float(world["running_integral"]) / duration_s,
        running_peak=int(world["running_peak"]),
        waiting_peak=int(world["waiting_peak"]),
        ghosts_peak=int(world["ghosts_peak"]),
        in_flight=int(world["running"]),
        connections_at_end=int(world["connections"]),
        environments_at_end=int(world["environments"]),
        backlog=int(sum(int(function["backlog"]) for function in fleet.functions)),
        server_cpu_s=float(world["cpu_busy_s"]),
        lifespan_s=float(world["lifespan_s"]),
        latency=fleet.latency,
        wait=fleet.wait,
        lines=fleet.lines,
        flows=fleet.flows,
    )
