"""What stands between the function and the server: nothing, or warmline's proxy."""

from __future__ import annotations

import contextlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

from warmline_toolkit.errors import MachineError
from warmline_toolkit.lab.relay import Address
from warmline_toolkit.servers import guardian

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from warmline_toolkit.lab.strategy import Route
    from warmline_toolkit.servers import AnyServer


class NoProxy(MachineError):
    """The proxy is not installed, not built, or does not start."""

    code = "WL-L111"


def why_no_proxy() -> str | None:
    """Return what keeps the proxy from running here and how to get it, in one line; None where nothing does."""
    try:
        import warmline_proxy  # noqa: PLC0415 - a distribution of its own
    except ImportError:
        return "warmline-proxy is not installed: pip install warmline-proxy"
    try:
        warmline_proxy.find_daemon()
    except warmline_proxy.DaemonNotFound as error:
        return f"{error.what}: {error.next_step}"
    return None


@contextmanager
def open_route(route: Route, server: AnyServer, *, max_connections: int) -> Iterator[Callable[[str], Address] | None]:
    """Open what *route* needs, and yield where each environment's relay connects to: None is the server itself.

    A proxy gets as many server connections as the function would have (*max_connections*). It is gone when the block
    is left, or when this process dies.
    """
    if route == "direct":
        yield None
        return
    reason = why_no_proxy()
    if reason is not None:
        raise NoProxy(f"The proxy cannot run here: {reason}.", next_step="Or name the strategies to run: --strategy.")
    import warmline_proxy  # noqa: PLC0415 - a distribution of its own

    with contextlib.ExitStack() as stack:
        folder = guardian.temporary_directory("warmline-proxy-")
        stack.callback(guardian.remove_directory, folder)
        try:
            proxy = stack.enter_context(
                warmline_proxy.Proxy(server.url, folder=folder, settings={"max_server_connections": max_connections})
            )
        except warmline_proxy.ProxyError as error:
            raise NoProxy(f"The proxy did not start: {error.what}", next_step=error.next_step) from error
        address = Address(proxy.host, proxy.port)
        yield lambda _environment: address
