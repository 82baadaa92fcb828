"""What every driver gives on every server: the plain connection, strategies, transactions, clean sessions."""

from __future__ import annotations

import logging

import pytest
import warmline

SERVER_ID = {"postgres": "SELECT pg_backend_pid()", "mysql": "SELECT CONNECTION_ID()"}


def server_id(client):
    with client.connection() as run:
        return run(SERVER_ID[client.family])[0][0]


def test_what_a_block_gets_is_the_drivers_own_connection(pair, client):
    import importlib  # noqa: PLC0415 - only here

    homes = {
        "pymysql": "pymysql.connections:Connection",
        "mysqlclient": "MySQLdb.connections:Connection",
        "mysqlconnector": "mysql.connector.connection:MySQLConnection",
        "psycopg": "psycopg:Connection",
        "asyncmy": "asyncmy.connection:Connection",
        "aiomysql": "aiomysql.connection:Connection",
        "psycopg-async": "psycopg:AsyncConnection",
        "asyncpg": "asyncpg:Connection",
    }
    module, name = homes[pair[0]].split(":")
    with client.connection() as run:
        assert isinstance(run.connection, getattr(importlib.import_module(module), name))


def test_nothing_is_opened_before_the_first_use(pair, server, open_client):
    with server.observer() as observer:
        client = open_client(pair[0], server.url)
        with client.invocation(5000):
            pass
        assert observer.counts().opened == 0


def test_keep_open_holds_one_connection_over_invocations(client, server):
    with server.observer() as observer:
        seen = set()
        for _ in range(3):
            with client.invocation(10_000):
                seen.add(server_id(client))
        assert len(seen) == 1
        assert observer.counts().opened == 1
    assert client.kinds() == ["connect first", "reuse alive", "reuse alive"]


def test_per_request_closes_when_the_invocation_ends(pair, server, open_client, wait_until):
    client = open_client(pair[0], server.url, strategy="per-request")
    with server.observer() as observer:
        for _ in range(2):
            with client.invocation(10_000):
                assert server_id(client) == server_id(client)
            wait_until(lambda: observer.open_now() == 0, what="the connection is closed")
        assert observer.counts().opened == 2


def test_a_pool_opens_a_second_connection_only_for_a_second_user(pair, server, open_client):
    client = open_client(pair[0], server.url, strategy="pool", connection_limit=2)
    with server.observer() as observer:
        assert server_id(client) == server_id(client)
        assert observer.counts().opened == 1
        with client.connection() as one, client.connection() as two:
            assert one(SERVER_ID[client.family]) != two(SERVER_ID[client.family])
        assert observer.counts().opened == 2


def test_a_plain_connection_commits_each_statement(client, ids):
    with client.connection() as run:
        run("INSERT INTO ledger VALUES (1, 10)")
        assert ids() == [1]


def test_a_warm_connection_sees_what_others_committed_since(client, server, ids):
    """With autocommit off, MySQL would go on showing the snapshot of the first read."""
    with client.connection() as run:
        assert run("SELECT count(*) FROM ledger") == [(0,)]
    with type(client)("psycopg" if server.engine == "postgres" else "pymysql", server.url).db.connection() as other:
        other.cursor().execute("INSERT INTO ledger VALUES (1, 10)")
        other.close()
    with client.connection() as run:
        assert run("SELECT count(*) FROM ledger") == [(1,)]
    assert ids() == [1]


def test_a_transaction_is_kept_whole(client, ids):
    with client.transaction() as run:
        run("INSERT INTO ledger VALUES (1, 10)")
        run("INSERT INTO ledger VALUES (2, 10)")
        assert ids() == []
    assert ids() == [1, 2]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_transaction_left_by_any_exception_is_rolled_back_without_a_warning(client, ids, caplog, error):
    with pytest.raises(error), client.transaction() as run:
        run("INSERT INTO ledger VALUES (1, 10)")
        raise error
    with client.connection() as run:
        assert run("SELECT count(*) FROM ledger") == [(0,)]
    assert ids() == []
    assert not caplog.records
    assert "connect" not in " ".join(client.kinds()[1:])


