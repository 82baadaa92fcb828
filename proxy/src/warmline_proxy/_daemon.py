"""The daemon as a process: where it is, how it starts, how it stops."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warmline_proxy._admin import AdminClient
from warmline_proxy._errors import AdminUnreachable, BadSettings, DaemonNotFound, ProxyDidNotStart
from warmline_proxy._settings import Value, render

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from typing_extensions import Self

PROGRAM = "warmline-proxyd"
_POLL_S = 0.01


def find_daemon() -> Path:
    """Return the daemon's program: `WARMLINE_PROXYD`, the wheel's, this workspace's newest build, or the PATH's.

    Raises `DaemonNotFound` with how to get it.
    """
    named = os.environ.get("WARMLINE_PROXYD")
    workspace = Path(__file__).parents[3]
    target = Path(os.environ.get("CARGO_TARGET_DIR", workspace / "target"))
    built = [target / profile / PROGRAM for profile in ("release", "debug")]
    built = sorted((path for path in built if path.is_file()), key=lambda path: path.stat().st_mtime, reverse=True)
    candidates = [Path(named)] if named else [*built, Path(sysconfig.get_path("scripts")) / PROGRAM]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    found = None if named else shutil.which(PROGRAM)
    if found is None:
        raise DaemonNotFound(
            f"{PROGRAM} is not here: looked for {', '.join(map(str, candidates))} and on the PATH",
            next_step="pip install warmline-proxy, or in a checkout: cargo build --release (Rust: https://rustup.rs).",
        )
    return Path(found)


class Proxy:
    """A running daemon in front of *target*, stopped with the context or `stop`.

    *settings* are the settings file's names (docs/reference/proxy-settings.md). Without *listen* it takes a free port
    on loopback. *folder* (an empty one of the caller's) is where it works and keeps its files; by default a temporary
    one. Ready in a few milliseconds plus one server connection. Raises `DaemonNotFound`, `BadSettings` and,
    when the target does not answer within *ready_within_s*, `ProxyDidNotStart` with the target's words.
    """

    def __init__(
        self,
        target: str,
        *,
        listen: str = "127.0.0.1:0",
        settings: Mapping[str, Value] | None = None,
        folder: Path | None = None,
        ready_within_s: float = 15.0,
    ) -> None:
        self._folder = folder or Path(tempfile.mkdtemp(prefix="warmline-proxy-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.log_file = self._folder / "log"
        self.admin = AdminClient(self._folder / "admin")
        file = self._folder / "settings.toml"
        file.touch(mode=0o600)  # it holds passwords
        own = {"target": target, "listen": listen, "admin_socket": str(self.admin.path)}
        file.write_text(render({**own, **(settings or {})}))
        try:
            with self.log_file.open("wb") as log:
                command = [str(find_daemon()), str(file), "--log-format", "json"]
                self._process = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL, cwd=folder)
            self._wait_until_ready(time.monotonic() + ready_within_s)
        except BaseException:
            self.stop()
            raise

    def _events(self) -> list[dict[str, Any]]:
        lines = self.log_file.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def _wait_until_ready(self, deadline: float) -> None:
        assert self._process is not None  # noqa: S101 - set by the only caller
        while True:
            if self._process.poll() is not None:
                text = self.log_file.read_text().strip().removeprefix(f"{PROGRAM}: ")
                raise BadSettings(f"the proxy did not start: {text}", next_step="Correct the setting and start again.")
            stats: dict[str, Any] = {}
            with contextlib.suppress(AdminUnreachable):
                stats = self.admin.ask("stats")
            if stats.get("ready"):
                serving = next(event for event in self._events() if event["event"] == "serving")
                host, _, port = serving["listen"].rpartition(":")
                self.host, self.port = host, int(port)
                return
            if time.monotonic() > deadline:
                raise ProxyDidNotStart(
                    f"the proxy runs but is not ready: {stats.get('not_ready_because', 'no answer')}",
                    next_step="Check the target's address, user and password.",
                )
            time.sleep(_POLL_S)

    @property
    def pid(self) -> int:
        """The daemon's process number."""
        assert self._process is not None  # noqa: S101 - started by __init__
        return self._process.pid

    def kill(self) -> None:
        """End the daemon without a goodbye, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """Drain and end it; what is left after five seconds is cut."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
