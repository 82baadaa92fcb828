"""What the emulated service does with real processes: places, freezes, resets, throttles, reaps."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from warmline_toolkit.lab.environment import State
from warmline_toolkit.model.events import Frozen, Initialised, Invoked, Reaped, Reset, Thawed, Throttled

pytestmark = pytest.mark.asyncio

ECHO = """
import os
def handler(event, context):
    return {"event": event, "pid": os.getpid(), "id": context.aws_request_id,
            "ms": context.get_remaining_time_in_millis(),
            "arn": context.invoked_function_arn, "name": context.function_name, "version": context.function_version,
            "memory": context.memory_limit_in_mb, "trace": os.environ["_X_AMZN_TRACE_ID"], "cwd": os.getcwd()}
"""


async def until(condition, *, tries: int = 5000) -> None:
    for _ in range(tries):
        if condition():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("the condition did not come true")


def files_below(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*") if path.is_file()}


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def process_state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


async def test_a_handler_gets_the_event_and_lambdas_context(platform_of, tmp_path):
    async with platform_of(ECHO, timeout_s=9.0, memory_mb=512) as platform:
        result = await platform.invoke({"n": [1, None, "ü"]})
    answer = result.json()
    assert result.ok
    assert answer["event"] == {"n": [1, None, "ü"]}
    assert len(answer["id"]) == 36
    assert 5000 < answer["ms"] <= 9000
    assert answer["arn"] == "arn:aws:lambda:us-east-1:123456789012:function:lab-function"
    assert (answer["name"], answer["version"], answer["memory"]) == ("lab-function", "$LATEST", "512")
    assert answer["trace"].startswith("Root=1-")
    assert answer["cwd"] == str(tmp_path)


async def test_one_environment_serves_one_caller_and_only_its_first_invocation_is_cold(platform_of, events):
    async with platform_of(ECHO) as platform:
        results = [await platform.invoke() for _ in range(4)]
        assert len(platform.environments) == 1
    assert [result.cold for result in results] == [True, False, False, False]
    assert len({result.json()["pid"] for result in results}) == 1
    assert len(events.of(Initialised)) == 1


async def test_a_closed_loop_of_n_callers_makes_n_environments(platform_of):
    async def caller(platform) -> None:
        for _ in range(5):
            assert (await platform.invoke()).ok

    async with platform_of(ECHO) as platform:
        await asyncio.gather(*(caller(platform) for _ in range(5)))
        assert len(platform.environments) == 5


async def test_an_idle_environment_is_stopped_and_runs_again_with_the_next_invocation(platform_of, events):
    async with platform_of(ECHO) as platform:
        pid = (await platform.invoke()).json()["pid"]
        (environment,) = platform.environments
        await until(lambda: environment.state is State.FROZEN)
        assert process_state(pid) == "T"
        result = await platform.invoke()
        assert result.json()["pid"] == pid
    told = [event for event in events if isinstance(event, Frozen | Thawed | Invoked)]
    kinds = [type(event) for event in sorted(told, key=lambda event: event.at_s)]
    assert kinds[:6] == [Frozen, Thawed, Invoked, Frozen, Thawed, Invoked]


async def test_without_freeze_an_idle_environment_keeps_running(platform_of, events):
    async with platform_of(ECHO, freeze=False) as platform:
        pid = (await platform.invoke()).json()["pid"]
        assert platform.environments[0].state is State.IDLE
        await until(lambda: process_state(pid) == "S")
    assert not events.of(Frozen)


async def test_the_most_recently_used_environment_is_taken_first(platform_of):
    async with platform_of(ECHO) as platform:
        await asyncio.gather(*(platform.invoke() for _ in range(3)))
        last = await platform.invoke()
        assert [(await platform.invoke()).environment for _ in range(4)] == [last.environment] * 4


async def test_a_timeout_resets_the_environment_and_the_next_invocation_runs_init_again(platform_of, events):
    source = """
import os, time
def handler(event, context):
    if event == "hang":
        print("about to hang")
        time.sleep(60)
    return os.getpid()
