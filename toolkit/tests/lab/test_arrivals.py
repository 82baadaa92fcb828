"""Arrival patterns."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from warmline_toolkit.lab import arrivals
from warmline_toolkit.lab.journal import Journal


def test_constant_arrivals_are_evenly_spaced():
    assert arrivals.constant(rate=4, duration_s=1.5) == [0, 0.25, 0.5, 0.75, 1.0, 1.25]


def test_poisson_arrivals_are_fixed_by_their_seed_and_have_the_asked_rate():
    due = arrivals.poisson(rate=50, duration_s=200, seed=7)
    assert due == arrivals.poisson(rate=50, duration_s=200, seed=7)
    assert due != arrivals.poisson(rate=50, duration_s=200, seed=8)
    gaps = [later - earlier for earlier, later in itertools.pairwise(due)]
    assert statistics.mean(gaps) == pytest.approx(1 / 50, rel=0.05)
    assert statistics.stdev(gaps) == pytest.approx(1 / 50, rel=0.05)  # an exponential's deviation is its mean


@given(first=st.floats(0, 50), last=st.floats(0, 50).filter(lambda rate: rate > 0.1), duration_s=st.floats(0.5, 20))
def test_a_ramp_offers_the_area_under_its_rate_in_order_and_in_time(first, last, duration_s):
    due = arrivals.ramp(rate_from=first, rate_to=last, duration_s=duration_s)
    assert len(due) == round((first + last) / 2 * duration_s)
    assert due == sorted(due)
    assert all(0 <= at <= duration_s + 1e-6 for at in due)


def test_a_ramps_second_half_holds_three_quarters_of_what_it_offers_from_zero():
    due = arrivals.ramp(rate_from=0, rate_to=100, duration_s=10)
    assert sum(at >= 5 for at in due) / len(due) == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize("make", [arrivals.constant, lambda **asked: arrivals.poisson(seed=1, **asked)])
def test_a_rate_that_is_not_positive_is_refused(make):
    with pytest.raises(ValueError, match="positive"):
        make(rate=0, duration_s=1)


@pytest.mark.asyncio
async def test_callers_are_never_more_than_asked_and_keep_the_order():
    running = peak = 0

    async def invoke(number: int) -> int:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0.001 * (number % 3))
        running -= 1
        return number

    assert await arrivals.callers(invoke, requests=20, concurrency=4) == list(range(20))
    assert peak == 4


@pytest.mark.asyncio
async def test_a_wave_begins_when_the_one_before_has_ended():
    log: list[tuple[str, int]] = []

    async def invoke(number: int) -> None:
        log.append(("begin", number))
        await asyncio.sleep(0.001 * (5 - number))
        log.append(("end", number))

    await arrivals.waves(invoke, requests=5, concurrency=2)
    for wave in ((0, 1), (2, 3)):
        ends = [log.index(("end", number)) for number in wave]
        assert max(ends) < log.index(("begin", wave[1] + 1))


@pytest.mark.asyncio
async def test_open_arrivals_do_not_wait_for_answers():
    begun: list[float] = []
    release = asyncio.Event()

    async def invoke(_number: int, _due: float) -> None:
        begun.append(time.monotonic())
        if len(begun) == 5:
            release.set()
        await release.wait()

    await arrivals.offer(invoke, arrivals.constant(rate=100, duration_s=0.05), journal=Journal(print))
    assert len(begun) == 5


@pytest.mark.asyncio
async def test_an_arrival_that_comes_too_late_is_dropped_and_recorded():
    events = []

    async def invoke(number: int, _due: float) -> int:
        if number == 0:
            time.sleep(0.4)  # noqa: ASYNC251 - the generator is held up on purpose
        return number

    answers = await arrivals.offer(invoke, [0.0, 0.05, 1.5], journal=Journal(events.append))
    assert answers == [0, 2]
    (dropped,) = events
    assert dropped.kind == "dropped"
    assert dropped.late_ms > arrivals.LATE_MS


@pytest.mark.asyncio
async def test_the_first_failure_ends_the_other_callers():
    cancelled = []

    async def invoke(number: int) -> None:
        if number == 0:
            raise RuntimeError
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(number)
            raise

    with pytest.raises(RuntimeError):
        await arrivals.waves(invoke, requests=3, concurrency=3)
    assert cancelled == [1, 2]
