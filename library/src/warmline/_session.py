"""What the library knows about one server connection while somebody uses it: the driver's connection reports here.

Every driver file makes its connections from a subclass of the driver's own connection class, whose one addition is to
call `Session.before` with each statement. That is enough to know, at no round trip, whether a lost statement can have
run, which statement opened a transaction, whether session state was changed, and to hold every statement to the
invocation's deadline.
"""

from __future__ import annotations

import os
import select

from warmline._errors import DeadlineExceeded, TransactionLost, UsedAfterRelease
from warmline._policy import Polled
from warmline._statements import begins_anew, cannot_write, changes_session, prepares, rolls_back, says_read_only

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from warmline._environment import Deadline

_RDHUP: int = getattr(select, "POLLRDHUP", 0)
_GONE = _RDHUP | select.POLLHUP | select.POLLERR | select.POLLNVAL

_QUIET = Polled.QUIET


class Session:
    """The record of one server connection, written by the driver's connection, read when it is released or fails.

    *by_user* is True between acquire and release; *by_library* while the library itself speaks on the connection.
    *cancel* asks the server, over a connection of its own, to stop the statement; it is given the seconds it may take.
    """

    __slots__ = (
        "_poll",
        "by_library",
        "by_user",
        "cancel",
        "cancelled",
        "deadline",
        "dirty",
        "effects",
        "expired",
        "fd",
        "in_transaction_before",
        "inode",
        "left_by_exception",
        "look",
        "lost",
        "not_sent",
        "opened_by",
        "reset_suffices",
        "rolled_back_by_server",
        "speaks_first",
        "statement",
        "used",
        "work",
    )

    def __init__(self, *, speaks_first: bool) -> None:
        self.speaks_first = speaks_first
        self.fd = -1
        self.inode = -1
        self._poll: Callable[[int], list[tuple[int, int]]] | None = None
        self.look: Callable[[], Polled] | None = None
        """Stands in for the socket where a driver has none (`warmline.testing.FakeDriver`)."""
        self.by_user = False
        self.by_library = True
        self.cancel: Callable[[float], bool] | None = None
        self.dirty = False
        self.reset_suffices = True
        self.begin_use(None)

    def begin_use(self, deadline: Deadline | None) -> None:
        """Forget the previous user; hold what follows to *deadline*."""
        self.deadline = deadline
        self.statement: Any = None
        self.in_transaction_before = False
        self.opened_by: Any = None
        self.work: Any = None
        self.effects = False
        self.not_sent = False
        self.lost = False
        self.expired = False
        self.cancelled = False
        self.rolled_back_by_server = False
        self.left_by_exception = False
        self.used = False

    def watch(self, fd: int) -> None:
        """Remember the socket to poll; -1 where the driver does not show it."""
        self.fd = fd
        if fd >= 0:
            self.inode = os.fstat(fd).st_ino
            poller = select.poll()
            poller.register(fd, select.POLLIN | _RDHUP)
            self._poll = poller.poll

    def polled(self) -> Polled:
        """Look at the socket without blocking or reading. Costs about a microsecond, and no round trip."""
        if self._poll is None:
            return Polled.BLIND if self.look is None else self.look()
        seen = self._poll(0)
        if not seen:
            return _QUIET
        if seen[0][1] & _GONE:
            return Polled.CLOSED
        return Polled.CLOSED if self.speaks_first and _says_goodbye(self.fd) else Polled.DATA

    def before(  # noqa: C901 - the one place that every statement passes
        self, statement: Any, *, in_transaction: bool, at_rest: bool = True
    ) -> bool:
        """Take note of a statement about to be sent; return False when the socket proves that it cannot be.

        *statement* is None for one that is only being prepared.

        *at_rest* is False while the driver still has an earlier result to read, whose bytes prove nothing. All of
        these are raised before a byte is sent: `DeadlineExceeded` when the invocation has no time left to run it;
        `UsedAfterRelease` for a connection that is no longer the caller's; `TransactionLost` when the server has
        rolled the transaction back, so that the statement would run, and commit, on its own.
        """
        if self.by_library:
            return True
        if not self.by_user:
            raise UsedAfterRelease(
                "a database connection was used after its `with` block had ended",
                next_step="Use it only inside the block; acquiring again costs microseconds.",
            )
        if self.deadline is not None and self.deadline.budget_s() <= 0:
            raise too_late(self.deadline, "before a statement was sent")
        if self.rolled_back_by_server:
            if not begins_anew(statement):
                raise TransactionLost(
                    "the server rolled the transaction back after a deadlock, and the error was caught",
                    next_step="Let that error leave the block; db.run(function) then runs the whole transaction again.",
                )
            self.rolled_back_by_server = False
        self._settle_previous(in_transaction=in_transaction)
        self.used = True
        if not in_transaction:
            self.opened_by = statement
            self.work = None
        elif self.work is None:
            self.work = statement
        self.in_transaction_before = in_transaction
        self.statement = statement
        if not self.dirty and statement is not None and changes_session(statement):
            self.dirty = True
            self.reset_suffices = not prepares(statement)
        if at_rest and (self._poll is not None or self.look is not None):
            polled = self.polled()
            if polled is Polled.CLOSED or (polled is Polled.DATA and not self.speaks_first):
                self.not_sent = True
                self.lost = True
                return False
        return True

    def _settle_previous(self, *, in_transaction: bool) -> None:
        """Remember that something of this use has already taken effect: a write outside a transaction, or a COMMIT."""
        if self.statement is None or self.effects:
            return
        if not self.in_transaction_before:
            self.effects = not cannot_write(self.statement)
        elif not in_transaction:
            self.effects = not rolls_back(self.statement)

    def committed(self) -> None:
        """Take note that a transaction of this use is in the database."""
        self.effects = True

    def wait(self) -> None:
        """Block until the answer begins; at the deadline have the server cancel, and wait for it to say so.

        After this returns the driver reads: a result, or the server's word that it cancelled. Raises
        `DeadlineExceeded` when neither came; the connection is then to be abandoned.
        """
        if self.deadline is None or self._poll is None:
            return
        if self._poll(max(0, int(self.deadline.budget_s() * 1000))):
            return
        if self.expire():
            if self._poll(max(1, int(self.deadline.cleanup_s() * 1000))):
                return
            self.cancelled = False
        self.lost = True
        raise too_late(self.deadline, "while a statement ran, and the server did not confirm that it was cancelled")

    def expire(self) -> bool:
        """Ask the server to cancel what it runs for this connection; say whether it took the request."""
        assert self.deadline is not None  # noqa: S101 - without a deadline nothing expires
        self.expired = True
        if self.cancel is not None:
            self.cancelled = self.cancel(self.deadline.cleanup_s())
        return self.cancelled

    def read_only_by_choice(self) -> bool:
        """Say whether the caller asked for a read-only transaction."""
        return self.opened_by is not None and says_read_only(self.opened_by)


def _says_goodbye(fd: int) -> bool:
    """Say whether what waits on a PostgreSQL socket is an error: unasked for, that is the server's last word.

    It arrives a moment before the end of the socket. Under TLS the first byte is another, and the answer False.
    """
    import socket  # noqa: PLC0415 - the driver has imported it

    borrowed = socket.socket(fileno=fd)
    try:
        return borrowed.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) in (b"E", b"")
    except OSError:
        return False
    finally:
        borrowed.detach()


def too_late(deadline: Deadline, when: str) -> DeadlineExceeded:
    """Make the error that says how much time was left."""
    remaining_s = deadline.remaining_s()
    return DeadlineExceeded(
        f"the invocation's time ran out {when}: {remaining_s:.2f} s left of {deadline.total_s:.2f} s, "
        f"of which {deadline.margin_s:.2f} s are kept to clean up",
        next_step="Give the function more time, or find out why the database is slow.",
        remaining_s=remaining_s,
    )
