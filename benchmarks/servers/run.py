"""How long until a private server is ready, and what a look at its open connections costs.

Engines are interleaved. Writes results/DATE.json (every sample) and README.md beside itself.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

from warmline_toolkit.servers import ENGINES, installed, start

HERE = Path(__file__).parent
STARTS = 15
FIRST_STARTS = 3
LOOKS = 1000


def timed_start(engine: str) -> tuple[float, float]:
    """Return the seconds that a start and a stop took."""
    began = time.perf_counter()
    server = start(engine)
    ready = time.perf_counter()
    server.stop()
    return ready - began, time.perf_counter() - ready


def looks_ms(engine: str) -> list[float]:
    """Return the milliseconds of each `open_now` on an idle server."""
    samples = []
    with start(engine) as server, server.observer() as observer:
        for _ in range(LOOKS):
            began = time.perf_counter()
            observer.open_now()
            samples.append((time.perf_counter() - began) * 1000)
    return samples


def measure(engines: list[str]) -> dict[str, dict[str, list[float]]]:
    """Return every sample: engine → what → values."""
    samples: dict[str, dict[str, list[float]]] = {
        engine: {"first_start_s": [], "start_s": [], "stop_s": [], "open_now_ms": []} for engine in engines
    }
    for _ in range(FIRST_STARTS):
        for engine in engines:
            if installed(engine).root is not None:  # unpacked into the cache: an empty one has no program
                continue
            with tempfile.TemporaryDirectory() as empty:
                os.environ["WARMLINE_CACHE"] = empty
                samples[engine]["first_start_s"].append(timed_start(engine)[0])
            del os.environ["WARMLINE_CACHE"]
    for engine in engines:
        timed_start(engine)  # the cache is filled: from here on, every start is a second one
    for _ in range(STARTS):
        for engine in engines:
            started_s, stopped_s = timed_start(engine)
            samples[engine]["start_s"].append(started_s)
            samples[engine]["stop_s"].append(stopped_s)
    for engine in engines:
        samples[engine]["open_now_ms"] = looks_ms(engine)
    return samples


def spread(values: list[float]) -> str:
    """Return median (least to 95th percentile, n)."""
    if not values:
        return "not measured"
    ordered = sorted(values)
    p95 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
    return f"{statistics.median(values):.2f} ({ordered[0]:.2f} to {p95:.2f}, n={len(values)})"


def readme(result: dict) -> str:
    """Return the page for *result*."""
    machine = result["machine"]
    lines = [
        "# How fast is a private server there?",
        "",
        f"<!-- Made by benchmarks/servers/run.py from results/{result['date']}.json. Do not edit. -->",
        "",
        "Median (least to 95th percentile). A *first* start makes the data directory that the next ones copy.",
        "",
        "| | first start, s | start, s | stop, s | `open_now()`, ms |",
        "|---|---|---|---|---|",
    ]
    for engine, samples in result["samples"].items():
        cells = [spread(samples[what]) for what in ("first_start_s", "start_s", "stop_s", "open_now_ms")]
        lines.append(f"| {engine} {result['versions'][engine]} | {' | '.join(cells)} |")
    lines += [
        "",
        (
            f"Measured on {result['date']}: Linux {machine['kernel']}, {machine['cores']} cores, "
            f"Python {machine['python']}, load average {machine['load_before']} before and {machine['load_after']} "
            "after (other work ran beside it)."
        ),
        "",
        "Again: `python benchmarks/servers/run.py`",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    engines = [engine for engine in ENGINES if installed(engine) is not None]
    load_before = f"{os.getloadavg()[0]:.1f}"
    samples = measure(engines)
    result = {
        "date": f"{dt.datetime.now(dt.timezone.utc):%Y-%m-%d}",
        "machine": {
            "kernel": platform.release(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "load_before": load_before,
            "load_after": f"{os.getloadavg()[0]:.1f}",
        },
        "versions": {engine: installed(engine).version for engine in engines},
        "samples": {
            engine: {what: [round(value, 4) for value in values] for what, values in kinds.items()}
            for engine, kinds in samples.items()
        },
    }
    (HERE / "results" / f"{result['date']}.json").write_text(json.dumps(result, indent=1) + "\n")
    page = readme(result)
    (HERE / "README.md").write_text(page)
    sys.stdout.write(page)


if __name__ == "__main__":
    main()
