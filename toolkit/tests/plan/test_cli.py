"""`warmline plan` as users call it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def warmline(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "warmline_toolkit", "plan", *arguments],
        capture_output=True,
        text=True,
        check=False,
        input=stdin,
    )


def document(*arguments: str) -> dict:
    done = warmline(*arguments, "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_simulate_prints_one_json_document_with_the_fleet():
    options = "--rate 0.9 --warm-ms 1991 --cold-ms 2244 --idle-timeout 600 --duration 1000000 --seed 1"
    found = document("simulate", *options.split())
    assert found["mean_environments"] == pytest.approx(7.68, rel=0.02)
    assert found["mean_running"] == pytest.approx(1.79, rel=0.02)
    assert found["cold_probability"] == pytest.approx(0.00133, rel=0.1)
    assert 11 <= found["connections_peak"] <= 15


def test_size_counts_the_guides_question_for_each_strategy():
    found = document("size", "--environments", "5", "--requests", "25", "--max-connections", "5")
    opened = {one["strategy"]: one["connections_opened"] for one in found["strategies"]}
    assert opened == {"per-request": 25, "keep-open": 5, "pool": 5, "proxy": 5}
    assert all(one["connections_peak"] == 5 and one["holds"] for one in found["strategies"])


def test_size_says_what_breaks_and_recommends_for_the_goal():
    found = document("size", "--rate", "50", "--warm-ms", "120", "--class", "db.t4g.medium", "--engine", "postgres")
    (database,) = found["databases"]
    assert database["limit"]["max_connections"] == 405
    assert database["connections"]["worst"] == 1000
    assert database["first_break"] == "a burst"
    safety = next(one for one in database["recommendations"] if one["goal"] == "safety")
    assert safety["option"] == "reserved concurrency"


def test_limits_prints_a_class(tmp_path):
    found = document("limits", "--engine", "aurora-postgres", "db.r6g.large")
    assert found["limits"][0]["max_connections"] == 1722


COMMANDS = (
    ["size", "--rate", "50", "--class", "db.t4g.medium", "--strategy", "proxy"],
    ["size", "--environments", "5", "--requests", "25", "--max-connections", "5"],
    ["simulate", "--burst", "50", "--max-connections", "20", "--duration", "60"],
    ["sweep", "--rate", "5", "--vary", "pool_size=1,2", "--max-connections", "9", "--duration", "60", "--workers", "1"],
    ["limits", "--engine", "postgres"],
)


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: " ".join(arguments[:3]))
def test_no_line_of_a_table_is_wider_than_80(arguments):
    done = warmline(*arguments)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) > 200
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize(("arguments", "ending"), [(COMMANDS[0], "md"), (COMMANDS[2], "html"), (COMMANDS[3], "html")])
def test_a_report_is_one_file_that_needs_no_network(arguments, ending, tmp_path):
    file = tmp_path / f"report.{ending}"
    done = warmline(*arguments, "--output", str(file))
    assert done.returncode == 0, done.stderr
    text = file.read_text().replace("http://www.w3.org", "")
    assert ("<svg" in text) == (ending == "html")
    assert "http://" not in text
    assert "https://" not in text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["size"], "there is no load"),
        (["size", "--rate", "5"], "limit"),
        (["size", "--rate", "-1", "--max-connections", "5"], "--rate is -1.0; expected a number of at least 0"),
        (["size", "--rate", "5", "--concurrency", "2", "--max-connections", "5"], "expected one of them"),
        (["size", "--rate", "5", "--class", "db.r6g.larg"], "db.r6g.large"),
        (["size", "--rate", "5", "--max-connections", "0"], "--max-connections is 0"),
        (["size", "--rate", "5", "--requests", "5", "--max-connections", "5"], "--environments"),
        (["simulate", "--rate", "1", "--warm-ms", "100", "--cold-ms", "50"], "below --warm-ms"),
        (["simulate", "--rate", "1e9"], "at most 200,000,000"),
        (["simulate", "nothing.yaml"], "nothing.yaml"),
        (["simulate", "--arrivals-file", "nothing.csv"], "nothing.csv"),
        (["size", "--rate", "1", "--strategy", "cached"], "cached"),
        (["limits", "--url", "redis://localhost"], "redis"),
    ],
)
def test_bad_input_names_itself_and_what_was_expected_and_exits_2(arguments, expected):
    done = warmline(*arguments)
    assert done.returncode == 2
    assert expected in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_file_that_cannot_be_written_is_said_so(tmp_path: Path):
    done = warmline("limits", "--output", str(tmp_path))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_the_planner_imports_no_lab_no_server_and_no_compiler_until_it_simulates():
    script = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from warmline_toolkit.cli import cli\n"
        "arguments = ['plan', 'size', '--rate', '5', '--max-connections', '50', '--format', 'json']\n"
        "assert CliRunner().invoke(cli, arguments).exit_code == 0\n"
        "loaded = {'numba', 'boto3', 'pymysql', 'psycopg', 'warmline_toolkit.lab', 'warmline_toolkit.servers'}\n"
        "print(sorted(loaded & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
