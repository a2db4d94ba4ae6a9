"""The results of calls of Ray's functions and of this module's, and the values that they pass to parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import libcst as cst

from outlive.lint import calls
from outlive.lint.assignments import Assignments
from outlive.lint.definitions import Call, Class, Function
from outlive.lint.state import State
from outlive.lint.values import UNKNOWN, Kind, Value, collection, element, fetched, item, ref, symbol

_KNOWN = {"ray.put", "ray.get", "ray.wait", "ray.remote", "ray.get_actor", "importlib.import_module"} | calls.FROM_ID
_CONTAINERS = {Kind.COLLECTION, Kind.MAPPING}


class Called:
    """The result of a call. Its arguments are evaluated already."""

    def __init__(self, state: State, assignments: Assignments) -> None:
        self._state, self._assignments = state, assignments

    def result(self, call: Call) -> Value:  # noqa: PLR0911 - one for each kind
        """The value that the call gives."""
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
            return made_remote(first, call.callee.options)
        if kind is Kind.FUNCTION and isinstance(call.callee.definition, Function):
            self._runs(call, call.callee.definition)
            return call.callee.definition.returned
        if kind is Kind.CLASS and isinstance(call.callee.definition, Class):
            made = call.callee.definition
            if "__init__" in made.methods:
                self._runs(call, made.methods["__init__"])
            return Value(Kind.INSTANCE, definition=made, entries=frozenset({call.node}))
        return self._of_unknown(call, first)

    def _of_unknown(self, call: Call, first: Value) -> Value:
        """The result of a function that is not of this module: of a store, maybe an entry of it."""
        made = self._method(call, first) if call.callee.kind is Kind.UNKNOWN else UNKNOWN
        is_entry = call.name.endswith("Store") and call.callee.kind in {Kind.UNKNOWN, Kind.SYMBOL}
        return replace(made, entries=frozenset({call.node})) if is_entry else made

    def _method(self, call: Call, first: Value) -> Value:
        """The result of a method of a list or a dict, or of a builtin."""
        if not isinstance(call.node.func, cst.Attribute):
            if call.name == "__import__" and call.arguments:
                return symbol(calls.text(call.node.args[0].value) or "")
            made = calls.builtin(call.name, [argument.value for argument in call.arguments])
            return replace(made, keys=calls.keys(*call.node.args)) if made.kind is Kind.MAPPING else made
        if call.name in calls.ADDING:
            added = first if call.name != "insert" or len(call.arguments) < 2 else call.arguments[1].value
            if call.name in {"extend", "update"}:
                added = item(added, None) if added.kind in _CONTAINERS else UNKNOWN
            self._assignments.add(call.node.func.value, call.base, added, call.node)
            return UNKNOWN
        return calls.of_collection(call.name, call.base)

    def _symbol_called(self, call: Call, name: str, first: Value) -> Value:
        if name == "ray.put" or name in calls.FROM_ID:
            return ref(first if name == "ray.put" else UNKNOWN, call.node)
        if name in {"ray.get", "ray.wait"}:
            self._state.awaited |= first.sites
            if name == "ray.get":
                return fetched(first)
            some = Value(Kind.COLLECTION, inner=element(first), sites=first.sites, is_list=True)
            return collection([replace(some, awaited=True), some])
        if name == "ray.remote":
            definition = first.kind in {Kind.FUNCTION, Kind.CLASS}
            return made_remote(first, {}) if definition else Value(Kind.REMOTE, options=calls.options(call.node))
        if name == "ray.get_actor":
            return Value(Kind.ACTOR)
        module = calls.text(call.node.args[0].value) if call.node.args else None  # importlib.import_module
        return symbol(module) if module else UNKNOWN

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
            several = calls.integer(
                target.options.get("num_returns") or ((function and function.options) or {}).get("num_returns")
            )
            inner = made.inner or UNKNOWN
            one = ref(element(inner), node)
            return made if several == 1 else replace(collection([one], is_list=True), items=())
        return made

    def _runs(self, call: Call, function: Function) -> None:
        self._state.scope.function.runs[function] = None
        self._pass(call, function, remote=False)

    def _pass(self, call: Call, function: Function | None, *, remote: bool) -> None:
        """Record the values passed to parameters. A ref as a direct argument of a task arrives as its value."""
        if function is None or any(argument.node.star for argument in call.arguments):
            return
        names = iter(function.parameters)
        for argument in call.arguments:
            keyword = argument.node.keyword
            name = keyword.value if keyword else next(names, None)
            if keyword and name not in function.parameters:  # it goes to **options
                more = Value(Kind.MAPPING, keys=calls.keys(argument.node))
                function.received.setdefault("**", []).append(more)
                continue
            if name is None or name not in function.parameters:
                continue
            argument.parameter = name
            value = fetched(argument.value) if remote and argument.value.kind is Kind.REF else argument.value
            function.received.setdefault(name, []).append(value)


def made_remote(value: Value, options: Mapping[str, cst.BaseExpression]) -> Value:
    """The remote function or actor class that `ray.remote(**options)` makes."""
    if value.definition is not None:
        value.definition.options = dict(options)
    kind = Kind.ACTOR_CLASS if value.kind is Kind.CLASS else Kind.TASK
    return Value(kind, definition=value.definition, options=options)
