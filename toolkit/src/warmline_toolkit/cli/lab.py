"""`warmline lab`: run handlers as AWS Lambda runs them, on a real database server, and measure their connections."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from warmline_toolkit.errors import FailedExpectation, UsageError

if TYPE_CHECKING:
    from warmline_toolkit.lab.scenario import Scenario, Settings
    from warmline_toolkit.lab.strategy import Strategy
    from warmline_toolkit.measure.summary import RunSummary
    from warmline_toolkit.model.events import Event
    from warmline_toolkit.servers import AnyServer

ENGINES = ("mariadb", "mysql", "postgres")


class BadEvent(UsageError):
    """The event file is not there or is not JSON."""

    code = "WL-L105"


class BadVariable(UsageError):
    """A `--env` is not NAME=VALUE."""

    code = "WL-L106"


class BadDatabase(UsageError):
    """`--database` is no engine."""

    code = "WL-L107"


class ExpectationFailed(FailedExpectation):
    """The scenario ran, and what was measured is not what it claims."""

    code = "WL-L109"


@click.group()
def command() -> None:
    """Run handlers in emulated execution environments and measure their connections."""


@command.command("list")
def list_() -> None:
    """List the scenarios and the strategies, one line each."""
    from rich.console import Console  # noqa: PLC0415 - `warmline --help` stays fast
    from rich.table import Table  # noqa: PLC0415

    from warmline_toolkit.lab import scenarios, strategy  # noqa: PLC0415

    console = Console()
    rows = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    rows.add_column("Scenario", no_wrap=True, style="bold")
    rows.add_column("What it asks")
    for name in scenarios.names():
        rows.add_row(name, scenarios.load(name).question)
    console.print(rows)
    console.print()
    rows = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    rows.add_column("Strategy", no_wrap=True, style="bold")
    rows.add_column("What it does")
    for name, what in strategy.WHAT.items():
        rows.add_row(name, what)
    console.print(rows)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked for, taken apart and checked."""

    scenario: Scenario
    settings: Settings
    handler: str | None
    strategies: tuple[str, ...]
    example: str | None
    database: str
    environment: dict[str, str]
    event: Any
    folder: Path


