"""Misspelled names: an unknown name is corrected only if it is certainly a misspelling of a known one.

Names that look alike may mean different things: `head_node` was a machine, `head_node_type` is the name of a kind.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LEGACY = {
    "autoscaling_mode": "Ray 2 has no modes: upscaling_speed says how many nodes may start at once",
    "head_node": "since Ray 2 the machine stands in available_node_types.<name>.node_config; head_node_type names it",
    "initial_workers": "it is gone since Ray 2: min_workers of each node type",
    "min_workers": "since Ray 2 each node type has its own min_workers",
    "target_utilization_fraction": "it is gone: upscaling_speed = 1 / fraction - 1",
    "worker_default_node_type": "it is gone since Ray 2: each type in available_node_types has its own numbers",
    "worker_nodes": "since Ray 2 the machines stand in available_node_types.<name>.node_config",
    "idleTimeoutMinutes": "idleTimeoutSeconds, which counts in seconds",
    "idle_timeout_minutes": "KubeRay: autoscalerOptions.idleTimeoutSeconds, which counts in seconds",
    "upscaling_speed": "KubeRay: autoscalerOptions.upscalingMode: Default, Aggressive or Conservative",
    "--redis-address": "it is --address since Ray 1",
    "--redis-port": "it is --port since Ray 1",
    "--gcs-server-port": "it is --port since Ray 1.11",
    "--include-webui": "it is --include-dashboard since Ray 1",
    "--internal-config": "it is --system-config since Ray 1",
}
"""Names of other versions, or of the other kind of file, and their names now."""


def meant(name: str, known: Iterable[str]) -> str | None:
    """The one known name that this certainly is: one letter off, two swapped, or written in another case."""
    if name in LEGACY:
        return None
    close = [one for one in known if _bare(one) == _bare(name) or _one_off(one, name)]
    return close[0] if len(close) == 1 else None


def advice(name: str, known: Iterable[str]) -> str:
    """The advice what to write instead."""
    known = sorted(known)
    if certain := meant(name, known):
        return f"did you mean {certain}?"
    if name in LEGACY:
        return LEGACY[name]
    close = difflib.get_close_matches(name, known, 1, 0.8)
    if close:
        return f"perhaps {close[0]}; it is not certain that this is the same"
    return f"one of: {', '.join(known)}" if len(known) < 40 else "leave it out"


def _bare(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def _one_off(one: str, other: str) -> bool:
    """Whether they are one edit apart (Damerau). False for short names: there one letter makes another word."""
    if min(len(one), len(other)) < 6 or abs(len(one) - len(other)) > 1:
        return False
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    a, b = one[start:], other[start:]
    return a[1:] == b[1:] or a[1:] == b or a == b[1:] or (a[:2] == b[:2][::-1] and a[2:] == b[2:])
