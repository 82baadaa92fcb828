"""The relay on the path to real servers: what it counts agrees with the server, what it breaks the server sees."""

from __future__ import annotations

import asyncio
import time

import psycopg
import pymysql
import pytest
from warmline_toolkit.lab.delay import DelayLine
from warmline_toolkit.lab.overhead import measure_overhead
from warmline_toolkit.lab.relay import Address, Relay

pytestmark = pytest.mark.asyncio


class Observer:
    def __init__(self) -> None:
        self.opened = []
        self.closed = []

    def connection_opened(self, link) -> None:
        self.opened.append(link)

    def connection_closed(self, link, by) -> None:
        self.closed.append((link, by))


class Rig:
    """A relay to a server, and a client through it, whose blocking calls run in a thread."""

    def __init__(self, server, rtt_ms: float = 0.0) -> None:
        self.server = server
        self.observer = Observer()
        self.rtt_ms = rtt_ms

    async def __aenter__(self):
        self.delays = DelayLine()
        self.relay = Relay(
            Address(self.server.host, self.server.port),
            engine=self.server.engine,
            observer=self.observer,
            delays=self.delays,
            rtt_ms=self.rtt_ms,
        )
        self.address = await self.relay.start()
        return self

    async def __aexit__(self, *error) -> None:
        await self.relay.close()
        self.delays.close()

    async def connect(self, **changes):
        server = self.server
        settings = {"host": self.address.host, "port": self.address.port, "user": server.user}
        settings |= {"password": server.password, **changes}
        if server.engine == "postgres":
            settings |= {"dbname": server.database, "sslmode": "disable", "autocommit": True, "prepare_threshold": None}
            return await asyncio.to_thread(psycopg.connect, **settings)
        settings |= {"database": server.database, "ssl_disabled": True}
        return await asyncio.to_thread(pymysql.connect, **settings)

    async def query(self, connection, sql: str = "SELECT 1"):
        def run():
            cursor = connection.cursor()
            cursor.execute(sql)
            return cursor.fetchall()

        return await asyncio.to_thread(run)

    async def close(self, connection) -> None:
        await asyncio.to_thread(connection.close)
        await until(lambda: not self.relay.links)

    async def open_on_server(self, observer) -> int:
        return (await asyncio.to_thread(observer.counts)).open_now

    async def none_on_server(self, observer) -> None:
        while await self.open_on_server(observer):  # noqa: ASYNC110 - the server's own time to notice
            await asyncio.sleep(0.01)


async def until(condition, *, tries: int = 5000) -> None:
    for _ in range(tries):
        if condition():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("the condition did not come true")


@pytest.fixture(params=["mariadb", "mysql", "postgres"])
def server(request):
    return request.getfixturevalue(request.param)


async def test_connections_and_round_trips_are_counted_exactly(server):
    async with Rig(server) as rig:
        connection = await rig.connect()
        before = rig.relay.tally.round_trips
        for _ in range(7):
            await rig.query(connection)
        assert rig.relay.tally.round_trips - before == 7
        assert (rig.relay.tally.opened, rig.relay.open_links) == (1, 1)
        await rig.close(connection)
        assert rig.relay.tally.round_trips - before == 7  # a farewell gets no answer
    ((link, by),) = rig.observer.closed
    assert by == "function"
    assert link.session is True
    assert link.refused_code is None
    assert link.bytes_sent > 0
    assert link.bytes_received > 0


async def test_an_answer_of_many_segments_is_one_round_trip(server):
    async with Rig(server) as rig:
        connection = await rig.connect()
        before = rig.relay.tally.round_trips
        ((text,),) = await rig.query(connection, "SELECT REPEAT('x', 3000000)")
        assert len(text) == 3_000_000
        assert rig.relay.tally.round_trips - before == 1
        await rig.close(connection)


@pytest.mark.parametrize(("engine", "code"), [("mariadb", "1040"), ("mysql", "1040"), ("postgres", "53300")])
async def test_a_refused_connection_is_known_with_the_servers_code(start_server, engine, code):
    server = await asyncio.to_thread(start_server, engine, max_connections=1)
    async with Rig(server) as rig:
        first = await rig.connect()
        with pytest.raises((pymysql.OperationalError, psycopg.OperationalError)):
            await rig.connect()
        await until(lambda: rig.observer.closed)
        ((link, by),) = rig.observer.closed
        assert (by, link.refused_code, link.session) == ("server", code, False)
        await rig.close(first)


async def test_a_wrong_password_is_known_with_the_servers_code(server):
    async with Rig(server) as rig:
        with pytest.raises((pymysql.OperationalError, psycopg.OperationalError)):
            await rig.connect(password="wrong")
        await until(lambda: rig.observer.closed)
    ((link, _),) = rig.observer.closed
    assert link.refused_code == ("28P01" if server.engine == "postgres" else "1045")
    assert link.session is False


async def test_the_login_hidden_by_tls_is_neither_a_session_nor_a_refusal(start_server):
    server = await asyncio.to_thread(start_server, "postgres", max_connections=5, tls=True)
    async with Rig(server) as rig:
        address = rig.address
        connection = await asyncio.to_thread(
            psycopg.connect, server.url, host=address.host, port=address.port, sslmode="require"
        )
        assert [link.session for link in rig.observer.opened] == [None]
        await rig.close(connection)
    assert rig.observer.closed[0][0].session is None


