"""From a workload's database to the server that the simulation sees, and one simulation for each database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from warmline_toolkit.plan.errors import NoLimit, TooLarge
from warmline_toolkit.plan.limits import limit_of, vcpus_of
from warmline_toolkit.plan.size import costs_of

if TYPE_CHECKING:
    from warmline_toolkit.plan.limits import Limit
    from warmline_toolkit.plan.reference import Reference
    from warmline_toolkit.plan.simulate.result import Simulation
    from warmline_toolkit.plan.simulate.run import Server
    from warmline_toolkit.plan.workload import Database, Workload

MOST_ARRIVALS = 200_000_000
"""About four gigabytes and five minutes."""


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """A database with what the simulation of its functions found. *limit* is None where the workload gives none."""

    database: Database
    limit: Limit | None
    simulation: Simulation


def simulate_workload(
    workload: Workload, reference: Reference, *, duration_s: float, seed: int, intervals: int = 240
) -> tuple[Predicted, ...]:
    """Simulate every database of *workload* with its functions: databases share nothing, so each is its own run."""
    from warmline_toolkit.plan.simulate.run import simulate  # noqa: PLC0415 - loads the compiler

    refuse_too_large(workload, duration_s=duration_s)
    found = []
    for database in workload.databases:
        functions = workload.of(database)
        if not functions:
            continue
        limit = known_limit(database, reference)
        simulation = simulate(
            functions,
            server=server_of(database, limit, reference),
            platform=workload.platform,
            duration_s=duration_s,
            seed=seed,
            intervals=intervals,
        )
        found.append(Predicted(database=database, limit=limit, simulation=simulation))
    return tuple(found)


def refuse_too_large(workload: Workload, *, duration_s: float) -> None:
    """Raise `TooLarge` where the arrivals would not fit in memory."""
    from warmline_toolkit.plan.arrivals import expected_count  # noqa: PLC0415 - loads numpy

    expected = sum(expected_count(function.shape, duration_s=duration_s) for function in workload.functions)
    if expected > MOST_ARRIVALS:
        raise TooLarge(
            f"{expected:,.0f} arrivals in {duration_s:,.0f} s; at most {MOST_ARRIVALS:,} are simulated.",
            next_step="Simulate a shorter time: --duration. A few idle timeouts are enough for most questions.",
        )


def known_limit(database: Database, reference: Reference) -> Limit | None:
    """Return the database's limit, or None where the workload says nothing about it."""
    try:
        return limit_of(database, reference)
    except NoLimit:
        return None


def server_of(database: Database, limit: Limit | None, reference: Reference) -> Server:
    """Return the server as the simulation sees it. Without a limit and costs, connecting is free and never refused."""
    from warmline_toolkit.plan.simulate.run import Server  # noqa: PLC0415 - loads the compiler

    return Server(
        limit=None if limit is None else limit.for_functions,
        server_timeout_s=database.server_timeout_s,
        vcpus=vcpus_of(database, reference),
        costs=None if limit is None and database.costs is None else costs_of(database, reference),
        proxy=database.proxy,
    )
