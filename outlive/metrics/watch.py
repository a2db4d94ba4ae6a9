"""Where the values of keepers and the catalog go, and how often. Without Ray."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from outlive.errors import BadSetting
from outlive.metrics.table import Value
from outlive.units import parse_duration

METRICS, WORKERS = "OUTLIVE_METRICS", "OUTLIVE_METRICS_WORKERS"
_OFF = "off"
_EVERY, _WORKERS_EVERY = 5.0, 60.0  # seconds. Ray forgets a gauge that is not set again within its interval, 10 s
_LEAST = 0.5  # seconds
_log = logging.getLogger(__name__)


class Watch(Protocol):
    """Takes values for those who watch."""

    def export(self, values: Iterable[Value]) -> None:
        """Take values. It waits for nothing, and raises nothing."""

    def workers(self, node: str) -> list[Value] | None:
        """Look at the workers of this process's own node; None if they cannot be looked at now."""


class Periods(NamedTuple):
    """How often values are exported, and the node's workers are looked at. None: never."""

    export: float | None
    workers: float | None


def periods() -> Periods:
    """The settings of this process. One that is no time counts as not set, and is logged."""
    export = _period(METRICS, _EVERY)
    return Periods(export, None if export is None else _period(WORKERS, _WORKERS_EVERY))


def _period(name: str, default: float) -> float | None:
    text = os.environ.get(name, "").strip().lower()
    if text == _OFF:
        return None
    if not text:
        return default
    try:
        return parse_duration(text, name, least=_LEAST)
    except BadSetting as error:
        _log.error("%s; %s is a time, as in 5s, or %s", error, name, _OFF)
        return default
