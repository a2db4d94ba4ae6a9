"""The memory of idle workers on other machines, which only a task there can see: asked where a bound on it is to hold.

A task makes its node busy for a moment. So nobody is asked who has no idle worker to let go, nor again before a task
other than the question itself has run there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from outlive.ray_internals import node_workers
from outlive.workers import probe
from outlive.workers.rows import Report, Worker


class IdleSizes:
    """What was seen so far."""

    def __init__(self) -> None:
        self._unique: dict[str, tuple[int, int]] = {}
        self._ran: dict[str, dict[str, int]] = {}

    def filled(self, report: Report, spare: int = 0) -> Report:
        """The report, with the memory of idle workers on each node that has more than `spare` that could leave.

        Raises
        ------
        StoreUnavailable
            The GCS does not answer. A node that does not is left as it is.
        """
        unknown: dict[str, list[Worker]] = {}
        for worker in report.workers:
            if worker.retirable and worker.unique is None:
                unknown.setdefault(worker.node_id, []).append(worker)
        due = {
            node_id: workers
            for node_id, workers in unknown.items()
            if len(workers) > spare and self._changed(node_id, workers)
        }
        if due:
            nodes = {node.node_id: node for node in node_workers.nodes()}
            for node_id in due.keys() & nodes.keys():
                pids = [worker.pid for worker in due[node_id]]
                seen = probe.look_there(nodes[node_id], pids)
                self._unique |= {one.worker_id: seen.memory[one.pid] for one in due[node_id] if one.pid in seen.memory}
                self._ran[node_id] = {worker.worker_id: worker.tasks for worker in due[node_id]}
        return replace(report, workers=tuple(self._with_size(worker) for worker in report.workers))

    def _changed(self, node_id: str, workers: Iterable[Worker]) -> bool:
        """More ran there since the last look than that look itself, which is one task."""
        before = self._ran.get(node_id)
        return before is None or sum(worker.tasks - before.get(worker.worker_id, 0) for worker in workers) > 1

    def _with_size(self, worker: Worker) -> Worker:
        if worker.unique is not None or worker.worker_id not in self._unique:
            return worker
        unique, shared = self._unique[worker.worker_id]
        return replace(worker, unique=unique, shared=shared)
