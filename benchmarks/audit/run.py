"""How long does an audit of 10,000 files take, beside ruff and pythaw where they are installed?

Interleaved rounds over one generated tree. Wall time, time to the first line of output, processor time and memory.
Peers are taken from PATH or from .cache/audit-peers/bin; those that are not there are left out and named.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tree import write_tree

FILES = int(os.environ.get("FILES", "10000"))
ROUNDS = int(os.environ.get("ROUNDS", "3"))
HERE = Path(__file__).parent
PEERS = HERE.parents[1] / ".cache" / "audit-peers" / "bin"


def commands(tree: str) -> dict[str, list[str]]:
    """Return the command of every tool that is installed."""
    found = {"warmline audit": [sys.executable, "-m", "warmline_toolkit", "audit", tree]}
    path = f"{PEERS}{os.pathsep}{os.environ['PATH']}"
    for name, arguments in (
        ("ruff", ["check", "--no-cache", "--isolated", "--select", "E,F", tree]),
        ("pythaw", ["check", tree]),
    ):
        program = shutil.which(name, path=path)
        if program:
            found[name] = [program, *arguments]
    return found


def measure(command: list[str]) -> dict[str, float]:
    """Run *command* once and return its wall time, time to the first line, processor time and lines."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.readline()
        first = time.monotonic() - started
        lines = 1 + sum(1 for _ in process.stdout)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_s": time.monotonic() - started, "first_line_s": first, "cpu_s": cpu, "lines": lines}


def main() -> None:
    """Write the tree, run the rounds, write results and README."""
    with tempfile.TemporaryDirectory() as folder:
        files = write_tree(Path(folder), FILES)
        tools = commands(folder)
        samples: dict[str, list[dict[str, float]]] = {name: [] for name in tools}
        loads = []
        for _ in range(ROUNDS):
            for name, command in tools.items():
                loads.append(os.getloadavg()[0])
                samples[name].append(measure(command))
    document = {
        "files": files, "rounds": ROUNDS, "cores": os.cpu_count(), "system": platform.platform(),
        "load_average_while_measured": [min(loads), max(loads)], "samples": samples,
    }  # fmt: skip
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "audit.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    rows = [
        f"| {name} | {statistics.median(item['wall_s'] for item in runs):.1f} | "
        f"{statistics.median(item['first_line_s'] for item in runs):.1f} | "
        f"{statistics.median(item['cpu_s'] for item in runs):.1f} |"
        for name, runs in samples.items()
    ]
    load = f"{min(loads):.0f} to {max(loads):.0f}"
    text = f"""# An audit of {files:,} files

Median of {ROUNDS} interleaved rounds on {os.cpu_count()} cores, with a load average of {load} while measuring:
`python benchmarks/audit/run.py`.

| tool | wall s | first line s | processor s |
|---|---|---|---|
"""
    text += "\n".join(rows) + "\n"
    text += (
        "\nThe tools answer different questions: ruff lints Python, pythaw looks for clients made in handlers, the\n"
    )
    text += "audit joins Python, JavaScript and templates.\n"
    (HERE / "README.md").write_text(text, encoding="utf-8")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
