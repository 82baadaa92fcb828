"""Safe fixes: each is one pattern in the lines of its finding; shown as a diff, applied only on request."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from warmline_toolkit.audit.finding import Edit, Finding


@dataclass(frozen=True, slots=True)
class FixedFile:
    """A file with its fixes applied, not written yet."""

    path: str
    before: str
    after: str
    fixes: int

    @property
    def diff(self) -> str:
        """Return the change as a unified diff."""
        lines = difflib.unified_diff(
            self.before.splitlines(keepends=True),
            self.after.splitlines(keepends=True),
            f"a/{self.path}",
            f"b/{self.path}",
        )
        return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def fixed_files(root: Path, findings: Iterable[Finding]) -> list[FixedFile]:
    """Return the files that the findings' edits change; an edit that does not match exactly once is left out."""
    edits: dict[str, list[Edit]] = {}
    for finding in findings:
        for edit in finding.edits:
            edits.setdefault(edit.path, []).append(edit)
    base = root.parent if root.is_file() else root
    found = []
    for path in sorted(edits):
        with Path(base, path).open(encoding="utf-8", newline="") as file:
            before = file.read()
        after, applied = before, 0
        for edit in dict.fromkeys(edits[path]):
            changed = _applied(after, edit)
            if changed is not None:
                after, applied = changed, applied + 1
        if after != before:
            found.append(FixedFile(path, before, after, applied))
    return found


def write(root: Path, fixed: Iterable[FixedFile]) -> None:
    """Write the fixed files, keeping their line ends."""
    base = root.parent if root.is_file() else root
    for item in fixed:
        with Path(base, item.path).open("w", encoding="utf-8", newline="") as file:
            file.write(item.after)


def _applied(text: str, edit: Edit) -> str | None:
    lines = text.splitlines(keepends=True)
    span = "".join(lines[edit.first - 1 : edit.last])
    if len(re.findall(edit.pattern, span)) != 1:
        return None
    changed = re.sub(edit.pattern, edit.replacement, span, count=1)
    return "".join([*lines[: edit.first - 1], changed, *lines[edit.last :]])
