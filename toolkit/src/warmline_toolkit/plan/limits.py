"""How many connections a database allows: a published table, an observed value, or the engine's formula.

Order: what the server itself says or the user gives, the documented table, an observed value, the formula on a fit of
the memory that the engine sees. Each limit names where it comes from.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from warmline_toolkit.plan.errors import NoLimit, UnknownClass

if TYPE_CHECKING:
    from warmline_toolkit.plan.reference import Reference
    from warmline_toolkit.plan.workload import Database

Origin: TypeAlias = Literal["given", "server", "documented", "observed", "formula"]

GIB = 1024**3
GIB_PER_ACU = 2
VCPUS_PER_ACU = 0.25
MYSQL_BYTES_PER_CONNECTION = 12_582_880
MARIADB_BYTES_PER_CONNECTION = 25_165_760
MARIADB_CEILING = 12_000
POSTGRES_BYTES_PER_CONNECTION = 9_531_392
POSTGRES_CEILING = 5_000
AURORA_MYSQL_CEILING = 16_000
HALF_AN_ACU = 0.5


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A database's max_connections, where it comes from, and what of it is the functions'."""

    max_connections: int
    origin: Origin
    arithmetic: str
    reserved: int

    @property
    def for_functions(self) -> int:
        """What is left after the connections that are kept for others."""
        return max(0, self.max_connections - self.reserved)


@dataclass(frozen=True, kw_only=True)
class Size:
    """An instance class: its name, memory and processors."""

    name: str
    memory_gib: float
    vcpus: int


def limit_of(database: Database, reference: Reference) -> Limit:
    """Return the limit of *database*, or raise `NoLimit` or `UnknownClass`."""
    reserved = reserved_of(database)
    if database.max_connections is not None:
        return Limit(
            max_connections=database.max_connections,
            origin="given",
            arithmetic=f"max_connections = {database.max_connections:,}",
            reserved=reserved,
        )
    if database.max_acu is not None:
        return _serverless(database, reference, reserved=reserved)
    if database.instance_class is None:
        raise NoLimit(
            f"The limit of database {database.name!r} is not known.",
            next_step="Give its instance class, its maximum ACU, or max_connections.",
        )
    size = size_of(database.instance_class, reference)
    table = documented(reference, database.engine)
    if size.name in table:
        return Limit(
            max_connections=table[size.name],
            origin="documented",
            arithmetic=f"{size.name}: {table[size.name]:,} in AWS's table for {database.engine}",
            reserved=reserved,
        )
    observed = reference.limits["observed"].get(database.engine, {})
    if size.name in observed:
        return Limit(
            max_connections=int(observed[size.name]),
            origin="observed",
            arithmetic=f"{size.name}: {observed[size.name]:,} read from a server with default settings",
            reserved=reserved,
        )
    value, arithmetic = by_formula(database.engine, provisioned_memory(size.memory_gib * GIB))
    return Limit(
        max_connections=value, origin="formula", arithmetic=f"{size.name}: {arithmetic} = {value:,}", reserved=reserved
    )


def reserved_of(database: Database) -> int:
    """Return how many connections are not the functions': AWS's automation needs three on PostgreSQL."""
    if database.reserved_connections is not None:
        return database.reserved_connections
    if database.max_connections is not None and database.instance_class is None and database.max_acu is None:
        return 0
    return 3 if "postgres" in database.engine else 1


def vcpus_of(database: Database, reference: Reference) -> int | None:
    """Return the processors of *database*, where its size is known."""
    if database.vcpus is not None:
        return database.vcpus
    if database.instance_class is not None:
        return size_of(database.instance_class, reference).vcpus
    if database.max_acu is not None:
        return max(1, round(database.max_acu * VCPUS_PER_ACU))
    return None


def size_of(name: str, reference: Reference) -> Size:
    """Return memory and processors of an instance class, or raise `UnknownClass` with the nearest names."""
    known = sizes(reference)
    full = name if name.startswith("db.") else f"db.{name}"
    if full in known:
        return known[full]
    near = difflib.get_close_matches(full, known, n=3) or ["db.t4g.medium", "db.r6g.large"]
    raise UnknownClass(
        f"Unknown instance class {name!r}; the nearest known: {', '.join(near)}.",
        next_step="Correct it, give max_connections instead, or add the class to limits.families in a --data file.",
    )


