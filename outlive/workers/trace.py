"""A trace: when each task was ready, began and ended, and how many workers there were meanwhile. A Parquet file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from outlive.errors import BadTrace

_KEY = b"outlive-workers-trace"
_VERSION = 1


@dataclass(frozen=True)
class Task:
    """A task that ran. Times in seconds since the trace began."""

    node: str
    job: str
    environment: str
    cpus: float
    ready: float
    """Its arguments were there, and it asked for a worker."""
    start: float
    end: float


@dataclass(frozen=True)
class Sample:
    """How many pooled workers a node had at a moment."""

    time: float
    node: str
    workers: int
    idle: int
    unique: int
    """Bytes of unique memory of the idle ones; 0 if it is not known."""


@dataclass(frozen=True)
class NodeFacts:
    """What the model has to know of a node."""

    node: str
    cpus: float
    start_up: float
    """Seconds that a worker takes to start."""
    start_at_once: int
    """Workers that may be starting at the same moment (`maximum_startup_concurrency`)."""
    memory: int
    """Bytes of unique memory of an idle worker."""
    idle_at_first: int = 0


@dataclass(frozen=True)
class Trace:
    """Tasks and what they ran on."""

    tasks: tuple[Task, ...]
    nodes: tuple[NodeFacts, ...]
    seconds: float
    samples: tuple[Sample, ...] = field(default=())
    lost: int = 0
    """Tasks at most that ran meanwhile and are not in it: Ray had dropped what it knew of them."""

    def write(self, path: Path) -> None:
        """Write it as a Parquet file: a row per task; the rest is in the schema's metadata."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = {name: [getattr(task, name) for task in self.tasks] for name in Task.__dataclass_fields__}
        types = {name: pa.string() for name in ("node", "job", "environment")}
        schema = pa.schema([(name, types.get(name, pa.float64())) for name in columns])
        about = {
            "version": _VERSION,
            "seconds": self.seconds,
            "lost": self.lost,
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
        import pyarrow as pa
        import pyarrow.parquet as pq

        with path.open("rb"):
            pass  # pyarrow's own error for a file that is not there names no file
        try:
            table = pq.read_table(path)
            about = json.loads((table.schema.metadata or {})[_KEY])
            if about["version"] != _VERSION:
                raise BadTrace(f"{path} is a trace of version {about['version']}: a later outlive wrote it")
            return cls(
                tasks=tuple(Task(**row) for row in table.to_pylist()),
                nodes=tuple(NodeFacts(**node) for node in about["nodes"]),
                seconds=float(about["seconds"]),
                samples=tuple(Sample(**sample) for sample in about["samples"]),
                lost=int(about.get("lost", 0)),
            )
        except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
            if isinstance(error, BadTrace):
                raise
            raise BadTrace(f"{path} is no trace: record one with `outlive workers record -o trace.parquet`") from None


def from_events(events: Iterable[Any], began: float, ended: float, leave_out_job: str | None = None) -> list[Task]:
    """The normal tasks of these task events that ran between two moments (Unix times), but for one job's."""
    from outlive.ray_internals.node_workers import task_times

    tasks = []
    for times in map(task_times, events):
        if times is None or times.job == leave_out_job or not began <= times.ready <= times.end <= ended:
            continue
        tasks.append(
            Task(
                node=times.node,
                job=times.job,
                environment=times.environment,
                cpus=times.cpus,
                ready=times.ready - began,
                start=times.start - began,
                end=times.end - began,
            )
        )
    return sorted(tasks, key=lambda task: task.ready)
