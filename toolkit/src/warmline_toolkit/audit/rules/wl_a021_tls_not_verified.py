"""WL-A021: the connection does not verify the server, or is not encrypted at all."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from warmline_toolkit.audit.evidence import invoked_functions
from warmline_toolkit.audit.facts import Literal, Mapping, Name
from warmline_toolkit.audit.finding import Example, Finding, Rule, Severity
from warmline_toolkit.audit.joined import server_openings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from warmline_toolkit.audit.context import Project
    from warmline_toolkit.audit.facts import Value
    from warmline_toolkit.audit.reach import Reach
    from warmline_toolkit.audit.things import OpenedThing

_FALSE = frozenset(
    {
        "rejectUnauthorized",
        "check_hostname",
        "verify_cert",
        "ssl_verify_cert",
        "verify_identity",
        "ssl_verify_identity",
        "verify",
    }
)
_TRUE = frozenset({"ssl_disabled", "trustServerCertificate"})
_PLACES = (
    "ssl",
    "sslmode",
    "ssl_verify_cert",
    "ssl_disabled",
    "tls",
    "connect_args",
    "dialectOptions",
    "extra",
    "connection",
    "config",
    "dialectModuleOptions",
    "ssl_context",
    *_FALSE,
)
_OFF = frozenset({"disable", "disabled", "no-verify"})
_URL_OFF = re.compile(
    r"[?&](sslmode=(disable|no-verify)|ssl=(false|0)\b|ssl-mode=DISABLED|ssl_verify_cert=false)", re.IGNORECASE
)
_LOOPBACK = re.compile(r"^(localhost|127\.0\.0\.1|::1|host\.docker\.internal)$")


def check(project: Project, reach: Reach) -> Iterator[Finding]:
    """Find settings of the connect call, and of TLS contexts made for it, that turn verification off."""
    openings = server_openings(project, reach)
    for opening in openings:
        thing = opening.thing
        if _is_loopback(project, thing):
            continue
        found = _setting_off(project, thing)
        if found is None:
            continue
        call = project.call(thing.site)
        plain = "encryption" in found
        yield RULE.finding(
            path=thing.site.path,
            line=call.line,
            column=call.column,
            message=f"{project.spelled(thing.site)}() connects with {found}: "
            + (
                "whoever is on the way reads the data and the password's exchange."
                if plain
                else "whoever answers at that address gets the login and the data."
            ),
            subject=project.subject(thing.site),
            chain=opening.chain,
            handler=reach.handler.name,
        )
    if openings:
        yield from _contexts(project, reach)


def _setting_off(project: Project, thing: OpenedThing) -> str | None:
    for name in _PLACES:
        value = project.setting(thing.site, name)
        found = _off(project, thing, name, value) if value is not None else None
        if found is not None:
            return found
    call = project.call(thing.site)
    for argument in (*call.arguments[:1], call.keyword("url", "dsn", "conninfo", "connectionString", "uri")):
        value = project.resolver.literal(thing.site.path, project.resolver.owner_of(thing.site), argument)
        if isinstance(value, Literal) and isinstance(value.value, str) and (match := _URL_OFF.search(value.value)):
            return f"{match[1]} in its URL, without verification or encryption"
    return None


def _off(project: Project, thing: OpenedThing, name: str, value: Value, depth: int = 0) -> str | None:
    resolved = project.resolver.literal(thing.site.path, project.resolver.owner_of(thing.site), value) or value
    if isinstance(resolved, Mapping) and depth < 4:  # noqa: PLR2004 - settings nest no deeper
        for key, inner in resolved.items:
            if key in {*_FALSE, *_TRUE, "ssl", "sslmode", "tls"} and (
                found := _off(project, thing, key, inner, depth + 1)
            ):
                return found
        return None
    if isinstance(resolved, Literal):
        if name in _FALSE and resolved.value is False:
            return f"{name} = false, so the server's certificate is not verified"
        if name in _TRUE and resolved.value is True:
            return (
                f"{name} = true, so without encryption"
                if name == "ssl_disabled"
                else f"{name} = true, so the server's certificate is not verified"
            )
        if name in {"sslmode", "ssl"} and resolved.value in _OFF:
            return (
                f"{name} = {resolved.value}, so without encryption"
                if resolved.value != "no-verify"
                else "ssl = no-verify, so the server's certificate is not verified"
            )
    return None


def _is_loopback(project: Project, thing: OpenedThing) -> bool:
    value = project.setting(thing.site, "host")
    return isinstance(value, Literal) and isinstance(value.value, str) and _LOOPBACK.match(value.value) is not None


def _contexts(project: Project, reach: Reach) -> Iterator[Finding]:
    """A context with CERT_NONE, made in a file that opens a connection and that this handler loads."""
    files = {opening.thing.site.path for opening in server_openings(project, reach)}
    for path in sorted(files):
        facts = project.code[path]
        reached = {function.name for where, function in invoked_functions(project, reach) if where == path}
        for index, function in enumerate(facts.functions):
            if index and function.name not in reached:
                continue
            for target, value, line in function.assigned:
                if target.endswith(".verify_mode") and isinstance(value, Name) and value.path.endswith("CERT_NONE"):
                    yield RULE.finding(
                        path=path,
                        line=line,
                        message="This TLS context accepts any certificate (CERT_NONE): whoever answers at the database's address gets the "
                        "login and the data.",
                        subject=f"{function.name}:{target}",
                        handler=reach.handler.name,
                    )


_PY_BAD = """\
import os
import pymysql

connection = pymysql.connect(host=os.environ["DB_HOST"], ssl={"ca": "bundle.pem", "check_hostname": False}, connect_timeout=2)


def handler(event, context):
    connection.ping(reconnect=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM users")
    connection.commit()
"""
_JS_BAD = """\
import pg from "pg";

const pool = new pg.Pool({
  host: process.env.DB_HOST,
  max: 1,
  idleTimeoutMillis: 0,
  connectionTimeoutMillis: 2000,
  ssl: { rejectUnauthorized: false },
});

export const handler = async () => (await pool.query("SELECT id FROM users")).rows;
"""

RULE = Rule(
    code="WL-A021",
    slug="tls-not-verified",
    title="The server's certificate is not verified",
    severity=Severity.WARNING,
    finds="Connect settings that turn verification or encryption off: rejectUnauthorized false, sslmode disable, ssl_disabled, check_hostname false, a context with CERT_NONE, the same inside URLs and nested options.",
    why="Without verification whoever answers at the database's address gets the login and the data; without encryption whoever is on the way reads them.",
    fix="Give the driver AWS's certificate bundle (global-bundle.pem) and leave verification on: ssl={'ca': …}, sslmode=verify-full with sslrootcert, ssl: { ca }.",
    silent_when="the host is literally the loopback address, or the setting cannot be seen.",
    bad=(Example("check_hostname off", {"app.py": _PY_BAD}), Example("rejectUnauthorized off", {"index.mjs": _JS_BAD})),
    good=(
        Example("verified with AWS's bundle", {"app.py": _PY_BAD.replace(', "check_hostname": False', "")}),
        Example(
            "verified in Node.js", {"index.mjs": _JS_BAD.replace("rejectUnauthorized: false", "ca: process.env.RDS_CA")}
        ),
    ),
    per_handler=check,
)
