"""For how long each worker has been seen idle, by this process's own monotonic clock.

The GCS's task events tell the time of a worker's last task too. To ask for them takes long, and they are in the time of
day of another machine, which may be set back. A time that was seen can only be too short.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from outlive.workers.rows import Report, Worker


class Ages:
    """The workers seen idle so far."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[str, tuple[int, float, str]] = {}
        """By worker id: the tasks that it had run, since when it is idle, and its node."""

    def noted(self, report: Report) -> Report:
        """The report, with the times for which workers were seen idle. A task in between begins a time anew."""
        now = self._clock()
        silent = {node.node_id for node in report.nodes if node.error}
        kept = {one: entry for one, entry in self._since.items() if entry[2] in silent}
        for worker in report.workers:
            if worker.state in {"idle", "leaving"}:
                tasks, since, _ = self._since.get(worker.worker_id, (-1, now, ""))
                kept[worker.worker_id] = (worker.tasks, since if tasks == worker.tasks else now, worker.node_id)
            elif worker.state != "silent":
                kept.pop(worker.worker_id, None)
        self._since = kept
        return replace(report, workers=tuple(self._with_age(worker, now) for worker in report.workers))

    def _with_age(self, worker: Worker, now: float) -> Worker:
        entry = self._since.get(worker.worker_id)
        idle_for = None if entry is None else now - entry[1]
        return worker if idle_for == worker.idle_for else worker.aged(idle_for)
