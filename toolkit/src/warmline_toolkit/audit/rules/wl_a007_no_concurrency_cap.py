"""WL-A007: nothing caps how many environments of a function reach the database at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmline_toolkit.audit.evidence import runs_rarely
from warmline_toolkit.audit.facts import Mapping
from warmline_toolkit.audit.finding import Example, Finding, Rule, Severity
from warmline_toolkit.audit.joined import (
    DEFAULT_ACCOUNT_CONCURRENCY,
    concurrency_cap,
    connections_per_process,
    database_functions,
)
from warmline_toolkit.audit.reach import Step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from warmline_toolkit.audit.context import Project
    from warmline_toolkit.audit.joined import DatabaseFunction


def check(project: Project) -> Iterator[Finding]:
    """Find functions that use a database directly and have neither reserved concurrency nor a capped queue."""
    for function in database_functions(project):
        if function.through_proxy or concurrency_cap(project, function) is not None:
            continue
        if project.deployment.is_managed(function.resource):
            continue
        if function.reach is not None and runs_rarely(project, function.reach) is not None:
            continue
        if not function.databases and function.reach is None:
            continue
        if function.resource.properties.get("ReservedConcurrentExecutions") is not None:
            continue  # set to something that cannot be read here
        yield _finding(project, function)


def _finding(project: Project, function: DatabaseFunction) -> Finding:
    count, _, opening = connections_per_process(project, function, None)
    queue = next(
        (
            event
            for event in project.deployment.events(function.template, function.resource)
            if event.kind == "SQS" and not _has_maximum(event.properties)
        ),
        None,
    )
    path, line = function.template.path, function.resource.line
    related: tuple[Step, ...] = ()
    if function.databases:
        variable, database = function.databases[0]
        at = function.resource.line_of(f"Environment.Variables.{variable}")
        related = (Step(path, at, f"{variable} refers to the database {database.name}"),)
    if opening is not None:
        site = opening.thing.site
        related = (*related, Step(site.path, project.line(site), f"{project.spelled(site)}() connects"))
    if queue is not None:
        related = (*related, Step(queue.path, queue.line, "the queue has no MaximumConcurrency"))
    most = DEFAULT_ACCOUNT_CONCURRENCY * count
    unknown = "" if function.databases else " Whether a proxy stands in between cannot be told from the template."
    return RULE.finding(
        path=path,
        line=line,
        message=f"Nothing caps the environments of {function.name}, which connects to a database: a burst may start as many as "
        f"the account allows (1,000 by default), each with {count} connection{'s' if count > 1 else ''}, {most:,} in all.{unknown}",
        subject=function.resource.name,
        chain=opening.chain if opening is not None else (),
        related=related,
        numbers=(("account_concurrency", DEFAULT_ACCOUNT_CONCURRENCY), ("connections_per_environment", count)),
        severity=Severity.WARNING if function.databases else Severity.NOTE,
        handler=function.name,
    )


def _has_maximum(properties: Mapping) -> bool:
    scaling = properties.get("ScalingConfig")
    return isinstance(scaling, Mapping) and scaling.get("MaximumConcurrency") is not None


_HANDLER = """\
import os
import pymysql

connection = pymysql.connect(host=os.environ["DB_HOST"], user="app")


def handler(event, context):
    connection.ping(reconnect=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM orders")
        return cursor.fetchall()
"""
_BAD = """\
Transform: AWS::Serverless-2016-10-31
Resources:
  Orders:
    Type: AWS::Serverless::Function
    Properties:
      Handler: app.handler
      Runtime: python3.13
      Timeout: 20
      Environment:
        Variables:
          DB_HOST: !GetAtt Database.Endpoint.Address
  Database:
    Type: AWS::RDS::DBInstance
    Properties:
      Engine: mysql
      DBInstanceClass: db.t4g.medium
"""
_GOOD = _BAD.replace("      Timeout: 20\n", "      Timeout: 20\n      ReservedConcurrentExecutions: 40\n")
_TF_BAD = """\
resource "aws_lambda_function" "orders" {
  function_name = "orders"
  handler       = "app.handler"
  runtime       = "python3.13"
  timeout       = 20
  environment {
    variables = {
      DB_HOST = aws_db_instance.main.address
    }
  }
}

resource "aws_db_instance" "main" {
  engine         = "mysql"
  instance_class = "db.t4g.medium"
}
"""
_TF_GOOD = _TF_BAD.replace("  timeout       = 20\n", "  timeout       = 20\n\n  reserved_concurrent_executions = 40\n")

RULE = Rule(
    code="WL-A007",
    slug="no-concurrency-cap",
    title="Nothing caps the function's connections",
    severity=Severity.WARNING,
    finds="A function that uses a database directly, by a reference in the template or by its code, without reserved concurrency; for queues also without MaximumConcurrency.",
    why="Reserved concurrency is the only hard limit on the environments of a function, and so on its connections. Without it a burst, a retry wave or a full queue opens connections until the database refuses everybody.",
    fix="Set ReservedConcurrentExecutions (reserved_concurrent_executions) to what the database has room for (`warmline plan size`), for SQS also MaximumConcurrency, or go through a proxy.",
    silent_when="the function connects through a proxy, only a schedule invokes it, its name says that it runs rarely, or it runs on Lambda Managed Instances. A note when the database is not part of the template.",
    bad=(
        Example("a SAM function beside its database", {"template.yaml": _BAD, "app.py": _HANDLER}),
        Example("the same in Terraform", {"main.tf": _TF_BAD, "app.py": _HANDLER}),
    ),
    good=(
        Example("reserved concurrency in SAM", {"template.yaml": _GOOD, "app.py": _HANDLER}),
        Example("reserved concurrency in Terraform", {"main.tf": _TF_GOOD, "app.py": _HANDLER}),
    ),
    per_project=check,
    scenario="burst",
    applies_to=("sam", "cloudformation", "serverless", "terraform"),
)
