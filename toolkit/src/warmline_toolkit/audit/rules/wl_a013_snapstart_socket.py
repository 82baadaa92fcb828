"""WL-A013: SnapStart takes its snapshot while a connection is open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmline_toolkit.audit.finding import Example, Finding, Rule, Severity
from warmline_toolkit.audit.knowledge import QUERIES, Kind
from warmline_toolkit.audit.reach import Step, When

if TYPE_CHECKING:
    from collections.abc import Iterator

    from warmline_toolkit.audit.context import Project
    from warmline_toolkit.audit.reach import Reach

_HOOKS = ("snapshot_restore_py.", "warmline.")


def check(project: Project, reach: Reach) -> Iterator[Finding]:
    """Find connections that are open at the end of Init in a function with SnapStart and without hooks."""
    handler = reach.handler
    if handler.template is None or handler.resource is None:
        return
    line = project.deployment.snapstart(handler.template, handler.resource)
    if line is None or any(name.startswith(_HOOKS) for name, _, _, _ in reach.calls) or _has_hook(project, reach):
        return
    for opening in reach.openings:
        thing = opening.thing
        if (
            opening.when is not When.INIT
            or thing.opener.kind not in {Kind.CONNECTION, Kind.POOL}
            or project.is_local_file(thing)
        ):
            continue
        opens = thing.opener.eager or any(
            use.when is When.INIT
            and use.opened == thing
            and use.method.rpartition(".")[2] in QUERIES | {"connect", "begin", "initialize"}
            for use in reach.uses
        )
        if not opens:
            continue
        call = project.call(thing.site)
        yield RULE.finding(
            path=thing.site.path,
            line=call.line,
            column=call.column,
            message=f"{project.spelled(thing.site)}() opens a connection at Init, and SnapStart copies the process as it is then: every "
            "environment that is restored holds the same dead socket.",
            subject=project.subject(thing.site),
            chain=opening.chain,
            related=(Step(handler.template.path, line, "SnapStart is on"),),
            handler=handler.name,
        )


def _has_hook(project: Project, reach: Reach) -> bool:
    return any(
        decorator.rpartition(".")[2] in {"register_before_snapshot", "register_after_restore"}
        for path in reach.files
        for function in project.code[path].functions
        for decorator in function.decorators
    )


_TEMPLATE = """\
Transform: AWS::Serverless-2016-10-31
Resources:
  Api:
    Type: AWS::Serverless::Function
    Properties:
      Handler: app.handler
      Runtime: python3.13
      AutoPublishAlias: live
      SnapStart:
        ApplyOn: PublishedVersions
"""
_BAD = """\
import os
import psycopg

connection = psycopg.connect(os.environ["DATABASE_URL"], connect_timeout=3, autocommit=True)


def handler(event, context):
    global connection
    try:
        return connection.execute("SELECT count(*) FROM users").fetchone()[0]
    except psycopg.OperationalError:
        connection = psycopg.connect(os.environ["DATABASE_URL"], connect_timeout=3, autocommit=True)
        raise
"""
_GOOD = """\
import os
import psycopg

connection = None


def handler(event, context):
    global connection
    try:
        if connection is None:
            connection = psycopg.connect(os.environ["DATABASE_URL"], connect_timeout=3, autocommit=True)
        return connection.execute("SELECT count(*) FROM users").fetchone()[0]
    except psycopg.OperationalError:
        connection = None
        raise
"""

RULE = Rule(
    code="WL-A013",
    slug="snapstart-socket",
    title="SnapStart copies an open connection",
    severity=Severity.ERROR,
    finds="A connection opened at module level, or a pool used there, in a function whose template turns SnapStart on, without a before-snapshot or after-restore hook.",
    why="The snapshot holds the process as it was at the end of Init. In every restored environment the socket is dead, or, worse, several copies believe that they own the same session.",
    fix="Connect in the first invocation, or close in a before-snapshot hook and connect again after the restore (snapshot_restore_py); `warmline.Database` does it.",
    silent_when="the template does not turn SnapStart on for the function, the connection is opened in the invocation, or hooks are registered.",
    bad=(Example("a psycopg connection at module level", {"template.yaml": _TEMPLATE, "app.py": _BAD}),),
    good=(Example("connected by the first invocation", {"template.yaml": _TEMPLATE, "app.py": _GOOD}),),
    per_handler=check,
    applies_to=("python", "sam", "cloudformation", "serverless", "terraform"),
)
