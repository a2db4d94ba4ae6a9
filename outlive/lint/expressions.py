"""The value of each expression of a module. `called` has the results of calls, and `flow` the walk over statements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import libcst as cst

from outlive.lint import calls
from outlive.lint.assignments import Assignments
from outlive.lint.called import Called
from outlive.lint.definitions import Argument, Call, Capture, Exit, Loop
from outlive.lint.scopes import Scope
from outlive.lint.state import State, attribute, name_of
from outlive.lint.tree import children
from outlive.lint.values import (
    NONE,
    PLAIN,
    UNKNOWN,
    Kind,
    Value,
    carried,
    collection,
    element,
    fetched,
    item,
    mapping,
    merged,
)


class Expressions:
    """Evaluates expressions in a scope."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.assignments = Assignments(state, self)
        self._called = Called(state, self.assignments)

    def evaluate(self, node: cst.BaseExpression) -> Value:
        """The possible value of `node`. The events in it are recorded."""
        method = getattr(self, f"_evaluate_{name_of(node)}", None)
        value: Value = method(node) if method else self.evaluate_parts(node)
        self._state.values[node] = value
        return value

    def evaluate_parts(self, node: cst.CSTNode) -> Value:
        """Evaluate all expressions in `node`; the result is unknown."""
        for part in children(node):
            if isinstance(part, cst.BaseExpression):
                self.evaluate(part)
            elif not isinstance(part, cst.BaseSuite):
                self.evaluate_parts(part)
        return UNKNOWN

    def _plain(self, node: cst.BaseExpression) -> Value:
        self.evaluate_parts(node)
        return PLAIN

    _evaluate_integer = _evaluate_float = _evaluate_imaginary = _evaluate_simple_string = _plain

    _evaluate_concatenated_string = _evaluate_formatted_string = _evaluate_comparison = _plain

    def _evaluate_name(self, node: cst.Name) -> Value:
        if node.value == "None":
            return NONE
        value, scope = self._state.scope.find(node.value)
        function = self._state.scope.function
        if scope is not None and scope.function is not function and not scope.is_class and carried(value):
            function.captures.append(Capture(node, value))
        return value

    def _evaluate_attribute(self, node: cst.Attribute) -> Value:
        return attribute(self.evaluate(node.value), node.attr.value)

    def _evaluate_call(self, node: cst.Call) -> Value:
        base, name = UNKNOWN, ""
        if isinstance(node.func, cst.Attribute):
            base, name = self.evaluate(node.func.value), node.func.attr.value
            callee = attribute(base, name)
            self._state.values[node.func] = callee
        else:
            callee = self.evaluate(node.func)
            name = node.func.value if isinstance(node.func, cst.Name) else ""
        arguments = [Argument(part, self.evaluate(part.value)) for part in node.args]
        state = self._state
        call = Call(node, callee, base, name, arguments, UNKNOWN, state.scope.function, state.loops, state.tries)
        call.result = self._called.result(call)
        state.scope.function.calls.append(call)
        return call.result

    def _evaluate_subscript(self, node: cst.Subscript) -> Value:
        base = self.evaluate(node.value)
        for part in node.slice:
            self.evaluate_parts(part)
        index = node.slice[0].slice if len(node.slice) == 1 else None
        if isinstance(index, cst.Slice):
            return replace(base, items=()) if base.kind is Kind.COLLECTION else UNKNOWN
        literal = calls.integer(index.value) if isinstance(index, cst.Index) else None
        return item(base, literal)

    def _evaluate_elements(self, elements: Sequence[cst.BaseElement], *, is_list: bool) -> Value:
        values = []
        for part in elements:
            value = self.evaluate(part.value)
            values.append(element(value) if isinstance(part, cst.StarredElement) else value)
        return collection(values, is_list=is_list)

    def _evaluate_list(self, node: cst.List) -> Value:
        return self._evaluate_elements(node.elements, is_list=True)

    def _evaluate_tuple(self, node: cst.Tuple) -> Value:
        return self._evaluate_elements(node.elements, is_list=False)

    def _evaluate_set(self, node: cst.Set) -> Value:
        return self._evaluate_elements(node.elements, is_list=False)

    def _evaluate_dict(self, node: cst.Dict) -> Value:
        values = []
        keys: frozenset[str] = frozenset()
        for part in node.elements:
            if isinstance(part, cst.DictElement):
                self.evaluate(part.key)
                keys |= calls.key(part.key, part.value)
            value = self.evaluate(part.value)
            keys |= value.keys if isinstance(part, cst.StarredDictElement) else frozenset()
            values.append(value if isinstance(part, cst.DictElement) else item(value, None))
        return replace(mapping(values), keys=keys)

    def _evaluate_if_exp(self, node: cst.IfExp) -> Value:
        self.evaluate(node.test)
        return merged([self.evaluate(node.body), self.evaluate(node.orelse)])

    def _evaluate_boolean_operation(self, node: cst.BooleanOperation) -> Value:
        return merged([self.evaluate(node.left), self.evaluate(node.right)])

    def _evaluate_binary_operation(self, node: cst.BinaryOperation) -> Value:
        left, right = self.evaluate(node.left), self.evaluate(node.right)
        if left.kind is Kind.COLLECTION and isinstance(node.operator, cst.Multiply):
            return replace(left, items=())
        if left.kind is right.kind is Kind.COLLECTION:
            return replace(merged([left, right]), items=())
        return PLAIN if left.kind is right.kind is Kind.PLAIN else UNKNOWN

    def _evaluate_named_expr(self, node: cst.NamedExpr) -> Value:
        value = self.evaluate(node.value)
        self.assignments.bind(node.target, value)
        return value

    def _evaluate_await(self, node: cst.Await) -> Value:
        value = self.evaluate(node.expression)
        self._state.awaited |= value.sites
        return fetched(value)

    def _evaluate_yield(self, node: cst.Yield) -> Value:
        if node.value is not None:
            part = node.value.item if isinstance(node.value, cst.From) else node.value
            value = self.evaluate(part)
            self._state.awaited |= value.sites
            self._state.scope.function.exits.append(Exit(node, value))
        return UNKNOWN

    def _evaluate_lambda(self, node: cst.Lambda) -> Value:
        parameters = node.params
        for parameter in (*parameters.params, *parameters.kwonly_params, *parameters.posonly_params):
            if parameter.default is not None:
                self.evaluate(parameter.default)
        outer, self._state.scope = self._state.scope, Scope(self._state.scope.function, self._state.scope)
        for parameter in (*parameters.params, *parameters.kwonly_params, *parameters.posonly_params):
            self._state.scope.names[parameter.name.value] = UNKNOWN
        self.evaluate(node.body)
        self._state.scope = outer
        return UNKNOWN

    def _comprehension(self, node: cst.BaseComp) -> tuple[Value, Value]:
        """The values of the element (or of key and value)."""
        outer, loops = self._state.scope, self._state.loops
        self._state.scope = Scope(outer.function, outer)
        clause: cst.CompFor | None = node.for_in
        while clause is not None:
            value = self.evaluate(clause.iter)
            self._state.loops += (Loop(clause, clause.target, clause.iter, value, self._state.tries),)
            self.assignments.bind(clause.target, UNKNOWN if clause.asynchronous else element(value))
            for condition in clause.ifs:
                self.evaluate(condition.test)
            clause = clause.inner_for_in
        if isinstance(node, cst.DictComp):
            result = self.evaluate(node.key), self.evaluate(node.value)
        else:
            assert isinstance(node, cst.BaseSimpleComp)
            result = UNKNOWN, self.evaluate(node.elt)
        self._state.scope, self._state.loops = outer, loops
        return result

    def _evaluate_list_comp(self, node: cst.ListComp) -> Value:
        return replace(collection([self._comprehension(node)[1]], is_list=True), items=())

    def _evaluate_set_comp(self, node: cst.SetComp) -> Value:
        return replace(collection([self._comprehension(node)[1]]), items=())

    _evaluate_generator_exp = _evaluate_set_comp

    def _evaluate_dict_comp(self, node: cst.DictComp) -> Value:
        return mapping([self._comprehension(node)[1]])
