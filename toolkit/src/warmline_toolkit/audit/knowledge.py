"""What the audit knows of the drivers: which calls open connections, how many, and under which settings.

Defaults are those of the drivers' own documentation or source, read in 2026; a value of None means that there is no
default to rely on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What a call makes."""

    CONNECTION = "connection"
    POOL = "pool"
    MANAGED = "managed connection"
    SDK = "SDK client"


class Family(Enum):
    """The wire protocol behind a driver, where its name says so."""

    MYSQL = "mysql"
    POSTGRES = "postgres"
    ANY = "any"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Timer:
    """A setting that closes idle connections by a timer in the client. *default_ms* None means off."""

    settings: tuple[str, ...]
    unit_ms: int
    default_ms: int | None


@dataclass(frozen=True, slots=True)
class ConnectTimeout:
    """How long connecting may take. *default_s* None means that only the operating system ends it."""

    settings: tuple[str, ...]
    unit_s: float
    default_s: float | None


@dataclass(frozen=True, slots=True)
class Opener:
    """A call that opens, or will open, server connections.

    *eager* says that connections open in the call itself. *sizes* are the settings whose sum bounds the connections of
    a pool, each with its default. *checks* are settings that test a connection before it is handed out; *heals* says
    that the thing replaces a dead connection by itself.
    """

    name: str
    driver: str
    kind: Kind
    family: Family
    language: str
    eager: bool = True
    sizes: tuple[tuple[tuple[str, ...], int | None], ...] = ()
    smallest: tuple[tuple[str, ...], int] | None = None
    positional_sizes: tuple[int, ...] = ()
    idle: Timer | None = None
    connect_timeout: ConnectTimeout | None = None
    checks: tuple[str, ...] = ()
    heals: bool = False


def _python(name: str, driver: str, family: Family, **settings: object) -> Opener:
    settings.setdefault("kind", Kind.CONNECTION)
    return Opener(name=name, driver=driver, family=family, language="python", **settings)  # type: ignore[arg-type]


def _node(name: str, driver: str, family: Family, **settings: object) -> Opener:
    settings.setdefault("kind", Kind.CONNECTION)
    return Opener(name=name, driver=driver, family=family, language="javascript", **settings)  # type: ignore[arg-type]


_PYMYSQL_TIMEOUT = ConnectTimeout(("connect_timeout",), 1, 10)
_CONNECTOR_TIMEOUT = ConnectTimeout(("connection_timeout", "connect_timeout"), 1, 10)
_LIBPQ_TIMEOUT = ConnectTimeout(("connect_timeout",), 1, None)
_PSYCOPG_TIMEOUT = ConnectTimeout(("connect_timeout",), 1, 130)
_ASYNCPG_TIMEOUT = ConnectTimeout(("timeout",), 1, 60)
_PG8000_TIMEOUT = ConnectTimeout(("timeout",), 1, None)
_SQLALCHEMY = {
    "kind": Kind.POOL,
    "eager": False,
    "sizes": ((("pool_size",), 5), (("max_overflow",), 10)),
    "checks": ("pool_pre_ping",),
}
_MYSQL2_TIMEOUT = ConnectTimeout(("connectTimeout",), 0.001, 10)
_PG_TIMEOUT = ConnectTimeout(("connectionTimeoutMillis",), 0.001, None)
_MYSQL2_POOL = {
    "kind": Kind.POOL,
    "eager": False,
    "sizes": ((("connectionLimit",), 10),),
    "connect_timeout": _MYSQL2_TIMEOUT,
    "heals": True,
}
_TYPEORM = {
    "kind": Kind.POOL,
    "eager": False,
    "sizes": ((("poolSize", "extra.connectionLimit", "extra.max"), 10),),
    "heals": True,
}

