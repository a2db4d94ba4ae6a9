"""OUT202: a task passes on a ref that it was given, and does not wait until it has arrived."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from outlive.lint.definitions import Function
from outlive.lint.flow import Flow
from outlive.lint.rule import Hit
from outlive.lint.values import Kind, carried

_MAY_BE_GONE = "may be gone before the ref has arrived"


def check(flow: Flow) -> Iterator[Hit]:
    for function in flow.functions:
        if not function.is_task or function.owner is not None:
            continue
        own: set[cst.CSTNode] = {call.node for part in function.extent() for call in part.calls}
        for call in function.calls:
            if call.name != "remote" or call.node in flow.awaited:
                continue
            for argument in call.arguments:
                sites = carried(argument.value)
                if argument.value.kind is not Kind.REF and sites and not sites & (own | _captured(function)):
                    yield Hit(call.node, f"{function.name} passes on a ref that it was given, and {_MAY_BE_GONE}")
                    break


def _captured(function: Function) -> set[cst.CSTNode]:
    """The sites that did not come by a parameter."""
    return {site for capture in function.captures for site in carried(capture.value)}
