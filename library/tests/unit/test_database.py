"""`Database` on the fake driver and the fake clock: what needs no server, or none produces on demand."""

from __future__ import annotations

import json
import logging
import threading

import pytest
import warmline
from warmline._environment import SNAPSHOT
from warmline._outcome import Failure
from warmline.testing import Context, FakeClock, FakeDriver, FakeError


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def driver():
    return FakeDriver()


@pytest.fixture
def make(clock, driver):
    def build(**settings):
        return warmline.Database("mysql://app:s3cret@db/shop", clock=clock, driver=driver, **settings)

    return build


def use(db, *statements):
    with db.connection() as connection:
        for statement in statements:
            connection.cursor().execute(statement)


def test_a_thaw_before_the_ping_limit_costs_nothing(make, driver, clock):
    db = make()
    use(db, "SELECT 1")
    clock.freeze(239)
    use(db, "SELECT 1")
    assert (driver.opened, driver.pings) == (1, 0)


def test_a_long_freeze_costs_one_ping_although_the_monotonic_clock_stood_still(make, driver, clock):
    db = make()
    use(db)
    clock.freeze(241)
    use(db)
    assert (driver.opened, driver.pings) == (1, 1)


def test_a_wall_clock_that_steps_back_neither_pings_nor_breaks(make, driver, clock):
    db = make()
    use(db)
    clock.step(-5000)
    use(db)
    assert (driver.opened, driver.pings) == (1, 0)


def test_a_failed_ping_leads_to_a_new_connection(make, driver, clock):
    db = make()
    use(db)
    clock.freeze(300)
    driver.fails["PING"] = Failure.LOST
    use(db)
    assert (driver.opened, driver.pings) == (2, 1)


def test_an_old_connection_is_replaced(make, driver, clock):
    db = make(max_lifetime_s=100, ping_after_s=1000)
    use(db)
    clock.advance(101)
    use(db)
    assert (driver.opened, driver.closed) == (2, 1)


def test_a_restored_snapshot_shares_no_connection(make, driver):
    db = make()
    use(db)
    SNAPSHOT.restored()
    use(db)
    assert driver.opened == 2


def test_before_a_snapshot_everything_is_closed(make, driver):
    db = make()
    use(db)
    db.before_snapshot()
    assert driver.closed == 1
    assert db.stats()["open"] == 0


def test_invalidate_replaces_what_is_open(make, driver):
    db = make()
    use(db)
    db.invalidate()
    use(db)
    assert driver.opened == 2


def test_refusals_are_retried_with_pauses_inside_the_deadline(make, driver, clock):
    driver.refuses = [Failure.TOO_MANY] * 5
    db = make()
    with db.invocation(Context(10, clock=clock)):
        use(db)
    assert driver.opened == 1
    assert len(clock.slept_s) == 5
    assert all(0 <= pause <= 2 for pause in clock.slept_s)


def test_refusals_end_with_their_number_when_the_deadline_comes(make, driver, clock):
    driver.refuses = [Failure.TOO_MANY] * 10_000
    db = make(connect_budget_s=60)
    with pytest.raises(warmline.TooManyConnections) as caught, db.invocation(Context(3, clock=clock)):
        use(db)
    assert sum(clock.slept_s) <= 3 - 0.25
    assert caught.value.refusals == 10_000 - len(driver.refuses)
    assert db.stats()["in_use"] == 0


def test_after_a_refusal_the_connection_is_given_up_at_the_end(make, driver, clock):
    driver.refuses = [Failure.TOO_MANY]
    db = make()
    with db.invocation(Context(10, clock=clock)):
        use(db)
    assert driver.closed == 1
    with db.invocation(Context(10, clock=clock)):
        use(db)
    assert driver.closed == 1


