"""Parts of calls that need no knowledge of the module: literals, builtins, options of `ray.remote`."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import replace

import libcst as cst

from outlive.lint.definitions import Function
from outlive.lint.values import PLAIN, UNKNOWN, Kind, Value, collection, element, item, merged

ADDING = frozenset({"append", "appendleft", "add", "insert", "extend", "update", "setdefault", "put", "put_nowait"})
_SAME = frozenset({"list", "tuple", "set", "frozenset", "sorted", "reversed", "deque", "iter", "tqdm", "copy"})
_PLAIN = frozenset(
    {"len", "str", "int", "float", "bool", "repr", "print", "sum", "range", "bytes", "hash", "id", "isinstance"}
)
FROM_ID = frozenset({"ray.ObjectRef", "ray.ObjectID", "ray._raylet.ObjectRef", "ray.ObjectRef.from_hex"})
_ALIASES = ("ray._private.worker.", "ray.worker.")
_PUBLIC = frozenset({"put", "get", "wait", "remote", "get_actor", "init"})


def canonical(name: str) -> str:
    """The public name for a dotted name.

    >>> canonical("ray._private.worker.put"), canonical("ray.util.queue")
    ('ray.put', 'ray.util.queue')
    """
    for prefix in _ALIASES:
        if name.startswith(prefix) and name[len(prefix) :] in _PUBLIC:
            return "ray." + name[len(prefix) :]
    return name


def integer(node: cst.CSTNode | None) -> int | None:
    """The value of an integer literal, including -1."""
    if isinstance(node, cst.UnaryOperation) and isinstance(node.operator, cst.Minus):
        inner = integer(node.expression)
        return None if inner is None else -inner
    if not isinstance(node, cst.Integer):
        return None
    try:
        return node.evaluated_value
    except (ValueError, SyntaxError):
        return None


def text(node: cst.CSTNode | None) -> str | None:
    """The value of a string literal."""
    if not isinstance(node, cst.SimpleString):
        return None
    try:
        value = ast.literal_eval(node.value)
    except (ValueError, SyntaxError):
        return None
    return value if isinstance(value, str) else None


def is_none(node: cst.CSTNode | None) -> bool:
    return isinstance(node, cst.Name) and node.value == "None"


def options(call: cst.Call) -> dict[str, cst.BaseExpression]:
    """The keyword arguments, including those in `**{"max_calls": 2}`. Other `**` arguments have the name `**`."""
    found: dict[str, cst.BaseExpression] = {}
    for argument in call.args:
        if argument.keyword is not None:
            found[argument.keyword.value] = argument.value
        elif argument.star == "**":
            if isinstance(argument.value, cst.Dict):
                for part in argument.value.elements:
                    key = text(part.key) if isinstance(part, cst.DictElement) else None
                    found[key or "**"] = part.value
            else:
                found["**"] = argument.value
    return found


def key(name: cst.BaseExpression, value: cst.BaseExpression) -> frozenset[str]:
    """The literal key of a dict item; none if its value is None."""
    literal = text(name)
    return frozenset() if literal is None or is_none(value) else frozenset({literal})


def keys(*arguments: cst.Arg) -> frozenset[str]:
    """The same for the keyword arguments of a `dict(...)`."""
    return frozenset(part.keyword.value for part in arguments if part.keyword and not is_none(part.value))


def looks_like_class(function: cst.BaseExpression) -> bool:
    """Whether the name looks like a class, as `Store` in `stores.Store.remote` does."""
    before = function.value if isinstance(function, cst.Attribute) else function
    name = before.attr if isinstance(before, cst.Attribute) else before
    if isinstance(name, cst.Call):
        return looks_like_class(name.func)
    return (
        isinstance(name, cst.Name)
        and name.value.lstrip("_")[:1].isupper()
        and (len(name.value) == 1 or not name.value.isupper())
    )


def streams(given: Mapping[str, cst.BaseExpression], function: Function | None) -> bool:
    """Whether the call gives a generator of refs."""
    asked = given.get("num_returns") or ((function.options or {}).get("num_returns") if function else None)
    if asked is not None:
        return text(asked) in {"streaming", "dynamic"}
    return function is not None and function.is_generator


def builtin(name: str, values: Sequence[Value]) -> Value:  # noqa: PLR0911 - one for each builtin
    """The result of a builtin function. A name that is not bound in the module may be one."""
    first = values[0] if values else UNKNOWN
    if name in _PLAIN:
        return PLAIN
    if name in {"list", "set", "deque"} and not values:
        return collection([], is_list=name == "list")
    if name in {"dict", "OrderedDict"} and all(value.kind is not Kind.COLLECTION for value in values):
        return replace(first, items=()) if first.kind is Kind.MAPPING else Value(Kind.MAPPING, inner=merged(values))
    if name in _SAME and first.kind is Kind.COLLECTION:
        return replace(first, items=(), is_list=name in {"list", "sorted"})
    if name == "enumerate" and first.kind is Kind.COLLECTION:
        return Value(Kind.COLLECTION, inner=collection([PLAIN, element(first)]), sites=first.sites)
    if name == "zip" and values:
        return Value(Kind.COLLECTION, inner=collection([element(value) for value in values]))
    return UNKNOWN


def of_collection(name: str, base: Value) -> Value:
    """The result of a method of a list or dict."""
    if base.kind is Kind.COLLECTION and name in {"pop", "popleft"}:
        return item(base, None)
    if base.kind is Kind.COLLECTION and name == "copy":
        return base
    if base.kind is Kind.MAPPING and base.inner is not None:
        if name in {"get", "pop"}:
            return base.inner
        if name == "values":
            return Value(Kind.COLLECTION, inner=base.inner, sites=base.sites)
        if name == "items":
            return Value(Kind.COLLECTION, inner=collection([UNKNOWN, base.inner]), sites=base.sites)
    return UNKNOWN
