"""What each expression of a module evaluates to. The walk over statements is in `flow`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import libcst as cst

from outlive.lint import calls
from outlive.lint.definitions import Argument, Call, Capture, Class, Exit, Function, Loop
from outlive.lint.scopes import Scope
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
    ref,
    symbol,
)

_KNOWN = {"ray.put", "ray.get", "ray.wait", "ray.remote", "ray.get_actor", "importlib.import_module"}
_CARRIES_ON = {Kind.COLLECTION, Kind.MAPPING}
_ANNOTATED = re.compile(r"\b(?:ObjectRef|ObjectID)\b")


class Expressions:
    """Evaluates expressions in a scope, and records the calls among them."""

    def __init__(self) -> None:
        self.scope = Scope(Function("", None))
        self.loops: tuple[Loop, ...] = ()
        self.tries = 0
        self.values: dict[cst.CSTNode, Value] = {}
        self.awaited: set[cst.CSTNode] = set()  # calls whose results somebody waits for
        self.classes: list[Class] = []

    def evaluate(self, node: cst.BaseExpression) -> Value:
        """What `node` may be; what happens in it is recorded."""
        method = getattr(self, f"_evaluate_{type(node).__name__}", None)
        value: Value = method(node) if method else self._evaluate_parts(node)
        self.values[node] = value
        return value

    def _evaluate_parts(self, node: cst.CSTNode) -> Value:
        for part in children(node):
            if isinstance(part, cst.BaseExpression):
                self.evaluate(part)
            elif not isinstance(part, cst.BaseSuite):
                self._evaluate_parts(part)
        return UNKNOWN

    def _plain(self, node: cst.BaseExpression) -> Value:
        self._evaluate_parts(node)
        return PLAIN

    _evaluate_Integer = _evaluate_Float = _evaluate_Imaginary = _evaluate_SimpleString = _plain
    _evaluate_ConcatenatedString = _evaluate_FormattedString = _evaluate_Comparison = _plain

    def _evaluate_Name(self, node: cst.Name) -> Value:
        if node.value == "None":
            return NONE
        value, scope = self.scope.find(node.value)
        function = self.scope.function
        if scope is not None and scope.function is not function and not scope.is_class and carried(value):
            function.captures.append(Capture(node, value))
        return value

    def _evaluate_Attribute(self, node: cst.Attribute) -> Value:
        return self.attribute(self.evaluate(node.value), node.attr.value)

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

    def _evaluate_Subscript(self, node: cst.Subscript) -> Value:
        base = self.evaluate(node.value)
        for part in node.slice:
            self._evaluate_parts(part)
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

    def _evaluate_List(self, node: cst.List) -> Value:
        return self._evaluate_elements(node.elements, is_list=True)

    def _evaluate_Tuple(self, node: cst.Tuple) -> Value:
        return self._evaluate_elements(node.elements, is_list=False)

    def _evaluate_Set(self, node: cst.Set) -> Value:
        return self._evaluate_elements(node.elements, is_list=False)

    def _evaluate_Dict(self, node: cst.Dict) -> Value:
        values = []
        for part in node.elements:
            if isinstance(part, cst.DictElement):
                self.evaluate(part.key)
            value = self.evaluate(part.value)
            values.append(value if isinstance(part, cst.DictElement) else item(value, None))
        return mapping(values)

    def _evaluate_IfExp(self, node: cst.IfExp) -> Value:
        self.evaluate(node.test)
        return merged([self.evaluate(node.body), self.evaluate(node.orelse)])

    def _evaluate_BooleanOperation(self, node: cst.BooleanOperation) -> Value:
        return merged([self.evaluate(node.left), self.evaluate(node.right)])

    def _evaluate_BinaryOperation(self, node: cst.BinaryOperation) -> Value:
        left, right = self.evaluate(node.left), self.evaluate(node.right)
        if left.kind is Kind.COLLECTION and isinstance(node.operator, cst.Multiply):
            return replace(left, items=())
        if left.kind is right.kind is Kind.COLLECTION:
            return replace(merged([left, right]), items=())
        return PLAIN if left.kind is right.kind is Kind.PLAIN else UNKNOWN

    def _evaluate_NamedExpr(self, node: cst.NamedExpr) -> Value:
        value = self.evaluate(node.value)
        self.bind(node.target, value)
        return value

    def _evaluate_Await(self, node: cst.Await) -> Value:
        value = self.evaluate(node.expression)
        self.awaited |= value.sites
        return fetched(value)

    def _evaluate_Yield(self, node: cst.Yield) -> Value:
        if node.value is not None:
            part = node.value.item if isinstance(node.value, cst.From) else node.value
            value = self.evaluate(part)
            self.awaited |= value.sites
            self.scope.function.exits.append(Exit(node, value))
        return UNKNOWN

    def _evaluate_Lambda(self, node: cst.Lambda) -> Value:
        parameters = node.params
        for parameter in (*parameters.params, *parameters.kwonly_params, *parameters.posonly_params):
            if parameter.default is not None:
                self.evaluate(parameter.default)
        outer, self.scope = self.scope, Scope(self.scope.function, self.scope)
        for parameter in (*parameters.params, *parameters.kwonly_params, *parameters.posonly_params):
            self.scope.names[parameter.name.value] = UNKNOWN
        self.evaluate(node.body)
        self.scope = outer
        return UNKNOWN

    def _comprehension(self, node: cst.BaseComp) -> tuple[Value, Value]:
        """The values of the element (or of key and value)."""
        outer, loops = self.scope, self.loops
        self.scope = Scope(outer.function, outer)
        clause: cst.CompFor | None = node.for_in
        while clause is not None:
            value = self.evaluate(clause.iter)
            self.loops += (Loop(clause, clause.target, clause.iter, value, self.tries),)
            self.bind(clause.target, UNKNOWN if clause.asynchronous else element(value))
            for condition in clause.ifs:
                self.evaluate(condition.test)
            clause = clause.inner_for_in
        if isinstance(node, cst.DictComp):
            result = self.evaluate(node.key), self.evaluate(node.value)
        else:
            assert isinstance(node, cst.BaseSimpleComp)
            result = UNKNOWN, self.evaluate(node.elt)
        self.scope, self.loops = outer, loops
        return result

    def _evaluate_ListComp(self, node: cst.ListComp) -> Value:
        return replace(collection([self._comprehension(node)[1]], is_list=True), items=())

    def _evaluate_SetComp(self, node: cst.SetComp) -> Value:
        return replace(collection([self._comprehension(node)[1]]), items=())

    _evaluate_GeneratorExp = _evaluate_SetComp

    def _evaluate_DictComp(self, node: cst.DictComp) -> Value:
        return mapping([self._comprehension(node)[1]])

    def bind(self, target: cst.BaseExpression, value: Value) -> None:
        """Assign. Overridden where statements are known."""
        raise NotImplementedError

    def _evaluate_Call(self, node: cst.Call) -> Value:
        base, name = UNKNOWN, ""
        if isinstance(node.func, cst.Attribute):
            base, name = self.evaluate(node.func.value), node.func.attr.value
            callee = self.attribute(base, name)
            self.values[node.func] = callee
        else:
            callee = self.evaluate(node.func)
            name = node.func.value if isinstance(node.func, cst.Name) else ""
        arguments = [Argument(part, self.evaluate(part.value)) for part in node.args]
        call = Call(node, callee, base, name, arguments, UNKNOWN, self.scope.function, self.loops, self.tries)
        call.result = self._called(call)
        self.scope.function.calls.append(call)
        return call.result

    def _called(self, call: Call) -> Value:
        """What the call gives."""
        values = [argument.value for argument in call.arguments]
        first = values[0] if values else UNKNOWN
        if call.callee.kind is Kind.SYMBOL and call.callee.symbol in _KNOWN:
            return self._symbol_called(call, call.callee.symbol, first)
        if call.name in {"remote", "bind"} and isinstance(call.node.func, cst.Attribute):
            return self._remote(call) if call.name == "remote" else UNKNOWN
        if call.name == "options" and call.base.kind in {Kind.TASK, Kind.ACTOR_CLASS, Kind.ACTOR_METHOD}:
            return replace(call.base, options={**call.base.options, **calls.options(call.node)})
        if call.name == "options" and call.base.kind in {Kind.UNKNOWN, Kind.SYMBOL}:
            kind = Kind.ACTOR_CLASS if calls.looks_like_class(call.node.func) else Kind.TASK
            return Value(kind, options=calls.options(call.node))
        kind = call.callee.kind
        if kind is Kind.REMOTE and values:
            return self.made_remote(first, call.callee.options)
        if kind is Kind.FUNCTION and isinstance(call.callee.definition, Function):
            self._runs(call, call.callee.definition)
            return call.callee.definition.returned
        if kind is Kind.CLASS and isinstance(call.callee.definition, Class):
            made = call.callee.definition
            if "__init__" in made.methods:
                self._runs(call, made.methods["__init__"])
            return Value(Kind.INSTANCE, definition=made)
        if kind is Kind.UNKNOWN:
            return self._method(call, first)
        return UNKNOWN

    def _method(self, call: Call, first: Value) -> Value:
        """A method of something of ours that is no class of the module: of a list, a dict."""
        if not isinstance(call.node.func, cst.Attribute):
            if call.name == "__import__" and call.arguments:
                return symbol(calls.text(call.node.args[0].value) or "")
            return calls.builtin(call.name, [argument.value for argument in call.arguments])
        if call.name in calls.ADDING:
            added = first if call.name != "insert" or len(call.arguments) < 2 else call.arguments[1].value
            if call.name in {"extend", "update"}:
                added = item(added, None) if added.kind in _CARRIES_ON else UNKNOWN
            self.add(call.node.func.value, call.base, added, call.node)
            return UNKNOWN
        return calls.of_collection(call.name, call.base)

    def add(self, target: cst.BaseExpression, container: Value, added: Value, where: cst.CSTNode) -> None:
        """Something is put into a container. Overridden where statements are known."""
        raise NotImplementedError

    def _symbol_called(self, call: Call, name: str, first: Value) -> Value:
        if name == "ray.put":
            return ref(first, call.node)
        if name in {"ray.get", "ray.wait"}:
            self.awaited |= first.sites
            if name == "ray.get":
                return fetched(first)
            some = Value(Kind.COLLECTION, inner=element(first), sites=first.sites, is_list=True)
            return collection([replace(some, awaited=True), some])
        if name == "ray.remote":
            definition = first.kind in {Kind.FUNCTION, Kind.CLASS}
            return self.made_remote(first, {}) if definition else Value(Kind.REMOTE, options=calls.options(call.node))
        if name == "ray.get_actor":
            return Value(Kind.ACTOR)
        module = calls.text(call.node.args[0].value) if call.node.args else None  # importlib.import_module
        return symbol(module) if module else UNKNOWN

    def made_remote(self, value: Value, options: Mapping[str, cst.BaseExpression]) -> Value:
        """What `ray.remote(**options)` makes of a function or class."""
        if isinstance(value.definition, Function | Class):
            value.definition.options = dict(options)
        kind = Kind.ACTOR_CLASS if value.kind is Kind.CLASS else Kind.TASK
        return Value(kind, definition=value.definition, options=options)

    def _remote(self, call: Call) -> Value:
        target, node = call.base, call.node
        called = target.definition
        if target.kind is Kind.ACTOR_CLASS or (
            target.kind in {Kind.UNKNOWN, Kind.SYMBOL} and calls.looks_like_class(call.node.func)
        ):
            init = called.methods.get("__init__") if isinstance(called, Class) else None
            self._pass(call, init, remote=True)
            return Value(Kind.ACTOR, definition=called)
        function = called if isinstance(called, Function) else None
        self._pass(call, function, remote=True)
        if calls.streams(target.options, function):
            return UNKNOWN
        made = ref(function.returned if function else UNKNOWN, node)
        if "num_returns" in target.options or (function and function.options and "num_returns" in function.options):
            several = calls.integer(target.options.get("num_returns") or (function and function.options or {}).get("num_returns"))
            inner = made.inner or UNKNOWN
            one = ref(element(inner), node)
            return made if several == 1 else replace(collection([one], is_list=True), items=())
        return made

    def _runs(self, call: Call, function: Function) -> None:
        self.scope.function.runs[function] = None
        self._pass(call, function, remote=False)

    def _pass(self, call: Call, function: Function | None, *, remote: bool) -> None:
        """Tell each parameter what is passed. A ref that is itself an argument of a task arrives as its value."""
        if function is None or any(argument.node.star for argument in call.arguments):
            return
        names = iter(function.parameters)
        for argument in call.arguments:
            keyword = argument.node.keyword
            name = keyword.value if keyword else next(names, None)
            if name is None or name not in function.parameters:
                continue
            argument.parameter = name
            value = fetched(argument.value) if remote and argument.value.kind is Kind.REF else argument.value
            function.received.setdefault(name, []).append(value)


def annotated(annotation: cst.Annotation | None, node: cst.CSTNode) -> Value:
    """What an annotation says: `ObjectRef`, or a list of them."""
    if annotation is None:
        return UNKNOWN
    text = cst.Module([]).code_for_node(annotation.annotation)
    if not _ANNOTATED.search(text):
        return UNKNOWN
    head = re.split(r"\W", text.strip("\"' ").removeprefix("ray.").removeprefix("typing."))[0]
    if head in {"ObjectRef", "ObjectID"}:
        return ref(UNKNOWN, node)
    if head in {"List", "list", "Sequence", "Iterable", "Tuple", "tuple", "Set", "set", "Collection"}:
        inner = text.split("[", 1)[1]
        one = ref(UNKNOWN, node)
        return replace(collection([one]), items=(), is_list=head in {"List", "list"}) if re.match(
            r"[\"']?(ray\.)?Object(Ref|ID)\b", inner.strip()
        ) else UNKNOWN
    return UNKNOWN
