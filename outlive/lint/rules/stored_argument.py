"""OUT102: a ref is passed to be stored, and arrives as its value."""

from __future__ import annotations

import re
from collections.abc import Iterator

import libcst as cst

from outlive.lint.definitions import Argument, Call, Class, Function
from outlive.lint.flow import Flow
from outlive.lint.rule import Hit
from outlive.lint.values import Kind

_NAME_OF_REF = re.compile(r"(?:^|_)(?:obj|object)?_?(?:refs?|oids?|object_ids?|futures?|futs?)(?:_|$)", re.IGNORECASE)


def check(flow: Flow) -> Iterator[Hit]:
    for function in flow.functions:
        for call in function.calls:
            method = called_method(flow, call)
            if method is None or method.owner is None:
                continue
            for name, argument in passed(call, method):
                if argument.value.kind is not Kind.REF or (argument.value.inner and argument.value.inner.is_refs):
                    continue
                attributes = [attribute for attribute, _ in method.stored.get(name, [])]
                if any(_means_refs(flow, method.owner, method, name, attribute) for attribute in attributes):
                    yield Hit(
                        argument.node,
                        f"{method.label} stores {name!r} as a ref, but a ref that is itself an argument "
                        "arrives as its value",
                    )


def called_method(flow: Flow, call: Call) -> Function | None:
    """The method of an actor class of this module."""
    if call.name != "remote":
        return None
    if isinstance(call.base.definition, Function):
        return call.base.definition
    if isinstance(call.base.definition, Class):
        return call.base.definition.methods.get("__init__")
    function = call.node.func
    if call.base.kind is not Kind.UNKNOWN or not isinstance(function, cst.Attribute):
        return None
    if not isinstance(function.value, cst.Attribute):
        return None
    name = function.value.attr.value  # a handle from elsewhere: its method may be any class's
    owners = [made for made in flow.classes if made.is_actor and name in made.methods]
    return owners[0].methods[name] if len(owners) == 1 else None


def passed(call: Call, method: Function) -> Iterator[tuple[str, Argument]]:
    """Each argument with its parameter."""
    names = iter(method.parameters)
    for argument in call.arguments:
        if argument.node.star:
            return
        keyword = argument.node.keyword
        name = keyword.value if keyword else next(names, None)
        if name is not None:
            yield name, argument


def _means_refs(flow: Flow, owner: Class, method: Function, parameter: str, attribute: str) -> bool:
    """Whether the class takes the stored value for refs."""
    if _NAME_OF_REF.search(parameter) or _NAME_OF_REF.search(attribute) or parameter in method.annotations:
        return True
    needle = f"self.{attribute}"
    for function in owner.methods.values():
        for call in function.calls:
            if call.callee.symbol in {"ray.get", "ray.wait"} and call.node.args:
                source = flow.module.code_for_node(call.node.args[0].value)
                if re.search(rf"{re.escape(needle)}\b", source) and ".remote" not in source:
                    return True
    return False
