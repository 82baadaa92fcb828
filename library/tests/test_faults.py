"""What the handler sees, per driver and server, when the connection or the server fails under it."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager

import pytest
import warmline

SERVER_ID = {"postgres": "SELECT pg_backend_pid()", "mysql": "SELECT CONNECTION_ID()"}


def one_row(client):
    with client.connection() as run:
        return run("SELECT 1")


@contextmanager
def meanwhile(action):
    """Run *action* in a thread beside the block; raise what it raised."""
    raised = []

    def run():
        try:
            action()
        except BaseException as error:  # noqa: BLE001 - handed to the test's thread
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    assert not raised, raised


def test_killed_while_idle_is_not_noticed_by_the_handler(client, kill):
    assert one_row(client) == [(1,)]
    kill()
    assert one_row(client) == [(1,)]
    assert client.kinds() == ["connect first", "discard server-closed", "connect server-closed"]


def test_the_servers_idle_timeout_is_not_noticed_by_the_handler(pair, keep_server, open_client, wait_until_closed):
    settings = {"idle_session_timeout": "200ms"} if pair[1] == "postgres" else {"wait_timeout": 1}
    server = keep_server(pair[1], settings=settings)
    client = open_client(pair[0], server.url)
    assert one_row(client) == [(1,)]
    wait_until_closed(client)
    assert one_row(client) == [(1,)]
    assert client.kinds()[1:] == ["discard server-closed", "connect server-closed"]


def test_killed_between_two_statements_says_that_the_second_did_not_run(client, kill, ids):
    with pytest.raises(warmline.NotSent) as caught, client.connection() as run:
        run("INSERT INTO ledger VALUES (1, 10)")
        kill()
        run("INSERT INTO ledger VALUES (2, 10)")
    assert ids() == [1]
    assert not caught.value.retryable, "the first statement of the block is in the database"
    assert caught.value.__cause__ is not None


def test_killed_before_the_first_statement_of_a_block_may_be_retried(client, kill, ids):
    with pytest.raises(warmline.NotSent) as caught, client.connection() as run:
        kill()
        run("INSERT INTO ledger VALUES (1, 10)")
    assert caught.value.retryable
    assert ids() == []


def test_killed_in_a_transaction_says_that_all_of_it_is_rolled_back(client, kill, ids):
    with pytest.raises(warmline.TransactionLost) as caught, client.transaction() as run:
        run("INSERT INTO ledger VALUES (1, 10)")
        kill()
        run("INSERT INTO ledger VALUES (2, 10)")
    assert caught.value.retryable
    assert ids() == []


def test_killed_just_before_commit_says_that_all_of_it_is_rolled_back(client, kill, ids):
    with pytest.raises(warmline.TransactionLost), client.transaction() as run:
        run("INSERT INTO ledger VALUES (1, 10)")
        kill()
    assert ids() == []


def test_a_caught_loss_in_a_transaction_is_still_an_error_at_its_end(client, kill, ids):
    with pytest.raises(warmline.TransactionLost), client.transaction() as run:
        run("INSERT INTO ledger VALUES (1, 10)")
        kill()
        with pytest.raises(Exception):  # noqa: B017, PT011 - each driver has its own class
            run("INSERT INTO ledger VALUES (2, 10)")
    assert ids() == []


def test_run_replays_a_transaction_that_was_lost_and_applies_it_once(client, kill, ids):
    tries = []

    def transfer(run):
        tries.append(len(tries))
        run(f"INSERT INTO ledger VALUES (1, {len(tries)})")
        if len(tries) == 1:
            kill()
        run("INSERT INTO ledger VALUES (2, 10)")
        return "done"

    assert client.run(transfer) == "done"
    assert tries == [0, 1]
    assert ids() == [1, 2]
    assert "replay failed" in client.kinds()


def test_killed_while_a_statement_runs_leaves_its_outcome_unknown(client, kill, running, sleep_sql, wait_until):
    def kill_it():
        wait_until(lambda: running("leep("), what="the statement runs")
        kill()

    with meanwhile(kill_it), pytest.raises(warmline.OutcomeUnknown) as caught, client.connection() as run:
        run(sleep_sql(30))
    assert not caught.value.retryable
    assert type(caught.value) is warmline.OutcomeUnknown
    assert one_row(client) == [(1,)]


def test_killed_while_a_statement_of_a_transaction_runs_rolls_back(  # noqa: PLR0913, PLR0917 - fixtures
    client, kill, running, sleep_sql, wait_until, ids
):
    def kill_it():
        wait_until(lambda: running("leep("), what="the statement runs")
        kill()

    with meanwhile(kill_it), pytest.raises(warmline.TransactionLost), client.transaction() as run:
        run("INSERT INTO ledger VALUES (1, 10)")
        run(sleep_sql(30))
    assert ids() == []


def test_a_path_that_falls_silent_on_commit_leaves_the_commit_unknown(pair, server, path, open_client, ids):
    way = path(server)
    client = open_client(pair[0], way.url(server.url))
    with pytest.raises(warmline.CommitUnknown) as caught, client.invocation(1500), client.transaction() as run:
        run("INSERT INTO ledger VALUES (1, 10)")
        way.silent_on = b"COMMIT"
    assert not caught.value.retryable
    assert ids() == []


def test_run_never_replays_a_commit_that_may_have_worked(pair, server, path, open_client):
    way = path(server)
    client = open_client(pair[0], way.url(server.url))
    tries = []

    def transfer(run):
        tries.append(1)
        run("INSERT INTO ledger VALUES (1, 10)")
        way.silent_on = b"COMMIT"

    with pytest.raises(warmline.CommitUnknown), client.invocation(1500):
        client.run(transfer)
    assert len(tries) == 1


def test_a_silent_path_holds_a_statement_no_longer_than_the_invocation(pair, server, path, open_client):
    way = path(server)
    client = open_client(pair[0], way.url(server.url))
    # asyncpg prepares a statement first, and knows that it came no further; mysqlclient counts whole seconds to cancel
    outcome = warmline.DeadlineExceeded if pair[0] == "asyncpg" else warmline.OutcomeUnknown
    start_s = time.monotonic()
    with pytest.raises(outcome), client.invocation(1200), client.connection() as run:
        run("SELECT 1")
        way.silent = True
        run("INSERT INTO ledger VALUES (1, 10)")
    assert time.monotonic() - start_s < 1.2 + (1.5 if pair[0] == "mysqlclient" else 0.5)
    assert client.db.stats()["open"] == 0


def test_a_silent_path_is_found_by_a_ping_after_a_long_idle_time(pair, server, path, open_client):
    way = path(server)
    client = open_client(pair[0], way.url(server.url), ping_after_s=0)
    assert one_row(client) == [(1,)]
    way.silent = True
    with pytest.raises(warmline.NotSent), client.invocation(1000):
        one_row(client)
    assert "ping idle-long" in client.kinds()
    assert "discard ping-failed" in client.kinds()
    way.silent = False
    assert one_row(client) == [(1,)]


def test_at_the_deadline_the_statement_is_cancelled_on_the_server(client, running, sleep_sql):
    start_s = time.monotonic()
    with pytest.raises(warmline.DeadlineExceeded) as caught, client.invocation(1000), client.connection() as run:
        run(sleep_sql(30))
        run("SELECT 1")  # MariaDB and MySQL may answer an interrupted SLEEP with a row
    assert time.monotonic() - start_s < 1.0 + 0.5
    assert running("leep(") == []
    assert caught.value.remaining_s < 0.5
    assert one_row(client) == [(1,)]


def test_without_time_left_nothing_is_begun(client, server, ids):
    with client.connection() as run:
        run("SELECT 1")
    with server.observer() as observer:
        with pytest.raises(warmline.DeadlineExceeded) as caught, client.invocation(100), client.connection() as run:
            run("INSERT INTO ledger VALUES (1, 10)")
        assert observer.counts().opened == 0
    assert caught.value.retryable
    assert ids() == []


def test_a_refusal_by_the_limit_is_retried_until_a_connection_is_free(quick_pair, keep_server, open_client):
    server = keep_server(quick_pair[1], max_connections=1)
    holder = open_client("psycopg" if quick_pair[1] == "postgres" else "pymysql", server.url)
    client = open_client(quick_pair[0], server.url)
    refused = threading.Event()
    client.db._events._callback = lambda event: refused.set() if event.kind is warmline.Kind.RETRY else None

    with holder.connection():
        done = threading.Event()

        def free_it():
            assert refused.wait(20)
            done.wait(0.05)
            holder_free.set()

        holder_free = threading.Event()
        thread = threading.Thread(target=free_it)
        thread.start()
        result = []
        other = threading.Thread(target=lambda: result.append(one_row(client)))
        other.start()
        assert holder_free.wait(20)
    holder.close()
    other.join()
    thread.join()
    assert result == [[(1,)]]
    assert client.db.stats()["refuses"] >= 1


def test_a_refusal_that_lasts_is_named_with_its_count(quick_pair, keep_server, open_client):
    server = keep_server(quick_pair[1], max_connections=1)
    holder = open_client("psycopg" if quick_pair[1] == "postgres" else "pymysql", server.url)
    client = open_client(quick_pair[0], server.url, connect_budget_s=0.5)
    with holder.connection(), pytest.raises(warmline.TooManyConnections) as caught:
        one_row(client)
    assert caught.value.retryable
    assert caught.value.refusals >= 2
    assert str(caught.value.refusals) in str(caught.value)


def test_a_wrong_password_is_named_and_not_shown(pair, server, open_client):
    client = open_client(pair[0], server.url, auth=lambda: "wr0ng-passw0rd")
    with pytest.raises(warmline.AuthRejected) as caught:
        one_row(client)
    assert "wr0ng-passw0rd" not in f"{caught.value} {caught.value.__cause__!r} {client.events} {client.db!r}"
    assert not caught.value.retryable


def test_a_rotated_password_is_fetched_again_once(pair, server, open_client):
    right = server.url.split("@")[0].rsplit(":", 1)[1]
    answers = ["outdated", right]
    client = open_client(pair[0], server.url, auth=lambda: answers.pop(0))
    assert one_row(client) == [(1,)]
    assert answers == []


def test_a_server_that_turned_read_only_is_left_for_a_new_connection(pair, keep_server, open_client):
    server = keep_server(pair[1])
    client = open_client(pair[0], server.url)
    with client.connection() as run:
        table = f"t_{pair[0].replace('-', '_')}"
        run(f"CREATE TABLE {table} (a INT)")
    if pair[1] == "postgres":
        turn, back = "ALTER DATABASE app SET default_transaction_read_only = on", "ALTER DATABASE app RESET ALL"
    else:
        turn, back = "SET GLOBAL read_only = 1", "SET GLOBAL read_only = 0"
    server.query(turn)
    try:
        if pair[1] == "postgres":  # where only new sessions follow
            client.close()
        with pytest.raises(warmline.ReadOnlyServer) as caught, client.connection() as run:
            run(f"INSERT INTO {table} VALUES (1)")
    finally:
        server.query(back)
    assert caught.value.retryable
    assert "discard read-only-server" in client.kinds()


def test_a_restart_between_invocations_is_not_noticed_by_the_handler(quick_pair, keep_server, open_client):
    server = keep_server(quick_pair[1])
    client = open_client(quick_pair[0], server.url)
    assert one_row(client) == [(1,)]
    server.restart()
    assert one_row(client) == [(1,)]


def test_a_server_that_is_down_is_named_with_its_address(quick_pair, keep_server, open_client):
    server = keep_server(quick_pair[1])
    client = open_client(quick_pair[0], server.url, connect_budget_s=0.3)
    assert one_row(client) == [(1,)]
    server.kill()
    try:
        with pytest.raises(warmline.NotSent) as caught:
            one_row(client)
    finally:
        server.restart()
    assert f"127.0.0.1:{server.port}" in str(caught.value)
    assert caught.value.retryable


def test_a_frozen_server_holds_a_connect_no_longer_than_the_invocation(quick_pair, keep_server, open_client):
    server = keep_server(quick_pair[1])
    client = open_client(quick_pair[0], server.url)
    server.freeze()
    start_s = time.monotonic()
    try:
        with pytest.raises(warmline.NotSent), client.invocation(1000):
            one_row(client)
    finally:
        server.thaw()
    assert time.monotonic() - start_s < 1.0 + 1.0


def test_a_forked_child_leaves_its_parents_connection_alone(client):
    import os  # noqa: PLC0415 - only here

    with client.connection() as run:
        mine = run(SERVER_ID[client.family])
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if client.is_async:
                client.db._loop = None
            with client.connection() as run:
                theirs = run(SERVER_ID[client.family])
            client.close()
            os.write(write, b"same" if theirs == mine else b"other")
        except BaseException as error:  # noqa: BLE001 - told to the parent
            os.write(write, repr(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 1000) == b"other"
    os.close(read)
    os.close(write)
    with client.connection() as run:
        assert run(SERVER_ID[client.family]) == mine