@pytest.mark.parametrize(
    ("failure", "error", "retryable"),
    [
        (Failure.UNREACHABLE, warmline.NotSent, True),
        (Failure.TOO_MANY, warmline.TooManyConnections, True),
        (Failure.AUTH, warmline.AuthRejected, False),
    ],
)
def test_what_ends_connecting_says_whether_to_try_again(make, driver, failure, error, retryable):
    driver.refuses = [failure] * 1000
    with pytest.raises(error) as caught:
        use(make(connect_budget_s=1))
    assert caught.value.retryable is retryable
    assert isinstance(caught.value.__cause__, FakeError)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("statements", "failure", "error", "retryable"),
    [
        (["INSERT INTO t VALUES (1)"], Failure.LOST, warmline.OutcomeUnknown, False),
        (["INSERT INTO t VALUES (1)"], Failure.IDLE_CLOSED, warmline.NotSent, True),
        (["INSERT INTO t VALUES (1)"], Failure.READ_ONLY, warmline.ReadOnlyServer, True),
        (["INSERT INTO t VALUES (1)"], Failure.CONFLICT, FakeError, None),
        (["INSERT INTO t VALUES (1)"], Failure.OTHER, FakeError, None),
        (["BEGIN", "INSERT INTO t VALUES (1)"], Failure.LOST, warmline.TransactionLost, True),
        (["BEGIN", "COMMIT"], Failure.LOST, warmline.CommitUnknown, False),
        (["BEGIN", "ALTER TABLE t ADD b INT"], Failure.LOST, warmline.CommitUnknown, False),
        (["BEGIN", "CALL p()"], Failure.LOST, warmline.CommitUnknown, False),
        (["DELETE FROM t", "INSERT INTO t VALUES (1)"], Failure.READ_ONLY, warmline.ReadOnlyServer, False),
        (["SELECT a FROM t", "INSERT INTO t VALUES (1)"], Failure.READ_ONLY, warmline.ReadOnlyServer, True),
    ],
)
def test_what_leaves_a_block_says_what_may_have_run(  # noqa: PLR0913, PLR0917 - a table
    make, driver, statements, failure, error, retryable
):
    driver.fails[statements[-1].split()[0]] = failure
    with pytest.raises(error) as caught:
        use(make(), *statements)
    if retryable is not None:
        assert caught.value.retryable is retryable


def test_a_commit_that_is_lost_is_unknown_and_never_replayed(make, driver):
    driver.fails["COMMIT"] = Failure.LOST
    calls = []
    with pytest.raises(warmline.CommitUnknown) as caught:
        make().run(calls.append)
    assert len(calls) == 1
    assert caught.value.retryable is False


def test_a_read_only_function_is_replayed_even_then(make, driver):
    driver.fails["COMMIT"] = Failure.LOST
    assert make().run(lambda _: "read", read_only=True) == "read"
    assert driver.opened == 2


def test_run_replays_conflicts_with_pauses(make, driver, clock):
    db = make()
    calls = []

    def work(connection):
        calls.append(1)
        if len(calls) < 4:
            driver.fails["UPDATE"] = Failure.CONFLICT
        connection.cursor().execute("UPDATE t SET a = 1")
        return len(calls)

    assert db.run(work) == 4
    assert len(clock.slept_s) == 3
    assert driver.sent.count("COMMIT") == 1


def test_run_gives_up_after_its_attempts(make, driver):
    calls = []

    def work(connection):
        calls.append(1)
        driver.fails["UPDATE"] = Failure.CONFLICT
        connection.cursor().execute("UPDATE t SET a = 1")

    with pytest.raises(FakeError):
        make().run(work, attempts=3)
    assert len(calls) == 3


def test_run_does_not_replay_a_function_that_committed_by_itself(make, driver):
    calls = []

    def work(connection):
        calls.append(1)
        connection.cursor().execute("INSERT INTO t VALUES (1)")
        connection.commit()
        driver.fails["UPDATE"] = Failure.CONFLICT
        connection.cursor().execute("UPDATE t SET a = 1")

    with pytest.raises(FakeError):
        make().run(work)
    assert len(calls) == 1


