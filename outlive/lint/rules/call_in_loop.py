"""OUT402: a call and its `ray.get` in one loop, so that each call waits for the one before."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from outlive.lint.definitions import Call, Loop
from outlive.lint.flow import Flow
from outlive.lint.rule import Hit
from outlive.lint.scopes import names_in
from outlive.lint.tree import walk
from outlive.lint.values import Kind

_LEAVES = (cst.Break, cst.Return, cst.Yield, cst.Await)


def check(flow: Flow) -> Iterator[Hit]:
    for function in flow.functions:
        calls: dict[cst.BaseExpression, Call] = {call.node: call for call in function.calls}
        for call in function.calls:
            if call.callee.symbol != "ray.get" or len(call.node.args) != 1 or not call.loops:
                continue
            loop = call.loops[-1]
            called = calls.get(call.node.args[0].value)
            if called is None or called.name != "remote" or called.loops != call.loops or loop.target is None:
                continue
            if call.tries > loop.tries or _in_order(loop, called):
                continue
            names = set(names_in(loop.target))
            if _names(called.node.func) & names:
                yield Hit(call.node, "one call at a time: the next actor is called when this one has answered")
            elif called.base.kind is Kind.TASK and called.base.definition is not None and _given(called) & names:
                yield Hit(call.node, "one call at a time: the next task is submitted when this one has ended")


def _in_order(loop: Loop, called: Call) -> bool:
    """Whether each call needs the answer to the one before, or the loop ends, waits or passes it on in between."""
    body = loop.node.body if isinstance(loop.node, cst.For) else None
    if body is None:
        return isinstance(loop.node, cst.CompFor) and bool(loop.node.ifs)
    answers: set[str] = set()
    for node in walk(body, functions=False):
        if isinstance(node, _LEAVES) or (isinstance(node, cst.Call) and _last_name(node.func) == "sleep"):
            return True
        if isinstance(node, cst.Assign) and _gets(node.value):
            answers.update(name for target in node.targets for name in names_in(target.target))
            answers.update(_root(target.target) for target in node.targets)
        elif isinstance(node, cst.AugAssign):
            answers.update({_root(node.target)})
    return bool(_given(called) & answers)


def _gets(value: cst.BaseExpression) -> bool:
    return any(isinstance(node, cst.Call) and _last_name(node.func) == "get" for node in walk(value))


def _given(called: Call) -> set[str]:
    return {name for argument in called.node.args for name in _names(argument.value)}


def _names(node: cst.BaseExpression) -> set[str]:
    """The names in an expression, without names of attributes."""
    found = set()
    queue: list[cst.CSTNode] = [node]
    while queue:
        part = queue.pop()
        if isinstance(part, cst.Attribute):
            queue.append(part.value)
        elif isinstance(part, cst.Name):
            found.add(part.value)
        else:
            queue += [child for child in part.children if not isinstance(child, cst.BaseParenthesizableWhitespace)]
    return found


def _root(node: cst.BaseExpression) -> str:
    while isinstance(node, cst.Attribute | cst.Subscript):
        node = node.value
    return node.value if isinstance(node, cst.Name) else ""


def _last_name(node: cst.BaseExpression) -> str:
    return node.attr.value if isinstance(node, cst.Attribute) else getattr(node, "value", "")
