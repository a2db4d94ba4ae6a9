"""What only a process on the node itself can see: each worker's memory and title, and the raylet's environment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from outlive.ray_internals.node_workers import Node

_OWN_WORKER = {"env_vars": {"OUTLIVE_PROBE": "1"}}  # an environment of its own: no worker of the user's job is used up
_PATIENCE = 20.0  # seconds for a node to run the probe


@dataclass(frozen=True)
class Seen:
    """What the node told. Missing pids are those of processes that are gone, or of another user."""

    memory: dict[int, tuple[int, int]]
    """Pid to (unique, shared) bytes; together the process's RES."""
    titles: dict[int, str]
    environment: dict[str, str] | None
    """The raylet's `RAY_...` variables, without the prefix."""
    start_at_once: int = 0
    """The raylet's `--maximum_startup_concurrency`."""
    error: str | None = None


def look(node: Node, pids: Sequence[int], *, here: bool) -> Seen:
    """Look at the workers `pids` of `node`.

    Parameters
    ----------
    here
        The node runs on this machine: no task is needed. Elsewhere a task of no CPUs does it, in a worker of its own
        that ends with it. No actor stays behind: that would hold the node.
    """
    probe = _make_probe()
    if here:
        return Seen(*probe(node.node_id, list(pids)))
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    strategy = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
    task: Any = ray.remote(num_cpus=0, max_retries=0, max_calls=1, runtime_env=_OWN_WORKER)(probe)
    try:
        answer = ray.get(task.options(scheduling_strategy=strategy).remote(node.node_id, list(pids)), timeout=_PATIENCE)
    except ray.exceptions.RayError as error:
        return Seen({}, {}, None, error=f"no look at its memory: {type(error).__name__}")
    return Seen(*answer)


def _make_probe() -> Callable[[str, list[int]], Any]:
    """The probe, as a closure: so it is sent by value, and the node needs no outlive."""

    def probe(
        node_id: str, pids: list[int]
    ) -> tuple[dict[int, tuple[int, int]], dict[int, str], dict[str, str] | None, int]:
        import os

        memory, titles = {}, {}
        for pid in pids:
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    titles[pid] = file.read().split(b"\0")[0].decode(errors="replace")
                with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
                    sizes = {line.split()[0]: int(line.split()[1]) << 10 for line in file if line.endswith(b" kB\n")}
            except (OSError, ValueError, IndexError):
                continue
            unique = sum(sizes.get(name, 0) for name in (b"Private_Clean:", b"Private_Dirty:", b"Private_Hugetlb:"))
            memory[pid] = unique, max(0, sizes.get(b"Rss:", 0) - unique)
        environment, start_at_once = None, 0
        for entry in os.listdir("/proc"):
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    words = file.read().split(b"\0")
                if not words[0].endswith(b"raylet") or f"--node_id={node_id}".encode() not in words:
                    continue
                with open(f"/proc/{entry}/environ", "rb") as file:
                    lines = file.read().decode(errors="replace").split("\0")
            except OSError:
                continue
            environment = {
                line.partition("=")[0][4:]: line.partition("=")[2] for line in lines if line.startswith("RAY_")
            }
            for word in words:
                if word.startswith(b"--maximum_startup_concurrency="):
                    start_at_once = int(word.partition(b"=")[2])
        return memory, titles, environment, start_at_once

    return probe
