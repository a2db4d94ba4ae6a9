"""The idle workers of a Ray cluster: why each stays, and how to let it go without harm. It needs no store."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from outlive.workers.guard_record import Decision, GuardState, guard_log, guard_state
    from outlive.workers.guarding import change_guard, guard, stop_guard
    from outlive.workers.inspection import inspect
    from outlive.workers.keeping import KeepTrim, keep_trim
    from outlive.workers.policy import JobPolicy, Policy
    from outlive.workers.recording import record
    from outlive.workers.recycling import recycle
    from outlive.workers.simulation import simulate
    from outlive.workers.trace import Trace
    from outlive.workers.trimming import Trimmed, trim

_HOME = {
    "Decision": "outlive.workers.guard_record",
    "GuardState": "outlive.workers.guard_record",
    "JobPolicy": "outlive.workers.policy",
    "Policy": "outlive.workers.policy",
    "change_guard": "outlive.workers.guarding",
    "guard": "outlive.workers.guarding",
    "guard_log": "outlive.workers.guard_record",
    "guard_state": "outlive.workers.guard_record",
    "stop_guard": "outlive.workers.guarding",
    "inspect": "outlive.workers.inspection",
    "KeepTrim": "outlive.workers.keeping",
    "keep_trim": "outlive.workers.keeping",
    "record": "outlive.workers.recording",
    "recycle": "outlive.workers.recycling",
    "simulate": "outlive.workers.simulation",
    "Trace": "outlive.workers.trace",
    "Trimmed": "outlive.workers.trimming",
    "trim": "outlive.workers.trimming",
}
__all__ = [
    "Decision",
    "GuardState",
    "JobPolicy",
    "KeepTrim",
    "Policy",
    "Trace",
    "Trimmed",
    "change_guard",
    "guard",
    "guard_log",
    "guard_state",
    "inspect",
    "keep_trim",
    "record",
    "recycle",
    "simulate",
    "stop_guard",
    "trim",
]


if not TYPE_CHECKING:  # to a type checker, a name that is not here is an error

    def __getattr__(name: str) -> Any:
        """Load a public name when it is first used."""
        if name not in _HOME:
            raise AttributeError(f"module 'outlive.workers' has no attribute {name!r}")
        value = getattr(importlib.import_module(_HOME[name]), name)
        globals()[name] = value
        return value
