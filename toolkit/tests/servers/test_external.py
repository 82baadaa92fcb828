"""A server the user already has: observed, never changed, and every way to get its URL wrong named."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from contextlib import closing, contextmanager

import pytest
from warmline_toolkit.servers import errors, external, start

ENGINES = ["mariadb", "postgres"]
each_engine = pytest.mark.parametrize("engine", ENGINES)


@pytest.fixture(scope="module")
def theirs():
    with start("mariadb", max_connections=20) as mariadb, start("postgres", max_connections=20) as postgres:
        yield {"mariadb": mariadb, "postgres": postgres}


@each_engine
def test_it_is_recognised_by_what_it_says(theirs, engine):
    server = external(theirs[engine].url)
    assert (server.engine, server.version) == (engine, theirs[engine].version)
    assert (server.user, server.database, server.port) == ("app", "app", theirs[engine].port)


@each_engine
def test_open_sessions_are_known_and_everything_else_is_none_with_a_note(theirs, clients, engine):
    with external(theirs[engine].url) as server, server.observer() as observer:
        connections = [clients.connect(theirs[engine]) for _ in range(3)]
        counts = observer.counts()
        assert counts.open_now == 3
        assert (counts.opened, counts.refused, counts.peak, counts.aborted_handshakes) == (None, None, None, None)
        assert server.cpu_ms() is None
        assert server.processes() == frozenset()
        assert observer.notes
        assert all(session.client_port for session in observer.sessions())
        for connection in connections:
            connection.close()


@each_engine
def test_sessions_are_ended_only_by_the_ports_that_are_named(theirs, clients, engine):
    with external(theirs[engine].url) as server, server.observer() as observer:
        clients.connect(theirs[engine])
        clients.connect(theirs[engine])
        with pytest.raises(errors.NotOurServer):
            observer.kill_sessions()
        first, second = (session.client_port for session in observer.sessions())
        assert observer.kill_sessions(client_ports=[first]) == 1
        assert [session.client_port for session in observer.sessions()] == [second]
        observer.kill_sessions(client_ports=[second])


@each_engine
@pytest.mark.parametrize("verb", ["kill", "restart", "freeze", "thaw"])
def test_it_is_never_stopped_or_frozen(theirs, engine, verb):
    with pytest.raises(errors.NotOurServer, match="is yours"):
        getattr(external(theirs[engine].url), verb)()


@each_engine
def test_no_setting_is_changed(theirs, engine):
    show = "SELECT name, setting FROM pg_settings" if engine == "postgres" else "SHOW GLOBAL VARIABLES"
    before = settings(theirs[engine].query(show))
    with external(theirs[engine].url) as server, server.observer() as observer:
        observer.counts()
        with pytest.raises(errors.NotOurServer):
            server.set("max_connections", 5)
    assert settings(theirs[engine].query(show)) == before


@each_engine
def test_a_wrong_password_is_named(theirs, engine):
    url = theirs[engine].url.replace(theirs[engine].password, "wrong")
    with pytest.raises(errors.AccessRefused, match="password") as caught:
        external(url)
    assert "wrong" not in str(caught.value).replace("wrong-", "")


@each_engine
def test_an_unknown_database_is_named(theirs, engine):
    with pytest.raises(errors.AccessRefused, match="nowhere"):
        external(theirs[engine].url.removesuffix("app") + "nowhere")


@pytest.mark.parametrize("scheme", ["mysql", "postgresql"])
def test_nothing_listening_is_unreachable(scheme):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        with pytest.raises(errors.Unreachable, match=str(unused.getsockname()[1])):
            external(f"{scheme}://app:x@127.0.0.1:{unused.getsockname()[1]}/app")


@pytest.mark.parametrize("scheme", ["mysql", "postgresql"])
def test_a_web_server_is_not_a_database(scheme):
    with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port, pytest.raises(errors.NotADatabase, match="is not"):
        external(f"{scheme}://app:x@127.0.0.1:{port}/app")


def test_a_database_of_the_other_kind_is_named(theirs):
    with pytest.raises(errors.NotADatabase, match="is not PostgreSQL"):
        external(theirs["mariadb"].url.replace("mysql://", "postgresql://"))


@pytest.mark.parametrize("url", ["", "app", "http://127.0.0.1/app", "mysql://", "mysql://app:x@127.0.0.1:99999/app"])
def test_what_is_no_database_url_is_refused(url):
    with pytest.raises(errors.NotADatabase):
        external(url)


def test_a_full_server_is_named_as_such(start_server, clients):
    server = start_server("mariadb", max_connections=1)
    clients.connect(server)
    with pytest.raises(errors.Unreachable, match="no connection left"):
        external(server.url)


def test_the_lab_runs_on_it_by_its_url_and_says_what_it_could_not_measure(theirs, tmp_path):
    command = [sys.executable, "-m", "warmline_toolkit", "lab", "run", "--database", theirs["postgres"].url]
    command += ["--strategy", "keep-open", "--trials", "1", "--format", "json", "--output", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert "the server is yours" in told["provenance"]["server_notes"]
    assert told["strategies"][0]["connections_opened"] == 5
    assert told["strategies"][0]["server_cpu_ms_per_invocation"] is None
    left = theirs["postgres"].query("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'")
    assert left == [(0,)]


def settings(rows) -> dict[str, str]:
    """Return settings without those that only tell the time or the session."""
    return {
        name: value for name, value in rows if name not in ("timestamp", "rand_seed1", "rand_seed2", "last_insert_id")
    }


@contextmanager
def answering(what: bytes):
    """Accept connections, answer each with *what* at once, and close."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(what)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(1000):
                        pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
