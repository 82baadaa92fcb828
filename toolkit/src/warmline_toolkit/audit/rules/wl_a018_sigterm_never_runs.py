"""WL-A018: a SIGTERM handler is to close the connection, but the function never gets SIGTERM."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from warmline_toolkit.audit.facts import Literal, Name
from warmline_toolkit.audit.finding import Example, Finding, Rule, Severity
from warmline_toolkit.audit.joined import server_openings
from warmline_toolkit.audit.things import Site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from warmline_toolkit.audit.context import Project
    from warmline_toolkit.audit.facts import Call
    from warmline_toolkit.audit.reach import Reach

_OLD_PYTHON = re.compile(r"python3\.([6-9]|1[01])$")


def check(project: Project, reach: Reach) -> Iterator[Finding]:
    """Find SIGTERM handlers in functions whose template registers no extension (no layer, no image)."""
    handler = reach.handler
    if handler.template is None or handler.resource is None or not server_openings(project, reach):
        return
    resource = handler.resource
    runtime = project.deployment.text(handler.template, resource.properties.get("Runtime")) or ""
    old = _OLD_PYTHON.match(runtime) is not None
    if resource.properties.get("PackageType") is not None or resource.properties.open_ended:
        return
    if resource.properties.get("Layers") is not None and not old:
        return
    if any(re.search(r"sigterm|extension", item.module) for path in reach.files for item in project.code[path].imports):
        return
    why = f"{runtime} never delivers SIGTERM to Python code" if old else "no layer brings an extension"
    for path in sorted(reach.files):
        facts = project.code[path]
        for number, call in enumerate(facts.calls):
            if _installs(project, Site(path, number), call):
                yield RULE.finding(
                    path=path,
                    line=call.line,
                    column=call.column,
                    message=f"This SIGTERM handler never runs in {handler.name}: the platform signals the runtime only when an extension is "
                    f"registered, and {why}. Connections stay open on the server when the environment goes.",
                    subject=project.subject(Site(path, number)),
                    related=project.template_step(reach, "Runtime", f"{resource.name}: {why}"),
                    handler=handler.name,
                )


def _installs(project: Project, site: Site, call: Call) -> bool:
    if call.name in {"process.on", "process.once"}:
        return bool(call.arguments) and call.arguments[0] == Literal("SIGTERM")
    if not call.name.endswith(("signal.signal", "add_signal_handler")) and call.name != "signal":
        return False
    first = call.arguments[0] if call.arguments else None
    return (
        isinstance(first, Name)
        and first.path.rpartition(".")[2] == "SIGTERM"
        and project.code[site.path].language == "python"
    )


_TEMPLATE = """\
Transform: AWS::Serverless-2016-10-31
Resources:
  Api:
    Type: AWS::Serverless::Function
    Properties:
      Handler: app.handler
      Runtime: python3.13
"""
_PY = """\
import os
import signal
import sys
import pymysql

connection = pymysql.connect(host=os.environ["DB_HOST"], connect_timeout=2, autocommit=True)


def close(signum, frame):
    connection.close()
    sys.exit(0)


signal.signal(signal.SIGTERM, close)


def handler(event, context):
    connection.ping(reconnect=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM users")
        return cursor.fetchone()
"""
_JS = """\
import pg from "pg";

const pool = new pg.Pool({ host: process.env.DB_HOST, max: 1, idleTimeoutMillis: 0, connectionTimeoutMillis: 1000 });

process.on("SIGTERM", async () => {
  await pool.end();
  process.exit(0);
});

export const handler = async () => (await pool.query("SELECT id FROM users")).rows;
"""
_LAYER = "      Layers:\n        - !Sub arn:aws:lambda:${AWS::Region}:580247275435:layer:LambdaInsightsExtension:38\n"
_NODE = _TEMPLATE.replace("app.handler", "index.handler").replace("python3.13", "nodejs22.x")

RULE = Rule(
    code="WL-A018",
    slug="sigterm-never-runs",
    title="The SIGTERM handler never runs",
    severity=Severity.WARNING,
    finds="A SIGTERM handler in code that a database function loads, while its template gives it no layer (so no extension); in Python up to 3.11 also with one.",
    why="The platform sends SIGTERM to the runtime only if an extension is registered; otherwise the process is killed at once, and what the handler was to close stays open on the server.",
    fix="Register an internal extension (the package lambda-sigterm does nothing else), or do not rely on SIGTERM: set the server's idle timeout.",
    silent_when="the function has layers or is a container image (cannot tell), a package that registers an extension is imported, or no template names the handler.",
    bad=(
        Example("signal.signal without a layer", {"template.yaml": _TEMPLATE, "app.py": _PY}),
        Example("process.on without a layer", {"template.yaml": _NODE, "index.mjs": _JS}),
    ),
    good=(
        Example("a layer with an extension", {"template.yaml": _TEMPLATE + _LAYER, "app.py": _PY}),
        Example("a layer with an extension, Node.js", {"template.yaml": _NODE + _LAYER, "index.mjs": _JS}),
    ),
    per_handler=check,
    applies_to=("python", "javascript", "sam", "cloudformation", "serverless", "terraform"),
)
