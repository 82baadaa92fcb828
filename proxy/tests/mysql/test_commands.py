"""Commands, failures and hostile clients, on real servers through the real daemon."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

import pymysql
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from warmline_toolkit.servers import Server

    from conftest import Proxy


def ask(client: pymysql.Connection, sql: str, *arguments: Any) -> Any:
    with client.cursor() as cursor:
        cursor.execute(sql, arguments or None)
        return cursor.fetchall()


def server_thread(client: pymysql.Connection) -> int:
    """The server's number for the connection that serves *client* now (a bare CONNECTION_ID() is the proxy's own)."""
    return ask(client, "SELECT CONNECTION_ID() + 0")[0][0]


def prepare(client: pymysql.Connection, sql: str) -> bytes:
    client._execute_command(0x16, sql)
    first = client._read_packet()
    data = first.get_all_data()
    definitions = [int.from_bytes(data[7:9], "little"), int.from_bytes(data[5:7], "little")]
    for count in definitions:
        for _ in range(count + 1 if count else 0):
            client._read_packet()
    return data[1:5]


def execute(client: pymysql.Connection, statement: bytes, value: int, *, types: bool) -> int:
    bound = b"\x01\x08\x00" if types else b"\x00"
    client._execute_command(0x17, statement + b"\x00\x01\0\0\0" + b"\0" + bound + value.to_bytes(8, "little"))
    columns = client._read_packet().get_all_data()[0]
    for _ in range(columns + 1):
        client._read_packet()
    row = client._read_packet().get_all_data()
    client._read_packet()
    return int.from_bytes(row[2:10], "little")


def test_a_prepared_statement_works_on_a_server_connection_that_never_saw_it_or_its_types(proxy: Proxy) -> None:
    first, second = proxy.connect(), proxy.connect()
    statement = prepare(first, "SELECT CAST(? AS SIGNED) + 1")
    other = prepare(second, "SELECT CAST(? AS SIGNED) * 10")
    assert execute(first, statement, 4, types=True) == 5
    assert execute(second, other, 4, types=True) == 40
    before = server_thread(first)
    # While the second holds the connection that knows the statement, the first gets another, and sends no types.
    ask(second, "BEGIN")
    assert server_thread(second) == before
    assert execute(first, statement, 41, types=False) == 42
    assert server_thread(first) != before
    ask(second, "ROLLBACK")
    assert execute(second, other, 5, types=False) == 50
    for client in (first, second):
        client.close()


def test_a_statement_closed_by_one_client_stays_with_another(proxy: Proxy) -> None:
    first, second = proxy.connect(), proxy.connect()
    ones, twos = (prepare(client, "SELECT CAST(? AS SIGNED) + 2") for client in (first, second))
    first._execute_command(0x19, ones)
    assert execute(second, twos, 1, types=True) == 3
    first._execute_command(0x17, ones + b"\x00\x01\0\0\0\0\x01\x08\0" + bytes(8))
    with pytest.raises(pymysql.MySQLError) as caught:
        first._read_packet()
    assert caught.value.args[0] == 1243
    for client in (first, second):
        client.close()


def test_packets_of_more_than_sixteen_megabytes_pass_both_ways(proxy: Proxy) -> None:
    with proxy.connect(max_allowed_packet=64 << 20) as client:
        text = "a" * (17 << 20)
        ((length, same),) = ask(client, "SELECT LENGTH(%s), %s", text, text)
        assert (length, same == text) == (len(text), True)


def test_load_data_local_sends_the_clients_file(proxy: Proxy, tmp_path: Path) -> None:
    file = tmp_path / "rows.txt"
    file.write_text("1\tone\n2\ttwo\n")
    with proxy.connect(local_infile=True) as client:
        ask(client, "CREATE OR REPLACE TABLE loaded(a INT, b TEXT)") if "Maria" in client.get_server_info() else None
        ask(client, "CREATE TABLE IF NOT EXISTS loaded(a INT, b TEXT)")
        ask(client, "DELETE FROM loaded")
        ask(client, f"LOAD DATA LOCAL INFILE '{file}' INTO TABLE loaded")
        assert ask(client, "SELECT * FROM loaded ORDER BY a") == ((1, "one"), (2, "two"))


def test_clients_within_their_transactions_use_one_connection_each_and_outside_share(proxy: Proxy) -> None:
    clients = [proxy.connect() for _ in range(8)]
    assert len({server_thread(client) for client in clients}) == 1
    for client in clients[:3]:
        ask(client, "BEGIN")
    assert len({server_thread(client) for client in clients[:3]}) == 3
    for client in clients[:3]:
        ask(client, "COMMIT")
    assert len({server_thread(client) for client in clients}) == 1
    for client in clients:
        client.close()


def test_a_client_can_kill_what_another_runs_by_the_number_that_it_was_given(proxy: Proxy) -> None:
    with proxy.connect() as victim, proxy.connect() as killer:
        (number,) = ask(victim, "SELECT CONNECTION_ID()")[0]
        assert number == victim.thread_id()
        outcome: list[Any] = []

        def run() -> None:
            try:
                outcome.append(ask(victim, "SELECT SLEEP(30) FROM (SELECT 1) AS one"))
            except pymysql.MySQLError as error:
                outcome.append(error.args[0])

        thread = threading.Thread(target=run)
        thread.start()
        running = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP(30)%'"
        while ask(killer, running) != ((1,),):
            pass
        ask(killer, f"KILL QUERY {number}")
        thread.join(15)
        assert outcome in ([1317], [((1,),)])
        assert ask(victim, "SELECT 'alive'") == (("alive",),)


def test_a_killed_server_connection_is_the_error_that_drivers_know_and_costs_one_client(proxy: Proxy) -> None:
    with proxy.connect() as bystander:
        victim = proxy.connect()
        ask(victim, "BEGIN")
        ask(bystander, f"KILL {server_thread(victim)}")
        with pytest.raises(pymysql.OperationalError) as caught:
            ask(victim, "SELECT 1")
        assert caught.value.args[0] in (2006, 2013)
        assert ask(bystander, "SELECT 1") == ((1,),)
        victim.close()


def test_waiting_too_long_for_a_server_connection_is_an_error_and_not_the_end_of_the_session(
    server: Server, start_proxy: Callable[..., Proxy]
) -> None:
    proxy = start_proxy(server, max_server_connections=1, connection_borrow_timeout_s=0.2)
    with proxy.connect() as waiter, proxy.connect() as holder:
        ask(holder, "BEGIN")
        with pytest.raises(pymysql.MySQLError) as caught:
            ask(waiter, "SELECT 1")
        assert caught.value.args[0] == 9501
        ask(holder, "COMMIT")
        assert ask(waiter, "SELECT 1") == ((1,),)


def test_a_wrong_password_is_refused_as_the_server_refuses_it(proxy: Proxy) -> None:
    for wrong in ({"password": "wrong"}, {"user": "nobody"}, {"password": ""}):
        with pytest.raises(pymysql.OperationalError) as caught:
            proxy.connect(**wrong)
        assert caught.value.args[0] == 1045


def test_a_pin_says_why_and_ends_with_its_cause(proxy: Proxy) -> None:
    with proxy.connect() as client:
        for begin, reason, end in (
            ("SELECT GET_LOCK('a', 0)", "advisory-lock", "SELECT RELEASE_LOCK('a')"),
            ("CREATE TEMPORARY TABLE tmp(a INT)", "temporary-table", "DROP TEMPORARY TABLE tmp"),
            ("PREPARE p FROM 'SELECT 1'", "sql-prepare", "DEALLOCATE PREPARE p"),
            ("LOCK TABLES mine READ", "table-lock", "UNLOCK TABLES"),
        ):
            ask(client, "CREATE TABLE IF NOT EXISTS mine(a INT)")
            ask(client, begin)
            (pin,) = proxy.admin("pins")
            assert pin["reason"] == reason
            ask(client, end)
            assert proxy.admin("pins") == []


@pytest.mark.parametrize(
    "bytes_",
    [
        b"\xff" * 100,
        b"\x00\x00\x00\x01",
        b"\xff\xff\xff\x01" + b"a" * 1000,
        b"\x20\0\0\x01" + b"\0" * 32,
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_login_costs_its_sender_the_connection_and_nobody_else(proxy: Proxy, bytes_: bytes) -> None:
    with proxy.connect() as bystander:
        with socket.create_connection((proxy.host, proxy.port), timeout=15) as hostile:
            hostile.recv(4096)
            hostile.sendall(bytes_)
            hostile.shutdown(socket.SHUT_WR)
            with hostile.makefile("rb") as answer:
                answer.read()
        assert ask(bystander, "SELECT 1") == ((1,),)


def test_malformed_commands_after_login_cost_one_connection_and_nobody_else(proxy: Proxy) -> None:
    with proxy.connect() as bystander:
        for payload in (
            b"",
            b"\x17",
            b"\x16",
            b"\x18\x01",
            b"\x1b",
            b"\x0c\x01",
            b"\x11app",
            b"\x12" + b"x" * 50,
        ):
            hostile = proxy.connect()
            hostile._sock.sendall(len(payload).to_bytes(3, "little") + b"\0" + payload)
            hostile._sock.shutdown(socket.SHUT_WR)
            while hostile._sock.recv(65536):
                pass
            hostile._force_close()
            assert ask(bystander, "SELECT 1") == ((1,),)
