"""OUT303: a detached actor keeps refs of a process that ends before it."""

from __future__ import annotations

from collections.abc import Iterator

from outlive.lint.flow import Flow
from outlive.lint.rule import Hit
from outlive.lint.rules.detached_actor import created
from outlive.lint.rules.stored_argument import called_method, passed
from outlive.lint.values import Kind, carried


def check(flow: Flow) -> Iterator[Hit]:
    detached = {call.base.definition for call, _ in created(flow)}
    for function in flow.functions:
        if function.owner in detached:  # its own refs live as long as it does
            continue
        for call in function.calls:
            method = called_method(flow, call)
            if method is None or method.owner is None or method.owner not in detached:
                continue
            for name, argument in passed(call, method):
                sites = carried(argument.value)
                if argument.value.kind is not Kind.REF and sites and (sites & method.kept or name in method.stored):
                    who = "task" if function.is_task else "actor" if function.owner else "driver"
                    yield Hit(argument.node, f"{method.label} keeps refs that this {who} owns, and outlives it")
