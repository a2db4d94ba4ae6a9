"""Ray Client: a program outside the cluster, connected by `ray.init("ray://...")`.

Source: ray/util/client/__init__.py, `RayAPIStub` and `_ClientContext` (2.49 to 2.60).
"""

from __future__ import annotations

from typing import Any


def connection() -> Any:
    """The object of this process's connection by Ray Client: a new one after each `ray.init`, None without one."""
    from ray.util.client import ray as client

    return client.get_context().client_worker if client.is_connected() else None  # type: ignore[no-untyped-call]


def is_client() -> bool:
    """Whether this process is connected to a cluster by Ray Client."""
    return connection() is not None
