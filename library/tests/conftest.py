"""One way to drive every driver, and a network path that a test can cut: the contract is written once."""

from __future__ import annotations

import asyncio
import importlib.util
import selectors
import socket
import threading
import time
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit, urlunsplit

import pytest
import warmline
from warmline._policy import Polled
from warmline_toolkit.servers import start

ENGINES = ("mariadb", "mysql", "postgres")
DRIVERS = {
    "pymysql": ("mysql", False),
    "mysqlclient": ("mysql", False),
    "mysqlconnector": ("mysql", False),
    "psycopg": ("postgres", False),
    "asyncmy": ("mysql", True),
    "aiomysql": ("mysql", True),
    "psycopg-async": ("postgres", True),
    "asyncpg": ("postgres", True),
}


def pairs():
    """Every driver with every server that it speaks to and that the toolkit can start."""
    for driver, (family, _) in DRIVERS.items():
        for engine in ENGINES:
            known = importlib.util.find_spec(f"warmline_toolkit.servers.{engine}") is not None
            if known and family == ("postgres" if engine == "postgres" else "mysql"):
                yield pytest.param((driver, engine), id=f"{driver}-{engine}")


class Context:
    """A Lambda context with so many milliseconds left when it was made."""

    aws_request_id = "test"

    def __init__(self, milliseconds):
        self._end_s = time.monotonic() + milliseconds / 1000

    def get_remaining_time_in_millis(self):
        return max(0, int((self._end_s - time.monotonic()) * 1000))


class Statements:
    """A driver's connection, reduced to running a statement and returning its rows as tuples."""

    def __init__(self, client, connection):
        self.connection = connection
        self._client = client

    def __call__(self, sql):
        return self._client.execute(self.connection, sql)


class Client:
    """`Database` or `AsyncDatabase` with the same synchronous words, and every event that it told."""

    def __init__(self, driver, url, **settings):
        self.driver = driver
        self.family, self.is_async = DRIVERS[driver]
        self.events = []
        scheme = f"{'postgresql' if self.family == 'postgres' else 'mysql'}+{driver.removesuffix('-async')}"
        make = warmline.AsyncDatabase if self.is_async else warmline.Database
        self.db = make(urlunsplit(urlsplit(url)._replace(scheme=scheme)), on_event=self.events.append, **settings)

    def wait(self, awaitable):
        return self.db.run_on_loop(_coroutine(awaitable)) if self.is_async else awaitable

    def execute(self, connection, sql):
        if self.driver == "asyncpg":
            return [tuple(row) for row in self.wait(connection.fetch(sql))]
        if self.is_async:
            return self.wait(self._execute(connection, sql))
        cursor = connection.cursor()
        cursor.execute(sql)
        rows = [tuple(row) for row in cursor.fetchall()] if cursor.description else []
        cursor.close()
        return rows

    async def _execute(self, connection, sql):
        async with connection.cursor() as cursor:
            await cursor.execute(sql)
            return [tuple(row) for row in await cursor.fetchall()] if cursor.description else []

    @contextmanager
    def _entered(self, block):
        if not self.is_async:
            with block as inner:
                yield inner
            return
        inner = self.wait(block.__aenter__())
        try:
            yield inner
        except BaseException as error:
            self.wait(block.__aexit__(type(error), error, error.__traceback__))
            raise
        else:
            self.wait(block.__aexit__(None, None, None))

    @contextmanager
    def connection(self):
        with self._entered(self.db.connection()) as connection:
            yield Statements(self, connection)

    @contextmanager
    def transaction(self, **how):
        with self._entered(self.db.transaction(**how)) as connection:
            yield Statements(self, connection)

    @contextmanager
    def invocation(self, milliseconds=None):
        with self._entered(self.db.invocation(None if milliseconds is None else Context(milliseconds))):
            yield

    def run(self, function, **how):
        if not self.is_async:
            return self.db.run(lambda connection: function(Statements(self, connection)), **how)

        async def in_thread(connection):
            # the function is synchronous, and runs its statements on the loop from another thread
            return await asyncio.to_thread(function, LoopStatements(self, connection, asyncio.get_running_loop()))

        return self.wait(self.db.run(in_thread, **how))

    def kinds(self):
        return [f"{event.kind.value} {event.reason.value}" for event in self.events]

    def close_after_one_use(self):
        with self.connection():
            pass
        self.close()

    def close(self):
        if self.is_async:
            self.db.run_on_loop(self.db.aclose())
        self.db.close()


