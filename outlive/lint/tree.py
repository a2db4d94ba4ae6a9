"""The children of a LibCST node, without whitespace and punctuation. Much faster than `node.children` and visitors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

import libcst as cst

_LAYOUT = (
    "whitespace",
    "comma",
    "lpar",
    "rpar",
    "lbra",
    "rbra",
    "semicolon",
    "leading_lines",
    "lines_after",
    "header",
    "footer",
)
_LEAVES = (cst.Name, cst.BaseNumber, cst.SimpleString)
_parts: dict[type, tuple[str, ...]] = {}


def children(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """The nodes right below `node`, in the order of its fields."""
    kind = type(node)
    names = _parts.get(kind)
    if names is None:
        names = tuple(field.name for field in fields(node) if not field.name.startswith(_LAYOUT))
        _parts[kind] = names
    for name in names:
        value = getattr(node, name)
        if isinstance(value, cst.CSTNode):
            yield value
        elif type(value) in {list, tuple}:
            for part in value:
                if isinstance(part, cst.CSTNode):
                    yield part


def walk(node: cst.CSTNode, *, functions: bool = True) -> Iterator[cst.CSTNode]:
    """`node` and all nodes below it. `functions=False`: not what is inside other functions, classes and lambdas."""
    queue = [node]
    while queue:
        current = queue.pop()
        yield current
        if isinstance(current, _LEAVES):
            continue
        if not functions and current is not node and isinstance(current, cst.FunctionDef | cst.ClassDef | cst.Lambda):
            continue
        queue.extend(children(current))
