from __future__ import annotations

import dataclasses

import pytest
from run_builder import RunBuilder
from warmline_toolkit.measure import agree
from warmline_toolkit.measure.summary import NothingMeasured, RunSummary, summarise
from warmline_toolkit.measure.trials import failure
from warmline_toolkit.model.events import (
    ConnectionClosed,
    ConnectionOpened,
    Event,
    Invoked,
    Reaped,
    ServerCounted,
    ServerSampled,
    TrialEnded,
    TrialStarted,
)


@pytest.fixture
def guide() -> RunSummary:
    return summarise(RunBuilder().events())


@pytest.fixture
def burst() -> RunSummary:
    return summarise(RunBuilder(scenario="burst", environments=25, at_once=25, ghosts=2).events())


def changed(events: list[Event], kind: type[Event], **changes: object) -> list[Event]:
    """Return *events* with every event of *kind* changed."""
    return [dataclasses.replace(event, **changes) if isinstance(event, kind) else event for event in events]


def test_the_guides_counts_are_counted(guide: RunSummary) -> None:
    counts = {
        one.strategy: (one.invocations.median, one.cold_starts.median, one.connections_opened.median)
        for one in guide.strategies
    }
    assert counts == {"per-request": (25, 5, 25), "keep-open": (25, 5, 5), "pool": (25, 5, 5)}
    assert guide.strategy("keep-open").still_open.median == 5
    assert guide.strategy("per-request").still_open.median == 0
    assert all(one.refused.highest == 0 and one.errors.highest == 0 for one in guide.strategies)


def test_refusals_and_failures_are_counted_by_code(burst: RunSummary) -> None:
    for one in burst.strategies:
        assert one.refused.median == 20
        assert {code: count.median for code, count in one.refused_by_code.items()} == {"1040": 20}
        assert {code: count.median for code, count in one.errors_by_code.items()} == {"1040": 20}


def test_ghosts_are_those_left_by_reaps_during_the_trial(burst: RunSummary) -> None:
    assert burst.strategy("keep-open").ghosts.median == 2
    assert burst.strategy("per-request").ghosts.median == 0


def test_failed_invocations_stay_in_the_latency(burst: RunSummary) -> None:
    one = burst.strategy("pool")
    assert one.latency is not None
    assert one.latency.n == 25 * 3


def test_warm_and_cold_add_up_to_all(guide: RunSummary) -> None:
    for one in guide.strategies:
        assert one.latency is not None
        assert one.latency_cold is not None
        assert one.latency_warm is not None
        assert one.latency_cold.n == 15
        assert one.latency_cold.n + one.latency_warm.n == one.latency.n


def test_the_relays_peak_is_exact_and_the_servers_is_its_samples() -> None:
    trial = {"trial": 1, "strategy": "keep-open"}
    events = [
        RunBuilder().events()[0],
        TrialStarted(at_s=1.0, limit=5, server="MariaDB 10.11.19", **trial),
        ConnectionOpened(at_s=1.1, environment="e1", connection="c1", **trial),
        ConnectionOpened(at_s=1.2, environment="e2", connection="c2", **trial),
        ConnectionOpened(at_s=1.21, environment="e3", connection="c3", **trial),
        ConnectionClosed(
            at_s=1.22, environment="e3", connection="c3", by="server", round_trips=0, refused_code="1040", **trial
        ),
        ConnectionClosed(at_s=1.3, environment="e1", connection="c1", by="function", round_trips=3, **trial),
        ServerSampled(at_s=1.4, connections=1, **trial),
        TrialEnded(at_s=1.5, **trial),
        ConnectionClosed(at_s=1.6, environment="e2", connection="c2", by="platform", round_trips=3, **trial),
        ServerSampled(at_s=1.7, connections=9, **trial),
    ]
    one = summarise(events).strategies[0]
    assert one.connections_peak_relay is not None
    assert one.connections_peak_server is not None
    assert one.connections_peak_relay.median == 2
    assert one.connections_peak_server.median == 1
    assert one.connections_peak.median == 2
    assert one.still_open.median == 1
    assert [held for _, held in one.trials[0].open_over_time] == [1, 2, 1]


def test_a_server_that_tells_nothing_leaves_the_relays_counts() -> None:
    events = [
        event
        for event in RunBuilder(scenario="burst", environments=25, at_once=25).events()
        if not isinstance(event, ServerCounted)
    ]
    one = summarise(events).strategy("per-request")
    assert not one.opened_by_server
    assert one.connections_opened.median == 5
    assert {code: count.median for code, count in one.refused_by_code.items()} == {"1040": 20}
    assert one.server_cpu_ms_per_invocation is None


def test_behind_a_proxy_the_servers_connections_are_the_count_and_the_clients_are_apart() -> None:
    events = changed(RunBuilder(strategies=("per-request",)).events(), TrialStarted, path="proxy")
    events = changed(events, ServerCounted, opened=2)
    summary = summarise(events)
    one = summary.strategies[0]
    assert one.connections_opened.median == 2
    assert one.client_connections_opened.median == 25
    assert one.connections_peak_relay is None
    assert agree.disagreements(summary) == ()


