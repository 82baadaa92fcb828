"""The built daemon between real drivers and real servers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from warmline_toolkit.servers import start

ROOT = Path(__file__).parents[2]
PATIENCE_S = 20.0


def wait_for(condition, *, what: str, limit_s: float = PATIENCE_S):
    """Poll *condition* until it is true; its value. Fails with *what* after *limit_s*."""
    deadline = time.monotonic() + limit_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"not within {limit_s:g} s: {what}")
        time.sleep(0.01)


@pytest.fixture(name="wait_for")
def wait_for_fixture():
    """`wait_for(condition, what=...)`: wait for a condition instead of sleeping."""
    return wait_for


@pytest.fixture(scope="session")
def daemon_program() -> Path:
    """The daemon, built by cargo with the tests' profile (which keeps its debug assertions)."""
    cargo = shutil.which("cargo") or str(Path.home() / ".cargo/bin/cargo")
    subprocess.run([cargo, "build", "--quiet", "--package", "warmline-proxy"], cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return target / "debug" / "warmline-proxyd"


@dataclass
class Proxy:
    """A running daemon."""

    process: subprocess.Popen[bytes]
    folder: Path
    port: int
    user: str
    password: str
    database: str
    log: Path
    host: str = "127.0.0.1"
    connections: list[Any] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"postgresql://{self.user}:{self.password}@{self.host}:{self.port}/{self.database}"

    def admin(self, command: str, **arguments: Any) -> Any:
        """Ask over the admin socket."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE_S)
            connection.connect(str(self.folder / "admin"))
            connection.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
            with connection.makefile("rb") as lines:
                return json.loads(lines.readline())

    def connect(self, **options: Any) -> psycopg.Connection:
        """A client connection, closed with the proxy."""
        connection = psycopg.connect(self.url, **{"autocommit": True, "connect_timeout": 10, **options})
        self.connections.append(connection)
        return connection

    def stop(self) -> None:
        for connection in self.connections:
            connection.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@pytest.fixture
def run_proxy(daemon_program, tmp_path):
    """Start proxies in front of a server: `run_proxy(server, name=value, ...)`; settings are the file's."""
    running: list[Proxy] = []

    def run(server, *, extra: str = "", target: str | None = None, **settings: Any) -> Proxy:
        folder = tmp_path / f"proxy{len(running)}"
        folder.mkdir()
        lines = [
            f'target = "{target or server.url}"',
            'listen = "127.0.0.1:0"',
            f'admin_socket = "{folder / "admin"}"',
            'http_listen = "127.0.0.1:0"',
        ]
        lines += [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
        (folder / "settings.toml").write_text("\n".join(lines) + "\n" + extra + "\n")
        log = folder / "log"
        with log.open("wb") as stderr:
            command = [daemon_program, folder / "settings.toml", "--log-level", "debug", "--log-format", "json"]
            process = subprocess.Popen(command, stderr=stderr)

        def serving() -> dict[str, str] | None:
            if process.poll() is not None:
                pytest.fail(f"the daemon ended: {log.read_text()}")
            events = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]
            return next((event for event in events if event["event"] == "serving"), None)

        event = wait_for(serving, what="the daemon serves")
        port = int(event["listen"].rpartition(":")[2])
        proxy = Proxy(process, folder, port, server.user, server.password, server.database, log)
        running.append(proxy)
        return proxy

    yield run
    for proxy in running:
        proxy.stop()
        text = proxy.log.read_text()
        assert "panicked" not in text, text


@pytest.fixture(scope="session")
def postgres():
    """One PostgreSQL server for the tests that do not break it."""
    with start("postgres", max_connections=30) as server:
        yield server
