"""What is planned: functions, the databases they share, and the platform between them.

Every setting carries its unit in its name, and its range and meaning as metadata: the workload file's reader, its error
messages and its reference page all come from here.
"""

# ruff: noqa: RUF009 - setting() returns a dataclass field, never a shared default

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

StrategyName: TypeAlias = Literal["per-request", "keep-open", "pool", "proxy"]
STRATEGIES: tuple[StrategyName, ...] = ("per-request", "keep-open", "pool", "proxy")

TriggerName: TypeAlias = Literal["sync", "async", "queue"]
TRIGGERS: tuple[TriggerName, ...] = ("sync", "async", "queue")

EngineName: TypeAlias = Literal["mysql", "mariadb", "postgres", "aurora-mysql", "aurora-postgres"]
ENGINES: tuple[EngineName, ...] = ("mysql", "mariadb", "postgres", "aurora-mysql", "aurora-postgres")

ReapName: TypeAlias = Literal["fin", "rst", "silent"]
REAPS: tuple[ReapName, ...] = ("fin", "rst", "silent")

ShapeName: TypeAlias = Literal["poisson", "constant", "ramp", "daily", "burst", "file"]
SHAPES: tuple[ShapeName, ...] = ("poisson", "constant", "ramp", "daily", "burst", "file")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What a setting may be. *choices* for words; *minimum* and *maximum* for numbers; *whole* for counts."""

    doc: str
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    whole: bool = False
    text: bool = False
    flag: bool = False
    choices: tuple[str, ...] = ()

    def expectation(self) -> str:  # noqa: PLR0911 - one line a kind of rule
        """Say what is expected, for an error message and for the reference."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if self.flag:
            return "true or false"
        if self.text:
            return "a text"
        kind = "a whole number" if self.whole else "a number"
        if self.above is not None:
            return f"{kind} above {self.above:g}"
        if self.minimum is not None and self.maximum is not None:
            return f"{kind} from {self.minimum:g} to {self.maximum:g}"
        if self.minimum is not None:
            return f"{kind} of at least {self.minimum:g}"
        return kind


def setting(doc: str, default: Any = dataclasses.MISSING, **rule: Any) -> Any:
    """Declare a setting with its rule."""
    return dataclasses.field(default=default, metadata={"rule": Rule(doc=doc, **rule)})


@dataclass(frozen=True, kw_only=True)
class Arrivals:
    """How invocations arrive. *rate_per_s* is the mean; each shape says what else it needs."""

    shape: ShapeName = setting("The shape of the arrivals over time.", "poisson", choices=SHAPES)
    rate_per_s: float = setting(
        "Mean arrivals per second (poisson, constant, daily); where a ramp starts.", 0.0, minimum=0
    )
    to_rate_per_s: float | None = setting("Where a ramp ends.", None, minimum=0)
    peak_rate_per_s: float | None = setting(
        "The highest rate of a daily shape (at 15:00); twice the mean unless given.", None, minimum=0
    )
    requests: int = setting("A burst's size: this many arrivals at once, at the start.", 0, minimum=0, whole=True)
    file: str | None = setting(
        "A CSV of times or counts, or a CloudWatch export, beside the workload file.", None, text=True
    )
    times_s: tuple[float, ...] | None = None
    """Arrival times that were read from the file. Not a setting of the workload file itself."""
    counts: tuple[tuple[float, float, float], ...] | None = None
    """Counts that were read from the file: (start_s, end_s, arrivals)."""


