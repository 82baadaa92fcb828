"""What the audit reports, and what makes up a rule."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from warmline_toolkit.audit.context import Project
    from warmline_toolkit.audit.reach import Reach, Step


class Severity(Enum):
    """How much a finding matters; the words are SARIF's levels."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"

    @property
    def rank(self) -> int:
        """Return 0 for the most severe."""
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Edit:
    """A safe change: in lines *first* to *last* of *path*, the one match of *pattern* becomes *replacement*.

    It is not applied when the lines hold no match or more than one.
    """

    path: str
    first: int
    last: int
    pattern: str
    replacement: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One mistake, with what a person needs to act on it.

    *subject* names what is wrong independent of its line (a function, a resource, a setting), so that a baseline
    survives edits above it. *chain* leads from the handler to the line; *related* holds the lines of the template or
    of other code that are part of the evidence. *numbers* are what is at stake, with the unit in each name.
    """

    code: str
    title: str
    severity: Severity
    path: str
    line: int
    message: str
    fix: str
    column: int = 1
    subject: str = ""
    chain: tuple[Step, ...] = ()
    related: tuple[Step, ...] = ()
    numbers: tuple[tuple[str, float], ...] = ()
    edits: tuple[Edit, ...] = ()
    scenario: str | None = None
    handler: str | None = None

    @property
    def fingerprint(self) -> str:
        """Identify the finding across edits: code, file and subject, not the line."""
        text = "\0".join((self.code, self.path, self.subject or self.message))
        return hashlib.sha256(text.encode()).hexdigest()[:20]


@dataclass(frozen=True, slots=True)
class Example:
    """A small project, as file names and texts, that a rule must find something in (bad) or must not (good)."""

    title: str
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: its documentation, its detection, its examples.

    *per_handler* sees one handler and all it reaches; *per_project* sees everything at once (templates, sums).
    """

    code: str
    slug: str
    title: str
    severity: Severity
    finds: str
    why: str
    fix: str
    silent_when: str
    bad: tuple[Example, ...]
    good: tuple[Example, ...]
    per_handler: Callable[[Project, Reach], Iterator[Finding]] | None = None
    per_project: Callable[[Project], Iterator[Finding]] | None = None
    scenario: str | None = None
    applies_to: tuple[str, ...] = field(default=("python", "javascript"))

    def finding(self, *, path: str, line: int, message: str, **details: object) -> Finding:
        """Return a finding of this rule; *details* are the other fields of `Finding`."""
        details.setdefault("severity", self.severity)
        details.setdefault("fix", self.fix)
        details.setdefault("scenario", self.scenario)
        return Finding(code=self.code, title=self.title, path=path, line=line, message=message, **details)  # type: ignore[arg-type]
