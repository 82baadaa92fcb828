"""WL-A002: what the process keeps is closed in an invocation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmline_toolkit.audit.finding import Example, Finding, Rule, Severity
from warmline_toolkit.audit.knowledge import CLOSES, Kind
from warmline_toolkit.audit.reach import When
from warmline_toolkit.audit.things import LentThing, OpenedThing, Site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from warmline_toolkit.audit.context import Project
    from warmline_toolkit.audit.reach import Opening, Reach, Step

_WITH_CLOSES = frozenset({"pymysql", "psycopg", "MySQLdb", "mysql.connector", "mariadb"})
_REOPENS_BY_ITSELF = frozenset({"sqlalchemy", "prisma", "peewee"})


def check(project: Project, reach: Reach) -> Iterator[Finding]:
    """Find closes of kept things on the normal path of an invocation."""
    kept = {opening.thing: opening for opening in project.kept(reach)}
    if not kept:
        return
    for owner, site, chain, how in _closes(project, reach, kept):
        opening = kept[owner]
        call = project.call(site)
        if call.in_except or any(guard.endswith((".open", ".closed", "is_connected")) for guard in call.guards):
            continue
        if _is_replaced(project, site):
            continue
        again = opening.when is When.ONCE or owner.opener.driver in _REOPENS_BY_ITSELF
        what = "pool" if owner.opener.kind is Kind.POOL else "connection"
        made = f"{project.spelled(owner.site)}() in {owner.site.path}:{project.line(owner.site)}"
        message = f"{how} closes the {what} that the process keeps ({made}) at the end of an invocation"
        if again:
            message += "; the next invocation opens it again, so keeping it gains nothing."
        else:
            message += "; nothing opens it again, so the next invocation in this environment fails."
        yield RULE.finding(
            path=site.path,
            line=call.line,
            column=call.column,
            message=message,
            severity=Severity.WARNING if again else Severity.ERROR,
            subject=project.subject(site),
            chain=chain,
            related=(_made_at(project, owner),),
            handler=reach.handler.name,
        )


def _made_at(project: Project, owner: OpenedThing) -> Step:
    from warmline_toolkit.audit.reach import Step  # noqa: PLC0415 - a value, needed once a finding

    return Step(owner.site.path, project.line(owner.site), f"{project.spelled(owner.site)}() opens what is closed")


def _closes(
    project: Project, reach: Reach, kept: dict[OpenedThing, Opening]
) -> Iterator[tuple[OpenedThing, Site, tuple[Step, ...], str]]:
    for use in reach.uses:
        if use.when is When.INIT or not isinstance(use.owner, OpenedThing) or use.owner not in kept:
            continue
        if use.method in CLOSES:
            yield use.owner, use.site, use.chain, f"{project.spelled(use.site)}()"
        elif (
            use.method == "__enter__"
            and use.owner.opener.driver in _WITH_CLOSES
            and use.owner.opener.kind is Kind.CONNECTION
        ):
            name = project.spelled(use.site).removesuffix(".__enter__")
            yield use.owner, use.site, use.chain, f"`with {name}:`"
    for (path, index), chain in reach.functions.items():
        facts = project.code[path]
        for number in facts.functions[index].calls:
            site = Site(path, number)
            if not facts.calls[number].entered:
                continue
            results = project.resolver.result(site)
            if any(isinstance(other, LentThing) for other in results) or _yields(project, site):
                continue
            for thing in results:
                if thing in kept and isinstance(thing, OpenedThing) and thing.site != site and _with_closes(thing):
                    yield thing, site, chain, f"`with {project.spelled(site)}():`"


def _with_closes(thing: OpenedThing) -> bool:
    return thing.opener.driver in _WITH_CLOSES and thing.opener.kind is Kind.CONNECTION


def _yields(project: Project, site: Site) -> bool:
    """A generator-based context manager decides itself what its end does."""
    from warmline_toolkit.audit.things import FunctionThing  # noqa: PLC0415 - a value, needed once a finding

    return any(
        isinstance(thing, FunctionThing) and project.resolver.function(thing).yields
        for thing in project.resolver.callee(site)
    )


def _is_replaced(project: Project, site: Site) -> bool:
    """The function that closes it also forgets or replaces it: a reconnect, not an end."""
    function = project.enclosing(site)
    name = project.call(site).name.rpartition(".")[0]
    root = name.rpartition(".")[2]
    line = project.line(site)
    return any(target.rpartition(".")[2] == root and at >= line for target, _, at in function.assigned) and bool(
        project.call(site).guards
    )


_PY_BAD = """\
import os
import psycopg2

connection = psycopg2.connect(os.environ["DATABASE_URL"], connect_timeout=5)


def handler(event, context):
    cursor = connection.cursor()
    cursor.execute("SELECT count(*) FROM orders")
    count = cursor.fetchone()[0]
    connection.close()
    return {"count": count}
"""
_PY_GOOD = """\
import os
import psycopg2

connection = None


def handler(event, context):
    global connection
    if connection is None or connection.closed:
        connection = psycopg2.connect(os.environ["DATABASE_URL"], connect_timeout=5)
    cursor = connection.cursor()
    try:
        cursor.execute("SELECT count(*) FROM orders")
        return {"count": cursor.fetchone()[0]}
    finally:
        cursor.close()
"""
_JS_BAD = """\
import mysql from "mysql2/promise";

const pool = mysql.createPool({ uri: process.env.DATABASE_URL, connectionLimit: 1 });

export const handler = async () => {
  const [rows] = await pool.query("SELECT 1 FROM users LIMIT 1");
  await pool.end();
  return rows;
};
"""
_JS_GOOD = """\
import mysql from "mysql2/promise";

const pool = mysql.createPool({ uri: process.env.DATABASE_URL, connectionLimit: 1 });

export const handler = async () => {
  const connection = await pool.getConnection();
  try {
    const [rows] = await connection.query("SELECT 1 FROM users LIMIT 1");
    return rows;
  } finally {
    connection.release();
  }
};
"""

RULE = Rule(
    code="WL-A002",
    slug="kept-then-closed",
    title="A kept connection is closed in the invocation",
    severity=Severity.ERROR,
    finds="A close (also `pool.end()`, `engine.dispose()`, `$disconnect()`, and a `with` block that closes at its end) of a connection or pool that was opened at module level or is kept behind a check.",
    why="The next invocation in the same environment finds a closed connection and fails, or connects again, so that keeping it gained nothing.",
    fix="Leave it open; release what a pool lent, close cursors. Let the server's idle timeout end connections of environments that are gone.",
    silent_when="the close stands in an error handler or behind a check of the connection's state, or the same branch replaces the connection.",
    bad=(
        Example("a global psycopg2 connection closed by the handler", {"app.py": _PY_BAD}),
        Example("a global mysql2 pool ended by the handler", {"index.mjs": _JS_BAD}),
    ),
    good=(
        Example("only the cursor is closed", {"app.py": _PY_GOOD}),
        Example("what the pool lent is released", {"index.mjs": _JS_GOOD}),
    ),
    per_handler=check,
    scenario="guide",
)