"""
    async with platform_of(source, timeout_s=2.0) as platform:
        first = (await platform.invoke()).json()
        hung = await platform.invoke("hang")
        assert (hung.outcome, hung.error_type) == ("timeout", "Sandbox.Timedout")
        assert hung.json()["errorMessage"].endswith("Task timed out after 2.00 seconds")
        assert hung.logs == ("about to hang",)
        assert not is_running(first)
        again = await platform.invoke()
        assert again.ok
        assert again.json() != first
        assert again.environment == hung.environment
    assert [event.cause for event in events.of(Reset)] == ["timeout"]
    assert len(events.of(Initialised)) == 2


async def test_a_process_that_exits_is_a_crash_and_the_environment_starts_anew(platform_of, events):
    source = """
import os
def handler(event, context):
    if event == "die":
        os._exit(7)
    return os.getpid()
"""
    async with platform_of(source) as platform:
        first = await platform.invoke()
        died = await platform.invoke("die")
        assert (died.outcome, died.error_type) == ("crash", "Runtime.ExitError")
        assert "exit status 7" in died.error_message
        again = await platform.invoke()
        assert again.json() != first.json()
    assert [event.cause for event in events.of(Reset)] == ["crash"]


async def test_an_exception_is_reported_in_lambdas_shape_and_leaves_the_environment_as_it_was(platform_of):
    source = """
import os
def handler(event, context):
    if event:
        raise LookupError("(1040, 'Too many connections')")
    return os.getpid()
"""
    async with platform_of(source) as platform:
        first = await platform.invoke()
        failed = await platform.invoke(True)
        assert (failed.outcome, failed.error_type, failed.error_code) == ("error", "LookupError", "1040")
        document = failed.json()
        assert set(document) >= {"errorType", "errorMessage", "stackTrace", "requestId"}
        assert (await platform.invoke()).json() == first.json()


async def test_an_import_error_is_retried_in_the_invocation_and_then_is_its_error(platform_of, events):
    async with platform_of("import nothing_of_that_name\ndef handler(event, context): ...") as platform:
        result = await platform.invoke()
    assert (result.outcome, result.error_type) == ("error", "Runtime.ImportModuleError")
    assert "nothing_of_that_name" in result.error_message
    assert [event.outcome for event in events.of(Initialised)] == ["error", "error"]


async def test_an_init_that_overruns_its_limit_is_redone_inside_the_invocation(platform_of, events, tmp_path):
    source = f"""
import os, time
marker = {str(tmp_path / "once")!r}
if not os.path.exists(marker):
    open(marker, "w").close()
    time.sleep(60)
def handler(event, context):
    return "ready"
"""
    async with platform_of(source, init_timeout_s=0.5, timeout_s=20) as platform:
        result = await platform.invoke()
    assert result.json() == "ready"
    assert [event.outcome for event in events.of(Initialised)] == ["timeout", "ok"]
    assert [event.cause for event in events.of(Reset)] == ["init"]


async def test_over_the_cap_an_invocation_is_throttled_with_429(platform_of, events):
    async with platform_of("import time\ndef handler(event, context): time.sleep(0.3)", max_concurrency=2) as platform:
        results = await asyncio.gather(*(platform.invoke() for _ in range(3)))
    assert sorted(result.outcome for result in results) == ["ok", "ok", "throttled"]
    (throttled,) = events.of(Throttled)
    assert (throttled.concurrency, throttled.cap, throttled.reason) == (2, 2, "concurrency")
    assert [result.status for result in results if result.outcome == "throttled"] == [429]


async def test_environments_are_not_added_faster_than_the_scale_out_rate(platform_of, events):
    settings = {"scale_out_burst": 2, "scale_out_per_s": 0.001}
    async with platform_of(ECHO, **settings) as platform:
        results = await asyncio.gather(*(platform.invoke() for _ in range(4)))
        assert len(platform.environments) == 2
        assert (await platform.invoke()).ok  # reuse needs no new one
    assert sorted(result.outcome for result in results) == ["ok", "ok", "throttled", "throttled"]
    assert {event.reason for event in events.of(Throttled)} == {"scale-out"}


async def test_an_idle_environment_is_reaped_after_its_idle_time(platform_of, events):
    async with platform_of(ECHO, idle_timeout_s=0.2) as platform:
        pid = (await platform.invoke()).json()["pid"]
        await until(lambda: events.of(Reaped))
        assert platform.environments == []
        assert not is_running(pid)
    (reaped,) = events.of(Reaped)
    assert reaped.idle_s >= 0.19  # the loop's timers are good to a millisecond or two


async def test_prewarmed_environments_wait_and_their_first_invocation_is_not_cold(platform_of, events):
    async with platform_of(
        "import os\ndef handler(e, c): return os.environ['AWS_LAMBDA_INITIALIZATION_TYPE']"
    ) as platform:
        await platform.prewarm(3)
        assert len(platform.environments) == 3
        results = await asyncio.gather(*(platform.invoke() for _ in range(3)))
        assert len(platform.environments) == 3
    assert [(result.cold, result.json()) for result in results] == [(False, "provisioned-concurrency")] * 3


@pytest.mark.parametrize("failure", [RuntimeError, asyncio.CancelledError])
async def test_however_the_block_ends_every_process_is_gone(platform_of, failure):
    async def run() -> None:
        async with platform_of(ECHO) as platform:
            pids.append((await platform.invoke()).json()["pid"])
            raise failure

    pids: list[int] = []
    with pytest.raises(failure):
        await run()
    assert not is_running(pids[0])


async def test_an_environments_variables_are_lambdas_and_the_functions_own_and_no_others(platform_of, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_SHELL", "x")
    source = "import os\ndef handler(event, context): return dict(os.environ)"
    async with platform_of(source, environment={"MINE": "1"}) as platform:
        variables = (await platform.invoke()).json()
    assert variables["MINE"] == "1"
    assert "SECRET_OF_THE_SHELL" not in variables
    assert variables["AWS_EXECUTION_ENV"].startswith("AWS_Lambda_python3.")
    assert variables["_HANDLER"] == "app.handler"


async def test_what_a_handler_prints_belongs_to_its_invocation_and_is_bounded(platform_of):
    source = """
