"""WL-A008: provisioned environments connect at Init, more of them than the database allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmline_toolkit.audit.finding import Example, Finding, Rule, Severity
from warmline_toolkit.audit.joined import database_functions, database_of
from warmline_toolkit.audit.knowledge import Kind
from warmline_toolkit.audit.limits import known_limit
from warmline_toolkit.audit.reach import Step, When

if TYPE_CHECKING:
    from collections.abc import Iterator

    from warmline_toolkit.audit.context import Project
    from warmline_toolkit.audit.joined import DatabaseFunction
    from warmline_toolkit.audit.reach import Opening


def check(project: Project) -> Iterator[Finding]:
    """Multiply provisioned concurrency with what Init opens and compare with the database's limit."""
    for function in database_functions(project):
        provisioned = project.deployment.provisioned(function.template, function.resource)
        if provisioned is None or function.reach is None:
            continue
        opened = _opened_at_init(project, function)
        count = sum(number for _, number in opened)
        for database in database_of(project, function):
            limit = known_limit(database)
            environments, path, line = provisioned
            if limit is None or not count or environments * count <= limit.for_functions:
                continue
            site = opened[0][0].thing.site
            yield RULE.finding(
                path=path,
                line=line,
                message=f"{environments:g} provisioned environments of {function.name} open {count} connection{'s' if count > 1 else ''} "
                f"each at Init: {environments * count:,.0f} are held without a single request, but {database.resource.name} allows "
                f"{limit.max_connections:,} ({limit.source}), {limit.for_functions:,} of them for functions.",
                subject=function.resource.name,
                related=(
                    Step(site.path, project.line(site), f"{project.spelled(site)}() connects at Init"),
                    Step(database.template.path, database.resource.line, f"the database {database.resource.name}"),
                ),
                numbers=(("connections_held", environments * count), ("max_connections", limit.max_connections)),
                handler=function.name,
            )


def _opened_at_init(project: Project, function: DatabaseFunction) -> list[tuple[Opening, int]]:
    found = []
    for opening in function.reach.openings if function.reach is not None else ():
        opener = opening.thing.opener
        if opening.when is not When.INIT or not opener.eager or opener.kind not in {Kind.CONNECTION, Kind.POOL}:
            continue
        number = 1
        if opener.kind is Kind.POOL:
            if opener.smallest is not None:
                written = project.number(opening.thing.site, *opener.smallest[0])
                number = int(written) if written is not None else opener.smallest[1]
            elif (size := project.pool_size(opening.thing)) is not None:
                number = size[0]
        if not project.is_local_file(opening.thing):
            found.append((opening, number))
    return found


_APP = """\
import os
import pymysql

connection = pymysql.connect(host=os.environ["DB_HOST"], user="app", connect_timeout=2, autocommit=True)


def handler(event, context):
    connection.ping(reconnect=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM users")
        return cursor.fetchone()
"""
_BAD = """\
Transform: AWS::Serverless-2016-10-31
Resources:
  Api:
    Type: AWS::Serverless::Function
    Properties:
      Handler: app.handler
      Runtime: python3.13
      AutoPublishAlias: live
      ReservedConcurrentExecutions: 100
      ProvisionedConcurrencyConfig:
        ProvisionedConcurrentExecutions: 100
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
  publish                        = true
  reserved_concurrent_executions = 100
  environment {
    variables = { DB_HOST = aws_rds_cluster.main.endpoint }
  }
}

resource "aws_lambda_provisioned_concurrency_config" "api" {
  function_name                     = aws_lambda_function.api.function_name
  qualifier                         = aws_lambda_function.api.version
  provisioned_concurrent_executions = 100
}

resource "aws_rds_cluster" "main" {
  engine = "aurora-mysql"
}

resource "aws_rds_cluster_instance" "main" {
  cluster_identifier = aws_rds_cluster.main.id
  instance_class     = "db.t4g.medium"
}
"""

RULE = Rule(
    code="WL-A008",
    slug="provisioned-connections",
    title="Provisioned environments hold too many connections",
    severity=Severity.ERROR,
    finds="Provisioned concurrency x the connections that module-level code opens, above the limit of the database that the function's variables refer to.",
    why="Provisioned environments run Init long before any request. A connection opened there is held day and night, and a deployment, which starts the new ones before the old are gone, needs twice as many.",
    fix="Connect in the first invocation instead of at Init, provision fewer environments, or put a proxy in between.",
    silent_when="nothing connects at Init, the product fits, or the database's size is not known.",
    bad=(
        Example("100 provisioned on a class that allows 90", {"template.yaml": _BAD, "app.py": _APP}),
        Example("the same in Terraform", {"main.tf": _TF_BAD, "app.py": _APP}),
    ),
    good=(
        Example(
            "20 provisioned",
            {
                "template.yaml": _BAD.replace(
                    "ProvisionedConcurrentExecutions: 100", "ProvisionedConcurrentExecutions: 20"
                ),
                "app.py": _APP,
            },
        ),
        Example(
            "20 provisioned, Terraform",
            {
                "main.tf": _TF_BAD.replace(
                    "provisioned_concurrent_executions = 100", "provisioned_concurrent_executions = 20"
                ),
                "app.py": _APP,
            },
        ),
    ),
    per_project=check,
    applies_to=("python", "javascript", "sam", "cloudformation", "serverless", "terraform"),
)
