"""How connecting to a server of the user's can fail, the same words for every driver."""

from __future__ import annotations

from warmline_toolkit.servers.errors import AccessRefused, NotADatabase, Unreachable

CONNECT_LIMIT_S = 10


def unreachable(where: str, said: str) -> Unreachable:
    """Return the error for an address at which nothing answers."""
    return Unreachable(
        f"no database answers at {where}: {said}",
        next_step="Check host and port, and that the server runs and accepts connections from here.",
    )


def full(where: str, said: str) -> Unreachable:
    """Return the error for a server without a free connection."""
    return Unreachable(
        f"the server at {where} has no connection left: {said}",
        next_step="Close some, or raise its limit; then try again.",
    )


def access_refused(where: str, said: str) -> AccessRefused:
    """Return the error for a server that refuses this user."""
    return AccessRefused(
        f"the server at {where} does not let this user in: {said}",
        next_step="Check user, password and database in the URL (percent-encode @, : and / in the password).",
    )


def not_a_database(where: str, wanted: str, said: str) -> NotADatabase:
    """Return the error for something else than the URL says."""
    return NotADatabase(
        f"what answers at {where} is not {wanted}: {said}", next_step="Check the port, and the URL's scheme against it."
    )
