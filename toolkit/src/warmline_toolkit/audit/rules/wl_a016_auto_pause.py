"""WL-A016: a cluster that should pause at zero load never does, because connections are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmline_toolkit.audit.finding import Example, Finding, Rule, Severity
from warmline_toolkit.audit.joined import database_functions, database_of
from warmline_toolkit.audit.reach import Step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from warmline_toolkit.audit.context import Project


def check(project: Project) -> Iterator[Finding]:
    """Find clusters with a minimum of 0 ACU to which functions keep connections (or connect through a proxy)."""
    for function in database_functions(project):
        for database in database_of(project, function):
            if database.min_acu != 0 or function.reach is None:
                continue
            kept = project.kept(function.reach)
            if not kept:
                continue
            site = kept[0].thing.site
            line = database.resource.line_of("ServerlessV2ScalingConfiguration.MinCapacity")
            yield RULE.finding(
                path=database.template.path,
                line=line,
                message=f"{database.resource.name} may pause at 0 ACU only with no connection at all, but {function.name} keeps one open: a "
                "single frozen environment keeps the cluster running.",
                subject=database.resource.name,
                related=(Step(site.path, project.line(site), f"{project.spelled(site)}() is kept open"),),
                numbers=(("min_acu", 0),),
                handler=function.name,
            )


_APP = """\
import os
import psycopg

connection = None


def handler(event, context):
    global connection
    try:
        if connection is None:
            connection = psycopg.connect(host=os.environ["DB_HOST"], connect_timeout=2, autocommit=True)
        return connection.execute("SELECT count(*) FROM users").fetchone()[0]
    except psycopg.OperationalError:
        connection = None
        raise
"""
_PER_REQUEST = """\
import os
import psycopg


def handler(event, context):
    with psycopg.connect(host=os.environ["DB_HOST"], connect_timeout=2) as connection:
        return connection.execute("SELECT count(*) FROM users").fetchone()[0]
"""
_TEMPLATE = """\
Transform: AWS::Serverless-2016-10-31
Resources:
  Api:
    Type: AWS::Serverless::Function
    Properties:
      Handler: app.handler
      Runtime: python3.13
      ReservedConcurrentExecutions: 20
      Environment:
        Variables:
          DB_HOST: !GetAtt Cluster.Endpoint.Address
  Cluster:
    Type: AWS::RDS::DBCluster
    Properties:
      Engine: aurora-postgresql
      DBClusterParameterGroupName: from-elsewhere
      ServerlessV2ScalingConfiguration:
        MinCapacity: 0
        MaxCapacity: 4
"""
_TF = """\
resource "aws_lambda_function" "api" {
  function_name                  = "api"
  handler                        = "app.handler"
  runtime                        = "python3.13"
  reserved_concurrent_executions = 20
  environment {
    variables = { DB_HOST = aws_rds_cluster.main.endpoint }
  }
}

resource "aws_rds_cluster" "main" {
  engine = "aurora-postgresql"
  serverlessv2_scaling_configuration {
    min_capacity = 0
    max_capacity = 4
  }
}
"""

RULE = Rule(
    code="WL-A016",
    slug="auto-pause",
    title="Kept connections keep the cluster from pausing",
    severity=Severity.WARNING,
    finds="An Aurora Serverless v2 cluster with a minimum capacity of 0 and a function that keeps a connection to it.",
    why="The cluster pauses only when it has no user connection. A frozen environment keeps its connection for as long as it lives, so the cluster runs, and costs, although nothing happens.",
    fix="Connect per invocation for this cluster, set the server's idle timeout below the pause delay, or give up pausing (MinCapacity 0.5).",
    silent_when="the minimum is not literally 0, or the function's code keeps no connection.",
    bad=(
        Example("a kept connection to a pausing cluster", {"template.yaml": _TEMPLATE, "app.py": _APP}),
        Example("the same in Terraform", {"main.tf": _TF, "app.py": _APP}),
    ),
    good=(
        Example("connected per invocation", {"template.yaml": _TEMPLATE, "app.py": _PER_REQUEST}),
        Example(
            "a cluster that does not pause",
            {"main.tf": _TF.replace("min_capacity = 0", "min_capacity = 0.5"), "app.py": _APP},
        ),
    ),
    per_project=check,
    applies_to=("sam", "cloudformation", "serverless", "terraform"),
)
