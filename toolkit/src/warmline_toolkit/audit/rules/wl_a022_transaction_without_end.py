"""WL-A022: a transaction may stay open after the invocation that began it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from warmline_toolkit.audit.evidence import invoked_calls, invoked_functions, kept_names
from warmline_toolkit.audit.facts import Literal
from warmline_toolkit.audit.finding import Example, Finding, Rule, Severity
from warmline_toolkit.audit.knowledge import Kind
from warmline_toolkit.audit.reach import When

if TYPE_CHECKING:
    from collections.abc import Iterator

    from warmline_toolkit.audit.context import Project
    from warmline_toolkit.audit.reach import Opening, Reach, Use

_BEGINS = frozenset({"beginTransaction", "begin", "start_transaction", "startTransaction"})
_BEGIN_SQL = re.compile(r"^\s*(begin|start\s+transaction)\b", re.IGNORECASE)
_END_SQL = re.compile(r"^\s*(rollback|commit)\b", re.IGNORECASE)
_ROLLBACK_SQL = re.compile(r"^\s*rollback\b", re.IGNORECASE)
_WRITE_SQL = re.compile(r"^\s*(insert|update|delete|replace|merge)\b", re.IGNORECASE)
_IMPLICIT_MYSQL = frozenset({"pymysql", "MySQLdb", "mysql.connector"})
_IMPLICIT_POSTGRES = frozenset({"psycopg2", "psycopg", "pg8000"})
_AUTOCOMMIT = re.compile(r"autocommit|isolation_level|set_session", re.IGNORECASE)


def check(project: Project, reach: Reach) -> Iterator[Finding]:
    """Find begun transactions without a rollback on errors, and kept connections whose implicit transaction never ends."""
    yield from _begun(project, reach)
    for opening in project.kept(reach):
        if opening.thing.opener.kind is Kind.CONNECTION:
            yield from _implicit(project, reach, opening)


def _begun(project: Project, reach: Reach) -> Iterator[Finding]:
    begins = [use for use in reach.uses if use.when is not When.INIT and _is_begin(project, use)]
    if not begins or _rolls_back_on_error(project, reach):
        return
    for use in begins:
        call = project.call(use.site)
        if call.entered or call.returned or call.callbacks:
            continue
        if use.method == "begin" and use.opened.opener.driver in {"sqlalchemy", "asyncpg", "postgres"}:
            continue  # a context manager or a managed callback
        yield RULE.finding(
            path=use.site.path,
            line=call.line,
            column=call.column,
            message=f"{project.spelled(use.site)}() begins a transaction, and no error path of {reach.handler.name} rolls it back: after an error "
            "its locks stay until the connection closes, and the next invocation on this connection is inside it.",
            subject=project.subject(use.site),
            chain=use.chain,
            handler=reach.handler.name,
        )


def _is_begin(project: Project, use: Use) -> bool:
    last = use.method.rpartition(".")[2]
    if last in _BEGINS:
        return True
    arguments = project.call(use.site).arguments
    first = arguments[0] if arguments else None
    return (
        last in {"query", "execute", "exec"} and isinstance(first, Literal) and bool(_BEGIN_SQL.match(str(first.value)))
    )


def _rolls_back_on_error(project: Project, reach: Reach) -> bool:
    for site, call in invoked_calls(project, reach):
        last = call.name.rpartition(".")[2]
        first = call.arguments[0] if call.arguments else None
        rolls = last in {"rollback", "rollbackTransaction"} or (
            isinstance(first, Literal) and bool(_ROLLBACK_SQL.match(str(first.value)))
        )
        if rolls and (
            call.in_except
            or call.in_finally
            or "<anonymous" in project.enclosing(site).name
            or project.enclosing(site).is_inline
        ):
            return True
        if last in {"close", "release", "destroy", "end"} and call.in_finally and last == "destroy":
            return True
    return any(
        re.search(r"rollback", call.name, re.IGNORECASE) and (call.in_except or call.in_finally)
        for _, call in invoked_calls(project, reach)
    )


def _implicit(project: Project, reach: Reach, opening: Opening) -> Iterator[Finding]:
    thing = opening.thing
    driver = thing.opener.driver
    if driver not in _IMPLICIT_MYSQL | _IMPLICIT_POSTGRES or project.settings_hidden(thing.site):
        return
    if project.setting(thing.site, "autocommit", "isolation_level") is not None or _sets_autocommit(project, reach):
        return
    statements = [
        use for use in reach.uses
        if use.when is not When.INIT and use.opened == thing and use.method in {"execute", "executemany", "run", "callproc"}
    ]  # fmt: skip
    if not statements or any(_closes(project, use, opening) for use in reach.uses if use.opened == thing):
        return
    ends = _ends(project, reach)
    call = project.call(thing.site)
    if not ends:
        writes = any(_is_write(project, use) for use in statements)
        first = project.line(statements[0].site)
        if driver in _IMPLICIT_MYSQL:
            effect = (
                "its writes are never committed" if writes
                else "with the default isolation every later invocation in this environment reads the snapshot of the first"
            )  # fmt: skip
        else:
            effect = (
                "its writes are never committed" if writes
                else "the connection stays 'idle in transaction' while the environment is frozen, which holds locks and blocks vacuum"
            )  # fmt: skip
        message = f"{reach.handler.name} never ends the transaction that {driver} opens with the first statement on the kept connection: {effect}."
        yield RULE.finding(
            path=statements[0].site.path,
            line=first,
            column=project.call(statements[0].site).column,
            message=message,
            severity=Severity.ERROR,
            subject=project.subject(thing.site),
            chain=statements[0].chain,
            handler=reach.handler.name,
            fix="Connect with autocommit, or commit (or roll back) before every return.",
        )
    elif (
        driver in _IMPLICIT_POSTGRES
        and not _rolls_back_on_error(project, reach)
        and not _recovers(project, reach, opening)
    ):
        yield RULE.finding(
            path=thing.site.path,
            line=call.line,
            column=call.column,
            message=f"After an error in {reach.handler.name} nothing rolls back on the connection that {driver} keeps: every later statement, "
            "also of the next invocations, fails with 'current transaction is aborted'.",
            subject=f"{project.subject(thing.site)}:aborted",
            chain=opening.chain,
            handler=reach.handler.name,
        )


def _sets_autocommit(project: Project, reach: Reach) -> bool:
    for path in reach.files:
        for function in project.code[path].functions:
            if any(_AUTOCOMMIT.search(target.rpartition(".")[2]) for target, _, _ in function.assigned):
                return True
        if any(_AUTOCOMMIT.search(call.name.rpartition(".")[2]) for call in project.code[path].calls):
            return True
    return False


def _ends(project: Project, reach: Reach) -> bool:
    for _, call in invoked_calls(project, reach):
        last = call.name.rpartition(".")[2]
        first = call.arguments[0] if call.arguments else None
        if last in {"commit", "rollback", "transaction", "reset"} or (
            isinstance(first, Literal) and _END_SQL.match(str(first.value))
        ):
            return True
    return any(use.method == "__enter__" for use in reach.uses if use.when is not When.INIT) or any(
        call.entered and not call.name.endswith(".cursor") and project.resolver.result(site)
        for site, call in invoked_calls(project, reach)
    )


def _closes(project: Project, use: Use, opening: Opening) -> bool:
    return use.owner == opening.thing and use.method in {"close", "terminate"} and not project.call(use.site).in_except


def _recovers(project: Project, reach: Reach, opening: Opening) -> bool:
    names = kept_names(project, opening)
    if any(use.method in {"__enter__", "transaction"} for use in reach.uses if use.when is not When.INIT):
        return True
    for path, function in invoked_functions(project, reach):
        facts = project.code[path]
        for catch in function.catches:
            if {name.rpartition(".")[2] for name in catch.clears} & names:
                return True
            for number in function.calls:
                call = facts.calls[number]
                if (
                    call.in_except
                    and catch.line <= call.line <= catch.end_line
                    and re.search(r"close|reset|connect|exit", call.name)
                ):
                    return True
    return any(
        call.in_except and re.search(r"close|reset|exit", call.name) for _, call in invoked_calls(project, reach)
    ) or any(call.entered and "transaction" in call.name for _, call in invoked_calls(project, reach))


def _is_write(project: Project, use: Use) -> bool:
    arguments = project.call(use.site).arguments
    if not arguments:
        return False
    value = project.resolver.literal(use.site.path, project.resolver.owner_of(use.site), arguments[0])
    return isinstance(value, Literal) and isinstance(value.value, str) and bool(_WRITE_SQL.match(value.value))


_PY_BAD = """\
import os
import pymysql

