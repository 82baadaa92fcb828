"""Socket options that make a silently dropped path fail in seconds; kernels wait hours by default."""

from __future__ import annotations

import socket

KEEPALIVE_IDLE_S = 60
KEEPALIVE_INTERVAL_S = 10
KEEPALIVE_PROBES = 3
UNACKNOWLEDGED_S = 20


def keep_alive(fd: int) -> None:
    """Probe after a minute's silence, and give up on data that nobody acknowledges for 20 s. No round trip."""
    duplicate = socket.socket(fileno=fd)
    try:
        if duplicate.family == getattr(socket, "AF_UNIX", None):
            return
        duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (
            ("TCP_KEEPIDLE", KEEPALIVE_IDLE_S),
            ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_S),
            ("TCP_KEEPCNT", KEEPALIVE_PROBES),
            ("TCP_USER_TIMEOUT", UNACKNOWLEDGED_S * 1000),
        ):
            option = getattr(socket, name, None)
            if option is not None:
                duplicate.setsockopt(socket.IPPROTO_TCP, option, value)
    finally:
        duplicate.detach()
