"""What a scenario is: a named experiment with its settings, the way it plays, and the claim it must bear out."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from warmline_toolkit.lab.stage import Stage
    from warmline_toolkit.measure.summary import RunSummary
    from warmline_toolkit.model.events import ReapHow

HandlerKind: TypeAlias = Literal["handler", "transfer", "idle_timer"]
"""Which of an example's handlers a scenario calls: the user list, the slow transaction, or the one with a timer."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One experiment's settings, whole: what a user may change on the command line, and what the run file repeats."""

    requests: int = 25
    environments: int = 5
    """The concurrency cap: at most this many execution environments, as reserved concurrency sets it."""
    concurrency: int | None = None
    """Requests in flight at once; None is one for each environment."""
    max_connections: int = 5
    """Connections the server leaves to the function."""
    rate_per_s: float | None = None
    """Open arrivals a second; None where requests come in waves or in a closed loop."""
    duration_s: float | None = None
    rtt_ms: float = 0.5
    """Network round-trip time that each environment's relay adds: 0.5 ms is a database in the same zone."""
    timeout_s: float = 3.0
    """The function's timeout. Lambda's default is 3 s."""
    idle_timeout_s: float = 600.0
    reap: ReapHow = "fin"
    freeze: bool = True
    processes: int = 1
    """Processes an environment: more than one is a Managed Instance."""
    scale_out_per_s: float = 100.0
    """New environments a second, as AWS refills them for one function."""
    trials: int = 5
    """Repetitions of every strategy, interleaved."""
    seed: int = 1
    server_settings: dict[str, str] = field(default_factory=dict)

    def with_options(self, **options: object) -> Settings:
        """Return these settings with every option that is not None in place of its own."""
        return dataclasses.replace(self, **{name: value for name, value in options.items() if value is not None})  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A strategy as one scenario runs it: its name in the table and what differs from the scenario's settings."""

    strategy: str
    label: str
    freeze: bool = True


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A named experiment.

    *play* drives one strategy through one trial. *check* takes the measured run and returns a sentence for every part
    of the expectation that does not hold: none when all of it does. A check speaks only of the guide's own strategies.
    """

    name: str
    title: str
    question: str
    expectation: str
    settings: Settings
    play: Callable[[Stage], Awaitable[None]]
    check: Callable[[RunSummary, Settings], list[str]]
    handler: HandlerKind = "handler"
    event: dict[str, object] = field(default_factory=dict)
    variants: tuple[Variant, ...] = ()
    """Where given, these run instead of the plain strategies."""
    engine_settings: dict[str, dict[str, str]] = field(default_factory=dict)
    """Settings of the server by engine, beside `Settings.server_settings`: {"mariadb": {"wait_timeout": "2"}}."""
