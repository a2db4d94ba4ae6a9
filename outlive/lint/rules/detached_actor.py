"""OUT301, OUT302: a detached actor that nobody will find again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import libcst as cst

from outlive.lint import calls
from outlive.lint.definitions import Call
from outlive.lint.flow import Flow
from outlive.lint.rule import Hit, Rule
from outlive.lint.values import Kind

_NAMED = {"ray.init", "ray.get_actor"}


def _created(flow: Flow) -> Iterator[tuple[Call, Mapping[str, cst.BaseExpression]]]:
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


def _without_name(flow: Flow) -> Iterator[Hit]:
    for call, given in _created(flow):
        if "name" not in given or calls.is_none(given["name"]):
            yield Hit(
                call.node, "a detached actor without a name: once this handle is gone, nobody can reach or end it"
            )


def _without_namespace(flow: Flow) -> Iterator[Hit]:
    """None in a module that names a namespace anywhere: there, somebody has thought of it."""
    for function in flow.functions:
        for call in function.calls:
            if call.callee.symbol in _NAMED and {"namespace", "**"} & set(calls.options(call.node)):
                return
    for call, given in _created(flow):
        if "name" in given and not calls.is_none(given["name"]) and "namespace" not in given:
            yield Hit(
                call.node,
                "a detached actor without a namespace: another program does not find it, and makes another one",
            )


WITHOUT_NAME = Rule(
    code="OUT301",
    name="detached-actor-without-name",
    why=(
        "A detached actor lives until it is killed, and ray.get_actor needs a name for that. Without one it "
        "keeps its memory, its objects and its node for as long as the cluster runs."
    ),
    fix=(
        'Give it a name and a namespace: .options(lifetime="detached", name="store", namespace="app", '
        "get_if_exists=True)."
    ),
    check=_without_name,
)
WITHOUT_NAMESPACE = Rule(
    code="OUT302",
    name="detached-actor-without-namespace",
    why=(
        "A program that does not name its namespace gets a new, random one. The next program finds no actor "
        "of this name there, and get_if_exists makes another one, while the first lives on."
    ),
    fix='Name the namespace, in .options(namespace="app") and ray.get_actor(name, namespace="app"), or in ray.init.',
    check=_without_namespace,
)
