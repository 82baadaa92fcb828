"""WL-A020: a database password stands in the function's environment variables."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from warmline_toolkit.audit.facts import Joined, Literal, Name, Value
from warmline_toolkit.audit.finding import Example, Finding, Rule, Severity
from warmline_toolkit.audit.joined import database_functions
from warmline_toolkit.audit.templates import names_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from warmline_toolkit.audit.context import Project
    from warmline_toolkit.audit.facts import TemplateFacts

_PASSWORD = re.compile(r"(^|_)(PASS|PASSWD|PASSWORD|PWD)$|PASSWORD$", re.IGNORECASE)
_OTHER_SERVICE = re.compile(
    r"SMTP|MAIL|REDIS|CACHE|FTP|SLACK|JIRA|LDAP|ADMIN_UI|COGNITO|OPENSEARCH|ELASTIC|RABBIT|KAFKA|MQ", re.IGNORECASE
)
_URL = re.compile(r"^(?:mysql|mariadb|postgres(?:ql)?)(?:\+\w+)?://[^:/@\s]+:([^@/\s]+)@", re.IGNORECASE)
_POINTER = re.compile(r"arn:|^/|^\$|^<|^\{\{|secretsmanager|^(changeme|todo|xxx+|\*+|)$", re.IGNORECASE)
_DYNAMIC = re.compile(r"\{\{resolve:(secretsmanager|ssm-secure|ssm)", re.IGNORECASE)
_FRAMEWORK = re.compile(r"\$\{\s*(env|ssm|aws:ssm|cf|opt|file)\s*[:(]", re.IGNORECASE)


def check(project: Project) -> Iterator[Finding]:
    """Find password variables of database functions whose value is, or becomes, the password itself."""
    for function in database_functions(project):
        for variable, value in project.deployment.environment(function.resource).items:
            known = _how(project, function.template, variable, value)
            if known is None:
                continue
            how, severity = known
            yield RULE.finding(
                path=function.template.path,
                line=function.resource.line_of(f"Environment.Variables.{variable}"),
                message=f"{variable} of {function.name} {how}: everybody who may look at the function's configuration reads it, and "
                "changing the password means deploying.",
                severity=severity,
                subject=f"{function.resource.name}.{variable}",
                handler=function.name,
            )


def _how(project: Project, template: TemplateFacts, variable: str, value: Value) -> tuple[str, Severity] | None:
    resolved = project.deployment.resolved(template, value)
    text = resolved.value if isinstance(resolved, Literal) and isinstance(resolved.value, str) else None
    if text is not None and _URL.match(text) and not _POINTER.search(_URL.match(text)[1]):  # type: ignore[index]  # matched
        return "holds a URL with the password", Severity.ERROR
    if not _PASSWORD.search(variable) or _OTHER_SERVICE.search(variable):
        return None
    if isinstance(value, Literal) and isinstance(value.value, str):
        if _DYNAMIC.search(value.value):
            return "gets the password at deployment ({{resolve:…}} is replaced by the secret's text)", Severity.WARNING
        return None if _POINTER.search(value.value) else ("holds the password in the template", Severity.ERROR)
    if isinstance(value, Joined):
        texts = "".join(str(part.value) for part in value.parts if isinstance(part, Literal))
        if _FRAMEWORK.search(texts):
            return "gets the password at deployment", Severity.WARNING
        if _DYNAMIC.search(texts):
            return "gets the password at deployment ({{resolve:…}} is replaced by the secret's text)", Severity.WARNING
    if isinstance(value, Name):
        return _from_name(project, template, value)
    return None


def _from_name(project: Project, template: TemplateFacts, value: Name) -> tuple[str, Severity] | None:
    if any(item.type == "AWS::SecretsManager::Secret" for item in project.deployment.referred(template, value)):
        return None  # a reference to the secret is its ARN
    known = {name for name, _ in template.parameters}
    path = value.path
    if path in known or path.startswith(
        ("var.", "random_password.", "data.aws_secretsmanager_secret_version.", "data.aws_ssm_parameter.")
    ):
        if any(name.startswith("local.") for name in names_in(value)):
            return None
        return f"gets the password at deployment (from {path})", Severity.WARNING
    return None


_APP = """\
import os
import pymysql

