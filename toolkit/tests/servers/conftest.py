"""Connecting to any engine as its user would."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import psycopg
import pymysql
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


class Clients:
    """Plain driver connections to a server, all closed when the test ends."""

    def __init__(self) -> None:
        self.stack = ExitStack()

    def connect(self, server, *, user=None, password=None, database=None, port=None, **options):
        user = user or server.user
        password = password if password is not None else server.users[user].password
        settings = {"host": server.host, "port": port or server.port, "user": user, "password": password}
        if server.engine == "postgres":
            connection = psycopg.connect(**settings, dbname=database or server.database, autocommit=True, **options)
        else:
            connection = pymysql.connect(**settings, database=database or server.database, autocommit=True, **options)
        return self.stack.enter_context(_closing(connection))

    def refused(self, server, **options) -> str:
        """Return the server's code for a connection that it must refuse."""
        with pytest.raises((psycopg.OperationalError, pymysql.MySQLError)) as caught:
            self.connect(server, **options)
        if server.engine == "postgres":
            return str(caught.value)
        return str(caught.value.args[0])

    @staticmethod
    def query(connection, sql):
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return [tuple(row) for row in cursor.fetchall()]


class _closing:  # noqa: N801 - a context manager, as contextlib's
    def __init__(self, connection) -> None:
        self.connection = connection

    def __enter__(self):
        return self.connection

    def __exit__(self, *error) -> None:
        if isinstance(self.connection, psycopg.Connection) or self.connection.open:
            self.connection.close()


@pytest.fixture
def clients() -> Iterator[Clients]:
    made = Clients()
    with made.stack:
        yield made
