"""WL-A017: the certificates are read and parsed for every connect."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from warmline_toolkit.audit.facts import Literal
from warmline_toolkit.audit.finding import Example, Finding, Rule, Severity
from warmline_toolkit.audit.joined import server_openings
from warmline_toolkit.audit.reach import When

if TYPE_CHECKING:
    from collections.abc import Iterator

    from warmline_toolkit.audit.context import Project
    from warmline_toolkit.audit.reach import Reach
    from warmline_toolkit.audit.things import Site

_CONTEXTS = frozenset({"ssl.create_default_context", "ssl.SSLContext", "tls.createSecureContext"})
_READS = frozenset(
    {
        "fs.readFileSync",
        "node:fs.readFileSync",
        "fs.default.readFileSync",
        "fs/promises.readFile",
        "fs.promises.readFile",
    }
)
_CERTIFICATE = re.compile(r"\.(pem|crt|cer|ca)$|bundle|rds-ca", re.IGNORECASE)


def check(project: Project, reach: Reach) -> Iterator[Finding]:
    """Find TLS contexts made, and certificate files read, in every invocation of a handler that opens a connection."""
    if not any(opening.when is When.INVOCATION for opening in server_openings(project, reach)):
        return
    for name, site, when, chain in reach.calls:
        if when is not When.INVOCATION or not (
            name in _CONTEXTS or (name in _READS and _is_certificate(project, site))
        ):
            continue
        call = project.call(site)
        yield RULE.finding(
            path=site.path,
            line=call.line,
            column=call.column,
            message=f"{project.spelled(site)}() runs for every connect of {reach.handler.name}: reading and parsing the certificates "
            "takes longer than many a statement, and the result is the same each time.",
            subject=project.subject(site),
            chain=chain,
            handler=reach.handler.name,
        )


def _is_certificate(project: Project, site: Site) -> bool:
    return any(
        isinstance(value, Literal) and isinstance(value.value, str) and _CERTIFICATE.search(value.value)
        for value in project.call(site).arguments
    )


_PY_BAD = """\
import os
import ssl
import pymysql


def handler(event, context):
    tls = ssl.create_default_context(cafile="global-bundle.pem")
    connection = pymysql.connect(host=os.environ["DB_HOST"], ssl=tls)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM users")
        return cursor.fetchone()
"""
_PY_GOOD = """\
import os
import ssl
import pymysql

TLS = ssl.create_default_context(cafile="global-bundle.pem")


def handler(event, context):
    connection = pymysql.connect(host=os.environ["DB_HOST"], ssl=TLS)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM users")
        return cursor.fetchone()
"""
_JS_BAD = """\
const fs = require("fs");
const { Client } = require("pg");

exports.handler = async () => {
  const client = new Client({
    host: process.env.DB_HOST,
    connectionTimeoutMillis: 2000,
    ssl: { ca: fs.readFileSync("./global-bundle.pem") },
  });
  await client.connect();
  const { rows } = await client.query("SELECT id FROM users");
  await client.end();
  return rows;
};
"""
_JS_GOOD = """\
const fs = require("fs");
const { Client } = require("pg");

const ca = fs.readFileSync("./global-bundle.pem");

exports.handler = async () => {
  const client = new Client({ host: process.env.DB_HOST, connectionTimeoutMillis: 2000, ssl: { ca } });
  await client.connect();
  const { rows } = await client.query("SELECT id FROM users");
  await client.end();
  return rows;
};
"""

RULE = Rule(
    code="WL-A017",
    slug="tls-context-per-connect",
    title="The TLS context is built for every connect",
    severity=Severity.NOTE,
    finds="A TLS context made, or a certificate file read, in every invocation of a handler that connects in every invocation.",
    why="AWS's certificate bundle holds more than a hundred certificates; loading it costs processor time at each connect, and the result never changes.",
    fix="Make the context once, at module level, and pass it to connect. Better still, keep the connection.",
    silent_when="the connection is kept, or the context is made at module level or cached.",
    bad=(
        Example("a context an invocation", {"app.py": _PY_BAD}),
        Example("the bundle read in the handler", {"index.js": _JS_BAD}),
    ),
    good=(
        Example("one context a process", {"app.py": _PY_GOOD}),
        Example("the bundle read once", {"index.js": _JS_GOOD}),
    ),
    per_handler=check,
)
