"""Several processes in one environment, several invocations at once, as Managed Instances run Python."""

from __future__ import annotations

import asyncio

import pytest
from warmline_toolkit.model.events import ConnectionOpened, Frozen, Initialised, Reset

pytestmark = pytest.mark.asyncio

SLOW = """
import os, time
def handler(event, context):
    if event == "die":
        os._exit(3)
    time.sleep(event or 0)
    return os.getpid()
"""

QUERY = """
import os, time, pymysql
connection = None
def handler(event, context):
    global connection
    if connection is None:
        connection = pymysql.connect(host=os.environ["DB_HOST"], port=int(os.environ["DB_PORT"]),
            user=os.environ["DB_USER"], password=os.environ["DB_PASS"], database=os.environ["DB_NAME"])
    time.sleep(0.2)
    for _ in range(event):
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
"""


async def test_one_environment_runs_n_invocations_at_once_in_n_processes(platform_of, events):
    async with platform_of(SLOW, processes_per_environment=4) as platform:
        results = await asyncio.gather(*(platform.invoke(0.3) for _ in range(4)))
        assert len(platform.environments) == 1
        assert len({result.json() for result in results}) == 4
        await asyncio.gather(*(platform.invoke(0.3) for _ in range(5)))
        assert len(platform.environments) == 2
    assert not events.of(Frozen)
    assert len(events.of(Initialised)) == 2


async def test_the_timeout_is_told_and_not_enforced(platform_of):
    source = """
import time
def handler(event, context):
    time.sleep(0.8)
    return context.get_remaining_time_in_millis()
"""
    async with platform_of(source, processes_per_environment=2, timeout_s=0.5) as platform:
        result = await platform.invoke()
    assert (result.outcome, result.json()) == ("ok", 0)


async def test_a_crashed_worker_ends_its_invocation_and_leaves_the_others_running(platform_of, events):
    async with platform_of(SLOW, processes_per_environment=3) as platform:
        await platform.prewarm(1)
        slow = asyncio.ensure_future(platform.invoke(0.5))
        died = await platform.invoke("die")
        survivor = await slow
        after = await asyncio.gather(*(platform.invoke(0.2) for _ in range(2)))
        assert len(platform.environments) == 1
    assert died.outcome == "crash"
    assert survivor.ok
    assert all(result.ok for result in after)
    assert not events.of(Reset)


async def test_round_trips_belong_to_the_invocation_whose_process_made_them(platform_of, events, mariadb):
    async with platform_of(QUERY, processes_per_environment=3, database=mariadb) as platform:
        await platform.prewarm(1)
        await asyncio.gather(*(platform.invoke(0) for _ in range(3)))
        counts = (1, 4, 9)
        results = await asyncio.gather(*(platform.invoke(count) for count in counts))
        assert platform.open_connections == 3
    assert [result.round_trips for result in results] == list(counts)
    assert [result.connections_opened for result in results] == [0, 0, 0]
    assert len({event.invocation for event in events.of(ConnectionOpened)}) == 3


async def test_an_import_error_fails_init_once_for_all_workers(platform_of, events):
    source = "import nothing_of_that_name\ndef handler(event, context): ..."
    async with platform_of(source, processes_per_environment=3) as platform:
        result = await platform.invoke()
    assert (result.outcome, result.error_type) == ("error", "Runtime.ImportModuleError")
    assert [event.outcome for event in events.of(Initialised)] == ["error", "error"]
