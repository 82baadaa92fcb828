"""The database's limit, from the planner: the audit has no tables of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from warmline_toolkit.plan import workload
from warmline_toolkit.plan.errors import NoLimit, UnknownClass
from warmline_toolkit.plan.limits import limit_of
from warmline_toolkit.plan.reference import shipped

if TYPE_CHECKING:
    from warmline_toolkit.audit.templates import Database

_ENGINES = {
    "mysql": "mysql",
    "mariadb": "mariadb",
    "postgres": "postgres",
    "aurora": "aurora-mysql",
    "aurora-mysql": "aurora-mysql",
    "aurora-postgresql": "aurora-postgres",
}


@dataclass(frozen=True, slots=True)
class KnownLimit:
    """A database's max_connections, what of it is left for functions, and where the number comes from."""

    max_connections: int
    for_functions: int
    source: str


def known_limit(database: Database) -> KnownLimit | None:
    """Return the limit of a template's database, or None when its size is not written or not known."""
    engine = _ENGINES.get(database.engine or "")
    if engine is None or (database.instance_class is None and database.max_acu is None):
        return None
    serverless = database.max_acu is not None and database.instance_class in {None, "db.serverless"}
    try:
        asked = workload.Database(
            engine=engine,  # type: ignore[arg-type]  # one of the planner's names, by the table above
            instance_class=None if serverless else database.instance_class,
            min_acu=database.min_acu if serverless else None,
            max_acu=database.max_acu if serverless else None,
        )
        limit = limit_of(asked, shipped())
    except (NoLimit, UnknownClass):
        return None
    return KnownLimit(limit.max_connections, limit.for_functions, limit.arithmetic)