def test_server_cpu_and_round_trips_are_per_invocation() -> None:
    events = changed(RunBuilder(trials=1).events(), ServerCounted, cpu_ms=50.0)
    one = summarise(events).strategy("per-request")
    assert one.server_cpu_ms_per_invocation is not None
    assert one.round_trips_per_invocation is not None
    assert one.server_cpu_ms_per_invocation.median == 2
    assert one.round_trips_per_invocation.median == 4


def test_failed_invocations_are_no_answers(burst: RunSummary) -> None:
    trial = burst.strategy("pool").trials[0]
    busy_s = sum(event.handler_ms for event in trial.invoked) / 1000
    answers = burst.strategy("pool").answers_per_busy_second
    assert answers is not None
    assert answers.per_trial[0] == pytest.approx(5 / busy_s)


def test_a_connection_that_never_got_a_session_is_not_counted_as_opened() -> None:
    events = RunBuilder(trials=1, strategies=("keep-open",)).events()
    first = next(event for event in events if isinstance(event, ConnectionClosed))
    events = [dataclasses.replace(event, session=False) if event is first else event for event in events]
    assert summarise(events).strategies[0].client_connections_opened.median == 4


@pytest.mark.parametrize(("counted", "agrees"), [(25, True), (20, True), (0, True), (26, False)])
def test_where_tls_hides_the_login_the_server_may_count_fewer_sessions_but_no_more(counted: int, agrees: bool) -> None:
    events = changed(RunBuilder(trials=1, strategies=("per-request",)).events(), ConnectionClosed, session=None)
    events = changed(events, ServerCounted, opened=counted, refused={"1040": 3})
    found = agree.disagreements(summarise(events))
    assert [one.what for one in found] == ([] if agrees else ["connections opened"])


def test_what_happens_after_a_trial_is_not_its_doing() -> None:
    trial = {"trial": 1, "strategy": "keep-open"}
    events = RunBuilder(trials=1, strategies=("keep-open",)).events()
    late = [
        ConnectionOpened(at_s=1000.0, environment="e9", connection="c9", **trial),
        Reaped(at_s=1000.0, environment="e9", how="silent", idle_s=1.0, ghosts=3, **trial),
    ]
    one = summarise([*events, *late]).strategies[0]
    assert one.client_connections_opened.median == 5
    assert one.ghosts.median == 0


def test_behind_a_proxy_the_peak_is_the_servers_alone() -> None:
    events = changed(RunBuilder(strategies=("keep-open",)).events(), TrialStarted, path="proxy")
    events = changed(events, ServerSampled, connections=2)
    assert summarise(events).strategies[0].connections_peak.median == 2


def test_a_cut_run_keeps_its_finished_trials_and_names_the_other() -> None:
    events = RunBuilder(trials=2, strategies=("per-request",)).events()
    last_end = max(i for i, event in enumerate(events) if isinstance(event, TrialEnded))
    summary = summarise(events[:last_end])
    assert not summary.complete
    assert summary.unfinished == ("per-request, trial 2",)
    assert len(summary.strategies[0].trials) == 1


def test_a_run_without_a_finished_trial_has_no_numbers() -> None:
    with pytest.raises(NothingMeasured, match="No trial of this run ended: 1 began"):
        summarise(RunBuilder().events()[:5])


def test_server_and_relay_agree_on_a_sound_run(guide: RunSummary, burst: RunSummary) -> None:
    agree.check(guide)
    agree.check(burst)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"opened": 24}, "connections opened: the server counted 24, the relay 25"),
        ({"still_open": 3}, "connections open at the end: the server counted 3, the relay 0"),
        ({"opened": 0}, "connections opened: the server counted 0, the relay 25"),
        ({"refused": {"1040": 2}}, "refused with 1040: the server counted 2, the relay 0"),
    ],
)
def test_a_disagreement_fails_the_run_with_both_numbers(changes: dict[str, object], says: str) -> None:
    events = changed(RunBuilder(trials=1, strategies=("per-request",)).events(), ServerCounted, **changes)
    with pytest.raises(agree.CountsDisagree, match=says) as failed:
        agree.check(summarise(events))
    assert failed.value.exit_code == 1


def test_a_count_that_the_server_cannot_tell_is_not_compared() -> None:
    events = changed(RunBuilder(trials=1).events(), ServerCounted, opened=None, still_open=None)
    agree.check(summarise(events))


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"outcome": "ok", "status": 200}, None),
        ({"outcome": "ok"}, None),
        ({"outcome": "ok", "status": 503}, "status 503"),
        ({"outcome": "ok", "status": 500, "error_code": "1040"}, "1040"),
        ({"outcome": "error", "error_type": "OperationalError", "error_code": "2013"}, "2013"),
        ({"outcome": "error", "error_type": "KeyError"}, "KeyError"),
        ({"outcome": "timeout", "error_type": "Sandbox.Timedout"}, "timeout"),
        ({"outcome": "crash"}, "crash"),
        ({"outcome": "error"}, "error"),
    ],
)
def test_a_failure_is_named_by_the_most_telling_fact(fields: dict[str, object], name: str | None) -> None:
    event = Invoked(
        at_s=1, invocation="i1", environment="e1", cold=False, thawed=True, wait_ms=0, handler_ms=1, **fields
    )
    assert failure(event) == name
