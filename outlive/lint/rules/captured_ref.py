"""OUT204: a task or actor uses a ref of the scope around it."""

from __future__ import annotations

from collections.abc import Iterator

from outlive.lint.definitions import Function
from outlive.lint.flow import Flow
from outlive.lint.rule import Hit


def check(flow: Flow) -> Iterator[Hit]:
    seen = set()
    for function in flow.functions:
        if not (function.is_task or (function.owner is not None and function.owner.is_actor)):
            continue
        for part in function.extent():
            for capture in part.captures:
                if (part, capture.node.value) not in seen and not _inside(part, function):
                    seen.add((part, capture.node.value))
                    yield Hit(
                        capture.node,
                        f"{capture.node.value!r} is a ref of the scope around {part.label}, and is pickled with it",
                    )


def _inside(part: Function, function: Function) -> bool:
    """Whether a function inside the task captures it: then the ref is the task's own."""
    return part is not function and part.nested
