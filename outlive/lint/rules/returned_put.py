"""OUT205: a task or actor hands out refs of its own `ray.put`."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from outlive.lint.flow import Flow
from outlive.lint.rule import Hit
from outlive.lint.rules.max_calls_owner import limit
from outlive.lint.values import carried


def check(flow: Flow) -> Iterator[Hit]:
    for function in flow.functions:
        in_actor = function.owner is not None and function.owner.is_actor
        if not (in_actor or function.is_task) or limit(function) is not None:  # that is OUT201
            continue
        if in_actor and function.name.startswith("_"):  # the actor may do so
            continue
        put: set[cst.CSTNode] = {
            call.node for part in function.extent() for call in part.calls if call.callee.symbol == "ray.put"
        }
        if in_actor:  # an actor that keeps the ref itself is meant to be the owner
            put -= {site for part in function.extent() for site in part.kept}
        who = "actor" if in_actor else "worker"
        for exit_ in function.exits:
            if carried(exit_.value) & put:
                yield Hit(
                    exit_.node, f"{function.label} hands out a ref that its own {who} owns, and that ends with it"
                )
