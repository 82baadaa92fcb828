"""The platform's corners on real servers: TLS, a loop for each invocation, stale snapshots, a stopped process."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import subprocess
import sys

import pymysql
import pytest
import warmline

SERVER_ID = {"postgres": "SELECT pg_backend_pid()", "mysql": "SELECT CONNECTION_ID()"}
ENCRYPTED = {
    "postgres": "SELECT ssl::int FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
    "mysql": "SELECT variable_value <> '' FROM information_schema.session_status WHERE variable_name = 'Ssl_cipher'",
}


def test_a_ca_makes_the_connection_encrypted_and_verified(quick_pair, keep_server, open_client):
    server = keep_server(quick_pair[1], tls=True)
    client = open_client(quick_pair[0], server.url, ca_file=str(server.ca_file))
    with client.connection() as run:
        assert run(ENCRYPTED[client.family]) == [(1,)]
    with client.connection() as run:
        assert run("SELECT 1") == [(1,)]
    assert client.kinds() == ["connect first", "reuse alive"]


# an asyncio driver may leave the transport of a failed handshake to the collector
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_server_that_the_ca_did_not_sign_is_refused(quick_pair, keep_server, open_client, tmp_path):
    server = keep_server(quick_pair[1], tls=True)
    other = keep_server("mariadb" if quick_pair[1] == "postgres" else "postgres", tls=True)
    client = open_client(quick_pair[0], server.url, ca_file=str(other.ca_file), connect_budget_s=1.0)
    with pytest.raises(Exception) as caught, client.connection():  # noqa: PT011 - NotSent, or the driver's own
        pass
    chain, error = "", caught.value
    while error is not None:
        chain, error = f"{chain} {error}", error.__cause__ or error.__context__
    assert "certificate" in chain.lower()
    del caught, error
    client.close()
    gc.collect()


# what was left on a closed loop cannot be closed there any more, and says so when it is collected
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("driver", ["asyncmy", "aiomysql", "psycopg-async", "asyncpg"])
def test_an_event_loop_for_each_invocation_works_and_is_warned_of_once(driver, request, open_client, caplog):
    server = request.getfixturevalue("postgres" if driver in ("psycopg-async", "asyncpg") else "mariadb")
    client = open_client(driver, server.url)

    async def handler():
        async with client.db.invocation(), client.db.connection() as connection:
            if driver == "asyncpg":
                return await connection.fetchval("SELECT 1")
            return (await client._execute(connection, "SELECT 1"))[0][0]

    with caplog.at_level(logging.WARNING, "warmline"):
        assert [asyncio.run(handler()) for _ in range(3)] == [1, 1, 1]
    assert [record.name for record in caplog.records] == ["warmline"]
    assert "asyncio.run()" in caplog.text
    assert client.kinds().count("discard other-event-loop") == 2
    client.close()
    gc.collect()


def test_the_handler_of_an_async_database_keeps_its_connection(open_client, postgres):
    db = warmline.AsyncDatabase(postgres.url.replace("postgresql:", "postgresql+asyncpg:"))

    @db.handler
    async def handler(event, context):
        async with db.connection() as connection:
            return await connection.fetchval("SELECT pg_backend_pid()")

    try:
        assert len({handler(None, None) for _ in range(3)}) == 1
    finally:
        db.run_on_loop(db.aclose())
        db.close()


def test_with_autocommit_off_a_warm_connection_does_not_see_new_rows(mariadb):
    """The bug that autocommit prevents, in the bare driver with its default: what the library must differ from."""
    parts = mariadb.url.removeprefix("mysql://").replace("@", ":").replace("/", ":").split(":")
    settings = dict(zip(("user", "password", "host", "port", "database"), parts, strict=True))
    settings["port"] = int(settings["port"])
    warm, other = pymysql.connect(**settings), pymysql.connect(**settings, autocommit=True)
    db = warmline.Database(mariadb.url)

    def count(connection):
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM stale")
            return cursor.fetchone()[0]

    with warm, other:
        other.cursor().execute("DROP TABLE IF EXISTS stale")
        other.cursor().execute("CREATE TABLE stale (a INT)")
        assert count(warm) == 0
        with db.connection() as ours:
            assert count(ours) == 0
        other.cursor().execute("INSERT INTO stale VALUES (1)")
        assert count(warm) == 0
        with db.connection() as ours:
            assert count(ours) == 1
    db.close()


STOPPED = """
import os, signal, sys, warmline
db = warmline.Database(sys.argv[1])
with db.connection() as connection:
    pass
print("ready", flush=True)
sys.stdin.readline()
with db.connection() as connection:
    cursor = connection.cursor()
    cursor.execute("SELECT 1")
    print(cursor.fetchall()[0][0], db.stats()["connects"], flush=True)
"""


@pytest.mark.parametrize("engine", ["mariadb", "postgres"])
def test_a_stopped_process_whose_connection_is_killed_goes_on_with_a_new_one(engine, request):
    server = request.getfixturevalue(engine)
    child = subprocess.Popen(
        [sys.executable, "-c", STOPPED, server.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout.readline() == "ready\n"
        os.kill(child.pid, signal.SIGSTOP)
        with server.observer() as observer:
            assert observer.kill_sessions() >= 1
        os.kill(child.pid, signal.SIGCONT)
        assert child.communicate("go\n")[0] == "1 2\n"


SNAPSHOT = """
import snapshot_restore_py, warmline
from warmline.testing import FakeDriver
driver = FakeDriver()
db = warmline.Database("mysql://app@db/shop", driver=driver)
def use():
    with db.connection():
        pass
use()
for function, arguments, named in reversed(snapshot_restore_py.get_before_snapshot()):
    function(*arguments, **named)
print(driver.opened, driver.closed, db.stats()["open"], db.prewarm())
use()
for function, arguments, named in snapshot_restore_py.get_after_restore():
    function(*arguments, **named)
use()
print(driver.opened)
"""


def test_under_snapstart_the_runtimes_hooks_close_and_renew_everything():
    environment = {**os.environ, "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}
    out = subprocess.run(
        [sys.executable, "-c", SNAPSHOT], capture_output=True, text=True, check=True, env=environment
    ).stdout
    assert out.splitlines() == ["1 1 0 False", "3"]
