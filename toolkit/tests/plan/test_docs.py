"""The planner's pages: their commands run, their output is what the page shows, and every setting is in the reference.

`python toolkit/tests/plan/test_docs.py` writes the outputs and the reference anew.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from warmline_toolkit.plan.workload import Arrivals, Costs, Database, Function, Platform, Proxy, rules

DOCS = Path(__file__).parents[3] / "docs"
PAGES = ("tutorial/plan.md", "how-to/size-a-fleet.md")
BLOCK = re.compile(r"```console\n\$ (?P<command>[^\n]+)\n(?P<output>.*?)```", re.DOTALL)
FILE = re.compile(r"```yaml\n# (?P<name>\S+)\n(?P<text>.*?)```", re.DOTALL)
SETTINGS = (
    ("Functions", Function),
    ("Arrivals", Arrivals),
    ("Databases", Database),
    ("Proxy", Proxy),
    ("Costs", Costs),
    ("Platform", Platform),
)


def run(command: str, page: str, folder: Path) -> str:
    for found in FILE.finditer(page):
        (folder / found["name"]).write_text(found["text"])
    words = [sys.executable, "-m", "warmline_toolkit", *shlex.split(command)[1:]]
    environment = {**os.environ, "COLUMNS": "80"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def settings_page() -> str:
    """Return the reference of the workload file's settings."""
    lines: list[str] = []
    for title, of in SETTINGS:
        lines += [f"## {title}", "", "| setting | expected | default | |", "|---|---|---|---|"]
        for name, rule in rules(of).items():
            if of in (Function, Database) and name == "name":
                continue
            default = of.__dataclass_fields__[name].default
            shown = "" if default is None or not isinstance(default, (int, float, str)) else f"`{default}`".lower()
            lines.append(f"| `{name}` | {rule.expectation()} | {shown} | {rule.doc} |")
        lines.append("")
    return "\n".join(lines)


CASES = [
    pytest.param(page, found["command"], found["output"], id=found["command"][:60])
    for page in PAGES
    for found in BLOCK.finditer((DOCS / page).read_text("utf-8"))
]


@pytest.mark.parametrize(("page", "command", "output"), CASES)
def test_a_command_in_the_docs_prints_what_the_page_shows(page, command, output, tmp_path):
    assert run(command, (DOCS / page).read_text("utf-8"), tmp_path) == output


def test_the_guides_question_is_one_of_the_examples():
    assert any("--environments 5 --requests 25 --max-connections 5" in case.values[1] for case in CASES)


def test_the_reference_of_the_workload_file_has_every_setting_with_its_rule():
    assert settings_page() in (DOCS / "reference/workload-file.md").read_text("utf-8")


def write() -> None:
    for page in PAGES:
        text = (DOCS / page).read_text("utf-8")
        with tempfile.TemporaryDirectory() as folder:
            anew = BLOCK.sub(
                lambda found, text=text, folder=folder: (
                    f"```console\n$ {found['command']}\n{run(found['command'], text, Path(folder))}```"
                ),
                text,
            )
        (DOCS / page).write_text(anew, "utf-8")
    reference = DOCS / "reference/workload-file.md"
    head = reference.read_text("utf-8").split("## Functions\n")[0]
    reference.write_text(head + settings_page(), "utf-8")


if __name__ == "__main__":
    write()
