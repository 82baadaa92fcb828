"""A session on a PostgreSQL server of the user's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg

from warmline_toolkit.servers.engine import Admin
from warmline_toolkit.servers.external_errors import CONNECT_LIMIT_S, access_refused, full, not_a_database, unreachable

if TYPE_CHECKING:
    from warmline_toolkit.servers.external import ExternalServer


class Session(Admin):
    """One more connection of the user's. Raises the error that says why there is none."""

    def __init__(self, server: ExternalServer) -> None:
        where = f"{server.host}:{server.port}"
        options: dict[str, Any] = server.options()
        try:
            self.connection = psycopg.connect(
                host=server.host,
                port=server.port,
                user=server.user or None,
                password=server.password or None,
                dbname=server.database or None,
                autocommit=True,
                **{"connect_timeout": CONNECT_LIMIT_S, **options},
            )
        except psycopg.OperationalError as error:
            said = str(error).strip().splitlines()[-1]
            if "FATAL" in said:
                too_many = "too many" in said or "remaining connection slots" in said
                raise (full if too_many else access_refused)(where, said) from error
            if "invalid response" in said or "server closed the connection" in said or "unexpected" in said:
                raise not_a_database(where, "PostgreSQL", said) from error
            raise unreachable(where, said) from error
        except psycopg.Error as error:
            raise not_a_database(where, "PostgreSQL", str(error).strip()) from error

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        return self.connection.execute(sql).fetchall()

    def close(self) -> None:
        """End the session."""
        self.connection.close()
