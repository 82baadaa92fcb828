"""`warmline plan import`."""

from __future__ import annotations

import dataclasses
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from warmline_toolkit.cli._plan.output import write
from warmline_toolkit.plan.errors import AccountUnreadable, BadWorkload

if TYPE_CHECKING:
    from warmline_toolkit.plan.aws import Clients, Imported
    from warmline_toolkit.plan.workload import Function

NEXT_STEP = (
    "Check credentials, --profile and --region, and allow the read-only actions of docs/reference/plan.md#import."
)


@click.command("import", short_help="Write a workload file from an AWS account, read-only.")
@click.option("--from-aws", is_flag=True, required=True, help="Read Lambda, CloudWatch and RDS through boto3.")
@click.option("--profile", help="The AWS profile; else the environment's credentials.")
@click.option("--region", help="The AWS region; else the profile's.")
@click.option("--function", "names", multiple=True, help="Only this function; again for more.")
@click.option(
    "--days", type=click.IntRange(1, 60), default=14, show_default=True, help="How much of CloudWatch to read."
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write here, each function's arrivals as CSV beside it.",
)
def import_(  # noqa: PLR0913 - one parameter an option
    *,
    from_aws: bool,
    profile: str | None,
    region: str | None,
    names: tuple[str, ...],
    days: int,
    output: Path | None,
) -> None:
    r"""Write a workload file that you can edit: functions, concurrency, arrivals, databases. Nothing is changed.

    \b
    warmline plan import --from-aws --region eu-central-1 --output fleet/workload.yaml
    warmline plan size fleet/workload.yaml
    """
    del from_aws
    clients, where = _clients(profile, region)
    found = _read(clients, days=days, names=names, region=where)
    if not found.workload.functions:
        raise AccountUnreadable(
            "No function that reaches a database was invoked in this time.",
            next_step="Name functions with --function, read more --days, or check the region.",
        )
    write(_text(found, output), output)


def _text(found: Imported, output: Path | None) -> str:
    from warmline_toolkit.plan import workload_file  # noqa: PLC0415 - `warmline --help` stays fast

    functions = tuple(_placed(function, found, output) for function in found.workload.functions)
    workload = dataclasses.replace(found.workload, functions=functions)
    return workload_file.to_yaml(workload, comments=found.comments)


def _placed(function: Function, found: Imported, output: Path | None) -> Function:
    """Write the function's arrivals beside the workload file; without a file, keep their mean and highest rate."""
    record = found.series[function.name]
    if output is None:
        return dataclasses.replace(
            function,
            arrivals=None,
            rate_per_s=round(record.rate_per_s, 6),
            peak_rate_per_s=round(record.peak_rate_per_s, 6),
        )
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", function.name) + "-invocations.csv"
    rows = "".join(f"{start:.0f},{count:g}\n" for start, _, count in record.counts or ())
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        (output.parent / name).write_text("seconds,invocations\n" + rows, "utf-8")
    except OSError as error:
        raise BadWorkload(
            f"{name} cannot be written: {error.strerror}.", next_step="Choose another --output."
        ) from error
    from warmline_toolkit.plan.workload import Arrivals  # noqa: PLC0415 - `warmline --help` stays fast

    return dataclasses.replace(function, arrivals=Arrivals(shape="file", file=name), rate_per_s=None)


def _clients(profile: str | None, region: str | None) -> tuple[Clients, str]:
    try:
        import boto3  # noqa: PLC0415 - an extra
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415
    except ImportError as error:
        raise AccountUnreadable(
            "--from-aws needs boto3, which is not installed.", next_step='pip install "warmline-toolkit[aws]"'
        ) from error
    from warmline_toolkit.plan.aws import Clients  # noqa: PLC0415 - `warmline --help` stays fast

    try:
        session: Any = boto3.Session(profile_name=profile, region_name=region)
        clients = Clients(
            functions=session.client("lambda"), databases=session.client("rds"), metrics=session.client("cloudwatch")
        )
    except (BotoCoreError, ValueError) as error:
        raise AccountUnreadable(f"AWS cannot be asked: {error}.", next_step=NEXT_STEP) from error
    return clients, str(session.region_name or "")


def _read(clients: Clients, *, days: int, names: tuple[str, ...], region: str) -> Imported:
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - an extra

    from warmline_toolkit.plan.aws import read_account  # noqa: PLC0415 - `warmline --help` stays fast

    try:
        return read_account(clients, now=datetime.now(tz=timezone.utc), days=days, names=names, region=region)
    except (BotoCoreError, ClientError) as error:
        raise AccountUnreadable(f"AWS refused: {error}.", next_step=NEXT_STEP) from error
