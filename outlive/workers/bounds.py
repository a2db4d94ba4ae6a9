"""The bounds of trim, and which workers leave by them. A decision only: `trimming` carries it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from outlive.errors import BadSetting
from outlive.units import parse_size


@dataclass(frozen=True)
class Bounds:
    """How many idle workers a node may keep, and how large one may be."""

    min_idle: int = 0
    """Never fewer stay."""
    max_idle: int | None = None
    """No more stay. The largest leave first."""
    max_memory: int | None = None
    """Bytes of unique memory: an idle worker above this leaves, if `min_idle` others stay."""


@dataclass(frozen=True)
class Candidate:
    """An idle worker that holds nothing."""

    worker_id: str
    unique: int | None


def bounds(min_idle: int = 0, max_idle: int | None = None, max_memory: str | int | None = None) -> Bounds:
    """Check the bounds.

    Raises
    ------
    BadSetting
        One is negative, none is given, or they contradict each other.
    """
    if min_idle < 0 or (max_idle is not None and max_idle < 0):
        raise BadSetting(f"min_idle={min_idle} and max_idle={max_idle} are numbers of workers: 0 or more")
    if max_idle is None and max_memory is None:
        raise BadSetting("nothing to trim by: give max_idle, max_memory, or both")
    if max_idle is not None and max_idle < min_idle:
        raise BadSetting(f"max_idle={max_idle} is below min_idle={min_idle}: a node cannot keep both")
    limit = None if max_memory is None else parse_size(max_memory, "max_memory")
    return Bounds(min_idle, max_idle, limit)


def choose(candidates: Sequence[Candidate], idle: int, limits: Bounds) -> list[tuple[Candidate, str]]:
    """The workers of one node that leave, and the reason. The largest come first.

    Parameters
    ----------
    candidates
        Those that may leave.
    idle
        The number of all idle workers, including those that must stay.

    Examples
    --------
    >>> two = [Candidate("a", 100), Candidate("b", 300)]
    >>> [(worker.worker_id, why) for worker, why in choose(two, 2, Bounds(max_idle=1))]
    [('b', 'the largest of 2 idle workers, 1 may stay')]
    """
    by_size = sorted(candidates, key=lambda candidate: candidate.unique or 0, reverse=True)
    chosen: list[tuple[Candidate, str]] = []
    for candidate in by_size:
        remaining = idle - len(chosen)
        if remaining <= limits.min_idle:
            break
        if limits.max_memory is not None and (candidate.unique or 0) > limits.max_memory:
            chosen.append((candidate, "above max_memory"))
        elif limits.max_idle is not None and remaining > limits.max_idle:
            chosen.append((candidate, f"the largest of {remaining} idle workers, {limits.max_idle} may stay"))
        else:
            break
    return chosen
