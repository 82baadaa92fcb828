"""How fast is the fleet simulator, beside SimFaaS and a SimPy model of the same fleet, and how does it grow?

    python benchmarks/plan/run.py            measure, interleaved, and write results/*.json and README.md
    python benchmarks/plan/run.py --growth   measure the growth alone again
    python benchmarks/plan/run.py --readme   write README.md from the newest results again

SimFaaS and SimPy are installed beside the toolkit where they are missing.
Every measurement is a process of its own: its memory is its own
peak. Events are counted alike for all three: arrivals, ends of invocations, reaps.
"""

# ruff: noqa: PLC0415 - each worker imports what it measures, and nothing else

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"
ROUNDS = 2
GROWTH_ROUNDS = 1
RATE_PER_S, WARM_S, COLD_S, IDLE_S = 0.9, 1.991, 2.244, 600.0
"""SimFaaS's own published example."""

FLEETS = (
    ("SimFaaS's example: 8 environments", 1.0, {"warmline": 1_000_000.0, "simpy": 20_000.0, "simfaas": 6_000.0}),
    ("100 times its arrivals: 200 environments", 100.0, {"warmline": 20_000.0, "simpy": 500.0, "simfaas": 50.0}),
)
GROWTH = (1_000_000, 3_000_000, 10_000_000)
GROWTH_ENVIRONMENTS = 100_000
GROWTH_S = 1_000.0


CPU: dict[str, float] = {}
"""Processor time of the measured run, which other work on the machine does not add to."""


def warmline(
    rate_per_s: float, duration_s: float, *, seed: int = 1, warm_s: float = WARM_S, cold_s: float = COLD_S
) -> Any:
    """Return (seconds, events, mean environments); compiled code is loaded before the clock starts."""
    from warmline_toolkit.plan.simulate.run import Server, simulate
    from warmline_toolkit.plan.workload import Function, Platform

    fleet = Platform(idle_timeout_s=IDLE_S, account_concurrency=None, scale_out_burst=10**7)

    def run(length_s: float) -> Any:
        function = Function(rate_per_s=rate_per_s, warm_ms=warm_s * 1000, cold_ms=cold_s * 1000)
        return simulate([function], server=Server(), platform=fleet, duration_s=length_s, seed=seed)

    run(1.0)
    began, cpu = time.perf_counter(), time.process_time()
    found = run(duration_s)
    seconds, CPU["seconds"] = time.perf_counter() - began, time.process_time() - cpu
    answered, reaped = int(found.counts[0][3]), int(found.counts[0][11])
    arrived = int(found.counts[0][0])
    return seconds, arrived + answered + reaped, found.mean_environments, found.environments_peak, arrived


def simfaas(rate_per_s: float, duration_s: float) -> Any:
    """Run SimFaaS's own simulator."""
    from simfaas.ServerlessSimulator import ServerlessSimulator

    simulator = ServerlessSimulator(
        arrival_rate=rate_per_s,
        warm_service_rate=1 / WARM_S,
        cold_service_rate=1 / COLD_S,
        expiration_threshold=IDLE_S,
        max_time=duration_s,
    )
    began = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        simulator.generate_trace(debug_print=False, progress=False)
    seconds = time.perf_counter() - began
    arrived = simulator.total_cold_count + simulator.total_warm_count
    return seconds, 2 * arrived + len(simulator.prev_servers), float(simulator.get_average_server_count()), 0, arrived


def simpy(rate_per_s: float, duration_s: float) -> Any:
    """A fleet in SimPy as its users write one: a process an invocation, a process an idle environment."""
    import random

    import simpy as library

    chance = random.Random(1)  # noqa: S311 - a simulation
    world = library.Environment()
    idle: list[dict[str, Any]] = []
    counts = {"arrived": 0, "ended": 0, "reaped": 0, "alive": 0, "area": 0.0, "since": 0.0}

    def alive(change: int) -> None:
        counts["area"] += counts["alive"] * (world.now - counts["since"])
        counts["since"] = world.now
        counts["alive"] += change

    def reaper(environment: dict[str, Any], stamp: float) -> Any:
        yield world.timeout(IDLE_S)
        if environment["released"] == stamp:
            idle.remove(environment)
            counts["reaped"] += 1
            alive(-1)

    def invocation() -> Any:
        if idle:
            environment = idle.pop()
            environment["released"] = None
            yield world.timeout(chance.expovariate(1 / WARM_S))
        else:
            environment = {"released": None}
            alive(1)
            yield world.timeout(chance.expovariate(1 / COLD_S))
        counts["ended"] += 1
        environment["released"] = world.now
        idle.append(environment)
        world.process(reaper(environment, world.now))

    def source() -> Any:
        while True:
            yield world.timeout(chance.expovariate(rate_per_s))
            counts["arrived"] += 1
            world.process(invocation())

    world.process(source())
    began = time.perf_counter()
    world.run(until=duration_s)
    seconds = time.perf_counter() - began
    alive(0)
    events = int(counts["arrived"] + counts["ended"] + counts["reaped"])
    return seconds, events, counts["area"] / duration_s, 0, int(counts["arrived"])


def worker(name: str, arguments: list[float]) -> None:
    """Measure one thing in this process and print it."""
    if name == "growth":
        invocations = int(arguments[0])
        service_s = GROWTH_ENVIRONMENTS * GROWTH_S / invocations
        found = warmline(invocations / GROWTH_S, GROWTH_S, warm_s=service_s, cold_s=service_s + 0.2)
    else:
        found = {"warmline": warmline, "simfaas": simfaas, "simpy": simpy}[name](*arguments)
    seconds, events, mean_environments, peak, arrived = found
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        json.dumps(
            {
                "seconds": seconds,
                "cpu_s": CPU.get("seconds"),
                "events": events,
                "events_per_s": events / seconds,
                "invocations": arrived,
                "mean_environments": mean_environments,
                "environments_peak": peak,
                "peak_mib": peak_mib,
            }
        )
    )


