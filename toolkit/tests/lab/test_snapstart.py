"""SnapStart: one Init, hooks in their order, copies with dead connections and their own relays."""

from __future__ import annotations

import asyncio
import sys

import pytest
from warmline_toolkit.lab.platform import SnapshotFailed
from warmline_toolkit.model.events import Initialised, Reaped

pytestmark = [pytest.mark.asyncio, pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux only")]

HOOKS = """
import os
from snapshot_restore_py import register_after_restore, register_before_snapshot
log = [("init", os.getpid())]
for name in ("first", "second"):
    register_before_snapshot(lambda name=name: log.append(("before " + name, os.getpid())))
    register_after_restore(lambda name=name: log.append(("after " + name, os.getpid())))
def handler(event, context):
    return {"log": log, "pid": os.getpid(), "type": os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]}
"""

CONNECTS_AT_INIT = """
import os, pymysql
def connect():
    return pymysql.connect(host=os.environ["DB_HOST"], port=int(os.environ["DB_PORT"]), user=os.environ["DB_USER"],
        password=os.environ["DB_PASS"], database=os.environ["DB_NAME"], ssl_disabled=True)
connection = connect()
def handler(event, context):
    global connection
    if event == "again":
        connection = connect()
    with connection.cursor() as cursor:
        cursor.execute("SELECT CONNECTION_ID()")
        return cursor.fetchone()[0]
"""


async def test_hooks_run_once_before_and_in_every_copy_after(platform_of, events):
    async with platform_of(HOOKS, snapstart=True) as platform:
        answers = [result.json() for result in await asyncio.gather(*(platform.invoke() for _ in range(2)))]
    assert answers[0]["pid"] != answers[1]["pid"]
    for answer in answers:
        names = [name for name, _ in answer["log"]]
        assert names == ["init", "before second", "before first", "after first", "after second"]
        pids = [pid for _, pid in answer["log"]]
        assert len({*pids[:3]}) == 1
        assert pids[3:] == [answer["pid"]] * 2
        assert answer["type"] == "snap-start"
    assert {answer["log"][0][1] for answer in answers}.isdisjoint({answer["pid"] for answer in answers})
    assert next((event.environment, event.restored) for event in events.of(Initialised)) == ("e1", False)
    assert all(event.restored for event in events.of(Initialised)[1:])
    assert events.of(Reaped)[0].environment == "e1"


async def test_a_copy_is_frozen_thawed_reset_and_reaped_as_any_environment(platform_of):
    source = "import os, time\ndef handler(event, context):\n    time.sleep(event or 0)\n    return os.getpid()"
    async with platform_of(source, snapstart=True, timeout_s=0.5) as platform:
        first = await platform.invoke()
        second = await platform.invoke()
        assert first.json() == second.json()
        assert (await platform.invoke(5)).outcome == "timeout"
        assert (await platform.invoke()).json() != first.json()


async def test_a_connection_of_init_is_dead_in_every_copy_and_a_new_one_goes_through_its_own_relay(
    platform_of, mariadb
):
    async with platform_of(CONNECTS_AT_INIT, snapstart=True, database=mariadb) as platform:
        stale = await asyncio.gather(*(platform.invoke() for _ in range(2)))
        assert [result.outcome for result in stale] == ["error", "error"]
        assert {result.error_code for result in stale} <= {"2006", "2013"}
        fresh = await asyncio.gather(*(platform.invoke("again") for _ in range(2)))
        assert all(result.ok for result in fresh)
        assert len({result.json() for result in fresh}) == 2
        assert [result.connections_opened for result in fresh] == [1, 1]
        assert [relay.open_links for relay in platform.relays] == [1, 1]


async def test_an_init_that_fails_fails_the_snapshot(platform_of):
    with pytest.raises(SnapshotFailed, match="nothing_of_that_name"):
        async with platform_of("import nothing_of_that_name\ndef handler(event, context): ...", snapstart=True):
            pass


async def test_a_failing_after_restore_hook_fails_the_invocation(platform_of):
    source = """
from snapshot_restore_py import register_after_restore
@register_after_restore
def hook():
    raise LookupError("no clock")
def handler(event, context): ...
"""
    async with platform_of(source, snapstart=True) as platform:
        result = await platform.invoke()
    assert (result.outcome, result.error_type, result.error_message) == ("error", "LookupError", "no clock")
