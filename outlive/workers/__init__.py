"""Who is idle, why they stay, and how to let them go without harm. On any Ray cluster, with or without a store."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from outlive.workers.inspection import inspect
    from outlive.workers.keeping import KeepTrim, keep_trim
    from outlive.workers.recycling import recycle
    from outlive.workers.trimming import Trimmed, trim

_HOME = {
    "inspect": "outlive.workers.inspection",
    "KeepTrim": "outlive.workers.keeping",
    "keep_trim": "outlive.workers.keeping",
    "recycle": "outlive.workers.recycling",
    "Trimmed": "outlive.workers.trimming",
    "trim": "outlive.workers.trimming",
}
__all__ = ["KeepTrim", "Trimmed", "inspect", "keep_trim", "recycle", "trim"]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    if name not in _HOME:
        raise AttributeError(f"module 'outlive.workers' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value
