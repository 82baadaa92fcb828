"""WL-A012: a function behind an API gateway may run longer than the gateway waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmline_toolkit.audit.finding import Example, Finding, Rule, Severity
from warmline_toolkit.audit.joined import database_functions
from warmline_toolkit.audit.reach import Step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from warmline_toolkit.audit.context import Project

_WAITS_S = {"Api": 29, "HttpApi": 30}


def check(project: Project) -> Iterator[Finding]:
    """Compare the timeout of functions that use a database with that of the gateway that calls them."""
    for function in database_functions(project):
        timeout = project.deployment.timeout_s(function.template, function.resource)
        if timeout is None:
            continue
        events = project.deployment.events(function.template, function.resource)
        gateways = [event for event in events if event.kind in _WAITS_S]
        if not gateways or len(gateways) != len(events):
            continue  # another source may need the time
        event = gateways[0]
        written = project.deployment.number(function.template, event.properties.get("TimeoutInMillis"))
        waits = written / 1000 if written else _WAITS_S[event.kind]
        if timeout <= waits:
            continue
        yield RULE.finding(
            path=function.template.path,
            line=function.resource.line_of("Timeout"),
            message=f"{function.name} may run {timeout:g} s, but the gateway answers 504 after {waits:g} s: from then on its "
            f"statement and its connection serve nobody, for up to {timeout - waits:g} s, while the client tries again.",
            subject=function.resource.name,
            related=(Step(event.path, event.line, f"the {event.kind} event that calls it"),),
            numbers=(("function_timeout_s", timeout), ("gateway_timeout_s", waits)),
            handler=function.name,
        )


_APP = """\
import os
import pymysql

connection = None


def handler(event, context):
    global connection
    if connection is None:
        connection = pymysql.connect(host=os.environ["DB_HOST"], user="app", connect_timeout=3)
    connection.ping(reconnect=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM users")
        return {"statusCode": 200, "body": str(cursor.fetchone())}
"""
_BAD = """\
Transform: AWS::Serverless-2016-10-31
Resources:
  Report:
    Type: AWS::Serverless::Function
    Properties:
      Handler: app.handler
      Runtime: python3.13
      Timeout: 300
      ReservedConcurrentExecutions: 10
      Events:
        Get:
          Type: Api
          Properties:
            Path: /report
            Method: get
"""
_SLS = """\
service: report
provider:
  name: aws
  runtime: python3.13
functions:
  report:
    handler: app.handler
    timeout: 60
    reservedConcurrency: 10
    events:
      - httpApi: GET /report
"""

RULE = Rule(
    code="WL-A012",
    slug="gateway-timeout",
    title="The function outlives its gateway's patience",
    severity=Severity.NOTE,
    finds="A function that uses a database, is called only through API Gateway, and may run longer than the gateway waits (29 s for REST, 30 s for HTTP APIs unless the integration says otherwise).",
    why="After the gateway's 504 the invocation runs on: its statement, its locks and its connection serve nobody, and the client's retry takes another one.",
    fix="Set the function's timeout below the gateway's, or move long work behind a queue.",
    silent_when="another kind of event calls the function too, its timeout cannot be read, or it uses no database. Raised limits of a REST API are not visible in the template: ignore it there.",
    bad=(
        Example("five minutes behind a REST API", {"template.yaml": _BAD, "app.py": _APP}),
        Example("a minute behind an HTTP API", {"serverless.yml": _SLS, "app.py": _APP}),
    ),
    good=(
        Example("25 seconds behind a REST API", {"template.yaml": _BAD.replace("300", "25"), "app.py": _APP}),
        Example(
            "the framework's default of 6 seconds",
            {"serverless.yml": _SLS.replace("    timeout: 60\n", ""), "app.py": _APP},
        ),
    ),
    per_project=check,
    applies_to=("sam", "cloudformation", "serverless", "terraform"),
)
