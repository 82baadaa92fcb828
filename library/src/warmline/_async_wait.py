"""Holding one statement of an asyncio driver to the deadline: cancelled on the server first, abandoned only then."""

from __future__ import annotations

import asyncio

from warmline._session import too_late

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any, TypeVar

    from warmline._session import Session

    T = TypeVar("T")


async def in_time(awaitable: Awaitable[T], session: Session, cancel: Callable[[float], Awaitable[bool]]) -> T:
    """Await the answer to a statement; at the deadline have the server cancel it, and wait for it to say so.

    Raises `DeadlineExceeded` when the server says nothing; the connection is then to be abandoned. Costs a timer.
    """
    deadline = session.deadline
    if deadline is None or session.by_library:
        return await awaitable
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    pending: list[Any] = []
    forced: list[bool] = []

    def force() -> None:
        forced.append(True)
        if task is not None:
            task.cancel()

    async def expire() -> None:
        session.expired = True
        session.cancelled = await cancel(deadline.cleanup_s())
        if session.cancelled:
            pending.append(loop.call_later(deadline.cleanup_s(), force))
        else:
            force()

    pending.append(loop.call_later(max(0.0, deadline.budget_s()), lambda: pending.append(loop.create_task(expire()))))
    try:
        return await awaitable
    except asyncio.CancelledError:
        session.lost = True
        if not forced:
            raise
        if task is not None and hasattr(task, "uncancel"):  # Python 3.11 counts requests to cancel
            task.uncancel()
        session.cancelled = False
        raise too_late(
            deadline, "while a statement ran, and the server did not confirm that it was cancelled"
        ) from None
    finally:
        for one in pending:
            one.cancel()
