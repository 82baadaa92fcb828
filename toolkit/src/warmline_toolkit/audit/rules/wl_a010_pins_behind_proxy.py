"""WL-A010: a statement that pins, in a function that connects through a proxy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from warmline_toolkit.audit.evidence import goes_through_proxy
from warmline_toolkit.audit.facts import Joined, Literal
from warmline_toolkit.audit.finding import Example, Finding, Rule, Severity
from warmline_toolkit.audit.reach import When
from warmline_toolkit.audit.templates import PROXY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from warmline_toolkit.audit.context import Project
    from warmline_toolkit.audit.facts import Value
    from warmline_toolkit.audit.reach import Reach, Use

_TRACKED = (
    r"autocommit|character_set_\w+|collation_\w+|names|charset|sql_mode|time_zone|transaction|tx_\w+|transaction_\w+|wait_timeout"
    r"|innodb_lock_wait_timeout|max_execution_time|sql_auto_is_null|group_concat_max_len|sql_select_limit|lc_\w+|max_join_size"
    r"|net_\w+_timeout|foreign_key_checks|unique_checks"
)
_MYSQL = (
    (re.compile(r"^\s*set\s+@(?!@)", re.IGNORECASE), "sets a user variable"),
    (re.compile(r"^\s*select\b.*@\w+\s*:=", re.IGNORECASE | re.DOTALL), "sets a user variable"),
    (re.compile(rf"^\s*set\s+(?:session\s+|@@session\.|@@)?(?!(?:{_TRACKED})\b|global\b|@|session\b|local\b|password\b)\w+", re.IGNORECASE), "sets a session variable that the proxy does not track"),
    (re.compile(r"^\s*lock\s+tables?\b", re.IGNORECASE), "locks tables"),
    (re.compile(r"\bget_lock\s*\(", re.IGNORECASE), "takes a named lock"),
    (re.compile(r"^\s*create\s+temporary\s+table\b", re.IGNORECASE), "makes a temporary table"),
    (re.compile(r"^\s*flush\s+tables\s+with\s+read\s+lock", re.IGNORECASE), "locks all tables"),
    (re.compile(r"^\s*prepare\s+\w+\s+from\b", re.IGNORECASE), "prepares a statement"),
)  # fmt: skip
_POSTGRES = (
    (re.compile(r"^\s*set\s+(?!local\b|transaction\b|constraints\b)\w+", re.IGNORECASE), "sets a session parameter (SET LOCAL does not pin)"),
    (re.compile(r"\bset_config\s*\([^)]*,\s*false\s*\)", re.IGNORECASE), "sets a session parameter"),
    (re.compile(r"^\s*create\s+(?:local\s+|global\s+)?temp(?:orary)?\s", re.IGNORECASE), "makes a temporary object"),
    (re.compile(r"^\s*declare\s+\w+.*\bcursor\b", re.IGNORECASE | re.DOTALL), "declares a cursor"),
    (re.compile(r"^\s*(?:un)?listen\s+\w", re.IGNORECASE), "listens"),
    (re.compile(r"^\s*discard\s+\w", re.IGNORECASE), "discards session state"),
    (re.compile(r"^\s*prepare\s+\w+.*\bas\b", re.IGNORECASE | re.DOTALL), "prepares a statement"),
    (re.compile(r"\bpg_(?:try_)?advisory_lock(?:_shared)?\s*\(", re.IGNORECASE), "takes a session advisory lock"),
    (re.compile(r"\b(?:nextval|setval)\s*\(", re.IGNORECASE), "uses a sequence function"),
)  # fmt: skip


def check(project: Project, reach: Reach) -> Iterator[Finding]:
    """Find literal statements that pin, and prepared statements, on the path of a function behind a proxy."""
    proxy = goes_through_proxy(project, reach)
    if proxy is None:
        return
    family = _family(project, reach)
    for use in reach.uses:
        if use.when is When.INIT:
            continue
        reason = _pins(project, use, family)
        if reason is None:
            continue
        yield RULE.finding(
            path=use.site.path,
            line=project.line(use.site),
            column=project.call(use.site).column,
            message=f"This statement {reason}: it pins the proxy's server connection to this client until the client disconnects, "
            "and a kept connection does not disconnect, so one environment takes one server connection.",
            subject=project.subject(use.site),
            chain=use.chain,
            related=(proxy,),
            handler=reach.handler.name,
        )


def _family(project: Project, reach: Reach) -> str | None:
    handler = reach.handler
    assert handler.template is not None  # noqa: S101 - a proxy was found in it
    assert handler.resource is not None  # noqa: S101 - see above
    for _, target in project.deployment.connects_to(handler.template, handler.resource):
        if target.type == PROXY:
            family = project.deployment.text(handler.template, target.properties.get("EngineFamily"))
            return {"MYSQL": "mysql", "POSTGRESQL": "postgres"}.get((family or "").upper())
    return None


def _pins(project: Project, use: Use, family: str | None) -> str | None:
    driver = use.opened.opener.driver
    engine = family or use.opened.opener.family.value
    call = project.call(use.site)
    if driver == "mysql2" and use.method == "execute":
        return "is sent as a prepared statement (execute; query is not)"
    if driver == "mysql.connector" and use.method == "cursor" and call.keyword("prepared") == Literal(value=True):
        return "comes from a prepared cursor"
    if (
        driver in {"psycopg", "psycopg2"}
        and use.method == "cursor"
        and (
            call.keyword("name") is not None
            or (call.arguments and isinstance(call.arguments[0], Literal) and isinstance(call.arguments[0].value, str))
        )
    ):
        return "comes from a named (server-side) cursor"
    text = _text(project, use, call.arguments[0]) if call.arguments else None
    if text is None or engine not in {"mysql", "postgres"}:
        return None
    return next(
        (reason for pattern, reason in (_MYSQL if engine == "mysql" else _POSTGRES) if pattern.search(text)), None
    )


def _text(project: Project, use: Use, value: Value) -> str | None:
    found = project.resolver.literal(use.site.path, project.resolver.owner_of(use.site), value)
    if isinstance(found, Literal) and isinstance(found.value, str):
        return found.value
    if (
        isinstance(found, Joined)
        and found.parts
        and isinstance(found.parts[0], Literal)
        and isinstance(found.parts[0].value, str)
    ):
        return found.parts[0].value
    return None


_TEMPLATE = """\
Transform: AWS::Serverless-2016-10-31
Resources:
  Api:
    Type: AWS::Serverless::Function
    Properties:
      Handler: app.handler
      Runtime: python3.13
      Environment:
        Variables:
          DB_HOST: !GetAtt Proxy.Endpoint
  Proxy:
    Type: AWS::RDS::DBProxy
    Properties:
      DBProxyName: app
      EngineFamily: POSTGRESQL
