"""Ask a live server for its limit: the command line's own network access, never the planner's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from warmline_toolkit.plan.errors import BadWorkload, ServerUnreachable

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from warmline_toolkit.plan.workload import EngineName

CONNECT_TIMEOUT_S = 10
SCHEMES = ("mysql", "mariadb", "postgresql", "postgres")


@dataclass(frozen=True, kw_only=True)
class Live:
    """What the server says about its limit. *reserved* is what it keeps for administrators."""

    engine: EngineName
    version: str
    max_connections: int
    reserved: int


def read_limit(url: str) -> Live:
    """Return the limit of the server at *url*; takes one connection for a moment."""
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES or not parts.hostname:
        raise BadWorkload(
            f"--url has the scheme {parts.scheme!r}; expected mysql://, mariadb:// or postgresql:// with a host.",
            next_step="--url mysql://user:password@host:3306/database",
        )
    return _postgres(url, parts) if parts.scheme.startswith("postgres") else _mysql(parts)


def _mysql(parts: SplitResult) -> Live:
    import pymysql  # noqa: PLC0415 - only where a server is asked

    try:
        connection = pymysql.connect(
            host=parts.hostname,
            port=parts.port or 3306,
            user=unquote(parts.username or "root"),
            password=unquote(parts.password or ""),
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=CONNECT_TIMEOUT_S,
        )
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT @@max_connections, VERSION()")
            row = cursor.fetchone()
    except pymysql.Error as error:
        raise _unreachable(parts, error) from error
    assert row is not None  # noqa: S101 - a SELECT of constants has a row
    version = str(row[1])
    return Live(
        engine="mariadb" if "mariadb" in version.lower() else "mysql",
        version=version.split("-", maxsplit=1)[0],
        max_connections=int(row[0]),
        reserved=0,  # the administrator's one connection is extra on MySQL and MariaDB
    )


def _postgres(url: str, parts: SplitResult) -> Live:
    import psycopg  # noqa: PLC0415 - only where a server is asked

    try:
        with psycopg.connect(url, connect_timeout=CONNECT_TIMEOUT_S) as connection:
            rows: list[tuple[str, str]] = list(
                connection.execute(
                    "SELECT name, setting FROM pg_settings WHERE name IN "
                    "('max_connections', 'superuser_reserved_connections', 'reserved_connections', 'server_version')"
                ).fetchall()
            )
    except psycopg.Error as error:
        raise _unreachable(parts, error) from error
    settings = dict(rows)
    return Live(
        engine="postgres",
        version=str(settings["server_version"]).split()[0],
        max_connections=int(settings["max_connections"]),
        reserved=int(settings["superuser_reserved_connections"]) + int(settings.get("reserved_connections", 0)),
    )


def _unreachable(parts: SplitResult, error: Exception) -> ServerUnreachable:
    reason = " ".join(str(error).split())
    return ServerUnreachable(
        f"The server at {parts.hostname}:{parts.port or 'its usual port'} did not answer: {reason}.",
        next_step="Check host, port, user and password; the planner needs to connect once.",
    )
