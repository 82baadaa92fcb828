# ruff: noqa: S608, S311, PLC0415, BLE001 - its own SQL and accounts; a client's imports and errors stay in its function
"""Transfers between accounts while connections are killed at random: what each client acknowledged, and what is there.

A transfer is one transaction of three statements: take from one account, give to another, write the transfer's own id.
The program knows of each transfer what its client said: "done", "failed" (nothing kept), or "unknown". The database
knows what is true. Wrong is: acknowledged and not there; failed and there; there in half (the accounts' sum differs);
there twice (the id is a primary key, so that a second time shows in the balances).
"""

from __future__ import annotations

import json
import random
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

    from warmline_toolkit.servers import Server

ACCOUNTS = 20
START = 1_000_000
HERE = Path(__file__).parent


def prepare(server: Server) -> None:
    """Make the accounts, each with the same amount, and an empty list of transfers."""
    schema = "" if server.engine == "postgres" else "app."
    run = _own_connection(server)
    run(f"DROP TABLE IF EXISTS {schema}transfers")
    run(f"DROP TABLE IF EXISTS {schema}accounts")
    run(f"CREATE TABLE {schema}accounts (id INT PRIMARY KEY, amount BIGINT NOT NULL)")
    run(f"CREATE TABLE {schema}transfers (id INT PRIMARY KEY, source INT NOT NULL, target INT NOT NULL)")
    for account in range(ACCOUNTS):
        run(f"INSERT INTO {schema}accounts VALUES ({account}, {START})")


def _own_connection(server: Server) -> Callable[[str], Any]:
    if server.engine == "postgres":
        import psycopg

        connection = psycopg.connect(server.url, autocommit=True)
        return lambda sql: rows.fetchall() if (rows := connection.execute(sql)).description else []
    import pymysql

    parts = urlsplit(server.url)
    connection = pymysql.connect(
        host=parts.hostname,
        port=parts.port,
        user=parts.username,
        password=parts.password,
        database="app",
        autocommit=True,
    )

    def run(sql: str) -> Any:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()

    return run


class Killer(threading.Thread):
    """Ends all of the users' sessions, again and again, with a random pause of up to *pause_s*."""

    def __init__(self, server: Server, *, pause_s: float) -> None:
        super().__init__(daemon=True)
        self._server = server
        self._pause_s = pause_s
        self._end = threading.Event()
        self.kills = 0

    def run(self) -> None:
        """Kill until `stop`."""
        with self._server.observer() as observer:
            while not self._end.wait(random.uniform(0, self._pause_s)):
                self.kills += observer.kill_sessions()

    def stop(self) -> None:
        """Stop killing."""
        self._end.set()
        self.join()


def audit(server: Server, said: dict[int, str]) -> dict[str, int]:
    """Compare what the client said with what the database holds."""
    run = _own_connection(server)
    rows = run("SELECT id, source, target FROM transfers")
    there = {row[0] for row in rows}
    balance = dict.fromkeys(range(ACCOUNTS), START)
    for _, source, target in rows:
        balance[source] -= 1
        balance[target] += 1
    accounts = dict(run("SELECT id, amount FROM accounts"))
    counts = Counter(said.values())
    return {
        "transfers": len(said),
        "acknowledged": counts["done"],
        "reported_unknown": counts["unknown"],
        "reported_failed": counts["failed"],
        "acknowledged_but_missing": sum(1 for id_, word in said.items() if word == "done" and id_ not in there),
        "failed_but_there": sum(1 for id_, word in said.items() if word == "failed" and id_ in there),
        "unknown_and_there": sum(1 for id_, word in said.items() if word == "unknown" and id_ in there),
        "accounts_wrong": sum(1 for account in accounts if accounts[account] != balance[account]),
        "amount_wrong": sum(abs(accounts[account] - balance[account]) for account in accounts),
    }


def transfer_statements(number: int) -> list[str]:
    """Return the statements of transfer *number*, without BEGIN and COMMIT."""
    source, target = number % ACCOUNTS, (number * 7 + 1) % ACCOUNTS
    return [
        f"UPDATE accounts SET amount = amount - 1 WHERE id = {source}",
        f"UPDATE accounts SET amount = amount + 1 WHERE id = {target}",
        f"INSERT INTO transfers VALUES ({number}, {source}, {target})",
    ]


