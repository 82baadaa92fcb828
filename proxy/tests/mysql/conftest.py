"""The real daemon in front of real MySQL and MariaDB servers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pymysql
import pytest
from warmline_toolkit.servers import Server, start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[3]


@dataclass
class Proxy:
    """A running daemon and how to reach it."""

    host: str
    port: int
    server: Server
    process: subprocess.Popen[bytes]
    admin_socket: Path

    def connect(self, **settings: Any) -> pymysql.Connection:
        """Connect a PyMySQL client through the proxy."""
        return connect(self.server, **{"host": self.host, "port": self.port, **settings})

    def admin(self, command: str) -> Any:
        """Ask the admin socket."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.admin_socket))
            client.sendall(json.dumps({"command": command}).encode() + b"\n")
            with client.makefile("rb") as answer:
                return json.loads(answer.readline())


def connect(server: Server, **settings: Any) -> pymysql.Connection:
    """Connect a PyMySQL client; without *host* and *port* directly to *server*."""
    defaults = {
        "host": server.host,
        "port": server.port,
        "user": server.user,
        "password": server.password,
        "database": server.database,
        "autocommit": True,
        "read_timeout": 20,
    }
    return pymysql.connect(**{**defaults, **settings})


@pytest.fixture(scope="session")
def program() -> Path:
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    command = ["cargo", "build", "--quiet", "--bin", "warmline-proxyd"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=900)
    return target / "debug" / "warmline-proxyd"


@pytest.fixture(scope="session", params=["mariadb", "mysql"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with start(
        request.param, max_connections=60, settings={"local_infile": 1, "max_allowed_packet": 64 << 20}
    ) as server:
        with pymysql.connect(host=server.host, port=server.port, **_admin(server)) as admin, admin.cursor() as cursor:
            cursor.execute("CREATE DATABASE IF NOT EXISTS other")
            cursor.execute("GRANT ALL ON other.* TO 'app'@'%'")
        yield server


def _admin(server: Server) -> dict[str, str]:
    credentials = server.admin_url.split("://", 1)[1].split("@", 1)[0]
    user, _, password = credentials.partition(":")
    return {"user": user, "password": password}


@pytest.fixture
def start_proxy(program: Path, tmp_path: Path) -> Iterator[Callable[..., Proxy]]:
    with ExitStack() as stack:

        def begin(server: Server, extra: str = "", **settings: Any) -> Proxy:
            file = tmp_path / f"{len(list(tmp_path.iterdir()))}.toml"
            admin_socket = file.with_suffix(".sock")
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            settings = {
                "target": server.url.replace("mariadb://", "mysql://"),
                "listen": f"127.0.0.1:{port}",
                "admin_socket": str(admin_socket),
                **settings,
            }
            lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
            file.write_text("\n".join(lines) + "\n" + extra)
            log = file.with_suffix(".log")
            with log.open("wb") as stderr:
                process = subprocess.Popen([program, file], stderr=stderr)
            stack.callback(_stop, process)
            while b" serving " not in log.read_bytes():
                assert process.poll() is None, log.read_text()
                time.sleep(0.01)
            return Proxy("127.0.0.1", port, server, process, admin_socket)

        yield begin


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait(10)


@pytest.fixture
def proxy(server: Server, start_proxy: Callable[..., Proxy]) -> Proxy:
    """Three server connections for everybody."""
    return start_proxy(server, max_server_connections=3)
