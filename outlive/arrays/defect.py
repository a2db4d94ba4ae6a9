"""A defect: what the fsck of a shelf found there, or the catalog in what it knows, and what became of it."""

from __future__ import annotations

from typing import NamedTuple


class Defect(NamedTuple):
    """One defect of a shelf or of the catalog."""

    # abandoned, unfinished, damaged, flipped, foreign, miscounted, superseded, unlisted, missing, double, dead shelf,
    # unmounted
    problem: str
    subject: str  # a path, a key or an id
    action: str  # what was done about it, or what to do
    mended: bool