_OPENERS = (
    *(
        _python(name, "pymysql", Family.MYSQL, connect_timeout=_PYMYSQL_TIMEOUT)
        for name in ("pymysql.connect", "pymysql.Connect", "pymysql.Connection", "pymysql.connections.Connection")
    ),
    *(
        _python(name, "MySQLdb", Family.MYSQL, connect_timeout=_LIBPQ_TIMEOUT)
        for name in ("MySQLdb.connect", "MySQLdb.Connection", "MySQLdb.connections.Connection", "MySQLdb.Connect")
    ),
    *(
        _python(name, "mysql.connector", Family.MYSQL, connect_timeout=_CONNECTOR_TIMEOUT)
        for name in (
            "mysql.connector.connect",
            "mysql.connector.MySQLConnection",
            "mysql.connector.connection.MySQLConnection",
            "mysql.connector.aio.connect",
        )
    ),
    *(
        _python(
            name,
            "mysql.connector",
            Family.MYSQL,
            kind=Kind.POOL,
            sizes=((("pool_size",), 5),),
            connect_timeout=_CONNECTOR_TIMEOUT,
            heals=True,
        )
        for name in ("mysql.connector.pooling.MySQLConnectionPool", "mysql.connector.MySQLConnectionPool")
    ),
    _python("mariadb.connect", "mariadb", Family.MYSQL, connect_timeout=_LIBPQ_TIMEOUT),
    _python(
        "mariadb.ConnectionPool", "mariadb", Family.MYSQL, kind=Kind.POOL, sizes=((("pool_size",), 5),), heals=True
    ),
    *(
        _python(f"{module}.connect", module, Family.MYSQL, connect_timeout=_LIBPQ_TIMEOUT)
        for module in ("aiomysql", "asyncmy")
    ),
    *(
        _python(
            f"{module}.create_pool",
            module,
            Family.MYSQL,
            kind=Kind.POOL,
            sizes=((("maxsize",), 10),),
            smallest=(("minsize",), 1),
            connect_timeout=_LIBPQ_TIMEOUT,
            checks=("pool_recycle",),
        )
        for module in ("aiomysql", "asyncmy")
    ),
    *(
        _python(name, "psycopg", Family.POSTGRES, connect_timeout=_PSYCOPG_TIMEOUT)
        for name in ("psycopg.connect", "psycopg.Connection.connect", "psycopg.AsyncConnection.connect")
    ),
    *(
        _python(
            name,
            "psycopg_pool",
            Family.POSTGRES,
            kind=Kind.POOL,
            sizes=((("max_size", "min_size"), 4),),
            smallest=(("min_size",), 4),
            checks=("check",),
        )
        for name in (
            "psycopg_pool.ConnectionPool",
            "psycopg_pool.AsyncConnectionPool",
            "psycopg_pool.pool.ConnectionPool",
            "psycopg_pool.pool_async.AsyncConnectionPool",
        )
    ),
    _python("psycopg2.connect", "psycopg2", Family.POSTGRES, connect_timeout=_LIBPQ_TIMEOUT),
    *(
        _python(
            f"psycopg2.pool.{name}",
            "psycopg2",
            Family.POSTGRES,
            kind=Kind.POOL,
            sizes=((("maxconn",), None),),
            smallest=(("minconn",), 1),
            positional_sizes=(1,),
            connect_timeout=_LIBPQ_TIMEOUT,
        )
        for name in ("SimpleConnectionPool", "ThreadedConnectionPool", "PersistentConnectionPool")
    ),
    _python("asyncpg.connect", "asyncpg", Family.POSTGRES, connect_timeout=_ASYNCPG_TIMEOUT),
    *(
        _python(
            name,
            "asyncpg",
            Family.POSTGRES,
            kind=Kind.POOL,
            sizes=((("max_size",), 10),),
            smallest=(("min_size",), 10),
            idle=Timer(("max_inactive_connection_lifetime",), 1000, 300_000),
            connect_timeout=_ASYNCPG_TIMEOUT,
            heals=True,
        )
        for name in ("asyncpg.create_pool", "asyncpg.pool.create_pool")
    ),
    *(
        _python(name, "pg8000", Family.POSTGRES, connect_timeout=_PG8000_TIMEOUT)
        for name in ("pg8000.connect", "pg8000.dbapi.connect", "pg8000.native.Connection", "pg8000.dbapi.Connection")
    ),
    *(
        _python(name, "sqlalchemy", Family.ANY, **_SQLALCHEMY)
        for name in (
            "sqlalchemy.create_engine",
            "sqlalchemy.engine.create_engine",
            "sqlalchemy.ext.asyncio.create_async_engine",
            "sqlmodel.create_engine",
        )
    ),
    *(
        _python(f"peewee.{name}", "peewee", family, kind=Kind.CONNECTION, eager=False)
        for name, family in (("MySQLDatabase", Family.MYSQL), ("PostgresqlDatabase", Family.POSTGRES))
    ),
    *(
        _python(
            f"playhouse.pool.{name}", "peewee", family, kind=Kind.POOL, eager=False, sizes=((("max_connections",), 20),)
        )
        for name, family in (("PooledMySQLDatabase", Family.MYSQL), ("PooledPostgresqlDatabase", Family.POSTGRES))
    ),
    _python("warmline.Database", "warmline", Family.ANY, kind=Kind.MANAGED, heals=True, eager=False),
    _python("warmline.AsyncDatabase", "warmline", Family.ANY, kind=Kind.MANAGED, heals=True, eager=False),
    *(
        _python(name, "boto3", Family.NONE, kind=Kind.SDK)
        for name in (
            "boto3.client",
            "boto3.resource",
            "boto3.session.Session().client",
            "boto3.session.Session().resource",
            "boto3.Session().client",
            "boto3.Session().resource",
        )
    ),
    *(
        _node(
            f"{module}.createConnection",
            "mysql2" if "2" in module else "mysql",
            Family.MYSQL,
            connect_timeout=_MYSQL2_TIMEOUT,
        )
        for module in ("mysql", "mysql2", "mysql2/promise", "promise-mysql")
    ),
    _node("mysql.createPool", "mysql", Family.MYSQL, **_MYSQL2_POOL),
    _node("promise-mysql.createPool", "mysql", Family.MYSQL, **_MYSQL2_POOL),
    *(
        _node(f"{module}.createPool", "mysql2", Family.MYSQL, idle=Timer(("idleTimeout",), 1, None), **_MYSQL2_POOL)
        for module in ("mysql2", "mysql2/promise")
    ),
    *(
        _node(f"{name}.Client", "pg", Family.POSTGRES, eager=False, connect_timeout=_PG_TIMEOUT)
        for name in ("pg", "pg.native", "pg.default")
    ),
    *(
        _node(
            name,
            "pg",
            Family.POSTGRES,
            kind=Kind.POOL,
            eager=False,
            sizes=((("max",), 10),),
            idle=Timer(("idleTimeoutMillis",), 1, 10_000),
            connect_timeout=_PG_TIMEOUT,
            heals=True,
        )
        for name in ("pg.Pool", "pg-pool", "pg.native.Pool")
    ),
    _node(
        "postgres",
        "postgres",
        Family.POSTGRES,
        kind=Kind.POOL,
        eager=False,
        sizes=((("max",), 10),),
        idle=Timer(("idle_timeout",), 1000, None),
        connect_timeout=ConnectTimeout(("connect_timeout",), 1, 30),
        heals=True,
    ),
    *(
        _node(f"typeorm.{name}", "typeorm", Family.ANY, **_TYPEORM)
        for name in ("DataSource", "createConnection", "createConnections", "Connection")
    ),
    *(
        _node(
            name,
            "sequelize",
            Family.ANY,
            kind=Kind.POOL,
            eager=False,
            sizes=((("pool.max",), 5),),
            idle=Timer(("pool.idle",), 1, 10_000),
            heals=True,
        )
        for name in ("sequelize", "sequelize.Sequelize", "sequelize-typescript.Sequelize", "@sequelize/core.Sequelize")
    ),
    *(
        _node(
            name,
            "knex",
            Family.ANY,
            kind=Kind.POOL,
            eager=False,
            sizes=((("pool.max",), 10),),
            smallest=(("pool.min",), 2),
            idle=Timer(("pool.idleTimeoutMillis",), 1, 30_000),
            heals=True,
        )
        for name in ("knex", "knex.knex", "knex.Knex")
    ),
    *(
        _node(f"{module}.PrismaClient", "prisma", Family.ANY, kind=Kind.POOL, eager=False, heals=True)
        for module in ("@prisma/client", "@prisma/client/edge")
    ),
    _node("serverless-mysql", "serverless-mysql", Family.MYSQL, kind=Kind.MANAGED, eager=False, heals=True),
    _node("serverless-postgres", "serverless-postgres", Family.POSTGRES, kind=Kind.MANAGED, eager=False, heals=True),
)

