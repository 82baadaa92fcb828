"""PostgreSQL through the proxy: few server connections for many clients, and every client thinks it has its own."""

from __future__ import annotations

import threading

import psycopg
import pytest


def test_more_clients_than_server_connections_all_get_their_answers(postgres, run_proxy):
    proxy = run_proxy(postgres, max_server_connections=3)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with psycopg.connect(proxy.url, autocommit=True) as connection:
                for turn in range(20):
                    assert connection.execute("select %s::int, %s::text", (number, str(turn))).fetchone() == (
                        number,
                        str(turn),
                    )
        except BaseException as error:  # noqa: BLE001 - handed to the main thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    stats = proxy.admin("stats")
    assert stats["database_connections"] <= 3
    assert stats["query_requests"] >= 24 * 20


def test_a_transaction_keeps_its_server_connection_and_returns_it_at_its_end(postgres, run_proxy):
    proxy = run_proxy(postgres, max_server_connections=2)
    one, other = proxy.connect(autocommit=False), proxy.connect()
    number = one.execute("select pg_backend_pid()").fetchone()
    for _ in range(5):
        assert other.execute("select pg_backend_pid()").fetchone() != number
    assert one.execute("select pg_backend_pid()").fetchone() == number
    assert proxy.admin("stats")["database_connections_currently_in_transaction"] == 1
    one.commit()
    assert proxy.admin("stats")["database_connections_currently_borrowed"] == 0


def test_an_error_in_a_transaction_is_rolled_back_by_the_client_and_only_then_returned(postgres, run_proxy):
    proxy = run_proxy(postgres, max_server_connections=1)
    connection = proxy.connect(autocommit=False)
    with pytest.raises(psycopg.errors.DivisionByZero):
        connection.execute("select 1/0")
    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        connection.execute("select 1")
    connection.rollback()
    assert connection.execute("select 1").fetchone() == (1,)


@pytest.mark.parametrize("name", ["statement", "unnamed"])
def test_prepared_statements_work_on_every_server_connection(postgres, run_proxy, name):
    proxy = run_proxy(postgres, max_server_connections=2)
    clients = [proxy.connect(prepare_threshold=0 if name == "statement" else None) for _ in range(4)]
    holder = proxy.connect(autocommit=False)
    for turn in range(6):
        for number, client in enumerate(clients):
            assert client.execute("select %s::int + 1", (number,)).fetchone() == (number + 1,)
        if turn % 2:
            holder.execute("select 1")  # takes one of the two away, so that the others move to the other one
        else:
            holder.rollback()
    holder.rollback()
    assert proxy.admin("pins") == []


def test_a_statement_that_many_clients_prepare_is_prepared_once_a_server_connection(postgres, run_proxy):
    proxy = run_proxy(postgres, max_server_connections=1)
    for _ in range(5):
        client = proxy.connect(prepare_threshold=0)
        assert client.execute("select %s::int * 2", (21,)).fetchone() == (42,)
    prepared = proxy.connect().execute("select count(*) from pg_prepared_statements").fetchone()
    assert prepared == (1,)


def test_a_pipeline_is_answered_in_order_and_recovers_from_an_error(postgres, run_proxy):
    proxy = run_proxy(postgres, max_server_connections=1)
    connection = proxy.connect(prepare_threshold=0)
    for _ in range(3):
        with connection.pipeline() as pipeline:
            cursors = [connection.execute("select %s::int", (number,)) for number in range(50)]
            pipeline.sync()
            assert [cursor.fetchone() for cursor in cursors] == [(number,) for number in range(50)]
        with pytest.raises(psycopg.errors.DivisionByZero), connection.pipeline():
            connection.execute("select 1/%s::int", (0,))
            connection.execute("select 1/%s::int", (1,))
        assert connection.execute("select 1/%s::int", (1,)).fetchone() == (1,)


def test_copy_in_and_out_also_when_it_fails_halfway(postgres, run_proxy):
    proxy = run_proxy(postgres, max_server_connections=1)
    connection = proxy.connect()
    connection.execute("drop table if exists copied; create table copied (number int, content text)")
    content = "x" * 1000
    with connection.cursor() as cursor:
        with cursor.copy("copy copied from stdin") as copy:
            for number in range(2000):
                copy.write_row((number, content))
        with cursor.copy("copy copied to stdout") as copy:
            assert sum(len(bytes(block)) for block in copy) > 2000 * 1000
    with (
        pytest.raises(psycopg.errors.InvalidTextRepresentation),
        connection.cursor() as cursor,
        cursor.copy("copy copied from stdin") as copy,
    ):
        for _ in range(5000):
            copy.write_row(("not a number", content))
    assert connection.execute("select count(*) from copied").fetchone() == (2000,)


def test_large_rows_and_large_parameters_pass_at_bounded_memory(postgres, run_proxy):
    proxy = run_proxy(postgres, max_server_connections=1)
    connection = proxy.connect()
    content = b"z" * 20_000_000
    assert connection.execute("select length(%b::bytea)", (content,)).fetchone() == (len(content),)
    row = connection.execute("select repeat('y', 30000000)").fetchone()
    assert row is not None
    assert len(row[0]) == 30_000_000
    assert all(client["kept_bytes"] < 1_000_000 for client in proxy.admin("clients"))


def test_a_cancel_request_ends_the_statement_that_runs_and_no_other(postgres, run_proxy):
    proxy = run_proxy(postgres, max_server_connections=2)
    connection, other = proxy.connect(), proxy.connect()
    cancelled: list[BaseException] = []

    def sleep() -> None:
        try:
            connection.execute("select pg_sleep(30)")
        except psycopg.errors.QueryCanceled as error:
            cancelled.append(error)

    thread = threading.Thread(target=sleep)
    thread.start()
    while not any(server["activity"] == "running" for server in proxy.admin("servers")):
        pass
    connection.cancel_safe()
    thread.join(10)
    assert len(cancelled) == 1
    assert connection.execute("select 1").fetchone() == (1,)
    assert other.execute("select 2").fetchone() == (2,)


def test_a_wrong_password_is_refused_like_an_unknown_user(postgres, run_proxy):
    proxy = run_proxy(postgres)
    texts = []
    for user in (proxy.user, "nobody"):
        with pytest.raises(psycopg.OperationalError) as caught:
            psycopg.connect(host=proxy.host, port=proxy.port, user=user, password="wrong", dbname=proxy.database)
        texts.append(str(caught.value).replace(user, "USER"))
    assert "password authentication failed" in texts[0]
    assert texts[0] == texts[1]


def test_an_unknown_database_is_refused_in_the_servers_words(postgres, run_proxy):
    proxy = run_proxy(postgres)
    with pytest.raises(psycopg.OperationalError, match='database "nowhere" does not exist'):
        psycopg.connect(proxy.url, dbname="nowhere")
