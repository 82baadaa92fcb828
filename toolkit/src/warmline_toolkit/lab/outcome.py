"""What an invocation came to: its result as the caller of Lambda's Invoke sees it, and the database's code in it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from warmline_toolkit.model.events import Outcome

ResultOutcome: TypeAlias = "Outcome | Literal['throttled']"

MAX_PAYLOAD_BYTES = 6_291_556
"""Lambda's limit for a response (and, rounded, for an event): 6 MiB and 100 bytes, as its own error message says."""


@dataclass(frozen=True, kw_only=True)
class InvocationResult:
    """What `Platform.invoke` returns.

    *payload* is the response's bytes as the runtime posted them, or the error document. *handler_ms* is from handing
    the event to the runtime until its response; *wait_ms* is what came before, a cold start's Init among it.
    """

    invocation: str
    environment: str | None
    outcome: ResultOutcome
    payload: bytes
    cold: bool = False
    wait_ms: float = 0.0
    handler_ms: float = 0.0
    status: int | None = None
    error_type: str | None = None
    error_message: str | None = None
    error_code: str | None = None
    connections_opened: int = 0
    round_trips: int = 0
    logs: tuple[str, ...] = field(default=(), repr=False)

    @property
    def ok(self) -> bool:
        """Whether the handler returned a response (whatever its `statusCode`)."""
        return self.outcome == "ok"

    def json(self) -> Any:
        """Return the payload decoded. Raises `ValueError` where it is not JSON."""
        return json.loads(self.payload)


def status_of(payload: bytes) -> int | None:
    """Return the `statusCode` of an API Gateway answer, or None where *payload* is not one."""
    if b'"statusCode"' not in payload:
        return None
    try:
        document = json.loads(payload)
    except ValueError:
        return None
    status = document.get("statusCode") if isinstance(document, dict) else None
    return status if isinstance(status, int) and not isinstance(status, bool) else None


def error_document(error_type: str, message: str) -> bytes:
    """Return the error payload that Lambda's caller gets where the platform, not the runtime, reports the error."""
    return json.dumps({"errorType": error_type, "errorMessage": message}).encode()


def read_error(payload: bytes) -> tuple[str | None, str | None]:
    """Return *errorType* and *errorMessage* of a runtime's error document; None for what it does not say."""
    try:
        document = json.loads(payload)
    except ValueError:
        return None, payload[:400].decode(errors="replace") or None
    if not isinstance(document, dict):
        return None, None
    kind, message = document.get("errorType"), document.get("errorMessage")
    return (kind if isinstance(kind, str) else None), (message if isinstance(message, str) else None)


# What the drivers' messages say where they do not carry the server's code: lower-case text → code.
_SAID = (
    ("too many clients already", "53300"),
    ("remaining connection slots are reserved", "53300"),
    ("too many connections for", "53300"),
    ("too many connections", "1040"),
    ("password authentication failed", "28P01"),
    ("access denied for user", "1045"),
    ("terminating connection due to administrator command", "57P01"),
    ("terminating connection due to idle-session timeout", "57P05"),
    ("terminating connection due to idle-in-transaction timeout", "25P03"),
    ("lock wait timeout exceeded", "1205"),
    ("deadlock found", "1213"),
    ("deadlock detected", "40P01"),
    ("server closed the connection unexpectedly", "08006"),
    ("connection is in closed state", "08003"),
    ("lost connection to mysql server", "2013"),
    ("mysql server has gone away", "2006"),
    ("the client was disconnected by the server because of inactivity", "4031"),
    ("can't connect to mysql server", "2003"),
)
_MYSQL_TUPLE = re.compile(r"\((\d{4}), ['\"]")
_SQLSTATE_FIELD = re.compile(r"(?:SQLSTATE[: ]+\[?|sqlstate['\"]?[:=] ?['\"]?)([0-9A-Z]{5})", re.IGNORECASE)
# psycopg names its classes after the SQLSTATE's name; these are the ones a connection's end can raise.
_PSYCOPG_CLASS = {
    "AdminShutdown": "57P01",
    "IdleSessionTimeout": "57P05",
    "IdleInTransactionSessionTimeout": "25P03",
    "TooManyConnections": "53300",
    "InvalidPassword": "28P01",
    "DeadlockDetected": "40P01",
    "LockNotAvailable": "55P03",
    "QueryCanceled": "57014",
    "SerializationFailure": "40001",
    "CannotConnectNow": "57P03",
}


def database_error_code(error_type: str | None, message: str | None) -> str | None:
    """Return the database's own code where an error carries one: "1040", "53300", "57P01", "2013".

    Reads PyMySQL's `(1040, 'Too many connections')`, a SQLSTATE that the text names, psycopg's class names, and the
    servers' own English sentences, which libpq and mysql2 pass on without the code. None where nothing of it is there.
    """
    text = message or ""
    found = _MYSQL_TUPLE.search(text) or _SQLSTATE_FIELD.search(text)
    if found:
        return found.group(1).upper()
    for word in (error_type or "", *re.findall(r"\(psycopg(?:2)?\.errors\.(\w+)\)", text)):
        if word in _PSYCOPG_CLASS:
            return _PSYCOPG_CLASS[word]
    lowered = text.lower()
    return next((code for said, code in _SAID if said in lowered), None)
