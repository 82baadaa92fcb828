"""Database connections that are right inside an AWS Lambda function."""

from __future__ import annotations

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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from warmline._async import AsyncDatabase

__version__ = "0.1.0"

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
    """Import what needs asyncio only when it is asked for: asyncio alone takes tens of milliseconds."""
    if name == "AsyncDatabase":
        from warmline._async import AsyncDatabase  # noqa: PLC0415 - see above

        return AsyncDatabase
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
