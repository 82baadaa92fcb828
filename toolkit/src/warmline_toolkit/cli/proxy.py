"""`warmline proxy`: run the multiplexing proxy, check its settings against the live target, look inside."""

from __future__ import annotations

import glob
import json
import os
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table

from warmline_toolkit.errors import MachineError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import warmline_proxy


class ProxyNotInstalled(MachineError):
    """The distribution with the proxy is not installed."""

    code = "WL-P001"


class ProxyFailed(MachineError):
    """The proxy could not do what was asked; the text is its own."""

    code = "WL-P002"


class BadProxySettings(UsageError):
    """The proxy refuses the settings."""

    code = "WL-P003"


@contextmanager
def _proxy_package() -> Iterator[Any]:
    """Import the control plane when it is needed; its errors become the command line's."""
    try:
        import warmline_proxy  # noqa: PLC0415 - a distribution of its own, imported on use
    except ImportError as error:
        raise ProxyNotInstalled(
            "the proxy is not installed",
            next_step='pip install "warmline[proxy]", or pip install -e proxy in a checkout.',
        ) from error
    try:
        yield warmline_proxy
    except warmline_proxy.DaemonNotFound as error:
        raise ProxyNotInstalled(error.what, next_step=error.next_step) from error
    except warmline_proxy.BadSettings as error:
        raise BadProxySettings(error.what, next_step=error.next_step) from error
    except warmline_proxy.ProxyError as error:
        raise ProxyFailed(error.what, next_step=error.next_step) from error


def _runtime_folder() -> Path:
    return Path(os.environ.get("XDG_RUNTIME_DIR", tempfile.gettempdir()))


def _admin_socket(listen: str) -> str:
    return str(_runtime_folder() / f"warmline-proxy-{listen.rpartition(':')[2]}.sock")


def _admin(package: Any, path: str | None) -> warmline_proxy.AdminClient:
    """The admin client for *path*, or for the one proxy that runs here."""
    if path is None:
        found = glob.glob(str(_runtime_folder() / "warmline-proxy-*.sock"))  # noqa: PTH207 - names, not paths
        if len(found) != 1:
            raise UsageError(
                f"{len(found)} admin sockets in {_runtime_folder()}",
                next_step="Start a proxy with `warmline proxy run`, or name one: --admin PATH.",
            )
        path = found[0]
    client: warmline_proxy.AdminClient = package.AdminClient(Path(path))
    return client


@click.group()
def command() -> None:
    """Multiplex many function connections onto a few server connections."""


