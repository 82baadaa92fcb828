"""The SARIF output against OASIS's published schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import pytest
from warmline_toolkit.audit.render.sarif import render_sarif
from warmline_toolkit.audit.rules import all_rules

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from warmline_toolkit.audit.engine import Report

SCHEMA = json.loads((Path(__file__).parent / "data" / "sarif-schema-2.1.0.json").read_text(encoding="utf-8"))


def test_the_log_of_every_rules_bad_examples_is_valid_sarif(audited: Callable[[Mapping[str, str]], Report]) -> None:
    files = {
        f"{rule.code}-{number} with space/{name}": text
        for rule in all_rules()
        for number, example in enumerate(rule.bad)
        for name, text in example.files.items()
    }
    report = audited(files | {"broken.py": "import pymysql\ndef f(:\n"})
    log = json.loads(render_sarif(report))
    jsonschema.Draft4Validator(SCHEMA).validate(log)
    [run] = log["runs"]
    assert {result["ruleId"] for result in run["results"]} == {rule.code for rule in all_rules()}
    assert len(run["results"]) == len(report.findings)
    [notification] = run["invocations"][0]["toolExecutionNotifications"]
    assert "broken.py" in notification["message"]["text"]


def test_a_code_flow_leads_from_the_handler_to_the_finding_across_files(
    audited: Callable[[Mapping[str, str]], Report],
) -> None:
    report = audited(
        {
            "app.py": "from store import users\n\n\ndef lambda_handler(event, context):\n    return users()\n",
            "store.py": "import pymysql as db\n\n\ndef users():\n    return db.connect(host='x').cursor()\n",
        }
    )
    [result] = json.loads(render_sarif(report))["runs"][0]["results"]
    locations = [
        (
            item["location"]["physicalLocation"]["artifactLocation"]["uri"],
            item["location"]["physicalLocation"]["region"]["startLine"],
        )
        for item in result["codeFlows"][0]["threadFlows"][0]["locations"]
    ]
    assert locations == [("app.py", 4), ("app.py", 5), ("store.py", 4), ("store.py", 5)]
    assert result["locations"][0]["physicalLocation"]["region"]["startLine"] == 5


def test_the_schema_refuses_a_log_without_rules_results_in_place() -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft4Validator(SCHEMA).validate({"version": "2.1.0", "runs": [{"results": [{}]}]})
