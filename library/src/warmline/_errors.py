"""What can go wrong, in words that are the same for every driver: the class says what the caller may do about it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar


class Error(Exception):
    """Base of every error of this library: what happened, its numbers and the next step.

    *code* names the page of `warmline explain CODE`. *retryable* is True only where it is proven that nothing the call
    asked for has taken effect (or that all of it was rolled back), so that asking again, now or in a later invocation,
    cannot do it twice. The driver's own exception, where there is one, is `__cause__`.
    """

    code: ClassVar[str] = "WL-C000"
    retryable: bool = False

    def __init__(self, what: str, *, next_step: str) -> None:
        super().__init__(what)
        self.what = what
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.what}\n  {self.next_step} More: warmline explain {self.code}"


class SettingsError(Error, ValueError):
    """A setting or the URL cannot be taken. Nothing was tried."""

    code = "WL-C001"


class DriverMissing(Error, ImportError):
    """No installed driver can open this URL. The next step is the install line."""

    code = "WL-C002"


class NotSent(Error):
    """The server was not reached, or was found gone before a byte was written: nothing ran."""

    code = "WL-C003"
    retryable = True


class OutcomeUnknown(Error):
    """The connection was lost after a statement was sent outside a transaction: it ran once, or not at all."""

    code = "WL-C004"


class CommitUnknown(OutcomeUnknown):
    """The connection was lost while the answer to COMMIT was due: all of it is in the database, or none."""

    code = "WL-C005"


class TransactionLost(Error):
    """The connection was lost inside a transaction, before COMMIT was sent: the server rolls all of it back."""

    code = "WL-C006"
    retryable = True


class PoolTimeout(NotSent):
    """No connection became free in time. *waited_s* and *size* say how long and out of how many."""

    code = "WL-C007"

    def __init__(self, what: str, *, next_step: str, waited_s: float, size: int) -> None:
        super().__init__(what, next_step=next_step)
        self.waited_s = waited_s
        self.size = size


class QueueFull(NotSent):
    """*queue_limit* callers already wait for a connection."""

    code = "WL-C008"


class TooManyConnections(NotSent):
    """The server refused another connection until the budget for asking again ran out. *refusals* says how often."""

    code = "WL-C009"

    def __init__(self, what: str, *, next_step: str, refusals: int) -> None:
        super().__init__(what, next_step=next_step)
        self.refusals = refusals


class AuthRejected(Error):
    """The server rejects the credential, a freshly fetched one too. Nothing ran; asking again does not help."""

    code = "WL-C010"


class ReadOnlyServer(Error):
    """The server takes no writes (a replica, or a primary before a failover). The statement was refused; nothing ran.

    The connection is discarded, so that the next attempt resolves the host name anew.
    """

    code = "WL-C011"
    retryable = True


class DeadlineExceeded(Error):
    """Too little of the invocation was left, and nothing took effect.

    Either the work was not begun, or the server confirmed that it cancelled the statement. *remaining_s* is what was
    left of the invocation. Where the server did not confirm, the error is `OutcomeUnknown` with this one as its cause.
    """

    code = "WL-C012"
    retryable = True

    def __init__(self, what: str, *, next_step: str, remaining_s: float) -> None:
        super().__init__(what, next_step=next_step)
        self.remaining_s = remaining_s


class UsedAfterRelease(Error):
    """A driver connection was used after its `with` block, when it may already belong to somebody else. Nothing ran."""

    code = "WL-C013"
