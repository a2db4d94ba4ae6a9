"""OUT602: a setting of Ray's idle reaper that no raylet will read."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from outlive.lint import calls
from outlive.lint.definitions import Call, Function
from outlive.lint.flow import Flow
from outlive.lint.rule import Hit

_SETTINGS = {
    f"RAY_{name}"
    for name in ("kill_idle_workers_interval_ms", "idle_worker_killing_time_threshold_ms", "num_workers_soft_limit")
}
_SETTERS = {"os.environ.setdefault", "os.putenv"}


def check(flow: Flow) -> Iterator[Hit]:
    for function in flow.functions:
        in_worker = function.is_task or (function.owner is not None and function.owner.is_actor)
        started = _started(function)
        for node, name, before in _set(function):
            if in_worker:
                yield Hit(node, f"{name} set in a worker: the raylet, which reads it, was started long before")
            elif started is not None and before > started:
                yield Hit(node, f"{name} set after ray.init: the raylet has read its settings already")
        for call in function.calls:
            if call.callee.symbol == "ray.init" and _joins(call):
                yield Hit(call.node, "ray.init(_system_config=...) with an address raises ValueError")


def _set(function: Function) -> Iterator[tuple[cst.CSTNode, str, int]]:
    """The settings in the environment: the node, the name, and the number of calls before it."""
    for setting in function.settings:
        if setting.name in _SETTINGS:
            yield setting.node, setting.name, setting.before
    for number, call in enumerate(function.calls):
        name = calls.text(call.node.args[0].value) if call.node.args else None
        if call.callee.symbol in _SETTERS and name in _SETTINGS:
            yield call.node, name or "", number


def _started(function: Function) -> int | None:
    """The number of the last ray.init of the function; none if the function shuts Ray down."""
    found = None
    for number, call in enumerate(function.calls):
        if call.callee.symbol == "ray.init":
            found = number
        elif call.callee.symbol == "ray.shutdown":
            return None
    return found


def _joins(call: Call) -> bool:
    given, first = calls.options(call.node), call.positional(0)
    config = given.get("_system_config")
    address = calls.text(given.get("address") or (first.node.value if first else None))
    empty = config is None or calls.is_none(config) or (isinstance(config, cst.Dict) and not config.elements)
    return not empty and address is not None and address != "local"