OPENERS: dict[str, Opener] = {opener.name: opener for opener in _OPENERS}

_AWS_SDK = re.compile(
    r"@aws-sdk/client-[a-z0-9-]+\.[A-Za-z0-9]*Client$|aws-sdk(?:/clients/[a-z0-9]+)?\.[A-Za-z0-9]+(?:\.DocumentClient)?$"
)

_NO_CLIENT = re.compile(r"Credentials?$|\.(Config|Endpoint|HttpRequest|Request|Service|Provider\w*)$")
DRIVER_MODULES = frozenset(name.partition(".")[0] for name in OPENERS) | {"botocore", "pymysql", "psycopg2"}
"""Top-level Python modules that are drivers, also when somebody copied one into the tree."""


def opener_of(name: str, *, is_new: bool) -> Opener | None:
    """Return the opener that the fully qualified *name* is, or None.

    `module.default` is the module itself (an ES default import); SDK clients of JavaScript are matched by pattern.
    """
    plain = name.replace(".default.", ".").removesuffix(".default")
    found = OPENERS.get(plain)
    if found is not None:
        return found
    if is_new and _AWS_SDK.match(plain) and not _NO_CLIENT.search(plain):
        return _node(plain, "aws-sdk", Family.NONE, kind=Kind.SDK)
    return None


