"""`warmline plan calibrate`."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from warmline_toolkit.cli._plan.output import write

if TYPE_CHECKING:
    from warmline_toolkit.plan.workload import Costs
    from warmline_toolkit.servers import Server

ENGINES_OF = {
    "mariadb": ("mariadb", "mysql", "aurora-mysql"),
    "mysql": ("mysql", "aurora-mysql", "mariadb"),
    "postgres": ("postgres", "aurora-postgres"),
}
"""Which engines of the planner a measured one stands for."""

WARM_UP = 20


@click.command(short_help="Measure connect and query costs here, for the model.")
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.option(
    "--database",
    type=click.Choice(sorted(ENGINES_OF)),
    default="mariadb",
    show_default=True,
    help="The engine: a private server is started and measured; with RUN, the engine it ran on.",
)
@click.option("--connects", type=click.IntRange(min=50), default=300, show_default=True, help="Connects to time.")
@click.option("--queries", type=click.IntRange(min=500), default=10_000, show_default=True, help="Queries to run.")
@click.option("--tls/--no-tls", default=False, show_default=True, help="Connect with TLS.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write the data file here.")
def calibrate(  # noqa: PLR0913 - one parameter an option
    *, run: Path | None, database: str, connects: int, queries: int, tls: bool, output: Path | None
) -> None:
    r"""Measure what a connect and a query cost on this machine, and print a data file for --data.

    With RUN (the run file of `warmline lab run`), take the costs from its strategies instead.

    \b
    warmline plan calibrate --database postgres --output costs.yaml
    warmline plan size workload.yaml --data costs.yaml
    """
    from warmline_toolkit.plan import calibrate as pure  # noqa: PLC0415 - `warmline --help` stays fast

    if run is not None:
        from warmline_toolkit.measure.record import read  # noqa: PLC0415

        times = pure.times_of(read(run))
        costs = pure.costs_of_run(times)
        server = times.server.lower()
        database = next((name for name in ("mariadb", "postgres", "mysql") if name in server), database)
    else:
        costs = _measured(database, connects=connects, queries=queries, tls=tls)
    today = datetime.now(tz=timezone.utc).date().isoformat()
    click.echo(
        f"connect {costs.connect_ms:.3g} ms, {costs.connect_cpu_ms:.3g} ms of server CPU; query "
        f"{costs.query_cpu_ms:.3g} ms of server CPU ({costs.source})",
        err=True,
    )
    write(pure.data_file(costs, ENGINES_OF[database], as_of=today), output)


def _measured(engine: Any, *, connects: int, queries: int, tls: bool) -> Costs:
    from warmline_toolkit.plan.calibrate import costs_of_timings  # noqa: PLC0415 - `warmline --help` stays fast
    from warmline_toolkit.plan.errors import NotMeasured  # noqa: PLC0415
    from warmline_toolkit.servers import start  # noqa: PLC0415

    with start(engine, max_connections=20, tls=tls) as server:
        for _ in range(WARM_UP):
            _connect(server).close()
        before = server.cpu_ms()
        durations = []
        for _ in range(connects):
            began = time.perf_counter()
            connection = _connect(server)
            durations.append((time.perf_counter() - began) * 1000)
            connection.close()
        middle = server.cpu_ms()
        connection = _connect(server)
        cursor = connection.cursor()
        for _ in range(queries):
            cursor.execute("SELECT 1")
            cursor.fetchone()
        connection.close()
        after = server.cpu_ms()
        if before is None or middle is None or after is None:
            raise NotMeasured(
                "This system does not tell the server's CPU time.",
                next_step="Calibrate on Linux, or give costs yourself.",
            )
        return costs_of_timings(
            durations,
            connects_cpu_ms=middle - before,
            queries=queries,
            queries_cpu_ms=after - middle,
            source=f"{engine} {server.version}, {connects} connects and {queries} queries, {'' if tls else 'no '}TLS",
        )


def _connect(server: Server) -> Any:
    if server.engine == "postgres":
        import psycopg  # noqa: PLC0415 - only the engine's driver

        return psycopg.connect(server.url, autocommit=True)
    import pymysql  # noqa: PLC0415 - only the engine's driver

    ca_file = server.ca_file
    return pymysql.connect(
        host=server.host,
        port=server.port,
        user=server.user,
        password=server.password,
        database=server.database,
        ssl_disabled=ca_file is None,
        ssl_ca=None if ca_file is None else str(ca_file),
    )
