from __future__ import annotations

import pytest
from warmline_toolkit.lab import scenarios, strategy
from warmline_toolkit.lab.experiment import order
from warmline_toolkit.lab.scenario import Settings


def test_every_scenario_says_what_it_asks_what_must_come_out_and_how_it_works() -> None:
    assert scenarios.names() == [
        *("guide", "burst", "steady", "scale-out", "idle-timer", "stale", "ghosts"),
        *("timeout-in-transaction", "managed-instances"),
    ]
    for name in scenarios.names():
        scenario = scenarios.load(name)
        assert scenario.name == name
        assert scenario.question.endswith("?")
        assert len(scenario.expectation) > 40
        assert "\n\n" in (scenarios.module_of(name).__doc__ or "")


def test_an_unknown_scenario_is_refused_with_the_names_that_there_are() -> None:
    with pytest.raises(scenarios.UnknownScenario, match="guide, burst"):
        scenarios.load("giude")


def test_every_trial_begins_with_another_strategy() -> None:
    plain = strategy.choose(scenarios.load("guide"), engine="mariadb", family=None, names=["per-request", "pool"])
    assert [[one.label for one in order(plain, trial)] for trial in (1, 2, 3)] == [
        ["per-request", "pool"],
        ["pool", "per-request"],
        ["per-request", "pool"],
    ]


@pytest.mark.parametrize(
    ("engine", "family", "names", "said"),
    [
        ("mariadb", None, ["keepopen"], "keep-open"),
        ("postgres", "pymysql", [], "psycopg"),
        ("mariadb", "pymongo", [], "sqlalchemy"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(
    engine: str, family: str | None, names: list[str], said: str
) -> None:
    with pytest.raises(strategy.UnknownStrategy, match=said):
        strategy.choose(scenarios.load("guide"), engine=engine, family=family, names=names)


def test_options_that_are_not_given_leave_the_scenarios_own() -> None:
    settings = Settings(requests=7, rtt_ms=2.0).with_options(requests=None, environments=3, freeze=None)
    assert (settings.requests, settings.environments, settings.rtt_ms, settings.freeze) == (7, 3, 2.0, True)


def test_every_example_handler_is_a_file_that_is_there() -> None:
    for family in strategy.FAMILIES.values():
        for file in family.handlers.values():
            assert (family.folder / file).is_file(), (family.name, file)
