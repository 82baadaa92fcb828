"""The audit's usage errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmline_toolkit.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


class NoSuchPath(UsageError):
    """The path to audit does not exist."""

    code = "WL-A901"

    def __init__(self, path: Path) -> None:
        super().__init__(f"There is nothing to audit at {path}.", next_step="Give a folder or a file that exists.")


class UnknownRule(UsageError):
    """A rule code that no rule has."""

    code = "WL-A902"

    def __init__(self, given: str, known: int, nearest: str | None) -> None:
        hint = f"Did you mean {nearest}? " if nearest else ""
        super().__init__(
            f"No rule has the code {given}.", next_step=f"{hint}`warmline audit --list-rules` shows all {known} rules."
        )


class BaselineUnreadable(UsageError):
    """A baseline file that cannot be taken."""

    code = "WL-A903"

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"The baseline {path} cannot be read: {reason}.",
            next_step="Write a new one with `warmline audit PATH --write-baseline FILE`.",
        )
