"""What may be tried again, and when: connects that were refused, and whole transactions. Pure."""

from __future__ import annotations

from warmline._errors import (
    AuthRejected,
    DeadlineExceeded,
    Error,
    NotSent,
    OutcomeUnknown,
    ReadOnlyServer,
    TooManyConnections,
    TransactionLost,
)
from warmline._outcome import REPLAYABLE, Failure
from warmline._policy import backoff_s

TYPE_CHECKING = False
if TYPE_CHECKING:
    from warmline._environment import Deadline
    from warmline._settings import Settings
    from warmline._url import Target

CONNECT_BASE_S = 0.05
CONNECT_CAP_S = 2.0
REPLAY_BASE_S = 0.01
REPLAY_CAP_S = 1.0
CREDENTIALS_TRIED = 3
"""The cached one, a freshly fetched one, and the pending version of a rotation."""


def connect_budget_s(settings: Settings, deadline: Deadline | None) -> float:
    """Return how long connecting may take, all attempts together: the setting, or what the invocation has left."""
    if deadline is None:
        return settings.connect_budget_s
    budget_s = deadline.budget_s()
    if budget_s <= 0:
        raise DeadlineExceeded(
            f"too little time is left to connect: {deadline.remaining_s():.2f} s of {deadline.total_s:.2f} s, "
            f"of which {deadline.margin_s:.2f} s are kept to clean up",
            next_step="Give the function more time, or acquire the connection earlier.",
            remaining_s=deadline.remaining_s(),
        )
    return min(settings.connect_budget_s, budget_s)


def connect_pause_s(attempt: int, *, left_s: float, random: float) -> float | None:
    """Return how long to pause before connecting again, None when the budget has no room for another attempt."""
    pause_s = backoff_s(attempt, base_s=CONNECT_BASE_S, cap_s=CONNECT_CAP_S, random=random)
    return pause_s if pause_s < left_s else None


def connect_error(  # noqa: PLR0913 - what the message says
    failure: Failure, error: BaseException, target: Target, *, attempts: int, refusals: int, took_s: float
) -> Error:
    """Return the error that ends connecting."""
    tried = f"{attempts} attempt{'' if attempts == 1 else 's'} in {took_s:.2f} s"
    if failure is Failure.AUTH:
        return AuthRejected(
            f"{target.address} rejects the credential of user {target.user!r} ({tried})",
            next_step="Check user, password and the host the server sees; for IAM, the policy and the clock.",
        )
    if failure is Failure.TOO_MANY:
        return TooManyConnections(
            f"{target.address} refused a connection {refusals} times ({tried}); last: {error}",
            next_step="Lower the number of environments (reserved concurrency), or put a proxy between.",
            refusals=refusals,
        )
    return NotSent(
        f"{target.address} cannot be reached ({tried}): {error}",
        next_step="Check host, port, security groups and whether the server runs.",
    )


def may_replay(error: BaseException, failure: Failure, *, effects: bool, read_only: bool) -> bool:
    """Say whether a transaction function that ended with *error* may run again: only when all of it was rolled back.

    *effects* is True when something of it is in the database already. A read-only function may always.
    """
    if read_only and isinstance(error, OutcomeUnknown):
        return True
    if effects:
        return False
    if isinstance(error, (TransactionLost, ReadOnlyServer)):
        return error.retryable
    return failure in REPLAYABLE