def test_a_transaction_left_open_is_rolled_back_and_its_opener_named(client, ids, caplog):
    with caplog.at_level(logging.WARNING, "warmline"), client.connection() as run:
        run("BEGIN")
        run("INSERT INTO ledger VALUES (1, 77)")
    assert ids() == []
    [record] = caplog.records
    assert "BEGIN (then INSERT INTO ledger" in record.getMessage()
    with client.connection() as run:
        assert run("SELECT count(*) FROM ledger") == [(0,)]


def test_a_read_only_transaction_refuses_writes(client, ids):
    with pytest.raises(Exception, match=r"(?i)read.?only"), client.transaction(read_only=True) as run:
        run("INSERT INTO ledger VALUES (1, 10)")
    assert ids() == []


def test_an_ordinary_database_error_passes_through_as_the_drivers_own(client, ids):
    with pytest.raises(Exception) as caught, client.connection() as run:  # noqa: PT011 - each driver has its own class
        run("INSERT INTO ledger VALUES (1, 10)")
        run("INSERT INTO ledger VALUES (1, 10)")
    assert not isinstance(caught.value, warmline.Error)
    assert ids() == [1]
    assert server_id(client)
    assert client.kinds() == ["connect first", "reuse alive"]


def test_session_state_is_gone_for_the_next_user(client):
    setting, value, read = (
        ("SET statement_timeout = 54321", "54321ms", "SHOW statement_timeout")
        if client.family == "postgres"
        else ("SET SESSION sort_buffer_size = 123456", 123456, "SELECT @@sort_buffer_size")
    )
    with client.connection() as run:
        run(setting)
        assert run(read) == [(value,)]
    with client.connection() as run:
        assert run(read) != [(value,)]


def test_the_character_set_survives_a_reset(client):
    text = "schön 🌍"
    if client.family == "postgres":
        statement = f"SELECT '{text}'"
    else:
        statement = f"SELECT '{text}', @@character_set_client, @@character_set_results, @@autocommit"
    with client.connection() as run:
        before = run(statement)
        run("SET @a = 1" if client.family == "mysql" else "SET work_mem = '5MB'")
    with client.connection() as run:
        assert run(statement) == before
        assert before[0][0] == text


def test_behind_a_proxy_a_dirty_session_is_closed_not_reset(pair, server, open_client):
    client = open_client(pair[0], server.url, via="rds-proxy")
    with client.connection() as run:
        run("SET @a = 1" if client.family == "mysql" else "SET work_mem = '5MB'")
    assert server_id(client)
    assert client.kinds() == ["connect first", "discard dirty-session", "connect first"]


def test_a_caught_error_does_not_let_half_a_transaction_pass_for_all_of_it(client, ids):
    """PostgreSQL answers COMMIT with ROLLBACK then; MySQL keeps the rest, which is its own affair."""
    driver_error = Exception
    outcome = None
    try:
        with client.transaction() as run:
            run("INSERT INTO ledger VALUES (1, 10)")
            with pytest.raises(driver_error):
                run("INSERT INTO ledger VALUES (1, 10)")
    except warmline.TransactionLost as error:
        outcome = error
    if client.family == "postgres":
        assert outcome is not None
        assert ids() == []
    else:
        assert outcome is None
        assert ids() == [1]


def test_a_connection_used_after_its_block_is_refused(client, ids):
    with client.connection() as run:
        pass
    with pytest.raises(warmline.UsedAfterRelease):
        run("INSERT INTO ledger VALUES (1, 10)")
    assert ids() == []


def test_stats_count_what_happened(client):
    for _ in range(3):
        assert server_id(client)
    stats = client.db.stats()
    assert stats["strategy"] == "keep-open"
    assert (stats["open"], stats["idle"], stats["in_use"], stats["waiting"]) == (1, 1, 0, 0)
    assert (stats["connects"], stats["reuses"]) == (1, 2)


def test_prewarming_connects_in_init_but_never_before_a_snapshot(pair, server, open_client, monkeypatch):
    client = open_client(pair[0], server.url)
    with server.observer() as observer:
        monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
        assert client.wait(client.db.prewarm()) is False
        assert observer.counts().opened == 0
        monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
        assert client.wait(client.db.prewarm()) is True
        assert observer.counts().opened == 1
        assert server_id(client)
        assert observer.counts().opened == 1
