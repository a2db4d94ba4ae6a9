"""Whether this process has loaded Ray: if not, it is connected to no cluster. Nothing here loads it."""

from __future__ import annotations

import sys

from outlive.errors import StoreUnavailable
from outlive.extras import need


def is_loaded() -> bool:
    return sys.modules.get("ray") is not None


def not_connected() -> StoreUnavailable:
    """The error for a process that has not loaded Ray. Raises MissingPackage if Ray is not installed."""
    need("ray")
    return StoreUnavailable(
        "this process is not connected to a Ray cluster; call outlive.open(), or ray.init(address=...) first"
    )


def is_client() -> bool:
    """Whether this process is connected to a cluster by Ray Client."""
    if not is_loaded():
        return False
    from outlive.ray_internals import client

    return client.is_client()


def is_connected() -> bool:
    """Whether this process is connected to a cluster, in whatever way."""
    if not is_loaded():
        return False
    import ray

    return bool(ray.is_initialized())


def unanswered() -> tuple[type[Exception], ...]:
    """The errors, for `except`, if catalog or keeper cannot be asked."""
    return (StoreUnavailable, *ray_errors())


def ray_errors() -> tuple[type[Exception], ...]:
    """The base of Ray's errors, for `except`. None can be raised where Ray is not loaded."""
    if not is_loaded():
        return ()
    from ray.exceptions import RayError

    return (RayError,)
