from __future__ import annotations

import dataclasses

import pytest
from run_builder import RunBuilder
from warmline_toolkit.measure.answer import answer
from warmline_toolkit.measure.quantiles import spread
from warmline_toolkit.measure.summary import RunSummary, StrategySummary, summarise
from warmline_toolkit.measure.verdict import Advice, Rating, Verdicts, rate, reopens
from warmline_toolkit.model.events import Noted, ServerCounted, ServerSampled, TrialEnded, TrialStarted


def with_numbers(summary: RunSummary, name: str, **numbers: list[float]) -> RunSummary:
    """Return *summary* with some of one strategy's numbers replaced by the spreads of *numbers*."""
    return dataclasses.replace(
        summary,
        strategies=tuple(
            dataclasses.replace(one, **{field: spread(values) for field, values in numbers.items()})  # type: ignore[arg-type]
            if one.strategy == name
            else one
            for one in summary.strategies
        ),
    )


def rated(summary: RunSummary, name: str) -> Verdicts:
    return next(verdicts for verdicts in rate(summary) if verdicts.strategy == name)


@pytest.fixture
def guide() -> RunSummary:
    return summarise(RunBuilder().events())


@pytest.fixture
def burst() -> RunSummary:
    return summarise(RunBuilder(scenario="burst", environments=25, at_once=25).events())


@pytest.mark.parametrize(
    ("answers", "rating"),
    [
        ([1000.0, 1000, 1000], Rating.GOOD),
        ([810.0, 820, 830], Rating.GOOD),
        ([790.0, 790, 790], Rating.FAIR),
        ([510.0, 520, 530], Rating.FAIR),
        ([480.0, 490, 495], Rating.POOR),
        ([400.0, 500, 1000], Rating.GOOD),  # one of its trials is as good as the best's
    ],
)
def test_performance_is_relative_to_the_best_beyond_the_spread(
    guide: RunSummary, answers: list[float], rating: Rating
) -> None:
    summary = with_numbers(guide, "keep-open", answers_per_busy_second_warm=[1000, 1000, 1000])
    summary = with_numbers(summary, "pool", answers_per_busy_second_warm=[900, 1000, 1000])
    summary = with_numbers(summary, "per-request", answers_per_busy_second_warm=answers)
    assert rated(summary, "per-request").performance.rating is rating
    assert rated(summary, "keep-open").performance.rating is Rating.GOOD


def test_opening_a_connection_for_every_request_is_high_load_and_keeping_it_is_not(guide: RunSummary) -> None:
    assert reopens(guide.strategy("per-request")) == 1
    assert reopens(guide.strategy("keep-open")) == 0
    assert rated(guide, "per-request").load.rating is Rating.POOR


def test_reopening_for_some_invocations_is_medium_load(guide: RunSummary) -> None:
    roomy = dataclasses.replace(
        guide, strategies=tuple(dataclasses.replace(one, limit=100) for one in guide.strategies)
    )
    quiet = {"server_cpu_ms_per_invocation": [0.1, 0.1, 0.1]}
    for opened, rating in ((7, Rating.GOOD), (8, Rating.FAIR), (15, Rating.FAIR), (16, Rating.POOR)):
        summary = with_numbers(roomy, "pool", connections_opened=[opened] * 3, **quiet)
        assert rated(with_numbers(summary, "keep-open", **quiet), "pool").load.rating is rating, opened


def test_a_single_refusal_is_high_load(guide: RunSummary) -> None:
    roomy = dataclasses.replace(
        guide, strategies=tuple(dataclasses.replace(one, limit=100) for one in guide.strategies)
    )
    assert rated(with_numbers(roomy, "keep-open", refused=[0, 0, 1]), "keep-open").load.rating is Rating.POOR


def test_the_latency_is_that_of_warm_invocations_unless_a_trial_has_few(guide: RunSummary, burst: RunSummary) -> None:
    assert rated(guide, "pool").latency.because.startswith("warm p95 ")
    assert rated(burst, "pool").latency.because.startswith("p95 ")


