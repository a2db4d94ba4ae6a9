"""A counter of `ray.util.metrics` that exists before it has counted anything. `inc(0)` is refused.

Prometheus computes how much a counter has grown from two values: of one that begins with 1, it never sees that.
Source: ray/util/metrics.py, `Metric._record` (2.49 to 2.60).
"""

from __future__ import annotations

import contextlib
from typing import Any


def begin_at_zero(counter: Any, labels: dict[str, str]) -> None:
    """Export 0, if this version of Ray has a way."""
    with contextlib.suppress(AttributeError, TypeError, ValueError):
        counter._record(0, labels)