"""
_PY_BAD = """\
import os
import psycopg2

connection = None


def handler(event, context):
    global connection
    if connection is None or connection.closed:
        connection = psycopg2.connect(host=os.environ["DB_HOST"], connect_timeout=2)
    with connection, connection.cursor() as cursor:
        cursor.execute("SET search_path TO tenant_a")
        cursor.execute("SELECT id FROM orders")
        return cursor.fetchall()
"""
_NODE_TEMPLATE = (
    _TEMPLATE.replace("POSTGRESQL", "MYSQL").replace("app.handler", "index.handler").replace("python3.13", "nodejs22.x")
)
_JS_BAD = """\
import mysql from "mysql2/promise";

const pool = mysql.createPool({ host: process.env.DB_HOST, connectionLimit: 1 });

export const handler = async (event) => {
  const [rows] = await pool.execute("SELECT id FROM orders WHERE customer = ?", [event.customer]);
  return rows;
};
"""

RULE = Rule(
    code="WL-A010",
    slug="pins-behind-proxy",
    title="The statement pins the proxy's connection",
    severity=Severity.WARNING,
    finds="Behind an RDS proxy: literal SQL that pins (session variables, temporary tables, named locks, cursors, LISTEN, sequence functions), prepared statements of mysql2 and MySQL Connector, and server-side cursors.",
    why="A pinned server connection serves one client until that client disconnects. With kept connections that is one server connection an environment, and the proxy shares nothing.",
    fix="Use SET LOCAL or the proxy's initialisation query, `query` instead of mysql2's `execute`, and transactions' own locks.",
    silent_when="the function does not demonstrably connect through a proxy, the statement is not a literal, or it is one that the proxy tracks (SET LOCAL; MySQL's sql_mode, time_zone, names, autocommit, isolation and the like).",
    bad=(
        Example("SET of a session parameter", {"template.yaml": _TEMPLATE, "app.py": _PY_BAD}),
        Example("mysql2's execute", {"template.yaml": _NODE_TEMPLATE, "index.mjs": _JS_BAD}),
    ),
    good=(
        Example(
            "SET LOCAL",
            {"template.yaml": _TEMPLATE, "app.py": _PY_BAD.replace("SET search_path", "SET LOCAL search_path")},
        ),
        Example("mysql2's query", {"template.yaml": _NODE_TEMPLATE, "index.mjs": _JS_BAD.replace("execute", "query")}),
    ),
    per_handler=check,
    scenario=None,
    applies_to=("python", "javascript", "sam", "cloudformation", "serverless", "terraform"),
)