@command.command("run", short_help="Run a scenario, with the guide's strategies or your own handler.")
@click.argument("handler", required=False)
@click.option(
    "--scenario",
    metavar="NAME",
    help="Which experiment: see `warmline lab list`. Default: guide, or steady with --rate.",
)
@click.option("--strategy", "strategies", multiple=True, metavar="NAME", help="Only this strategy; may be repeated.")
@click.option("--example", metavar="DRIVER", help="Whose examples: pymysql, psycopg, sqlalchemy, mysql2, typeorm.")
@click.option(
    "--database",
    metavar="ENGINE|URL",
    help="mariadb, mysql or postgres: a private server is started. Or the URL of your own, which is never changed. "
    "Default: mariadb, or what this machine has.",
)
@click.option("--requests", type=click.IntRange(min=1), help="Requests in all.")
@click.option("--environments", type=click.IntRange(1, 10_000), help="Concurrency cap: execution environments at most.")
@click.option("--concurrency", type=click.IntRange(1, 10_000), help="Requests in flight at once.")
@click.option("--max-connections", type=click.IntRange(1, 100_000), help="Connections the server leaves the function.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), metavar="PER_S", help="Open arrivals a second.")
@click.option("--duration", type=click.FloatRange(min=0, min_open=True), metavar="S", help="How long they arrive.")
@click.option("--rtt", type=click.FloatRange(0, 10_000), metavar="MS", help="Network round trip to add.")
@click.option("--timeout", type=click.FloatRange(0.1, 900), metavar="S", help="The function's timeout.")
@click.option(
    "--idle-timeout", type=click.FloatRange(0.1, 86_400), metavar="S", help="Reap an environment idle so long."
)
@click.option("--reap", type=click.Choice(["fin", "rst", "silent"]), help="What the server sees of a reap.")
@click.option("--no-freeze", is_flag=True, help="Do not stop environments between invocations (Lambda does).")
@click.option("--processes", type=click.IntRange(1, 64), help="Processes an environment (Managed Instances).")
@click.option("--trials", type=click.IntRange(1, 1000), help="Repetitions of each strategy, interleaved.")
@click.option("--seed", type=int, help="Of the arrivals.")
@click.option("--env", "variables", multiple=True, metavar="NAME=VALUE", help="A variable for the handler; repeatable.")
@click.option("--event", "event_file", type=click.Path(path_type=Path), metavar="FILE", help="The event, as JSON.")
@click.option(
    "--format", "format_", type=click.Choice(["table", "json", "markdown"]), default="table", show_default=True
)
@click.option("--output", type=click.Path(path_type=Path), metavar="DIR", help="Folder of the run; default runs/….")
def run(*, format_: str, **options: Any) -> None:
    """Run SCENARIO with the guide's strategies, or with your HANDLER, and report what the database saw.

    HANDLER is package.module.handler, a Python file (app.py or app.py:handler) or a Node file (index.mjs). It finds the
    database in DB_HOST, DB_PORT, DB_USER, DB_PASS, DB_NAME and in DATABASE_URL.

    Exit codes: 0 ok, 1 the scenario's expectation failed, 2 usage, 3 this machine cannot run it.
    """
    request = _request(options)
    summary = _measure(request)
    _report(summary, request.folder, format_)
    if request.handler is not None and all(strategy.connections_opened.highest == 0 for strategy in summary.strategies):
        click.echo(
            f"Note: {request.handler} opened no connection to the database. It finds it in DB_HOST, DB_PORT, DB_USER, "
            "DB_PASS, DB_NAME and DATABASE_URL.",
            err=True,
        )
    if request.handler is None:
        _hold_to(request, summary)


def _request(options: dict[str, Any]) -> Request:
    from warmline_toolkit.lab import scenarios  # noqa: PLC0415 - `warmline --help` stays fast

    open_arrivals = options["rate"] is not None or options["duration"] is not None
    scenario = scenarios.load(options["scenario"] or ("steady" if open_arrivals else "guide"))
    settings = scenario.settings.with_options(
        requests=options["requests"],
        environments=options["environments"],
        concurrency=options["concurrency"],
        max_connections=options["max_connections"],
        rate_per_s=options["rate"],
        duration_s=options["duration"],
        rtt_ms=options["rtt"],
        timeout_s=options["timeout"],
        idle_timeout_s=options["idle_timeout"],
        reap=options["reap"],
        freeze=False if options["no_freeze"] else None,
        processes=options["processes"],
        trials=options["trials"],
        seed=options["seed"],
    )
    from warmline_toolkit import servers  # noqa: PLC0415 - `warmline --help` stays fast

    database = options["database"] or servers.default_engine()
    if database not in ENGINES and "://" not in database:
        raise BadDatabase(
            f"--database {database!r} is no engine and no URL.",
            next_step=f"Give one of {', '.join(ENGINES)}, or mysql://… or postgresql://… for a server of yours.",
        )
    return Request(
        scenario=scenario,
        settings=settings,
        handler=options["handler"],
        strategies=options["strategies"],
        example=options["example"],
        database=database,
        environment=_variables(options["variables"]),
        event=scenario.event if options["event_file"] is None else _event(options["event_file"]),
        folder=options["output"] or Path("runs") / f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S}-{scenario.name}",
    )


def _variables(pairs: tuple[str, ...]) -> dict[str, str]:
    variables = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise BadVariable(f"--env {pair!r} is not NAME=VALUE.", next_step="Write --env STAGE=test, say.")
        variables[name] = value
    return variables


