"""`--prove`: run the lab scenario that a finding links, with the handler it was found in, where the lab can start it.

The lab runs the user's code, so this happens only on request, and in a program of its own: the audit itself stays
without any import of what it reads.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from warmline_toolkit.audit.finding import Finding

TIMEOUT_S = 300
_STARTABLE = (".py", ".mjs", ".js")


@dataclass(frozen=True, slots=True)
class Proof:
    """What the lab saw of one handler in one scenario, and the findings that it is about."""

    codes: tuple[str, ...]
    path: str
    handler: str
    scenario: str
    ran: bool
    outcome: str

    def document(self) -> dict[str, object]:
        """Return the proof as JSON values."""
        return {
            "codes": list(self.codes),
            "path": self.path,
            "handler": self.handler,
            "scenario": self.scenario,
            "ran": self.ran,
            "outcome": self.outcome,
        }


def prove(root: Path, findings: Iterable[Finding], *, progress: Callable[[str], None]) -> Iterator[Proof]:
    """Yield one proof for each handler and scenario that *findings* name; a run takes seconds to minutes.

    A handler that the lab cannot start yields a proof that did not run, with the reason.
    """
    base = root.parent if root.is_file() else root
    wanted: dict[tuple[str, str, str], list[str]] = {}
    for finding in findings:
        if finding.scenario and finding.handler and finding.chain:
            first = finding.chain[0]
            name = first.text.removeprefix("handler ")
            if first.text.startswith("handler "):
                wanted.setdefault((first.path, name, finding.scenario), []).append(finding.code)
            elif (path := _handler_file(base, finding)) is not None:
                wanted.setdefault((path, finding.handler, finding.scenario), []).append(finding.code)
    for (path, name, scenario), codes in wanted.items():
        progress(f"warmline lab run {path}:{name} --scenario {scenario}")
        yield _run(base, path, name, scenario, tuple(dict.fromkeys(codes)))


def _handler_file(base: Path, finding: Finding) -> str | None:
    """A finding at module level names its handler; it is run when it stands in the finding's own file."""
    text = Path(base, finding.path).read_text(encoding="utf-8", errors="replace")
    return finding.path if finding.handler and finding.handler in text else None


def _run(base: Path, path: str, name: str, scenario: str, codes: tuple[str, ...]) -> Proof:
    def proof(outcome: str, *, ran: bool) -> Proof:
        return Proof(codes=codes, path=path, handler=name, scenario=scenario, ran=ran, outcome=outcome)

    if not path.endswith(_STARTABLE):
        return proof("not run: the lab starts Python and JavaScript files, this one must be built first", ran=False)
    target = f"{Path(base, path).resolve()}:{name}" if path.endswith(".py") else str(Path(base, path).resolve())
    with tempfile.TemporaryDirectory(prefix="warmline-prove-") as folder:
        command = [
            sys.executable, "-m", "warmline_toolkit", "lab", "run", target,
            "--scenario", scenario, "--format", "json", "--output", folder,
        ]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S, cwd=base)
        except subprocess.TimeoutExpired:
            return proof(f"not finished after {TIMEOUT_S} s", ran=False)
    try:
        document = json.loads(done.stdout)
    except ValueError:
        said = done.stderr.strip().splitlines() or ["no output"]
        return proof(f"not run: {said[0]}", ran=False)
    return proof(str(document.get("answer", "")), ran=True)
