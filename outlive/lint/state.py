"""What the walk over a module knows at a moment. All its parts share one `State`."""

from __future__ import annotations

import re
from typing import Protocol

import libcst as cst

from outlive.lint import calls
from outlive.lint.definitions import Class, Loop
from outlive.lint.scopes import Scope
from outlive.lint.values import UNKNOWN, Kind, Value, symbol


class State:
    """Where the walk is (scope, loops, class), and what it has found so far in this pass."""

    def __init__(self, module: cst.Module, scope: Scope) -> None:
        self.module = module
        self.scope = scope
        self.loops: tuple[Loop, ...] = ()  # around what is evaluated, innermost last
        self.tries = 0  # `try` statements with handlers around it
        self.defined_class: Class | None = None  # whose body this is
        self.values: dict[cst.CSTNode, Value] = {}
        self.awaited: set[cst.CSTNode] = set()  # calls whose results somebody waits for
        self.assigned: dict[cst.CSTNode, str] = {}  # the name that an expression is bound to


class Evaluator(Protocol):
    """Evaluates expressions. An assignment needs it, and an expression may assign: so assignments are handed it."""

    def evaluate(self, node: cst.BaseExpression) -> Value:
        """What `node` may be; what happens in it is recorded."""

    def evaluate_parts(self, node: cst.CSTNode) -> Value:
        """Evaluate all expressions in `node`; the result is unknown."""


def attribute(base: Value, name: str) -> Value:
    """What `base.name` is."""
    if base.kind is Kind.SYMBOL:
        return symbol(calls.canonical(f"{base.symbol}.{name}"))
    if isinstance(base.definition, Class):
        method = base.definition.methods.get(name)
        if base.kind is Kind.ACTOR and method is not None:
            return Value(Kind.ACTOR_METHOD, definition=method)
        if base.kind in {Kind.INSTANCE, Kind.CLASS}:
            if name in base.definition.attributes:
                return base.definition.attributes[name]
            if method is not None:
                return Value(Kind.FUNCTION, definition=method)
    return UNKNOWN


_words = re.compile(r"(?<!^)(?=[A-Z])")
_names: dict[type, str] = {}


def name_of(node: cst.CSTNode) -> str:
    """`list_comp` for a `ListComp`."""
    kind = type(node)
    if kind not in _names:
        _names[kind] = _words.sub("_", kind.__name__).lower()
    return _names[kind]
