"""The settings of a `Database`: checked once, never changed."""

from __future__ import annotations

from warmline._errors import SettingsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Strategy = Literal["keep-open", "per-request", "pool"]
    Via = Literal["auto", "direct", "rds-proxy", "pgbouncer", "warmline-proxy"]

STRATEGIES = ("keep-open", "per-request", "pool")
VIAS = ("auto", "direct", "rds-proxy", "pgbouncer", "warmline-proxy")
DEFAULT_CONNECTION_LIMIT = 10


class Settings:
    """What the user chose, with the meaning of each in `Database`."""

    __slots__ = (
        "acquire_timeout_s",
        "close_when_crowded",
        "connect_budget_s",
        "connect_timeout_s",
        "connection_limit",
        "max_lifetime_s",
        "ping_after_s",
        "queue_limit",
        "strategy",
        "via",
        "wait_for_connections",
    )

    def __init__(  # noqa: PLR0913 - one argument a setting, all by keyword
        self,
        *,
        strategy: str,
        via: str,
        connection_limit: int | None,
        wait_for_connections: bool,
        queue_limit: int,
        ping_after_s: float,
        max_lifetime_s: float,
        connect_timeout_s: float,
        connect_budget_s: float,
        acquire_timeout_s: float,
        close_when_crowded: bool,
    ) -> None:
        if strategy not in STRATEGIES:
            raise SettingsError(f"strategy is {strategy!r}", next_step=f"Use one of {', '.join(STRATEGIES)}.")
        if via not in VIAS:
            raise SettingsError(f"via is {via!r}", next_step=f"Use one of {', '.join(VIAS)}.")
        if connection_limit is not None and strategy != "pool":
            raise SettingsError(
                f"connection_limit is given with strategy {strategy!r}, which holds one connection",
                next_step='Use strategy="pool", or leave it out.',
            )
        limit = 1 if strategy != "pool" else DEFAULT_CONNECTION_LIMIT if connection_limit is None else connection_limit
        if limit < 1:
            raise SettingsError(f"connection_limit is {limit}", next_step="Use 1 or more.")
        if queue_limit < 0:
            raise SettingsError(f"queue_limit is {queue_limit}", next_step="Use 0 for no limit, or 1 or more.")
        for name, value in (
            ("ping_after_s", ping_after_s),
            ("max_lifetime_s", max_lifetime_s),
            ("connect_timeout_s", connect_timeout_s),
            ("connect_budget_s", connect_budget_s),
            ("acquire_timeout_s", acquire_timeout_s),
        ):
            if value < 0 or (value == 0 and name not in ("ping_after_s", "acquire_timeout_s")):
                raise SettingsError(f"{name} is {value}", next_step="Use a positive number of seconds.")
        self.strategy = strategy
        self.via = via
        self.connection_limit = limit
        self.wait_for_connections = wait_for_connections
        self.queue_limit = queue_limit
        self.ping_after_s = ping_after_s
        self.max_lifetime_s = max_lifetime_s
        self.connect_timeout_s = connect_timeout_s
        self.connect_budget_s = connect_budget_s
        self.acquire_timeout_s = acquire_timeout_s
        self.close_when_crowded = close_when_crowded
