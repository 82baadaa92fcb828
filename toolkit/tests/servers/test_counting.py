"""The limit that was asked for is the limit the users get, and the observer's counts are exact."""

from __future__ import annotations

import socket
import threading

import psycopg
import pymysql
import pytest

LIMIT = {"mariadb": "1040", "mysql": "1040", "postgres": "53300"}
WRONG_PASSWORD = {"mariadb": "1045", "mysql": "1045", "postgres": "28P01"}
NO_DATABASE = {"mariadb": "1044", "mysql": "1044", "postgres": "3D000"}
LIMIT_SAYS = {"mariadb": "1040", "mysql": "1040", "postgres": "remaining connection slots are reserved"}

each_engine = pytest.mark.parametrize("engine", ["mariadb", "mysql", "postgres"])


def until(condition, *, timeout_s: float = 20) -> None:
    """Wait for *condition*; the limit is a hang's, not a measurement."""
    tick = threading.Event()
    for _ in range(int(timeout_s / 0.01)):
        if condition():
            return
        tick.wait(0.01)
    raise AssertionError("the condition never became true")


@each_engine
@pytest.mark.parametrize("limit", [1, 12])
def test_exactly_the_connections_that_were_asked_for_get_in(start_server, clients, engine, limit):
    with start_server(engine, max_connections=limit) as server, server.observer() as observer:
        for _ in range(limit):
            clients.connect(server)
        assert LIMIT_SAYS[engine] in clients.refused(server)
        assert LIMIT_SAYS[engine] in clients.refused(server)
        counts = observer.counts()
        assert (counts.opened, counts.open_now, counts.refused) == (limit, limit, {LIMIT[engine]: 2})


@each_engine
def test_a_slot_that_a_client_leaves_is_free_for_the_next(start_server, clients, engine):
    with start_server(engine, max_connections=2) as server, server.observer() as observer:
        first = clients.connect(server)
        clients.connect(server)
        clients.refused(server)
        first.close()
        until(lambda: observer.open_now() == 1)
        clients.connect(server)
        assert LIMIT_SAYS[engine] in clients.refused(server)


@each_engine
def test_25_opens_3_refusals_and_a_wrong_password_are_counted_as_such(start_server, clients, engine):
    with start_server(engine, max_connections=4) as server, server.observer() as observer:
        for _ in range(21):
            clients.connect(server).close()
            until(lambda: observer.open_now() == 0)
        kept = [clients.connect(server) for _ in range(4)]
        for _ in range(3):
            clients.refused(server)
        clients.refused(server, password="wrong")
        counts = observer.counts()
        assert counts.opened == 25
        assert counts.refused == {LIMIT[engine]: 3, WRONG_PASSWORD[engine]: 1}
        assert counts.open_now == len(kept) == observer.open_now()
        assert counts.peak in ((4,) if engine == "postgres" else (None,))


@each_engine
def test_an_unknown_database_is_a_refusal_with_its_own_code(start_server, clients, engine):
    with start_server(engine) as server, server.observer() as observer:
        clients.refused(server, database="nowhere")
        assert observer.counts().refused == {NO_DATABASE[engine]: 1}
        assert observer.counts().opened == 0


@each_engine
def test_errors_inside_a_session_are_no_refusals(start_server, clients, engine):
    with start_server(engine, max_connections=2) as server, server.observer() as observer:
        connection = clients.connect(server)
        elsewhere = "SELECT * FROM pg_authid" if engine == "postgres" else "SELECT * FROM mysql.user"
        for statement in (elsewhere, "USE nowhere", "CREATE DATABASE other", "DROP USER app"):
            with pytest.raises((psycopg.Error, pymysql.MySQLError)):
                clients.query(connection, statement)
        clients.connect(server)
        clients.refused(server)
        counts = observer.counts()
        assert (counts.opened, counts.open_now, counts.refused) == (2, 2, {LIMIT[engine]: 1})


