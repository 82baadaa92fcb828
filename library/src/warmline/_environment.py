"""Where this code runs: kind of Init, process identity, and the invocation with its deadline."""

from __future__ import annotations

import os

from warmline._clock import elapsed_s

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from warmline._clock import Clock, Instant

MARGIN_MIN_S = 0.25
MARGIN_SHARE = 0.05


def on_lambda() -> bool:
    """Say whether this process runs a Lambda function."""
    return "AWS_LAMBDA_FUNCTION_NAME" in os.environ


def init_type() -> str:
    """Return how the environment was started, as Lambda says it, or "local".

    Lambda's words: `on-demand`, `provisioned-concurrency`, `snap-start`, `lambda-managed-instances`.
    """
    return os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand" if on_lambda() else "local")


class Generation:
    """Counts the restores of this process's snapshot: what was opened in an older generation is somebody else's."""

    __slots__ = ("number",)

    def __init__(self) -> None:
        self.number = 0

    def restored(self) -> None:
        """Begin a new generation: every connection that was opened before is abandoned at its next use."""
        self.number += 1


SNAPSHOT = Generation()


class Deadline:
    """When the platform ends the invocation, and how much of that is kept back to clean up.

    The margin is the larger of 250 ms and 5 % of the invocation's time. Work may use what is left before the margin;
    cancelling and rolling back may use half of the margin itself.
    """

    __slots__ = ("_clock", "_start", "margin_s", "total_s")

    def __init__(self, total_s: float, *, clock: Clock, start: Instant | None = None) -> None:
        self._clock = clock
        self._start = start or clock.read()
        self.total_s = total_s
        self.margin_s = max(MARGIN_MIN_S, MARGIN_SHARE * total_s)

    def remaining_s(self) -> float:
        """Return the seconds until the platform ends the invocation; negative past it."""
        return self.total_s - elapsed_s(self._start, self._clock.read())

    def budget_s(self) -> float:
        """Return the seconds that work may still take: what remains before the margin."""
        return self.remaining_s() - self.margin_s

    def cleanup_s(self) -> float:
        """Return the seconds that cancelling or rolling back may take, at least 50 ms."""
        return max(0.05, min(self.remaining_s() - self.margin_s / 2, 5.0))


class Invocation:
    """One event being handled: its deadline, and the numbers that its events add up to."""

    __slots__ = ("acquired", "counts", "deadline", "request_id")

    def __init__(self, *, deadline: Deadline | None, request_id: str | None) -> None:
        self.deadline = deadline
        self.request_id = request_id
        self.acquired: list[Any] = []
        self.counts: dict[str, int] = {}


def invocation_from(context: Any, *, clock: Clock) -> Invocation:
    """Make the invocation of a Lambda *context*; anything without its methods (None, a test's) has no deadline."""
    remaining: Callable[[], int] | None = getattr(context, "get_remaining_time_in_millis", None)
    deadline = Deadline(remaining() / 1000, clock=clock) if remaining is not None else None
    return Invocation(deadline=deadline, request_id=getattr(context, "aws_request_id", None))
