"""Findings for people, at 80 columns: the code line, why it matters, the chain, the template's line, the fix."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.text import Text

from warmline_toolkit.audit.finding import Severity

if TYPE_CHECKING:
    from rich.console import Console

    from warmline_toolkit.audit.engine import Report
    from warmline_toolkit.audit.finding import Finding
    from warmline_toolkit.audit.reach import Step

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "bold yellow", Severity.NOTE: "bold cyan"}
_INDENT = (0, 0, 0, 4)
_LONGEST_CHAIN = 8
_UNREADABLE_SHOWN = 10


class TerminalRenderer:
    """Prints findings one by one, as they come, and a summary at the end."""

    def __init__(self, console: Console, root: Path) -> None:
        self.console = console
        self.root = root.parent if root.is_file() else root
        self._lines: dict[str, list[str]] = {}

    def finding(self, finding: Finding) -> None:
        """Print one finding."""
        head = Text.assemble(
            (f"{finding.path}:{finding.line}", "bold"), "  ", (finding.severity.value, _STYLES[finding.severity]), " ",
            (finding.code, "bold"), " ", finding.title,
        )  # fmt: skip
        self.console.print(head, soft_wrap=False)
        code = self.source_line(finding.path, finding.line)
        if code:
            self.console.print(
                Padding(
                    Text(f"{finding.line:>4} | {code}", style="dim", no_wrap=True, overflow="ellipsis"), (0, 0, 0, 2)
                )
            )
        self.console.print(Padding(Text(finding.message), _INDENT, expand=False))
        if len(finding.chain) > 1:
            self.console.print(Padding(self._chain(finding), _INDENT, expand=False))
        for step in finding.related:
            self._labelled("see", f"{step.path}:{step.line}  {step.text}")
        self._labelled("fix", finding.fix)
        more = f"warmline explain {finding.code}"
        if finding.scenario:
            more += f"; to see it: warmline lab run --scenario {finding.scenario}"
        self._labelled("more", more)
        self.console.print()

    def summary(self, report: Report) -> None:
        """Print what was looked at, what could not be read, and the counts."""
        for item in report.unreadable[:_UNREADABLE_SHOWN]:
            self.console.print(Text.assemble((f"{item.path}:{item.line}", "bold"), f"  skipped: {item.reason}"))
        if len(report.unreadable) > _UNREADABLE_SHOWN:
            self.console.print(
                f"... and {len(report.unreadable) - _UNREADABLE_SHOWN} more files skipped (see --format json)"
            )
        if report.unreadable:
            self.console.print()
        counts = [
            _count(number, severity.value)
            for severity in Severity
            if (number := sum(finding.severity is severity for finding in report.findings))
        ]
        found = ", ".join(counts) if counts else "No findings"
        self.console.print(
            f"{found}. Read {_count(report.handlers, 'handler')} in {_count(report.files, 'file')} "
            f"({report.parsed} parsed), "
            f"{_count(report.rules, 'rule')}, {report.seconds:.1f} s."
        )
        if report.ignored or report.baselined:
            self.console.print(f"Not shown: {report.ignored} ignored in the code, {report.baselined} in the baseline.")

    def proof(self, proof: dict[str, object]) -> None:
        """Print what the lab saw of one handler."""
        codes = ", ".join(str(code) for code in proof["codes"]) if isinstance(proof["codes"], list) else ""
        self.console.print()
        self.console.print(
            Text.assemble((f"{proof['path']}:{proof['handler']}", "bold"), f"  {proof['scenario']}  {codes}")
        )
        self.console.print(Padding(Text(str(proof["outcome"])), _INDENT, expand=False))

    def source_line(self, path: str, line: int) -> str:
        """Return one line of an audited file, without its indent."""
        if path not in self._lines:
            try:
                self._lines = {path: Path(self.root, path).read_text(encoding="utf-8", errors="replace").splitlines()}
            except OSError:
                self._lines = {path: []}
        lines = self._lines[path]
        return lines[line - 1].strip() if 0 < line <= len(lines) else ""

    def _labelled(self, label: str, text: str) -> None:
        self.console.print(Padding(Text.assemble((f"{label}: ", "green"), text), _INDENT, expand=False))

    def _chain(self, finding: Finding) -> Text:
        steps = list(_shortened(finding.chain))
        previous = ""
        parts = []
        for step in steps:
            where = f":{step.line}" if step.path == previous else f"{step.path}:{step.line}"
            previous = step.path
            parts.append(f"{step.text} ({where})")
        return Text.assemble(("chain: ", "green"), " > ".join(parts))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _shortened(chain: tuple[Step, ...]) -> tuple[Step, ...]:
    """Drop the call steps that the function entered next names anyway."""
    kept = [
        step
        for index, step in enumerate(chain)
        if not (step.text.endswith("()") and index + 1 < len(chain) and not chain[index + 1].text.endswith("()"))
    ]
    if len(kept) > _LONGEST_CHAIN:
        kept = [*kept[:3], *kept[-(_LONGEST_CHAIN - 3) :]]
    return tuple(kept)
