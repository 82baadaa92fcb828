"""Every decision is an event: counted always, told to a callback, standard logging and CloudWatch when asked."""

from __future__ import annotations

import sys
from enum import Enum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from warmline._environment import Invocation
    from warmline._policy import Reason


class Kind(str, Enum):
    """What happened."""

    CONNECT = "connect"
    REUSE = "reuse"
    PING = "ping"
    DISCARD = "discard"
    RETRY = "retry"
    REFUSE = "refuse"
    ROLLBACK = "rollback"
    RESET = "reset"
    CANCEL = "cancel"
    REPLAY = "replay"


class Event:
    """One decision: *kind*, *reason*, how many microseconds it took, and a text for people. Holds no credential."""

    __slots__ = ("elapsed_us", "kind", "reason", "text")

    def __init__(self, kind: Kind, reason: Reason, *, elapsed_us: int = 0, text: str = "") -> None:
        self.kind = kind
        self.reason = reason
        self.elapsed_us = elapsed_us
        self.text = text

    def __repr__(self) -> str:
        return (
            f"<Event {self.kind.value} {self.reason.value} {self.elapsed_us} us{' ' + self.text if self.text else ''}>"
        )


class Events:
    """Counts events, and passes them on.

    A callback that raises does not break the invocation: its exception is logged. Nothing here imports `logging` unless
    the program already did; a Lambda runtime always has.
    """

    __slots__ = ("_callback", "_logger", "counts")

    def __init__(self, callback: Callable[[Event], None] | None) -> None:
        self._callback = callback
        self._logger: Any = None
        self.counts: dict[str, int] = {}

    def tell(
        self, kind: Kind, reason: Reason, *, elapsed_us: int = 0, text: str = "", invocation: Invocation | None = None
    ) -> None:
        """Record one event. Without a callback or a DEBUG log level it costs two dictionary updates."""
        name = kind._value_  # the property `value` costs several times as much
        self.counts[name] = self.counts.get(name, 0) + 1
        if invocation is not None:
            invocation.counts[name] = invocation.counts.get(name, 0) + 1
            if kind is Kind.CONNECT:
                invocation.counts["connect_us"] = invocation.counts.get("connect_us", 0) + elapsed_us
        logger = self._logger
        if logger is None and "logging" in sys.modules:
            logger = self._logger = sys.modules["logging"].getLogger("warmline")
        if logger is not None and logger.isEnabledFor(10):
            logger.debug("%s %s %d us%s", name, reason.value, elapsed_us, f" {text}" if text else "")
        if self._callback is None:
            return
        try:
            self._callback(Event(kind, reason, elapsed_us=elapsed_us, text=text))
        except Exception:
            if logger is not None:
                logger.exception("the on_event callback raised")


def warn(message: str, *arguments: object) -> None:
    """Log a warning on the `warmline` logger."""
    import logging  # noqa: PLC0415 - only who has something to say pays for it

    logging.getLogger("warmline").warning(message, *arguments)


def emf_line(invocation: Invocation, *, function: str, strategy: str, timestamp_ms: int) -> str:
    """Return one CloudWatch embedded-metric line for an ended invocation: its counts, and its connect time."""
    import json  # noqa: PLC0415 - only who asks for metrics pays for it

    counts = invocation.counts
    metrics = {
        "Connects": counts.get("connect", 0),
        "Reuses": counts.get("reuse", 0),
        "Pings": counts.get("ping", 0),
        "Discards": counts.get("discard", 0),
        "Refusals": counts.get("refuse", 0),
        "Rollbacks": counts.get("rollback", 0),
        "ConnectTime": counts.get("connect_us", 0),
    }
    units = [{"Name": name, "Unit": "Microseconds" if name == "ConnectTime" else "Count"} for name in metrics]
    body: dict[str, object] = {
        "_aws": {
            "Timestamp": timestamp_ms,
            "CloudWatchMetrics": [
                {"Namespace": "warmline", "Dimensions": [["Function", "Strategy"]], "Metrics": units}
            ],
        },
        "Function": function,
        "Strategy": strategy,
        **metrics,
    }
    if invocation.request_id is not None:
        body["RequestId"] = invocation.request_id
    return json.dumps(body, separators=(",", ":"))
