"""The guide's table: `users`, made for the example handlers and removed from a server that is the user's own."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

USERS = (
    ("Ada", "ada@example.com"),
    ("Edgar", "edgar@example.com"),
    ("Grace", "grace@example.com"),
    ("Jim", "jim@example.com"),
    ("Michael", "michael@example.com"),
)

_CREATE = (
    "CREATE TABLE users (id INT PRIMARY KEY, name VARCHAR(100) NOT NULL, email VARCHAR(200) NOT NULL,"
    " visits INT NOT NULL DEFAULT 0)"
)


def connect(url: str) -> Any:
    """Open a plain autocommit connection to *url* with the driver of its scheme."""
    parts = urlsplit(url)
    login: dict[str, Any] = {"user": unquote(parts.username or ""), "password": unquote(parts.password or "")}
    if parts.scheme.startswith("postgres"):
        import psycopg  # noqa: PLC0415 - only the engine that is used

        return psycopg.connect(
            host=parts.hostname, port=parts.port or 5432, dbname=parts.path.lstrip("/"), autocommit=True, **login
        )
    import pymysql  # noqa: PLC0415 - only the engine that is used

    return pymysql.connect(
        host=parts.hostname, port=parts.port or 3306, database=parts.path.lstrip("/"), autocommit=True, **login
    )


@contextmanager
def users_table(url: str) -> Iterator[None]:
    """Have a `users` table with five rows at *url*, made and owned by the function's user.

    A table of that name that is already there is used as it is and stays; one that is made here is dropped at the end.
    """
    connection = connect(url)
    try:
        made = not _exists(connection)
        if made:
            with connection.cursor() as cursor:
                cursor.execute(_CREATE)
                cursor.executemany(
                    "INSERT INTO users (id, name, email) VALUES (%s, %s, %s)",
                    [(number, name, email) for number, (name, email) in enumerate(USERS, start=1)],
                )
    finally:
        connection.close()
    try:
        yield
    finally:
        if made:
            connection = connect(url)
            try:
                with connection.cursor() as cursor:
                    cursor.execute("DROP TABLE users")
            finally:
                connection.close()


def _exists(connection: Any) -> bool:
    schema = "DATABASE()" if type(connection).__module__.startswith("pymysql") else "current_schema()"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT COUNT(*) FROM information_schema.tables WHERE table_name = 'users' AND table_schema = {schema}"  # noqa: S608 - one of two literals
        )
        return bool(cursor.fetchone()[0])
