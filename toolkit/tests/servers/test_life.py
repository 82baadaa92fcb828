"""A private server's life: users, TLS, settings, restart, freeze, and what it refuses."""

from __future__ import annotations

import socket
import threading

import psycopg
import pymysql
import pytest
from warmline_toolkit.servers import State, User, errors, guardian

ENGINES = ["mariadb", "mysql", "postgres"]
each_engine = pytest.mark.parametrize("engine", ENGINES)
fast_engine = pytest.mark.parametrize("engine", ["mariadb", "postgres"])  # MySQL shares MariaDB's code here


@each_engine
def test_the_url_is_what_the_drivers_take(start_server, clients, engine):
    server = start_server(engine)
    scheme = "postgresql" if engine == "postgres" else "mysql"
    assert server.url == f"{scheme}://app:{server.password}@127.0.0.1:{server.port}/app"
    assert clients.query(clients.connect(server), "SELECT 1") == [(1,)]


@fast_engine
def test_the_user_may_do_everything_in_its_database_and_nothing_outside(start_server, clients, engine):
    connection = clients.connect(start_server(engine))
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t (n int)")
        cursor.execute("INSERT INTO t VALUES (7)")
        cursor.execute("SELECT n FROM t")
        assert [tuple(row) for row in cursor.fetchall()] == [(7,)]
        with pytest.raises((psycopg.Error, pymysql.MySQLError)):
            cursor.execute("CREATE DATABASE other")


@fast_engine
def test_two_servers_of_an_engine_share_nothing(start_server, clients, engine):
    one, two = start_server(engine), start_server(engine)
    assert one.port != two.port
    assert one.password != two.password
    with clients.connect(one).cursor() as cursor:
        cursor.execute("CREATE TABLE here (n int)")
    with clients.connect(two).cursor() as cursor, pytest.raises((psycopg.Error, pymysql.MySQLError)):
        cursor.execute("SELECT * FROM here")


@pytest.mark.parametrize(
    "setting",
    [("mariadb", "wait_timeout", 5, "5"), ("postgres", "idle_session_timeout", "7s", "7s")],
)
def test_a_setting_given_at_the_start_is_in_force(start_server, clients, setting):
    engine, name, value, seen = setting
    server = start_server(engine, settings={name: value})
    show = f"SHOW {name}" if engine == "postgres" else f"SELECT @@{name}"
    assert str(clients.query(clients.connect(server), show)[0][0]) == seen


@pytest.mark.parametrize(
    "setting",
    [
        ("mariadb", "wait_timeout", 9, "9"),
        ("mariadb", "sql_mode", "ANSI_QUOTES", "ANSI_QUOTES"),
        ("postgres", "idle_session_timeout", "9s", "9s"),
    ],
)
def test_a_setting_changed_at_run_time_is_in_force_for_new_sessions(start_server, clients, setting):
    engine, name, value, seen = setting
    server = start_server(engine)
    server.set(name, value)
    show = f"SHOW {name}" if engine == "postgres" else f"SELECT @@{name}"
    assert str(clients.query(clients.connect(server), show)[0][0]) == seen


@pytest.mark.parametrize(("engine", "name"), [("mariadb", "innodb_log_buffer"), ("postgres", "shared_buffers")])
def test_a_setting_that_cannot_change_at_run_time_says_so(start_server, engine, name):
    with pytest.raises(errors.BadServerOption, match="does not take"):
        start_server(engine).set(name, "1")


@fast_engine
def test_an_unknown_setting_is_named_in_the_error_and_nothing_is_left(engine, start_server):
    before = guardian.still_here()
    with pytest.raises(errors.ServerDidNotStart, match=r"no.such.setting"):
        start_server(engine, settings={"no-such-setting": 1})
    assert guardian.still_here() == before


@pytest.mark.parametrize("options", [{"max_connections": 0}, {"settings": {"port": 1}}, {"settings": {"a b": 1}}])
@fast_engine
def test_options_no_server_can_take_are_refused(engine, options, start_server):
    with pytest.raises(errors.BadServerOption):
        start_server(engine, **options)


def test_an_unknown_engine_is_refused_with_the_known_ones(start_server):
    with pytest.raises(errors.BadServerOption, match="mariadb, mysql, postgres"):
        start_server("oracle")


@each_engine
def test_a_port_in_use_is_a_clear_error(engine, start_server):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(errors.PortTaken, match=str(port)):
            start_server(engine, port=port)


