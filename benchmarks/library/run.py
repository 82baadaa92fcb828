"""Round trips and microseconds of the library beside the bare drivers and the pools that people use.

`python benchmarks/library/run.py [--only-readme]`; interleaved, all samples kept, README made from the results.
"""

# ruff: noqa: PLC0415 - a contender imports what it measures, and no two share a type

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import platform
import selectors
import socket
import statistics
import threading
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import warmline
from warmline_toolkit.servers import start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "library.json"
ROUNDS = 15
LOOPS = 300


class Counting:
    """A relay on loopback that counts round trips: how often a client speaks after the server did, or first."""

    def __init__(self, port: int) -> None:
        self._server = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.trips = 0
        self.connects = 0
        threading.Thread(target=self._carry, daemon=True).start()

    def _carry(self) -> None:
        watch = selectors.DefaultSelector()
        watch.register(self._listener, selectors.EVENT_READ)
        other: dict[Any, Any] = {}
        last: dict[Any, bool] = {}
        while True:
            for key, _ in watch.select():
                end: Any = key.fileobj
                if end is self._listener:
                    near, far = end.accept()[0], socket.create_connection(self._server)
                    self.connects += 1
                    other[near], other[far] = far, near
                    watch.register(near, selectors.EVENT_READ, data=near)
                    watch.register(far, selectors.EVENT_READ, data=near)
                    last[near] = False
                    continue
                if end.fileno() < 0:
                    continue
                with contextlib.suppress(OSError):
                    data = end.recv(65536)
                    if data:
                        from_client = end is key.data
                        # the count goes up with each change of direction towards the server
                        self.trips += from_client and not last[key.data]
                        last[key.data] = from_client
                        other[end].sendall(data)
                        continue
                for one in (end, other[end]):
                    with contextlib.suppress(KeyError, ValueError):
                        watch.unregister(one)
                    one.close()


def parts(url: str, port: int) -> dict[str, Any]:
    """Return what drivers of the MySQL family take."""
    u = urlsplit(url)
    return {"host": u.hostname, "port": port, "user": u.username, "password": u.password, "database": "app"}


class Contender:
    """One way to hold a connection: *use* is a context manager that acquires and releases, *run* sends a SELECT."""

    def __init__(self, name: str, use: Callable[[], Any], close: Callable[[], None], *, autocommit: bool) -> None:
        self.name = name
        self.use = use
        self.close = close
        self.autocommit = autocommit

    def select(self) -> None:
        """Acquire, SELECT 1, release."""
        with self.use() as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT 1")
            cursor.fetchall()
            cursor.close()


@contextlib.contextmanager
def held(connection: Any) -> Iterator[Any]:
    """Hand out one connection that is held all the time: what is compared with."""
    yield connection


def mysql_contenders(url: str, port: int) -> list[Contender]:
    """Return the contenders for MariaDB."""
    import mysql.connector.pooling
    import pymysql
    import sqlalchemy
    from dbutils.pooled_db import PooledDB

    own = parts(url, port)
    address = f"{own['user']}:{own['password']}@127.0.0.1:{port}/app"
    bare = pymysql.connect(**own, autocommit=True)
    db = warmline.Database(f"mysql+pymysql://{address}")
    plain = sqlalchemy.create_engine(f"mysql+pymysql://{address}")
    pinging = sqlalchemy.create_engine(f"mysql+pymysql://{address}", pool_pre_ping=True)
    steady = PooledDB(pymysql, maxconnections=1, autocommit=True, **own)
    pool = mysql.connector.pooling.MySQLConnectionPool(pool_size=1, autocommit=True, use_pure=True, **own)
    connector_db = warmline.Database(f"mysql+mysqlconnector://{address}")
    bare_connector = mysql.connector.connect(**own, autocommit=True, use_pure=True)
    closing = contextlib.closing
    return [
        Contender("PyMySQL, held", lambda: held(bare), bare.close, autocommit=True),
        Contender("PyMySQL, warmline", db.connection, db.close, autocommit=True),
        Contender("PyMySQL, SQLAlchemy pool", lambda: closing(plain.raw_connection()), plain.dispose, autocommit=False),
        Contender(
            "PyMySQL, SQLAlchemy pool, pre-ping",
            lambda: closing(pinging.raw_connection()),
            pinging.dispose,
            autocommit=False,
        ),
        Contender("PyMySQL, DBUtils PooledDB", lambda: closing(steady.connection()), steady.close, autocommit=True),
        Contender("mysql-connector, held", lambda: held(bare_connector), bare_connector.close, autocommit=True),
        Contender("mysql-connector, warmline", connector_db.connection, connector_db.close, autocommit=True),
        Contender(
            "mysql-connector, its pool",
            lambda: closing(pool.get_connection()),
            pool._remove_connections,  # noqa: SLF001 - its only way to close
            autocommit=True,
        ),
    ]


