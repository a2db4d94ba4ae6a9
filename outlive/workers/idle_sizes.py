"""The memory of idle workers on other machines, for a bound on it. Only a task on that machine can see it.

A task makes its node busy for a moment. So a node is not asked if it has no idle worker to let go, and not again before
other tasks have run there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from outlive.ray_internals import node_workers
from outlive.workers import probe
from outlive.workers.rows import Report, Worker


class IdleSizes:
    """The sizes seen so far."""

    def __init__(self) -> None:
        self._unique: dict[str, tuple[int, int]] = {}
        self._ran: dict[str, dict[str, int]] = {}

    def filled(self, report: Report, spare: int = 0) -> Report:
        """The report, with the memory of idle workers on each node where more than `spare` of them could leave.

        Raises
        ------
        StoreUnavailable
            The GCS does not answer. The entry of a node that does not answer stays as it is.
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
        """Whether more tasks ran there since the last look than the one task of that look."""
        before = self._ran.get(node_id)
        return before is None or sum(worker.tasks - before.get(worker.worker_id, 0) for worker in workers) > 1

    def _with_size(self, worker: Worker) -> Worker:
        if worker.unique is not None or worker.worker_id not in self._unique:
            return worker
        unique, shared = self._unique[worker.worker_id]
        return replace(worker, unique=unique, shared=shared)