@each_engine
def test_connections_dropped_before_they_name_a_user_are_neither_opened_nor_refused(start_server, clients, engine):
    with start_server(engine) as server, server.observer() as observer:
        for _ in range(3):
            with socket.create_connection((server.host, server.port)) as dropped:
                dropped.shutdown(socket.SHUT_WR)
                while dropped.recv(1000):
                    pass
        clients.connect(server)
        expected = 0 if engine == "postgres" else 3
        until(lambda: observer.counts().aborted_handshakes == expected)
        assert (observer.counts().opened, observer.counts().refused) == (1, {})


@each_engine
def test_what_clients_saw_in_a_burst_is_what_the_server_counted(start_server, engine):
    """Forty clients at once, limit five: every one either got a session or a refusal, and the server agrees."""
    with start_server(engine, max_connections=5) as server, server.observer() as observer:
        got: list[object] = []
        codes: list[str] = []
        barrier = threading.Barrier(40)

        def client() -> None:
            barrier.wait()
            try:
                got.append(
                    psycopg.connect(server.url)
                    if engine == "postgres"
                    else pymysql.connect(host=server.host, port=server.port, user=server.user, password=server.password)
                )
            except psycopg.OperationalError:
                codes.append("53300")
            except pymysql.MySQLError as error:
                codes.append(str(error.args[0]))

        threads = [threading.Thread(target=client) for _ in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        counts = observer.counts()
        for connection in got:
            connection.close()
        assert 0 < len(got) <= 5
        assert counts.opened == len(got)
        assert counts.refused == {LIMIT[engine]: 40 - len(got)} == {codes[0]: len(codes)}


@each_engine
def test_the_labs_own_sessions_are_in_no_count_and_take_no_slot(start_server, clients, engine):
    with start_server(engine, max_connections=3) as server:
        observers = [server.observer() for _ in range(5)]
        assert server.query("SELECT 1")[0][0] == 1
        for _ in range(3):
            clients.connect(server)
        for observer in observers:
            counts = observer.counts()
            assert (counts.opened, counts.open_now, counts.refused) == (3, 3, {})


@each_engine
def test_a_new_window_counts_from_zero(start_server, clients, engine):
    with start_server(engine) as server, server.observer() as observer:
        clients.connect(server)
        clients.refused(server, password="wrong")
        observer.reset()
        assert observer.counts().opened == 0
        assert observer.counts().refused == {}
        assert observer.counts().open_now == 1
        clients.connect(server)
        assert observer.counts().opened == 1


@each_engine
def test_counts_go_on_over_a_restart_and_a_kill_of_the_server(start_server, clients, engine):
    with start_server(engine, max_connections=2) as server, server.observer() as observer:
        clients.connect(server)
        clients.refused(server, password="wrong")
        server.restart()
        clients.connect(server)
        server.kill()
        server.restart()
        for _ in range(2):
            clients.connect(server)
        clients.refused(server)
        counts = observer.counts()
        assert (counts.opened, counts.open_now) == (4, 2)
        assert counts.refused == {LIMIT[engine]: 1, WRONG_PASSWORD[engine]: 1}


@each_engine
def test_sessions_are_listed_with_the_clients_port_and_killed_by_it(start_server, clients, engine):
    with start_server(engine) as server, server.observer() as observer:
        connections = [clients.connect(server) for _ in range(3)]
        ports = [port_of(connection) for connection in connections]
        assert sorted(session.client_port for session in observer.sessions()) == sorted(ports)
        assert {session.user for session in observer.sessions()} == {"app"}
        assert observer.kill_sessions(client_ports=ports[:1]) == 1
        assert sorted(session.client_port for session in observer.sessions()) == sorted(ports[1:])
        with pytest.raises((psycopg.OperationalError, pymysql.MySQLError)):
            clients.query(connections[0], "SELECT 1")
        assert clients.query(connections[1], "SELECT 1") == [(1,)]
        assert observer.kill_sessions() == 2
        assert observer.open_now() == 0


def port_of(connection) -> int:
    if isinstance(connection, psycopg.Connection):
        with socket.socket(fileno=socket.dup(connection.fileno())) as duplicate:
            return duplicate.getsockname()[1]
    return connection._sock.getsockname()[1]
