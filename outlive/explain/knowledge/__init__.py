"""The knowledge of Ray's errors: tables, one module for each family. The first entry that fits explains."""

from __future__ import annotations

from outlive.explain.knowledge import actors, classes, memory, objects, reconstruction, startup, tasks, values, workers

_WRITTEN = (
    *values.ENTRIES,
    *startup.ENTRIES,
    *objects.ENTRIES,
    *reconstruction.ENTRIES,
    *actors.ENTRIES,
    *memory.ENTRIES,
    *workers.ENTRIES,
    *tasks.ENTRIES,
)
ENTRIES = (*_WRITTEN, *classes.entries({name for entry in _WRITTEN for name in entry.classes}))