def postgres_contenders(url: str, port: int) -> list[Contender]:
    """Return the synchronous contenders for PostgreSQL."""
    import psycopg
    import psycopg_pool
    import sqlalchemy

    own = parts(url, port)
    address = f"{own['user']}:{own['password']}@127.0.0.1:{port}/app"
    bare = psycopg.connect(f"postgresql://{address}", autocommit=True)
    db = warmline.Database(f"postgresql+psycopg://{address}")
    settings = {"kwargs": {"autocommit": True}, "min_size": 1, "max_size": 1, "open": True}
    pool = psycopg_pool.ConnectionPool(f"postgresql://{address}", **settings)
    checking = psycopg_pool.ConnectionPool(
        f"postgresql://{address}", check=psycopg_pool.ConnectionPool.check_connection, **settings
    )
    plain = sqlalchemy.create_engine(f"postgresql+psycopg://{address}")
    for one in (pool, checking):
        one.wait()
    return [
        Contender("psycopg, held", lambda: held(bare), bare.close, autocommit=True),
        Contender("psycopg, warmline", db.connection, db.close, autocommit=True),
        Contender("psycopg, psycopg_pool", pool.connection, pool.close, autocommit=True),
        Contender("psycopg, psycopg_pool, check", checking.connection, checking.close, autocommit=True),
        Contender(
            "psycopg, SQLAlchemy pool",
            lambda: contextlib.closing(plain.raw_connection()),
            plain.dispose,
            autocommit=False,
        ),
    ]


def trips_of(counting: Counting, action: Callable[[], None], *, times: int = 10) -> float:
    """Return the round trips of one *action*, the mean of so many."""
    before = counting.trips
    for _ in range(times):
        action()
    return (counting.trips - before) / times


def measure(contenders: list[Contender], counting: Counting) -> dict[str, dict[str, Any]]:
    """Count round trips of acquire + SELECT 1 + release, and time acquire + release alone, interleaved."""
    results: dict[str, dict[str, Any]] = {}
    for contender in contenders:
        contender.select()
        results[contender.name] = {"trips": trips_of(counting, contender.select), "acquire_us": []}
    for _ in range(ROUNDS):
        for contender in contenders:
            start_s = time.perf_counter()
            for _ in range(LOOPS):
                with contender.use():
                    pass
            results[contender.name]["acquire_us"].append((time.perf_counter() - start_s) / LOOPS * 1e6)
    for contender in contenders:
        contender.close()
    return results


async def asyncpg_results(url: str, counting: Counting) -> dict[str, dict[str, Any]]:
    """Do the same for asyncpg: held, with warmline, with its pool."""
    import asyncpg

    own = parts(url, counting.port)
    address = f"{own['user']}:{own['password']}@127.0.0.1:{counting.port}/app"
    bare = await asyncpg.connect(f"postgresql://{address}", ssl=False)
    pool = await asyncpg.create_pool(f"postgresql://{address}", min_size=1, max_size=1, ssl=False)
    db = warmline.AsyncDatabase(f"postgresql+asyncpg://{address}?sslmode=disable")

    @contextlib.asynccontextmanager
    async def one() -> Any:
        yield bare

    uses: dict[str, Any] = {"asyncpg, held": one, "asyncpg, warmline": db.connection, "asyncpg, its pool": pool.acquire}
    results: dict[str, dict[str, Any]] = {}
    for name, use in uses.items():
        async with use() as connection:
            await connection.fetchval("SELECT 1")
        before = counting.trips
        for _ in range(10):
            async with use() as connection:
                await connection.fetchval("SELECT 1")
        results[name] = {"trips": (counting.trips - before) / 10, "acquire_us": []}
    for _ in range(ROUNDS):
        for name, use in uses.items():
            start_s = time.perf_counter()
            for _ in range(LOOPS):
                async with use():
                    pass
            results[name]["acquire_us"].append((time.perf_counter() - start_s) / LOOPS * 1e6)
    await bare.close()
    await pool.close()
    await db.aclose()
    return results


