"""The pure decisions, called directly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from warmline._clock import Instant, elapsed_s
from warmline._connect import cut_off
from warmline._policy import (
    Abandon,
    Here,
    Ping,
    Polled,
    Reason,
    Retire,
    Reuse,
    backoff_s,
    decide,
    lifetime_s,
    ping_budget_s,
)
from warmline._slot import Slot, State, Step, after

HERE = Here(pid=7, generation=0, epoch=0)


def idle_slot(*, connected_s=0.0, idle_s=0.0, lifetime=900.0):
    slot = Slot()
    slot.state = State.IDLE
    slot.pid = 7
    slot.connected_at = Instant(connected_s, connected_s, connected_s)
    slot.idle_since = Instant(idle_s, idle_s, idle_s)
    slot.lifetime_s = lifetime
    return slot


def decided(  # noqa: PLR0913 - all that a decision depends on
    slot, *, here=HERE, now_s=1.0, polled=Polled.QUIET, postgres=False, ping_after_s=240.0, now=None
):
    return decide(
        slot,
        here=here,
        now=now or Instant(now_s, now_s, now_s),
        polled=polled,
        server_speaks_first=postgres,
        ping_after_s=ping_after_s,
    )


def test_a_quiet_young_connection_is_reused():
    assert decided(idle_slot()) == Reuse(Reason.ALIVE)


def test_a_connection_of_another_process_is_abandoned_whatever_its_socket_says():
    slot = idle_slot()
    slot.pid = 8
    for polled in Polled:
        assert decided(slot, polled=polled) == Abandon(Reason.FORKED)


def test_a_connection_from_before_a_restore_is_abandoned():
    assert decided(idle_slot(), here=Here(pid=7, generation=1, epoch=0)) == Abandon(Reason.RESTORED)


def test_a_connection_of_another_event_loop_is_abandoned():
    assert decided(idle_slot(), here=Here(pid=7, generation=0, epoch=0, loop=object())) == Abandon(Reason.OTHER_LOOP)


def test_a_connection_made_with_an_older_credential_is_retired():
    assert decided(idle_slot(), here=Here(pid=7, generation=0, epoch=1)) == Retire(Reason.EPOCH)


def test_an_old_connection_is_retired():
    assert decided(idle_slot(), now_s=901.0) == Retire(Reason.EXPIRED)


def test_a_closed_socket_is_never_pinged_nor_reused():
    assert decided(idle_slot(), polled=Polled.CLOSED, now_s=500.0) == Abandon(Reason.SERVER_CLOSED)


def test_bytes_to_read_mean_a_dead_mysql_connection_and_a_doubtful_postgres_one():
    assert decided(idle_slot(), polled=Polled.DATA) == Abandon(Reason.SERVER_CLOSED)
    assert decided(idle_slot(), polled=Polled.DATA, postgres=True) == Ping(Reason.UNREADABLE)


def test_a_driver_that_hides_its_socket_is_pinged():
    assert decided(idle_slot(), polled=Polled.BLIND) == Ping(Reason.UNREADABLE)


def test_a_long_idle_connection_is_pinged_from_the_very_second_on():
    assert decided(idle_slot(), now_s=239.9) == Reuse(Reason.ALIVE)
    assert decided(idle_slot(), now_s=240.0) == Ping(Reason.IDLE_LONG)


def test_one_dead_connection_casts_doubt_on_those_idle_since_before():
    here = Here(pid=7, generation=0, epoch=0, outage=Instant(5.0, 5.0, 5.0))
    assert decided(idle_slot(idle_s=4.0), here=here, now_s=6.0) == Ping(Reason.OUTAGE)
    assert decided(idle_slot(idle_s=5.5), here=here, now_s=6.0) == Reuse(Reason.ALIVE)


@pytest.mark.parametrize("stopped", [0, 1, 2])
def test_an_age_survives_any_one_clock_that_stood_still(stopped):
    clocks = [1000.0, 1000.0, 1000.0]
    clocks[stopped] = 0.0
    assert elapsed_s(Instant(0, 0, 0), Instant(*clocks)) == 1000.0
    assert isinstance(decided(idle_slot(), now=Instant(*clocks)), Retire)


@given(st.tuples(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9), st.floats(-1e9, 1e9)))
def test_elapsed_time_is_never_negative_nor_less_than_any_clock_says(now):
    elapsed = elapsed_s(Instant(0, 0, 0), Instant(*now))
    assert elapsed >= 0
    assert elapsed >= max(now)


@given(
    pid=st.sampled_from([7, 8]),
    generation=st.integers(0, 1),
    epoch=st.integers(0, 1),
    polled=st.sampled_from(Polled),
    postgres=st.booleans(),
    idle_s=st.floats(0, 2000),
    outage_s=st.none() | st.floats(0, 2000),
)
def test_only_a_quiet_socket_of_this_process_is_ever_reused_without_a_ping(  # noqa: PLR0913, PLR0917 - generated
    pid, generation, epoch, polled, postgres, idle_s, outage_s
):
    outage = None if outage_s is None else Instant(outage_s, outage_s, outage_s)
    here = Here(pid=pid, generation=generation, epoch=epoch, outage=outage)
    verdict = decided(idle_slot(), here=here, now_s=idle_s, polled=polled, postgres=postgres)
    if type(verdict) is Reuse:
        assert (pid, generation, epoch, polled) == (7, 0, 0, Polled.QUIET)
        assert idle_s < 240
    if polled is Polled.CLOSED:
        assert isinstance(verdict, Abandon)


def test_a_ping_takes_at_most_half_a_second_or_a_quarter_of_what_is_left():
    assert ping_budget_s(None) == 0.5
    assert ping_budget_s(10.0) == 0.5
    assert ping_budget_s(1.0) == 0.25


@given(st.integers(1, 1000), st.floats(0, 1))
def test_backoff_stays_between_nothing_and_its_cap(attempt, random):
    assert 0 <= backoff_s(attempt, base_s=0.05, cap_s=2.0, random=random) <= 2.0


@given(st.floats(0, 1))
def test_a_lifetime_is_up_to_a_tenth_shorter_than_set(random):
    assert 810 <= lifetime_s(900, random=random) <= 900


def test_a_slot_goes_through_its_life():
    state = State.EMPTY
    for step, then in (
        (Step.CONNECT, State.CONNECTING),
        (Step.FAILED, State.EMPTY),
        (Step.CONNECT, State.CONNECTING),
        (Step.CONNECTED, State.IN_USE),
        (Step.RELEASE, State.IDLE),
        (Step.ACQUIRE, State.IN_USE),
        (Step.DISCARD, State.EMPTY),
    ):
        state = after(state, step)
        assert state is then


@pytest.mark.parametrize(
    ("state", "step"),
    [
        (State.EMPTY, Step.ACQUIRE),
        (State.IN_USE, Step.ACQUIRE),
        (State.IDLE, Step.RELEASE),
        (State.CONNECTING, Step.DISCARD),
        (State.EMPTY, Step.DISCARD),
    ],
)
def test_a_slot_refuses_what_cannot_happen(state, step):
    with pytest.raises(RuntimeError, match="cannot"):
        after(state, step)


def test_a_number_that_is_another_files_by_now_is_left_alone(tmp_path):
    import os  # noqa: PLC0415 - only here
    import socket  # noqa: PLC0415 - only here

    near, far = socket.socketpair()
    fd, inode = near.fileno(), os.fstat(near.fileno()).st_ino
    near.close()
    reused = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.dup2(reused, fd)
    cut_off(fd, inode)
    os.write(fd, b"kept")
    assert (tmp_path / "file").read_bytes() == b"kept"
    for number in {fd, reused}:
        os.close(number)
    far.close()


def test_a_socket_that_is_cut_off_reaches_nobody():
    import os  # noqa: PLC0415 - only here
    import socket  # noqa: PLC0415 - only here

    near, far = socket.socketpair()
    cut_off(near.fileno(), os.fstat(near.fileno()).st_ino)
    os.write(near.fileno(), b"lost")
    assert far.recv(10) == b""
    near.close()
    far.close()
