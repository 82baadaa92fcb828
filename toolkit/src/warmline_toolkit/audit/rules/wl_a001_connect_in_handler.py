"""WL-A001: a connection, pool or client is made in every invocation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmline_toolkit.audit.evidence import goes_through_proxy, runs_rarely
from warmline_toolkit.audit.finding import Example, Finding, Rule, Severity
from warmline_toolkit.audit.knowledge import Kind
from warmline_toolkit.audit.reach import When

if TYPE_CHECKING:
    from collections.abc import Iterator

    from warmline_toolkit.audit.context import Project
    from warmline_toolkit.audit.reach import Reach


def check(project: Project, reach: Reach) -> Iterator[Finding]:
    """Find what opens per invocation: reached from the handler and not kept behind a check."""
    openings = [
        opening
        for opening in reach.openings
        if opening.when is When.INVOCATION
        and opening.thing.opener.kind is not Kind.MANAGED
        and not project.is_local_file(opening.thing)
    ]
    if not openings or runs_rarely(project, reach) is not None:
        return
    proxy = goes_through_proxy(project, reach)
    for opening in openings:
        site, opener = opening.thing.site, opening.thing.opener
        made = {Kind.CONNECTION: "a new connection", Kind.POOL: "a new pool", Kind.SDK: "a new SDK client"}[opener.kind]
        where = f"{project.spelled(site)}()"
        message = f"Every invocation of {reach.handler.name} makes {made}: {where} runs in the handler's path"
        if opener.kind is Kind.SDK:
            severity, message = (
                Severity.NOTE,
                f"{message}; a client kept outside the handler reuses its TLS connection.",
            )
        elif proxy is not None:
            severity = Severity.NOTE
            message = (
                f"{message}. It connects to a proxy, so the database is spared; the handshake is still paid each time."
            )
        elif opener.kind is Kind.POOL:
            severity = Severity.ERROR
            message = f"{message}, and unless each one is closed its connections stay open on the server."
        else:
            severity = Severity.WARNING
            message = f"{message}; each one pays a full connect, and a burst of invocations is a burst of logins."
        yield RULE.finding(
            path=site.path,
            line=project.line(site),
            column=project.call(site).column,
            message=message,
            severity=severity,
            subject=project.subject(site),
            chain=opening.chain,
            related=(proxy,) if proxy is not None else (),
            numbers=(("connections_per_invocation", 1),),
            handler=reach.handler.name,
        )


_PY_BAD = """\
import os
import pymysql


def lambda_handler(event, context):
    connection = pymysql.connect(host=os.environ["DB_HOST"], user="app", password=os.environ["DB_PASS"])
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT id FROM users")
            return cursor.fetchall()
    finally:
        connection.close()
"""
_PY_GOOD = """\
import os
import pymysql

connection = None


def connect():
    global connection
    if connection is None:
        connection = pymysql.connect(host=os.environ["DB_HOST"], user="app", autocommit=True)
    connection.ping(reconnect=True)
    return connection


def lambda_handler(event, context):
    with connect().cursor() as cursor:
        cursor.execute("SELECT id FROM users")
        return cursor.fetchall()
"""
_JS_BAD = """\
const { Pool } = require("pg");

exports.handler = async (event) => {
  const pool = new Pool({ max: 1 });
  const { rows } = await pool.query("SELECT id FROM users");
  await pool.end();
  return rows;
};
"""
_JS_GOOD = """\
const { Pool } = require("pg");

const pool = new Pool({ max: 1, idleTimeoutMillis: 0, connectionTimeoutMillis: 5000 });

exports.handler = async (event) => {
  const { rows } = await pool.query("SELECT id FROM users");
  return rows;
};
"""

RULE = Rule(
    code="WL-A001",
    slug="connect-in-handler",
    title="A connection is made in every invocation",
    severity=Severity.WARNING,
    finds="A call that opens a connection, makes a pool or an engine, or makes an SDK client, and that a handler reaches in every invocation, also through functions in other files.",
    why="A process serves one invocation after the other, so one connection is enough for its whole life. Connecting each time costs TCP, TLS and authentication per invocation, and a burst of invocations becomes a burst of logins.",
    fix="Open it once a process, outside the handler or behind a check of a module-level name, and check it before use; `warmline.Database` does both.",
    silent_when="the call stands behind a check of the name that keeps its result, the function that makes it is cached, the function's name or its schedule says that it runs rarely (migrations, rotation, set-up), or the URL is SQLite's. Behind an RDS proxy, and for SDK clients, it is a note.",
    bad=(
        Example("PyMySQL in the handler", {"app.py": _PY_BAD}),
        Example("a pool a request in Node.js", {"index.js": _JS_BAD}),
    ),
    good=(
        Example("kept behind a check, and pinged", {"app.py": _PY_GOOD}),
        Example("one pool a process", {"index.js": _JS_GOOD}),
    ),
    per_handler=check,
    scenario="guide",
)
