"""What is known of Ray's errors: tables, one module for each family. Order matters: the first entry that fits explains."""

from __future__ import annotations

from outlive.explain.knowledge import actors, memory, objects, reconstruction, tasks, workers

ENTRIES = (
    *objects.ENTRIES,
    *reconstruction.ENTRIES,
    *actors.ENTRIES,
    *memory.ENTRIES,
    *workers.ENTRIES,
    *tasks.ENTRIES,
)