def test_holding_every_slot_of_the_database_is_medium_load(guide: RunSummary) -> None:
    assert rated(guide, "keep-open").load.rating is Rating.FAIR
    assert "peak 5 of 5" in rated(guide, "keep-open").load.because
    roomy = dataclasses.replace(
        guide, strategies=tuple(dataclasses.replace(one, limit=100) for one in guide.strategies)
    )
    assert rated(roomy, "keep-open").load.rating is Rating.GOOD


@pytest.mark.parametrize(("cpu_ms", "rating"), [(50.0, Rating.POOR), (0.5, Rating.GOOD)])
def test_more_server_cpu_than_the_best_is_load_unless_the_server_was_idle(cpu_ms: float, rating: Rating) -> None:
    events = [
        dataclasses.replace(event, cpu_ms=cpu_ms if event.strategy == "pool" else cpu_ms / 4)
        if isinstance(event, ServerCounted)
        else dataclasses.replace(event, limit=100)
        if isinstance(event, TrialStarted)
        else event
        for event in RunBuilder().events()
    ]
    load = rated(summarise(events), "pool").load
    assert load.rating is rating
    assert ("server CPU" in load.because) == (rating is Rating.POOR)


def test_what_is_slower_in_the_median_but_not_in_every_trial_is_within_the_noise(guide: RunSummary) -> None:
    summary = with_numbers(guide, "keep-open", answers_per_busy_second_warm=[1000, 300, 1000])
    summary = with_numbers(summary, "pool", answers_per_busy_second_warm=[900, 200, 900])
    noisy = rated(with_numbers(summary, "per-request", answers_per_busy_second_warm=[400, 310, 400]), "per-request")
    assert noisy.performance.rating is Rating.GOOD
    assert noisy.performance.because.endswith("within the noise")
    steady = rated(with_numbers(summary, "per-request", answers_per_busy_second_warm=[400, 100, 400]), "per-request")
    assert steady.performance.rating is Rating.POOR
    assert "noise" not in steady.performance.because


def test_the_guides_advice_follows_from_the_numbers(guide: RunSummary) -> None:
    assert {one.strategy: one.advice for one in rate(guide)} == {
        "per-request": Advice.AVOID,
        "keep-open": Advice.RECOMMENDED,
        "pool": Advice.RECOMMENDED,
    }


def test_where_every_strategy_is_refused_none_is_enough_alone(burst: RunSummary) -> None:
    for verdicts in rate(burst):
        assert verdicts.advice is Advice.NOT_ALONE
        assert verdicts.performance.rating is Rating.POOR
        assert "20 refused, 20 of 25 failed" in verdicts.because
        assert "proxy" in verdicts.because


def test_the_strategy_that_fails_where_another_does_not_is_to_be_avoided(guide: RunSummary) -> None:
    summary = with_numbers(guide, "keep-open", errors=[0, 1, 0])
    assert rated(summary, "keep-open").advice is Advice.AVOID
    assert "0 (0 to 1) of 25 failed" in rated(summary, "keep-open").because
    assert rated(summary, "pool").advice is Advice.RECOMMENDED


def test_a_single_strategy_is_compared_with_nothing() -> None:
    summary = summarise(RunBuilder(strategies=("mine",)).events())
    verdicts = rated(summary, "mine")
    assert verdicts.performance.rating is Rating.UNRATED
    assert verdicts.latency.rating is Rating.UNRATED
    assert verdicts.advice is Advice.ACCEPTABLE


def test_a_strategy_that_answers_nothing_performs_poorly(guide: RunSummary) -> None:
    summary = with_numbers(guide, "pool", answers_per_busy_second_warm=[0, 0, 0], errors=[25, 25, 25])
    assert rated(summary, "pool").performance.rating is Rating.POOR
    assert "25 of 25 failed" in rated(summary, "pool").performance.because


