"""The admin socket: one JSON object a line, both ways."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

from warmline_proxy._errors import AdminUnreachable

if TYPE_CHECKING:
    from pathlib import Path


class AdminClient:
    """Asks a running proxy over its admin socket; every call is a connection of its own.

    Commands: stats, pools, clients, servers, pins, settings, metrics; pause, resume, drain, reconnect, reload, kill.
    """

    def __init__(self, path: Path, *, timeout_s: float = 10.0) -> None:
        self.path = path
        self.timeout_s = timeout_s

    def ask(self, command: str, **arguments: object) -> Any:
        """Send one command and return its answer. Raises `AdminUnreachable`."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(self.timeout_s)
                connection.connect(str(self.path))
                connection.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
                with connection.makefile("rb") as lines:
                    line = lines.readline()
        except OSError as error:
            raise AdminUnreachable(
                f"no proxy answers on {self.path}: {error.strerror or error}",
                next_step="Name its admin socket: --admin PATH, as `warmline proxy run` shows it at its start.",
            ) from error
        if not line:
            raise AdminUnreachable(
                f"the proxy on {self.path} closed the connection", next_step="It is stopping: start it again."
            )
        return json.loads(line)
