"""What a statement costs through a proxy: CPU of the proxy, throughput, latency, and memory per idle client.

pgbench's select-only script against PostgreSQL: direct, through warmline's proxy and through PgBouncer (Debian
unstable's, unpacked beside the system), 10 server connections each. Peers take turns within every round, so that a busy
machine hits all of them. Writes results/DATE.json (every sample) and README.md beside itself.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
import warmline_proxy
from warmline_toolkit.servers import start
from warmline_toolkit.servers.unpack import unpack

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
PROTOCOLS = ("simple", "extended", "prepared")
# Transactions a client, by the number of clients: a fixed amount of work, so that connecting takes nothing from it.
TRANSACTIONS = {8: 1000, 32: 300}
CLIENTS = tuple(TRANSACTIONS)
ROUNDS = 2
POOL = 10
IDLE_CLIENTS = 200
PEERS = ("direct", "warmline", "PgBouncer")


@dataclass
class Peer:
    """A way to the server: where to connect, and the process whose CPU and memory count."""

    name: str
    port: int
    pid: int | None

    def cpu_s(self) -> float:
        """User and system time so far, seconds."""
        if self.pid is None:
            return 0.0
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self) -> int:
        """Resident memory, bytes."""
        text = Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        return int(re.search(r"^Rss:\s+(\d+) kB", text, re.MULTILINE).group(1)) * 1024


@contextmanager
def pgbouncer(url: str) -> Iterator[Peer]:
    """Run PgBouncer in transaction mode; as `nobody`, because it refuses to be root."""
    target = urlsplit(url)
    program = unpack("pgbouncer") / "pgbouncer"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        port = 16432
        users = Path(folder) / "users"
        users.write_text(f'"{target.username}" "{target.password}"\n')
        settings = Path(folder) / "pgbouncer.ini"
        settings.write_text(
            f"[databases]\n* = host={target.hostname} port={target.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {port}\nauth_type = scram-sha-256\nauth_file = {users}\npool_mode = transaction\n"
            f"default_pool_size = {POOL}\nmax_client_conn = 20000\nmax_prepared_statements = 200\nunix_socket_dir =\n"
            "ignore_startup_parameters = extra_float_digits,options\nlog_connections = 0\nlog_disconnections = 0\n"
        )
        log = (Path(folder) / "log").open("wb")
        process = subprocess.Popen([program, "-u", "nobody", settings], stderr=log, stdout=log)
        try:
            wait_for_port(f"{target.scheme}://{target.username}:{target.password}@127.0.0.1:{port}{target.path}")
            yield Peer("PgBouncer", port, process.pid)
        finally:
            process.terminate()
            process.wait()
            log.close()


def wait_for_port(url: str) -> None:
    """Wait until a statement is answered."""
    deadline = time.monotonic() + 20
    while True:
        try:
            with psycopg.connect(url, connect_timeout=2) as connection:
                connection.execute("select 1")
                return
        except psycopg.OperationalError:  # noqa: PERF203 - it is a wait
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def pgbench(url: str, port: int, protocol: str, clients: int) -> dict[str, float]:
    """One run: transactions per second, mean latency, and the number of transactions."""
    target = urlsplit(url)
    program = shutil.which("pgbench") or str(next(Path("/usr/lib/postgresql").glob("*/bin/pgbench")))
    command = [program, "-S", "-n", "-M", protocol, "-c", str(clients), "-j", "1", "-t", str(TRANSACTIONS[clients])]
    command += ["-h", "127.0.0.1", "-p", str(port), "-U", str(target.username), target.path[1:]]
    environment = {**os.environ, "PGPASSWORD": str(target.password), "PGSSLMODE": "disable"}
    text = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return {
        "transactions": float(re.search(r"actually processed: (\d+)", text).group(1)),
        "tps": float(re.search(r"tps = ([\d.]+)", text).group(1)),
        "latency_ms": float(re.search(r"latency average = ([\d.]+)", text).group(1)),
    }


def idle_client_bytes(url: str, peer: Peer) -> float:
    """Resident memory that one idle, logged-in client adds."""
    target = urlsplit(url)
    own = f"{target.scheme}://{target.username}:{target.password}@127.0.0.1:{peer.port}{target.path}"
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(psycopg.connect(own, autocommit=True)).execute("select 1")
        before = peer.resident_bytes()
        for _ in range(IDLE_CLIENTS):
            stack.enter_context(psycopg.connect(own, autocommit=True)).execute("select 1")
        return (peer.resident_bytes() - before) / IDLE_CLIENTS


def measure() -> dict[str, object]:
    """Run everything; every sample."""
    samples: list[dict[str, object]] = []
    with ExitStack() as stack:
        server = stack.enter_context(start("postgres", max_connections=60))
        initialise = [
            shutil.which("pgbench") or str(next(Path("/usr/lib/postgresql").glob("*/bin/pgbench"))),
            "-i", "-q", "-s", "10", server.url,
        ]  # fmt: skip
        subprocess.run(initialise, capture_output=True, check=True)
        proxy = stack.enter_context(
            warmline_proxy.Proxy(
                server.url, settings={"max_server_connections": POOL, "target_tls": {"mode": "disable"}}
            )
        )
        bouncer = stack.enter_context(pgbouncer(server.url))
        peers = [Peer("direct", server.port, None), Peer("warmline", proxy.port, proxy.pid), bouncer]
        for number in range(ROUNDS):
            for protocol in PROTOCOLS:
                for clients in CLIENTS:
                    for peer in peers:
                        before = peer.cpu_s()
                        found = pgbench(server.url, peer.port, protocol, clients)
                        cpu_us = (peer.cpu_s() - before) / found["transactions"] * 1e6
                        samples.append(
                            {
                                "round": number,
                                "peer": peer.name,
                                "protocol": protocol,
                                "clients": clients,
                                "cpu_us": cpu_us,
                            }
                            | found
                        )
            print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
        memory = {peer.name: idle_client_bytes(server.url, peer) for peer in peers[1:]}
        version = server.version
    return {
        "date": dt.datetime.now(dt.timezone.utc).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "server": version,
        "load_before": LOAD,
        "samples": samples,
        "idle_client_bytes": memory,
    }


def median(samples: list[dict[str, object]], what: str, **wanted: object) -> float:
    """The median of *what* over the samples with these values."""
    chosen = [sample[what] for sample in samples if all(sample[name] == value for name, value in wanted.items())]
    return statistics.median(chosen)


def readme(results: dict[str, object]) -> str:
    """The page: medians, and ratios to PgBouncer."""
    samples = results["samples"]
    losses: list[str] = []
    lines = [
        "# What a statement costs through the proxy",
        "",
        (
            f"{results['date']}, {results['machine']}, PostgreSQL {results['server']}, pgbench select-only (scale 10), "
            f"{POOL} server connections, no TLS, {ROUNDS} interleaved rounds; medians. Load average before: "
            f"{results['load_before']}. Ratios to PgBouncer in brackets; everything shares the same cores."
        ),
        "",
        "Made by `python benchmarks/proxy/run.py`; every sample is in `results/`.",
        "",
        "| protocol | clients | CPU µs/statement: warmline | PgBouncer | statements/s: warmline | PgBouncer | direct |",
        "|---|---|---|---|---|---|---|",
    ]
    for protocol in PROTOCOLS:
        for clients in CLIENTS:
            key = {"protocol": protocol, "clients": clients}
            cpu = {peer: median(samples, "cpu_us", peer=peer, **key) for peer in PEERS}
            tps = {peer: median(samples, "tps", peer=peer, **key) for peer in PEERS}
            lines.append(
                f"| {protocol} | {clients} | {cpu['warmline']:.1f} ({cpu['warmline'] / cpu['PgBouncer']:.2f}) "
                f"| {cpu['PgBouncer']:.1f} | {tps['warmline']:,.0f} ({tps['warmline'] / tps['PgBouncer']:.2f}) "
                f"| {tps['PgBouncer']:,.0f} | {tps['direct']:,.0f} ({tps['direct'] / tps['PgBouncer']:.2f}) |"
            )
            if cpu["warmline"] > cpu["PgBouncer"]:
                losses.append(f"CPU, {protocol}, {clients} clients")
            if tps["warmline"] < tps["PgBouncer"]:
                losses.append(f"throughput, {protocol}, {clients} clients")
    memory = results["idle_client_bytes"]
    lines += ["", f"PgBouncer is better in: {'; '.join(losses) or 'none of these'}."]
    lines += [
        "",
        (
            f"Resident memory per idle client that has run a statement, {IDLE_CLIENTS} of them: warmline "
            f"{memory['warmline']:.0f} bytes, PgBouncer {memory['PgBouncer']:.0f} bytes."
        ),
        "",
        "Not measured here: TLS, connect storms, more than 32 active clients, Odyssey, and MySQL's peers.",
    ]
    return "\n".join(lines) + "\n"


LOAD = " ".join(f"{value:.1f}" for value in os.getloadavg())

if __name__ == "__main__":
    if "--readme" in sys.argv:
        newest = max((HERE / "results").glob("*.json"))
        (HERE / "README.md").write_text(readme(json.loads(newest.read_text())))
        sys.exit()
    found = measure()
    (HERE / "results" / f"{found['date']}.json").write_text(json.dumps(found, indent=1) + "\n")
    (HERE / "README.md").write_text(readme(found))
    print((HERE / "README.md").read_text())
