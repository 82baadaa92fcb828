"""What a failure means: pure translation from what the driver said and what was sent, to what the caller may do."""

from __future__ import annotations

from enum import Enum

from warmline._errors import (
    CommitUnknown,
    DeadlineExceeded,
    Error,
    NotSent,
    OutcomeUnknown,
    ReadOnlyServer,
    TransactionLost,
)
from warmline._session import too_late
from warmline._statements import cannot_write, is_all_or_nothing, may_commit, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from warmline._session import Session


class Failure(Enum):
    """What a driver's exception says, the same for every driver. Each driver file has the one function that tells."""

    OTHER = "other"
    """The server answered, and the connection is well: a constraint, a syntax error."""
    LOST = "lost"
    """The connection is gone."""
    IDLE_CLOSED = "idle-closed"
    """The connection is gone, and the server says that it closed it for being idle: the statement did not run."""
    UNREACHABLE = "unreachable"
    """No connection was made: name not found, refused, timed out before the server spoke."""
    TOO_MANY = "too-many"
    """The server refuses one more connection, or is starting up: asking again may help."""
    AUTH = "auth"
    """The server rejects the credential."""
    READ_ONLY = "read-only"
    """The server takes no writes."""
    CONFLICT = "conflict"
    """Deadlock or serialization failure: the server rolled the whole transaction back."""
    LOCK_WAIT = "lock-wait"
    """A lock was waited for too long; MySQL rolls only the statement back."""
    CANCELLED = "cancelled"
    """The server stopped the statement before it took effect."""


REPLAYABLE = frozenset({Failure.CONFLICT, Failure.LOCK_WAIT})


class Lost(Enum):
    """What a lost connection means for what was last asked of it."""

    NOTHING_SENT = "nothing-sent"
    ROLLED_BACK = "rolled-back"
    UNKNOWN = "unknown"
    COMMIT_UNKNOWN = "commit-unknown"


def what_was_lost(session: Session, failure: Failure, *, committing: bool, commits_implicitly: bool) -> Lost:
    """Say what losing the connection now means. *committing* is True from the moment COMMIT is asked for."""
    unsent = session.not_sent or session.statement is None
    if committing:
        return Lost.ROLLED_BACK if unsent else Lost.COMMIT_UNKNOWN
    if session.in_transaction_before:
        if unsent or failure is Failure.IDLE_CLOSED:
            return Lost.ROLLED_BACK
        if may_commit(session.statement, commits_implicitly=commits_implicitly):
            return Lost.COMMIT_UNKNOWN
        return Lost.ROLLED_BACK
    if unsent or failure is Failure.IDLE_CLOSED:
        return Lost.NOTHING_SENT
    return Lost.NOTHING_SENT if cannot_write(session.statement) and session.expired else Lost.UNKNOWN


_LOST_ERRORS = {
    Lost.NOTHING_SENT: (
        NotSent,
        "the connection was found closed before {} was sent: it did not run",
        "Run it again.",
    ),
    Lost.ROLLED_BACK: (
        TransactionLost,
        "the connection was lost inside a transaction, at {}, before COMMIT was sent: the server rolls it back",
        "Run the whole transaction again; db.run(function) does that by itself.",
    ),
    Lost.UNKNOWN: (
        OutcomeUnknown,
        "the connection was lost after {} was sent: it ran once or not at all",
        "Look in the database before running it again, or make it idempotent.",
    ),
    Lost.COMMIT_UNKNOWN: (
        CommitUnknown,
        "the connection was lost while the answer to {} was due: all of the transaction is in the database, or none",
        "Look in the database before running it again; a unique key of your own makes that one read.",
    ),
}


def translate(
    error: BaseException, session: Session, failure: Failure, *, committing: bool = False, commits_implicitly: bool
) -> Error | None:
    """Return the library's error for *error*, or None where the driver's own says it best.

    Of the earlier statements of the same use, some may have taken effect; then `retryable` is False on the error
    whatever its class says, as running all of it again would run those twice.
    """
    translated = _translate(error, session, failure, committing=committing, commits_implicitly=commits_implicitly)
    if translated is not None and translated.retryable and session.effects:
        translated.retryable = False  # narrower than what the class promises, on purpose
        translated.next_step = "Earlier statements of this block already took effect: run only what is missing."
    return translated


def _translate(  # noqa: PLR0911 - one return a rule reads best
    error: BaseException, session: Session, failure: Failure, *, committing: bool, commits_implicitly: bool
) -> Error | None:
    if isinstance(error, DeadlineExceeded):
        if not session.lost:
            return error
        lost = what_was_lost(session, Failure.LOST, committing=committing, commits_implicitly=commits_implicitly)
        return (
            error
            if lost in (Lost.NOTHING_SENT, Lost.ROLLED_BACK)
            else _lost_error(lost, session, committing=committing)
        )
    if isinstance(error, Error):
        return error
    if session.expired and (failure is Failure.CANCELLED or failure in (Failure.LOST, Failure.IDLE_CLOSED)):
        assert session.deadline is not None  # noqa: S101 - only a deadline expires
        late = too_late(session.deadline, f"while {shown(session.statement)} ran; the server cancelled it")
        if failure is Failure.CANCELLED and (session.in_transaction_before or is_all_or_nothing(session.statement)):
            return late
        lost = what_was_lost(session, failure, committing=committing, commits_implicitly=commits_implicitly)
        return (
            late if lost in (Lost.NOTHING_SENT, Lost.ROLLED_BACK) else _lost_error(lost, session, committing=committing)
        )
    if failure in (Failure.LOST, Failure.IDLE_CLOSED) or session.not_sent:
        lost = what_was_lost(session, failure, committing=committing, commits_implicitly=commits_implicitly)
        return _lost_error(lost, session, committing=committing)
    if failure is Failure.READ_ONLY and not session.read_only_by_choice():
        return ReadOnlyServer(
            f"the server takes no writes: {error}",
            next_step="Run it again: the next connection resolves the host name anew. Reader endpoints take no writes.",
        )
    return None


def _lost_error(lost: Lost, session: Session, *, committing: bool) -> Error:
    kind, what, next_step = _LOST_ERRORS[lost]
    unnamed = "COMMIT" if committing else "the statement"
    statement = unnamed if session.statement is None else shown(session.statement)
    return kind(what.format(statement), next_step=next_step)
