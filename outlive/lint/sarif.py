"""Findings as SARIF 2.1.0, which code hosts show next to the source.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from outlive.lint.finding import Failure, Finding
from outlive.lint.pages import page
from outlive.lint.rules import RULES
from outlive.lint.run import Report

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def document(report: Report, version: str) -> dict[str, Any]:
    """The log of one run."""
    codes = list(RULES)
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {"name": "outlive lint", "version": version, "rules": [_rule(code) for code in codes]}
                },
                "columnKind": "unicodeCodePoints",
                "invocations": [
                    {
                        "executionSuccessful": not report.failures,
                        "exitCode": report.exit_code,
                        "toolExecutionNotifications": [_notification(failure) for failure in report.failures],
                    }
                ],
                "results": [_result(finding, codes.index(finding.code)) for finding in report.findings],
            }
        ],
    }


def _rule(code: str) -> dict[str, Any]:
    rule = RULES[code]
    return {
        "id": code,
        "name": rule.name,
        "shortDescription": {"text": rule.why},
        "help": {"text": rule.fix, "markdown": page(code, elsewhere=True)},
        "defaultConfiguration": {"level": "warning"},
    }


def _location(path: str, region: dict[str, int] | None) -> dict[str, Any]:
    if path == "-":
        uri = "stdin"
    else:
        absolute = Path(os.path.abspath(path))
        here = Path.cwd()
        uri = quote(absolute.relative_to(here).as_posix()) if absolute.is_relative_to(here) else absolute.as_uri()
    where: dict[str, Any] = {"artifactLocation": {"uri": uri}}
    return {"physicalLocation": where if region is None else {**where, "region": region}}


def _result(finding: Finding, index: int) -> dict[str, Any]:
    region = {
        "startLine": finding.line,
        "startColumn": finding.column,
        "endLine": finding.end_line,
        "endColumn": finding.end_column,
    }
    return {
        "ruleId": finding.code,
        "ruleIndex": index,
        "level": "warning",
        "message": {"text": f"{finding.message}. {finding.why} Fix: {finding.fix}"},
        "locations": [_location(finding.path, region)],
    }


def _notification(failure: Failure) -> dict[str, Any]:
    region = {"startLine": failure.line, "startColumn": failure.column} if failure.line else None
    return {
        "level": "error",
        "message": {"text": failure.message},
        "locations": [_location(failure.path, region)],
    }
