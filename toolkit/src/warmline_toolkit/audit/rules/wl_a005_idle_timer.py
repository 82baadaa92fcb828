"""WL-A005: an idle timer in the process is relied on to close connections, but a frozen process runs no timers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmline_toolkit.audit.facts import Name
from warmline_toolkit.audit.finding import Example, Finding, Rule, Severity
from warmline_toolkit.audit.knowledge import CLOSES, IDLE_WINDOW_MS, Kind
from warmline_toolkit.audit.reach import When
from warmline_toolkit.audit.things import ExternalThing, FunctionThing, MemberThing, OpenedThing, Site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from warmline_toolkit.audit.context import Project
    from warmline_toolkit.audit.reach import Reach


def check(project: Project, reach: Reach) -> Iterator[Finding]:
    """Find pool settings that close idle connections by a timer, and timers of one's own that close a kept connection."""
    if project.one_request_at_a_time(reach):
        yield from _settings(project, reach)
        yield from _own_timers(project, reach)


def _settings(project: Project, reach: Reach) -> Iterator[Finding]:
    for opening in reach.openings:
        thing, timer = opening.thing, opening.thing.opener.idle
        if (
            timer is None
            or opening.when is When.INVOCATION
            or thing.opener.kind is not Kind.POOL
            or project.is_local_file(thing)
        ):
            continue
        value = project.setting(thing.site, *timer.settings)
        if value is None:
            if timer.default_ms is None or project.settings_hidden(thing.site):
                continue
            milliseconds, written = timer.default_ms, False
        else:
            number = project.number(thing.site, *timer.settings)
            if number is None:
                continue
            milliseconds, written = int(number * timer.unit_ms), True
        if not 0 < milliseconds < IDLE_WINDOW_MS:
            continue
        if thing.opener.driver == "mysql2" and _keeps_all_idle(project, thing):
            continue
        call = project.call(thing.site)
        name = timer.settings[0]
        spelled = f"{name} ({milliseconds / 1000:g} s)" if written else f"{name}, {milliseconds / 1000:g} s by default,"
        yield RULE.finding(
            path=thing.site.path,
            line=call.line,
            column=call.column,
            message=f"{spelled} cannot close idle connections while the environment is frozen: the server's slot stays taken, "
            f"and after the thaw the overdue timer closes the connection just as {reach.handler.name} needs it.",
            severity=Severity.WARNING if written else Severity.NOTE,
            subject=project.subject(thing.site),
            chain=opening.chain,
            numbers=(("idle_timeout_ms", milliseconds), ("idle_environment_ms", IDLE_WINDOW_MS)),
            fix=f"Turn the timer off ({name}: {'null' if thing.opener.driver == 'postgres' else 0}) and let the server's idle timeout free slots of environments that are gone.",
            handler=reach.handler.name,
        )


def _keeps_all_idle(project: Project, thing: OpenedThing) -> bool:
    """mysql2 closes idle connections only above maxIdle, which is connectionLimit unless it is set lower."""
    limit = project.number(thing.site, "maxIdle")
    return limit is None


def _own_timers(project: Project, reach: Reach) -> Iterator[Finding]:
    kept = {opening.thing for opening in project.kept(reach)}
    for (path, index), chain in reach.functions.items():
        facts = project.code[path]
        for number in facts.functions[index].calls:
            call = facts.calls[number]
            site = Site(path, number)
            is_timer = call.name == "setTimeout" or any(
                isinstance(thing, ExternalThing) and thing.name == "threading.Timer"
                for thing in project.resolver.callee(site)
            )
            if not is_timer:
                continue
            closed = _closed_by(project, site, kept)
            if closed is None:
                continue
            yield RULE.finding(
                path=path,
                line=call.line,
                column=call.column,
                message=f"A timer is to close the kept connection ({project.spelled(closed.site)}()) when it is idle, but no timer "
                f"runs in a frozen environment: the slot stays taken, and the timer fires after the thaw, beside {reach.handler.name}.",
                subject=project.subject(site),
                chain=chain,
                handler=reach.handler.name,
            )


def _closed_by(project: Project, site: Site, kept: set[OpenedThing]) -> OpenedThing | None:
    """Return the kept connection that the timer's function closes."""
    call = project.call(site)
    functions = [FunctionThing(site.path, index) for index in call.callbacks]
    for value in (*call.arguments, *(item for _, item in call.keywords)):
        if isinstance(value, Name):
            functions.extend(thing for thing in project.things(site, value) if isinstance(thing, FunctionThing))
            for thing in project.things(site, value):
                if (
                    isinstance(thing, MemberThing)
                    and thing.name in CLOSES
                    and thing.owner in kept
                    and isinstance(thing.owner, OpenedThing)
                ):
                    return thing.owner
    for function in functions:
        facts = project.code[function.path]
        for number in facts.functions[function.index].calls:
            for thing in project.resolver.callee(Site(function.path, number)):
                if (
                    isinstance(thing, MemberThing)
                    and thing.name in CLOSES
                    and isinstance(thing.owner, OpenedThing)
                    and thing.owner in kept
                ):
                    return thing.owner
    return None


_PY_BAD = """\
import os
import threading
import pymysql

connection = pymysql.connect(host=os.environ["DB_HOST"], user="app")


def handler(event, context):
    connection.ping(reconnect=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM users")
        users = cursor.fetchall()
    threading.Timer(30, connection.close).start()
    return users
"""
_PY_GOOD = """\
import os
import asyncio
import asyncpg

loop = asyncio.new_event_loop()
pool = loop.run_until_complete(
    asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=1, max_size=1, max_inactive_connection_lifetime=0)
)


def handler(event, context):
    return loop.run_until_complete(pool.fetchval("SELECT count(*) FROM users"))
"""
_JS_BAD = """\
import pg from "pg";

const pool = new pg.Pool({ max: 1, idleTimeoutMillis: 1000, connectionTimeoutMillis: 3000 });

export const handler = async () => {
  const { rows } = await pool.query("SELECT id FROM users");
  return rows;
};
"""
_JS_GOOD = """\
import pg from "pg";

const pool = new pg.Pool({ max: 1, idleTimeoutMillis: 0, connectionTimeoutMillis: 3000 });

export const handler = async () => {
  const { rows } = await pool.query("SELECT id FROM users");
  return rows;
};
"""

RULE = Rule(
    code="WL-A005",
    slug="idle-timer",
    title="An idle timer cannot run in a frozen environment",
    severity=Severity.WARNING,
    finds="A pool setting that closes idle connections after less than an idle environment's life (10 minutes are assumed), the drivers' defaults for it (pg 10 s, Sequelize 10 s, Knex 30 s, asyncpg 300 s), and timers of one's own that close a kept connection.",
    why="Between invocations the process is frozen and no timer runs: the idle connection keeps its slot on the server. After the thaw the overdue timer fires at once, closes the connection, and the invocation pays for a new one: the worst of both.",
    fix="Turn the timer off and set the server's idle timeout (wait_timeout, idle_session_timeout) above the time between two invocations.",
    silent_when="the timer is off or longer than an idle environment lives, its value cannot be seen, or the function runs on Lambda Managed Instances with Node.js.",
    bad=(
        Example("a timer thread closes the connection", {"app.py": _PY_BAD}),
        Example("node-postgres with a one-second idle timeout", {"index.mjs": _JS_BAD}),
    ),
    good=(
        Example("asyncpg's timer turned off", {"app.py": _PY_GOOD}),
        Example("node-postgres' timer turned off", {"index.mjs": _JS_GOOD}),
    ),
    per_handler=check,
    scenario="idle-timer",
)
