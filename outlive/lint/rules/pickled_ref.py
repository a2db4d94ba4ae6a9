"""OUT206: a ref is pickled by hand, or made of an id."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from outlive.lint import calls
from outlive.lint.flow import Flow
from outlive.lint.rule import Hit
from outlive.lint.values import Kind, carried

_PICKLERS = {f"{module}.{name}" for module in ("pickle", "_pickle", "dill", "joblib") for name in ("dump", "dumps")} | {
    "torch.save"
}
_PINNING = {f"{module}.{name}" for module in ("cloudpickle", "ray.cloudpickle") for name in ("dump", "dumps")}


def check(flow: Flow) -> Iterator[Hit]:
    used = _used(flow)
    for function in flow.functions:
        # this tells Ray the owner
        registers = any(call.name.endswith("register_object_ref") for call in function.calls)
        for call in function.calls:
            name, arguments = call.callee.symbol, call.arguments
            if call.callee.kind is not Kind.SYMBOL or not arguments:
                continue
            if name in calls.FROM_ID:
                if call.node in used and len(arguments) == 1 and not registers:
                    yield Hit(call.node, "a ref made of an id knows no owner: ray.get of it waits for ever")
            elif name in _PICKLERS and carried(arguments[0].value):
                yield Hit(call.node, f"{name} of a ref loses its owner: ray.get of what is loaded waits for ever")
            elif name in _PINNING and carried(arguments[0].value):
                yield Hit(call.node, f"{name} of a ref keeps its object until the job ends, and no longer")


def _used(flow: Flow) -> set[cst.CSTNode]:
    """The sites of the refs that are fetched, waited for or sent."""
    return {
        site
        for function in flow.functions
        for call in function.calls
        if call.callee.symbol in {"ray.get", "ray.wait"} or call.name == "remote"
        for argument in call.arguments
        for site in carried(argument.value)
    }