connection = pymysql.connect(host=os.environ["DB_HOST"], user="app", connect_timeout=2)


def handler(event, context):
    connection.ping(reconnect=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT state FROM orders WHERE id = %s", (event["id"],))
        return cursor.fetchone()
"""
_JS_BAD = """\
import mysql from "mysql2/promise";

const pool = mysql.createPool({ host: process.env.DB_HOST, connectionLimit: 1, connectTimeout: 2000 });

export const handler = async (event) => {
  const connection = await pool.getConnection();
  try {
    await connection.beginTransaction();
    await connection.query("UPDATE stock SET n = n - 1 WHERE id = ?", [event.id]);
    await connection.query("INSERT INTO orders (stock) VALUES (?)", [event.id]);
    await connection.commit();
  } finally {
    connection.release();
  }
};
"""
_JS_GOOD = _JS_BAD.replace(
    "  } finally {\n", "  } catch (error) {\n    await connection.rollback();\n    throw error;\n  } finally {\n"
)

RULE = Rule(
    code="WL-A022",
    slug="transaction-without-end",
    title="A transaction may outlive the invocation",
    severity=Severity.WARNING,
    finds="An explicit transaction without a rollback on any error path; a kept connection without autocommit on which no commit or rollback is ever called (Python drivers open a transaction with the first statement); a kept PostgreSQL connection that nothing rolls back after an error.",
    why="A kept connection carries its transaction into the freeze and the next invocation: locks stay, vacuum stops, reads repeat an old snapshot, and in PostgreSQL every statement after an error fails.",
    fix="Use the driver's transaction block, or roll back in an error handler; connect with autocommit where single statements are enough.",
    silent_when="autocommit is set anywhere the handler loads, a block ends the transaction (`with connection:`, `transaction()`), an error handler rolls back, reconnects or clears the kept name, or the connection does not outlive the invocation.",
    bad=(
        Example("reads that never end their transaction", {"app.py": _PY_BAD}),
        Example("no rollback after an error", {"index.mjs": _JS_BAD}),
    ),
    good=(
        Example("autocommit", {"app.py": _PY_BAD.replace("connect_timeout=2", "connect_timeout=2, autocommit=True")}),
        Example("the catch rolls back", {"index.mjs": _JS_GOOD}),
    ),
    per_handler=check,
    scenario="timeout-in-transaction",
)
