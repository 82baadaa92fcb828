"""Database connections that are right inside an AWS Lambda function."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from warmline._async import AsyncDatabase
    from warmline._credentials import Credential, Password
    from warmline._database import Database
    from warmline._errors import (
        AuthRejected,
        CommitUnknown,
        DeadlineExceeded,
        DriverMissing,
        Error,
        NotSent,
        OutcomeUnknown,
        PoolTimeout,
        QueueFull,
        ReadOnlyServer,
        SettingsError,
        TooManyConnections,
        TransactionLost,
        UsedAfterRelease,
    )
    from warmline._events import Event, Kind
    from warmline._hooks import close_on_sigterm
    from warmline._policy import Reason

__version__ = "0.1.0"

_HOMES = {
    "AsyncDatabase": "_async",
    "AuthRejected": "_errors",
    "CommitUnknown": "_errors",
    "Credential": "_credentials",
    "Database": "_database",
    "DeadlineExceeded": "_errors",
    "DriverMissing": "_errors",
    "Error": "_errors",
    "Event": "_events",
    "Kind": "_events",
    "NotSent": "_errors",
    "OutcomeUnknown": "_errors",
    "Password": "_credentials",
    "PoolTimeout": "_errors",
    "QueueFull": "_errors",
    "ReadOnlyServer": "_errors",
    "Reason": "_policy",
    "SettingsError": "_errors",
    "TooManyConnections": "_errors",
    "TransactionLost": "_errors",
    "UsedAfterRelease": "_errors",
    "close_on_sigterm": "_hooks",
}

__all__ = [
    "AsyncDatabase",
    "AuthRejected",
    "CommitUnknown",
    "Credential",
    "Database",
    "DeadlineExceeded",
    "DriverMissing",
    "Error",
    "Event",
    "Kind",
    "NotSent",
    "OutcomeUnknown",
    "Password",
    "PoolTimeout",
    "QueueFull",
    "ReadOnlyServer",
    "Reason",
    "SettingsError",
    "TooManyConnections",
    "TransactionLost",
    "UsedAfterRelease",
    "close_on_sigterm",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for: importing the package itself costs next to nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - see above

    value = getattr(import_module(f"warmline.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
