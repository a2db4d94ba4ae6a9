"""OUT203: a task keeps a ref where it stays after the task: a global, an attribute of a class, a cache."""

from __future__ import annotations

from collections.abc import Iterator

from outlive.lint.definitions import Function
from outlive.lint.flow import Flow
from outlive.lint.rule import Hit
from outlive.lint.values import Kind, carried

_CACHES = {"functools.lru_cache", "functools.cache"}


def check(flow: Flow) -> Iterator[Hit]:
    seen = set()
    for function in flow.functions:
        if not function.is_task or function.owner is not None:
            continue
        for part in function.extent():
            for keeping in part.keepings:
                if keeping.node not in seen:
                    seen.add(keeping.node)
                    yield Hit(keeping.node, f"{function.name} runs as a task, and leaves a ref in {keeping.where}")
            if part.node is not None and _cached(part) and carried(part.returned) and part.node not in seen:
                seen.add(part.node)
                yield Hit(part.node.name, f"{function.name} runs as a task, and {part.name} caches a ref for it")


def _cached(function: Function) -> bool:
    return any(decorator.kind is Kind.SYMBOL and decorator.symbol in _CACHES for decorator in function.decorators)
