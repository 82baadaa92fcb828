"""Inline ignores: `# warmline: ignore[CODE, …] reason` (also after `//` and `--`), the same in every language."""

from __future__ import annotations

import re

from warmline_toolkit.audit.facts import Ignore

_IGNORE = re.compile(r"(?:#|//|--|/\*)\s*warmline:\s*ignore(?:\[([^\]\n]*)\])?[ \t]*([^\n]*)")


def ignores_in(text: str) -> tuple[Ignore, ...]:
    """Return every ignore in *text*. One that stands alone on its line covers the next line of code."""
    if "warmline:" not in text:
        return ()
    lines = text.splitlines()
    found = []
    for number, line in enumerate(lines, start=1):
        match = _IGNORE.search(line)
        if match is None:
            continue
        codes = tuple(code.strip() for code in (match[1] or "").split(",") if code.strip())
        covered = number
        if not line[: match.start()].strip():
            covered = _next_code_line(lines, number)
        found.append(Ignore(line=covered, codes=codes, reason=match[2].strip().removesuffix("*/").strip()))
    return tuple(found)


def _next_code_line(lines: list[str], number: int) -> int:
    for following in range(number, len(lines)):
        stripped = lines[following].strip()
        if stripped and not stripped.startswith(("#", "//", "/*", "*")):
            return following + 1
    return number
