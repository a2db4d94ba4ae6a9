"""Assignments: to names, attributes and items, and into containers."""

from __future__ import annotations

from dataclasses import replace

import libcst as cst

from outlive.lint import calls
from outlive.lint.definitions import Class, Keeping, Setting
from outlive.lint.state import Evaluator, State
from outlive.lint.values import UNKNOWN, Kind, Value, carried, collection, item, mapping, merged


class Assignments:
    """Keeps track of what names, attributes and containers hold."""

    def __init__(self, state: State, evaluator: Evaluator) -> None:
        self._state, self._evaluator = state, evaluator

    def bind(self, target: cst.BaseExpression, value: Value) -> None:
        """Assign."""
        if isinstance(target, cst.Name):
            scope, old = self._state.scope, UNKNOWN
            if target.value in scope.globals:
                self._keep(target, target, value)
                old, _ = scope.find(target.value)
            scope.bind(target.value, merged([value, old]) if old.kind is value.kind else value)
            if scope.is_class and self._state.defined_class is not None:
                self._state.defined_class.attributes[target.value] = value
                self._state.defined_class.of_class.add(target.value)
        elif isinstance(target, cst.Tuple | cst.List):
            for index, part in enumerate(target.elements):
                starred = isinstance(part, cst.StarredElement)
                self.bind(part.value, replace(value, items=()) if starred else item(value, index))
        elif isinstance(target, cst.Attribute):
            self._bind_attribute(target, value)
        elif isinstance(target, cst.Subscript):
            self._bind_item(target, value)
        elif isinstance(target, cst.StarredElement):
            self.bind(target.value, UNKNOWN)

    def _bind_item(self, target: cst.Subscript, value: Value) -> None:
        container = self._evaluator.evaluate(target.value)
        for index_node in target.slice:
            self._evaluator.evaluate_parts(index_node)
        if container.symbol == "os.environ":
            function = self._state.scope.function
            function.settings += [Setting(target, name, len(function.calls)) for name in _keys(target, value)]
        self.add(target.value, container, value, target)

    def _bind_attribute(self, target: cst.Attribute, value: Value) -> None:
        base, name = self._evaluator.evaluate(target.value), target.attr.value
        if base.kind is Kind.INSTANCE and isinstance(base.definition, Class):
            self._remember(base.definition, name, value)
            base.definition.of_instance.add(name)
            self._note_stored(base, name, value, target)
        elif base.kind in {Kind.CLASS, Kind.SYMBOL, Kind.FUNCTION, Kind.TASK, Kind.ACTOR_CLASS}:
            self._keep(target, target, value)
            if isinstance(base.definition, Class):
                self._remember(base.definition, name, value)

    def _note_stored(self, base: Value, name: str, value: Value, where: cst.CSTNode) -> None:
        function = self._state.scope.function
        function.kept |= carried(value)
        if value.parameter and base.definition is function.owner:
            function.stored.setdefault(value.parameter, []).append((name, where))

    @staticmethod
    def _remember(made: Class, name: str, value: Value) -> None:
        made.attributes[name] = merged([made.attributes[name], value]) if name in made.attributes else value

    def _keep(self, where: cst.CSTNode, target: cst.BaseExpression, value: Value) -> None:
        if self._state.scope.function.node is not None and carried(value):
            self._state.scope.function.keepings.append(Keeping(where, self._state.module.code_for_node(target), value))

    def add(self, target: cst.BaseExpression, container: Value, added: Value, where: cst.CSTNode) -> None:
        """Put something into the container that `target` names."""
        grown = _grown(container, added, _keys(where, added), by_key=isinstance(where, cst.Subscript))
        if isinstance(target, cst.Name):
            _, scope = self._state.scope.find(target.value)
            if scope is not None and scope.parent is None and self._state.scope.function.node is not None:
                self._keep(where, target, collection([added]))
            if scope is not None and grown is not None:
                scope.names[target.value] = grown
        elif isinstance(target, cst.Attribute):
            self._add_to_attribute(target, grown, added, where)
        elif isinstance(target, cst.Subscript) and isinstance(target.value, cst.Name | cst.Attribute):
            self.add(target.value, self._state.values.get(target.value, UNKNOWN), collection([added]), where)

    def _add_to_attribute(self, target: cst.Attribute, grown: Value | None, added: Value, where: cst.CSTNode) -> None:
        base, name = self._evaluator.evaluate(target.value), target.attr.value
        made = base.definition if isinstance(base.definition, Class) else None
        if grown is not None and made is not None:
            made.attributes[name] = grown
        if base.kind is Kind.INSTANCE and made is not None:
            self._note_stored(base, name, added, where)
        if base.kind in {Kind.CLASS, Kind.SYMBOL} or (made is not None and made.shares(name)):
            self._keep(where, target, collection([added]))


def _grown(container: Value, added: Value, keys: frozenset[str], *, by_key: bool) -> Value | None:
    """The container with one more element; None if it is not known to be a container."""
    if container.kind is Kind.MAPPING:
        return replace(mapping(_parts(container, added)), is_list=False, keys=container.keys | keys)
    if container.kind is Kind.COLLECTION:
        return (
            container if by_key else replace(collection(_parts(container, added), is_list=container.is_list), items=())
        )
    return None


def _keys(where: cst.CSTNode, added: Value) -> frozenset[str]:
    """The key that `options["_owner"] = ...` adds, or `options.update(_owner=...)`."""
    if isinstance(where, cst.Call):
        return calls.keys(*where.args)
    index = where.slice[0].slice if isinstance(where, cst.Subscript) and len(where.slice) == 1 else None
    literal = calls.text(index.value) if isinstance(index, cst.Index) and added.kind is not Kind.NONE else None
    return frozenset() if literal is None else frozenset({literal})


def _parts(container: Value, added: Value) -> list[Value]:
    return [added] if container.inner is None else [added, container.inner]
