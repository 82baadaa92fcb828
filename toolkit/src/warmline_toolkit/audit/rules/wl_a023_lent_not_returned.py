"""WL-A023: a connection is taken from a pool and not given back on every path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmline_toolkit.audit.evidence import invoked_calls
from warmline_toolkit.audit.facts import Name
from warmline_toolkit.audit.finding import Example, Finding, Rule, Severity
from warmline_toolkit.audit.reach import When
from warmline_toolkit.audit.things import LentThing, MemberThing, ResultThing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from warmline_toolkit.audit.context import Project
    from warmline_toolkit.audit.reach import Reach
    from warmline_toolkit.audit.things import Site

_RETURNS = frozenset({"release", "close", "putconn", "end", "destroy", "releaseConnection", "__exit__", "terminate"})
_LENDS = frozenset({"acquire", "getConnection", "get_connection", "getconn", "connect", "reserve", "createQueryRunner"})


def check(project: Project, reach: Reach) -> Iterator[Finding]:
    """Find lent connections that are released on the normal path only, or never."""
    kept = {opening.thing for opening in project.kept(reach)}
    seen: set[Site] = set()
    for use in reach.uses:
        if use.when is When.INIT or use.method not in _LENDS or use.owner not in kept or use.site in seen:
            continue
        seen.add(use.site)
        call = project.call(use.site)
        if (
            call.entered
            or call.returned
            or call.target is None
            or call.callbacks
            or "." in call.target
            or call.in_except
        ):
            continue
        if use.opened.opener.driver in {"pg", "mysql", "mysql2"} and call.arguments:
            continue  # lent to a callback
        lent = [thing for thing in project.resolver.result(use.site) if isinstance(thing, LentThing)]
        if not lent or _escapes(project, use.site, call.target):
            continue
        returned, safely = _returned(project, reach, lent[0], use.site)
        if safely:
            continue
        name = f"{project.spelled(use.site)}()"
        if returned:
            message = f"What {name} lends is given back only when nothing fails: after an error the slot is lost, and in a pool of 1 the next invocation in this environment waits for ever."
        else:
            message = f"Nothing gives back what {name} lends: each invocation takes another slot of the pool until none is left, and then waits."
        yield RULE.finding(
            path=use.site.path,
            line=call.line,
            column=call.column,
            message=message,
            severity=Severity.WARNING if returned else Severity.ERROR,
            subject=project.subject(use.site),
            chain=use.chain,
            handler=reach.handler.name,
        )


def _returned(project: Project, reach: Reach, lent: LentThing, site: Site) -> tuple[bool, bool]:
    """Return whether it is given back at all, and whether on error paths too."""
    returned = safely = False
    facts = project.code[site.path]
    owner = facts.functions[project.resolver.owner_of(site)]
    target = project.call(site).target
    for where, call in invoked_calls(project, reach):
        last = call.name.rpartition(".")[2]
        gives = any(
            isinstance(thing, MemberThing) and thing.owner == lent and thing.name in _RETURNS
            for thing in project.resolver.callee(where)
        )
        if not gives and last in _RETURNS:
            gives = (
                any(isinstance(value, Name) and value.path == target for value in call.arguments)
                and where.path == site.path
            )
        if gives:
            returned = True
            caught = any(catch.line <= call.line <= catch.end_line for catch in owner.catches)
            safely = (
                safely or call.in_finally or (call.in_except and caught and _also_normally(project, reach, lent, where))
            )
        if call.entered and where.path == site.path:
            subject = any(
                (isinstance(thing, MemberThing | ResultThing) and thing.owner == lent) or thing == lent for thing in project.resolver.callee(where)
            ) and last == "__enter__"  # fmt: skip
            wrapped = last == "closing" and any(
                isinstance(value, Name) and value.path == target for value in call.arguments
            )
            safely = safely or subject or wrapped
    return returned, safely


def _also_normally(project: Project, reach: Reach, lent: LentThing, other: Site) -> bool:
    return any(
        isinstance(thing, MemberThing)
        and thing.owner == lent
        and thing.name in _RETURNS
        and where != other
        and not call.in_except
        for where, call in invoked_calls(project, reach)
        for thing in project.resolver.callee(where)
    )


def _escapes(project: Project, site: Site, target: str) -> bool:
    """It is returned, stored elsewhere or handed to other code, which may give it back."""
    facts = project.code[site.path]
    index = project.resolver.owner_of(site)
    function = facts.functions[index]
    if any(isinstance(value, Name) and value.path == target for value in function.returns):
        return True
    if any(isinstance(value, Name) and value.path == target and name != target for name, value, _ in function.assigned):
        return True
    if target not in function.local:
        return True
    for number in function.calls:
        call = facts.calls[number]
        if call.name.rpartition(".")[2] in _RETURNS or call.name.endswith("closing"):
            continue
        values = (*call.arguments, *(value for _, value in call.keywords))
        if any(isinstance(value, Name) and value.path == target for value in values):
            return True
    return False


_PY_BAD = """\
import os
from psycopg2.pool import SimpleConnectionPool

pool = SimpleConnectionPool(1, 1, host=os.environ["DB_HOST"], connect_timeout=2)


def handler(event, context):
    connection = pool.getconn()
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM users")
        users = cursor.fetchall()
    connection.commit()
    pool.putconn(connection)
    return users
"""
_PY_GOOD = """\
import os
from psycopg2.pool import SimpleConnectionPool

pool = SimpleConnectionPool(1, 1, host=os.environ["DB_HOST"], connect_timeout=2)


def handler(event, context):
    connection = pool.getconn()
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT id FROM users")
            return cursor.fetchall()
    finally:
        pool.putconn(connection, close=connection.closed)
"""
_JS_BAD = """\
import mysql from "mysql2/promise";

const pool = mysql.createPool({ host: process.env.DB_HOST, connectionLimit: 1, connectTimeout: 2000 });

export const handler = async () => {
  const connection = await pool.getConnection();
  const [users] = await connection.query("SELECT id FROM users");
  connection.release();
  return users;
};
"""
_JS_GOOD = """\
import mysql from "mysql2/promise";

const pool = mysql.createPool({ host: process.env.DB_HOST, connectionLimit: 1, connectTimeout: 2000 });

export const handler = async () => {
  const connection = await pool.getConnection();
  try {
    const [users] = await connection.query("SELECT id FROM users");
    return users;
  } finally {
    connection.release();
  }
};
"""

RULE = Rule(
    code="WL-A023",
    slug="lent-not-returned",
    title="A connection is not given back on every path",
    severity=Severity.WARNING,
    finds="A connection taken from a kept pool (getConnection, connect, acquire, getconn) whose release does not stand in a finally or a with block.",
    why="After an error the pool believes that the connection is in use. With a pool of 1 the next invocation in the same environment waits until it is stopped, and so does every one after it.",
    fix="Release in `finally`, use the pool's context manager, or call the pool's own query method, which lends and takes back.",
    silent_when="the connection is returned to the caller, stored, or handed to other code that may release it.",
    bad=(
        Example("putconn on the normal path only", {"app.py": _PY_BAD}),
        Example("release on the normal path only", {"index.mjs": _JS_BAD}),
    ),
    good=(Example("putconn in finally", {"app.py": _PY_GOOD}), Example("release in finally", {"index.mjs": _JS_GOOD})),
    per_handler=check,
)
