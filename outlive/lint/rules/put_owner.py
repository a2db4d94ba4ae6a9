"""OUT101: `ray.put(_owner=...)`, which Ray 2.56 removed."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from outlive.lint import calls
from outlive.lint.definitions import Call
from outlive.lint.flow import Flow
from outlive.lint.rule import Hit
from outlive.lint.values import Kind


def check(flow: Flow) -> Iterator[Hit]:
    for function in flow.functions:
        for call in function.calls:
            given = calls.options(call.node)
            if not _puts(call):
                continue
            if call.callee.symbol == "ray.put" and call.positional(1) is not None:
                yield Hit(call.node, "ray.put takes one value; an owner behind it raises TypeError in every version")
            elif "_owner" not in given:
                if any(argument.node.star == "**" and "_owner" in argument.value.keys for argument in call.arguments):
                    yield Hit(call.node, "ray.put(**options) with _owner in it raises ValueError since Ray 2.56")
            elif calls.is_none(given["_owner"]):
                yield Hit(call.node, "ray.put(_owner=None) is ray.put without it", _without_owner(flow, call.node))
            else:
                yield Hit(call.node, "ray.put(_owner=...) raises ValueError since Ray 2.56")


def _puts(call: Call) -> bool:
    if call.callee.kind is Kind.SYMBOL:
        partial = call.callee.symbol == "functools.partial"
        first = call.positional(0) if partial else None
        return call.callee.symbol == "ray.put" or (first is not None and first.value.symbol == "ray.put")
    function = call.node.func  # self.ray.put: Ray itself as an attribute of an unknown object
    return (
        call.name == "put"
        and isinstance(function, cst.Attribute)
        and isinstance(function.value, cst.Attribute)
        and function.value.attr.value.lstrip("_") == "ray"
    )


def _without_owner(flow: Flow, node: cst.Call) -> str | None:
    kept = [part for part in node.args if part.keyword is None or part.keyword.value != "_owner"]
    if len(kept) == len(node.args) or not kept:
        return None
    if kept[-1] is not node.args[-1]:
        kept[-1] = kept[-1].with_changes(comma=node.args[-1].comma)
    node = node.with_changes(lpar=[], rpar=[])
    before, after = map(flow.module.code_for_node, (node, node.with_changes(args=kept)))
    return after if after.count("#") == before.count("#") else None  # a comment would be lost
