"""The bounds of trim, and which workers leave by them. A decision only: `trimming` carries it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from outlive.errors import BadSetting
from outlive.units import format_duration, format_size, parse_size


@dataclass(frozen=True)
class Bounds:
    """How many idle workers a node may keep, how large they may be, and for how long they may be idle."""

    min_idle: int = 0
    """Never fewer stay."""
    max_idle: int | None = None
    """No more stay. The largest leave first."""
    max_memory: int | None = None
    """Bytes of unique memory: an idle worker above this leaves, if `min_idle` others stay."""
    max_node_memory: int | None = None
    """Bytes of unique memory of all idle workers of a node together. The largest leave first."""
    max_job_memory: int | None = None
    """Bytes of unique memory of all idle workers of a job together, on all nodes. The largest leave first."""
    min_idle_for: float = 0.0
    """Seconds: none leaves that has been idle for less."""
    max_idle_for: float | None = None
    """Seconds: a worker that has been idle for longer leaves, if `min_idle` others stay."""

    @property
    def none(self) -> bool:
        """Whether nothing leaves by these bounds."""
        limits = (self.max_idle, self.max_memory, self.max_node_memory, self.max_job_memory, self.max_idle_for)
        return all(limit is None for limit in limits)

    @property
    def need_sizes(self) -> bool:
        """Whether no choice can be made without the memory of workers."""
        return any(limit is not None for limit in (self.max_memory, self.max_node_memory, self.max_job_memory))


@dataclass(frozen=True)
class Candidate:
    """An idle worker that holds nothing."""

    worker_id: str
    unique: int | None
    idle_for: float | None = None
    node_id: str = ""


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


def choose(
    candidates: Sequence[Candidate], idle: int, limits: Bounds, memory: int | None = None
) -> list[tuple[Candidate, str]]:
    """The workers of one node that leave, and the reason. The largest come first.

    Parameters
    ----------
    candidates
        Those that may leave.
    idle
        The number of all idle workers, including those that must stay.
    memory
        Bytes of unique memory of all idle workers, including those that must stay. None: that of the candidates.

    Examples
    --------
    >>> two = [Candidate("a", 100), Candidate("b", 300)]
    >>> [(worker.worker_id, why) for worker, why in choose(two, 2, Bounds(max_idle=1))]
    [('b', 'the largest of 2 idle workers, 1 may stay')]
    """
    by_size = sorted(_old_enough(candidates, limits), key=_size, reverse=True)
    chosen = [(one, why) for one in by_size if (why := _by_itself(one, limits))][: max(0, idle - limits.min_idle)]
    taken = {one.worker_id for one, _ in chosen}
    kept = sum(map(_size, candidates)) if memory is None else memory
    kept -= sum(_size(one) for one, _ in chosen)
    for candidate in by_size:
        remaining = idle - len(chosen)
        if remaining <= limits.min_idle:
            break
        if candidate.worker_id in taken:
            continue
        if limits.max_idle is not None and remaining > limits.max_idle:
            why = f"the largest of {remaining} idle workers, {limits.max_idle} may stay"
        elif limits.max_node_memory is not None and kept > limits.max_node_memory and candidate.unique:
            why = f"the node's idle workers keep {format_size(kept)}, {format_size(limits.max_node_memory)} may stay"
        else:
            break
        chosen.append((candidate, why))
        kept -= _size(candidate)
    return chosen


def choose_of_job(
    candidates: Sequence[Candidate], idle: dict[str, int], limits: Bounds, memory: int
) -> list[tuple[Candidate, str]]:
    """More workers of one job, of all nodes, that leave until the bound on the job's memory holds.

    Parameters
    ----------
    candidates
        Those of the job that may leave and are not chosen yet.
    idle
        By node id: how many idle workers stay so far, of any job.
    memory
        Bytes of unique memory of the job's idle workers that stay so far.
    """
    chosen = []
    remaining = dict(idle)
    for candidate in sorted(_old_enough(candidates, limits), key=_size, reverse=True):
        if limits.max_job_memory is None or memory <= limits.max_job_memory or not candidate.unique:
            break
        if remaining[candidate.node_id] <= limits.min_idle:
            continue
        may = format_size(limits.max_job_memory)
        chosen.append((candidate, f"the job's idle workers keep {format_size(memory)}, {may} may stay"))
        remaining[candidate.node_id] -= 1
        memory -= _size(candidate)
    return chosen


def _size(candidate: Candidate) -> int:
    return candidate.unique or 0


def _old_enough(candidates: Sequence[Candidate], limits: Bounds) -> list[Candidate]:
    """Those that have been idle for long enough to leave. An unknown time is too short."""
    return [one for one in candidates if (one.idle_for or 0.0) >= limits.min_idle_for]


def _by_itself(one: Candidate, limits: Bounds) -> str | None:
    """The reason why a worker leaves however few others there are."""
    if limits.max_memory is not None and _size(one) > limits.max_memory:
        return "above max_memory"
    if limits.max_idle_for is not None and (one.idle_for or 0.0) > limits.max_idle_for:
        return f"idle for {format_duration(one.idle_for or 0.0)}, longer than {format_duration(limits.max_idle_for)}"
    return None
