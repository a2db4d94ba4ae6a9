"""The exporter: gives values to Ray's metrics agent, at whose endpoint Prometheus finds them.

`ray.util.metrics` notes a value in memory. A thread of Ray's sends it to the node's agent. If there is no agent, or it
is gone, that thread is the only one to notice.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from outlive.metrics import workers
from outlive.metrics.table import Metric, Value
from outlive.ray_internals.zero import begin_at_zero

_log = logging.getLogger(__name__)


class Exporter:
    """The `Watch` of a process that Ray started."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}
        self._begun: set[tuple[str, tuple[str, ...]]] = set()  # the series of counters that exist
        self._failed: set[str] = set()  # the metrics that failed, which is logged once each
        self._workers = workers.Workers()

    def export(self, values: Iterable[Value]) -> None:
        """See `Watch.export`."""
        for value in values:
            try:
                self._export(value)
            except Exception:  # noqa: BLE001 - whatever it is, the actor's work goes on
                if value.metric.name not in self._failed:
                    self._failed.add(value.metric.name)
                    _log.exception("%s cannot be exported", value.metric.name)

    def workers(self, node: str) -> list[Value] | None:
        """See `Watch.workers`."""
        return self._workers.look(node)

    def _export(self, one: Value) -> None:
        metric, labels = one.metric, dict(one.labels)
        made = self._made.get(metric.name) or self._make(metric)
        if metric.kind == "gauge":
            made.set(one.value, labels)
            return
        series = metric.name, tuple(labels.values())
        if series not in self._begun:
            begin_at_zero(made, labels)  # else Prometheus does not see the first increase
            self._begun.add(series)
        if one.value > 0:
            made.inc(one.value, labels)

    def _make(self, metric: Metric) -> Any:
        from ray.util import metrics

        kind = metrics.Gauge if metric.kind == "gauge" else metrics.Counter
        made = self._made[metric.name] = kind(metric.name, metric.help, metric.labels)
        return made
