"""What can be told from a statement's text alone. Every doubt falls on the side that claims less."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

SHOWN_CHARACTERS = 120

_LEAD = r"(?:^|;)(?:\s|/\*(?!!).*?\*/|--[^\n]*\n|#[^\n]*\n|\()*"


class Pattern:
    """One case-insensitive pattern over statements that are text or bytes; compiled when it is first asked."""

    __slots__ = ("_pattern", "_search_bytes", "_search_text")

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._search_text: Callable[[str], object] | None = None
        self._search_bytes: Callable[[bytes], object] | None = None

    def __call__(self, statement: Any) -> bool:
        """Say whether the pattern occurs in *statement*."""
        if self._search_text is None or self._search_bytes is None:
            import re  # noqa: PLC0415 - kept out of the import of the library, which is paid on every cold start

            self._search_text = re.compile(self._pattern, re.IGNORECASE | re.DOTALL).search
            self._search_bytes = re.compile(self._pattern.encode(), re.IGNORECASE | re.DOTALL).search
        if isinstance(statement, (bytes, bytearray)):
            return self._search_bytes(bytes(statement)) is not None
        return self._search_text(statement if isinstance(statement, str) else str(statement)) is not None


changes_session = Pattern(
    _LEAD
    + r"(?:set\s(?!\s*(?:local|transaction|statement|constraints)\b)|use\s|reset\b|listen\b|load\b|lock\s+tables?\b|"
    r"flush\s+tables\b|create\s+(?:or\s+replace\s+)?(?:local\s+|global\s+)?temp|handler\b|xa\b|prepare\b|declare\b|do\s|"
    r"call\b)|/\*!|\b(?:get_lock|set_config|pg_(?:try_)?advisory_lock(?:_shared)?)\s*\(|@\w+\s*:=|\binto\s+(?:@|temp)"
)
"""Leaves something behind in the session: a variable, a lock, a temporary table, a cursor."""

prepares = Pattern(_LEAD + r"(?:prepare\b(?!\s+transaction)|load\b|handler\b|xa\b)")
"""Leaves something behind that a reset might not remove."""

reads = Pattern(
    r"^(?:\s|\()*(?:select|show|explain|describe|desc|values|table|set|begin|start|rollback|savepoint|use|fetch)\b"
)
"""Begins like a statement that writes nothing."""

_writes_anyway = Pattern(r"\binto\b|\bfor\s+(?:update|share)\b|;\s*\S|\w\s*\(|\banalyze\b|\bsession_user\b|@")

begins_anew = Pattern(r"^\s*(?:rollback|begin|start|commit)\b")
"""Leaves a transaction that failed, or opens another."""

rolls_back = Pattern(r"^\s*rollback\b(?!\s+(?:work\s+)?to\b)")
"""Ends a transaction without a trace."""

ends_transaction = Pattern(_LEAD + r"(?:commit|end|prepare\s+transaction|xa\s+(?:commit|prepare))\b")
"""Contains a COMMIT."""

_stays_in_transaction = Pattern(
    r"^(?:\s|\()*(?:select|insert|update|delete|replace|with|savepoint|release\s+savepoint|rollback|show|values|table|begin|start)\b"
)
_another_follows = Pattern(r";\s*\S")

says_read_only = Pattern(r"\bread\s+only\b")
"""Opens a transaction that the caller wants read only."""


def cannot_write(statement: Any) -> bool:
    """Say whether *statement* surely changes nothing: a plain read, no function call, lock or second statement."""
    return reads(statement) and not _writes_anyway(statement)


def is_all_or_nothing(statement: Any) -> bool:
    """Say whether *statement*, cancelled, surely left nothing behind: no procedure, no second statement."""
    return _stays_in_transaction(statement) and not _another_follows(statement)


def may_commit(statement: Any, *, commits_implicitly: bool) -> bool:
    """Say whether *statement*, run inside a transaction, may commit it.

    *commits_implicitly* is True for MySQL, where DDL commits, and a procedure may.
    """
    if ends_transaction(statement):
        return True
    return commits_implicitly and (not _stays_in_transaction(statement) or _another_follows(statement))


def shown(statement: Any) -> str:
    """Return the beginning of *statement* for a message, on one line, without the values in its quotes."""
    text = statement.decode("utf-8", "replace") if isinstance(statement, (bytes, bytearray)) else str(statement)
    text = " ".join(text[: 4 * SHOWN_CHARACTERS].split())
    pieces = text.split("'")
    text = "'…'".join(pieces[::2])
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
