"""SARIF 2.1.0: rules with help, results with fingerprints, code flows (chains), related locations (templates)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from warmline_toolkit import __version__
from warmline_toolkit.audit.rules import all_rules

if TYPE_CHECKING:
    from warmline_toolkit.audit.engine import Report
    from warmline_toolkit.audit.finding import Finding, Rule
    from warmline_toolkit.audit.reach import Step

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def render_sarif(report: Report) -> str:
    """Return the report as a SARIF 2.1.0 log with one run."""
    used = {finding.code for finding in report.findings}
    rules = [rule for rule in all_rules() if rule.code in used]
    indexes = {rule.code: index for index, rule in enumerate(rules)}
    log = {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "warmline audit",
                        "version": __version__,
                        "semanticVersion": __version__,
                        "rules": [_rule(rule) for rule in rules],
                    }
                },
                "columnKind": "utf16CodeUnits",
                "originalUriBaseIds": {
                    "ROOT": {"description": {"text": f"The audited folder, {Path(report.root).name or '.'}"}}
                },
                "invocations": [
                    {
                        "executionSuccessful": True,
                        "toolExecutionNotifications": [
                            {
                                "level": "warning",
                                "message": {"text": f"{item.path} was skipped: {item.reason}"},
                                "locations": [{"physicalLocation": _physical(item.path, item.line)}],
                            }
                            for item in report.unreadable
                        ],
                    }
                ],
                "results": [_result(finding, indexes) for finding in report.findings],
            }
        ],
    }
    return json.dumps(log, indent=2, ensure_ascii=False)


def _rule(rule: Rule) -> dict[str, object]:
    return {
        "id": rule.code,
        "name": "".join(part.capitalize() for part in rule.slug.split("-")),
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.finds},
        "help": {"text": f"{rule.why}\n\n{rule.fix}", "markdown": f"{rule.why}\n\n**Fix.** {rule.fix}"},
        "defaultConfiguration": {"level": rule.severity.value},
        "properties": {"tags": ["aws-lambda", "database", "reliability"]},
    }


def _result(finding: Finding, indexes: dict[str, int]) -> dict[str, object]:
    result: dict[str, object] = {
        "ruleId": finding.code,
        "ruleIndex": indexes[finding.code],
        "level": finding.severity.value,
        "message": {"text": f"{finding.message} Fix: {finding.fix}"},
        "locations": [{"physicalLocation": _physical(finding.path, finding.line, finding.column)}],
        "partialFingerprints": {"warmlineFinding/v1": finding.fingerprint},
    }
    if finding.chain:
        result["codeFlows"] = [
            {
                "message": {"text": "From the handler to the finding."},
                "threadFlows": [{"locations": [_flow(step) for step in finding.chain]}],
            }
        ]
    if finding.related:
        result["relatedLocations"] = [
            {"id": index, "physicalLocation": _physical(step.path, step.line), "message": {"text": step.text}}
            for index, step in enumerate(finding.related, start=1)
        ]
    if finding.numbers:
        result["properties"] = {"numbers": dict(finding.numbers)}
    return result


def _flow(step: Step) -> dict[str, object]:
    return {"location": {"physicalLocation": _physical(step.path, step.line), "message": {"text": step.text}}}


def _physical(path: str, line: int, column: int = 1) -> dict[str, object]:
    return {
        "artifactLocation": {"uri": quote(path), "uriBaseId": "ROOT"},
        "region": {"startLine": max(1, line), "startColumn": max(1, column)},
    }