def test_a_caught_conflict_lets_no_later_statement_run_on_its_own(make, driver):
    driver.fails["UPDATE"] = Failure.CONFLICT
    with pytest.raises(warmline.TransactionLost), make().transaction() as connection:
        with pytest.raises(FakeError):
            connection.cursor().execute("UPDATE t SET a = 1")
        connection.cursor().execute("INSERT INTO t VALUES (1)")
    assert "INSERT INTO t VALUES (1)" not in driver.sent
    assert "COMMIT" not in driver.sent


def test_a_connection_lost_on_begin_is_replaced_once(make, driver):
    db = make()
    use(db)
    driver.fails["BEGIN"] = Failure.LOST
    with db.transaction() as connection:
        connection.cursor().execute("INSERT INTO t VALUES (1)")
    assert driver.opened == 2


def test_a_dirty_session_is_reset_and_a_clean_one_is_not(make, driver):
    db = make()
    use(db, "SELECT 1")
    assert "<reset>" not in driver.sent
    use(db, "SET sql_mode = ''")
    assert driver.sent[-1] == "<reset>"


@pytest.mark.parametrize("via", ["rds-proxy", "pgbouncer", "warmline-proxy"])
def test_behind_a_proxy_the_library_sends_nothing_but_begin_commit_and_rollback(make, driver, via):
    db = make(via=via)
    use(db, "SELECT 1")
    use(db, "SET sql_mode = ''")
    use(db, "BEGIN")
    with db.transaction():
        pass
    own = [s for s in driver.sent if s not in ("SELECT 1", "SET sql_mode = ''")]
    assert own == ["BEGIN", "ROLLBACK", "BEGIN", "COMMIT"]


def test_what_an_invocation_does_not_release_is_closed_at_its_end(make, driver, caplog):
    db = make()
    with caplog.at_level(logging.WARNING, "warmline"), db.invocation():
        db.connection().__enter__().cursor().execute("SELECT 'left'")
    assert driver.closed == 1
    assert "SELECT '…'" in caplog.text
    use(db)
    assert driver.opened == 2


def test_the_handler_decorator_keeps_name_and_result(make, clock, driver):
    db = make()

    @db.handler
    def handler(event, context):
        """Handle it."""
        use(db, "SELECT 1")
        return event

    assert handler({"a": 1}, Context(3, clock=clock)) == {"a": 1}
    assert (handler.__name__, handler.__doc__) == ("handler", "Handle it.")
    assert driver.opened == 1


def test_a_nested_use_in_one_thread_fails_at_once_and_says_why(make):
    db = make()
    with pytest.raises(warmline.PoolTimeout, match="while it holds all there are") as caught, db.connection():
        use(db)
    assert (caught.value.waited_s, caught.value.size) == (0.0, 1)
    assert caught.value.retryable


def in_thread(function):
    result = []

    def run():
        try:
            result.append(function())
        except Exception as error:  # noqa: BLE001 - the result
            result.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, result


def test_waiters_are_served_in_order_and_within_the_timeout(driver):
    db = warmline.Database("mysql://app@db/shop", driver=driver, strategy="pool", connection_limit=1)
    order = []
    threads = []
    with db.connection():
        for number in range(3):
            threads.append(in_thread(lambda number=number: (use(db), order.append(number)))[0])
            while db.stats()["waiting"] <= number:
                pass
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2]
    assert driver.opened == 1


def test_a_wait_that_ends_without_a_connection_gives_its_numbers(driver):
    db = warmline.Database("mysql://app@db/shop", driver=driver, acquire_timeout_s=0.05)
    with db.connection():
        thread, result = in_thread(lambda: use(db))
        thread.join()
    assert isinstance(result[0], warmline.PoolTimeout)
    assert "1 of 1 in use" in str(result[0])
    use(db)


def test_without_waiting_a_busy_pool_refuses_at_once(driver):
    db = warmline.Database("mysql://app@db/shop", driver=driver, wait_for_connections=False)
    with db.connection():
        thread, result = in_thread(lambda: use(db))
        thread.join()
    assert isinstance(result[0], warmline.PoolTimeout)
    assert result[0].waited_s == 0.0


