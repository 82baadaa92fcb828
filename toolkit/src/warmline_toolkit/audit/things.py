"""What a name can turn out to be, once files are joined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from warmline_toolkit.audit.facts import Value
    from warmline_toolkit.audit.knowledge import Opener


@dataclass(frozen=True, slots=True)
class Site:
    """A call in a file: the file's path and the number of the call."""

    path: str
    call: int


@dataclass(frozen=True, slots=True)
class FunctionThing:
    """A function of the project. *kept_self* says that its `self` outlives an invocation; None when unknown."""

    path: str
    index: int
    kept_self: bool | None = None


@dataclass(frozen=True, slots=True)
class ClassThing:
    """A class of the project."""

    path: str
    index: int


@dataclass(frozen=True, slots=True)
class InstanceThing:
    """An instance of a class of the project, made at *site* (None for `self` inside its own methods)."""

    owner: ClassThing
    site: Site | None
    kept: bool | None = None


@dataclass(frozen=True, slots=True)
class OpenedThing:
    """A connection, pool, engine or client, made by the call at *site*."""

    opener: Opener
    site: Site


@dataclass(frozen=True, slots=True)
class LentThing:
    """A connection lent by the pool *owner* at *site*."""

    owner: OpenedThing
    site: Site


@dataclass(frozen=True, slots=True)
class MemberThing:
    """Attribute *name* of a connection, pool or lent connection."""

    owner: OpenedThing | LentThing
    name: str


@dataclass(frozen=True, slots=True)
class ResultThing:
    """What calling a method of a connection returned (a cursor, rows, a transaction)."""

    owner: OpenedThing | LentThing
    method: str
    site: Site


@dataclass(frozen=True, slots=True)
class ExternalThing:
    """A fully qualified name outside the project."""

    name: str


@dataclass(frozen=True, slots=True)
class ExternalResult:
    """What calling something outside the project returned."""

    name: str
    site: Site


@dataclass(frozen=True, slots=True)
class ModuleThing:
    """A file of the project as a module."""

    path: str


@dataclass(frozen=True, slots=True)
class ValueThing:
    """A literal, an environment variable, a mapping or a list, with the scope its names are read in."""

    value: Value
    path: str
    scope: int


Thing = (
    FunctionThing | ClassThing | InstanceThing | OpenedThing | LentThing | MemberThing | ResultThing
    | ExternalThing | ExternalResult | ModuleThing | ValueThing
)  # fmt: skip
