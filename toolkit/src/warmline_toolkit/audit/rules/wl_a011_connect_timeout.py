"""WL-A011: connecting may take longer than the function may run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmline_toolkit.audit.facts import Env, Joined, Literal
from warmline_toolkit.audit.finding import Example, Finding, Rule, Severity
from warmline_toolkit.audit.reach import When

if TYPE_CHECKING:
    from collections.abc import Iterator

    from warmline_toolkit.audit.context import Project
    from warmline_toolkit.audit.reach import Reach
    from warmline_toolkit.audit.things import OpenedThing

_URLS = ("dsn", "conninfo", "connectionString", "uri", "url", "connection_string")


def check(project: Project, reach: Reach) -> Iterator[Finding]:
    """Compare each connect timeout, written or the driver's default, with the function's timeout."""
    handler = reach.handler
    timeout = None
    if handler.template is not None and handler.resource is not None:
        timeout = project.deployment.timeout_s(handler.template, handler.resource)
    for opening in reach.openings:
        known = _connect_timeout(project, opening.thing)
        if known is None:
            continue
        seconds, written = known
        call = project.call(opening.thing.site)
        name = opening.thing.opener.connect_timeout
        setting = name.settings[0] if name is not None else ""
        if seconds is None:
            if timeout is None and opening.when is When.INIT:
                continue
            limit = f"the function's {timeout:g} s run out" if timeout is not None else "the function's time runs out"
            message = (
                f"{project.spelled(opening.thing.site)}() has no connect timeout: when the database cannot be reached, connecting "
                f"waits until {limit}, the platform discards the environment, and no error of yours says why."
            )
            severity = Severity.WARNING if timeout is not None else Severity.NOTE
        elif timeout is not None and seconds >= timeout:
            source = (
                f"{setting} = {seconds:g} s" if written else f"{opening.thing.opener.driver}'s default of {seconds:g} s"
            )
            message = (
                f"Connecting may take {seconds:g} s ({source}), but {handler.name} is stopped after {timeout:g} s: an unreachable "
                "database ends in a timeout of the function, not in an error that your code can handle."
            )
            severity = Severity.WARNING
        else:
            continue
        wanted = 3 if timeout is None or timeout > 6 else max(1, int(timeout // 2))  # noqa: PLR2004 - leaves half the time
        unit = name.unit_s if name is not None else 1
        yield RULE.finding(
            path=opening.thing.site.path,
            line=call.line,
            column=call.column,
            message=message,
            severity=severity,
            subject=project.subject(opening.thing.site),
            chain=opening.chain,
            related=project.template_step(
                reach, "Timeout", f"the function's timeout{f', {timeout:g} s' if timeout is not None else ''}"
            ),
            numbers=(("function_timeout_s", timeout),) if timeout is not None else (),
            fix=f"Set {setting} to a few seconds, well below the function's timeout ({setting}: {wanted / unit:g}).",
            handler=handler.name,
        )


def _connect_timeout(project: Project, thing: OpenedThing) -> tuple[float | None, bool] | None:
    """Return (seconds or None for none, whether written); None when it cannot be told."""
    timeout = thing.opener.connect_timeout
    if timeout is None or project.is_local_file(thing):
        return None
    value = project.setting(thing.site, *timeout.settings)
    if value is not None:
        number = project.number(thing.site, *timeout.settings)
        if number is None:
            return None
        return (None, True) if number == 0 else (number * timeout.unit_s, True)
    if project.settings_hidden(thing.site) or _in_url(project, thing):
        return None
    return timeout.default_s, False


def _in_url(project: Project, thing: OpenedThing) -> bool:
    """A URL may carry its own timeout: only a literal one can be read."""
    call = project.call(thing.site)
    candidates = [call.keyword(*_URLS)]
    if call.arguments:
        candidates.append(call.arguments[0])
    for value in candidates:
        if value is None:
            continue
        for found in project.things(thing.site, value) or (None,):
            inner = getattr(found, "value", None)
            if isinstance(inner, Env | Joined) or found is None:
                return True
            if isinstance(inner, Literal) and isinstance(inner.value, str) and "timeout" in inner.value.lower():
                return True
    return False


_TEMPLATE = """\
Transform: AWS::Serverless-2016-10-31
Resources:
  Api:
    Type: AWS::Serverless::Function
    Properties:
      Handler: app.handler
      Runtime: python3.13
      Timeout: 5
"""
_PY = """\
import os
import pymysql

connection = None


def handler(event, context):
    global connection
    if connection is None:
        connection = pymysql.connect(host=os.environ["DB_HOST"], user="app")
    connection.ping(reconnect=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM users")
        return cursor.fetchone()
"""
_NODE_TEMPLATE = _TEMPLATE.replace("app.handler", "index.handler").replace("python3.13", "nodejs22.x")
_JS = """\
import pg from "pg";

const pool = new pg.Pool({ host: process.env.DB_HOST, max: 1, idleTimeoutMillis: 0 });

export const handler = async () => (await pool.query("SELECT id FROM users")).rows;
"""

RULE = Rule(
    code="WL-A011",
    slug="connect-timeout",
    title="Connecting may outlast the function",
    severity=Severity.WARNING,
    finds="A connect timeout, written or the driver's default (PyMySQL and mysql2 10 s, psycopg 130 s; psycopg2, pg8000, MySQLdb and pg none), that is not below the function's timeout (3 s unless the template says more).",
    why="When the database cannot be reached the function is stopped from outside: its environment is discarded, the caller gets a timeout, and your error handling never runs. Retries then start new environments that wait too.",
    fix="Set a connect timeout of a few seconds, well below the function's timeout.",
    silent_when="the settings, or a URL that may carry a timeout, cannot be seen; for defaults with a number also when the function's timeout is not known. A missing timeout without a template is a note.",
    bad=(
        Example("ten seconds to connect in a five-second function", {"template.yaml": _TEMPLATE, "app.py": _PY}),
        Example("no connect timeout in node-postgres", {"template.yaml": _NODE_TEMPLATE, "index.mjs": _JS}),
    ),
    good=(
        Example(
            "two seconds to connect",
            {"template.yaml": _TEMPLATE, "app.py": _PY.replace('user="app"', 'user="app", connect_timeout=2')},
        ),
        Example(
            "a connect timeout in node-postgres",
            {
                "template.yaml": _NODE_TEMPLATE,
                "index.mjs": _JS.replace("max: 1,", "max: 1, connectionTimeoutMillis: 2000,"),
            },
        ),
    ),
    per_handler=check,
    applies_to=("python", "javascript", "sam", "cloudformation", "serverless", "terraform"),
)
