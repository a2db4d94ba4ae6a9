"""What the walk over a module knows at a moment, and what its parts ask of each other."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod

import libcst as cst

from outlive.lint import calls
from outlive.lint.definitions import Class, Function, Loop
from outlive.lint.scopes import Scope
from outlive.lint.values import UNKNOWN, Kind, Value, symbol


class State(ABC):
    """The scope, the loops around, and what was found so far."""

    def __init__(self) -> None:
        self.scope = Scope(Function("", None))
        self.loops: tuple[Loop, ...] = ()
        self.tries = 0
        self.values: dict[cst.CSTNode, Value] = {}
        self.awaited: set[cst.CSTNode] = set()  # calls whose results somebody waits for
        self.assigned: dict[cst.CSTNode, str] = {}  # the name that an expression is bound to

    @abstractmethod
    def evaluate(self, node: cst.BaseExpression) -> Value:
        """What `node` may be; what happens in it is recorded."""

    @abstractmethod
    def bind(self, target: cst.BaseExpression, value: Value) -> None:
        """Assign."""

    @abstractmethod
    def add(self, target: cst.BaseExpression, container: Value, added: Value, where: cst.CSTNode) -> None:
        """Put something into the container that `target` names."""

    def attribute(self, base: Value, name: str) -> Value:
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
