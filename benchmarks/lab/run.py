"""What the lab itself costs, beside other local emulators: writes results/latest.json and README.md.

Run with `python benchmarks/lab/run.py [--environments 1000]`. The peers are measured where they are found under
.cache/peers-lab (see PEERS); the others are listed as not measured. All warm invocations are interleaved: one block of
each subject, then the next block of each.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import os
import platform as machine
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warmline_toolkit.lab.environment import State
from warmline_toolkit.lab.handler import find_handler
from warmline_toolkit.lab.journal import Journal
from warmline_toolkit.lab.loop import run
from warmline_toolkit.lab.overhead import measure_overhead
from warmline_toolkit.lab.platform import Platform
from warmline_toolkit.lab.settings import PlatformSettings
from warmline_toolkit.servers import start

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / ".cache" / "peers-lab"
BLOCK = 100
OVERHEAD_MS, FEW_READY_S, MANY, RELAY_US = 0.3, 3, 1000, 100
"""The targets."""
_VERDICT = {True: "met", False: "missed", None: "not measured at this size"}
PEERS = {
    "serverless-offline": "npm install --prefix .cache/peers-lab serverless@3 serverless-offline@13",
    "aws-lambda-rie": "go build -o .cache/peers-lab/ ./cmd/aws-lambda-rie   (in a clone of the emulator's source)",
    "python-lambda-local": "python -m venv .cache/peers-lab/pll && .cache/peers-lab/pll/bin/pip install "
    "python-lambda-local setuptools",
}


def spread(samples: list[float]) -> dict[str, float]:
    """Return a sample's size and percentiles."""
    ordered = sorted(samples)
    at = lambda share: round(ordered[min(int(share * len(ordered)), len(ordered) - 1)], 4)  # noqa: E731
    return {"n": len(ordered), "p50": at(0.5), "p95": at(0.95), "p99": at(0.99), "max": round(ordered[-1], 4)}


def new_platform(**settings: Any) -> Platform:
    """Return a platform of the no-op handler that records nothing."""
    return Platform(
        PlatformSettings(timeout_s=60, **settings),
        find_handler(str(HERE / "noop.py")),
        journal=Journal(lambda _event: None),
    )


async def frozen(platform: Platform) -> None:
    """Wait until every environment has stopped."""
    while any(environment.state is State.FREEZING for environment in platform.environments):  # noqa: ASYNC110 - the kernel tells
        await asyncio.sleep(0)


