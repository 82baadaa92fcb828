"""`warmline lab run`, as a user calls it, on real servers: each scenario bears out its claim, its counts are right."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ENGINES = ("mariadb", "mysql", "postgres")
ONE_TRIAL = ("--trials", "1", "--format", "json")
REFUSED = {"mariadb": "1040", "mysql": "1040", "postgres": "53300"}


PLAIN = tuple(word for name in ("per-request", "keep-open", "pool") for word in ("--strategy", name))


@pytest.mark.timeout(400)
@pytest.mark.parametrize("engine", ["mariadb", "postgres"])
def test_ten_trials_of_the_guide_open_25_5_and_5_and_refuse_nothing(warmline, engine: str) -> None:
    ten = ("--trials", "10", "--format", "json")
    ran = warmline("lab", "run", "--scenario", "guide", "--database", engine, *PLAIN, *ten, timeout_s=380)
    assert ran.code == 0, ran.err
    strategies = ran.strategies()
    for name, opened in (("per-request", 25), ("keep-open", 5), ("pool", 5)):
        strategy = strategies[name]
        assert (strategy["invocations"], strategy["cold_starts"]) == (25, 5)
        assert strategy["connections_opened"] == opened
        assert strategy["spread"]["connections_opened"]["per_trial"] == [opened] * 10
        assert (strategy["refused"], strategy["errors"], strategy["ghosts"]) == (0, 0, 0)


def test_the_guide_on_mysql_opens_what_it_opens_elsewhere(warmline) -> None:
    ran = warmline("lab", "run", "--database", "mysql", *PLAIN, "--strategy", "keep-open+warmline", *ONE_TRIAL)
    assert ran.code == 0, ran.err
    opened = {name: strategy["connections_opened"] for name, strategy in ran.strategies().items()}
    assert opened == {"per-request": 25, "keep-open": 5, "pool": 5, "keep-open+warmline": 5}


@pytest.mark.parametrize("engine", ENGINES)
def test_behind_the_proxy_a_burst_past_the_limit_is_served_and_nothing_is_refused(warmline, engine: str) -> None:
    ran = warmline("lab", "run", "--scenario", "burst", "--database", engine, "--strategy", "proxy", *ONE_TRIAL)
    assert ran.code == 0, ran.err
    proxied = ran.strategies()["proxy"]
    assert (proxied["invocations"], proxied["refused"], proxied["errors"]) == (25, 0, 0)
    assert proxied["connections_peak"] <= 5


def test_the_json_document_has_what_its_reference_promises(warmline) -> None:
    document = warmline("lab", "run", *ONE_TRIAL).json()
    assert document["scenario"] == "guide"
    assert {"server", "kernel", "cores", "warmline"} <= document["provenance"].keys()
    for strategy in document["strategies"]:
        assert {"p50", "p95", "p99"} <= strategy["latency_ms"].keys()
        assert strategy["round_trips_per_invocation"] >= 1
        assert strategy["server_cpu_ms_per_invocation"] > 0
        assert strategy["connections_peak"] <= 5


@pytest.mark.parametrize("engine", ENGINES)
def test_a_burst_past_the_limit_is_refused_by_the_servers_own_code(warmline, engine: str) -> None:
    ran = warmline("lab", "run", "--scenario", "burst", "--database", engine, *PLAIN, *ONE_TRIAL)
    assert ran.code == 0, ran.err
    for strategy in ran.strategies().values():
        assert strategy["refused"] >= 1
        assert set(strategy["refused_by_code"]) == {REFUSED[engine]}
        assert strategy["connections_peak"] <= 5
    # MariaDB counts a connection that it is refusing, so one more may be refused than there are too many
    assert ran.strategies()["keep-open"]["refused"] >= 20


@pytest.mark.parametrize(
    ("scenario", "engine"),
    [
        ("steady", "mariadb"),
        ("scale-out", "mariadb"),
        ("idle-timer", "mariadb"),
        ("idle-timer", "postgres"),
        ("stale", "mariadb"),
        ("stale", "postgres"),
        ("ghosts", "mariadb"),
        ("ghosts", "postgres"),
        ("timeout-in-transaction", "mariadb"),
        ("timeout-in-transaction", "postgres"),
        ("managed-instances", "mariadb"),
    ],
)
def test_a_scenario_bears_out_its_expectation(warmline, scenario: str, engine: str) -> None:
    ran = warmline("lab", "run", "--scenario", scenario, "--database", engine, *ONE_TRIAL)
    assert ran.code == 0, ran.err


def test_stale_connections_fail_the_plain_handler_and_not_the_library(warmline) -> None:
    strategies = warmline("lab", "run", "--scenario", "stale", *ONE_TRIAL).strategies()
    assert strategies["keep-open"]["errors"] == 10
    assert strategies["pool"]["errors"] == 5
    assert strategies["keep-open+warmline"]["errors"] == 0


def test_silent_reaps_leave_one_ghost_an_environment(warmline) -> None:
    strategies = warmline("lab", "run", "--scenario", "ghosts", *ONE_TRIAL).strategies()
    assert {name: strategy["ghosts"] for name, strategy in strategies.items()} == {
        "per-request": 0,
        "keep-open": 5,
        "pool": 5,
        "proxy": 0,
        "keep-open+warmline": 5,
    }
    assert strategies["keep-open"]["refused_by_code"] == {"1040": 5}


def test_the_orm_examples_answer_on_both_engines(warmline) -> None:
    for engine in ("mariadb", "postgres"):
        ran = warmline("lab", "run", "--example", "sqlalchemy", "--database", engine, *PLAIN, *ONE_TRIAL)
        assert ran.code == 0, ran.err
        opened = {name: strategy["connections_opened"] for name, strategy in ran.strategies().items()}
        assert opened == {"per-request": 25, "keep-open": 5, "pool": 5}


@pytest.mark.parametrize(
    ("example", "engine"), [("mysql2", "mariadb"), ("typeorm", "mariadb"), ("typeorm", "postgres")]
)
def test_the_guides_node_examples_open_one_connection_an_environment(warmline, example: str, engine: str) -> None:
    ran = warmline("lab", "run", "--example", example, "--database", engine, *ONE_TRIAL)
    assert ran.code == 0, ran.err
    [strategy] = ran.json()["strategies"]
    assert (strategy["connections_opened"], strategy["errors"]) == (5, 0)


def test_a_users_handler_runs_with_its_variables_and_its_event(warmline, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import os\n"
        "assert os.environ['STAGE'] == 'test' and os.environ['DATABASE_URL'].startswith('mysql://')\n"
        "def handler(event, context):\n    return {'statusCode': 200 if event == {'id': 1} else 500}\n"
    )
    (tmp_path / "event.json").write_text('{"id": 1}')
    ran = warmline("lab", "run", "mine.py", "--env", "STAGE=test", "--event", "event.json", *ONE_TRIAL)
    assert ran.code == 0, ran.err
    assert ran.strategies()["mine.handler"]["errors"] == 0
    assert "opened no connection" in ran.err


def test_a_run_on_a_server_of_the_users_own_leaves_it_as_it_was(warmline, start_server) -> None:
    server = start_server("mariadb", max_connections=30)
    ran = warmline("lab", "run", "--database", server.url, *ONE_TRIAL)
    assert ran.code == 0, ran.err
    assert ran.strategies()["per-request"]["connections_opened"] == 25
    assert ran.strategies()["per-request"]["server_cpu_ms_per_invocation"] is None
    assert server.query("SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'app'") == [(0,)]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("nosuch.module.handler",), 2, "WL-L001"),
        (("broken.py",), 2, "WL-L110"),
        (("--scenario", "nope"), 2, "WL-L101"),
        (("--strategy", "nope"), 2, "WL-L102"),
        (("--database", "oracle"), 2, "WL-L107"),
        (("--database", "mysql://app:app@127.0.0.1:1/app"), 3, "WL-S005"),
        (("--env", "STAGE"), 2, "WL-L106"),
        (("--event", "missing.json"), 2, "WL-L105"),
    ],
)
def test_bad_input_gets_one_clear_message_and_its_code(
    warmline, tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    (tmp_path / "broken.py").write_text("import nosuchmodule\ndef handler(event, context): ...\n")
    ran = warmline("lab", "run", *arguments, "--trials", "1")
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith("warmline: ")
    assert f"warmline explain {said}" in ran.err
    assert "Traceback" not in ran.err


def descendants_of_group(marker: str) -> set[int]:
    """Return the processes whose environment holds *marker*: whatever a lab run started inherits it."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if marker.encode() in (entry / "environ").read_bytes():
                    found.add(int(entry.name))
            except OSError:
                continue
    return found


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_cut_leaves_nothing_running_and_a_readable_file(
    warmline, tmp_path: Path, end: signal.Signals
) -> None:
    run = subprocess.Popen(
        [sys.executable, "-m", "warmline_toolkit", "lab", "run", "--trials", "50", "--output", "cut"],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert run.stderr is not None
    while "trial 1/50, keep-open" not in run.stderr.readline():
        assert run.poll() is None
    run.send_signal(end)
    run.stderr.close()
    run.wait(60)
    limit = time.monotonic() + 30
    left: set[int | str] = {"unknown"}
    while left and time.monotonic() < limit:
        time.sleep(0.05)
        left = {path.name for path in tmp_path.iterdir() if path.name != "cut"} | descendants_of_group(
            f"TMPDIR={tmp_path}"
        )
    assert left == set()
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "cut" / "run.jsonl").read_text().splitlines()[:-1]]
    assert kinds[0] == "run-started"
    assert "trial-ended" in kinds
    assert warmline("report", "cut", "--format", "json").code == 0