def with_warmline(server: Server, first: int, count: int) -> dict[int, str]:
    """Transfer through `db.run` of the library, an invocation each."""
    import warmline

    db = warmline.Database(server.url)
    said = {}
    for number in range(first, first + count):

        def work(connection: Any, number: int = number) -> None:
            cursor = connection.cursor()
            for statement in transfer_statements(number):
                cursor.execute(statement)

        try:
            with db.invocation():
                db.run(work, attempts=100)
            said[number] = "done"
        except warmline.OutcomeUnknown:
            said[number] = "unknown"
        except Exception:
            said[number] = "failed"
    db.close()
    return said


def with_plain_driver(server: Server, first: int, count: int) -> dict[int, str]:
    """Transfer through one PyMySQL connection, opened again by hand when a transfer fails; for scale."""
    import pymysql

    parts = urlsplit(server.url)
    connection = None
    said = {}
    for number in range(first, first + count):
        sent_commit = False
        try:
            if connection is None:
                connection = pymysql.connect(
                    host=parts.hostname, port=parts.port, user=parts.username, password=parts.password, database="app"
                )
            with connection.cursor() as cursor:
                for statement in transfer_statements(number):
                    cursor.execute(statement)
            sent_commit = True
            connection.commit()
            said[number] = "done"
        except pymysql.Error:
            said[number] = "unknown" if sent_commit else "failed"
            connection = None
    return said


def with_dbutils(server: Server, first: int, count: int) -> dict[int, str]:
    """Transfer through DBUtils' SteadyDB over PyMySQL with its defaults, as its guide shows."""
    import pymysql
    from dbutils.steady_db import connect

    parts = urlsplit(server.url)
    connection = connect(
        pymysql, host=parts.hostname, port=parts.port, user=parts.username, password=parts.password, database="app"
    )
    said = {}
    for number in range(first, first + count):
        sent_commit = False
        try:
            cursor = connection.cursor()
            for statement in transfer_statements(number):
                cursor.execute(statement)
            cursor.close()
            sent_commit = True
            connection.commit()
            said[number] = "done"
        except Exception:
            said[number] = "unknown" if sent_commit else "failed"
            try:
                connection.rollback()
            except Exception:
                connection = connect(
                    pymysql,
                    host=parts.hostname,
                    port=parts.port,
                    user=parts.username,
                    password=parts.password,
                    database="app",
                )
    return said


def with_serverless_mysql(server: Server, first: int, count: int) -> dict[int, str]:
    """Transfer through serverless-mysql's transactions, with a bare `query` each, as its guide shows."""
    command = ["node", str(HERE / "serverless_mysql.js"), server.url, str(first), str(count), str(ACCOUNTS)]
    out = subprocess.run(command, capture_output=True, text=True, check=True, cwd=HERE)
    return {int(number): word for number, word in json.loads(out.stdout).items()}


CLIENTS = {
    "warmline": with_warmline,
    "PyMySQL, reopened by hand": with_plain_driver,
    "DBUtils SteadyDB": with_dbutils,
    "serverless-mysql": with_serverless_mysql,
}


def measure(
    server: Server,
    client: Callable[[Server, int, int], dict[int, str]],
    *,
    transfers: int,
    pause_s: float,
    environments: int = 2,
) -> dict[str, float]:
    """Run *transfers* through *client* in so many threads while sessions are killed; return the audit and the rate."""
    prepare(server)
    killer = Killer(server, pause_s=pause_s)
    said: dict[int, str] = {}
    share = transfers // environments
    start_s = time.monotonic()
    killer.start()

    def environment(index: int) -> None:
        said.update(client(server, index * share, share))

    threads = [threading.Thread(target=environment, args=(index,)) for index in range(environments)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took_s = time.monotonic() - start_s
    killer.stop()
    return {**audit(server, said), "sessions_killed": killer.kills, "seconds": round(took_s, 1)}
