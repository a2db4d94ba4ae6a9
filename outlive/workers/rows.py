"""The report that `inspect` returns: a row per worker process, totals, and the settings in force."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from outlive.workers.settings import Setting

State = Literal["running", "idle", "leaving", "actor", "io", "silent"]
ReasonKind = Literal[
    "not idle",
    "waits for its tasks",
    "owns objects",
    "owns objects, max_calls spent",
    "holds borrowed refs",
    "reaper off",
    "below threshold",
    "within soft limit",
    "not counted",
    "job ended",
    "due",
    "started ahead",
    "no answer",
]


@dataclass(frozen=True)
class Reason:
    """A reason why a worker is still here, and what would let it go."""

    kind: ReasonKind
    text: str
    remedy: str | None = None


@dataclass(frozen=True)
class Worker:
    """One worker process. Sizes are in bytes, times in seconds. None: the node does not tell."""

    node_id: str
    worker_id: str
    pid: int
    job: str | None
    """None: it was started ahead, and has no job yet."""
    title: str | None
    state: State
    idle_for: float | None
    unique: int | None
    """Memory that becomes free when it ends (USS)."""
    shared: int | None
    """The rest of its RES: libraries and arrays that other processes map too. RES = unique + shared."""
    owned: int
    """Objects that it owns. They would be lost with it."""
    borrowed: int
    """Other objects and actors to which it holds references."""
    tasks: int
    """Tasks that it ran so far."""
    tasks_pending: int = 0
    """Tasks that it submitted and that have not ended."""
    job_ended: bool = False
    heir: str | None = None
    """A detached actor of its ended job that lives, and whose tasks it may get."""
    silent_since: float | None = None
    """Unix time at which a `silent` worker first did not answer this process. It is not known what it owns and runs."""
    function: str | None = None
    """The function of its last task that ended. Its memory holds remains of that task, or of those before."""
    reasons: tuple[Reason, ...] = ()
    """All reasons why it is still here. The first is the one to remove first."""

    def aged(self, idle_for: float | None) -> Worker:
        """The same worker with another `idle_for`. For thousands of workers, `dataclasses.replace` is slow."""
        other = object.__new__(Worker)
        other.__dict__.update(self.__dict__, idle_for=idle_for)
        return other

    @property
    def why(self) -> str:
        """The first reason, in words."""
        return self.reasons[0].text if self.reasons else ""

    @property
    def retirable(self) -> bool:
        """Whether `trim` may end it: it is idle, and holds nothing that a process needs."""
        return self.state == "idle" and not any(
            reason.kind in {"not idle", "waits for its tasks", "owns objects", "holds borrowed refs"}
            for reason in self.reasons
        )


@dataclass(frozen=True)
class Total:
    """Workers of one node or one job, added up."""

    name: str
    workers: int
    idle: int
    unique: int
    idle_unique: int
    """Bytes that would become free if every idle worker left."""
    owned: int


@dataclass(frozen=True)
class NodeReport:
    """A node and the settings in force on it."""

    node_id: str
    name: str
    available_cpus: int
    keeps: int
    """The number of workers that its reaper keeps now although they are idle for longer than the threshold."""
    settings: tuple[Setting, ...]
    start_at_once: int
    """Workers that may be starting at the same moment (`maximum_startup_concurrency`); 0: not known."""
    settings_known: bool
    """False: the raylet's environment could not be read. It may override a default."""
    error: str | None = None


@dataclass(frozen=True)
class Report:
    """All workers of a cluster at one moment."""

    time: float
    ray_version: str
    workers: tuple[Worker, ...] = ()
    nodes: tuple[NodeReport, ...] = field(default=())
    entrypoints: dict[str, str] = field(default_factory=dict)
    """By job id: how the job was started."""

    @property
    def unseen(self) -> tuple[str, ...]:
        """Names the nodes and workers that did not answer."""
        nodes = [f"node {node.node_id[:8]}: {node.error}" for node in self.nodes if node.error]
        silent = [worker for worker in self.workers if worker.state == "silent"]
        return (*nodes, *(f"pid {one.pid} on node {one.node_id[:8]}: {one.why}" for one in silent))

    def by_node(self) -> list[Total]:
        """Totals of each node."""
        return _totals(self.workers, lambda worker: worker.node_id)

    def by_job(self) -> list[Total]:
        """Totals of each job; `none` is for workers that no job was given yet."""
        return _totals(self.workers, lambda worker: worker.job or "none")

    def by_function(self) -> list[Total]:
        """Totals by the function of the workers' last tasks; `none` is for workers without a known one."""
        return _totals(self.workers, lambda worker: worker.function or "none")

    def total(self) -> Total:
        """Totals of all workers."""
        return _total("all", self.workers)

    def to_json(self) -> dict[str, Any]:
        """Everything, for a script."""
        return {
            **dataclasses.asdict(self),
            "by_node": [dataclasses.asdict(total) for total in self.by_node()],
            "by_job": [dataclasses.asdict(total) for total in self.by_job()],
            "by_function": [dataclasses.asdict(total) for total in self.by_function()],
        }


def _totals(workers: Iterable[Worker], key: Callable[[Worker], str]) -> list[Total]:
    groups: dict[str, list[Worker]] = {}
    for worker in workers:
        groups.setdefault(key(worker), []).append(worker)
    return [_total(name, members) for name, members in sorted(groups.items())]


def _total(name: str, workers: Iterable[Worker]) -> Total:
    members = list(workers)
    idle = [worker for worker in members if worker.state in {"idle", "leaving"}]
    return Total(
        name=name,
        workers=len(members),
        idle=len(idle),
        unique=sum(worker.unique or 0 for worker in members),
        idle_unique=sum(worker.unique or 0 for worker in idle),
        owned=sum(worker.owned for worker in members),
    )
