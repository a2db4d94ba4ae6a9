"""OUT601: Ray's idle reaper is turned off."""

from __future__ import annotations

import re
from collections.abc import Iterator

import libcst as cst

from outlive.lint import calls
from outlive.lint.flow import Flow
from outlive.lint.rule import Hit
from outlive.lint.tree import walk

_NAME = "kill_idle_workers_interval_ms"
_NAMES = {_NAME, f"RAY_{_NAME}"}
_IN_TEXT = re.compile(rf"""{_NAME}\\?["']?\s*[:=]\s*\\?["']?0(?![\d.])""")
_MESSAGE = f"{_NAME}=0 turns the idle reaper off: no idle worker is ever ended"


def check(flow: Flow) -> Iterator[Hit]:
    if _NAME not in flow.code:
        return
    for node in walk(flow.module):
        if _turns_off(node):
            yield Hit(node, _MESSAGE)


def _turns_off(node: cst.CSTNode) -> bool:
    if isinstance(node, cst.DictElement):
        return calls.text(node.key) in _NAMES and _is_zero(node.value)
    if isinstance(node, cst.Arg):
        return node.keyword is not None and node.keyword.value in _NAMES and _is_zero(node.value)
    if isinstance(node, cst.Call):  # os.environ.setdefault(name, "0"), os.putenv, monkeypatch.setenv
        return len(node.args) > 1 and calls.text(node.args[0].value) in _NAMES and _is_zero(node.args[1].value)
    if isinstance(node, cst.Assign):
        return _is_zero(node.value) and any(_indexes(target.target) for target in node.targets)
    return isinstance(node, cst.SimpleString) and bool(_IN_TEXT.search(node.value)) and node.prefix != "b"


def _indexes(target: cst.BaseExpression) -> bool:
    if not isinstance(target, cst.Subscript) or len(target.slice) != 1:
        return False
    index = target.slice[0].slice
    return isinstance(index, cst.Index) and calls.text(index.value) in _NAMES


def _is_zero(node: cst.BaseExpression) -> bool:
    if isinstance(node, cst.Call) and len(node.args) == 1:  # str(0)
        node = node.args[0].value
    return calls.integer(node) == 0 or calls.text(node) == "0"
