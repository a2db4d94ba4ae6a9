"""Checksums at once, as the keeper computes them little by little."""

from __future__ import annotations

from collections.abc import Callable

from outlive.arrays.shelf import Shelf
from outlive.arrays.tend.unsummed import Unsummed, never


def compute_checksums(shelf: Shelf, *, older_than: float = 2.0, stop: Callable[[], bool] = never) -> int:
    """Record the checksums of arrays that have none yet and are older than `older_than` seconds; return how many."""
    return Unsummed(shelf, again=False).compute(older_than=older_than, stop=stop)
