"""WL-A014: on Managed Instances an environment serves several requests at once, and a kept connection counts or clashes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmline_toolkit.audit.finding import Example, Finding, Rule, Severity
from warmline_toolkit.audit.joined import DatabaseFunction, processes_per_environment
from warmline_toolkit.audit.knowledge import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from warmline_toolkit.audit.context import Project
    from warmline_toolkit.audit.reach import Reach


def check(project: Project, reach: Reach) -> Iterator[Finding]:
    """Python: multiply by the processes. Node.js: one connection shared by requests that run at the same time."""
    handler = reach.handler
    if handler.template is None or handler.resource is None or not project.deployment.is_managed(handler.resource):
        return
    language = project.code[handler.path].language
    related = project.template_step(reach, "CapacityProviderConfig", "runs on Lambda Managed Instances")
    processes = processes_per_environment(project, DatabaseFunction(handler.template, handler.resource, reach, ()))
    for opening in project.kept(reach):
        thing = opening.thing
        call = project.call(thing.site)
        numbers: tuple[tuple[str, float], ...] = ()
        if language == "python":
            size = project.pool_size(thing)
            count = size[0] if size is not None else 1
            if processes > 1:
                message = (
                    f"An environment of {handler.name} runs {processes} processes and each keeps {count}: "
                    f"{processes * count} connections an environment, not {count}."
                )
                numbers = (("processes", float(processes)), ("connections_per_environment", float(processes * count)))
            else:
                message = (
                    f"An environment of {handler.name} runs one process for each request it takes at a time (16 per vCPU unless set), "
                    f"and each keeps {count} of its own: multiply before you compare with the database's limit."
                )
            severity = Severity.NOTE
        elif thing.opener.kind is Kind.CONNECTION:
            message = (
                f"{project.spelled(thing.site)}() is one connection, shared by all requests that {handler.name} serves at the same "
                "time in this environment: their statements queue behind each other and their transactions mix."
            )
            severity = Severity.ERROR
        else:
            continue
        yield RULE.finding(
            path=thing.site.path,
            line=call.line,
            column=call.column,
            message=message,
            severity=severity,
            subject=project.subject(thing.site),
            chain=opening.chain,
            related=related,
            numbers=numbers,
            handler=handler.name,
        )


_TEMPLATE = """\
Resources:
  Api:
    Type: AWS::Lambda::Function
    Properties:
      Handler: index.handler
      Runtime: nodejs22.x
      Code: .
      CapacityProviderConfig:
        LambdaManagedInstancesCapacityProviderConfig:
          CapacityProviderArn: !GetAtt Provider.Arn
          PerExecutionEnvironmentMaxConcurrency: 10
  Provider:
    Type: AWS::Lambda::CapacityProvider
"""
_JS_BAD = """\
import mysql from "mysql2/promise";

let connection;

export const handler = async () => {
  try {
    connection ??= await mysql.createConnection({ host: process.env.DB_HOST, connectTimeout: 2000 });
    return (await connection.query("SELECT id FROM users"))[0];
  } catch (error) {
    connection = undefined;
    throw error;
  }
};
"""
_JS_GOOD = """\
import mysql from "mysql2/promise";

const pool = mysql.createPool({ host: process.env.DB_HOST, connectionLimit: 10, connectTimeout: 2000 });

export const handler = async () => (await pool.query("SELECT id FROM users"))[0];
"""
_PY = """\
import os
import psycopg

connection = None


def handler(event, context):
    global connection
    try:
        if connection is None:
            connection = psycopg.connect(os.environ["DATABASE_URL"], connect_timeout=2, autocommit=True)
        return connection.execute("SELECT count(*) FROM users").fetchone()[0]
    except psycopg.OperationalError:
        connection = None
        raise
"""
_PY_TEMPLATE = _TEMPLATE.replace("index.handler", "app.handler").replace("nodejs22.x", "python3.13")
_PLAIN = """\
Resources:
  Api:
    Type: AWS::Lambda::Function
    Properties:
      Handler: app.handler
      Runtime: python3.13
      Code: .
"""

RULE = Rule(
    code="WL-A014",
    slug="managed-instances",
    title="Several requests share an environment",
    severity=Severity.WARNING,
    finds="A kept connection in a function on Lambda Managed Instances: in Node.js a single connection that requests at the same time share (error), in Python the number of processes to multiply with (note).",
    why="Managed Instances serve several requests in one environment. Python runs a process for each, so every kept connection is multiplied; Node.js runs them in one event loop, so a single connection mixes their transactions.",
    fix="In Node.js keep a pool as large as PerExecutionEnvironmentMaxConcurrency; in Python count processes x pool (`warmline plan size`).",
    silent_when="the template does not put the function on Managed Instances, or a Node.js function keeps a pool.",
    bad=(
        Example("one connection for ten requests at a time", {"template.yaml": _TEMPLATE, "index.mjs": _JS_BAD}),
        Example("ten processes, ten connections", {"template.yaml": _PY_TEMPLATE, "app.py": _PY}),
    ),
    good=(
        Example("a pool as large as the concurrency", {"template.yaml": _TEMPLATE, "index.mjs": _JS_GOOD}),
        Example("an ordinary function", {"template.yaml": _PLAIN, "app.py": _PY}),
    ),
    per_handler=check,
    scenario="managed-instances",
    applies_to=("python", "javascript", "sam", "cloudformation", "terraform"),
)
