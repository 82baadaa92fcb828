"""What MySQL and MariaDB say, whichever driver repeats it: error numbers, and how to leave a session clean."""

from __future__ import annotations

from warmline._outcome import Failure
from warmline._statements import Pattern

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ENGINE = "mysql"
SPEAKS_FIRST = False

STATUS_IN_TRANSACTION = 0x1
STATUS_AUTOCOMMIT = 0x2
COM_RESET_CONNECTION = 0x1F

LOST = frozenset({1053, 1927, 2006, 2013, 2014, 2026, 2045, 2055})
"""Server shutdown, connection killed, and the client library's words for a connection that is gone."""
IDLE_CLOSED = 4031
UNREACHABLE = frozenset({2001, 2002, 2003, 2005})
TOO_MANY = frozenset({1040, 1203, 1226})
AUTH = frozenset({1044, 1045, 1698, 3118, 3955})
READ_ONLY = frozenset({1290, 1792, 1836})
CANCELLED = frozenset({1317, 1969, 3024})


def failure_of(code: int | None, message: str) -> Failure:  # noqa: PLR0911 - one return a row
    """Say what an error number of the server or the client library means."""
    if code in LOST:
        return Failure.LOST
    if code == IDLE_CLOSED:
        return Failure.IDLE_CLOSED
    if code in UNREACHABLE:
        return Failure.UNREACHABLE
    if code in TOO_MANY:
        return Failure.TOO_MANY
    if code in AUTH:
        return Failure.AUTH
    # 1290 is every "running with the --x option"; only --read-only and --super-read-only are about a replica
    if code in READ_ONLY and (code != 1290 or "read" in message.lower()):  # noqa: PLR2004 - ER_OPTION_PREVENTS_STATEMENT
        return Failure.READ_ONLY
    if code == 1213:  # noqa: PLR2004 - ER_LOCK_DEADLOCK
        return Failure.CONFLICT
    if code == 1205:  # noqa: PLR2004 - ER_LOCK_WAIT_TIMEOUT
        return Failure.LOCK_WAIT
    return Failure.CANCELLED if code in CANCELLED else Failure.OTHER


def code_of(error: BaseException) -> int | None:
    """Return the number that drivers of the MySQLdb family put first into their exceptions."""
    first: Any = error.args[0] if error.args else None
    return first if isinstance(first, int) else None


def begin_statement(*, read_only: bool) -> str:
    """Return the statement that opens a transaction."""
    return "START TRANSACTION READ ONLY" if read_only else "BEGIN"


opens_transaction = Pattern(r"^\s*(?:begin\b|start\s+transaction\b)")
"""BEGIN or START TRANSACTION, alone."""

may_open_transaction = Pattern(r"\b(?:call|begin|start\s+transaction|execute|xa|chain|autocommit)\b")
"""Can leave a transaction open, where it is not a plain BEGIN."""

is_plain_commit = Pattern(r"^\s*commit\s*;?\s*$")
"""COMMIT with nothing around it, so that surely no transaction is open afterwards."""