@dataclass(frozen=True, kw_only=True)
class Function:
    """A function: what arrives, how long it runs, and how it uses its database."""

    name: str = setting("The function's name.", "function", text=True)
    database: str = setting("The name of the database it uses.", "database", text=True)
    rate_per_s: float | None = setting("Mean arrivals per second.", None, minimum=0)
    peak_rate_per_s: float | None = setting(
        "Arrivals per second in the busiest hour; the mean unless given.", None, minimum=0
    )
    concurrency: float | None = setting("Mean invocations running at once, instead of a rate.", None, minimum=0)
    environments: int | None = setting(
        "A fixed number of environments, instead of a rate.", None, minimum=0, whole=True
    )
    arrivals: Arrivals | None = None
    warm_ms: float = setting("Mean duration of an invocation in a warm environment.", 100.0, above=0)
    cold_ms: float | None = setting(
        "Mean duration of an invocation that waits for a new environment, Init included; warm_ms + 300 unless given.",
        None,
        above=0,
    )
    variation: float = setting(
        "Coefficient of variation of the durations: 0 fixed, 1 exponential, else gamma.", 1.0, minimum=0, maximum=20
    )
    memory_mb: int = setting("The function's memory.", 512, minimum=128, maximum=10240, whole=True)
    architecture: str = setting("The processor it is billed for.", "x86_64", choices=("x86_64", "arm64"))
    reserved_concurrency: int | None = setting("Its reserved concurrency: a cap.", None, minimum=0, whole=True)
    maximum_concurrency: int | None = setting(
        "The queue's own cap (SQS MaximumConcurrency).", None, minimum=1, whole=True
    )
    provisioned_concurrency: int = setting("Its provisioned concurrency.", 0, minimum=0, whole=True)
    processes: int = setting(
        "Processes in each environment (Managed Instances).", 1, minimum=1, maximum=1024, whole=True
    )
    trigger: TriggerName = setting(
        "Who waits or retries: sync (the caller), async (Lambda), queue (an event source).", "sync", choices=TRIGGERS
    )
    strategy: StrategyName = setting("How it uses its database.", "keep-open", choices=STRATEGIES)
    pool_size: int = setting("Connections each process may open (pool).", 1, minimum=1, maximum=10000, whole=True)
    connect_in_init: bool = setting("Provisioned environments connect in Init.", default=True, flag=True)
    query_ms: float | None = setting(
        "How long an invocation occupies a connection (per-request, proxy); the whole handler unless given.",
        None,
        above=0,
    )
    queries: float = setting("Queries an invocation runs.", 1.0, minimum=0)
    pinned_share: float = setting(
        "Share of its environments that pin their proxy connection.", 0.0, minimum=0, maximum=1
    )
    samples_ms: tuple[float, ...] = ()
    """Measured durations to draw from, from a lab run. Not a setting of the workload file itself."""

    @property
    def init_ms(self) -> float:
        """The Init that a cold start waits for."""
        return 300.0 if self.cold_ms is None else max(0.0, self.cold_ms - self.warm_ms)

    @property
    def connections_per_environment(self) -> int:
        """The most connections one environment keeps: processes times pool."""
        return self.processes * (self.pool_size if self.strategy == "pool" else 1)

    @property
    def cap(self) -> int | None:
        """The hardest cap on its concurrency."""
        caps = [cap for cap in (self.reserved_concurrency, self.maximum_concurrency) if cap is not None]
        return min(caps) if caps else None

    @property
    def shape(self) -> Arrivals:
        """Its arrivals over time: what it says, or Poisson at its mean rate."""
        return self.arrivals or Arrivals(shape="poisson", rate_per_s=self.mean_rate_per_s)

    @property
    def mean_rate_per_s(self) -> float:
        """Its mean rate, from the rate or from the concurrency by Little's law."""
        if self.rate_per_s is not None:
            return self.rate_per_s
        if self.arrivals is not None and self.arrivals.rate_per_s:
            return self.arrivals.rate_per_s
        return (self.concurrency or 0.0) * 1000 / self.warm_ms

    @property
    def busy_rate_per_s(self) -> float:
        """Its rate in the busiest hour."""
        if self.peak_rate_per_s is not None:
            return self.peak_rate_per_s
        if self.arrivals is not None:
            arrivals = self.arrivals
            return max(arrivals.rate_per_s, arrivals.peak_rate_per_s or 0.0, arrivals.to_rate_per_s or 0.0)
        return self.mean_rate_per_s


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """A proxy's settings, in RDS Proxy's words."""

    max_connections_percent: float = setting("Share of the limit it may use.", 100.0, above=0, maximum=100)
    borrow_timeout_s: float = setting(
        "How long a client waits for a server connection.", 120.0, minimum=0, maximum=3600
    )


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What the server does for a connection and a query: its time, and its processor's."""

    connect_ms: float = setting("Time to connect.", minimum=0)
    connect_cpu_ms: float = setting("Server CPU of one connect and close.", minimum=0)
    query_cpu_ms: float = setting("Server CPU of one query.", minimum=0)
    source: str = setting("Where these numbers come from.", "given", text=True)


@dataclass(frozen=True, kw_only=True)
class Database:
    """A database server: its engine, its size or its limit, and what is kept for others."""

    name: str = setting("The database's name.", "database", text=True)
    engine: EngineName = setting("The engine.", "mysql", choices=ENGINES)
    instance_class: str | None = setting("Its instance class (db.t4g.medium).", None, text=True)
    min_acu: float | None = setting("Aurora Serverless v2: minimum capacity.", None, minimum=0, maximum=256)
    max_acu: float | None = setting("Aurora Serverless v2: maximum capacity.", None, minimum=1, maximum=256)
    max_connections: int | None = setting(
        "Its limit, where it is set or was read from the server.", None, minimum=1, whole=True
    )
    reserved_connections: int | None = setting(
        "Connections that are not the functions' (administration, other services); 3 for PostgreSQL engines, else 1.",
        None,
        minimum=0,
        whole=True,
    )
    server_timeout_s: float = setting(
        "When the server closes an idle connection or notices a silent reap (wait_timeout, keepalive).",
        28800.0,
        above=0,
    )
    vcpus: int | None = setting(
        "Its processors; from the class unless given.", None, minimum=1, maximum=1024, whole=True
    )
    proxy: Proxy | None = None
    costs: Costs | None = None


@dataclass(frozen=True, kw_only=True)
class Platform:
    """What AWS decides: idle time, scale-out, the account's concurrency, and how an environment ends."""

    idle_timeout_s: float = setting("How long an idle environment lives.", 600.0, above=0)
    account_concurrency: int | None = setting("The account's concurrency in the region.", 1000, minimum=1, whole=True)
    scale_out_per_s: float = setting("New environments per second and function, after the burst.", 100.0, minimum=0)
    scale_out_burst: int = setting("New environments at once, per function.", 1000, minimum=1, whole=True)
    reap: ReapName = setting("What the server sees of a reaped environment's connections.", "fin", choices=REAPS)
    reuse: str = setting("Which idle environment is used next.", "newest", choices=("newest", "oldest"))
    deploy_at_s: float | None = setting("Deploy a new version of every function at this moment.", None, minimum=0)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Functions, their databases and the platform."""

    functions: tuple[Function, ...]
    databases: tuple[Database, ...]
    platform: Platform = dataclasses.field(default_factory=Platform)
    source: str = "options"
    """The file it was read from, or "options"."""

    def of(self, database: Database) -> tuple[Function, ...]:
        """Return the functions that use *database*."""
        return tuple(function for function in self.functions if function.database == database.name)


def rules(of: type) -> dict[str, Rule]:
    """Return the settings of a class of this module, by name, in order."""
    return {f.name: f.metadata["rule"] for f in dataclasses.fields(of) if "rule" in f.metadata}
