"""Who the library logs in as: a provider is asked for each new connection, and told when its answer is rejected."""

from __future__ import annotations

import os

from warmline._errors import SettingsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Provider(Protocol):
        """Where credentials come from. `Password` is the simplest; IAM tokens and secrets are others."""

        needs_verified_tls: bool
        """True where what is sent must not be readable on the path: the library then refuses to connect without it."""

        @property
        def epoch(self) -> int:
            """Grows when the credential changes: connections made with an older one are retired at their next use."""
            ...

        def credential(self, *, host: str, port: int, user: str, timeout_s: float) -> Credential:
            """Return what to log in with. May take a network call of up to *timeout_s*; caches as it sees fit."""
            ...

        def rejected(self, credential: Credential) -> bool:
            """Take note that the server rejected *credential*; say whether asking again gives another one."""
            ...


class Credential:
    """A user and a password. Its `repr` shows neither."""

    __slots__ = ("password", "user")

    def __init__(self, *, user: str, password: str | None) -> None:
        self.user = user
        self.password = password

    def __repr__(self) -> str:
        return "<Credential>"


class Password:
    """A password that is given, or read from the environment variable *env* at each connect."""

    needs_verified_tls = False
    epoch = 0

    def __init__(self, value: str | None = None, *, env: str | None = None) -> None:
        if value is not None and env is not None:
            raise SettingsError("Password() got a value and env=", next_step="Give one of them.")
        self._value = value
        self._env = env

    def __repr__(self) -> str:
        return f"Password(env={self._env!r})" if self._env else "Password(…)"

    def credential(self, *, host: str, port: int, user: str, timeout_s: float) -> Credential:
        """Return the password; raise `SettingsError` when the environment variable is not set."""
        del host, port, timeout_s
        if self._env is None:
            return Credential(user=user, password=self._value)
        if self._env not in os.environ:
            raise SettingsError(
                f"the environment variable {self._env} is not set", next_step="Set it to the database password."
            )
        return Credential(user=user, password=os.environ[self._env])

    def rejected(self, credential: Credential) -> bool:
        """Say whether the environment holds another password by now."""
        return self._env is not None and os.environ.get(self._env) not in (None, credential.password)


class FromCallable:
    """A function that returns the password, or a (user, password) pair; called for each new connection."""

    needs_verified_tls = False

    def __init__(self, function: Callable[[], str | tuple[str, str]]) -> None:
        self._function = function
        self.epoch = 0

    def __repr__(self) -> str:
        return "FromCallable(…)"

    def credential(self, *, host: str, port: int, user: str, timeout_s: float) -> Credential:
        """Call the function."""
        del host, port, timeout_s
        answer = self._function()
        if isinstance(answer, str):
            return Credential(user=user, password=answer)
        return Credential(user=answer[0], password=answer[1])

    def rejected(self, credential: Credential) -> bool:
        """Say that the function may return another one: it is asked once more."""
        del credential
        self.epoch += 1
        return True


def provider(
    auth: Provider | str | Callable[[], str | tuple[str, str]] | None, *, url_password: str | None
) -> Provider:
    """Return the provider for what was given as *auth*: a provider, a password, a function, or the URL's password."""
    if auth is None:
        return Password(url_password)
    if isinstance(auth, str):
        return Password(auth)
    if callable(auth):
        return FromCallable(auth)
    return auth
