"""Every rule's own examples, and that its page is the one in the repository."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from warmline_toolkit.audit import pages
from warmline_toolkit.audit.rules import all_rules

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from warmline_toolkit.audit.engine import Report
    from warmline_toolkit.audit.finding import Example, Rule

RULES = all_rules()
DOCS = Path(__file__).parents[3] / "docs" / "rules"
BAD = [pytest.param(rule, example, id=f"{rule.code}-{example.title}") for rule in RULES for example in rule.bad]
GOOD = [pytest.param(rule, example, id=f"{rule.code}-{example.title}") for rule in RULES for example in rule.good]


@pytest.mark.parametrize(("rule", "example"), BAD)
def test_a_rule_finds_its_bad_example(
    audited: Callable[[Mapping[str, str]], Report], rule: Rule, example: Example
) -> None:
    report = audited(example.files)
    assert report.unreadable == []
    found = [finding for finding in report.findings if finding.code == rule.code]
    assert found
    for finding in found:
        assert finding.path in example.files
        assert 1 <= finding.line <= example.files[finding.path].count("\n")
        assert finding.message.endswith(".")


@pytest.mark.parametrize(("rule", "example"), GOOD)
def test_a_rule_is_silent_about_its_good_example(
    audited: Callable[[Mapping[str, str]], Report], rule: Rule, example: Example
) -> None:
    report = audited(example.files)
    assert report.unreadable == []
    assert [finding.message for finding in report.findings if finding.code == rule.code] == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_a_rules_page_is_the_one_made_from_its_file(rule: Rule) -> None:
    assert (DOCS / f"{rule.code}.md").read_text(encoding="utf-8") == pages.page(rule), (
        "run: python -m warmline_toolkit.audit.pages"
    )


def test_the_list_of_rules_is_complete() -> None:
    assert (DOCS / "README.md").read_text(encoding="utf-8") == pages.index()


def test_codes_and_names_of_rules_are_unique_and_match_their_files() -> None:
    assert len({rule.code for rule in RULES}) == len(RULES) == len({rule.slug for rule in RULES})
    files = {path.stem for path in Path(pages.__file__).parent.joinpath("rules").glob("wl_a*.py")}
    assert files == {f"{rule.code.lower()}_{rule.slug}".replace("-", "_") for rule in RULES}