@each_engine
def test_a_port_taken_between_choosing_and_binding_is_tried_again(engine, start_server, clients, monkeypatch):
    """The race itself: the first port that is chosen is taken by the time the server binds it."""
    from warmline_toolkit.servers import server as module  # noqa: PLC0415 - to put the race in its place

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        chosen = [taken.getsockname()[1]]
        free_port = module._free_port
        monkeypatch.setattr(module, "_free_port", lambda **but: chosen.pop() if chosen else free_port(**but))
        server = start_server(engine)
        assert server.port != taken.getsockname()[1]
        assert clients.query(clients.connect(server), "SELECT 1") == [(1,)]


@each_engine
def test_tls_is_verified_against_the_ca_file(engine, start_server, clients):
    server = start_server(engine, tls=True)
    if engine == "postgres":
        connection = clients.connect(server, sslmode="verify-full", sslrootcert=str(server.ca_file))
        assert clients.query(connection, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == [(True,)]
    else:
        connection = clients.connect(server, ssl_ca=str(server.ca_file), ssl_verify_cert=True, ssl_verify_identity=True)
        assert clients.query(connection, "SHOW STATUS LIKE 'Ssl_version'")[0][1].startswith("TLSv1")


@each_engine
def test_without_tls_there_is_none(engine, start_server, clients):
    server = start_server(engine)
    assert server.ca_file is None
    if engine == "postgres":
        assert "does not support SSL" in clients.refused(server, sslmode="require")
    else:
        assert clients.query(clients.connect(server), "SHOW STATUS LIKE 'Ssl_version'")[0][1] == ""


@pytest.mark.parametrize("auth", ["scram-sha-256", "md5", "password", "trust"])
def test_postgres_asks_each_user_in_its_own_way(auth, start_server, clients):
    server = start_server("postgres", users=[User(), User(name="other", password="it's\\secret", auth=auth)])
    connection = clients.connect(server, user="other")
    kept = server.query("SELECT rolpassword FROM pg_authid WHERE rolname = 'other'")[0][0]
    assert kept.startswith("md5" if auth == "md5" else "SCRAM-SHA-256$")
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE mine (n int)")
    if auth == "trust":
        clients.connect(server, user="other", password="wrong")
    else:
        assert "password authentication failed" in clients.refused(server, user="other", password="wrong")


def test_mariadb_asks_for_the_native_password(start_server, clients):
    server = start_server("mariadb", users=[User(name="native", password="it's\\secret", auth="mysql_native_password")])
    assert clients.query(clients.connect(server), "SELECT CURRENT_USER()") == [("native@%",)]
    assert clients.refused(server, password="wrong") == "1045"


def test_mariadb_asks_for_ed25519(start_server, clients):
    server = start_server("mariadb", users=[User(name="modern", password="it's\\secret", auth="ed25519")])
    assert clients.query(clients.connect(server), "SELECT CURRENT_USER()") == [("modern@%",)]
    kept = server.query("SELECT plugin FROM mysql.user WHERE user = 'modern'")
    assert kept == [("ed25519",)]
    assert clients.refused(server, password="wrong") == "1045"


def test_mysql_asks_for_caching_sha2(start_server, clients):
    server = start_server("mysql", users=[User(name="sha", password="it's\\secret")])
    assert clients.query(clients.connect(server), "SELECT CURRENT_USER()") == [("sha@%",)]
    assert server.query("SELECT plugin FROM mysql.user WHERE user = 'sha'") == [("caching_sha2_password",)]
    assert clients.refused(server, password="wrong") == "1045"


def test_a_method_of_another_engine_is_refused(start_server):
    with pytest.raises(errors.BadServerOption, match="scram-sha-256"):
        start_server("mariadb", users=[User(auth="scram-sha-256")])


@each_engine
def test_data_and_port_survive_a_restart_and_a_kill(engine, start_server, clients):
    server = start_server(engine)
    port = server.port
    with clients.connect(server).cursor() as cursor:
        cursor.execute("CREATE TABLE t (n int)")
        cursor.execute("INSERT INTO t VALUES (1)")
    for bring_down in (server.restart, server.kill):
        bring_down()
        if server.state is State.DOWN:
            with pytest.raises((psycopg.OperationalError, pymysql.MySQLError)):
                clients.connect(server)
            server.restart()
        assert server.port == port
        assert clients.query(clients.connect(server), "SELECT n FROM t") == [(1,)]


@fast_engine
def test_the_limit_is_exact_after_a_restart_too(engine, start_server, clients):
    server = start_server(engine, max_connections=2)
    server.restart()
    clients.connect(server)
    clients.connect(server)
    clients.refused(server)


@each_engine
def test_the_limit_can_change_at_run_time_where_the_server_allows_it(engine, start_server, clients):
    server = start_server(engine, max_connections=2)
    if engine == "postgres":
        with pytest.raises(errors.BadServerOption, match="at its start"):
            server.set("max_connections", 4)
        return
    for limit in (4, 12, 3):
        server.set("max_connections", limit)
        taken = [clients.connect(server) for _ in range(limit)]
        assert clients.refused(server) == "1040"
        with server.observer() as observer:
            for connection in taken:
                connection.close()
            until(lambda: observer.open_now() == 0)


@each_engine
def test_freeze_stops_every_process_and_thaw_lets_all_go_on(engine, start_server, clients):
    server = start_server(engine)
    connection = clients.connect(server)
    server.freeze()
    states = {guardian.proc_stat(pid)[0] for pid in server.processes()}
    assert states == {"T"}
    server.thaw()
    assert clients.query(connection, "SELECT 1") == [(1,)]


@fast_engine
def test_a_frozen_server_can_be_stopped(engine, start_server):
    server = start_server(engine)
    pids = server.processes()
    server.freeze()
    server.stop()
    assert not any(alive(pid) for pid in pids)


@each_engine
def test_a_stopped_server_leaves_no_process_and_no_directory(engine, start_server, clients):
    server = start_server(engine)
    clients.connect(server)
    pids, directory = server.processes(), server.log.parent
    assert pids
    assert directory.is_dir()
    server.stop()
    assert not any(alive(pid) for pid in pids)
    assert not directory.exists()
    with pytest.raises(errors.ServerGone):
        server.observer()


@fast_engine
def test_an_exception_in_the_with_block_stops_the_server(engine, start_server):
    server = start_server(engine)
    directory = server.log.parent
    with pytest.raises(KeyboardInterrupt), server:
        raise KeyboardInterrupt
    assert not directory.exists()
    assert server.processes() == frozenset()


@fast_engine
def test_cpu_time_counts_work_and_never_falls(engine, start_server, clients):
    server = start_server(engine)
    before = server.cpu_ms()
    work = (
        "SELECT count(*) FROM generate_series(1, 2000000)"
        if engine == "postgres"
        else "SELECT BENCHMARK(3000000, MD5('x'))"
    )
    connection = clients.connect(server)
    clients.query(connection, work)
    during = server.cpu_ms()
    connection.close()
    with server.observer() as observer:
        assert observer.open_now() in (0, 1)
    server.restart()
    after = server.cpu_ms()
    assert before + 20 < during <= after


@fast_engine
def test_a_long_temporary_folder_does_not_break_the_unix_socket(engine, start_server, monkeypatch, tmp_path):
    long = tmp_path / ("long" * 25)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    server = start_server(engine, max_connections=2)
    assert server.query("SELECT 1") == [(1,)]


def test_the_log_can_be_kept(start_server, tmp_path):
    server = start_server("mariadb", keep_log=tmp_path / "kept.log")
    server.stop()
    assert "ready for connections" in (tmp_path / "kept.log").read_text()


def test_the_second_start_uses_the_cached_data_directory(start_server, monkeypatch, tmp_path):
    monkeypatch.setenv("WARMLINE_CACHE", str(tmp_path))
    start_server("postgres").stop()
    made = list((tmp_path / "data").iterdir())
    stamp = made[0].stat().st_mtime_ns
    start_server("postgres").stop()
    assert [path.stat().st_mtime_ns for path in (tmp_path / "data").iterdir()] == [stamp]


def until(condition, *, timeout_s: float = 20) -> None:
    """Wait for *condition*; the limit is a hang's, not a measurement."""
    tick = threading.Event()
    for _ in range(int(timeout_s / 0.01)):
        if condition():
            return
        tick.wait(0.01)
    raise AssertionError("the condition never became true")


def alive(pid) -> bool:
    """Tell whether *pid* runs; an orphan that its new parent has not waited for yet does not."""
    stat = guardian.proc_stat(pid)
    return stat is not None and stat[0] not in "ZX"
