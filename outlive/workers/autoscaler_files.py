"""The files of the installed Ray for `ray up`: their schema, and the default commands that start Ray."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from outlive.extras import need

DISTINCTIVE = {
    "auth", "autoscaling_mode", "available_node_types", "cluster_name", "head_node", "head_node_type",
    "head_start_ray_commands", "idle_timeout_minutes", "initial_workers", "max_workers", "provider", "setup_commands",
    "upscaling_speed", "worker_nodes", "worker_start_ray_commands",
}  # fmt: skip
"""Keys that only a file for `ray up` has at its top, of today's schema and of those before Ray 2."""


def is_cluster(data: Any) -> bool:
    """Whether it looks like a file for `ray up`."""
    return isinstance(data, dict) and bool(DISTINCTIVE & set(data)) and not {"services", "kind"} & set(data)


@lru_cache(maxsize=1)
def schema() -> dict[str, Any]:
    """The schema of the installed Ray."""
    loaded: dict[str, Any] = json.loads((_folder() / "ray-schema.json").read_text())
    return loaded


def start_commands(provider: str) -> list[str] | None:
    """The default commands that start the head; None if Ray has no defaults for this provider."""
    import yaml

    path = _folder() / provider / "defaults.yaml"
    if not provider.isidentifier() or not path.is_file():
        return None
    found = yaml.safe_load(path.read_text()).get("head_start_ray_commands")
    return [str(command) for command in found] if isinstance(found, list) else None


def _folder() -> Path:
    need("ray")
    spec = find_spec("ray")  # to import Ray takes half a second
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "autoscaler"
