from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from warmline_toolkit.audit.rules import all_rules

if TYPE_CHECKING:
    from pathlib import Path

HANDLER = """\
import pymysql


def lambda_handler(event, context):
    return pymysql.connect(host="db").cursor()
"""


def run(*arguments: str, cwd: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "warmline_toolkit", "audit", *arguments],
        cwd=cwd, capture_output=True, text=True, check=False, input=stdin,
    )  # fmt: skip


@pytest.fixture
def bad_tree(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(HANDLER)
    return tmp_path


def test_json_holds_what_a_tool_needs_and_the_exit_code_is_1(bad_tree: Path) -> None:
    done = run(".", "--format", "json", cwd=bad_tree)
    assert done.returncode == 1
    [finding] = json.loads(done.stdout)["findings"]
    assert (finding["code"], finding["path"], finding["line"], finding["severity"]) == (
        "WL-A001",
        "app.py",
        5,
        "warning",
    )
    assert "pymysql.connect()" in finding["message"]
    assert [step["text"] for step in finding["chain"]] == ["handler lambda_handler", "pymysql.connect()"]


def test_a_clean_tree_exits_0(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("def lambda_handler(event, context):\n    return 1\n")
    done = run(".", "--format", "json", cwd=tmp_path)
    assert done.returncode == 0
    assert json.loads(done.stdout)["findings"] == []


def test_text_fits_80_columns_and_shows_line_chain_and_fix(bad_tree: Path) -> None:
    done = run(".", cwd=bad_tree)
    assert done.returncode == 1
    assert max(map(len, done.stdout.splitlines())) <= 80
    for expected in ("app.py:5", "WL-A001", "handler lambda_handler", "fix: ", "warmline explain WL-A001", "1 warning"):
        assert expected in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("nowhere",), "WL-A901"), ((".", "--select", "WL-A999"), "WL-A902"), ((".", "--baseline", "app.py"), "WL-A903")],
)
def test_usage_errors_exit_2_with_their_code(bad_tree: Path, arguments: tuple[str, ...], code: str) -> None:
    done = run(*arguments, cwd=bad_tree)
    assert done.returncode == 2
    assert f"warmline explain {code}" in done.stderr


def test_a_module_that_raises_on_import_is_read_and_never_run(tmp_path: Path) -> None:
    marker = tmp_path / "was_run"
    (tmp_path / "app.py").write_text(f"open({str(marker)!r}, 'w')\nraise SystemExit('imported')\n{HANDLER}")
    (tmp_path / "pymysql.py").write_text("raise SystemExit('imported')\n")
    (tmp_path / "sitecustomize.py").write_text(f"open({str(marker)!r}, 'w')\n")
    done = run(str(tmp_path), "--format", "json", cwd=tmp_path.parent)
    assert done.returncode in {0, 1}
    assert not marker.exists()
    assert json.loads(done.stdout)["counts"]["handlers"] == 1


def test_a_file_that_cannot_be_parsed_is_named_and_the_rest_is_audited(bad_tree: Path) -> None:
    (bad_tree / "broken.py").write_text("import pymysql\ndef handler(event, context:\n")
    (bad_tree / "broken.js").write_text("const mysql = require('mysql2'); function ( { { {\n")
    (bad_tree / "latin.py").write_bytes(b"import pymysql\nx = '\xe9'\n")
    document = json.loads(run(".", "--format", "json", cwd=bad_tree).stdout)
    assert {item["path"] for item in document["skipped"]} == {"broken.py", "broken.js", "latin.py"}
    assert [finding["path"] for finding in document["findings"]] == ["app.py"]


def test_an_ignore_with_a_reason_silences_its_line_only(bad_tree: Path) -> None:
    (bad_tree / "app.py").write_text(
        HANDLER.replace(".cursor()", ".cursor()  # warmline: ignore[WL-A001] a nightly job")
    )
    document = json.loads(run(".", "--format", "json", cwd=bad_tree).stdout)
    assert (document["findings"], document["counts"]["ignored"]) == ([], 1)
    (bad_tree / "app.py").write_text(
        HANDLER.replace(".cursor()", ".cursor()  # warmline: ignore[WL-A002] not this one")
    )
    assert run(".", cwd=bad_tree).returncode == 1
    (bad_tree / "app.py").write_text(
        HANDLER.replace("    return", "    # warmline: ignore[WL-A001] a nightly job\n    return")
    )
    assert run(".", cwd=bad_tree).returncode == 0


def test_a_baseline_accepts_what_is_there_and_reports_what_is_new(bad_tree: Path) -> None:
    assert run(".", "--write-baseline", "accepted.json", cwd=bad_tree).returncode == 0
    (bad_tree / "app.py").write_text("# a line above\n" + HANDLER)
    done = run(".", "--baseline", "accepted.json", "--format", "json", cwd=bad_tree)
    assert (done.returncode, json.loads(done.stdout)["counts"]["baselined"]) == (0, 1)
    (bad_tree / "other.py").write_text(HANDLER)
    done = run(".", "--baseline", "accepted.json", "--format", "json", cwd=bad_tree)
    assert [finding["path"] for finding in json.loads(done.stdout)["findings"]] == ["other.py"]


POOL = (
    'import mysql from "mysql2/promise";\n\nconst pool = mysql.createPool({\n  connectionLimit: 10,\n});\n\n'
    'export const handler = async () => (await pool.query("SELECT id FROM users"))[0];\n'
)


def test_fix_shows_a_diff_asks_and_writes_only_on_yes(tmp_path: Path) -> None:
    (tmp_path / "index.mjs").write_text(POOL)
    declined = run(".", "--fix", cwd=tmp_path, stdin="n\n")
    assert "-  connectionLimit: 10,\n+  connectionLimit: 1,\n" in declined.stdout
    assert (tmp_path / "index.mjs").read_text() == POOL
    assert run(".", "--diff", cwd=tmp_path).stdout == declined.stdout
    run(".", "--fix", cwd=tmp_path, stdin="y\n")
    assert (tmp_path / "index.mjs").read_text() == POOL.replace("connectionLimit: 10", "connectionLimit: 1")
    assert run(".", cwd=tmp_path).returncode == 0


def test_select_and_ignore_choose_rules_and_the_list_names_them_all(bad_tree: Path) -> None:
    assert run(".", "--select", "A002,A003", cwd=bad_tree).returncode == 0
    assert run(".", "--ignore", "WL-A001", cwd=bad_tree).returncode == 0
    listed = run("--list-rules", cwd=bad_tree).stdout.splitlines()
    assert [line.split()[0] for line in listed] == [rule.code for rule in all_rules()]