def sizes(reference: Reference) -> dict[str, Size]:
    """Return every known instance class by name, smaller before larger within a family."""
    limits = reference.limits
    result: dict[str, Size] = {}
    for generation in limits["generations"]:
        for size, (gib, vcpus) in limits["families"][generation[0]].items():
            name = f"db.{generation}.{size}"
            result[name] = Size(name=name, memory_gib=limits["memory_gib"].get(name, gib), vcpus=vcpus)
    return result


def documented(reference: Reference, engine: str) -> dict[str, int]:
    """Return AWS's published table for *engine*, by class."""
    rows: list[dict[str, Any]] = reference.limits["documented"].get(engine, [])
    return {
        f"db.{family}.{size}": int(value)
        for row in rows
        for family in row["families"]
        for size, value in row["sizes"].items()
    }


def provisioned_memory(nominal_bytes: float) -> float:
    """Return DBInstanceClassMemory of a provisioned instance: a fit to AWS's r6g and t4g rows."""
    return nominal_bytes - (0.32e9 + 0.0265 * nominal_bytes)


def serverless_memory(max_acu: float) -> float:
    """Return DBInstanceClassMemory of Serverless v2 at its maximum: a fit to AWS's rows, within one connection."""
    nominal = max_acu * GIB_PER_ACU * GIB
    return nominal - (0.2137e9 + 0.0616 * nominal)


def by_formula(engine: str, memory: float) -> tuple[int, str]:
    """Return the engine's default for *memory* bytes, and the arithmetic. Division truncates, as the engines do."""
    gib = f"{memory / GIB:.2f} GiB"
    if engine == "mysql":
        return int(memory // MYSQL_BYTES_PER_CONNECTION), f"{gib} / {MYSQL_BYTES_PER_CONNECTION:,}"
    if engine == "mariadb":
        value = min(int(memory // MARIADB_BYTES_PER_CONNECTION), MARIADB_CEILING)
        return value, f"min({gib} / {MARIADB_BYTES_PER_CONNECTION:,}, {MARIADB_CEILING:,})"
    if engine in ("postgres", "aurora-postgres"):
        value = min(int(memory // POSTGRES_BYTES_PER_CONNECTION), POSTGRES_CEILING)
        return value, f"min({gib} / {POSTGRES_BYTES_PER_CONNECTION:,}, {POSTGRES_CEILING:,})"
    small = 45 * round(math.log2(memory / 805_306_368))
    large = 1000 * round(math.log2(memory / 8_187_281_408))
    return max(45, min(max(small, large), AURORA_MYSQL_CEILING)), f"max({small:,}, {large:,}) from {gib}"


def _serverless(database: Database, reference: Reference, *, reserved: int) -> Limit:
    assert database.max_acu is not None  # noqa: S101 - the caller's branch
    if not database.engine.startswith("aurora-"):
        raise UnknownClass(
            f"Database {database.name!r} has max_acu {database.max_acu:g}, but its engine is {database.engine!r}.",
            next_step="Serverless v2 is Aurora: set the engine to aurora-mysql or aurora-postgres.",
        )
    table = reference.limits["serverless"][database.engine]
    acu = database.max_acu
    value: int
    if acu in table:
        value, origin, how = int(table[acu]), "documented", "in AWS's table"
    else:
        value, arithmetic = by_formula(database.engine, serverless_memory(acu))
        origin, how = "formula", arithmetic
    ceiling = int(reference.limits["serverless_postgres_ceiling_at_half_acu"])
    if database.engine == "aurora-postgres" and (database.min_acu or 0) <= HALF_AN_ACU and value > ceiling:
        value, how = ceiling, f"{how}, capped at {ceiling:,} because the minimum is {database.min_acu or 0:g} ACU"
    return Limit(
        max_connections=value,
        origin="documented" if origin == "documented" else "formula",
        arithmetic=f"Serverless v2 up to {acu:g} ACU: {value:,} {how}",
        reserved=reserved,
    )
