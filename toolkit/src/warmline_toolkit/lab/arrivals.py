"""What callers do: patterns of invocations in time, offered to anything that takes one.

Closed patterns (`callers`, `waves`) wait for their answers; open ones (`constant`, `poisson`, `ramp`, `burst`) do not:
an arrival comes when it is due, whatever became of the others. An open schedule is a pure list of due times, so a seed
fixes it; `offer` plays it.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, TypeVar

from warmline_toolkit.model.events import Dropped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from warmline_toolkit.lab.journal import Journal

T = TypeVar("T")

LATE_MS = 100.0
"""An open arrival that this machine could not offer within this time of when it was due is dropped, and counted.

Offering it late would turn an open pattern into a closed one, and hide the very waits that it is to show.
"""
_MIN_SLEEP_S = 0.001


async def callers(invoke: Callable[[int], Awaitable[T]], *, requests: int, concurrency: int) -> list[T]:
    """Have *concurrency* callers make *requests* in all, each its next when it has its answer; return the answers.

    *invoke* gets the request's number, from 0. The answers are in the order of the numbers.
    """
    if requests < 0 or concurrency < 1:
        raise ValueError(f"requests must be at least 0 and concurrency at least 1, got {requests} and {concurrency}")
    answers: dict[int, T] = {}
    numbers = iter(range(requests))

    async def caller() -> None:
        for number in numbers:
            answers[number] = await invoke(number)

    await _all([caller() for _ in range(min(concurrency, requests))])
    return [answers[number] for number in sorted(answers)]


async def waves(invoke: Callable[[int], Awaitable[T]], *, requests: int, concurrency: int) -> list[T]:
    """Make *requests* in waves of *concurrency* at once, the next wave when the whole wave has its answers."""
    answers: list[T] = []
    for start in range(0, requests, concurrency):
        wave = range(start, min(start + concurrency, requests))
        answers += await _all([invoke(number) for number in wave])
    return answers


def constant(*, rate: float, duration_s: float) -> list[float]:
    """Return due times at *rate* a second for *duration_s*, evenly spaced, from 0."""
    _check(rate, duration_s)
    return [number / rate for number in range(round(rate * duration_s))]


def poisson(*, rate: float, duration_s: float, seed: int) -> list[float]:
    """Return the due times of independent callers: exponential gaps with mean 1/*rate*, up to *duration_s*."""
    _check(rate, duration_s)
    source = random.Random(seed)  # noqa: S311 - a workload, not a secret
    due: list[float] = []
    at = source.expovariate(rate)
    while at < duration_s:
        due.append(at)
        at += source.expovariate(rate)
    return due


def ramp(*, rate_from: float, rate_to: float, duration_s: float) -> list[float]:
    """Return due times whose rate grows (or falls) evenly from *rate_from* to *rate_to* over *duration_s*."""
    if min(rate_from, rate_to) < 0 or max(rate_from, rate_to) <= 0 or duration_s <= 0:
        raise ValueError(f"rates must not be negative, nor both 0: {rate_from}, {rate_to} over {duration_s} s")
    slope = (rate_to - rate_from) / duration_s
    arrivals = round((rate_from + rate_to) / 2 * duration_s)
    if slope == 0:
        return [number / rate_from for number in range(arrivals)]
    # The n-th arrival is where the integral of the rate, rate_from·t + slope·t²/2, reaches n.
    roots = ((number, max(rate_from**2 + 2 * slope * number, 0.0) ** 0.5) for number in range(arrivals))
    return [2 * number / (rate_from + root) if number else 0.0 for number, root in roots]


def burst(*, requests: int, at_s: float = 0.0) -> list[float]:
    """Return *requests* due times at one moment."""
    return [at_s] * requests


def _check(rate: float, duration_s: float) -> None:
    if rate <= 0 or duration_s <= 0:
        raise ValueError(f"rate and duration must be positive, got {rate} a second and {duration_s} s")


async def offer(
    invoke: Callable[[int, float], Awaitable[T]],
    due_s: Sequence[float],
    *,
    journal: Journal,
    late_ms: float = LATE_MS,
) -> list[T]:
    """Play an open schedule from now on and return the answers of those that were offered.

    *invoke* gets the arrival's number and when it was due, in seconds since the run began (hand it to
    `Platform.invoke` as *scheduled_s*). An arrival that is more than *late_ms* late is recorded as `Dropped` and not
    offered. Cancelling it cancels what it has offered.
    """
    started = time.monotonic()
    offset = started - journal.started
    offered: list[asyncio.Task[T]] = []
    try:
        for number, due in enumerate(due_s):
            wait = started + due - time.monotonic()
            if wait > _MIN_SLEEP_S:
                await asyncio.sleep(wait)
            else:
                await asyncio.sleep(0)  # what is running gets its turn between two arrivals
            late = (time.monotonic() - started - due) * 1000
            if late > late_ms:
                journal.record(Dropped(invocation=journal.name("i"), late_ms=late, **journal.stamp()))
                continue
            offered.append(asyncio.ensure_future(invoke(number, offset + due)))
        return list(await asyncio.gather(*offered))
    finally:
        await _cancel(offered)


async def _all(awaitables: Sequence[Awaitable[T]]) -> list[T]:
    """Await all; the first failure cancels the others and is raised when they have ended."""
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        await _cancel(tasks)


async def _cancel(tasks: Sequence[asyncio.Future[T]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