ACQUIRES = frozenset(
    {"acquire", "getConnection", "get_connection", "getconn", "connection", "connect", "createQueryRunner", "reserve"}
)
"""Methods of a pool that lend one connection."""

SAME_THING = frozenset({"promise", "initialize", "$extends", "then", "__enter__", "__aenter__"})
"""Methods whose result is the thing itself."""

CLOSES = frozenset(
    {
        "close",
        "end",
        "destroy",
        "dispose",
        "closeall",
        "terminate",
        "disconnect",
        "$disconnect",
        "wait_closed",
        "drop",
        "quit",
        "close_all",
        "shutdown",
    }
)
"""Methods that close a connection or a whole pool."""

PINGS = frozenset(
    {
        "ping",
        "is_connected",
        "reconnect",
        "isConnected",
        "connect",
        "is_usable",
        "authenticate",
        "check",
        "close_if_unusable_or_obsolete",
    }
)
"""Methods that find out, or make sure, that a connection is alive."""

STATE = frozenset({"open", "closed", "closed_at", "isInitialized", "is_closed", "_closed", "state", "threadId"})

QUERIES = frozenset(
    {
        "execute",
        "executemany",
        "query",
        "fetch",
        "fetchrow",
        "fetchval",
        "fetchall",
        "run",
        "callproc",
        "cursor",
        "raw",
        "$queryRaw",
        "$executeRaw",
        "$queryRawUnsafe",
        "exec_driver_sql",
        "scalar",
        "scalars",
        "execute_async",
        "executescript",
    }
)
"""Methods that send a statement (or make the cursor that will)."""

SAFE_PASSING = frozenset(
    {
        "contextlib.closing",
        "contextlib.aclosing",
        "asyncio.run",
        "asyncio.wait_for",
        "Promise.resolve",
        "enter_context",
        "enter_async_context",
        "run_until_complete",
        "wait_for",
        "nullcontext",
        "util.promisify",
        "Object.freeze",
    }
)
"""Calls that return what they are given."""

CACHING_DECORATORS = frozenset(
    {
        "functools.lru_cache",
        "functools.cache",
        "lru_cache",
        "cache",
        "cached_property",
        "functools.cached_property",
        "cachetools.cached",
        "cached",
        "singleton",
        "memoize",
    }
)
"""Decorators after which the body runs once a process (for its arguments)."""

_WORDS = (
    "mysql MySQLdb mariadb psycopg asyncpg pg8000 sqlalchemy sqlmodel peewee playhouse warmline boto3 aws-sdk asyncmy "
    "'pg' \"pg\" pg-pool 'postgres' \"postgres\" typeorm equelize knex prisma serverless-postgres"
)
SCAN_WORDS = tuple(word.encode() for word in _WORDS.split())
"""The cheap first look: a file that holds none of these can only be a link between files that do."""

IDLE_WINDOW_MS = 600_000
"""How long an idle environment is assumed to live (10 minutes; AWS publishes no number)."""
