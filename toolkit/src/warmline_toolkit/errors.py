"""The toolkit's errors: what happened, the next step, a code with a page, and the exit code."""

from __future__ import annotations

from typing import ClassVar


class ToolkitError(Exception):
    """An error a user can act on: the command line prints it whole, without a traceback, and exits with *exit_code*.

    *what* says what happened, with its numbers; *next_step* says what to do about it. Every subclass names its own
    *code*, and `warmline explain CODE` shows the page docs/errors/CODE.md.
    """

    code: ClassVar[str]
    exit_code: ClassVar[int]

    def __init__(self, what: str, *, next_step: str) -> None:
        super().__init__(what)
        self.what = what
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.what}\n  {self.next_step}\n  More: warmline explain {self.code}"


class UsageError(ToolkitError):
    """The user's input cannot be taken. Exit code 2."""

    code = "WL-U001"
    exit_code = 2


class MachineError(ToolkitError):
    """This machine cannot run it: something is missing or forbidden. Exit code 3."""

    code = "WL-M001"
    exit_code = 3


class FailedExpectation(ToolkitError):
    """It ran, and the outcome is not what was expected. Exit code 1."""

    code = "WL-E001"
    exit_code = 1