class LoopStatements:
    """As `Statements`, for a function that runs in a thread beside the event loop."""

    def __init__(self, client, connection, loop):
        self.connection = connection
        self._client = client
        self._loop = loop

    def __call__(self, sql):
        if self._client.driver == "asyncpg":
            rows = asyncio.run_coroutine_threadsafe(_coroutine(self.connection.fetch(sql)), self._loop).result()
            return [tuple(row) for row in rows]
        coroutine = self._client._execute(self.connection, sql)
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


async def _coroutine(awaitable):
    return await awaitable


class Path:
    """A network path on loopback that can fall silent, end, or take its time: both ways, for all who use it."""

    def __init__(self, port):
        self._server = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.silent = False
        self.silent_on = None
        self._pairs = {}
        self._wake, self._woken = socket.socketpair()
        self._ending = False
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._thread.start()

    def url(self, url):
        parts = urlsplit(url)
        return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{self.port}")))

    def _carry(self):
        watch = selectors.DefaultSelector()
        watch.register(self._listener, selectors.EVENT_READ)
        watch.register(self._woken, selectors.EVENT_READ)
        while not self._ending:
            for key, _ in watch.select():
                if key.fileobj is self._woken:
                    self._woken.recv(100)
                elif key.fileobj is self._listener:
                    near = self._listener.accept()[0]
                    if self.silent:
                        self._pairs[near] = None
                        continue
                    far = socket.create_connection(self._server)
                    self._pairs[near], self._pairs[far] = far, near
                    watch.register(near, selectors.EVENT_READ, data=True)
                    watch.register(far, selectors.EVENT_READ, data=False)
                else:
                    self._move(watch, key.fileobj, from_client=key.data)
        watch.close()

    def _move(self, watch, one, *, from_client):
        try:
            data = one.recv(65536)
        except OSError:
            data = b""
        if from_client and self.silent_on is not None and self.silent_on in data.upper():
            self.silent = True
        if self.silent:
            # a dropped flow: neither side hears of the other again, not even of its end
            watch.unregister(one)
            return
        other = self._pairs[one]
        if not data:
            for end in (one, other):
                if end.fileno() >= 0:
                    if end in watch.get_map():
                        watch.unregister(end)
                    end.close()
            return
        if other.fileno() < 0:
            return
        other.sendall(data)

    def close(self):
        self._ending = True
        self._wake.send(b"x")
        self._thread.join()
        for end in (self._listener, self._wake, self._woken, *self._pairs):
            end.close()


@pytest.fixture(scope="session")
def keep_server():
    """Start a private server once for each set of arguments, for tests that put it back as it was."""
    started = {}
    with ExitStack() as servers:

        def keep(engine, **how):
            key = repr((engine, how))
            if key not in started:
                started[key] = servers.enter_context(start(engine, **how))
                if engine == "mysql":
                    # without TLS, mysql-connector cannot do caching_sha2's first login, only later ones
                    Client("pymysql", started[key].url).close_after_one_use()
            return started[key]

        yield keep


@pytest.fixture
def path():
    """Lay network paths to servers: `path(server)`."""
    laid = []

    def lay(server):
        laid.append(Path(server.port))
        return laid[-1]

    yield lay
    for one in laid:
        one.close()


@pytest.fixture
def open_client():
    """Make clients that are closed when the test ends."""
    made = []

    def make(driver, url, **settings):
        made.append(Client(driver, url, **settings))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture(params=list(pairs()))
