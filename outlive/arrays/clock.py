"""The clock by which processes of one machine compare times: it only runs on, whoever sets the time of day."""

from __future__ import annotations

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # the former runs on while the machine sleeps


def uptime() -> int:
    """Nanoseconds since the machine started; the same in all its containers."""
    return time.clock_gettime_ns(_CLOCK)
