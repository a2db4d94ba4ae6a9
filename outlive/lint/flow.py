"""The walk over a module: statements in their order, branches joined, functions after what surrounds them.

Three passes: in the later ones every function knows what is passed to it and what the functions that it calls return.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import libcst as cst

from outlive.lint.definitions import Class, Exit, Function, Keeping, Loop
from outlive.lint.expressions import Expressions, annotated
from outlive.lint.scopes import Scope, bound_in
from outlive.lint.tree import children, walk
from outlive.lint.values import (
    NONE,
    UNKNOWN,
    Kind,
    Value,
    carried,
    collection,
    element,
    item,
    mapping,
    merged,
    symbol,
)

_MODULE = "<module>"
_STAR = ("put", "get", "wait", "remote", "get_actor", "init")  # what `from ray import *` brings


class Flow(Expressions):
    """All that happens in a module. `functions[0]` is the module itself."""

    def __init__(self, module: cst.Module) -> None:
        super().__init__()
        self.module = module
        self.functions: list[Function] = [Function(_MODULE, None)]
        self.classes: list[Class] = []
        self._defined: dict[cst.CSTNode, Function | Class] = {}
        self._later: list[Callable[[], None]] = []
        for _ in range(3):
            self._pass_over()

    def _pass_over(self) -> None:
        self.assigned: dict[cst.CSTNode, str] = {}
        self.values, self.awaited, self.loops, self.tries = {}, set(), (), 0
        for function in self.functions:
            function.forget()
        received = {function: function.received for function in self.functions}
        for function in self.functions:
            function.received = {}
        self._received = received
        self.scope = Scope(self.functions[0])
        self._statements(self.module.body)
        self._run_later(0)
        for function in self.functions:
            function.returned = merged([exit_.value for exit_ in function.exits]) if function.exits else NONE

    def _run_later(self, start: int) -> None:
        while len(self._later) > start:
            self._later.pop(start)()

    # Statements

    def _statements(self, body: Sequence[cst.CSTNode]) -> None:
        for statement in body:
            self._statement(statement)

    def _suite(self, suite: cst.BaseSuite) -> None:
        self._statements(suite.body)

    def _statement(self, node: cst.CSTNode) -> None:
        if isinstance(node, cst.SimpleStatementLine):
            for part in node.body:
                self._small(part)
            return
        method = getattr(self, f"_statement_{type(node).__name__}", None)
        if method:
            method(node)
        elif isinstance(node, cst.BaseSmallStatement):
            self._small(node)
        else:
            self._parts(node)

    def _parts(self, node: cst.CSTNode) -> None:
        for part in children(node):
            if isinstance(part, cst.BaseExpression):
                self.evaluate(part)
            elif isinstance(part, cst.BaseSuite):
                self._suite(part)
            else:
                self._parts(part)

    def _small(self, node: cst.CSTNode) -> None:
        if isinstance(node, cst.Assign):
            value = self.evaluate(node.value)
            for target in node.targets:
                if isinstance(target.target, cst.Name):
                    self.assigned[node.value] = target.target.value
                self.bind(target.target, value)
        elif isinstance(node, cst.AnnAssign):
            said = annotated(node.annotation, node)
            value = self.evaluate(node.value) if node.value is not None else said
            self.bind(node.target, said if value.kind is Kind.UNKNOWN else value)
        elif isinstance(node, cst.AugAssign):
            old, new = self.evaluate(node.target), self.evaluate(node.value)
            if old.kind is Kind.COLLECTION and new.kind is Kind.COLLECTION:
                self.add(node.target, old, item(new, None), node)
            else:
                self.bind(node.target, UNKNOWN)
        elif isinstance(node, cst.Return):
            value = self.evaluate(node.value) if node.value is not None else NONE
            self.awaited |= value.sites
            self.scope.function.exits.append(Exit(node, value))
        elif isinstance(node, cst.Import):
            for alias in node.names:
                name = _dotted(alias.name)
                bound = alias.asname.name if alias.asname else None
                if isinstance(bound, cst.Name):
                    self.scope.bind(bound.value, symbol(name))
                else:
                    self.scope.bind(name.split(".")[0], symbol(name.split(".")[0]))
        elif isinstance(node, cst.ImportFrom):
            self._import_from(node)
        elif isinstance(node, cst.Global):
            self.scope.globals.update(part.name.value for part in node.names)
        elif isinstance(node, cst.Del):
            self.evaluate(node.target)
            if isinstance(node.target, cst.Name):
                self.scope.bind(node.target.value, UNKNOWN)
        else:
            self._parts(node)

    def _import_from(self, node: cst.ImportFrom) -> None:
        source = "." * len(node.relative) + (_dotted(node.module) if node.module else "")
        if isinstance(node.names, cst.ImportStar):
            if source == "ray":
                for name in _STAR:
                    self.scope.bind(name, symbol(f"ray.{name}"))
            return
        for alias in node.names:
            name = _dotted(alias.name)
            bound = alias.asname.name if alias.asname else alias.name
            if isinstance(bound, cst.Name):
                origin = symbol(source) if name != "ray" else symbol("")  # Ray itself, handed on by a module of one's own
                self.scope.bind(bound.value, self.attribute(symbol(source), name) if origin.symbol else symbol("ray"))

    def _branch(self, before: dict[str, Value], *suites: cst.BaseSuite) -> dict[str, Value]:
        self.scope.names = dict(before)
        for suite in suites:
            self._suite(suite)
        return self.scope.snapshot()

    def _statement_If(self, node: cst.If) -> None:
        self.evaluate(node.test)
        before = self.scope.snapshot()
        then = self._branch(before, node.body)
        self.scope.names = dict(before)
        if isinstance(node.orelse, cst.If):
            self._statement_If(node.orelse)
        elif isinstance(node.orelse, cst.Else):
            self._suite(node.orelse.body)
        self._join([(then, node.body), (self.scope.snapshot(), node.orelse)])

    def _join(self, branches: list[tuple[dict[str, Value], cst.CSTNode | None]]) -> None:
        """Continue after the branches that do not leave."""
        going_on = [names for names, suite in branches if not _leaves(suite)]
        self.scope.join(*(going_on or [names for names, _ in branches]))

    def _statement_For(self, node: cst.For) -> None:
        value = self.evaluate(node.iter)
        outer = self.loops
        self.loops += (Loop(node, node.target, node.iter, value, self.tries),)
        self.bind(node.target, UNKNOWN if node.asynchronous else element(value))
        self._suite(node.body)
        self.loops = outer
        if node.orelse:
            self._suite(node.orelse.body)

    def _statement_While(self, node: cst.While) -> None:
        outer = self.loops
        self.loops += (Loop(node, None, None, UNKNOWN, self.tries),)
        self.evaluate(node.test)
        self._suite(node.body)
        self.loops = outer
        if node.orelse:
            self._suite(node.orelse.body)

    def _statement_Try(self, node: cst.Try | cst.TryStar) -> None:
        before = self.scope.snapshot()
        self.tries += bool(node.handlers)
        self._suite(node.body)
        self.tries -= bool(node.handlers)
        branches: list[tuple[dict[str, Value], cst.CSTNode | None]] = []
        after = self.scope.snapshot()
        for handler in node.handlers:
            branches.append((self._branch({**before, **after}, handler.body), handler.body))
        self.scope.names = after
        if node.orelse:
            self._suite(node.orelse.body)
        self._join([(self.scope.snapshot(), None), *branches])
        if node.finalbody:
            self._suite(node.finalbody.body)

    _statement_TryStar = _statement_Try

    def _statement_With(self, node: cst.With) -> None:
        for part in node.items:
            self.evaluate(part.item)
            if part.asname is not None:
                self.bind(part.asname.name, UNKNOWN)
        self._suite(node.body)

    # Definitions

    def _decorate(self, node: cst.FunctionDef | cst.ClassDef, value: Value) -> Value:
        decorators = [self.evaluate(decorator.decorator) for decorator in node.decorators]
        for decorator in reversed(decorators):
            if decorator.kind is Kind.REMOTE:
                value = self.made_remote(value, decorator.options)
            elif decorator.kind is Kind.SYMBOL and decorator.symbol == "ray.remote":
                value = self.made_remote(value, {})
        if isinstance(value.definition, Function):
            value.definition.decorators = tuple(decorators)
        return value

    def _statement_FunctionDef(self, node: cst.FunctionDef) -> None:
        function = self._defined.get(node)
        if not isinstance(function, Function):
            function = self._defined[node] = _function(node)
            function.nested = self.scope.function.node is not None
            self.functions.append(function)
        owner = self._class_being_defined()
        if owner is not None:
            static = any(isinstance(d.decorator, cst.Name) and d.decorator.value == "staticmethod" for d in node.decorators)
            if function.owner is None and not static:
                function.parameters = function.parameters[1:]
            function.owner = owner
            owner.methods[node.name.value] = function
        for parameter in _all_parameters(node.params):
            if parameter.default is not None:
                self._default(function, parameter.default)
        kind = UNKNOWN if _is_property(node) else Value(Kind.FUNCTION, definition=function)
        self.scope.bind(node.name.value, self._decorate(node, kind))
        scope = self.scope
        self._later.append(lambda: self._body(function, node, scope))

    def _default(self, function: Function, node: cst.BaseExpression) -> None:
        value = self.evaluate(node)
        if isinstance(node, cst.Name) and carried(value):
            from outlive.lint.definitions import Capture

            function.captures.append(Capture(node, value))

    def _class_being_defined(self) -> Class | None:
        return self._defined_class if self.scope.is_class else None

    _defined_class: Class | None = None

    def _body(self, function: Function, node: cst.FunctionDef, outer: Scope) -> None:
        self.scope = Scope(function, outer, own=bound_in(node.body))
        self.loops, self.tries = (), 0
        first = True
        for parameter in _all_parameters(node.params):
            name = parameter.name.value
            said = annotated(parameter.annotation, parameter)
            if first and function.owner is not None and name in {"self", "cls"}:
                kind = Kind.INSTANCE if name == "self" else Kind.CLASS
                self.scope.names[name] = Value(kind, definition=function.owner)
            else:
                if said.kind is not Kind.UNKNOWN:
                    function.annotations[name] = said
                passed = self._received.get(function, {}).get(name)
                value = merged(passed) if passed else said
                if value.kind is Kind.UNKNOWN and said.kind is not Kind.UNKNOWN:
                    value = said
                self.scope.names[name] = replace(value, parameter=name)
            first = False
        for star in (node.params.star_arg, node.params.star_kwarg):
            if isinstance(star, cst.Param):
                self.scope.names[star.name.value] = UNKNOWN
        start = len(self._later)
        self._suite(node.body)
        self._run_later(start)

    def _statement_ClassDef(self, node: cst.ClassDef) -> None:
        made = self._defined.get(node)
        if not isinstance(made, Class):
            made = self._defined[node] = Class(node.name.value, node)
            self.classes.append(made)
        for base in (*node.bases, *node.keywords):
            self.evaluate(base.value)
        self.scope.bind(node.name.value, self._decorate(node, Value(Kind.CLASS, definition=made)))
        outer, outer_class = self.scope, self._defined_class
        self.scope, self._defined_class = Scope(outer.function, outer, is_class=True), made
        self._suite(node.body)
        self.scope, self._defined_class = outer, outer_class

    # Assignment

    def bind(self, target: cst.BaseExpression, value: Value) -> None:
        if isinstance(target, cst.Name):
            if target.value in self.scope.globals:
                self._keep(target, target, value)
            old, _ = self.scope.find(target.value) if target.value in self.scope.globals else (UNKNOWN, None)
            self.scope.bind(target.value, merged([value, old]) if old.kind is value.kind else value)
            if self.scope.is_class and self._defined_class is not None:
                self._defined_class.attributes[target.value] = value
                self._defined_class.of_class.add(target.value)
        elif isinstance(target, cst.Tuple | cst.List):
            for index, part in enumerate(target.elements):
                starred = isinstance(part, cst.StarredElement)
                self.bind(part.value, replace(value, items=()) if starred else item(value, index))
        elif isinstance(target, cst.Attribute):
            self._bind_attribute(target, value)
        elif isinstance(target, cst.Subscript):
            container = self.evaluate(target.value)
            for index_node in target.slice:
                self._evaluate_parts(index_node)
            self.add(target.value, container, value, target)
        elif isinstance(target, cst.StarredElement):
            self.bind(target.value, UNKNOWN)

    def _bind_attribute(self, target: cst.Attribute, value: Value) -> None:
        base, name = self.evaluate(target.value), target.attr.value
        if base.kind is Kind.INSTANCE and isinstance(base.definition, Class):
            self._remember(base.definition, name, value)
            base.definition.of_instance.add(name)
            self._note_stored(base, name, value, target)
        elif base.kind in {Kind.CLASS, Kind.SYMBOL, Kind.FUNCTION, Kind.TASK, Kind.ACTOR_CLASS}:
            self._keep(target, target, value)
            if isinstance(base.definition, Class):
                self._remember(base.definition, name, value)

    def _note_stored(self, base: Value, name: str, value: Value, where: cst.CSTNode) -> None:
        function = self.scope.function
        if value.parameter and base.definition is function.owner:
            function.stored.setdefault(value.parameter, []).append((name, where))

    @staticmethod
    def _remember(made: Class, name: str, value: Value) -> None:
        made.attributes[name] = merged([made.attributes[name], value]) if name in made.attributes else value

    def _keep(self, where: cst.CSTNode, target: cst.BaseExpression, value: Value) -> None:
        if self.scope.function.node is not None and carried(value):
            self.scope.function.keepings.append(Keeping(where, self.module.code_for_node(target), value))

    def add(self, target: cst.BaseExpression, container: Value, added: Value, where: cst.CSTNode) -> None:
        if container.kind is Kind.UNKNOWN and not isinstance(target, cst.Attribute | cst.Name):
            return
        make = mapping if container.kind is Kind.MAPPING or isinstance(where, cst.Subscript) else collection
        known = container.kind in {Kind.COLLECTION, Kind.MAPPING}
        parts = [added, *([container.inner] if known and container.inner is not None else [])]
        if not known:
            grown = container
        elif container.kind is Kind.COLLECTION and make is mapping:
            grown = container
        else:
            grown = replace(make(parts), items=(), is_list=container.is_list)
        if isinstance(target, cst.Name):
            value, scope = self.scope.find(target.value)
            function = self.scope.function
            if scope is not None and scope.parent is None and function.node is not None:
                self._keep(where, target, collection([added]))
            if scope is not None and known and value.kind is container.kind:
                scope.names[target.value] = grown
        elif isinstance(target, cst.Attribute):
            base = self.evaluate(target.value)
            if base.kind is Kind.INSTANCE and isinstance(base.definition, Class):
                if known:
                    base.definition.attributes[target.attr.value] = grown
                self._note_stored(base, target.attr.value, added, where)
                if base.definition.shares(target.attr.value):
                    self._keep(where, target, collection([added]))
            elif base.kind in {Kind.CLASS, Kind.SYMBOL}:
                self._keep(where, target, collection([added]))
                if known and isinstance(base.definition, Class):
                    base.definition.attributes[target.attr.value] = grown
        elif isinstance(target, cst.Subscript | cst.Call):
            inner = target.value if isinstance(target, cst.Subscript) else target.func
            if isinstance(inner, cst.Attribute | cst.Name) and isinstance(target, cst.Subscript):
                self.add(inner, self.values.get(inner, UNKNOWN), collection([added]), where)


def _dotted(node: cst.BaseExpression) -> str:
    if isinstance(node, cst.Attribute):
        return f"{_dotted(node.value)}.{node.attr.value}"
    return node.value if isinstance(node, cst.Name) else ""


def _leaves(suite: cst.CSTNode | None) -> bool:
    """The last statement of the suite is a return, raise, continue or break."""
    body = getattr(suite, "body", None)
    if isinstance(suite, cst.Else | cst.If):
        return _leaves(suite.body) if isinstance(suite, cst.Else) else False
    if not isinstance(suite, cst.BaseSuite) or not body:
        return False
    last = body[-1]
    last = last.body[-1] if isinstance(last, cst.SimpleStatementLine) and last.body else last
    return isinstance(last, cst.Return | cst.Raise | cst.Continue | cst.Break)


def _is_property(node: cst.FunctionDef) -> bool:
    return any(isinstance(part.decorator, cst.Name) and part.decorator.value == "property" for part in node.decorators)


def _all_parameters(parameters: cst.Parameters) -> list[cst.Param]:
    return [*parameters.posonly_params, *parameters.params, *parameters.kwonly_params]


def _function(node: cst.FunctionDef) -> Function:
    yields = any(isinstance(part, cst.Yield) for part in walk(node.body, functions=False))
    names = tuple(parameter.name.value for parameter in _all_parameters(node.params))
    return Function(node.name.value, node, parameters=names, is_generator=yields)
