"""The walk over a module: statements in order, branches joined, functions after the code around them.

It makes three passes. In the later ones, the arguments of every function and the results of the functions that it calls
are known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import libcst as cst

from outlive.lint.annotations import annotated
from outlive.lint.called import made_remote
from outlive.lint.definitions import Capture, Class, Exit, Function, Loop
from outlive.lint.expressions import Expressions
from outlive.lint.scopes import Scope, bound_in
from outlive.lint.state import State, attribute, name_of
from outlive.lint.tree import children, walk
from outlive.lint.values import (
    NONE,
    UNKNOWN,
    Kind,
    Value,
    carried,
    element,
    item,
    merged,
    symbol,
)

_MODULE = "<module>"
_STAR = ("put", "get", "wait", "remote", "get_actor", "init")  # the names that `from ray import *` binds


class Flow:
    """All that happens in a module. `functions[0]` is the module itself."""

    def __init__(self, module: cst.Module, code: str) -> None:
        self.module, self.code = module, code
        self.functions: list[Function] = [Function(_MODULE, None)]
        self.classes: list[Class] = []
        self._defined: dict[cst.CSTNode, Function | Class] = {}
        self._later: list[Callable[[], None]] = []
        for _ in range(3):
            self._pass_over()
        self.values, self.awaited, self.assigned = self._state.values, self._state.awaited, self._state.assigned

    def _pass_over(self) -> None:
        for function in self.functions:
            function.forget()
        self._received = {function: function.received for function in self.functions}
        for function in self.functions:
            function.received = {}
        self._state = State(self.module, Scope(self.functions[0]))
        self._expressions = Expressions(self._state)
        self._assignments = self._expressions.assignments
        self._statements(self.module.body)
        self._run_later(0)
        for function in self.functions:
            function.returned = merged([exit_.value for exit_ in function.exits]) if function.exits else NONE

    def _run_later(self, start: int) -> None:
        while len(self._later) > start:
            self._later.pop(start)()

    def _statements(self, body: Sequence[cst.CSTNode]) -> None:
        for statement in body:
            self._statement(statement)

    def _suite(self, suite: cst.BaseSuite) -> None:
        self._statements(suite.body)

    def _statement(self, node: cst.CSTNode) -> None:
        if isinstance(node, cst.SimpleStatementLine):
            self._statements(node.body)
            return
        kind = "small" if isinstance(node, cst.BaseSmallStatement) else "statement"
        method = getattr(self, f"_{kind}_{name_of(node)}", self._parts)
        method(node)

    def _parts(self, node: cst.CSTNode) -> None:
        for part in children(node):
            if isinstance(part, cst.BaseExpression):
                self._expressions.evaluate(part)
            elif isinstance(part, cst.BaseSuite):
                self._suite(part)
            else:
                self._parts(part)

    def _small_assign(self, node: cst.Assign) -> None:
        value = self._expressions.evaluate(node.value)
        for target in node.targets:
            if isinstance(target.target, cst.Name):
                self._state.assigned[node.value] = target.target.value
            self._assignments.bind(target.target, value)

    def _small_ann_assign(self, node: cst.AnnAssign) -> None:
        said = annotated(node.annotation, node)
        value = self._expressions.evaluate(node.value) if node.value is not None else said
        if node.value is not None and isinstance(node.target, cst.Name):
            self._state.assigned[node.value] = node.target.value
        self._assignments.bind(node.target, said if value.kind is Kind.UNKNOWN else value)

    def _small_aug_assign(self, node: cst.AugAssign) -> None:
        old, new = self._expressions.evaluate(node.target), self._expressions.evaluate(node.value)
        if old.kind is Kind.COLLECTION and new.kind is Kind.COLLECTION:
            self._assignments.add(node.target, old, item(new, None), node)
        else:
            self._assignments.bind(node.target, UNKNOWN)

    def _small_return(self, node: cst.Return) -> None:
        value = self._expressions.evaluate(node.value) if node.value is not None else NONE
        self._state.awaited |= value.sites
        self._state.scope.function.exits.append(Exit(node, value))

    def _small_global(self, node: cst.Global) -> None:
        self._state.scope.globals.update(part.name.value for part in node.names)

    def _small_del(self, node: cst.Del) -> None:
        self._expressions.evaluate(node.target)
        if isinstance(node.target, cst.Name):
            self._state.scope.bind(node.target.value, UNKNOWN)

    def _small_import(self, node: cst.Import) -> None:
        for alias in node.names:
            name = _dotted(alias.name)
            bound = alias.asname.name if alias.asname else None
            if isinstance(bound, cst.Name):
                self._state.scope.bind(bound.value, symbol(name))
            else:
                top = name.split(".", maxsplit=1)[0]
                self._state.scope.bind(top, symbol(top))

    def _small_import_from(self, node: cst.ImportFrom) -> None:
        source = "." * len(node.relative) + (_dotted(node.module) if node.module else "")
        if isinstance(node.names, cst.ImportStar):
            if source == "ray":
                for name in _STAR:
                    self._state.scope.bind(name, symbol(f"ray.{name}"))
            return
        for alias in node.names:
            name = _dotted(alias.name)
            bound = alias.asname.name if alias.asname else alias.name
            if isinstance(bound, cst.Name):
                # a `ray` that is imported from the user's own module is Ray itself
                self._state.scope.bind(bound.value, symbol("ray") if name == "ray" else attribute(symbol(source), name))

    def _branch(self, before: dict[str, Value], *suites: cst.BaseSuite) -> dict[str, Value]:
        self._state.scope.names = dict(before)
        for suite in suites:
            self._suite(suite)
        return self._state.scope.snapshot()

    def _statement_if(self, node: cst.If) -> None:
        self._expressions.evaluate(node.test)
        before = self._state.scope.snapshot()
        then = self._branch(before, node.body)
        self._state.scope.names = dict(before)
        if isinstance(node.orelse, cst.If):
            self._statement_if(node.orelse)
        elif isinstance(node.orelse, cst.Else):
            self._suite(node.orelse.body)
        self._join([(then, node.body), (self._state.scope.snapshot(), node.orelse)])

    def _join(self, branches: list[tuple[dict[str, Value], cst.CSTNode | None]]) -> None:
        """Continue with the names of the branches that do not leave."""
        going_on = [names for names, suite in branches if not _leaves(suite)]
        self._state.scope.join(*(going_on or [names for names, _ in branches]))

    def _statement_for(self, node: cst.For) -> None:
        value = self._expressions.evaluate(node.iter)
        outer = self._state.loops
        self._state.loops += (Loop(node, node.target, node.iter, value, self._state.tries),)
        self._assignments.bind(node.target, UNKNOWN if node.asynchronous else element(value))
        self._suite(node.body)
        self._state.loops = outer
        if node.orelse:
            self._suite(node.orelse.body)

    def _statement_while(self, node: cst.While) -> None:
        outer = self._state.loops
        self._state.loops += (Loop(node, None, None, UNKNOWN, self._state.tries),)
        self._expressions.evaluate(node.test)
        self._suite(node.body)
        self._state.loops = outer
        if node.orelse:
            self._suite(node.orelse.body)

    def _statement_try(self, node: cst.Try | cst.TryStar) -> None:
        before = self._state.scope.snapshot()
        self._state.tries += bool(node.handlers)
        self._suite(node.body)
        self._state.tries -= bool(node.handlers)
        branches: list[tuple[dict[str, Value], cst.CSTNode | None]] = []
        after = self._state.scope.snapshot()
        branches += [(self._branch({**before, **after}, part.body), part.body) for part in node.handlers]
        self._state.scope.names = after
        if node.orelse:
            self._suite(node.orelse.body)
        self._join([(self._state.scope.snapshot(), None), *branches])
        if node.finalbody:
            self._suite(node.finalbody.body)

    _statement_try_star = _statement_try

    def _statement_with(self, node: cst.With) -> None:
        suppresses = False
        for part in node.items:
            self._expressions.evaluate(part.item)
            if isinstance(part.item, cst.Call):
                suppresses |= _dotted(part.item.func) in {"suppress", "contextlib.suppress"}
            if part.asname is not None:
                self._assignments.bind(part.asname.name, UNKNOWN)
        self._state.tries += suppresses
        self._suite(node.body)
        self._state.tries -= suppresses

    def _decorate(self, node: cst.FunctionDef | cst.ClassDef, value: Value) -> Value:
        decorators = [self._expressions.evaluate(decorator.decorator) for decorator in node.decorators]
        for decorator in reversed(decorators):
            if decorator.kind is Kind.REMOTE:
                value = made_remote(value, decorator.options)
            elif decorator.kind is Kind.SYMBOL and decorator.symbol == "ray.remote":
                value = made_remote(value, {})
        if isinstance(value.definition, Function):
            value.definition.decorators = tuple(decorators)
        return value

    def _statement_function_def(self, node: cst.FunctionDef) -> None:
        function = self._defined.get(node)
        if not isinstance(function, Function):
            function = self._defined[node] = _function(node)
            function.nested = self._state.scope.function.node is not None
            self.functions.append(function)
        owner = self._class_being_defined()
        if owner is not None:
            if function.owner is None and not _is_decorated(node, "staticmethod"):
                function.parameters = function.parameters[1:]
            function.owner = owner
            owner.methods[node.name.value] = function
        for parameter in _all_parameters(node.params):
            if parameter.default is not None:
                self._default(function, parameter.default)
        kind = UNKNOWN if _is_decorated(node, "property") else Value(Kind.FUNCTION, definition=function)
        self._state.scope.bind(node.name.value, self._decorate(node, kind))
        scope = self._state.scope
        self._later.append(lambda: self._body(function, node, scope))

    def _default(self, function: Function, node: cst.BaseExpression) -> None:
        value = self._expressions.evaluate(node)
        if isinstance(node, cst.Name) and carried(value):
            function.captures.append(Capture(node, value))

    def _class_being_defined(self) -> Class | None:
        return self._state.defined_class if self._state.scope.is_class else None

    def _body(self, function: Function, node: cst.FunctionDef, outer: Scope) -> None:
        self._state.scope = Scope(function, outer, own=function.binds)
        self._state.loops, self._state.tries = (), 0
        first = True
        for parameter in _all_parameters(node.params):
            name = parameter.name.value
            said = annotated(parameter.annotation, parameter)
            if first and function.owner is not None and name in {"self", "cls"}:
                kind = Kind.INSTANCE if name == "self" else Kind.CLASS
                self._state.scope.names[name] = Value(kind, definition=function.owner)
            else:
                if said.kind is not Kind.UNKNOWN:
                    function.annotations[name] = said
                passed = self._received.get(function, {}).get(name)
                value = merged(passed) if passed else said
                if value.kind is Kind.UNKNOWN and said.kind is not Kind.UNKNOWN:
                    value = said
                self._state.scope.names[name] = replace(value, parameter=name)
            first = False
        for star in (node.params.star_arg, node.params.star_kwarg):
            if isinstance(star, cst.Param):
                self._state.scope.names[star.name.value] = UNKNOWN
        if node.params.star_kwarg is not None and (passed := self._received.get(function, {}).get("**")):
            self._state.scope.names[node.params.star_kwarg.name.value] = merged(passed)
        start = len(self._later)
        self._suite(node.body)
        self._run_later(start)

    def _statement_class_def(self, node: cst.ClassDef) -> None:
        made = self._defined.get(node)
        if not isinstance(made, Class):
            made = self._defined[node] = Class(node.name.value, node)
            self.classes.append(made)
        for base in (*node.bases, *node.keywords):
            self._expressions.evaluate(base.value)
        self._state.scope.bind(node.name.value, self._decorate(node, Value(Kind.CLASS, definition=made)))
        outer, outer_class = self._state.scope, self._state.defined_class
        self._state.scope, self._state.defined_class = Scope(outer.function, outer, is_class=True), made
        self._suite(node.body)
        self._state.scope, self._state.defined_class = outer, outer_class


def _dotted(node: cst.BaseExpression) -> str:
    if isinstance(node, cst.Attribute):
        return f"{_dotted(node.value)}.{node.attr.value}"
    return node.value if isinstance(node, cst.Name) else ""


def _leaves(suite: cst.CSTNode | None) -> bool:
    """Whether the last statement of the suite is a return, raise, continue or break."""
    body = getattr(suite, "body", None)
    if isinstance(suite, cst.Else | cst.If):
        return _leaves(suite.body) if isinstance(suite, cst.Else) else False
    if not isinstance(suite, cst.BaseSuite) or not body:
        return False
    last = body[-1]
    last = last.body[-1] if isinstance(last, cst.SimpleStatementLine) and last.body else last
    return isinstance(last, cst.Return | cst.Raise | cst.Continue | cst.Break)


def _is_decorated(node: cst.FunctionDef, name: str) -> bool:
    return any(isinstance(part.decorator, cst.Name) and part.decorator.value == name for part in node.decorators)


def _all_parameters(parameters: cst.Parameters) -> list[cst.Param]:
    return [*parameters.posonly_params, *parameters.params, *parameters.kwonly_params]


def _function(node: cst.FunctionDef) -> Function:
    yields = any(isinstance(part, cst.Yield) for part in walk(node.body, functions=False))
    names = tuple(parameter.name.value for parameter in _all_parameters(node.params))
    return Function(node.name.value, node, parameters=names, binds=bound_in(node.body), is_generator=yields)
