"""A trace: when each task was ready, began and ended, and the number of workers over time. Kept as a Parquet file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outlive.errors import BadTrace
from outlive.extras import need

if TYPE_CHECKING:
    from outlive.ray_internals.task_times import ActorLife

_KEY = b"outlive-workers-trace"
_VERSION = 2  # version 1 had no jobs, no actors, and not the submitter of a task


@dataclass(frozen=True)
class Task:
    """A task that ran. Times are in seconds since the trace began; infinite is an end after the trace."""

    node: str
    job: str
    environment: str
    cpus: float
    ready: float
    """When its arguments were there, and it asked for a worker."""
    start: float
    end: float
    id: str = ""
    parent: str = ""
    """The id of the task that submitted it. A driver has one too."""
    function: str = ""
    actor: bool = False
    """Whether it made an actor, which lived until its end."""


@dataclass(frozen=True)
class Sample:
    """The number of pooled workers of a node at one moment."""

    time: float
    node: str
    workers: int
    idle: int
    unique: int
    """Bytes of unique memory of the idle workers; 0 if not known."""


@dataclass(frozen=True)
class NodeFacts:
    """The facts of a node that the model needs."""

    node: str
    cpus: float
    start_up: float
    """Seconds that a worker takes to start."""
    start_at_once: int
    """Workers that may be starting at the same moment (`maximum_startup_concurrency`)."""
    memory: int
    """Bytes of unique memory of an idle worker."""
    idle_at_first: int = 0
    """Workers that had no job yet."""
    idle_of_jobs: tuple[str, ...] = ()
    """The jobs of the other idle workers."""


@dataclass(frozen=True)
class Trace:
    """Tasks and the nodes that they ran on."""

    tasks: tuple[Task, ...]
    nodes: tuple[NodeFacts, ...]
    seconds: float
    samples: tuple[Sample, ...] = field(default=())
    job_ends: tuple[tuple[str, float], ...] = ()
    """Jobs that ended meanwhile or before, and when."""
    lost: int = 0
    """The largest number of tasks that may be missing: Ray had dropped their events."""

    def write(self, path: Path) -> None:
        """Write it as a Parquet file: a row per task; the rest is in the schema's metadata."""
        need("pyarrow")
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = {name: [getattr(task, name) for task in self.tasks] for name in Task.__dataclass_fields__}
        types = {"str": pa.string(), "bool": pa.bool_(), "float": pa.float64()}
        schema = pa.schema([(name, types[str(one.type)]) for name, one in Task.__dataclass_fields__.items()])
        about = {
            "version": _VERSION,
            "seconds": self.seconds,
            "lost": self.lost,
            "job_ends": self.job_ends,
            "nodes": [asdict(node) for node in self.nodes],
            "samples": [asdict(sample) for sample in self.samples],
        }
        table = pa.table(columns, schema=schema.with_metadata({_KEY: json.dumps(about).encode()}))
        pq.write_table(table, path)

    @classmethod
    def read(cls, path: Path) -> Trace:
        """Read a trace.

        Raises
        ------
        BadTrace
            The file is no trace, or of a later version.
        OSError
            It cannot be read.
        """
        need("pyarrow")
        import pyarrow as pa
        import pyarrow.parquet as pq

        with path.open("rb"):
            pass  # pyarrow's own error for a file that is not there names no file
        try:
            table = pq.read_table(path)
            about = json.loads((table.schema.metadata or {})[_KEY])
            if about["version"] not in range(1, _VERSION + 1):
                raise BadTrace(f"{path} is a trace of version {about['version']}: a later outlive wrote it")
            return cls(
                tasks=tuple(Task(**row) for row in table.to_pylist()),
                nodes=tuple(_node(**node) for node in about["nodes"]),
                seconds=float(about["seconds"]),
                samples=tuple(Sample(**sample) for sample in about["samples"]),
                job_ends=tuple((job, float(end)) for job, end in about.get("job_ends", ())),
                lost=int(about.get("lost", 0)),
            )
        except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
            if isinstance(error, BadTrace):
                raise
            raise BadTrace(f"{path} is no trace: record one with `outlive workers record -o trace.parquet`") from None


def _node(*, idle_of_jobs: Iterable[str] = (), **facts: Any) -> NodeFacts:
    return NodeFacts(**facts, idle_of_jobs=tuple(idle_of_jobs))


def from_events(
    events: Iterable[Any],
    began: float,
    ended: float,
    leave_out_job: str | None = None,
    actors: Mapping[str, ActorLife] | None = None,
) -> list[Task]:
    """The tasks in these task events that ran between two moments (Unix times), without those of one job.

    Parameters
    ----------
    actors
        By actor id: the node of an actor, and its end. Other actors are left out.
    """
    from outlive.ray_internals.task_times import task_times

    tasks = []
    for times in map(task_times, events):
        if times is None or times.job == leave_out_job or times.ready > ended:
            continue
        node, end = times.node, times.end
        if times.actor is not None:
            life = (actors or {}).get(times.actor)
            if life is None:
                continue
            node, end = life.node, life.end
        if end is not None and end <= began:
            continue
        tasks.append(
            Task(
                node=node,
                job=times.job,
                environment=times.environment,
                cpus=times.cpus,
                ready=times.ready - began,
                start=times.start - began,
                end=math.inf if end is None or end > ended else end - began,
                id=times.id,
                parent=times.parent,
                function=times.function,
                actor=times.actor is not None,
            )
        )
    return sorted(tasks, key=lambda task: task.ready)