@command.command()
@click.argument("settings", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--target", help="postgresql://user:password@host:port/database, mysql://… or mariadb://…")
@click.option("--listen", default="127.0.0.1:6033", show_default=True, help="where functions connect")
@click.option("--max-connections-percent", type=click.IntRange(1, 100), help="share of the target's max_connections")
@click.option("--borrow-timeout", type=float, help="seconds a function waits for a server connection (120)")
@click.option("--http", "http_listen", help="host:port for /metrics, /healthz and /readyz")
@click.option("--log-level", type=click.Choice(["debug", "info", "warn", "error"]), default="info", show_default=True)
def run(  # noqa: PLR0913, PLR0917 - one parameter an option
    settings: Path | None,
    target: str | None,
    listen: str,
    max_connections_percent: int | None,
    borrow_timeout: float | None,
    http_listen: str | None,
    log_level: str,
) -> None:
    """Serve until SIGTERM or Ctrl-C, from a SETTINGS file or from options."""
    with _proxy_package() as package, tempfile.TemporaryDirectory(prefix="warmline-proxy-") as folder:
        daemon = package.find_daemon()
        if settings is None:
            if target is None:
                raise UsageError(
                    "neither a settings file nor --target", next_step="warmline proxy run --target postgresql://…"
                )
            chosen = {
                "target": target,
                "listen": listen,
                "admin_socket": _admin_socket(listen),
                "max_connections_percent": max_connections_percent,
                "connection_borrow_timeout_s": borrow_timeout,
                "http_listen": http_listen,
            }
            settings = Path(folder) / "settings.toml"
            settings.touch(mode=0o600)  # it holds the password
            settings.write_text(package.render({name: value for name, value in chosen.items() if value is not None}))
        process = subprocess.Popen([daemon, settings, "--log-level", log_level])
        while True:
            try:
                status = process.wait()
                break
            except KeyboardInterrupt:
                pass  # the daemon got the signal, too: it drains, a second one stops it at once
    if status != 0:
        raise ProxyFailed(f"the proxy ended with status {status}", next_step="Its last line says why.")


@command.command()
@click.argument("settings", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--target", help="postgresql://user:password@host:port/database, mysql://… or mariadb://…")
@click.option("--format", "output_format", type=click.Choice(["text", "json"]), default="text", show_default=True)
def check(settings: Path | None, target: str | None, output_format: str) -> None:
    """Check settings against the live target and say what will be available."""
    with _proxy_package() as package:
        if settings is not None:
            result = subprocess.run(
                [package.find_daemon(), settings, "--check"], capture_output=True, text=True, check=False
            )
            if result.returncode != 0:
                raise BadProxySettings(result.stderr.strip(), next_step="Correct the setting.")
            chosen = _toml(settings)
            target = chosen.pop("target")
            for name in ("listen", "admin_socket", "http_listen"):
                chosen.pop(name, None)
        elif target is not None:
            chosen = {}
        else:
            raise UsageError("neither a settings file nor --target", next_step="Name one of them.")
        with package.Proxy(target, settings=chosen) as proxy:
            stats, (pool, *_) = proxy.admin.ask("stats"), proxy.admin.ask("pools")
    found = {
        "protocol": stats["protocol"],
        "server": pool["server"],
        "max_connections_of_target": stats["max_connections_of_target"],
        "max_database_connections_allowed": stats["max_database_connections_allowed"],
        "target_tls": stats["database_connections_with_tls"] > 0,
    }
    if output_format == "json":
        click.echo(json.dumps(found, indent=2))
        return
    version = pool["server"].get("server_version") or pool["server"].get("version") or "?"
    click.echo(f"target        {stats['protocol']}, version {version}")
    click.echo(f"connections   {found['max_database_connections_allowed']} of {found['max_connections_of_target']}")
    click.echo(f"TLS to target {'yes' if found['target_tls'] else 'no'}")


def _toml(path: Path) -> dict[str, Any]:
    try:
        import tomllib  # noqa: PLC0415 - Python 3.11 and newer
    except ImportError as error:
        raise UsageError(
            "checking a settings file needs Python 3.11", next_step="Use --target, or warmline-proxyd --check."
        ) from error
    return tomllib.loads(path.read_text())


@command.command()
@click.option("--admin", help="path of the admin socket; found by itself when one proxy runs here")
@click.option("--watch", is_flag=True, help="show a live view until Ctrl-C")
@click.option("--format", "output_format", type=click.Choice(["text", "json"]), default="text", show_default=True)
def stats(admin: str | None, output_format: str, *, watch: bool) -> None:
    """Show connections, waits, latencies and pins of a running proxy."""
    with _proxy_package() as package:
        client = _admin(package, admin)
        if output_format == "json":
            click.echo(json.dumps(client.ask("stats"), indent=2))
            return
        console = Console()
        before = client.ask("stats")
        if not watch:
            console.print(_view(before, None, 0))
            return
        interval_s = 1.0
        with Live(_view(before, None, 0), console=console, refresh_per_second=4) as live:
            while True:
                time.sleep(interval_s)
                now = client.ask("stats")
                live.update(_view(now, before, interval_s))
                before = now


def _view(now: dict[str, Any], before: dict[str, Any] | None, interval_s: float) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    rate = ""
    if before is not None:
        rate = f", {(now['query_requests'] - before['query_requests']) / interval_s:,.0f}/s"
    state = "paused" if now["paused"] else "stopping" if now["draining"] else "ready" if now["ready"] else "not ready"
    if now["not_ready_because"]:
        state = f"{state}: {now['not_ready_because']}"
    borrowed, limit = now["database_connections_currently_borrowed"], now["max_database_connections_allowed"]
    table.add_row("proxy", f"{now['protocol']}, {state}, up {now['uptime_s']:,.0f} s")
    table.add_row("clients", f"{now['client_connections']} connected, {now['clients_waiting']} waiting")
    table.add_row(
        "servers",
        f"{now['database_connections']} open, {borrowed}/{limit} borrowed, "
        f"{now['database_connections_currently_session_pinned']} pinned",
    )
    table.add_row("statements", f"{now['query_requests']:,}{rate}")
    for title, name in (
        ("statement", "query_latency"),
        ("on the server", "server_latency"),
        ("borrow wait", "borrow_wait"),
    ):
        value = now[name]
        table.add_row(title, f"p50 {value['p50_us']} µs, p95 {value['p95_us']} µs, p99 {value['p99_us']} µs")
    pins = ", ".join(f"{count} {reason}" for reason, count in now["pins_by_reason"].items())
    table.add_row("pins so far", pins or "none")
    table.add_row("timeouts", f"{now['borrow_timeouts']} borrow timeouts")
    return table


@command.command()
@click.option("--admin", help="path of the admin socket; found by itself when one proxy runs here")
@click.option("--format", "output_format", type=click.Choice(["text", "json"]), default="text", show_default=True)
def pins(admin: str | None, output_format: str) -> None:
    """List every pin: who holds it, since when, why, and what ends it."""
    with _proxy_package() as package:
        found = _admin(package, admin).ask("pins")
    if output_format == "json":
        click.echo(json.dumps(found, indent=2))
        return
    if not found:
        click.echo("No client is pinned: every server connection is shared.")
        return
    for pin in found:
        click.echo(f"client {pin['client']} ({pin['user']}@{pin['database']}, {pin['peer']})")
        click.echo(f"  {pin['reason']} for {pin['held_s']:.0f} s by: {pin['statement']}")
        click.echo(f"  ends with {pin['ends_with']}")
