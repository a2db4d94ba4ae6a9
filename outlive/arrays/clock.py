"""The clock by which processes of one machine compare times. Setting the time of day does not change it."""

from __future__ import annotations

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # the first runs on while the machine sleeps


def uptime() -> int:
    """Nanoseconds since the machine started; the same in all its containers."""
    return time.clock_gettime_ns(_CLOCK)
