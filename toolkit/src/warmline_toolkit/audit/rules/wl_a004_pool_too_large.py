"""WL-A004: a pool may open more connections than one process can use."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from warmline_toolkit.audit.evidence import fans_out
from warmline_toolkit.audit.finding import Edit, Example, Finding, Rule, Severity
from warmline_toolkit.audit.knowledge import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from warmline_toolkit.audit.context import Project
    from warmline_toolkit.audit.reach import Reach
    from warmline_toolkit.audit.things import OpenedThing


def check(project: Project, reach: Reach) -> Iterator[Finding]:
    """Find pools of more than one connection in a process that serves one request at a time."""
    openings = [opening for opening in reach.openings if opening.thing.opener.kind is Kind.POOL]
    if not openings or not project.one_request_at_a_time(reach) or fans_out(project, reach):
        return
    for opening in openings:
        thing = opening.thing
        if project.is_local_file(thing) or project.has_nullpool(thing):
            continue
        size = project.pool_size(thing)
        if size is None or size[0] <= 1:
            continue
        limit, written = size
        at_once = _opened_at_once(project, thing)
        call = project.call(thing.site)
        settings = " + ".join(names[0] for names, _ in thing.opener.sizes)
        source = f"{settings} = {limit}" if written else f"{thing.opener.driver}'s default for {settings} is {limit}"
        message = f"The pool may open {limit} connections ({source}), but a process of {reach.handler.name} serves one request at a time and can use 1"
        if at_once > 1:
            message += f"; {at_once} are opened at once, {at_once - 1} of them for nothing"
            severity = Severity.ERROR
        else:
            severity = Severity.WARNING if written else Severity.NOTE
        yield RULE.finding(
            path=thing.site.path,
            line=call.line,
            column=call.column,
            message=f"{message}. With N environments the database must allow {limit} x N.",
            severity=severity,
            subject=project.subject(thing.site),
            chain=opening.chain,
            numbers=(("pool_connections", limit), ("usable_connections", 1)),
            edits=_edits(project, thing),
            handler=reach.handler.name,
        )


def _opened_at_once(project: Project, thing: OpenedThing) -> int:
    opener = thing.opener
    if not opener.eager:
        return 0
    if opener.smallest is None:
        size = project.pool_size(thing)
        return size[0] if size is not None and opener.driver == "mysql.connector" else 0
    names, default = opener.smallest
    number = project.number(thing.site, *names)
    return int(number) if number is not None else default if not project.settings_hidden(thing.site) else 0


def _edits(project: Project, thing: OpenedThing) -> tuple[Edit, ...]:
    """One literal size becomes 1; SQLAlchemy's overflow becomes 0. Defaults are left to a person."""
    call = project.call(thing.site)
    edits = []
    for names, _ in thing.opener.sizes:
        for name in names:
            last = name.rpartition(".")[2]
            number = project.number(thing.site, name)
            if number is not None and number > 1:
                wanted = 0 if last == "max_overflow" else 1
                pattern = rf"(\b{re.escape(last)}['\"]?\s*[:=]\s*){int(number)}\b"
                edits.append(Edit(thing.site.path, call.line, call.end_line, pattern, rf"\g<1>{wanted}"))
    return tuple(edits)


_PY_BAD = """\
import os
from mysql.connector import pooling

pool = pooling.MySQLConnectionPool(pool_name="app", pool_size=10, host=os.environ["DB_HOST"], user="app")


def lambda_handler(event, context):
    connection = pool.get_connection()
    try:
        cursor = connection.cursor()
        cursor.execute("SELECT id, name FROM users")
        return cursor.fetchall()
    finally:
        connection.close()
"""
_PY_GOOD = """\
import os
from sqlalchemy import create_engine, text

engine = create_engine(os.environ["DATABASE_URL"], pool_size=1, max_overflow=0, pool_pre_ping=True)


def lambda_handler(event, context):
    with engine.connect() as connection:
        return [row.name for row in connection.execute(text("SELECT name FROM users"))]
"""
_JS_BAD = """\
import mysql from "mysql2/promise";

const pool = mysql.createPool({
  host: process.env.DB_HOST,
  waitForConnections: true,
  connectionLimit: 10,
  queueLimit: 0,
});

export const handler = async () => {
  const [users] = await pool.query("SELECT id, name FROM users");
  return { statusCode: 200, body: JSON.stringify(users) };
};
"""
_JS_GOOD = """\
import mysql from "mysql2/promise";

const pool = mysql.createPool({ host: process.env.DB_HOST, connectionLimit: 4 });

export const handler = async () => {
  const [users, orders] = await Promise.all([
    pool.query("SELECT id, name FROM users"),
    pool.query("SELECT id, total FROM orders"),
  ]);
  return { statusCode: 200, body: JSON.stringify({ users, orders }) };
};
"""

RULE = Rule(
    code="WL-A004",
    slug="pool-too-large",
    title="The pool is larger than one process can use",
    severity=Severity.WARNING,
    finds="A pool that may open more than one connection in a function whose process serves one request at a time; the sizes written in the code, and the drivers' defaults (Sequelize 5, mysql2 10, pg 10, SQLAlchemy 5 + 10).",
    why="The extra connections are never needed, yet the database must have room for them in every environment: a pool of 10 in 100 environments may take 1,000 connections. Pools that open a minimum at once take that room at once.",
    fix="Set the size to 1 (SQLAlchemy: pool_size=1, max_overflow=0), or to the number of statements that the handler really runs at the same time.",
    silent_when="the handler runs things at the same time (asyncio.gather, threads, Promise.all, GraphQL resolvers), the function runs on Lambda Managed Instances with Node.js, or the size is set where it cannot be seen.",
    bad=(
        Example("MySQL Connector's pool opens ten", {"app.py": _PY_BAD}),
        Example("connectionLimit 10 in a one-request process", {"index.mjs": _JS_BAD}),
    ),
    good=(
        Example("an engine with one connection", {"app.py": _PY_GOOD}),
        Example("two statements at the same time", {"index.mjs": _JS_GOOD}),
    ),
    per_handler=check,
    scenario="guide",
)
