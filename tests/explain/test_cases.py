"""Every message of `cases/` is explained as it must be; the table in docs/explain.md says how many of which kind."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from outlive import explain
from tests.explain.messages import MESSAGES, Message

DOCS = Path(__file__).parents[2] / "docs/explain.md"
TITLES = {
    "memory": "too little memory or disk",
    "nodes": "nodes, raylets, GCS, autoscaler",
    "objects": "objects, values, exceptions",
    "plain": "the plainest of each family",
    "processes": "processes: actors and workers that ended or did not start",
    "shared": "a first collection of all kinds",
}


def fault(message: Message) -> str:
    """What is wrong with the answer; "" if nothing is."""
    reading = explain.read(message.text)
    found = {one.variant: one for one in reading.explanations}
    if message.variant == "-":
        return "" if not found and not reading.unexplained else f"found {sorted(found)}"
    if message.variant.startswith("?"):
        return "" if message.variant[1:] in reading.unexplained else "not counted as unexplained"
    if message.variant not in found:
        return f"found {sorted(found)}"
    causes = found[message.variant].causes
    supported = [cause for cause in causes if cause.evidence and not cause.ruled_out]
    if message.first_cause == "-":
        certain = [cause.text for cause in supported if not all(each.startswith("the id ") for each in cause.evidence)]
        return f"evidence for {certain}" if certain else ""
    if message.first_cause == "*":
        return ""
    if message.first_cause not in causes[0].text or not causes[0].evidence:
        return f"first cause: {causes[0]}"
    return "" if message.evidence in "\n".join(causes[0].evidence) else f"evidence: {causes[0].evidence}"


@pytest.mark.parametrize("name", MESSAGES)
def test_case(name):
    assert fault(MESSAGES[name]) == ""


def test_the_table_in_the_documentation():
    cases = Counter(message.kind for message in MESSAGES.values())
    passed = Counter(message.kind for message in MESSAGES.values() if not fault(message))
    rows = [f"| {TITLES[kind]} | {cases[kind]} | {passed[kind]} |" for kind in sorted(cases, key=TITLES.__getitem__)]
    rows.append(f"| all | {sum(cases.values())} | {sum(passed.values())} |")
    assert "\n".join(rows) in DOCS.read_text(), "docs/explain.md, How well: it must be\n" + "\n".join(rows)
