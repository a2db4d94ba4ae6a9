"""OUT301, OUT302: a detached actor that no program will find again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import libcst as cst

from outlive.lint import calls
from outlive.lint.definitions import Call
from outlive.lint.flow import Flow
from outlive.lint.rule import Hit
from outlive.lint.values import Kind

_NAMED = {"ray.init", "ray.get_actor"}


def created(flow: Flow) -> Iterator[tuple[Call, Mapping[str, cst.BaseExpression]]]:
    """The detached actors."""
    for function in flow.functions:
        for call in function.calls:
            if call.name != "remote" or call.result.kind is not Kind.ACTOR:
                continue
            given = dict(call.base.options)
            if call.base.definition is not None:
                given = {**(call.base.definition.options or {}), **given}
            if "**" not in given and calls.text(given.get("lifetime")) == "detached":
                yield call, given


def without_name(flow: Flow) -> Iterator[Hit]:
    for call, given in created(flow):
        if "name" not in given or calls.is_none(given["name"]):
            yield Hit(
                call.node, "a detached actor without a name: once this handle is gone, nobody can reach or end it"
            )


def without_namespace(flow: Flow) -> Iterator[Hit]:
    """No finding in a module that names a namespace anywhere: its author has thought of it."""
    for function in flow.functions:
        for call in function.calls:
            if call.callee.symbol in _NAMED and {"namespace", "**"} & set(calls.options(call.node)):
                return
    for call, given in created(flow):
        if "name" in given and not calls.is_none(given["name"]) and "namespace" not in given:
            yield Hit(
                call.node,
                "a detached actor without a namespace: another program does not find it, and makes another one",
            )
