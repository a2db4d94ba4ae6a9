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
_LEAVES = frozenset({cst.Name, cst.Integer, cst.Float, cst.Imaginary, cst.SimpleString})
_SCOPES = frozenset({cst.FunctionDef, cst.ClassDef, cst.Lambda})
_parts: dict[type, tuple[str, ...]] = {}
_nodes: dict[type, bool] = {}  # cached isinstance(..., cst.CSTNode): an abstract class makes that slow


def children(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """The nodes right below `node`, in the order of its fields."""
    kind = type(node)
    names = _parts.get(kind)
    if names is None:
        names = tuple(field.name for field in fields(node) if not field.name.startswith(_LAYOUT))
        _parts[kind] = names
    for name in names:
        value = getattr(node, name)
        if _is_node(value):
            yield value
        elif type(value) in {list, tuple}:
            for part in value:
                if _is_node(part):
                    yield part


def _is_node(value: object) -> bool:
    kind = type(value)
    known = _nodes.get(kind)
    if known is None:
        known = _nodes[kind] = issubclass(kind, cst.CSTNode)
    return known


def walk(node: cst.CSTNode, *, functions: bool = True) -> Iterator[cst.CSTNode]:
    """`node` and all nodes below it. `functions=False`: without the inside of other functions, classes and lambdas."""
    queue = [node]
    while queue:
        current = queue.pop()
        yield current
        if type(current) in _LEAVES:
            continue
        if not functions and current is not node and type(current) in _SCOPES:
            continue
        queue.extend(children(current))