def connect_trips(url: str, counting: Counting, engine: str) -> dict[str, dict[str, float]]:
    """Count the round trips of one connect, TLS off: each driver as it comes, and through the library."""
    own = parts(url, counting.port)
    address = f"{own['user']}:{own['password']}@127.0.0.1:{counting.port}/app"

    def library(scheme: str, option: str) -> Callable[[], None]:
        def once() -> None:
            db = warmline.Database(f"{scheme}://{address}?{option}=disable")
            with db.connection():
                pass
            db.close()

        return once

    def async_library(scheme: str, option: str) -> Callable[[], None]:
        async def once() -> None:
            db = warmline.AsyncDatabase(f"{scheme}://{address}?{option}=disable")
            async with db.connection():
                pass
            await db.aclose()

        return lambda: asyncio.run(once())

    bare: dict[str, tuple[Callable[[], None], Callable[[], None]]]
    if engine == "postgres":
        import asyncpg
        import psycopg

        async def asyncpg_once() -> None:
            await (await asyncpg.connect(f"postgresql://{address}", ssl=False)).close()

        bare = {
            "psycopg": (
                lambda: psycopg.connect(f"postgresql://{address}?sslmode=disable").close(),
                library("postgresql+psycopg", "sslmode"),
            ),
            "asyncpg": (lambda: asyncio.run(asyncpg_once()), async_library("postgresql+asyncpg", "sslmode")),
        }
    else:
        import aiomysql
        import asyncmy
        import mysql.connector
        import MySQLdb
        import pymysql

        async def aiomysql_once() -> None:
            renamed = {**own, "db": own["database"]}
            del renamed["database"]
            await (await aiomysql.connect(**renamed)).ensure_closed()

        async def asyncmy_once() -> None:
            await (await asyncmy.connect(**own)).ensure_closed()

        bare = {
            "PyMySQL": (
                lambda: pymysql.connect(**own, ssl_disabled=True).close(),
                library("mysql+pymysql", "ssl_mode"),
            ),
            "mysqlclient": (
                lambda: MySQLdb.connect(**own, ssl_mode="DISABLED").close(),
                library("mysql+mysqlclient", "ssl_mode"),
            ),
            "mysql-connector": (
                lambda: mysql.connector.connect(**own, ssl_disabled=True, use_pure=True).close(),
                library("mysql+mysqlconnector", "ssl_mode"),
            ),
            "aiomysql": (lambda: asyncio.run(aiomysql_once()), async_library("mysql+aiomysql", "ssl_mode")),
            "asyncmy": (lambda: asyncio.run(asyncmy_once()), async_library("mysql+asyncmy", "ssl_mode")),
        }
    # closing says goodbye, which is a message without an answer: one less, on both sides
    return {
        name: {"bare": trips_of(counting, alone), "warmline": trips_of(counting, ours)}
        for name, (alone, ours) in bare.items()
    }


def run() -> None:
    """Measure all, and write the results."""
    warnings.simplefilter("ignore")
    uses: dict[str, Any] = {}
    connects: dict[str, Any] = {}
    servers = {}
    for engine, contenders in (("mariadb", mysql_contenders), ("postgres", postgres_contenders)):
        with start(engine) as server:
            servers[engine] = server.version
            counting = Counting(server.port)
            uses |= measure(contenders(server.url, counting.port), counting)
            if engine == "postgres":
                uses |= asyncio.run(asyncpg_results(server.url, counting))
            connects |= connect_trips(server.url, counting, engine)
    result = {
        "when": time.strftime("%Y-%m-%d"),
        "servers": servers,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, 2 shared cores",
        "rounds": ROUNDS,
        "loops": LOOPS,
        "uses": uses,
        "connects": connects,
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


def readme() -> str:
    """Return the README made from the results."""
    result = json.loads(RESULTS.read_text())
    servers = ", ".join(f"{engine} {version}" for engine, version in result["servers"].items())
    lines = [
        "# What does an acquired connection cost?",
        "",
        "`python benchmarks/library/run.py` makes this page from `results/library.json`. Round trips are counted by a",
        "relay between client and server. Microseconds are those of acquire and release alone, without a statement:",
        f"median and smallest of {result['rounds']} rounds of {result['loops']}, contenders interleaved, on a machine",
        "that others used at the same time: compare rows, not machines.",
        "",
        f"{servers}; Python {result['python']}; {result['machine']}; {result['when']}.",
        "",
        "| | round trips of acquire + `SELECT 1` + release | acquire + release, median µs | smallest µs |",
        "|---|---:|---:|---:|",
    ]
    for name, row in result["uses"].items():
        samples = row["acquire_us"]
        lines.append(f"| {name} | {row['trips']:.1f} | {statistics.median(samples):.1f} | {min(samples):.1f} |")
    lines += [
        "",
        "A held connection costs and checks nothing; SQLAlchemy without pre-ping and psycopg_pool without check",
        "are compared although they hand out a dead connection. mysql-connector pings at each `cursor()` by itself.",
        "",
        "## Round trips of one connect",
        "",
        "Without TLS, on a connection that is closed at once: its goodbye counts as one, TCP's own handshake does not.",
        "",
        "| | as the driver comes | through the library |",
        "|---|---:|---:|",
    ]
    lines += [f"| {name} | {row['bare']:.1f} | {row['warmline']:.1f} |" for name, row in result["connects"].items()]
    lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only-readme", action="store_true")
    if not parser.parse_args().only_readme:
        run()
    (HERE / "README.md").write_text(readme())


if __name__ == "__main__":
    main()
