"""Scopes: the values of names."""

from __future__ import annotations

from dataclasses import dataclass, field

import libcst as cst

from outlive.lint.definitions import Function
from outlive.lint.tree import walk
from outlive.lint.values import UNKNOWN, Value, merged


@dataclass(eq=False)
class Scope:
    """The names of a module, function, class body or comprehension."""

    function: Function
    parent: Scope | None = None
    is_class: bool = False
    names: dict[str, Value] = field(default_factory=dict)
    # names that this function binds somewhere, so they are never those of an outer scope
    own: frozenset[str] = frozenset()
    globals: set[str] = field(default_factory=set)

    def module(self) -> Scope:
        return self if self.parent is None else self.parent.module()

    def find(self, name: str) -> tuple[Value, Scope | None]:
        """The value, and the scope that has the name; unknown and None if no scope has it."""
        if name in self.globals:
            module = self.module()
            return module.names.get(name, UNKNOWN), module
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names and (not scope.is_class or scope is self):
                return scope.names[name], scope
            if name in scope.own:
                return UNKNOWN, scope
            scope = scope.parent
        return UNKNOWN, None

    def bind(self, name: str, value: Value) -> None:
        scope = self.module() if name in self.globals else self
        scope.names[name] = value

    def snapshot(self) -> dict[str, Value]:
        return dict(self.names)

    def join(self, *branches: dict[str, Value]) -> None:
        """Continue with the merged values of the branches. A name that only some of them bind has their value."""
        self.names = {
            name: merged([branch[name] for branch in branches if name in branch])
            for name in dict.fromkeys(name for branch in branches for name in branch)
        }


def names_in(target: cst.BaseExpression) -> list[str]:
    """The names that an assignment to `target` binds."""
    if isinstance(target, cst.Name):
        return [target.value]
    if isinstance(target, cst.Tuple | cst.List):
        return [name for part in target.elements for name in names_in(part.value)]
    if isinstance(target, cst.StarredElement):
        return names_in(target.value)
    return []


_BINDING = frozenset(
    {
        *(cst.FunctionDef, cst.ClassDef, cst.AssignTarget, cst.AnnAssign, cst.AugAssign, cst.NamedExpr, cst.For),
        *(cst.AsName, cst.ImportAlias, cst.NameItem),
    }
)


def bound_in(body: cst.BaseSuite) -> frozenset[str]:
    """The names that a function with this body binds, without its parameters."""
    names: set[str] = set()
    outer: set[str] = set()
    for node in walk(body, functions=False):
        if type(node) not in _BINDING:
            continue
        if isinstance(node, cst.FunctionDef | cst.ClassDef):
            names.add(node.name.value)
        elif isinstance(node, cst.AssignTarget | cst.AnnAssign | cst.AugAssign | cst.NamedExpr | cst.For):
            names.update(names_in(node.target))
        elif isinstance(node, cst.AsName):
            names.update(names_in(node.name))
        elif isinstance(node, cst.ImportAlias) and node.asname is None:
            name: cst.BaseExpression = node.name
            while isinstance(name, cst.Attribute):
                name = name.value
            names.update(names_in(name))
        elif isinstance(node, cst.NameItem):  # of `global` and `nonlocal`
            outer.add(node.name.value)
    return frozenset(names - outer)