def _event(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadEvent(f"The event {file} cannot be read: {error.strerror}.", next_step="Name a JSON file.") from error
    except ValueError as error:
        raise BadEvent(f"The event {file} is not JSON: {error}.", next_step="Write it as JSON.") from error


def _measure(request: Request) -> RunSummary:
    """Run the experiment into its run file, and return what was measured. Everything started is stopped."""
    from warmline_toolkit.lab import experiment, loop  # noqa: PLC0415
    from warmline_toolkit.lab.seed import users_table  # noqa: PLC0415
    from warmline_toolkit.measure import agree, provenance  # noqa: PLC0415
    from warmline_toolkit.measure.record import RUN_FILE_NAME, Recorder, read  # noqa: PLC0415
    from warmline_toolkit.measure.summary import summarise  # noqa: PLC0415
    from warmline_toolkit.report.progress import Progress  # noqa: PLC0415

    with ExitStack() as stack:
        server = _server(request, stack)
        chosen = experiment.Experiment(
            scenario=request.scenario,
            settings=request.settings,
            strategies=_strategies(request, server.engine),
            event=request.event,
            environment=request.environment,
        )
        if request.handler is None:
            stack.enter_context(users_table(server.url))
        recorder = stack.enter_context(Recorder(request.folder / RUN_FILE_NAME))
        progress = stack.enter_context(Progress())
        facts = provenance.collect(_facts(server))

        def record(event: Event) -> None:
            recorder(event)
            progress(event)

        loop.run(experiment.run(chosen, server, record, facts))
    summary = summarise(read(recorder.path))
    agree.check(summary)
    return summary


def _server(request: Request, stack: ExitStack) -> AnyServer:
    from warmline_toolkit import servers  # noqa: PLC0415

    if "://" in request.database:
        theirs = stack.enter_context(servers.external(request.database))
        wanted = {**request.scenario.engine_settings.get(theirs.engine, {}), **request.settings.server_settings}
        if wanted:
            listed = ", ".join(f"{name}={value}" for name, value in wanted.items())
            theirs.notes.append(f"this scenario is meant for {listed}; your server keeps its own")
        return theirs
    settings = {**request.scenario.engine_settings.get(request.database, {}), **request.settings.server_settings}
    return stack.enter_context(
        servers.start(request.database, max_connections=request.settings.max_connections, settings=settings)
    )


def _facts(server: AnyServer) -> dict[str, Any]:
    """Return what a reader of the numbers must know of the server."""
    facts: dict[str, Any] = {
        "server": f"{server.engine} {server.version}",
        "server_max_connections": server.max_connections,
        "server_settings": ", ".join(f"{name}={value}" for name, value in sorted(server.settings.items())),
        "server_notes": " ".join(server.notes),
    }
    return {name: value for name, value in facts.items() if value not in (None, "")}


def _strategies(request: Request, engine: str) -> tuple[Strategy, ...]:
    from warmline_toolkit.lab import strategy  # noqa: PLC0415
    from warmline_toolkit.lab.route import why_no_proxy  # noqa: PLC0415

    if request.handler is not None:
        return (strategy.of_user(request.handler),)
    chosen = strategy.choose(request.scenario, engine=engine, family=request.example, names=request.strategies)
    missing = why_no_proxy() if any(one.route == "proxy" for one in chosen) and not request.strategies else None
    if missing is not None:
        click.echo(f"Without the strategy proxy: {missing}", err=True)
        return tuple(one for one in chosen if one.route != "proxy")
    return chosen


def _report(summary: RunSummary, folder: Path, format_: str) -> None:
    """Print the run in *format_* to stdout, and write every format beside the run file."""
    from warmline_toolkit.report import console, lab_document, render  # noqa: PLC0415

    document = lab_document(summary)
    for kind, name in (("html", "report.html"), ("markdown", "report.md"), ("json", "report.json")):
        (folder / name).write_text(render(document, kind), encoding="utf-8")
    click.echo(render(document, format_, width=console.width(), colour=console.colour()), nl=False)
    click.echo(f"Report: {folder / 'report.html'}   Run file: {folder / 'run.jsonl'}", err=format_ != "table")


def _hold_to(request: Request, summary: RunSummary) -> None:
    """Raise `ExpectationFailed` with every part of the scenario's claim that was not borne out."""
    wrong = request.scenario.check(summary, request.settings)
    if wrong:
        lines = "\n  ".join(wrong)
        raise ExpectationFailed(
            f"The scenario {request.scenario.name!r} did not bear out its expectation:\n  {lines}",
            next_step=f"The run is kept in {request.folder}: look at its report, and run it again on a quiet machine.",
        )
