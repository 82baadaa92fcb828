"""When something breaks: bounded waits, idle clients kept, the right error, nothing leaked."""

from __future__ import annotations

import socket
import struct
import threading

import psycopg
import pytest
from warmline_toolkit.servers import start


def test_a_wait_beyond_the_borrow_timeout_is_refused_with_the_numbers_and_the_client_goes_on(postgres, run_proxy):
    proxy = run_proxy(postgres, max_server_connections=1, connection_borrow_timeout_s=0.2)
    holder, client = proxy.connect(autocommit=False), proxy.connect()
    holder.execute("select pg_advisory_lock(11)")
    with pytest.raises(
        psycopg.errors.TooManyConnections, match=r"BorrowTimeout: no server connection after 0\.2. s: 1/1"
    ):
        client.execute("select 1")
    holder.execute("select pg_advisory_unlock(11)")
    holder.rollback()
    assert client.execute("select 1").fetchone() == (1,)


def test_clients_are_served_in_the_order_of_their_asking(postgres, run_proxy, wait_for):
    proxy = run_proxy(postgres, max_server_connections=1)
    holder = proxy.connect(autocommit=False)
    holder.execute("drop sequence if exists turns")
    holder.execute("create sequence turns")
    turns: dict[int, int] = {}

    def ask(number: int, client: psycopg.Connection) -> None:
        (turns[number],) = client.execute("select nextval('turns')").fetchone()

    threads = []
    for number in range(6):
        thread = threading.Thread(target=ask, args=(number, proxy.connect()))
        thread.start()
        threads.append(thread)
        wait_for(lambda count=number + 1: proxy.admin("stats")["clients_waiting"] == count, what="it waits")
    holder.commit()
    for thread in threads:
        thread.join(10)
    # There is one server connection, so the sequence counts in the order in which the clients got it.
    assert turns == {number: number + 1 for number in range(6)}


def test_a_killed_backend_ends_its_own_client_and_keeps_the_others(run_proxy):
    with start("postgres", max_connections=10) as server:
        proxy = run_proxy(server)
        busy, idle = proxy.connect(autocommit=False), proxy.connect()
        idle.execute("select 1")
        (number,) = busy.execute("select pg_backend_pid()").fetchone()
        with psycopg.connect(server.admin_url, autocommit=True) as admin:
            admin.execute("select pg_terminate_backend(%s)", (number,))
        with pytest.raises(psycopg.OperationalError):
            busy.execute("select 1")
        assert idle.execute("select 1").fetchone() == (1,)


def test_a_backend_killed_in_an_idle_transaction_closes_its_client_at_once(run_proxy, wait_for):
    with start("postgres", max_connections=10) as server:
        proxy = run_proxy(server)
        client = proxy.connect(autocommit=False)
        (number,) = client.execute("select pg_backend_pid()").fetchone()
        with psycopg.connect(server.admin_url, autocommit=True) as admin:
            admin.execute("select pg_terminate_backend(%s)", (number,))
        wait_for(lambda: proxy.admin("stats")["client_connections"] == 0, what="the client is closed")
        with pytest.raises(psycopg.OperationalError, match="terminating connection due to administrator command"):
            client.execute("select 1")


def test_idle_clients_survive_a_restart_of_the_server(run_proxy):
    with start("postgres", max_connections=10) as server:
        proxy = run_proxy(server)
        clients = [proxy.connect() for _ in range(5)]
        for client in clients:
            client.execute("set work_mem = '6MB'")
        server.restart()
        for client in clients:
            assert client.execute("show work_mem").fetchone() == ("6MB",)


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\x00",
        b"\x00\x00\x00\x00",
        b"\x7f\xff\xff\xff" + b"x" * 100,
        b"\xff" * 64,
        struct.pack(">II", 8, 196608),
        struct.pack(">II", 9, 196608) + b"\0",
        struct.pack(">II", 30, 196608) + b"user\0app\0options\0-c=\0\0"[:22],
        struct.pack(">II", 8, 80877103) + b"injected",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x00\x05hello",
    ],
)
def test_hostile_packets_before_login_cost_one_connection(postgres, run_proxy, packet):
    proxy = run_proxy(postgres, login_timeout_s=0.5)
    with socket.create_connection((proxy.host, proxy.port), timeout=10) as connection:
        connection.sendall(packet)
        while True:
            try:
                if not connection.recv(4096):
                    break
            except ConnectionResetError:
                break
    assert proxy.connect().execute("select 1").fetchone() == (1,)
    assert proxy.admin("stats")["client_connections"] == 1


