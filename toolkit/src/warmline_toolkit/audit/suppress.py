"""Findings that the user has answered: inline ignores, and a baseline file of fingerprints."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

from warmline_toolkit.audit.errors import BaselineUnreadable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from warmline_toolkit.audit.context import Project
    from warmline_toolkit.audit.facts import Ignore
    from warmline_toolkit.audit.finding import Finding

BASELINE_VERSION = 1


def is_ignored(project: Project, finding: Finding) -> bool:
    """Return whether `warmline: ignore[CODE]` stands on the finding's line (or on the comment line just above it)."""
    return any(_covers(ignore, finding) for ignore in _ignores(project, finding.path))


def _covers(ignore: Ignore, finding: Finding) -> bool:
    return ignore.line == finding.line and (not ignore.codes or finding.code in ignore.codes)


def _ignores(project: Project, path: str) -> tuple[Ignore, ...]:
    facts = project.code.get(path)
    if facts is not None:
        return facts.ignores
    return tuple(ignore for template in project.templates if template.path == path for ignore in template.ignores)


def write_baseline(path: Path, findings: Iterable[Finding]) -> int:
    """Write the fingerprints of *findings* to *path*, one line each, sorted; return how many."""
    counted = Counter(finding.fingerprint for finding in findings)
    where = {finding.fingerprint: finding for finding in findings}
    entries = [
        {
            "fingerprint": key,
            "count": counted[key],
            "code": where[key].code,
            "path": where[key].path,
            "subject": where[key].subject,
        }
        for key in sorted(counted, key=lambda key: (where[key].path, where[key].code, key))
    ]
    path.write_text(json.dumps({"version": BASELINE_VERSION, "findings": entries}, indent=1) + "\n", encoding="utf-8")
    return sum(counted.values())


def read_baseline(path: Path) -> Counter[str]:
    """Return how many findings of each fingerprint the baseline at *path* accepts."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["version"] != BASELINE_VERSION:
            raise BaselineUnreadable(
                path, f"version {document['version']}, this audit writes version {BASELINE_VERSION}"
            )
        return Counter({entry["fingerprint"]: int(entry["count"]) for entry in document["findings"]})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BaselineUnreadable(path, str(error)) from error


def split_by_baseline(findings: Iterable[Finding], accepted: Counter[str]) -> tuple[list[Finding], int]:
    """Return the findings that the baseline does not accept, and how many it does."""
    left = Counter(accepted)
    new, known = [], 0
    for finding in findings:
        if left[finding.fingerprint] > 0:
            left[finding.fingerprint] -= 1
            known += 1
        else:
            new.append(finding)
    return new, known
