"""The workload file: what it says is what is planned, and what is wrong is said with its line."""

from __future__ import annotations

import dataclasses

import pytest
from warmline_toolkit.plan import series, workload_file
from warmline_toolkit.plan.errors import BadWorkload
from warmline_toolkit.plan.workload import Database, Function, Platform, rules

GOOD = """\
platform:
  idle_timeout_s: 300
databases:
  orders:
    engine: aurora-postgres
    instance_class: db.r6g.large
    proxy: {max_connections_percent: 60, borrow_timeout_s: 5}
  stock: {max_connections: 100}
functions:
  api:
    database: orders
    rate_per_s: 40
    warm_ms: 120
    strategy: proxy
  worker:
    database: stock
    concurrency: 12
    trigger: queue
    maximum_concurrency: 20
    strategy: pool
    pool_size: 3
  nightly:
    database: stock
    arrivals: {shape: burst, requests: 500}
"""


def parse(text: str):
    return workload_file.parse(text, file="w.yaml", open_series=lambda _: series.Series(times_s=(0.0, 1.0, 4.0)))


def test_every_setting_of_the_file_arrives():
    workload = parse(GOOD)
    api, worker, nightly = workload.functions
    assert workload.platform.idle_timeout_s == 300
    assert workload.databases[0].proxy.max_connections_percent == 60
    assert (api.database, api.rate_per_s, api.strategy) == ("orders", 40, "proxy")
    assert (worker.cap, worker.connections_per_environment, worker.mean_rate_per_s) == (20, 3, 120)
    assert nightly.arrivals.requests == 500


def test_a_function_without_database_uses_the_only_one_there_is():
    workload = parse("databases: {a: {max_connections: 5}}\nfunctions: {f: {rate_per_s: 1}}\n")
    assert workload.functions[0].database == "a"


def test_a_file_of_arrivals_gives_the_function_its_rate():
    workload = parse("databases: {a: {}}\nfunctions: {f: {arrivals: {shape: file, file: x.csv}}}\n")
    assert workload.functions[0].arrivals.times_s == (0.0, 1.0, 4.0)
    assert workload.functions[0].mean_rate_per_s == 0.75


def test_what_is_written_is_read_back_the_same():
    workload = parse(GOOD)
    again = parse(workload_file.to_yaml(workload, comments=("from a test",)))
    assert again == dataclasses.replace(workload, source="w.yaml")


WRONG = [
    (GOOD.replace("rate_per_s: 40", "rate_per_s: -40"), 12, "rate_per_s is -40; expected a number of at least 0"),
    (GOOD.replace("rate_per_s: 40", "rate_per_s: many"), 12, "expected a number of at least 0"),
    (GOOD.replace("rate_per_s: 40", "rate_per_s:"), 12, "found nothing"),
    (GOOD.replace("rate_per_s: 40", "rate_per_s: [1]"), 12, "found a list"),
    (GOOD.replace("rate_per_s: 40", "rate_per_s: .nan"), 12, "expected a number"),
    (GOOD.replace("rate_per_s: 40", "rates: 40"), 12, "did you mean 'rate_per_s'?"),
    (GOOD.replace("pool_size: 3", "pool_size: 2.5"), 21, "expected a whole number"),
    (GOOD.replace("strategy: proxy", "strategy: cache"), 14, "expected one of per-request, keep-open, pool, proxy"),
    (GOOD.replace("warm_ms: 120", "rate_per_s: 1"), 13, "is there twice"),
    (GOOD.replace("    concurrency: 12\n", ""), 16, "has no load"),
    (GOOD.replace("concurrency: 12", "concurrency: 12\n    rate_per_s: 1"), 16, "expected one of them"),
    (GOOD.replace("database: orders", "database: order"), 11, "expected orders or stock"),
    (GOOD.replace("borrow_timeout_s: 5", "borrow_timeout: 5"), 7, "borrow_timeout_s"),
    (GOOD.replace("engine: aurora-postgres", "engine: oracle"), 5, "expected one of mysql"),
    (GOOD.replace("requests: 500", "file: x.csv"), 24, "expected both or neither"),
    (GOOD.replace("warm_ms: 120", "warm_ms: 120\n    cold_ms: 80"), 11, "below warm_ms"),
    (GOOD.replace("platform:", "plattform:"), 1, "did you mean 'platform'?"),
    ("functions: {f: {rate_per_s: 1}}\n", 1, "no databases"),
    ("databases: {a: {}}\n", 1, "no functions"),
    ("- a\n- b\n", 1, "found a list"),
    ("functions: {a: [\n", 2, "not YAML"),
]


@pytest.mark.parametrize(("text", "line", "expected"), WRONG)
def test_a_mistake_is_said_with_its_line_and_what_was_expected(text, line, expected):
    with pytest.raises(BadWorkload) as caught:
        parse(text)
    assert f"w.yaml, line {line}" in caught.value.what
    assert expected in caught.value.what
    assert caught.value.exit_code == 2


def test_an_empty_file_says_what_it_should_hold():
    with pytest.raises(BadWorkload, match="empty"):
        parse("")


def test_every_setting_has_a_rule_that_its_default_keeps():
    for of in (Function, Database, Platform):
        for name, rule in rules(of).items():
            default = next(field.default for field in dataclasses.fields(of) if field.name == name)
            if default is not None:
                assert workload_file.check(name, default, rule) is None
