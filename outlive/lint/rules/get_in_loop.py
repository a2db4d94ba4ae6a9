"""OUT401: `ray.get` of one ref after the other."""

from __future__ import annotations

import re
from collections.abc import Iterator

import libcst as cst

from outlive.lint import calls
from outlive.lint.definitions import Call, Function, Loop
from outlive.lint.flow import Flow
from outlive.lint.rule import Hit
from outlive.lint.scopes import names_in
from outlive.lint.tree import walk
from outlive.lint.values import Kind

_NAME_OF_SEVERAL = re.compile(r"(?:s|batch|chunk|group|list|bundle|wave|pair|set|tuple|_)\d*$", re.IGNORECASE)


def check(flow: Flow) -> Iterator[Hit]:
    comprehensions: dict[cst.CSTNode, cst.ListComp] | None = None
    for function in flow.functions:
        for call in function.calls:
            if call.callee.symbol != "ray.get" or len(call.node.args) != 1 or not call.loops:
                continue
            loop = call.loops[-1]
            argument = call.node.args[0].value
            if call.tries > loop.tries:  # the program wants to tell which of them failed
                continue
            if loop.target is None or not isinstance(argument, cst.Name) or argument.value not in names_in(loop.target):
                continue
            if _over_refs(call, loop, argument.value):
                if comprehensions is None:
                    comprehensions = {node.for_in: node for node in walk(flow.module) if isinstance(node, cst.ListComp)}
                whole = comprehensions.get(loop.node)
                if whole is not None and isinstance(whole.elt, cst.IfExp):  # only some of them are refs
                    continue
                yield Hit(
                    call.node if whole is None else whole,
                    "ray.get of one ref after the other: the first that is slow, or hangs, hides all others",
                    None if whole is None else _at_once(flow, whole, call, loop),
                )


def _over_refs(call: Call, loop: Loop, name: str) -> bool:
    value = call.arguments[0].value
    if value.awaited:  # all of them are ready, from ray.wait
        return False
    if value.kind is Kind.REF:
        return not (value.inner is not None and value.inner.kind is Kind.REF)
    if value.kind is not Kind.UNKNOWN or value.definition is not None or _NAME_OF_SEVERAL.search(name):
        return False
    if any(around.iterable is not None and _streamed(around.iterable) for around in call.loops):
        return False  # `for task in completed: for ref in task.refs`
    return isinstance(loop.iterable, cst.Name | cst.Attribute)


def _streamed(iterable: cst.BaseExpression) -> bool:
    """Whether it may be a generator of refs, or refs that ray.wait found ready: then one after the other is right."""
    name = iterable.attr.value if isinstance(iterable, cst.Attribute) else getattr(iterable, "value", "")
    return bool(re.search(r"ready|done|finished|completed|gen|stream|iter", str(name), re.IGNORECASE))


def _at_once(flow: Flow, whole: cst.ListComp, call: Call, loop: Loop) -> str | None:
    """`ray.get(refs)` for `[ray.get(ref) for ref in refs]`; None if that might mean something else."""
    clause = whole.for_in
    known = loop.value.is_refs and loop.value.kind is Kind.COLLECTION
    simple = (
        whole.elt is call.node
        and clause is loop.node
        and isinstance(clause.target, cst.Name)
        and not clause.ifs
        and clause.inner_for_in is None
        and clause.asynchronous is None
    )
    source = flow.module.code_for_node(whole)
    if not (known and simple) or "#" in source or "\n" in source:
        return None
    if not all(
        _is_one(made) for function in flow.functions for made in function.calls if made.node in loop.value.sites
    ):
        return None
    refs = flow.module.code_for_node(clause.iter)
    get = flow.module.code_for_node(call.node.func)
    return f"{get}({refs})" if loop.value.is_list else f"{get}(list({refs}))"


def _is_one(made: Call) -> bool:
    """Whether this call certainly gives one ref: with `num_returns` it gives a list, and another file may say so."""
    if made.name != "remote":
        return True
    function = made.base.definition
    if not isinstance(function, Function) or function.node is None:
        return False
    decorators = [part.decorator for part in function.node.decorators]
    given = [made.base.options, *(calls.options(part) for part in decorators if isinstance(part, cst.Call))]
    return all(
        "**" not in one and ("num_returns" not in one or calls.integer(one["num_returns"]) == 1) for one in given
    )