# --- the answer


def test_the_answer_gives_the_counts_beside_the_formula_that_fits(guide: RunSummary) -> None:
    text = answer(guide)
    assert "25 requests on 5 execution environments, against a database that takes 5 connections." in text
    assert "(per-request) opened 25: one per request (25 × 1)" in text
    assert "(keep-open) opened 5: one per environment (5 × 1)" in text
    assert "The server refused none." in text


@pytest.mark.parametrize(
    ("requests", "environments", "says"),
    [
        (40, 8, "(per-request) opened 40: one per request (40 × 1)"),
        (40, 8, "(pool) opened 8: one per environment (8 × 1)"),
        (7, 7, "(per-request) opened 7: one per environment (7 × 1)"),
    ],
)
def test_the_formula_comes_from_the_data(requests: int, environments: int, says: str) -> None:
    builder = RunBuilder(requests=requests, environments=environments, at_once=environments, max_connections=100)
    assert says in answer(summarise(builder.events()))


def test_no_formula_is_claimed_where_none_fits(guide: RunSummary) -> None:
    text = answer(with_numbers(guide, "pool", connections_opened=[7, 7, 7]))
    assert "(pool) opened 7. " in text


def test_counts_that_differ_between_trials_are_given_with_their_range(guide: RunSummary) -> None:
    text = answer(with_numbers(guide, "pool", connections_opened=[5, 6, 8]))
    assert "(pool) opened 6 (5 to 8 over the trials)" in text


def test_refusals_are_in_the_answer(burst: RunSummary) -> None:
    assert "refused connections: per-request 20, keep-open 20, pool 20" in answer(burst)


def test_several_connections_an_environment_are_a_multiple(guide: RunSummary) -> None:
    text = answer(with_numbers(guide, "pool", connections_opened=[10, 10, 10]))
    assert "(pool) opened 10: 2 per environment (5 × 2)" in text


def test_the_strategies_are_of_the_summarys_own_type(guide: RunSummary) -> None:
    assert all(isinstance(one, StrategySummary) for one in guide.strategies)


def test_what_the_scenario_measured_itself_is_in_the_answer(guide: RunSummary) -> None:
    notes = [
        Noted(at_s=1, trial=trial, strategy=strategy, name="held-while_idle", value=value, unit="s")
        for strategy, values in (("keep-open", (1.5, 2.5)), ("pool", (0, 0)))
        for trial, value in enumerate(values, start=1)
    ]
    text = answer(dataclasses.replace(guide, notes=tuple(notes)))
    assert text.endswith(" Held while idle: keep-open 2 s (1.5 to 2.5 over the trials); pool 0 s.")


def test_the_latency_of_a_strategy_that_mostly_fails_is_not_rated_and_is_no_measure_for_others(
    guide: RunSummary,
) -> None:
    summary = with_numbers(guide, "keep-open", errors=[20, 20, 20])
    assert rated(summary, "keep-open").latency.rating is Rating.UNRATED
    fast_failure = with_numbers(with_numbers(guide, "per-request", errors=[20, 20, 20]), "keep-open", errors=[20] * 3)
    assert rated(fast_failure, "pool").latency.rating is Rating.UNRATED


def test_no_peak_is_above_the_limit_unless_the_server_says_so() -> None:
    events = [
        dataclasses.replace(event, limit=3) if isinstance(event, TrialStarted) else event
        for event in RunBuilder(strategies=("keep-open",), trials=1).events()
        if not isinstance(event, ServerSampled)
    ]
    assert summarise(events).strategies[0].connections_peak.median == 3
    last = next(event for event in reversed(events) if isinstance(event, TrialEnded))
    sample = ServerSampled(at_s=last.at_s, trial=1, strategy="keep-open", connections=4)
    assert summarise([*events, sample]).strategies[0].connections_peak.median == 4
