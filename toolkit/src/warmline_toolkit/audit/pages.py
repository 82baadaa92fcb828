"""The rules' documentation pages, made from the rule files: docs/rules/<CODE>.md and its list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmline_toolkit.audit.rules import all_rules

if TYPE_CHECKING:
    from pathlib import Path

    from warmline_toolkit.audit.finding import Example, Rule

_LANGUAGES = {
    "py": "python",
    "js": "javascript",
    "mjs": "javascript",
    "ts": "typescript",
    "yaml": "yaml",
    "yml": "yaml",
    "tf": "hcl",
    "json": "json",
}


def page(rule: Rule) -> str:
    """Return the page of a rule in Markdown."""
    parts = [
        f"# {rule.code}: {rule.title}",
        f"Severity: {rule.severity.value}. Reads: {', '.join(rule.applies_to)}. Name: `{rule.slug}`.",
        f"**Finds.** {rule.finds}",
        f"**Why.** {rule.why}",
        f"**Fix.** {rule.fix}",
        f"**Silent when** {rule.silent_when}",
    ]
    if rule.scenario:
        parts.append(f"**See it happen.** `warmline lab run --scenario {rule.scenario}`")
    place = f"`# warmline: ignore[{rule.code}] reason` on the line, or on a line of its own above it."
    parts.append(f"**Ignore one place.** {place}")
    for heading, examples in (("Found", rule.bad), ("Not found", rule.good)):
        for example in examples:
            parts.append(f"## {heading}: {example.title}")
            parts.extend(_files(example))
    return "\n\n".join(parts) + "\n"


def index() -> str:
    """Return the list of all rules in Markdown."""
    lines = [
        "# Audit rules",
        "",
        "What `warmline audit` looks for. Each page is made from its rule's file;",
        "`warmline explain CODE` shows it offline.",
        "",
        "| code | finds | severity | reads |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| [{rule.code}]({rule.code}.md) | {rule.title} | {rule.severity.value} | {', '.join(rule.applies_to)} |"
        for rule in all_rules()
    ]
    return "\n".join(lines) + "\n"


def write_pages(folder: Path) -> list[Path]:
    """Write every page and the list into *folder*; return what was written."""
    written = []
    for name, text in [("README.md", index()), *((f"{rule.code}.md", page(rule)) for rule in all_rules())]:
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            written.append(path)
    return written


def _files(example: Example) -> list[str]:
    parts = []
    for name, text in example.files.items():
        if len(example.files) > 1:
            parts.append(f"`{name}`:")
        parts.append(f"```{_LANGUAGES.get(name.rpartition('.')[2], '')}\n{text.rstrip()}\n```")
    return parts


if __name__ == "__main__":
    import sys
    from pathlib import Path

    for changed in write_pages(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/rules")):
        sys.stdout.write(f"{changed}\n")
