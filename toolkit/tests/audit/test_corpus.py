"""The corpus: snippets as people write them, five bad and five good or more for each rule in each language.

corpus/<CODE>.<language>.txt holds `=== bad: title` and `=== good: title` cases. A case has files (`--- name`, then the
text) or changes the files of `=== base` (`~~~ name`, then lines `old => new`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from warmline_toolkit.audit.engine import Report

CORPUS = Path(__file__).parent / "corpus"
LEAST = 5


def read_cases(path: Path) -> list[tuple[str, str, dict[str, str]]]:
    """Return (kind, title, files) of every case in a corpus file."""
    base: dict[str, str] = {}
    cases = []
    for block in re.split(r"^=== ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        head, _, body = block.partition("\n")
        kind, _, title = head.partition(":")
        files = {} if kind == "base" else dict(base)
        for mark, name, text in re.findall(
            r"^(---|~~~) (\S+)\n(.*?)(?=^--- |^~~~ |\Z)", body, re.MULTILINE | re.DOTALL
        ):
            if mark == "---":
                files[name] = text
                continue
            for line in text.strip("\n").split("\n"):
                old, arrow, new = line.partition(" => ")
                assert arrow, f"{path.name}: {title}: {line}"
                old, new = old.replace("\\n", "\n"), new.replace("\\n", "\n")
                assert old in files[name], f"{path.name}: {title}: {old} is not in {name}"
                files[name] = files[name].replace(old, new)
        if kind == "base":
            base = files
        else:
            cases.append((kind, title.strip(), files))
    return cases


CASES = [
    pytest.param(path.name.split(".")[0], kind, files, id=f"{path.stem}-{kind}-{title}")
    for path in sorted(CORPUS.glob("*.txt"))
    for kind, title, files in read_cases(path)
]


@pytest.mark.parametrize(("code", "kind", "files"), CASES)
def test_a_rule_finds_the_bad_and_leaves_the_good(
    audited: Callable[[Mapping[str, str]], Report], code: str, kind: str, files: dict[str, str]
) -> None:
    report = audited(files)
    assert report.unreadable == []
    found = [f"{finding.path}:{finding.line} {finding.message}" for finding in report.findings if finding.code == code]
    assert bool(found) == (kind == "bad"), found or [finding.code for finding in report.findings]


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.txt")), ids=lambda path: path.stem)
def test_a_corpus_file_holds_at_least_five_bad_and_five_good_cases(path: Path) -> None:
    kinds = [kind for kind, _, _ in read_cases(path)]
    assert min(kinds.count("bad"), kinds.count("good")) >= LEAST
