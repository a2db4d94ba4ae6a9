"""Some of a report's workers: of a node, of a job, in a state, the first by some measure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, get_args

from outlive.errors import BadSetting
from outlive.workers.rows import Report, State, Worker

ORDERS: dict[str, Callable[[Worker], Any]] = {
    "unique": lambda worker: -(worker.unique or 0),
    "idle": lambda worker: -(worker.idle_for or 0.0),
    "owned": lambda worker: -worker.owned,
    "tasks": lambda worker: -worker.tasks,
    "pid": lambda worker: worker.pid,
    "node": lambda worker: worker.node_id,
    "job": lambda worker: worker.job or "",
    "function": lambda worker: worker.function or "",
}
"""The keys for the order of workers. Numbers: the largest first. Names: from a to z."""


@dataclass(frozen=True)
class Selection:
    """The workers to show. None: no condition."""

    node: str | None = None
    """An id, the beginning of one, or a host name."""
    job: str | None = None
    state: str | None = None
    sort: str | None = None
    top: int | None = None

    def __post_init__(self) -> None:
        _check("state", self.state, get_args(State))
        _check("sort", self.sort, ORDERS)

    def of(self, report: Report) -> Report:
        """The report with only these workers, and the nodes that were asked for.

        Raises
        ------
        BadSetting
            There is no such node or job. The message lists the nodes or jobs.
        """
        nodes = [
            node
            for node in report.nodes
            if self.node is None or node.node_id.startswith(self.node) or node.name == self.node
        ]
        if not nodes and self.node is not None:
            listed = ", ".join(f"{node.node_id[:8]} ({node.name})" for node in report.nodes)
            raise BadSetting(f"no node {self.node!r}: there are {listed or 'none'}")
        jobs = sorted({worker.job for worker in report.workers if worker.job})
        if self.job is not None and self.job not in jobs:
            raise BadSetting(f"no job {self.job!r} has workers: there are {', '.join(jobs) or 'none'}")
        ids = {node.node_id for node in nodes}
        found = [
            worker
            for worker in report.workers
            if worker.node_id in ids and self.job in {None, worker.job} and self.state in {None, worker.state}
        ]
        if self.sort is not None:
            found.sort(key=ORDERS[self.sort])
        return replace(report, workers=tuple(found[: self.top]), nodes=tuple(nodes))


def _check(option: str, value: str | None, known: Any) -> None:
    if value is not None and value not in known:
        raise BadSetting(f"{option}={value!r}: there are {', '.join(known)}")