@pytest.mark.parametrize(
    "packet",
    [
        b"Q\x00\x00\x00\x01",
        b"Q\xff\xff\xff\xff",
        b"p\x00\x00\x00\x08abcd",
        b"\x00\x00\x00\x00\x00",
        b"B\x00\x00\x00\x06ab",
        b"D\x00\x00\x00\x06Xa",
        b"P\x00\x00\x00\x06ab",
        b"C\x00\x00\x00\x04",
    ],
)
def test_hostile_packets_after_login_cost_one_connection_and_no_server_connection(postgres, run_proxy, packet):
    proxy = run_proxy(postgres, max_server_connections=1)
    client = proxy.connect()
    raw = socket.socket(fileno=socket.dup(client.fileno()))
    raw.setblocking(True)
    raw.settimeout(10)
    raw.sendall(packet)
    received = b""
    while block := raw.recv(4096):
        received += block
    raw.close()
    assert b"08P01" in received
    assert proxy.connect().execute("select 1").fetchone() == (1,)


def test_pause_holds_new_statements_and_resume_lets_them_go(postgres, run_proxy, wait_for):
    proxy = run_proxy(postgres)
    client = proxy.connect()
    proxy.admin("pause")
    answers: list[object] = []
    thread = threading.Thread(target=lambda: answers.append(client.execute("select 1").fetchone()))
    thread.start()
    wait_for(lambda: proxy.admin("stats")["clients_waiting"] == 1, what="the statement waits")
    assert answers == []
    proxy.admin("resume")
    thread.join(10)
    assert answers == [(1,)]


def test_drain_lets_a_transaction_finish_and_then_stops(postgres, run_proxy):
    proxy = run_proxy(postgres)
    busy, idle = proxy.connect(autocommit=False), proxy.connect()
    busy.execute("select 1")
    proxy.admin("drain")
    with pytest.raises(psycopg.OperationalError):
        idle.execute("select 1")
    assert busy.execute("select 2").fetchone() == (2,)
    busy.commit()
    assert proxy.process.wait(10) == 0


def test_kill_ends_one_client(postgres, run_proxy):
    proxy = run_proxy(postgres)
    one, other = proxy.connect(application_name="one"), proxy.connect()
    serials = [client["client"] for client in proxy.admin("clients")]
    proxy.admin("kill", client=min(serials))
    with pytest.raises(psycopg.errors.AdminShutdown):
        one.execute("select 1")
    assert other.execute("select 1").fetchone() == (1,)


def test_an_idle_transaction_is_ended_after_its_timeout(postgres, run_proxy):
    proxy = run_proxy(postgres, max_server_connections=1, idle_in_transaction_timeout_s=0.2)
    sleeper, other = proxy.connect(autocommit=False), proxy.connect()
    sleeper.execute("select 1")
    assert other.execute("select 1").fetchone() == (1,)
    with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
        sleeper.execute("select 1")


def test_a_long_statement_is_cancelled_after_its_timeout(postgres, run_proxy):
    proxy = run_proxy(postgres, query_timeout_s=0.2)
    client = proxy.connect()
    with pytest.raises(psycopg.errors.QueryCanceled):
        client.execute("select pg_sleep(30)")
    assert client.execute("select 1").fetchone() == (1,)
