"""WL-A024: a kept asyncio connection is used from a new event loop in every invocation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmline_toolkit.audit.finding import Example, Finding, Rule, Severity
from warmline_toolkit.audit.reach import Step, When

if TYPE_CHECKING:
    from collections.abc import Iterator

    from warmline_toolkit.audit.context import Project
    from warmline_toolkit.audit.reach import Reach

_BOUND = frozenset({"asyncpg", "aiomysql", "asyncmy"})


def check(project: Project, reach: Reach) -> Iterator[Finding]:
    """Find asyncio.run in the invocation beside a kept connection or engine that is bound to its first loop."""
    runs = [
        (site, chain) for name, site, when, chain in reach.calls if name == "asyncio.run" and when is When.INVOCATION
    ]
    if not runs:
        return
    for opening in project.kept(reach):
        opener = opening.thing.opener
        bound = opener.driver in _BOUND or opener.name.endswith("create_async_engine")
        if not bound or (opener.driver == "sqlalchemy" and project.has_nullpool(opening.thing)):
            continue
        site, chain = runs[0]
        call = project.call(site)
        yield RULE.finding(
            path=site.path,
            line=call.line,
            column=call.column,
            message=f"asyncio.run() makes a new event loop in every invocation of {reach.handler.name}, but what "
            f"{project.spelled(opening.thing.site)}() keeps belongs to the first: from the second invocation on it fails "
            "('attached to a different loop', 'Event loop is closed').",
            subject=project.subject(site),
            chain=chain,
            related=(
                Step(
                    opening.thing.site.path,
                    project.line(opening.thing.site),
                    f"{project.spelled(opening.thing.site)}() is kept",
                ),
            ),
            handler=reach.handler.name,
        )


_BAD = """\
import asyncio
import os
import asyncpg

pool = None


async def count():
    global pool
    if pool is None:
        pool = await asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=1, max_size=1, max_inactive_connection_lifetime=0)
    return await pool.fetchval("SELECT count(*) FROM users")


def handler(event, context):
    return asyncio.run(count())
"""
_GOOD = _BAD.replace("pool = None\n\n", "pool = None\nloop = asyncio.new_event_loop()\n\n", 1).replace(
    "asyncio.run(count())", "loop.run_until_complete(count())"
)

RULE = Rule(
    code="WL-A024",
    slug="new-event-loop",
    title="A kept asyncio connection meets a new event loop",
    severity=Severity.ERROR,
    finds="asyncio.run in a handler that reaches a connection, pool or engine of asyncpg, aiomysql, asyncmy or SQLAlchemy's asyncio engine which is kept between invocations.",
    why="asyncio.run closes its loop at the end. The kept connection still belongs to that closed loop, so the second invocation in the same environment fails.",
    fix="Keep one loop a process (`loop = asyncio.new_event_loop()`, `loop.run_until_complete`), or connect per invocation.",
    silent_when="the connection does not outlive the invocation, the engine uses NullPool, or the driver is psycopg, which can change loops.",
    bad=(Example("asyncpg kept across asyncio.run", {"app.py": _BAD}),),
    good=(Example("one loop a process", {"app.py": _GOOD}),),
    per_handler=check,
    applies_to=("python",),
)
