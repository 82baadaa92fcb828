"""A server's users and how each proves who they are."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

Engine: TypeAlias = Literal["mariadb", "mysql", "postgres"]
ENGINES: tuple[Engine, ...] = get_args(Engine)

AuthMethod: TypeAlias = Literal[
    "mysql_native_password", "ed25519", "caching_sha2_password", "scram-sha-256", "md5", "password", "trust"
]
AUTH_METHODS: dict[Engine, tuple[AuthMethod, ...]] = {
    "mariadb": ("mysql_native_password", "ed25519"),
    "mysql": ("caching_sha2_password",),
    "postgres": ("scram-sha-256", "md5", "password", "trust"),
}
"""Each engine's methods; the first is what a user gets who names none."""

DATABASE = "app"
ADMIN = "warmline_admin"
HOLDER = "warmline_holder"


@dataclass(frozen=True, kw_only=True)
class User:
    """A user of the database `app`, with every right in it and none outside.

    *auth* None is the engine's first method in `AUTH_METHODS`. The password is made up where none is given.
    """

    name: str = "app"
    password: str = field(default_factory=lambda: secrets.token_hex(8))
    auth: AuthMethod | None = None
