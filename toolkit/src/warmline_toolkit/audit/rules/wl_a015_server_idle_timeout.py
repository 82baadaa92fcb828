"""WL-A015: the server would keep connections of environments that are gone for hours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmline_toolkit.audit.evidence import is_rare_name
from warmline_toolkit.audit.facts import Mapping
from warmline_toolkit.audit.finding import Example, Finding, Rule, Severity
from warmline_toolkit.audit.joined import database_functions, database_of
from warmline_toolkit.audit.reach import Step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from warmline_toolkit.audit.context import Project
    from warmline_toolkit.audit.templates import Database

_SETTINGS = {"mysql": ("wait_timeout", "28,800 s"), "postgres": ("idle_session_timeout", "no limit")}


def check(project: Project) -> Iterator[Finding]:
    """Find databases with the default idle timeout that functions keep connections to."""
    for function in database_functions(project):
        if function.reach is None or function.through_proxy or not project.kept(function.reach):
            continue
        for database in database_of(project, function):
            if database.family is None or is_rare_name(function.resource.name):
                continue
            setting, default = _SETTINGS[database.family]
            if _may_be_set(project, database, setting):
                continue
            opening = project.kept(function.reach)[0]
            site = opening.thing.site
            yield RULE.finding(
                path=database.template.path,
                line=database.resource.line,
                message=f"{database.resource.name} has the default {setting} ({default}), and {function.name} keeps its connection open: when "
                "an environment goes away without a word, its slot on the server stays taken for that long.",
                subject=database.resource.name,
                related=(Step(site.path, project.line(site), f"{project.spelled(site)}() is kept open"),),
                handler=function.name,
                fix=f"Set {setting} in a parameter group to a little more than an idle environment lives, for example 900 s.",
            )


def _may_be_set(project: Project, database: Database, setting: str) -> bool:
    """Return whether a parameter group sets it, or one is named that is not in the template."""
    for resource in (database.resource, *database.members):
        for key in ("DBParameterGroupName", "DBClusterParameterGroupName"):
            value = resource.properties.get(key)
            if value is None:
                continue
            groups = project.deployment.referred(database.template, value)
            text = project.deployment.text(database.template, value) or ""
            if not groups and not text.startswith("default."):
                return True
            for group in groups:
                parameters = group.properties.get("Parameters")
                if isinstance(parameters, Mapping) and (parameters.get(setting) is not None or parameters.open_ended):
                    return True
    return False


_APP = """\
import os
import pymysql

connection = None


def handler(event, context):
    global connection
    if connection is None:
        connection = pymysql.connect(host=os.environ["DB_HOST"], user="app", connect_timeout=2, autocommit=True)
    connection.ping(reconnect=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM users")
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
      ReservedConcurrentExecutions: 20
      Environment:
        Variables:
          DB_HOST: !GetAtt Database.Endpoint.Address
  Database:
    Type: AWS::RDS::DBInstance
    Properties:
      Engine: mysql
      DBInstanceClass: db.t4g.medium
"""
_GOOD = (
    _BAD.replace(
        "      DBInstanceClass: db.t4g.medium\n",
        "      DBInstanceClass: db.t4g.medium\n      DBParameterGroupName: !Ref Settings\n",
    )
    + """\
  Settings:
    Type: AWS::RDS::DBParameterGroup
    Properties:
      Family: mysql8.4
      Parameters:
        wait_timeout: 900
"""
)
_TF_BAD = """\
resource "aws_lambda_function" "api" {
  function_name                  = "api"
  handler                        = "app.handler"
  runtime                        = "python3.13"
  reserved_concurrent_executions = 20
  environment {
    variables = { DB_HOST = aws_db_instance.main.address }
  }
}

resource "aws_db_instance" "main" {
  engine         = "mariadb"
  instance_class = "db.t4g.medium"
}
"""
_TF_GOOD = (
    _TF_BAD.replace(
        '  engine         = "mariadb"\n',
        '  engine         = "mariadb"\n  parameter_group_name = aws_db_parameter_group.main.name\n',
    )
    + """
resource "aws_db_parameter_group" "main" {
  family = "mariadb11.4"
  parameter {
    name  = "wait_timeout"
    value = "900"
  }
}
"""
)

RULE = Rule(
    code="WL-A015",
    slug="server-idle-timeout",
    title="The server keeps the connections of vanished environments",
    severity=Severity.NOTE,
    finds="A database of the template with the engine's default idle timeout (wait_timeout 28,800 s; idle_session_timeout off) that a function keeps connections to.",
    why="An environment can be discarded without its connections being closed. Only the server's own timeout frees such slots, and the default frees them after hours or never.",
    fix="Set wait_timeout (MySQL, MariaDB) or idle_session_timeout (PostgreSQL) in a parameter group to a little more than an idle environment lives, for example 900 s.",
    silent_when="a parameter group sets it, the parameter group is not part of the template, the function connects through a proxy, or its code keeps no connection.",
    bad=(
        Example("no parameter group", {"template.yaml": _BAD, "app.py": _APP}),
        Example("no parameter group in Terraform", {"main.tf": _TF_BAD, "app.py": _APP}),
    ),
    good=(
        Example("wait_timeout of 900 s", {"template.yaml": _GOOD, "app.py": _APP}),
        Example("wait_timeout of 900 s in Terraform", {"main.tf": _TF_GOOD, "app.py": _APP}),
    ),
    per_project=check,
    applies_to=("sam", "cloudformation", "serverless", "terraform"),
    scenario="ghosts",
)