connection = None


def handler(event, context):
    global connection
    if connection is None:
        connection = pymysql.connect(host=os.environ["DB_HOST"], password=os.environ["DB_PASSWORD"], connect_timeout=2)
    connection.ping(reconnect=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM users")
        connection.commit()
"""
_SECRET_APP = _APP.replace('os.environ["DB_PASSWORD"]', 'read_secret(os.environ["DB_SECRET_ARN"])')
_BAD = """\
Transform: AWS::Serverless-2016-10-31
Parameters:
  Password:
    Type: String
    NoEcho: true
Resources:
  Api:
    Type: AWS::Serverless::Function
    Properties:
      Handler: app.handler
      Runtime: python3.13
      ReservedConcurrentExecutions: 10
      Environment:
        Variables:
          DB_HOST: db.internal
          DB_PASSWORD: !Ref Password
"""
_GOOD = """\
Transform: AWS::Serverless-2016-10-31
Resources:
  Api:
    Type: AWS::Serverless::Function
    Properties:
      Handler: app.handler
      Runtime: python3.13
      ReservedConcurrentExecutions: 10
      Environment:
        Variables:
          DB_HOST: db.internal
          DB_SECRET_ARN: !Ref Secret
  Secret:
    Type: AWS::SecretsManager::Secret
"""
_SLS_BAD = """\
service: api
provider:
  name: aws
  runtime: python3.13
  environment:
    DB_HOST: db.internal
    DB_PASSWORD: hunter2hunter2
functions:
  api:
    handler: app.handler
    reservedConcurrency: 10
"""
_TF_BAD = """\
resource "aws_lambda_function" "api" {
  function_name                  = "api"
  handler                        = "app.handler"
  runtime                        = "python3.13"
  reserved_concurrent_executions = 10
  environment {
    variables = {
      DB_HOST     = "db.internal"
      DB_PASSWORD = random_password.db.result
    }
  }
}
"""
_TF_GOOD = _TF_BAD.replace(
    "      DB_PASSWORD = random_password.db.result\n", "      DB_SECRET_ARN = aws_secretsmanager_secret.db.arn\n"
)

RULE = Rule(
    code="WL-A020",
    slug="secret-in-environment",
    title="A password in the environment variables",
    severity=Severity.WARNING,
    finds="A password variable, or a database URL with a password, of a function that uses a database: as text in the template (error), or filled in at deployment from a parameter, a dynamic reference or a variable (warning).",
    why="Environment variables are part of the function's configuration: they are shown in the console, returned by GetFunctionConfiguration, and copied into every version. Rotating the password means deploying.",
    fix="Pass the secret's ARN and read it at Init (Secrets Manager), or use IAM authentication, which has no password.",
    silent_when="the variable holds an ARN, a path or a reference to a secret, its name belongs to another service, or the function does not demonstrably use a database.",
    bad=(
        Example("a NoEcho parameter", {"template.yaml": _BAD, "app.py": _APP}),
        Example("plain text in serverless.yml", {"serverless.yml": _SLS_BAD, "app.py": _APP}),
        Example("a generated password in Terraform", {"main.tf": _TF_BAD, "app.py": _APP}),
    ),
    good=(
        Example("the secret's ARN", {"template.yaml": _GOOD, "app.py": _SECRET_APP}),
        Example("the secret's ARN in Terraform", {"main.tf": _TF_GOOD, "app.py": _SECRET_APP}),
    ),
    per_project=check,
    applies_to=("sam", "cloudformation", "serverless", "terraform"),
)