@pytest.mark.parametrize("rtt_ms", [0.6, 20.0])
async def test_added_round_trip_time_is_added_to_every_round_trip_and_to_the_connect(server, rtt_ms):
    async with Rig(server, rtt_ms) as rig:
        started = time.monotonic()
        connection = await rig.connect()
        connect_ms = (time.monotonic() - started) * 1000
        login = rig.relay.tally.round_trips
        started = time.monotonic()
        for _ in range(5):
            await rig.query(connection)
        query_ms = (time.monotonic() - started) * 1000 / 5
        await rig.close(connection)
    assert query_ms >= rtt_ms
    assert connect_ms >= (login + 1) * rtt_ms  # its round trips, and TCP's own


async def test_added_delay_is_pipelined(postgres):
    async with Rig(postgres, 100.0) as rig:
        connection = await rig.connect()
        started = time.monotonic()

        def run() -> None:
            with connection.pipeline(), connection.cursor() as cursor:
                for _ in range(20):
                    cursor.execute("SELECT 1")

        await asyncio.to_thread(run)
        assert time.monotonic() - started < 1.5  # 20 in series would be 2 s at the least
        await rig.close(connection)


async def test_through_a_delay_everything_arrives_whole_and_in_order(server):
    async with Rig(server, 5.0) as rig:
        connection = await rig.connect()
        ((text,),) = await rig.query(connection, "SELECT REPEAT('0123456789', 500000)")
        assert text == "0123456789" * 500_000
        await rig.close(connection)


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_a_cut_ends_the_connection_at_both_ends(server, how):
    observer = await asyncio.to_thread(server.observer)
    async with Rig(server) as rig:
        connection = await rig.connect()
        assert rig.relay.cut(how) == 1
        with pytest.raises((pymysql.Error, psycopg.Error)):
            await rig.query(connection)
        await rig.none_on_server(observer)
        connection.close()
    assert [by for _, by in rig.observer.closed] == ["platform"]
    await asyncio.to_thread(observer.close)


async def test_a_silent_detach_leaves_a_ghost_that_the_server_counts_until_it_is_released(server):
    observer = await asyncio.to_thread(server.observer)
    async with Rig(server) as rig:
        await rig.none_on_server(observer)  # of an earlier test
        connection = await rig.connect()
        assert rig.relay.detach("silent") == 1
        with pytest.raises((pymysql.Error, psycopg.Error)):
            await rig.query(connection)
        connection.close()
        assert (rig.relay.ghosts, rig.relay.open_links) == (1, 0)
        assert await rig.open_on_server(observer) == 1
        assert rig.relay.release_ghosts() == 1
        assert rig.relay.ghosts == 0
        await rig.none_on_server(observer)
    await asyncio.to_thread(observer.close)


async def test_a_ghost_ends_when_the_server_closes_it(start_server):
    server = await asyncio.to_thread(start_server, "mariadb", max_connections=5, settings={"wait_timeout": 1})
    async with Rig(server) as rig:
        connection = await rig.connect()
        rig.relay.detach("silent")
        await until(lambda: rig.relay.ghosts == 0)
        connection.close()
    assert [by for _, by in rig.observer.closed] == ["server"]


async def test_a_blackholed_path_passes_nothing_and_loses_nothing(server):
    async with Rig(server) as rig:
        connection = await rig.connect()
        rig.relay.blackhole(on=True)
        query = asyncio.ensure_future(rig.query(connection))
        done, _ = await asyncio.wait([query], timeout=0.3)
        assert not done
        assert rig.relay.open_links == 1
        rig.relay.blackhole(on=False)
        assert await query
        await rig.close(connection)


async def test_a_server_that_is_not_there_ends_the_connection_and_is_not_counted_as_opened(mariadb):
    async with Rig(mariadb) as rig:
        listener = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
        rig.relay.target = Address("127.0.0.1", listener.sockets[0].getsockname()[1])
        listener.close()
        await listener.wait_closed()
        with pytest.raises(pymysql.OperationalError):
            await rig.connect()
        assert (rig.relay.tally.opened, rig.relay.unreachable) == (0, 1)
    assert not rig.observer.closed


async def test_a_reader_that_does_not_read_does_not_fill_the_relay(postgres):
    async with Rig(postgres) as rig:
        connection = await rig.connect()
        sql = b"SELECT repeat('x', 200000000)"
        connection.pgconn.send_query(sql)  # libpq does not read yet
        await asyncio.sleep(0.5)
        (link,) = rig.relay.links
        assert link.client.transport.get_write_buffer_size() < 2_000_000
        assert link.bytes_received < 20_000_000
        connection.close()
        await until(lambda: not rig.relay.links)


async def test_its_own_cost_is_measured_in_microseconds_a_round_trip(server):
    overhead = await asyncio.to_thread(measure_overhead, server, round_trips=200)
    assert overhead.round_trips == 200
    assert overhead.direct_us > 0
    assert overhead.added_us == overhead.relayed_us - overhead.direct_us
