"""`make docs`: run the examples in the documentation and regenerate its generated pages.

An example is a fenced block marked `console`: each of its lines `$ warmline …` is run, in a folder of its own for each
page, and what it prints replaces the lines below it. A block without such lines shows none afterwards either; where the
shown output ends with a line `…`, only as many lines are kept. `console exit=2` is an example that fails so. A block
marked `yaml` whose first line is `# NAME` is a file of that name in the folder.

With --check nothing is run and nothing written: it lists the generated pages that are out of date and the links that
lead nowhere, and exits with 1 if there are any.
"""

from __future__ import annotations

import argparse
import ast
import functools
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click
from warmline_toolkit.audit import pages as rule_pages
from warmline_toolkit.audit.rules import all_rules
from warmline_toolkit.cli import cli
from warmline_toolkit.report.pages import pages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
MADE = "<!-- Made by scripts/docs.py (make docs). Do not edit. -->"
FILE = re.compile(r"^```yaml\n# (?P<name>[\w.-]+)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)
EXAMPLE = re.compile(r"^```console(?P<info>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?!https?:|mailto:)(?P<target>[^)#\s]+)[^)]*\)")
SECONDS_PER_EXAMPLE = 600


def main() -> int:
    """Run the examples and write the pages, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="say what is out of date; run and write nothing")
    parser.add_argument("page", nargs="*", type=Path, help="run the examples of these pages only")
    options = parser.parse_args()
    if options.check:
        problems = [f"{name} is out of date: run make docs" for name in _stale()] + list(_dead_links())
        print("\n".join(problems) or "Everything generated is up to date, every link leads somewhere.")
        return 1 if problems else 0
    failed = [failure for page in options.page or _written_pages() for failure in _run_examples(page.resolve())]
    for path, make in GENERATED.items():
        (DOCS / path).write_text(make(), encoding="utf-8")
    print("\n".join(failed) or "Every example ran as shown.")
    return 1 if failed else 0


def _stale() -> Iterator[str]:
    for path, make in GENERATED.items():
        file = DOCS / path
        if not file.exists() or file.read_text(encoding="utf-8") != make():
            yield f"docs/{path}"


def _written_pages() -> list[Path]:
    """Return every page of the project that a person wrote or reads."""
    folders = [
        ROOT.glob("*.md"),
        DOCS.rglob("*.md"),
        *(ROOT.glob(f"{name}/*.md") for name in ("examples", "benchmarks")),
    ]
    return sorted(page for folder in folders for page in folder)


def _dead_links() -> Iterator[str]:
    for page in _written_pages():
        for match in LINK.finditer(page.read_text(encoding="utf-8")):
            if not (page.parent / match["target"]).exists():
                yield f"{page.relative_to(ROOT)} links to {match['target']}, which is not there"


# --- examples


def _run_examples(page: Path) -> list[str]:
    """Run the examples of one page, put their output in, and return what did not go as shown."""
    text = page.read_text(encoding="utf-8")
    failed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="warmline-docs-") as folder:
        for file in FILE.finditer(text):
            (Path(folder) / file["name"]).write_text(file["text"], encoding="utf-8")

        def run(block: re.Match[str]) -> str:
            wanted = re.search(r"exit=(\d+)", block["info"])
            body = _run_block(block["body"], Path(folder), int(wanted[1]) if wanted else 0, failed)
            return f"```console{block['info']}\n{body}```"

        changed = EXAMPLE.sub(run, text)
    if changed != text:
        page.write_text(changed, encoding="utf-8")
    return [f"{page.relative_to(ROOT)}: {failure}" for failure in failed]


def _run_block(body: str, folder: Path, wanted_exit: int, failed: list[str]) -> str:
    made: list[str] = []
    for command, shown in _commands(body):
        made.append(f"$ {command}")
        if not command.startswith("warmline "):
            made += shown
            continue
        done = subprocess.run(
            [sys.executable, "-m", "warmline_toolkit", *shlex.split(command)[1:]],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=SECONDS_PER_EXAMPLE,
            check=False,
            env={**os.environ, "NO_COLOR": "1", "COLUMNS": "80"},
        )
        if done.returncode != wanted_exit:
            failed.append(f"`{command}` exited with {done.returncode}, not {wanted_exit}: {done.stderr.strip()[-300:]}")
        if shown:
            lines = (done.stdout or done.stderr).rstrip("\n").splitlines()
            made += [*lines[: len(shown) - 1], "…"] if shown[-1] == "…" else lines
    return "".join(f"{line}\n" for line in made)


def _commands(body: str) -> Iterator[tuple[str, list[str]]]:
    """Split a block into its commands, each with the output that it shows."""
    command: str | None = None
    shown: list[str] = []
    for line in body.splitlines():
        if line.startswith("$ "):
            if command is not None:
                yield command, shown
            command, shown = line[2:], []
        elif command is not None:
            shown.append(line)
    if command is not None:
        yield command, shown


# --- generated pages


def _command_line() -> str:
    parts = [
        "# The command line",
        "",
        MADE,
        "",
        "Exit codes: 0 ok, 1 findings or a failed expectation, 2 usage, 3 this",
    ]
    parts += ["machine cannot run it, 130 interrupted. Results go to stdout, progress to stderr.", ""]
    parts += _help("warmline", cli, None)
    return "\n".join(parts).rstrip() + "\n"


def _help(name: str, command: click.Command, parent: click.Context | None) -> list[str]:
    context = click.Context(command, info_name=name, parent=parent, terminal_width=80, max_content_width=80)
    parts = [f"## `{context.command_path}`", "", "```", command.get_help(context), "```", ""]
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            inner = command.get_command(context, child)
            if inner is not None and not inner.hidden:
                parts += _help(child, inner, context)
    return parts


def _errors() -> str:
    own = [page for page in pages() if (DOCS / "errors" / f"{page.code}.md").exists()]
    rows = [f"| [{page.code}]({page.code}.md) | {page.title} |" for page in own]
    lead = "One page a code; `warmline explain CODE` shows the same page offline."
    return "\n".join(["# Errors", "", MADE, "", lead, "", "| code | |", "|---|---|", *rows]) + "\n"


def _run_file() -> str:
    """Describe every event from the module that defines them: its docstrings are the reference."""
    source = ROOT / "toolkit/src/warmline_toolkit/model/events.py"
    module = ast.parse(source.read_text(encoding="utf-8"))
    parts = ["# The run file", "", MADE, "", ast.get_docstring(module) or "", ""]
    parts += [
        "The lab appends to it as things happen, one `write` an event, so a lab that is killed loses nothing that it",
        "had recorded. `warmline report RUN` reads it on any machine. Every event has `kind`, `at_s`, `trial` and",
        "`strategy`; below are the fields of its own.",
        "",
    ]
    for node in module.body:
        if isinstance(node, ast.ClassDef) and (kind := _kind(node)) is not None:
            parts += [f"## `{kind}`", "", ast.get_docstring(node) or "", "", *_fields(node)]
    return "\n".join(parts).rstrip() + "\n"


def _kind(node: ast.ClassDef) -> str | None:
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and ast.unparse(statement.target) == "kind" and statement.value:
            return str(ast.literal_eval(statement.value))
    return None


def _fields(node: ast.ClassDef) -> list[str]:
    rows = []
    for statement, after in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and ast.unparse(statement.target) != "kind":
            said = ""
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                said = " ".join(str(after.value.value).split())
            type_ = _type(statement.annotation)
            rows.append(f"| `{ast.unparse(statement.target)}` | {type_} | {said} |")
    return ["| field | type | |", "|---|---|---|", *rows, ""] if rows else []


def _type(annotation: ast.expr) -> str:
    text = ast.unparse(annotation).replace("'", '"').replace(" | ", " or ")
    return re.sub(r"Literal\[(.*?)\]", lambda match: match[1].replace(", ", " or "), text)


GENERATED: dict[str, Callable[[], str]] = {
    "reference/command-line.md": _command_line,
    "reference/run-file.md": _run_file,
    "errors/README.md": _errors,
    "rules/README.md": rule_pages.index,
    **{f"rules/{rule.code}.md": functools.partial(rule_pages.page, rule) for rule in all_rules()},
}


if __name__ == "__main__":
    sys.exit(main())
