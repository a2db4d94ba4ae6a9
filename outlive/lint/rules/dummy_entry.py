"""OUT501: a store entry is constructed with dummy data, just to read the stored data."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from outlive.lint import calls
from outlive.lint.definitions import Argument, Call, Class, Function
from outlive.lint.flow import Flow
from outlive.lint.rule import Hit
from outlive.lint.tree import walk
from outlive.lint.values import Kind

_OURS = {"outlive.NumpyStore", "outlive.store.numpy_store.NumpyStore"}
_EMPTY_MAKERS = {"empty", "empty_like"}
_ZERO_SIZE_MAKERS = {"empty", "zeros", "ones", "array", "asarray", "ndarray", "full"}
_READS = ("retrieve", "get", "read", "load", "fetch", "value")
_FACTS = {"key", "shape", "size", "ndim", "dtype", "handle", "close"}  # of an entry: these store nothing
_LOOKS = {"len", "print", "repr", "str"}


def check(flow: Flow) -> Iterator[Hit]:
    for function in flow.functions:
        for call in function.calls:
            data = _data(call)
            if data is None or not (_is_nothing(data.node.value) or _is_uninitialised(data)):
                continue
            if _is_only_read(flow, call):
                message = (
                    "a store entry made of dummy data just to read it: this overwrites what is stored under the key"
                )
                yield Hit(call.node, message, _opened(flow, call, data))


def _data(call: Call) -> Argument | None:
    """The argument that this constructor stores."""
    if call.callee.kind is Kind.SYMBOL and call.callee.symbol in _OURS:
        return call.argument("data") or call.positional(0)
    made = call.callee.definition
    if call.callee.kind is Kind.CLASS and isinstance(made, Class) and not made.is_actor:
        init = made.methods.get("__init__")
        return next((a for a in call.arguments if a.parameter and init and _stores(init, a.parameter)), None)
    named = call.name.endswith("Store") and call.callee.kind in {Kind.SYMBOL, Kind.UNKNOWN}
    first = call.positional(0)
    return first if named and first is not None and len(call.arguments) > 1 and _is_nothing(first.node.value) else None


def _stores(function: Function, parameter: str) -> bool:
    """Whether it puts this parameter, or sends it to an actor."""
    for call in function.calls:
        if call.callee.symbol == "ray.put" or call.name in {"remote", "put"}:
            for argument in call.arguments:
                if argument.value.parameter == parameter:
                    return True
    return False


def _is_nothing(node: cst.BaseExpression) -> bool:
    """Whether it is dummy data: `None`, `[]`, `np.empty(0)`, `np.array([])`."""
    if calls.is_none(node):
        return True
    if isinstance(node, cst.List | cst.Tuple):
        return not node.elements
    if not isinstance(node, cst.Call) or not node.args or _last_name(node.func) not in _ZERO_SIZE_MAKERS:
        return False
    size = node.args[0].value
    if _last_name(node.func) in {"array", "asarray"}:
        return isinstance(size, cst.List | cst.Tuple) and not size.elements
    if isinstance(size, cst.Tuple | cst.List):
        return any(calls.integer(part.value) == 0 for part in size.elements)
    return calls.integer(size) == 0


def _is_uninitialised(argument: Argument) -> bool:
    node = argument.node.value
    return isinstance(node, cst.Call) and _last_name(node.func) in _EMPTY_MAKERS


def _last_name(node: cst.BaseExpression) -> str:
    if isinstance(node, cst.Attribute):
        return node.attr.value
    return node.value if isinstance(node, cst.Name) else ""


def _is_only_read(flow: Flow, call: Call) -> bool:
    """Whether the entry is read, and nothing else is done with it anywhere that might store real data under its key."""
    nodes = {node for node, value in flow.values.items() if call.node in value.entries}
    reads = False
    for node in walk(flow.module):
        if isinstance(node, cst.Assign | cst.AnnAssign | cst.NamedExpr) and _is_named(node):
            nodes.discard(node.value)
        elif isinstance(node, cst.IfExp):
            nodes -= {node.body, node.orelse}
        elif isinstance(node, cst.Attribute) and node.value in nodes and _only_looks(flow, node):
            nodes.discard(node.value)
            reads |= node.attr.value.startswith(_READS)
        elif isinstance(node, cst.Call) and isinstance(node.func, cst.Name) and node.func.value in _LOOKS:
            nodes -= {argument.value for argument in node.args}
    return reads and not nodes


def _is_named(node: cst.Assign | cst.AnnAssign | cst.NamedExpr) -> bool:
    """Whether names alone get the value: what is done with these is seen."""
    targets = [part.target for part in node.targets] if isinstance(node, cst.Assign) else [node.target]
    return all(isinstance(target, cst.Name) for target in targets)


def _only_looks(flow: Flow, node: cst.Attribute) -> bool:
    """Whether this attribute is a method that reads, or a property that is read."""
    if node not in flow.values:  # it is assigned to
        return False
    return node.attr.value.startswith(_READS) or node.attr.value in _FACTS


def _opened(flow: Flow, call: Call, data: Argument) -> str | None:
    if call.callee.symbol not in _OURS or _has_comment(flow, call.node):
        return None
    rest = [argument.node for argument in call.arguments if argument is not data]
    if not rest or any(part.star for part in rest):
        return None
    return flow.module.code_for_node(
        call.node.with_changes(
            func=cst.Attribute(call.node.func, cst.Name("open")),
            args=[*rest[:-1], rest[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)],
            lpar=[],
            rpar=[],
        )
    )


def _has_comment(flow: Flow, node: cst.CSTNode) -> bool:
    return "#" in flow.module.code_for_node(node)
