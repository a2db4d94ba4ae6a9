"""The state of the walk over a module. All its parts share one `State`."""

from __future__ import annotations

import re
from typing import Protocol

import libcst as cst

from outlive.lint import calls
from outlive.lint.definitions import Class, Loop
from outlive.lint.scopes import Scope
from outlive.lint.values import UNKNOWN, Kind, Value, symbol


class State:
    """The position of the walk (scope, loops, class), and its results so far in this pass."""

    def __init__(self, module: cst.Module, scope: Scope) -> None:
        self.module = module
        self.scope = scope
        self.loops: tuple[Loop, ...] = ()  # the loops around the present node, innermost last
        self.tries = 0  # `try` statements with handlers around it
        self.defined_class: Class | None = None  # the class whose body this is
        self.values: dict[cst.CSTNode, Value] = {}
        self.awaited: set[cst.CSTNode] = set()  # calls whose results the program waits for
        self.assigned: dict[cst.CSTNode, str] = {}  # the name that an expression is bound to


class Evaluator(Protocol):
    """Evaluates expressions. Expressions may assign, and assignments evaluate: so assignments are handed this."""

    def evaluate(self, node: cst.BaseExpression) -> Value:
        """The possible value of `node`. The events in it are recorded."""

    def evaluate_parts(self, node: cst.CSTNode) -> Value:
        """Evaluate all expressions in `node`; the result is unknown."""


def attribute(base: Value, name: str) -> Value:
    """The value of `base.name`."""
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
