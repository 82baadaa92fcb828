from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "scripts" / "docs.py"


@pytest.fixture
def docs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scripts_docs", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_up_to_date_and_every_link_leads_somewhere() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_example_is_run_and_its_output_put_in(
    docs: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "A\n\n```console\n$ warmline explain WL-R006 --format markdown\nold\n```\n\n```console\n$ make demo\n```\n"
    )
    assert docs._run_examples(page) == []
    shown = (ROOT / "docs" / "errors" / "WL-R006.md").read_text()
    assert page.read_text() == (
        f"A\n\n```console\n$ warmline explain WL-R006 --format markdown\n{shown}```\n\n```console\n$ make demo\n```\n"
    )


def test_an_example_that_fails_is_named_unless_the_page_says_so(
    docs: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "```console\n$ warmline explain WL-R999\n```\n\n```console exit=2\n$ warmline explain WL-R999\n```\n"
    )
    failed = docs._run_examples(page)
    assert len(failed) == 1
    assert re.match(r"page\.md: `warmline explain WL-R999` exited with 2, not 0", failed[0])


def test_every_event_is_in_the_run_files_reference(docs: ModuleType) -> None:
    from warmline_toolkit.model.events import EVENTS  # noqa: PLC0415 - beside the module under test

    page = docs._run_file()
    for kind in EVENTS:
        assert f"## `{kind}`" in page


def test_a_stale_page_is_named(docs: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docs, "DOCS", tmp_path)
    assert "docs/reference/run-file.md" in list(docs._stale())


def test_a_dead_link_is_named(docs: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    monkeypatch.setattr(docs, "DOCS", tmp_path / "docs")
    (tmp_path / "README.md").write_text("[a](docs/none.md) [b](README.md) [c](https://example.org) [d](#here)")
    assert list(docs._dead_links()) == ["README.md links to docs/none.md, which is not there"]
