"""OUT103: `ray.get` of an argument that Ray has fetched already."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from outlive.lint.definitions import Function
from outlive.lint.flow import Flow
from outlive.lint.rule import Hit
from outlive.lint.rules.stored_argument import called_method, passed
from outlive.lint.values import Kind, Value, carried


def check(flow: Flow) -> Iterator[Hit]:
    for function in flow.functions:
        for call in function.calls:
            method = called_method(flow, call)
            if method is None:
                continue
            for name, argument in passed(call, method):
                if argument.value.kind is Kind.REF and _is_value(argument.value) and _gets(method, name):
                    yield Hit(
                        argument.node,
                        f"{method.label} calls ray.get on {name!r}, but a ref that is itself an argument "
                        "arrives as its value",
                    )


def _is_value(value: Value) -> bool:
    """Whether the value of the ref is not a ref itself, as far as can be told."""
    inner = value.inner
    return inner is not None and inner.kind in {Kind.PLAIN, Kind.UNKNOWN, Kind.NONE} and not carried(inner)


def _gets(function: Function, parameter: str) -> bool:
    gets = False
    for call in function.calls:
        first = call.node.args[0].value if call.node.args else None
        if call.name == "isinstance" and isinstance(first, cst.Name) and first.value == parameter:
            return False
        if call.callee.symbol == "ray.get" and call.arguments and call.arguments[0].value.parameter == parameter:
            gets = gets or not call.tries
    return gets