def test_a_full_queue_refuses_and_an_unlimited_one_does_not(driver):
    db = warmline.Database("mysql://app@db/shop", driver=driver, queue_limit=1)
    with db.connection():
        waiting, _ = in_thread(lambda: use(db))
        while db.stats()["waiting"] < 1:
            pass
        thread, result = in_thread(lambda: use(db))
        thread.join()
    waiting.join()
    assert isinstance(result[0], warmline.QueueFull)
    assert result[0].retryable


def test_a_thread_that_the_handler_starts_belongs_to_its_invocation(make, clock):
    db = make()
    with db.invocation(Context(0.1, clock=clock)):
        thread, result = in_thread(lambda: use(db, "SELECT 1"))
        thread.join()
    assert isinstance(result[0], warmline.DeadlineExceeded)


@pytest.mark.parametrize(
    "settings",
    [
        {"strategy": "forever"},
        {"via": "pigeon"},
        {"connection_limit": 3},
        {"strategy": "pool", "connection_limit": 0},
        {"queue_limit": -1},
        {"connect_timeout_s": 0},
        {"ping_after_s": -1},
        {"metrics": "statsd"},
    ],
)
def test_a_setting_that_cannot_be_taken_is_refused_at_once(settings):
    with pytest.raises(warmline.SettingsError):
        warmline.Database("mysql://app@db/shop", **settings)


def test_events_reach_the_callback_and_one_that_raises_breaks_nothing(make, caplog):
    def raising(event):
        raise ValueError(event.kind)

    use(make(on_event=raising))
    assert "on_event callback raised" in caplog.text


def test_events_reach_standard_logging(make, caplog):
    with caplog.at_level(logging.DEBUG, "warmline"):
        db = make()
        use(db)
        use(db)
    assert "connect first" in caplog.text
    assert "reuse alive" in caplog.text


def test_embedded_metrics_are_one_line_for_each_invocation(make, capsys, clock, monkeypatch):
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "shop")
    db = make(metrics="emf")
    for _ in range(2):
        with db.invocation(Context(3, clock=clock)):
            use(db)
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (first["Connects"], first["Reuses"]) == (1, 0)
    assert (second["Connects"], second["Reuses"]) == (0, 1)
    assert second["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "warmline"
    assert (second["Function"], second["Strategy"], second["RequestId"]) == ("shop", "keep-open", "test")


def test_a_secret_that_anybody_could_read_is_not_sent(make):
    class Token:
        needs_verified_tls = True
        epoch = 0

        def credential(self, **_):
            raise AssertionError("asked for a token that must not be sent")

        def rejected(self, _):
            return False

    with pytest.raises(warmline.SettingsError, match="ca_file"):
        use(make(auth=Token()))


def test_a_missing_driver_is_named_with_its_install_line(monkeypatch):
    import importlib.util  # noqa: PLC0415 - only here

    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(warmline.DriverMissing, match="pip install pymysql"):
        use(warmline.Database("mysql+pymysql://app@db/shop"))


def test_a_driver_that_there_is_no_file_for_is_refused_with_those_that_there_are():
    with pytest.raises(warmline.SettingsError, match="pymysql, mysqlclient, mysqlconnector"):
        use(warmline.Database("mysql+asyncmy://app@db/shop"))


def test_sigterm_closes_what_is_idle_then_does_what_it_did_before(make, driver):
    import os  # noqa: PLC0415 - only here
    import signal  # noqa: PLC0415 - only here

    db = make()
    use(db)
    seen = []
    before = signal.signal(signal.SIGTERM, lambda *_: seen.append(driver.closed))
    try:
        warmline.close_on_sigterm()
        os.kill(os.getpid(), signal.SIGTERM)
        assert seen == [1]
    finally:
        signal.signal(signal.SIGTERM, before)