import os, sys
print("at init")
def handler(event, context):
    if event == "flood":
        for number in range(50_000):
            print(number, "x" * 1000)
    elif event == "bytes":
        os.write(1, bytes(range(256)) * 4)
    else:
        print("hello", event)
        print("to stderr", file=sys.stderr)
"""
    async with platform_of(source, timeout_s=30) as platform:
        first = await platform.invoke(1)
        flood = await platform.invoke("flood")
        garbage = await platform.invoke("bytes")
        last = await platform.invoke(2)
    assert first.logs == ("at init", "hello 1", "to stderr")
    assert len(flood.logs) == 20
    assert max(map(len, flood.logs)) == 400
    assert garbage.ok
    assert last.logs == ("hello 2", "to stderr")


async def test_children_of_a_handler_are_frozen_with_it_and_end_with_it(platform_of):
    source = """
import subprocess
child = subprocess.Popen(["sleep", "60"])
def handler(event, context):
    return child.pid
"""
    async with platform_of(source) as platform:
        child = (await platform.invoke()).json()
        await until(lambda: process_state(child) == "T")
    await until(lambda: not is_running(child) or process_state(child) == "Z")


async def test_a_response_over_6_mb_is_refused_and_the_caller_is_told(platform_of):
    source = "def handler(event, context): return 'x' * event"
    async with platform_of(source, timeout_s=20) as platform:
        assert (await platform.invoke(6_291_000)).ok
        result = await platform.invoke(7_000_000)
        assert (result.outcome, result.error_type) == ("error", "Function.ResponseSizeTooLarge")
        assert (await platform.invoke(1)).ok


async def test_a_response_that_is_not_json_is_the_handlers_error(platform_of):
    async with platform_of("def handler(event, context): return object()") as platform:
        result = await platform.invoke()
    assert (result.outcome, result.error_type) == ("error", "Runtime.MarshalError")


async def test_the_environments_open_files_are_limited_as_lambdas(platform_of):
    source = "import resource\ndef handler(event, context): return resource.getrlimit(resource.RLIMIT_NOFILE)"
    async with platform_of(source) as platform:
        assert (await platform.invoke()).json() == [1024, 1024]


async def test_nothing_of_an_environment_stays_on_disk(platform_of, tmp_path):
    source = "import tempfile\ndef handler(event, context): return tempfile.mkstemp()[1]"
    async with platform_of(source) as platform:
        file = (await platform.invoke()).json()
        assert Path(file).is_relative_to(tmp_path)
        assert file in files_below(tmp_path)
    assert {Path(left).suffix for left in files_below(tmp_path)} <= {".py", ".pyc"}
