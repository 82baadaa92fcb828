"""WL-A003: a kept connection is used after a thaw without asking whether it is still alive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmline_toolkit.audit.evidence import is_checked, is_used
from warmline_toolkit.audit.finding import Edit, Example, Finding, Rule, Severity
from warmline_toolkit.audit.knowledge import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from warmline_toolkit.audit.context import Project
    from warmline_toolkit.audit.reach import Opening, Reach

_FAILURES = {
    "pymysql": "error 2013 or 2006",
    "MySQLdb": "error 2006 or 2013",
    "mysql.connector": "error 2013 or 2055",
    "psycopg": "AdminShutdown or OperationalError",
    "psycopg2": "OperationalError, then InterfaceError",
    "pg8000": "InterfaceError",
    "sqlalchemy": "OperationalError",
    "mysql2": "'closed state' errors",
    "mysql": "PROTOCOL_CONNECTION_LOST",
    "pg": "'Connection terminated' and 'Client has encountered a connection error'",
}


def check(project: Project, reach: Reach) -> Iterator[Finding]:
    """Find kept connections (and pools that hand out without a check) that nothing on the handler's path checks."""
    for opening in project.kept(reach):
        thing, opener = opening.thing, opening.thing.opener
        if opener.heals or opener.kind not in {Kind.CONNECTION, Kind.POOL} or opener.driver == "peewee":
            continue
        if project.setting(thing.site, *opener.checks, "pool_recycle", "creator") is not None or project.has_nullpool(
            thing
        ):
            continue
        if opener.kind is Kind.POOL and project.settings_hidden(thing.site):
            continue
        if not _is_used(project, reach, opening) or is_checked(project, reach, opening):
            continue
        call = project.call(thing.site)
        kept = "The pool made" if opener.kind is Kind.POOL else "The connection opened"
        when = "at module level" if opening.when.value == "init" else "by the first invocation"
        fails = _FAILURES.get(opener.driver, "a lost-connection error")
        message = (
            f"{kept} {when} by {project.spelled(thing.site)}() is used by later invocations without a check. Once the server "
            f"closed it while the environment was frozen, {reach.handler.name} fails with {fails}"
            + ("." if opener.kind is Kind.POOL else ", and so does every invocation after it in this environment.")
        )
        edits: tuple[Edit, ...] = ()
        if opener.driver == "sqlalchemy":
            edits = (Edit(thing.site.path, call.line, call.end_line, r"\)(?=[^)]*$)", ", pool_pre_ping=True)"),)
            if call.line != call.end_line:
                edits = ()
        yield RULE.finding(
            path=thing.site.path,
            line=call.line,
            column=call.column,
            message=message,
            subject=project.subject(thing.site),
            chain=opening.chain,
            edits=edits,
            fix=_fix(opener.driver),
            handler=reach.handler.name,
        )


def _is_used(project: Project, reach: Reach, opening: Opening) -> bool:
    if is_used(reach, opening.thing):
        return True
    # A SQLAlchemy engine is used through sessions: the handler reaches the file that binds one
    return opening.thing.opener.driver == "sqlalchemy" and any(
        name.startswith(("sqlalchemy.orm.", "sqlalchemy.ext.asyncio.", "sqlmodel.Session")) for name, _, _, _ in reach.calls
    ) and project.code[reach.handler.path] is not None  # fmt: skip


def _fix(driver: str) -> str:
    match driver:
        case "sqlalchemy":
            return "Add pool_pre_ping=True to create_engine (one round trip a checkout), or let warmline check the connection."
        case "pymysql" | "MySQLdb" | "mysql.connector":
            return "Call ping (reconnect=True in PyMySQL) before the first statement of an invocation, or use warmline.Database, which asks without a round trip."
        case "psycopg_pool":
            return "Give the pool check=ConnectionPool.check_connection, or use warmline.Database."
        case "psycopg" | "psycopg2" | "pg8000":
            return "On OperationalError or InterfaceError drop the kept connection and connect again, or use warmline.Database, which checks before use."
        case _:
            return "Use a pool with one connection, which replaces broken ones, or connect again when the connection reports an error."


_PY_BAD = """\
import os
import psycopg2

conn = psycopg2.connect(host=os.environ["DB_HOST"], dbname="shop", connect_timeout=3)


def lambda_handler(event, context):
    with conn.cursor() as cur:
        cur.execute("SELECT name FROM products WHERE id = %s", (event["id"],))
        return cur.fetchone()
"""
_PY_GOOD = """\
import os
import psycopg2

conn = None


def get_connection():
    global conn
    if conn is None or conn.closed:
        conn = psycopg2.connect(host=os.environ["DB_HOST"], dbname="shop", connect_timeout=3)
        conn.autocommit = True
    return conn


def lambda_handler(event, context):
    global conn
    try:
        with get_connection().cursor() as cur:
            cur.execute("SELECT name FROM products WHERE id = %s", (event["id"],))
            return cur.fetchone()
    except psycopg2.OperationalError:
        conn = None
        raise
"""
_JS_BAD = """\
const mysql = require("mysql2/promise");

let connection;

exports.handler = async (event) => {
  if (!connection) {
    connection = await mysql.createConnection(process.env.DATABASE_URL);
  }
  const [rows] = await connection.execute("SELECT name FROM products WHERE id = ?", [event.id]);
  return rows;
};
"""
_JS_GOOD = """\
const mysql = require("mysql2/promise");

let connection;

exports.handler = async (event) => {
  try {
    if (!connection) connection = await mysql.createConnection(process.env.DATABASE_URL);
    const [rows] = await connection.execute("SELECT name FROM products WHERE id = ?", [event.id]);
    return rows;
  } catch (error) {
    connection = undefined;
    throw error;
  }
};
"""

RULE = Rule(
    code="WL-A003",
    slug="no-liveness-check",
    title="A kept connection is used without a liveness check",
    severity=Severity.WARNING,
    finds="A connection kept between invocations, or a pool that hands out without testing (SQLAlchemy without pool_pre_ping, psycopg_pool without check, psycopg2.pool), that an invocation uses while nothing on its path pings it, looks at its state, or replaces it after an error.",
    why="A frozen environment cannot notice that the server closed the connection. The first statement after the thaw fails, and unless the code drops its connection, so does every one after it.",
    fix="Check before the first statement of an invocation, and drop the kept connection on connection errors.",
    silent_when="there is a ping, a look at `open`, `closed` or the like, an error handler that clears the name or reconnects, an age limit, an error listener, or a retry decorator on the path; and for pools and wrappers that replace dead connections themselves.",
    bad=(
        Example("a global psycopg2 connection", {"app.py": _PY_BAD}),
        Example("a kept mysql2 connection", {"index.js": _JS_BAD}),
    ),
    good=(
        Example("state asked, error clears the name", {"app.py": _PY_GOOD}),
        Example("the catch clears the name", {"index.js": _JS_GOOD}),
    ),
    per_handler=check,
    scenario="stale",
)
