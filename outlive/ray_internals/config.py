"""Settings: the ones that the cluster was started with, and the names that this Ray knows."""

from __future__ import annotations

import json
import mmap
from functools import lru_cache
from pathlib import Path
from typing import Any

import ray

from outlive.ray_internals import rpc

_INLINED = 16  # a name this short may be a number in the code instead of a string in the binary


def system_config() -> dict[str, Any]:
    """The head's `--system-config` or `_system_config`, with Ray's own additions. It holds for all nodes.

    The GCS hands the same to every raylet (`InternalKVGcsService.GetInternalConfig`).
    """
    gcs_service_pb2 = rpc.messages("gcs_service")

    with rpc.explained("the GCS"):
        reply = rpc.gcs("InternalKV").GetInternalConfig(
            gcs_service_pb2.GetInternalConfigRequest(), timeout=rpc.PATIENCE
        )
    loaded: dict[str, Any] = json.loads(reply.config or "{}")
    return loaded


def raylet_binary() -> Path:
    """The installed raylet."""
    return Path(str(ray.__file__)).parent / "core" / "src" / "ray" / "raylet" / "raylet"


@lru_cache(maxsize=4096)
def knows_setting(name: str) -> bool | None:
    """Whether the installed raylet knows a setting of this name; None if it cannot tell.

    `RAY_CONFIG(type, name, default)` leaves the string `RAY_<name>` in the binary.
    """
    path = raylet_binary()
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
            if data.find(f"RAY_{name}\0".encode()) >= 0 or data.find(f"\0{name}\0".encode()) >= 0:
                return True
    except (OSError, ValueError):
        return None
    return None if len(name) <= _INLINED else False


@lru_cache(maxsize=1)
def known_settings() -> frozenset[str]:
    """The names of settings that can be read from the installed raylet. Some are missing: see `knows_setting`."""
    import re

    try:
        with raylet_binary().open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
            return frozenset(name.decode() for name in re.findall(rb"RAY_([a-z][a-z0-9_]{3,80})\0", data))
    except (OSError, ValueError):
        return frozenset()
