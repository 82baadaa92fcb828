"""The audit's JSON document: stable, documented in docs/reference/audit.md."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from warmline_toolkit import __version__

if TYPE_CHECKING:
    from warmline_toolkit.audit.engine import Report
    from warmline_toolkit.audit.finding import Finding
    from warmline_toolkit.audit.reach import Step

FORMAT_VERSION = 1


def render_json(report: Report, *, proofs: list[dict[str, object]] | None = None) -> str:
    """Return the report as one JSON document."""
    document: dict[str, object] = {
        "format": "warmline-audit",
        "format_version": FORMAT_VERSION,
        "warmline_version": __version__,
        "root": report.root,
        "findings": [finding_document(finding) for finding in report.findings],
        "skipped": [{"path": item.path, "line": item.line, "reason": item.reason} for item in report.unreadable],
        "counts": {
            "files": report.files,
            "parsed": report.parsed,
            "handlers": report.handlers,
            "rules": report.rules,
            "ignored": report.ignored,
            "baselined": report.baselined,
        },
        "duration_s": round(report.seconds, 3),
    }
    if proofs is not None:
        document["proofs"] = proofs
    return json.dumps(document, indent=2, ensure_ascii=False)


def finding_document(finding: Finding) -> dict[str, object]:
    """Return one finding as JSON values."""
    return {
        "code": finding.code,
        "title": finding.title,
        "severity": finding.severity.value,
        "path": finding.path,
        "line": finding.line,
        "column": finding.column,
        "message": finding.message,
        "fix": finding.fix,
        "handler": finding.handler,
        "chain": [_step(step) for step in finding.chain],
        "related": [_step(step) for step in finding.related],
        "numbers": dict(finding.numbers),
        "fixable": bool(finding.edits),
        "scenario": finding.scenario,
        "fingerprint": finding.fingerprint,
    }


def _step(step: Step) -> dict[str, object]:
    return {"path": step.path, "line": step.line, "text": step.text}
