"""WL-A009: the template has a proxy, but the function's variable holds the database's own address."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from warmline_toolkit.audit.evidence import runs_rarely
from warmline_toolkit.audit.finding import Example, Finding, Rule, Severity
from warmline_toolkit.audit.joined import database_functions
from warmline_toolkit.audit.reach import Step
from warmline_toolkit.audit.templates import CLUSTER, names_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from warmline_toolkit.audit.context import Project
    from warmline_toolkit.audit.facts import Resource
    from warmline_toolkit.audit.joined import DatabaseFunction

_ADDRESS = re.compile(r"\.(Endpoint\.Address|Endpoint|endpoint|address)$")
_READS = re.compile(r"read|replica|admin|migrat|direct", re.IGNORECASE)


def check(project: Project) -> Iterator[Finding]:
    """Find variables that refer to the address of a database which a proxy of the same stack fronts."""
    for function in database_functions(project):
        if function.reach is not None and runs_rarely(project, function.reach) is not None:
            continue
        if any(target.type.endswith("DBProxy") for _, target in function.targets):
            continue  # it has both, and may choose
        for template, proxy in project.deployment.proxies(function.template):
            behind = {resource.name for resource in project.deployment.proxied(template, proxy)}
            for variable, database in function.databases:
                if _fronts(project, function, behind, database) and _is_address(project, function, variable):
                    at = function.resource.line_of(f"Environment.Variables.{variable}")
                    yield RULE.finding(
                        path=function.template.path,
                        line=at,
                        message=f"{variable} of {function.name} is the address of {database.name} itself, although the proxy "
                        f"{proxy.name} stands in front of it: the function's connections are not shared.",
                        subject=f"{function.resource.name}.{variable}",
                        related=(Step(template.path, proxy.line, f"the proxy {proxy.name}"),),
                        handler=function.name,
                    )


def _fronts(project: Project, function: DatabaseFunction, behind: set[str], database: Resource) -> bool:
    if database.name in behind:
        return True
    return any(
        cluster.name in behind
        for cluster in project.deployment.referred(function.template, database.properties.get("DBClusterIdentifier"))
        if cluster.type == CLUSTER
    )


def _is_address(project: Project, function: DatabaseFunction, variable: str) -> bool:
    if _READS.search(variable):
        return False
    value = dict(project.deployment.environment(function.resource).items).get(variable)
    return any(_ADDRESS.search(path) for path in names_in(project.deployment.resolved(function.template, value)))


_BAD = """\
Transform: AWS::Serverless-2016-10-31
Resources:
  Api:
    Type: AWS::Serverless::Function
    Properties:
      Handler: app.handler
      Runtime: python3.13
      ReservedConcurrentExecutions: 50
      Environment:
        Variables:
          DB_HOST: !GetAtt Cluster.Endpoint.Address
  Cluster:
    Type: AWS::RDS::DBCluster
    Properties:
      Engine: aurora-mysql
  Proxy:
    Type: AWS::RDS::DBProxy
    Properties:
      DBProxyName: app
      EngineFamily: MYSQL
  Targets:
    Type: AWS::RDS::DBProxyTargetGroup
    Properties:
      DBProxyName: !Ref Proxy
      TargetGroupName: default
      DBClusterIdentifiers: [!Ref Cluster]
"""
_TF_BAD = """\
resource "aws_lambda_function" "api" {
  function_name                  = "api"
  handler                        = "app.handler"
  runtime                        = "python3.13"
  reserved_concurrent_executions = 50
  environment {
    variables = { DB_HOST = aws_rds_cluster.main.endpoint }
  }
}

resource "aws_rds_cluster" "main" {
  engine = "aurora-postgresql"
}

resource "aws_db_proxy" "main" {
  name          = "app"
  engine_family = "POSTGRESQL"
}

resource "aws_db_proxy_target" "main" {
  db_proxy_name         = aws_db_proxy.main.name
  target_group_name     = "default"
  db_cluster_identifier = aws_rds_cluster.main.id
}
"""

RULE = Rule(
    code="WL-A009",
    slug="proxy-bypassed",
    title="The function bypasses the proxy",
    severity=Severity.WARNING,
    finds="An environment variable of a function that refers to the endpoint of a cluster or instance, while a DBProxy of the same stack has it as its target.",
    why="The proxy is paid for and can share its connections only between clients that connect to it. This function's connections go to the database directly and count against its limit.",
    fix="Point the variable at the proxy: !GetAtt Proxy.Endpoint (aws_db_proxy.NAME.endpoint).",
    silent_when="the reference cannot be resolved, the function also has the proxy's endpoint, the variable's name says that it is for reading, for migrations or direct on purpose, or the function's name says that it runs rarely.",
    bad=(
        Example("the cluster's endpoint beside a proxy", {"template.yaml": _BAD}),
        Example("the same in Terraform", {"main.tf": _TF_BAD}),
    ),
    good=(
        Example(
            "the proxy's endpoint",
            {"template.yaml": _BAD.replace("!GetAtt Cluster.Endpoint.Address", "!GetAtt Proxy.Endpoint")},
        ),
        Example(
            "the proxy's endpoint in Terraform",
            {"main.tf": _TF_BAD.replace("aws_rds_cluster.main.endpoint", "aws_db_proxy.main.endpoint")},
        ),
    ),
    per_project=check,
    applies_to=("sam", "cloudformation", "serverless", "terraform"),
)
