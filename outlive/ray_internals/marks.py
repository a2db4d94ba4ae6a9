"""A note that a worker leaves about itself, for `inspect` to read.

It is an event of the running task (`CoreWorker.profile_event`, 2.49 to 2.60), like those of `ray timeline`. The worker
puts it into a buffer and does not wait. Ray sends it to the GCS with the task's other events, and drops it with them.
"""

from __future__ import annotations

import json
from typing import Any

import ray._private.worker as _worker

_NAME = "outlive:leaving"


def mark_leaving(reason: str) -> None:
    """Note that this worker takes no more tasks, and why. It is needed only if the worker stays because it holds
    objects.
    """
    worker: Any = _worker.global_worker
    with worker.core_worker.profile_event(_NAME.encode(), {"reason": reason}):
        pass


def leaving(event: Any) -> str | None:
    """The reason in such a note, if this `TaskEvents` has one."""
    for note in event.profile_events.events:
        if note.event_name == _NAME:
            try:
                return str(json.loads(note.extra_data)["reason"])
            except (ValueError, KeyError, TypeError):
                return "recycle"
    return None


def held_references() -> int:
    """Objects and actors that this process owns or borrows right now (`CoreWorker.get_all_reference_counts`)."""
    worker: Any = _worker.global_worker
    return len(worker.core_worker.get_all_reference_counts())
