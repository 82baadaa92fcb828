"""WL-A006: all functions together may open more connections than the database allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmline_toolkit.audit.finding import Example, Finding, Rule, Severity
from warmline_toolkit.audit.joined import (
    DEFAULT_ACCOUNT_CONCURRENCY,
    concurrency_cap,
    connections_per_process,
    database_functions,
    database_of,
    processes_per_environment,
)
from warmline_toolkit.audit.limits import known_limit
from warmline_toolkit.audit.reach import Step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from warmline_toolkit.audit.context import Project
    from warmline_toolkit.audit.joined import DatabaseFunction
    from warmline_toolkit.audit.limits import KnownLimit
    from warmline_toolkit.audit.templates import Database


def check(project: Project) -> Iterator[Finding]:
    """Add up environments x processes x connections of the functions that connect to each database of known size."""
    users: dict[int, tuple[Database, list[DatabaseFunction]]] = {}
    for function in database_functions(project):
        for database in database_of(project, function):
            users.setdefault(id(database.resource), (database, []))[1].append(function)
    for database, functions in users.values():
        limit = known_limit(database)
        if limit is not None:
            yield from _sum(project, database, functions, limit)


def _sum(
    project: Project, database: Database, functions: list[DatabaseFunction], limit: KnownLimit
) -> Iterator[Finding]:
    total, parts, related, uncapped = 0, [], [], False
    largest: tuple[int, DatabaseFunction] | None = None
    for function in functions:
        cap = concurrency_cap(project, function)
        environments = cap[0] if cap is not None else DEFAULT_ACCOUNT_CONCURRENCY
        count, _, opening = connections_per_process(project, function, database.family)
        processes = processes_per_environment(project, function)
        connections = environments * processes * count
        total += connections
        factors = f"{environments:,}" + (f" x {processes} processes" if processes > 1 else "") + f" x {count}"
        parts.append(
            f"{function.name} {factors}" + ("" if cap is not None else " (no cap: the account's default quota)")
        )
        uncapped = uncapped or cap is None
        line = function.resource.line_of("ReservedConcurrentExecutions")
        related.append(Step(function.template.path, line, f"{function.name}: up to {connections:,} connections"))
        if opening is not None and count > 1:
            site = opening.thing.site
            related.append(Step(site.path, project.line(site), f"{project.spelled(site)}() may open {count}"))
        if largest is None or connections > largest[0]:
            largest = connections, function
    if total <= limit.for_functions or largest is None:
        return
    shown = " + ".join(parts[:4]) + (f" + {len(parts) - 4} more functions" if len(parts) > 4 else "")  # noqa: PLR2004 - a line's worth
    yield RULE.finding(
        path=database.template.path,
        line=database.resource.line_of("DBInstanceClass"),
        message=f"{shown} = {total:,} connections, but {database.resource.name} allows {limit.max_connections:,} "
        f"({limit.source}), {limit.for_functions:,} of them for functions.",
        severity=Severity.NOTE if uncapped else Severity.ERROR,
        subject=database.resource.name,
        related=tuple(related),
        numbers=(
            ("connections_possible", total),
            ("max_connections", limit.max_connections),
            ("for_functions", limit.for_functions),
        ),
        handler=largest[1].name,
        fix="Lower reserved concurrency or the pool until the sum fits, take a larger class, or put a proxy in between (`warmline plan size`).",
    )


_APP = """\
import os
from sqlalchemy import create_engine, text

engine = create_engine(f"mysql+pymysql://app@{os.environ['DB_HOST']}/shop", pool_size=2, max_overflow=0, pool_pre_ping=True)


def handler(event, context):
    with engine.connect() as connection:
        return connection.execute(text("SELECT count(*) FROM users")).scalar()
"""
_BAD = """\
Transform: AWS::Serverless-2016-10-31
Resources:
  Api:
    Type: AWS::Serverless::Function
    Properties:
      Handler: app.handler
      Runtime: python3.13
      ReservedConcurrentExecutions: 100
      Environment:
        Variables:
          DB_HOST: !GetAtt Cluster.Endpoint.Address
  Cluster:
    Type: AWS::RDS::DBCluster
    Properties:
      Engine: aurora-mysql
  Writer:
    Type: AWS::RDS::DBInstance
    Properties:
      Engine: aurora-mysql
      DBClusterIdentifier: !Ref Cluster
      DBInstanceClass: db.t4g.medium
"""
_TF_BAD = """\
resource "aws_lambda_function" "api" {
  function_name                  = "api"
  handler                        = "app.handler"
  runtime                        = "python3.13"
  reserved_concurrent_executions = 100
  environment {
    variables = { DB_HOST = aws_rds_cluster.main.endpoint }
  }
}

resource "aws_rds_cluster" "main" {
  engine = "aurora-mysql"
}

resource "aws_rds_cluster_instance" "main" {
  cluster_identifier = aws_rds_cluster.main.id
  engine             = "aurora-mysql"
  instance_class     = "db.t4g.medium"
}
"""

RULE = Rule(
    code="WL-A006",
    slug="limit-exceeded",
    title="The functions may exceed the database's limit",
    severity=Severity.ERROR,
    finds="A database of the template with a known size, and functions referring to it whose environments x processes x connections add up to more than its max_connections; the pool sizes come from the code, the limit from the planner's tables.",
    why="When the sum is reached the server refuses everybody: 'Too many connections' (1040) or 'too many clients already' (53300), also for your administration.",
    fix="Lower reserved concurrency or the pool until the sum fits, take a larger class, or put a proxy in between; `warmline plan size` does the arithmetic.",
    silent_when="the database's class or capacity is not written as a literal or parameter default, or the functions connect through a proxy. A note when a function has no cap, because then the account's quota is assumed.",
    bad=(
        Example("100 environments with a pool of 2 on a small cluster", {"template.yaml": _BAD, "app.py": _APP}),
        Example("the same in Terraform", {"main.tf": _TF_BAD, "app.py": _APP}),
    ),
    good=(
        Example("40 environments fit", {"template.yaml": _BAD.replace("100", "40"), "app.py": _APP}),
        Example("40 environments fit, Terraform", {"main.tf": _TF_BAD.replace("100", "40"), "app.py": _APP}),
    ),
    per_project=check,
    scenario="scale-out",
    applies_to=("python", "javascript", "sam", "cloudformation", "serverless", "terraform"),
)
