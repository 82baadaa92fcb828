from __future__ import annotations

import importlib
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest
import warmline_toolkit
from click.testing import CliRunner, Result
from run_builder import RunBuilder
from warmline_toolkit.cli import cli
from warmline_toolkit.errors import ToolkitError
from warmline_toolkit.measure.record import Recorder
from warmline_toolkit.report import pages

ROOT = Path(__file__).parents[3]


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    path = tmp_path / "run.jsonl"
    with Recorder(path) as record:
        for event in RunBuilder(trials=1).events():
            record(event)
    return path


def warmline(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def test_report_prints_a_table_by_default(run_file: Path) -> None:
    result = warmline("report", run_file)
    assert result.exit_code == 0
    assert "Recommendation" in result.stdout
    assert "\x1b" not in result.stdout


def test_report_prints_one_json_document(run_file: Path) -> None:
    assert json.loads(warmline("report", run_file.parent, "--format", "json").stdout)["scenario"] == "guide"


@pytest.mark.parametrize(
    ("name", "begins"), [("r.html", "<!DOCTYPE html>"), ("r.md", "# The"), ("r.json", "{"), ("r.txt", "The guide")]
)
def test_the_name_of_the_output_chooses_the_format(run_file: Path, tmp_path: Path, name: str, begins: str) -> None:
    target = tmp_path / "new" / name
    result = warmline("report", run_file, "--output", target)
    assert result.exit_code == 0
    assert target.read_text().startswith(begins)
    assert result.stdout == ""
    assert f"Wrote {target}" in result.stderr


def test_an_output_that_cannot_be_written_is_a_clear_error(run_file: Path) -> None:
    result = warmline("report", run_file, "--output", run_file / "below-a-file.html")
    assert isinstance(result.exception, ToolkitError)
    assert result.exception.code == "WL-R003"


@pytest.mark.parametrize(
    ("arguments", "exit_code", "says"),
    [
        (["report", "nowhere.jsonl"], 2, "nowhere.jsonl cannot be read: No such file"),
        (["report", "nowhere.jsonl", "--format", "pdf"], 2, "'pdf' is not one of"),
        (["explain", "WL-R0O1"], 2, "Did you mean WL-R001"),
        (["explain", "nonsense"], 2, "lists every code"),
    ],
)
def test_bad_input_exits_with_2_and_one_message(arguments: list[str], exit_code: int, says: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "warmline_toolkit", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == exit_code
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("code", ["WL-R001", "wl-r001", "R001"])
def test_explain_shows_a_page_at_80_columns(code: str) -> None:
    result = warmline("explain", code)
    assert result.exit_code == 0
    assert result.stdout.startswith("WL-R001: not a run file\n")
    assert max(len(line) for line in result.stdout.splitlines()) <= 80


def test_explain_gives_the_page_as_written() -> None:
    assert warmline("explain", "WL-R001", "--format", "markdown").stdout == (
        ROOT / "docs" / "errors" / "WL-R001.md"
    ).read_text(encoding="utf-8")


def test_explain_alone_lists_every_code() -> None:
    listed = [line.split()[0] for line in warmline("explain").stdout.splitlines()]
    assert listed == [page.code for page in pages.pages()]
    assert "WL-E001" in listed


def error_classes() -> set[type[ToolkitError]]:
    """Import every module of the toolkit and return every error class it defines."""
    for module in pkgutil.walk_packages(warmline_toolkit.__path__, "warmline_toolkit."):
        if not module.name.endswith("__main__") and ".examples" not in module.name:
            importlib.import_module(module.name)
    found: set[type[ToolkitError]] = set()
    waiting = [ToolkitError]
    while waiting:
        for subclass in waiting.pop().__subclasses__():
            found.add(subclass)
            waiting.append(subclass)
    return {one for one in found if one.__module__.startswith("warmline_toolkit.")}


def test_every_error_class_has_a_page() -> None:
    known = {page.code for page in pages.pages()}
    assert {one.__name__: one.code for one in error_classes() if one.code not in known} == {}


def test_every_error_page_belongs_to_a_code_in_the_sources() -> None:
    sources = "".join(
        file.read_text(encoding="utf-8")
        for folder in ("library/src", "toolkit/src/warmline_toolkit", "proxy")
        for suffix in ("py", "rs")
        for file in (ROOT / folder).rglob(f"*.{suffix}")
        if "target" not in file.parts
    )
    used = set(re.findall(r"WL-[A-Z]\d{3}", sources))
    assert {page.code for page in pages.pages() if (ROOT / "docs" / "errors" / f"{page.code}.md").exists()} <= used


def test_every_page_begins_with_its_code() -> None:
    for page in pages.pages():
        assert re.match(rf"# `?{page.code}`?\b.*\S", page.markdown), page.code
        assert page.title
