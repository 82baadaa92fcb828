"""What a lab platform is told: the function's settings, Lambda's limits, and where the database is."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from warmline_toolkit.model.events import ReapHow


class DatabaseAddress(Protocol):
    """Where the database is and how the function signs in. A server of `warmline_toolkit.servers` is one."""

    @property
    def engine(self) -> str:
        """One of "mariadb", "mysql" and "postgres"."""

    @property
    def host(self) -> str:
        """The host, a loopback address for a server the lab started."""

    @property
    def port(self) -> int:
        """The TCP port."""

    @property
    def user(self) -> str:
        """The unprivileged user that the function signs in as."""

    @property
    def password(self) -> str:
        """That user's password."""

    @property
    def database(self) -> str:
        """The database (schema) to use."""


@dataclass(frozen=True, kw_only=True)
class Database:
    """A `DatabaseAddress` given by its parts."""

    engine: str
    host: str
    port: int
    user: str
    password: str
    database: str


def database_environment(database: DatabaseAddress, *, host: str, port: int) -> dict[str, str]:
    """Return the variables by which a handler finds *database* at *host*:*port* (its environment's relay).

    `DB_HOST DB_PORT DB_USER DB_PASS DB_NAME` are the guide's names; `DATABASE_URL` has the same in one value, with the
    scheme `mysql` (for MariaDB too) or `postgresql`.
    """
    scheme = "postgresql" if database.engine == "postgres" else "mysql"
    login = f"{quote(database.user, safe='')}:{quote(database.password, safe='')}"
    return {
        "DB_HOST": host,
        "DB_PORT": str(port),
        "DB_USER": database.user,
        "DB_PASS": database.password,
        "DB_NAME": database.database,
        "DATABASE_URL": f"{scheme}://{login}@{host}:{port}/{quote(database.database, safe='')}",
    }


@dataclass(frozen=True, kw_only=True)
class PlatformSettings:
    """How the emulated Lambda behaves. The defaults are Lambda's own where AWS publishes them.

    Sources of the defaults: docs/reference/lab-environments.md.
    """

    function_name: str = "lab-function"
    memory_mb: int = 1769
    """Told to the handler; the lab does not limit memory or CPU."""
    region: str = "us-east-1"
    timeout_s: float = 3.0
    """The function's timeout: from the event's delivery (and an Init inside the invoke) until the next poll."""
    init_timeout_s: float = 10.0
    """Init's limit. An overrun is redone inside the first invocation, under *timeout_s*."""

    max_concurrency: int = 1000
    """Invocations at once (reserved concurrency, or the account's quota); one more is throttled with 429."""
    scale_out_burst: int = 1000
    """New environments at once before *scale_out_per_s* counts. One more is throttled with 429."""
    scale_out_per_s: float = 100.0
    """New environments a second after that; not accumulated beyond *scale_out_burst*."""
    init_parallelism: int = field(default_factory=lambda: 8 * (os.cpu_count() or 1))
    """Inits this machine runs at once; the rest wait their turn, so that this machine's cores do not cause overruns."""

    freeze: bool = True
    """Stop an environment's processes between invocations. False only to compare with what Lambda does."""
    idle_timeout_s: float = 600.0
    """An environment idle for this long is reaped."""
    reap: ReapHow = "fin"
    """What the server sees of a reaped environment's connections. AWS does not say what Lambda does."""

    snapstart: bool = False
    """Restore environments from one snapshot of an initialised process (Python, Linux)."""
    processes_per_environment: int = 1
    """More than 1: Managed Instances, that many invocations at once in one environment, never frozen."""

    rtt_ms: float = 0.0
    """Round-trip time that every relay adds between the environment and the database."""

    python: str = sys.executable
    """The interpreter that runs Python handlers; it needs `awslambdaric` and the handler's own packages."""
    node: str = "node"
    """The program that runs Node handlers."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables of the function, above those that Lambda and the lab set."""
    scratch: Path | None = None
    """Where the environments' private TMPDIRs are made; a temporary directory of the platform's by default."""

    @property
    def arn(self) -> str:
        """The function's ARN, in AWS's example account."""
        return f"arn:aws:lambda:{self.region}:123456789012:function:{self.function_name}"

    @property
    def freezes(self) -> bool:
        """Whether environments are frozen: not on Managed Instances, and not when *freeze* is off."""
        return self.freeze and self.processes_per_environment == 1