def pair(request):
    """A driver's name, and the engine of the server it is to speak to."""
    return request.param


@pytest.fixture(params=[one for one in pairs() if one.values[0][1] != "mysql"])
def quick_pair(request):
    """As *pair*, but the MySQL drivers on MariaDB alone, which restarts in a fraction of MySQL's time."""
    return request.param


@pytest.fixture
def server(pair, request):
    """The shared server of the pair's engine, with an empty table `ledger`."""
    shared = request.getfixturevalue(pair[1])
    with shared.observer() as observer:
        observer.kill_sessions()
    with Client("psycopg" if pair[1] == "postgres" else "pymysql", shared.url).db.connection() as connection:
        cursor = connection.cursor()
        cursor.execute("DROP TABLE IF EXISTS ledger")
        cursor.execute("CREATE TABLE ledger (id INT PRIMARY KEY, amount INT NOT NULL)")
        connection.close()
    return shared


@pytest.fixture
def client(pair, server, open_client):
    """A database object for the pair's driver on its server."""
    return open_client(pair[0], server.url)


@pytest.fixture
def ids(server):
    """Read the ids in `ledger`, over a connection of the test's own: what is really in the database."""

    def read():
        table = "ledger" if server.engine == "postgres" else "app.ledger"
        if server.engine == "postgres":
            import psycopg  # noqa: PLC0415 - only here

            with psycopg.connect(server.url) as connection:
                return [row[0] for row in connection.execute(f"SELECT id FROM {table} ORDER BY id").fetchall()]
        return [row[0] for row in server.query(f"SELECT id FROM {table} ORDER BY id")]

    return read


@pytest.fixture
def kill(server, client):
    """End all of the users' sessions on the server's side, and wait until the client's socket shows it."""

    def end():
        with server.observer() as observer:
            assert observer.kill_sessions() > 0
        until_closed(client)

    return end


def until_closed(client):
    """Wait until every socket of *client* shows that the server closed it."""
    pool = client.db._pool
    # PostgreSQL's last words come a moment before the end of its socket
    dead = (Polled.CLOSED,) if client.family == "postgres" else (Polled.CLOSED, Polled.DATA)
    for slot in [*pool._idle, *pool._out]:
        until(lambda slot=slot: _shows(slot.session, dead), what="the end reaches the client")


def _shows(session, dead):
    # the client's own thread may have found it closed, and let go of it, meanwhile
    return session is None or session.polled() in dead


@pytest.fixture
def wait_until_closed():
    """Wait until a client's sockets show that the server closed them."""
    return until_closed


def until(condition, *, what, limit_s=20.0):
    """Wait until *condition* returns something true, and return it."""
    end_s = time.monotonic() + limit_s
    while time.monotonic() < end_s:
        value = condition()
        if value:
            return value
        time.sleep(0.005)
    raise AssertionError(f"not within {limit_s} s: {what}")


@pytest.fixture
def running(server):
    """Return the statements that the server runs now whose text contains *text*."""

    def look(text):
        if server.engine == "postgres":
            rows = server.query("SELECT query FROM pg_stat_activity WHERE state = 'active' AND usename = 'app'")
        else:
            rows = server.query("SELECT info FROM information_schema.processlist WHERE user = 'app'")
        return [row[0] for row in rows if row[0] and text in row[0]]

    return look


@pytest.fixture
def sleep_sql(server):
    """A statement that takes so many seconds."""

    def make(seconds):
        if server.engine == "postgres":
            return f"SELECT pg_sleep({seconds})"
        # a killed SLEEP returns a row, as if nothing had happened: only what comes after it fails
        rows = " UNION ALL ".join(["SELECT 1"] * seconds)
        return f"SELECT COUNT(*) FROM ({rows}) AS many WHERE sleep(1) = 0"

    return make


@pytest.fixture
def wait_until():
    """Wait for a condition."""
    return until
