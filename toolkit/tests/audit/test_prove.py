"""`--prove` against the real lab and a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmline_toolkit.audit.engine import audit
from warmline_toolkit.audit.prove import prove

if TYPE_CHECKING:
    from pathlib import Path

HANDLER = """\
import os

import pymysql


def handler(event, context):
    connection = pymysql.connect(
        host=os.environ["DB_HOST"], port=int(os.environ["DB_PORT"]), user=os.environ["DB_USER"],
        password=os.environ["DB_PASS"], database=os.environ["DB_NAME"],
    )
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    connection.close()
    return {}
"""
TYPESCRIPT = """\
import mysql from "mysql2/promise";

export const handler = async (event: any) => {
  const connection = await mysql.createConnection({ host: process.env.DB_HOST });
  return connection.query("SELECT 1");
};
"""


def test_a_connection_in_the_handler_is_proved_by_what_the_server_counted(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(HANDLER)
    told: list[str] = []
    [proof] = list(prove(tmp_path, audit(tmp_path).findings, progress=told.append))
    assert (proof.ran, proof.scenario, proof.codes) == (True, "guide", ("WL-A001",))
    assert "one per request" in proof.outcome
    assert told == ["warmline lab run app.py:handler --scenario guide"]


def test_what_the_lab_cannot_start_says_so(tmp_path: Path) -> None:
    (tmp_path / "app.ts").write_text(TYPESCRIPT)
    [proof] = list(prove(tmp_path, audit(tmp_path).findings, progress=lambda _: None))
    assert not proof.ran
    assert proof.outcome.startswith("not run:")
