"""Who is idle, why they stay, and how to let them go without harm. On any Ray cluster, with or without a store."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from outlive.workers.inspection import inspect

_HOME = {
    "inspect": "outlive.workers.inspection",
}
__all__ = ["inspect"]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    if name not in _HOME:
        raise AttributeError(f"module 'outlive.workers' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value
