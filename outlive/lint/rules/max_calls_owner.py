"""OUT201: a task with `max_calls` hands out refs that its worker owns."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from outlive.lint import calls
from outlive.lint.definitions import Function
from outlive.lint.flow import Flow
from outlive.lint.rule import Hit
from outlive.lint.values import Kind, carried


def check(flow: Flow) -> Iterator[Hit]:
    for function in flow.functions:
        leaves = limit(function)
        if leaves is None:
            continue
        made = {call.node: call for part in function.extent() for call in part.calls}

        for exit_ in function.exits:
            if carried(exit_.value) & made.keys():
                yield Hit(exit_.node, _message(function, leaves, "hands out"))
        for call in made.values():
            if call.name == "remote" and any(
                carried(argument.value) & made.keys() and argument.value.kind is not Kind.REF
                for argument in call.arguments
            ):
                yield Hit(call.node, _message(function, leaves, "passes on"))


def limit(function: Function) -> str | None:
    """The reason why its worker will leave: `max_calls=2`."""
    if function.options is None or function.owner is not None:
        return None
    limit = function.options.get("max_calls")
    if limit is not None:
        return None if calls.integer(limit) == 0 or calls.is_none(limit) else "max_calls"
    gpus = function.options.get("num_gpus")
    if gpus is None or calls.is_none(gpus) or calls.integer(gpus) == 0:
        return None
    return "num_gpus, which implies max_calls=1" if isinstance(gpus, cst.Integer | cst.Float) else None


def _message(function: Function, limit: str, does: str) -> str:
    return (
        f"{function.name} ({limit}) {does} a ref that its own worker owns; the worker cannot leave while the ref lives"
    )
