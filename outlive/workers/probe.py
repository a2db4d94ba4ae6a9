"""A look at a node by a process on that node: each worker's memory and title, and the raylet's environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from outlive.ray_internals.node_workers import LiveNode

_OWN_WORKER = {"env_vars": {"OUTLIVE_PROBE": "1"}}  # an environment of its own: it takes no worker of the user's job
_PATIENCE = 20.0  # seconds for a node to run the probe


@dataclass(frozen=True)
class Raylet:
    """How a node's raylet was started."""

    environment: dict[str, str] | None
    """Its `RAY_...` variables, without the prefix. None: the raylet belongs to another user, and they cannot be read.
    """
    start_at_once: int
    """Its `--maximum_startup_concurrency`; 0 if not known."""


@dataclass(frozen=True)
class Seen:
    """The facts of one machine. A pid is missing if the process is gone, or belongs to another user."""

    memory: dict[int, tuple[int, int]] = field(default_factory=dict)
    """By pid: unique and shared bytes, which make up the process's RES."""
    titles: dict[int, str] = field(default_factory=dict)
    stopped: frozenset[int] = frozenset()
    """Pids of processes that the kernel does not run: stopped by a signal, or traced by a debugger."""
    raylets: dict[str, Raylet] = field(default_factory=dict)
    """By node id: the raylets on that machine that share this process's pid namespace."""
    error: str | None = None
    by: int | None = None
    """The pid of the worker that looked, if it was a task of another machine. It ends by itself."""


def look(pids: Mapping[str, Sequence[int]]) -> Seen:
    """Look at this machine.

    Parameters
    ----------
    pids
        Pids by node id. Nodes of other machines are ignored: their numbers belong to other processes here.
    """
    return _seen(_make_probe()({node_id: list(numbers) for node_id, numbers in pids.items()}))


def look_there(node: LiveNode, pids: Sequence[int]) -> Seen:
    """Look at a node by a task without CPUs, in a worker of its own that ends with it.

    An actor would hold the node. This process must have joined the cluster.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    if not ray.is_initialized():
        return Seen(error="no look at its memory: this process has not joined the cluster")
    asked = {node.node_id: list(pids)}
    strategy = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
    try:
        answer = ray.get(_task().options(scheduling_strategy=strategy).remote(asked), timeout=_PATIENCE)
    except ray.exceptions.RayError as error:
        return Seen(error=f"no look at its memory: {type(error).__name__}")
    return _seen(answer)


@lru_cache(maxsize=1)
def _task() -> Any:
    """The task that looks. Ray keeps each function of a job for as long as the job lasts, so it is made once."""
    import ray

    return ray.remote(num_cpus=0, max_retries=0, max_calls=1, runtime_env=_OWN_WORKER)(_make_probe())


_Told = tuple[
    dict[int, tuple[int, int]], dict[int, str], list[int], dict[str, tuple["dict[str, str] | None", int]], int
]


def _seen(told: _Told) -> Seen:
    memory, titles, stopped, raylets, by = told
    found = {node_id: Raylet(*how) for node_id, how in raylets.items()}
    return Seen(memory, titles, frozenset(stopped), found, by=by)


def _make_probe() -> Callable[[dict[str, list[int]]], _Told]:  # noqa: C901 - it is sent as a whole
    """The probe as a closure, which travels by value: the node needs no outlive."""

    def read(path: str) -> bytes:
        with open(path, "rb") as file:
            return file.read()

    def numbering(pid: str) -> int:
        """The depth of the process's pid namespace. Pids mean the same only at the same depth."""
        names = [line for line in read(f"/proc/{pid}/status").splitlines() if line.startswith(b"NSpid:")]
        return len(names[0].split()) if names else 2

    def environment(pid: str) -> dict[str, str] | None:
        try:
            entries = read(f"/proc/{pid}/environ").decode(errors="replace").split("\0")
        except OSError:
            return None
        parts = [entry.partition("=") for entry in entries if entry.startswith("RAY_")]
        return {name[4:]: value for name, _, value in parts}

    def raylet(pid: str) -> tuple[str, dict[str, str] | None, int] | None:
        """Node id, environment and startup concurrency of a process, if it is a raylet in our pid namespace."""
        words = read(f"/proc/{pid}/cmdline").split(b"\0")
        if not words[0].endswith(b"raylet") or numbering(pid) != numbering("self"):
            return None
        given = {word.partition(b"=")[0]: word.partition(b"=")[2].decode() for word in words}
        at_once = given.get(b"--maximum_startup_concurrency", "")
        return given.get(b"--node_id", ""), environment(pid), int(at_once) if at_once.isdigit() else 0

    def size(pid: int) -> tuple[int, int]:
        lines = [line.split() for line in read(f"/proc/{pid}/smaps_rollup").splitlines()]
        sizes = {line[0]: int(line[1]) << 10 for line in lines if line[-1] == b"kB"}
        unique = sum(sizes.get(name, 0) for name in (b"Private_Clean:", b"Private_Dirty:", b"Private_Hugetlb:"))
        return unique, max(0, sizes.get(b"Rss:", 0) - unique)

    def probe(pids: dict[str, list[int]]) -> _Told:
        import contextlib
        import os

        raylets, memory, titles, stopped = {}, {}, {}, []
        for entry in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                if entry.isdigit() and (found := raylet(entry)) is not None and found[0] in pids:
                    raylets[found[0]] = found[1:]
        for pid in [pid for node_id in raylets for pid in pids[node_id]]:
            with contextlib.suppress(OSError, ValueError, IndexError):
                titles[pid] = read(f"/proc/{pid}/cmdline").split(b"\0")[0].decode(errors="replace")
                if read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[0] in {b"T", b"t"}:
                    stopped.append(pid)
                memory[pid] = size(pid)
        return memory, titles, stopped, raylets, os.getpid()

    return probe