def measure(name: str, *arguments: float) -> dict[str, Any]:
    """Run a worker process."""
    command = [sys.executable, __file__, "worker", name, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def provenance() -> dict[str, Any]:
    """Say where and with what it was measured."""
    from importlib.metadata import version

    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "date": datetime.now(tz=timezone.utc).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load_1m": round(os.getloadavg()[0], 1),
        **{name: version(name) for name in ("numba", "numpy", "simfaas", "simpy")},
    }


def main() -> None:
    """Measure everything, interleaved, and write the results."""
    if not all(importlib.util.find_spec(name) for name in ("simfaas", "simpy")):
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "simfaas", "simpy"], check=True)
    head = provenance()
    fleets = []
    for title, factor, durations in FLEETS:
        rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in durations}
        for number in range(ROUNDS):
            for name, duration_s in durations.items():
                print(f"{title}: round {number + 1}, {name}", file=sys.stderr)
                rounds[name].append(measure(name, RATE_PER_S * factor, duration_s))
        fleets.append({"title": title, "rate_per_s": RATE_PER_S * factor, "durations_s": durations, "rounds": rounds})
    growth = measure_growth()
    head["load_1m_end"] = round(os.getloadavg()[0], 1)
    finish({"provenance": head, "fleets": fleets, "growth": growth})


def measure_growth() -> dict[str, list[dict[str, Any]]]:
    """Measure fleets of one size with more and more invocations."""
    growth: dict[int, list[dict[str, Any]]] = {size: [] for size in GROWTH}
    for number in range(GROWTH_ROUNDS):
        for size in GROWTH:
            print(f"growth: round {number + 1}, {size:,}", file=sys.stderr)
            growth[size].append(measure("growth", size))
    return {str(size): runs for size, runs in growth.items()}


def finish(result: dict[str, Any]) -> None:
    """Write the results and the page."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "plan.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    write_readme(result)


def middle(runs: list[dict[str, Any]], key: str) -> float:
    """Return the median of a value over the rounds."""
    return statistics.median(run[key] for run in runs)


def span(runs: list[dict[str, Any]], key: str) -> str:
    """Write the range of a value over the rounds."""
    return f"{min(run[key] for run in runs):,.0f}-{max(run[key] for run in runs):,.0f}"


def write_readme(result: dict[str, Any]) -> None:
    """Write README.md from the results."""
    head = result["provenance"]
    lines = [
        "# benchmarks/plan: the fleet simulator beside SimFaaS and SimPy",
        "",
        "`python benchmarks/plan/run.py` installs SimFaaS and SimPy where they are missing. From `results/plan.json`.",
        "",
        (
            f"Measured {head['date']} at {head['commit']}: Python {head['python']}, Numba {head['numba']}, SimFaaS "
            f"{head['simfaas']}, SimPy {head['simpy']}, {head['cores']} cores, load {head['load_1m']} at the start "
            f"and {head['load_1m_end']} at the end: other work ran beside it. Median of {ROUNDS} interleaved rounds "
            "(range), each in a process of its own; arrivals, ends and reaps are events for all three. Loading the "
            "compiled engine is not in the time."
        ),
        "",
    ]
    for fleet in result["fleets"]:
        base = middle(fleet["rounds"]["simfaas"], "events_per_s")
        lines += [
            f"## {fleet['title']}",
            "",
            "| | events/s | times SimFaaS | mean environments | peak MiB |",
            "|---|---:|---:|---:|---:|",
        ]
        for name, runs in fleet["rounds"].items():
            rate = middle(runs, "events_per_s")
            lines.append(
                f"| {name} | {rate:,.0f} ({span(runs, 'events_per_s')}) | {rate / base:,.0f} | "
                f"{middle(runs, 'mean_environments'):.2f} | {middle(runs, 'peak_mib'):.0f} |"
            )
        lines.append("")
    lines += [
        f"## Growth: {GROWTH_ENVIRONMENTS:,} environments, Poisson arrivals over {GROWTH_S:,.0f} s",
        "",
        (
            "The mean duration shrinks as arrivals grow, so that the fleet stays the same. On a busy machine the "
            "processor's seconds are the simulator's own; the clock's are also everybody else's."
        ),
        "",
        "| invocations | seconds | processor seconds | processor µs each | environments at the peak | peak MiB |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for size, runs in result["growth"].items():
        seconds, cpu_s = middle(runs, "seconds"), middle(runs, "cpu_s")
        lines.append(
            f"| {int(size):,} | {seconds:.1f} | {cpu_s:.1f} | {cpu_s / int(size) * 1e6:.2f} | "
            f"{middle(runs, 'environments_peak'):,.0f} | {middle(runs, 'peak_mib'):.0f} |"
        )
    (HERE / "README.md").write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        worker(sys.argv[2], [float(argument) for argument in sys.argv[3:]])
    elif sys.argv[1:2] == ["--growth"]:
        earlier = json.loads((RESULTS / "plan.json").read_text("utf-8"))
        finish(earlier | {"growth": measure_growth()})
    elif sys.argv[1:2] == ["--readme"]:
        write_readme(json.loads((RESULTS / "plan.json").read_text("utf-8")))
    else:
        main()
