"""The counters and the log of a guard, as it keeps them."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections import deque
from collections.abc import Iterable

from outlive.units import format_size
from outlive.workers.guard_record import KEPT, Decision
from outlive.workers.rows import Worker

_log = logging.getLogger(__name__)


class Book:
    """The log of a guard, as it is written. A decision about a worker is written once, until it is another one."""

    def __init__(self) -> None:
        self.decisions: deque[Decision] = deque(maxlen=KEPT)
        self.news = False
        """Whether there are decisions that were not noted elsewhere yet."""
        self._said: dict[str, str] = {}

    def event(self, text: str, *, level: int = logging.INFO) -> None:
        """Write down what happened to the guard."""
        _log.log(level, "guard: %s", text)
        self._add(Decision(time.time(), "guard", text))

    def decided(self, worker: Worker, outcome: str, because: str) -> None:
        """Write down what became of a worker, unless it was written down before."""
        if self._said.get(worker.worker_id) == outcome:
            return
        self._said[worker.worker_id] = outcome
        size = "?" if worker.unique is None else format_size(worker.unique)
        _log.info("pid %d on node %s (%s): %s: %s", worker.pid, worker.node_id[:8], size, outcome, because)
        self._add(Decision(time.time(), outcome, because, worker.pid, worker.node_id, worker.job, worker.unique))

    def forget_all_but(self, worker_ids: Iterable[str]) -> None:
        """Forget what was written of workers that are no more."""
        here = set(worker_ids)
        self._said = {one: outcome for one, outcome in self._said.items() if one in here}

    def forget(self) -> None:
        """Forget what was written: by another policy each decision is a new one."""
        self._said.clear()

    def rows(self) -> list[dict[str, object]]:
        """The log as plain data."""
        return [dataclasses.asdict(one) for one in tuple(self.decisions)]  # other threads may add

    def _add(self, decision: Decision) -> None:
        self.decisions.append(decision)
        self.news = True
