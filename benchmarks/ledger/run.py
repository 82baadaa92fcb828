"""Run the ledger with every client, interleaved, write results and README.

`python benchmarks/ledger/run.py [--transfers 100000] [--only-readme]`
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from pathlib import Path

from ledger import CLIENTS, measure
from warmline_toolkit.servers import start

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "ledger.json"
ROUND = 2_000
PAUSE_S = 0.2
COLUMNS = {
    "transfers": "transfers",
    "sessions_killed": "sessions killed",
    "acknowledged": "acknowledged",
    "reported_unknown": "reported unknown",
    "reported_failed": "reported failed",
    "acknowledged_but_missing": "**acknowledged but missing**",
    "failed_but_there": "**reported failed but there**",
    "amount_wrong": "**amount wrong in accounts**",
}


def run(transfers: int) -> None:
    """Measure in rounds, each client once a round, and add the counts up."""
    if not (HERE / "node_modules").is_dir():
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund"], cwd=HERE, check=True)
    totals: dict[str, dict[str, float]] = {name: {} for name in CLIENTS}
    with start("mariadb") as server:
        done = 0
        while done < transfers:
            share = min(ROUND, transfers - done)
            for name, client in CLIENTS.items():
                counted = measure(server, client, transfers=share, pause_s=PAUSE_S)
                print(f"{done + share:>7} {name}: {counted}", file=sys.stderr)
                for key, value in counted.items():
                    totals[name][key] = round(totals[name].get(key, 0) + value, 1)
            done += share
            result = {
                "when": time.strftime("%Y-%m-%d"),
                "server": server.version,
                "python": platform.python_version(),
                "machine": f"{platform.machine()}, shared",
                "environments": 2,
                "longest_pause_between_kills_s": PAUSE_S,
                "clients": totals,
            }
            RESULTS.write_text(json.dumps(result, indent=1) + "\n")


def readme() -> str:
    """Return the README made from the results."""
    result = json.loads(RESULTS.read_text())
    names = list(result["clients"])
    lines = [
        "# What does a client lose when connections die?",
        "",
        "Transfers between accounts, each one transaction of three statements, from two environments, while another",
        f"thread ends all sessions at the server at random moments, up to {result['longest_pause_between_kills_s']} s",
        "apart. Afterwards the accounts are compared with what each",
        "client said of each transfer. `python benchmarks/ledger/run.py` makes this page from `results/ledger.json`.",
        "",
        f"{result['server']}, Python {result['python']}, {result['machine']}, {result['when']}.",
        "",
        "| | " + " | ".join(names) + " |",
        "|---|" + "---:|" * len(names),
    ]
    for key, title in COLUMNS.items():
        cells = [f"{int(result['clients'][name].get(key, 0)):,}" for name in names]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    rates = [f"{result['clients'][name]['transfers'] / result['clients'][name]['seconds']:.0f}" for name in names]
    lines.append("| transfers a second, on this machine | " + " | ".join(rates) + " |")
    lines += [
        "",
        "The rows in bold must be zero. DBUtils and serverless-mysql send a statement again when its connection is",
        "gone, on a new one that knows nothing of the transaction: what came before in it is lost, what comes after is",
        "committed without it, and the client says that all went well. PyMySQL alone is right and says so of more",
        "failures, which its user must handle. warmline runs the whole transaction again, and only reports as unknown",
        "those whose COMMIT was on its way.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transfers", type=int, default=20_000)
    parser.add_argument("--only-readme", action="store_true")
    arguments = parser.parse_args()
    if not arguments.only_readme:
        run(arguments.transfers)
    (HERE / "README.md").write_text(readme())


if __name__ == "__main__":
    main()
