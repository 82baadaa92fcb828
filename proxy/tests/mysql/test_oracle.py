"""Random statement streams of several clients give through the proxy what they give directly."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pymysql
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from warmline_toolkit.servers import Server

    from conftest import Proxy

CLIENTS = 4
STEPS = 150

# Each client has its own table: what one does never waits for another's lock.
READS = [
    "SELECT * FROM t{n} ORDER BY a",
    "SELECT COUNT(*), MAX(b) FROM t{n}",
    "SELECT @x, @y",
    "SELECT LAST_INSERT_ID()",
    "SELECT DATABASE()",
    "SELECT @@sql_mode, @@time_zone, @@sql_select_limit, @@autocommit, @@lc_time_names",
    "SELECT @@character_set_client, @@collation_connection, @@character_set_results",
    "SELECT DATE_FORMAT('2026-01-02', '%%W %%M')",
    'SELECT "a" || "b"',
    "SELECT 1/0",
    "SELECT 1; SELECT 'two' AS b; SELECT COUNT(*) FROM t{n}",
    "SHOW VARIABLES LIKE 'sql_safe_updates'",
    "SELECT IS_USED_LOCK('lock{n}') IS NULL",
]
WRITES = [
    "INSERT INTO t{n}(b) VALUES ('{word}')",
    "INSERT INTO t{n}(b) VALUES ('{word}'), ('{word}')",
    "INSERT INTO t{n}(a, b) VALUES ({unused}, 'given')",
    "UPDATE t{n} SET b = '{word}' WHERE a <= {number}",
    "UPDATE t{n} SET b = b",
    "DELETE FROM t{n} WHERE a = {number}",
    "REPLACE INTO t{n}(a, b) VALUES ({unused}, 'replaced')",
    "INSERT INTO t{n}(b) SELECT b FROM t{n} LIMIT 2",
]
TRANSACTIONS = ["BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT s", "ROLLBACK TO s", "START TRANSACTION READ ONLY", "COMMIT"]
STATE = [
    "SET sql_mode='ANSI_QUOTES'",
    "SET sql_mode='ANSI,STRICT_ALL_TABLES'",
    "SET sql_mode=DEFAULT",
    "SET time_zone='+0{digit}:00'",
    "SET sql_select_limit={digit}",
    "SET sql_select_limit=DEFAULT",
    "SET lc_time_names='de_DE', sql_safe_updates=1",
    "SET NAMES latin1",
    "SET NAMES utf8mb4 COLLATE utf8mb4_bin",
    "SET autocommit=0",
    "SET autocommit=1",
    "SET @x={number}, @y='{word}'",
    "SELECT @x:={number}",
    "USE other",
    "USE app",
    "CREATE TEMPORARY TABLE private{n}(a INT)",
    "INSERT INTO private{n} VALUES ({number})",
    "SELECT * FROM private{n}",
    "DROP TEMPORARY TABLE private{n}",
    "SELECT GET_LOCK('lock{n}', 0)",
    "SELECT RELEASE_LOCK('lock{n}')",
    "PREPARE p FROM 'SELECT {number}'",
    "EXECUTE p",
    "DEALLOCATE PREPARE p",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET TRANSACTION READ ONLY",
    "CALL changes({number})",
]
ERRORS = [
    "SELEKT",
    "SELECT * FROM nowhere",
    "INSERT INTO t{n}(a, b) VALUES (1, 'one'), (1, 'again')",
    "SET sql_mode='NO_SUCH'",
]
RESETS = ["reset", "ping"]


def stream(seed: int) -> list[tuple[int, str]]:
    choose = random.Random(seed)  # noqa: S311 - a repeatable stream, no secret
    steps = []
    for _ in range(STEPS):
        kind = choose.choices([READS, WRITES, TRANSACTIONS, STATE, ERRORS, RESETS], [30, 25, 12, 25, 6, 2])[0]
        client = choose.randrange(CLIENTS)
        sql = choose.choice(kind).format(
            n=client,
            number=choose.randrange(1, 30),
            unused=1000 + choose.randrange(300),
            digit=choose.randrange(1, 9),
            word=choose.choice(["ä", "b", "it''s"]),
        )
        steps.append((client, sql))
    return steps


def perform(client: pymysql.Connection, sql: str) -> Any:
    """Everything that the protocol says in answer."""
    try:
        if sql == "reset":
            client._execute_command(0x1F, b"")
            client._read_ok_packet()
            return "reset"
        if sql == "ping":
            client.ping(reconnect=False)
            return "ping"
        with client.cursor() as cursor:
            results = []
            cursor.execute(sql)
            while True:
                warnings = client._result.warning_count
                results.append((cursor.rowcount, cursor.lastrowid, cursor.description, cursor.fetchall(), warnings))
                if not cursor.nextset():
                    return results, client.server_status & 0x1
    except pymysql.MySQLError as error:
        return type(error).__name__, error.args[0]
    except UnicodeDecodeError:
        return "undecodable: PyMySQL does not follow SET NAMES"


def prepare_tables(server: Server) -> None:
    with (
        pymysql.connect(
            host=server.host,
            port=server.port,
            user=server.user,
            password=server.password,
            database="app",
            autocommit=True,
        ) as client,
        client.cursor() as cursor,
    ):
        for database in ("app", "other"):
            cursor.execute(f"USE {database}")
            cursor.execute("DROP PROCEDURE IF EXISTS changes")
            cursor.execute("CREATE PROCEDURE changes(n INT) BEGIN SET sql_select_limit = n; SELECT n; END")
            for n in range(CLIENTS):
                cursor.execute(f"DROP TABLE IF EXISTS t{n}")
                cursor.execute(
                    f"CREATE TABLE t{n}(a INT PRIMARY KEY AUTO_INCREMENT, b VARCHAR(20)) CHARACTER SET utf8mb4"
                )
                cursor.execute(f"INSERT INTO t{n}(b) VALUES ('{database}')")


def run(connect: Callable[..., pymysql.Connection], server: Server, steps: list[tuple[int, str]]) -> list[Any]:
    prepare_tables(server)
    flags = pymysql.constants.CLIENT.MULTI_STATEMENTS
    clients = [connect(client_flag=flags) for _ in range(CLIENTS)]
    try:
        return [(client, sql, perform(clients[client], sql)) for client, sql in steps]
    finally:
        for client in clients:
            client.close()


@pytest.mark.parametrize("seed", range(6))
def test_a_random_stream_of_several_clients_gives_what_it_gives_directly(
    server: Server, start_proxy: Callable[..., Proxy], seed: int
) -> None:
    proxy = start_proxy(server, max_server_connections=CLIENTS)
    steps = stream(seed)

    def direct(**settings: Any) -> pymysql.Connection:
        return proxy.connect(host=server.host, port=server.port, **settings)

    expected = run(direct, server, steps)
    found = run(proxy.connect, server, steps)
    for number, (one, other) in enumerate(zip(expected, found, strict=True)):
        history = [sql for client, sql in steps[: number + 1] if client == one[0]][-12:]
        assert other == one, f"step {number} of seed {seed}; this client's last statements: {history}"
    assert len({step[1] for step in steps}) > STEPS / 3
