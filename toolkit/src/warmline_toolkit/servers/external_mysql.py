"""A session on a MySQL or MariaDB server of the user's."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pymysql
from pymysql.constants import CR

from warmline_toolkit.servers.engine import Admin
from warmline_toolkit.servers.external_errors import CONNECT_LIMIT_S, access_refused, full, not_a_database, unreachable

if TYPE_CHECKING:
    from warmline_toolkit.servers.external import ExternalServer

_ACCESS = {1044, 1045, 1049, 1130, 1698, 3118, 1862}
_FULL = {1040, 1203, 1226}


class Session(Admin):
    """One more connection of the user's. Raises the error that says why there is none."""

    def __init__(self, server: ExternalServer) -> None:
        options: dict[str, Any] = {name: v for name, v in server.options().items() if name in ("ssl_ca", "charset")}
        where = f"{server.host}:{server.port}"
        try:
            self.connection = pymysql.connect(
                host=server.host,
                port=server.port,
                user=server.user,
                password=server.password,
                database=server.database or None,
                autocommit=True,
                connect_timeout=CONNECT_LIMIT_S,
                read_timeout=CONNECT_LIMIT_S,
                **options,
            )
        except pymysql.MySQLError as error:
            code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
            said = str(error.args[-1]) if error.args else type(error).__name__
            if code in _ACCESS:
                raise access_refused(where, f"error {code}: {said}") from error
            if code in _FULL:
                raise full(where, f"error {code}: {said}") from error
            if code == CR.CR_CONN_HOST_ERROR:
                raise unreachable(where, said) from error
            raise not_a_database(where, "MySQL or MariaDB", said) from error
        except (OSError, ValueError, IndexError, RuntimeError) as error:
            raise not_a_database(where, "MySQL or MariaDB", f"{type(error).__name__}: {error}") from error

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        with self.connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def close(self) -> None:
        """End the session."""
        with contextlib.suppress(pymysql.MySQLError):
            self.connection.close()