class HttpPeer:
    """An emulator that is invoked by Lambda's own Invoke call over HTTP."""

    def __init__(self, command: list[str], port: int, path: str, cwd: Path, ready_s: float = 40) -> None:
        self.process = subprocess.Popen(
            command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        self.port, self.path = port, path
        self.connection: http.client.HTTPConnection | None = None
        limit = time.monotonic() + ready_s
        while not self._answers():
            if time.monotonic() > limit or self.process.poll() is not None:
                self.close()
                raise OSError("did not become ready")
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            self.invoke()
        except (OSError, http.client.HTTPException, ValueError):
            self.connection = None
            return False
        return True

    def invoke(self) -> float:
        """Return the milliseconds of one invocation."""
        if self.connection is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        started = time.perf_counter()
        self.connection.request("POST", self.path, b"{}")
        response = self.connection.getresponse()
        answer = json.loads(response.read())
        taken = (time.perf_counter() - started) * 1000
        if answer != {"statusCode": 200}:
            raise OSError(f"unexpected answer {answer}")
        return taken

    def close(self) -> None:
        """End it and all it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, 9)
        self.process.wait()


def free_port() -> int:
    """Return a port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def start_rie(folder: Path) -> HttpPeer:
    """Start AWS's runtime interface emulator with the official runtime."""
    del folder
    port = free_port()
    command = [str(CACHE / "aws-lambda-rie"), "--runtime-interface-emulator-address", f"127.0.0.1:{port}"]
    command += ["--runtime-api-address", f"127.0.0.1:{free_port()}"]
    command += [sys.executable, "-m", "awslambdaric", "noop.handler"]
    return HttpPeer(command, port, "/2015-03-31/functions/function/invocations", HERE)


def start_serverless(folder: Path) -> HttpPeer:
    """Start serverless-offline with the same handler."""
    shutil.copy(HERE / "noop.py", folder)
    (folder / "serverless.yml").write_text(
        "service: bench\nframeworkVersion: '3'\nprovider: {name: aws, runtime: python3.11}\n"
        "plugins: [serverless-offline]\nfunctions: {noop: {handler: noop.handler}}\n"
    )
    (folder / "package.json").write_text("{}")
    (folder / "node_modules").symlink_to(CACHE / "node_modules")
    port = free_port()
    command = ["node", str(CACHE / "node_modules" / "serverless" / "bin" / "serverless.js"), "offline"]
    command += ["--lambdaPort", str(port), "--httpPort", str(free_port()), "--noPrependStageInUrl"]
    return HttpPeer(command, port, "/2015-03-31/functions/bench-dev-noop/invocations", folder)


STARTERS: dict[str, tuple[Path, Callable[[Path], HttpPeer]]] = {
    "aws-lambda-rie": (CACHE / "aws-lambda-rie", start_rie),
    "serverless-offline": (CACHE / "node_modules" / "serverless-offline", start_serverless),
}


def start_peer(name: str, folder: Path, not_measured: dict[str, str]) -> HttpPeer | None:
    """Start a peer, or note why it is not measured."""
    needs, starter = STARTERS[name]
    if not needs.exists():
        not_measured[name] = f"not installed; to install: {PEERS[name]}"
        return None
    try:
        return starter(folder)
    except OSError as error:
        not_measured[name] = str(error)
        return None


async def warm_invocations(blocks: int, not_measured: dict[str, str]) -> dict[str, Any]:
    """Measure warm invocations of every subject, interleaved."""
    samples: dict[str, list[float]] = {}
    peers: dict[str, HttpPeer] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in STARTERS:
            peer = await asyncio.to_thread(start_peer, name, Path(folder), not_measured)
            if peer is not None:
                peers[name] = peer
        try:
            async with new_platform() as freezing, new_platform(freeze=False) as running:
                subjects = {"warmline lab, freeze and thaw": freezing, "warmline lab, no freeze": running}
                for platform in subjects.values():
                    await platform.invoke()
                for _ in range(blocks):
                    for name, platform in subjects.items():
                        overhead, call = samples.setdefault(name, []), samples.setdefault(f"{name}: invoke()", [])
                        for _ in range(BLOCK):
                            await frozen(platform)
                            started = time.perf_counter()
                            result = await platform.invoke()
                            call.append((time.perf_counter() - started) * 1000)
                            overhead.append(result.handler_ms)
                    for name, peer in peers.items():
                        taken = await asyncio.to_thread(lambda peer=peer: [peer.invoke() for _ in range(BLOCK // 4)])
                        samples.setdefault(name, []).extend(taken)
        finally:
            for peer in peers.values():
                peer.close()
    return {name: spread(values) for name, values in samples.items()}


async def cold_starts(not_measured: dict[str, str], rounds: int = 10) -> dict[str, Any]:
    """Measure a first invocation in a new environment, beside python-lambda-local, which has no other."""
    samples: dict[str, list[float]] = {"warmline lab": []}
    program = CACHE / "pll" / "bin" / "python-lambda-local"
    if not program.exists():
        not_measured["python-lambda-local"] = f"not installed; to install: {PEERS['python-lambda-local']}"
    with tempfile.NamedTemporaryFile("w", suffix=".json") as event:
        event.write("{}")
        event.flush()
        for _ in range(rounds):
            async with new_platform() as platform:
                started = time.perf_counter()
                await platform.invoke()
                samples["warmline lab"].append((time.perf_counter() - started) * 1000)
            if program.exists():
                started = time.perf_counter()
                command = [str(program), "-f", "handler", str(HERE / "noop.py"), event.name]
                await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
                samples.setdefault("python-lambda-local (its whole run)", []).append(
                    (time.perf_counter() - started) * 1000
                )
    return {name: spread(values) for name, values in samples.items()}


def pss_mb(pids: list[int]) -> float:
    """Return the memory of processes, shared pages divided among those that share them."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


async def fleet(count: int) -> dict[str, Any]:
    """Make *count* environments live at once, invoke each, and measure time and memory."""
    async with new_platform(max_concurrency=count, scale_out_burst=count) as platform:
        started = time.perf_counter()
        await platform.prewarm(count)
        ready_s = time.perf_counter() - started
        await frozen(platform)
        pids = [environment.processes.pid for environment in platform.environments if environment.processes]
        memory = await asyncio.to_thread(pss_mb, pids)
        started = time.perf_counter()
        results = await asyncio.gather(*(platform.invoke() for _ in range(count)))
        invoked_s = time.perf_counter() - started
        return {
            "environments": len(platform.environments),
            "ready_s": round(ready_s, 2),
            "invoked_all_at_once_s": round(invoked_s, 2),
            "ok": sum(result.ok for result in results),
            "different_environments": len({result.environment for result in results}),
            "pss_mb_each": round(memory / count, 2),
            "pss_gb_all": round(memory / 1024, 2),
        }


def relay() -> dict[str, Any]:
    """Measure what a relay adds to a round trip, on each engine."""
    measured = {}
    for engine in ("mariadb", "postgres"):
        with start(engine, max_connections=20) as server:
            added = [measure_overhead(server, round_trips=1000) for _ in range(5)]
        each = sorted(round(one.added_us, 1) for one in added)
        measured[f"{engine} {server.version.split('-')[0].split(' ')[0]}"] = {
            "round_trips": 5000,
            "direct_us": round(statistics.median(one.direct_us for one in added), 1),
            "added_us": statistics.median(each),
            "added_us_least": each[0],
            "added_us_most": each[-1],
        }
    return measured


def readme(result: dict[str, Any]) -> str:
    """Return the page of a result."""
    lines = [
        "# What the lab itself costs",
        "",
        "Generated by `python benchmarks/lab/run.py` from `results/latest.json`.",
        "",
        "; ".join(f"{name}: {value}" for name, value in result["provenance"].items()) + ".",
        "",
        "A load above the number of cores means that other work competed for them: then every time here is too long,",
        "the tails most of all.",
        "",
        "## One warm invocation of a handler that does nothing, ms",
        "",
        "The lab's first two rows are from handing the event to the frozen (or running) runtime until its response;",
        "`invoke()` is the whole call, until the runtime has asked for its next event. The others are an HTTP Invoke",
        "call over a kept connection, as their users make it: an HTTP client's time is in them and not in the lab's.",
        "",
        "| | n | p50 | p95 | p99 | max |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    row = "| {} | {n} | {p50:.3f} | {p95:.3f} | {p99:.3f} | {max:.3f} |"
    lines += [row.format(name, **values) for name, values in result["warm_ms"].items()]
    lines += ["", "## A first invocation, ms", "", "| | n | p50 | p95 | p99 | max |", "|---|---:|---:|---:|---:|---:|"]
    lines += [row.format(name, **values) for name, values in result["cold_ms"].items()]
    lines += [
        "",
        "## Many environments at once",
        "",
        "| environments | ready, s | one invocation of each, at once, s | answered | memory each, MB | all, GB |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        "| {environments} | {ready_s} | {invoked_all_at_once_s} | {ok} | {pss_mb_each} | {pss_gb_all} |".format(**one)
        for one in result["fleets"]
    ]
    lines += [
        "",
        "Memory is proportional set size: pages that processes share are divided among them.",
        "",
        "## What a relay adds to a round trip, µs",
        "",
        "| server | round trips each way | direct, p50 | added, p50 | least and most of 5 |",
        "|---|---:|---:|---:|---|",
    ]
    lines += [
        f"| {name} | {one['round_trips']} | {one['direct_us']} | {one['added_us']} "
        f"| {one['added_us_least']} to {one['added_us_most']} |"
        for name, one in result["relay"].items()
    ]
    lines += ["", "## Targets", "", "| target | measured | |", "|---|---|---|"]
    lines += [f"| {what} | {measured} | {_VERDICT[met]} |" for what, measured, met in targets(result)]
    if result["not_measured"]:
        lines += ["", "## Not measured here", ""]
        lines += [f"* {name}: {why}" for name, why in result["not_measured"].items()]
    return "\n".join(lines) + "\n"


def targets(result: dict[str, Any]) -> list[tuple[str, str, bool | None]]:
    """Return each target, what was measured, and whether it is met."""
    overhead = result["warm_ms"]["warmline lab, freeze and thaw"]["p50"]
    few, many = result["fleets"][0], result["fleets"][-1]
    added = max(one["added_us"] for one in result["relay"].values())
    return [
        ("invoke overhead with freeze and thaw, p50 at most 0.3 ms", f"{overhead:.3f} ms", overhead <= OVERHEAD_MS),
        ("25 environments ready within 3 s", f"{few['ready_s']} s", few["ready_s"] <= FEW_READY_S),
        (
            "1,000 environments live at once",
            f"{many['different_environments']} answered at once",
            many["different_environments"] >= MANY if many["environments"] >= MANY else None,
        ),
        ("relay at most 0.1 ms a round trip", f"{added / 1000:.3f} ms", added <= RELAY_US),
    ]


def main() -> None:
    """Measure, and write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environments", type=int, default=1000)
    parser.add_argument("--blocks", type=int, default=20, help="blocks of 100 warm invocations of each subject")
    asked = parser.parse_args()
    not_measured: dict[str, str] = {}
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True, check=True
    )
    result: dict[str, Any] = {
        "provenance": {
            "commit": commit.stdout.strip(),
            "Python": machine.python_version(),
            "kernel": machine.release(),
            "cores": os.cpu_count(),
            "load before": round(os.getloadavg()[0], 1),
            "date": time.strftime("%Y-%m-%d"),
        }
    }
    result["warm_ms"] = run(warm_invocations(asked.blocks, not_measured))
    result["cold_ms"] = run(cold_starts(not_measured))
    result["relay"] = relay()
    result["fleets"] = [run(fleet(25)), run(fleet(asked.environments))]
    result["not_measured"] = not_measured
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "latest.json").write_text(json.dumps(result, indent=1) + "\n")
    (HERE / "README.md").write_text(readme(result))
    print(readme(result))


if __name__ == "__main__":
    main()
