"""The last hour in samples, which the server takes while it runs. Its memory is bounded: 361 samples."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from outlive.dashboard.worker_columns import totals

EVERY = 10.0  # seconds
_SAMPLES = 361

SERIES = ("workers", "idle", "idle_memory", "arrays", "array_bytes", "used", "budget", "disk_used")
"""`idle_memory`: bytes that would come back if every idle worker left. `used`: of the `budget` in shared memory."""


class History:
    """Times, and a series of numbers for each of `SERIES`; None where the cluster did not answer."""

    def __init__(self, samples: int = _SAMPLES) -> None:
        self._samples: deque[tuple[float, dict[str, float | None]]] = deque(maxlen=samples)

    def add(self, workers: dict[str, Any] | None, nodes: dict[str, Any] | None, at: float | None = None) -> None:
        """Take a sample of what `Source.workers` and `Source.nodes` said last; None: they do not answer."""
        sample: dict[str, float | None] = dict.fromkeys(SERIES)
        if workers is not None:
            total = totals(workers["workers"])
            sample["workers"], sample["idle"], sample["idle_memory"] = (
                total["workers"],
                total["idle"],
                total["idle_unique"],
            )
        if nodes is not None:
            stores, rows = nodes["stores"].values(), nodes["nodes"]
            sample["arrays"], sample["array_bytes"] = sum(one[0] for one in stores), sum(one[1] for one in stores)
            for name in ("used", "budget", "disk_used"):
                sample[name] = sum(row[name] or 0 for row in rows)
        self._samples.append((time.time() if at is None else at, sample))

    def document(self) -> dict[str, Any]:
        """Columns, for the plots."""
        return {
            "every": EVERY,
            "times": [round(at, 1) for at, _ in self._samples],
            "series": {name: [sample[name] for _, sample in self._samples] for name in SERIES},
        }
