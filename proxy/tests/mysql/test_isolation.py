"""No state of one client is ever visible to another, whatever it left behind and however it left."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pymysql
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from warmline_toolkit.servers import Server

    from conftest import Proxy

# What a client may do to its session; each is one client's whole life.
LEGACIES = {
    "system variables": ["SET sql_mode='ANSI_QUOTES', time_zone='+03:00', sql_select_limit=2, lc_time_names='de_DE'"],
    "character set": ["SET NAMES latin1 COLLATE latin1_german1_ci"],
    "character set alone": ["SET CHARACTER SET latin1"],
    "null results": ["SET character_set_results=NULL"],
    "isolation": ["SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SET SESSION TRANSACTION READ ONLY"],
    "next transaction": ["SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED"],
    "autocommit": ["SET autocommit=0", "INSERT INTO t(b) VALUES ('x')"],
    "user variables": ["SET @a=1", "SELECT @b:=2", "SELECT 5 INTO @c"],
    "temporary table": ["CREATE TEMPORARY TABLE hidden SELECT 1 AS a"],
    "temporary table over another": ["CREATE TEMPORARY TABLE t(a INT)"],
    "named lock": ["SELECT GET_LOCK('mine', 0)"],
    "table lock": ["LOCK TABLES t WRITE"],
    "global read lock": ["FLUSH TABLES t WITH READ LOCK"],
    "open transaction": ["BEGIN", "INSERT INTO t(b) VALUES ('uncommitted')"],
    "savepoint": ["BEGIN", "SAVEPOINT s"],
    "handler": ["HANDLER t OPEN"],
    "sql prepare": ["PREPARE p FROM 'SELECT 1'"],
    "timestamp": ["SET timestamp=1000000000"],
    "insert id": ["SET insert_id=4711"],
    "last insert id": ["INSERT INTO t(b) VALUES ('y')", "SELECT LAST_INSERT_ID(99)"],
    "found rows": ["SELECT SQL_CALC_FOUND_ROWS * FROM t LIMIT 1"],
    "warnings": ["SELECT 1/0"],
    "error": ["SELECT * FROM nowhere"],
    "random seed": ["SET rand_seed1=1, rand_seed2=2"],
    "database": ["USE other"],
    "variables within a routine": ["CALL leaves_variables()"],
    "trackers off": [
        "SET session_track_system_variables='', session_track_schema=OFF",
        "SET sql_mode='ANSI'",
        "USE other",
    ],
    "trackers off and on": ["SET SESSION session_track_state_change=OFF", "SET @hidden=1"],
    "large": ["SET @big='" + "x" * 300_000 + "'"],
    "versioned comment": ["/*!50000 SET @hidden=1 */"],
    "commented": ["/* SELECT */ SET /* x */ @hidden = 1"],
    "several at once": ["SET @hidden=1; SET sql_mode='ANSI'; USE other"],
}
ENDINGS = ["quit", "cut", "stay"]


def fingerprint(client: pymysql.Connection) -> dict[str, Any]:
    """All that a session can tell about its own state."""
    with client.cursor() as cursor:

        def ask(sql: str) -> Any:
            try:
                cursor.execute(sql)
                return cursor.fetchall()
            except pymysql.MySQLError as error:
                if error.args[0] == 9501:
                    raise
                return type(error).__name__, error.args[0]

        seen = {
            "last insert id": ask("SELECT LAST_INSERT_ID()"),
            "warnings": ask("SHOW WARNINGS"),
            "user variables": ask("SELECT @a, @b, @c, @hidden, @big"),
            "database": ask("SELECT DATABASE()"),
            "t": ask("SELECT COUNT(*) FROM app.t WHERE b = 'uncommitted'"),
            "columns of t": ask("SELECT b FROM t LIMIT 0"),
            "hidden": ask("SELECT * FROM hidden"),
            "prepared": ask("EXECUTE p"),
            "handler": ask("HANDLER t READ FIRST"),
            "lock": ask("SELECT IS_FREE_LOCK('mine')"),
            "write": ask("UPDATE t SET b='z' WHERE a=-1"),
            "now": ask("SELECT ABS(UNIX_TIMESTAMP() - UNIX_TIMESTAMP(SYSDATE())) < 5"),
        }
        schema = "performance_schema" if "MariaDB" not in client.get_server_info() else "information_schema"
        cursor.execute(f"SELECT LOWER(variable_name), variable_value FROM {schema}.session_variables")
        noise = {
            "timestamp",
            "statement_id",
            "pseudo_thread_id",
            "rand_seed1",
            "rand_seed2",
            "last_gtid",
            "in_transaction",
        }
        noise |= {name for name, _ in cursor.fetchall() if name.startswith(("gtid", "innodb_", "wsrep"))}
        cursor.execute(f"SELECT LOWER(variable_name), variable_value FROM {schema}.session_variables")
        return seen | {name: value for name, value in cursor.fetchall() if name not in noise}


@pytest.fixture
def one_server_connection(server: Server, start_proxy: Callable[..., Proxy]) -> Proxy:
    with (
        pymysql.connect(
            host=server.host, port=server.port, user=server.user, password=server.password, database="app"
        ) as client,
        client.cursor() as cursor,
    ):
        for sql in (
            "DROP TABLE IF EXISTS t",
            "CREATE TABLE t(a INT PRIMARY KEY AUTO_INCREMENT, b VARCHAR(20))",
            "DROP PROCEDURE IF EXISTS leaves_variables",
            "CREATE PROCEDURE leaves_variables() BEGIN SET sql_mode='ANSI'; SET @hidden=1; END",
        ):
            cursor.execute(sql)
    return start_proxy(server, max_server_connections=1, connection_borrow_timeout_s=0.3)


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_next_client_finds_a_session_like_new_whatever_the_last_one_left(
    one_server_connection: Proxy, ending: str
) -> None:
    proxy = one_server_connection
    flags = pymysql.constants.CLIENT.MULTI_STATEMENTS
    with proxy.connect(client_flag=flags) as first:
        expected = fingerprint(first)
    for name, statements in LEGACIES.items():
        before = proxy.connect(client_flag=flags)
        with before.cursor() as cursor:
            for sql in statements:
                with suppress(pymysql.MySQLError):
                    cursor.execute(sql)
                    while cursor.nextset():
                        pass
        if ending == "quit":
            before.close()
        elif ending == "cut":
            before._force_close()
        try:
            with proxy.connect(client_flag=flags) as after:
                found = fingerprint(after)
        except pymysql.OperationalError as error:
            # Somebody who stays and is pinned keeps the only server connection: nothing can be seen.
            if (ending, error.args[0]) != ("stay", 9501):
                raise
            continue
        finally:
            if ending == "stay":
                before.close()
        different = {key: (expected[key], found[key]) for key in expected if found[key] != expected[key]}
        assert not different, f"after {name} ({ending})"


def test_two_clients_that_take_turns_on_one_connection_each_keep_their_own_settings(
    one_server_connection: Proxy,
) -> None:
    proxy = one_server_connection
    states = [
        "SET time_zone='+01:00'",
        "SET sql_mode='ANSI', sql_select_limit=7",
        "SET NAMES latin1 COLLATE latin1_german1_ci, lc_time_names='de_DE'",
        "USE other",
        "SET autocommit=0",
    ]
    probe = (
        "SELECT @@time_zone, @@sql_mode, @@sql_select_limit, @@character_set_client, @@collation_connection,"
        " @@lc_time_names, DATABASE(), @@autocommit"
    )
    clients = [proxy.connect() for _ in states]
    expected = []
    for client, state in zip(clients, states, strict=True):
        with client.cursor() as cursor:
            cursor.execute(state)
            cursor.execute(probe)
            expected.append(cursor.fetchall())
    assert len(set(expected)) == len(states)
    for _ in range(3):
        for client, own in zip(clients, expected, strict=True):
            with client.cursor() as cursor:
                cursor.execute(probe)
                assert cursor.fetchall() == own
    assert len(proxy.admin("servers")) == 1
    for client in clients:
        client.close()
