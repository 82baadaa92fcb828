"""The proxy's control plane: find and start the daemon, write its settings, ask it questions."""

from warmline_proxy._admin import AdminClient
from warmline_proxy._daemon import Proxy, find_daemon
from warmline_proxy._errors import AdminUnreachable, BadSettings, DaemonNotFound, ProxyDidNotStart, ProxyError
from warmline_proxy._settings import render

__all__ = [
    "AdminClient",
    "AdminUnreachable",
    "BadSettings",
    "DaemonNotFound",
    "Proxy",
    "ProxyDidNotStart",
    "ProxyError",
    "find_daemon",
    "render",
]
