"""What can go wrong around the daemon: each says what happened and what to do, with a code that has a page."""

from __future__ import annotations

from typing import ClassVar


class ProxyError(Exception):
    """*what* happened, and the *next_step*; *code* names the page docs/errors/CODE.md."""

    code: ClassVar[str] = "WL-P000"

    def __init__(self, what: str, *, next_step: str) -> None:
        super().__init__(what)
        self.what = what
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.what}\n  {self.next_step}"


class DaemonNotFound(ProxyError):
    """`warmline-proxyd` is neither installed nor built."""

    code = "WL-P001"


class ProxyDidNotStart(ProxyError):
    """The daemon ended before it served, or did not reach the target."""

    code = "WL-P002"


class BadSettings(ProxyError):
    """The daemon refuses the settings."""

    code = "WL-P003"


class AdminUnreachable(ProxyError):
    """Nobody answers on the admin socket."""

    code = "WL-P004"
