"""What PostgreSQL says, whichever driver repeats it: SQLSTATEs, and how to leave a session clean."""

from __future__ import annotations

from warmline._outcome import Failure

ENGINE = "postgres"
SPEAKS_FIRST = True

LOST = frozenset({"57P01", "57P02", "25P03", "25P04"})
TOO_MANY = frozenset({"53300", "53400", "57P03"})
AUTH = frozenset({"28P01", "28000"})
CONFLICT = frozenset({"40001", "40P01", "OC000", "OC001"})

RESET = (
    "SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; CLOSE ALL; SELECT pg_advisory_unlock_all(); "
    "DISCARD TEMP; DISCARD SEQUENCES"
)
"""All of DISCARD ALL but its DEALLOCATE ALL, which would pull prepared statements out from under the driver's cache."""

# libpq gives a refused connection no SQLSTATE, only the server's text. These are its English words; in another
# lc_messages the refusal is reported as unreachable, and retried all the same.
_CONNECT_WORDS = (
    ("too many clients", Failure.TOO_MANY),
    ("too many connections", Failure.TOO_MANY),
    ("remaining connection slots", Failure.TOO_MANY),
    ("no more connections allowed", Failure.TOO_MANY),
    ("starting up", Failure.TOO_MANY),
    ("in recovery mode", Failure.TOO_MANY),
    ("shutting down", Failure.TOO_MANY),
    ("not yet accepting connections", Failure.TOO_MANY),
    ("authentication failed", Failure.AUTH),
    ("no pg_hba.conf entry", Failure.AUTH),
    ("no password supplied", Failure.AUTH),
    ("is not permitted to log in", Failure.AUTH),
)


def failure_of(sqlstate: str | None) -> Failure:  # noqa: PLR0911 - one return a row
    """Say what an SQLSTATE means."""
    if sqlstate is None:
        return Failure.OTHER
    if sqlstate == "57P05":
        return Failure.IDLE_CLOSED
    if sqlstate in LOST or sqlstate.startswith("08"):
        return Failure.LOST
    if sqlstate in TOO_MANY:
        return Failure.TOO_MANY
    if sqlstate in AUTH:
        return Failure.AUTH
    if sqlstate == "25006":
        return Failure.READ_ONLY
    if sqlstate in CONFLICT:
        return Failure.CONFLICT
    if sqlstate == "55P03":
        return Failure.LOCK_WAIT
    return Failure.CANCELLED if sqlstate == "57014" else Failure.OTHER


def connect_failure_of(message: str) -> Failure:
    """Say what libpq's text for a failed connect means."""
    for words, failure in _CONNECT_WORDS:
        if words in message:
            return failure
    return Failure.UNREACHABLE


def begin_statement(*, read_only: bool) -> str:
    """Return the statement that opens a transaction."""
    return "BEGIN READ ONLY" if read_only else "BEGIN"
