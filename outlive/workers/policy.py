"""The policy of a guard: what idle workers may keep, and how often it looks. Plain data, checked as it is made."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from outlive.errors import BadSetting
from outlive.units import format_duration, format_size, parse_duration, parse_size
from outlive.workers.bounds import Bounds

_SIZES = ("max_memory", "max_node_memory", "max_job_memory")
_LEAST_EVERY = 0.05  # seconds
_WORDS = {
    "max_idle": "max_idle={}",
    "max_memory": "none above {}",
    "max_node_memory": "{} a node",
    "max_job_memory": "{} a job",
    "max_idle_for": "none idle for longer than {}",
    "min_idle": "min_idle={}",
    "min_idle_for": "none that was idle for less than {}",
}


@dataclass(frozen=True)
class JobPolicy:
    """Bounds for idle workers. Without any bound, none leaves.

    Raises
    ------
    BadSetting
        A field cannot be, or two contradict each other. The message names the field, and what is accepted.
    """

    min_idle: int = 0
    """Workers that stay on each node, whatever the bounds say. None is started to have so many."""
    max_idle: int | None = None
    """Workers that may stay on each node. The largest leave first."""
    max_memory: str | int | None = None
    """Bytes, or a text as "2GiB": a worker with more unique memory leaves."""
    max_node_memory: str | int | None = None
    """Bytes, or a text: the unique memory of all idle workers of a node together. The largest leave first."""
    max_job_memory: str | int | None = None
    """Bytes, or a text: the unique memory of all idle workers of a job together, on all nodes. The largest leave first.
    """
    min_idle_for: str | float = 0.0
    """Seconds, or a text as "30s": no worker leaves before the guard has seen it idle for so long."""
    max_idle_for: str | float | None = None
    """Seconds, or a text as "10min": a worker that the guard has seen idle for longer leaves."""

    def __post_init__(self) -> None:
        for name in ("min_idle", "max_idle"):
            _check_number(name, getattr(self, name), optional=name == "max_idle")
        for name in _SIZES:
            if (size := getattr(self, name)) is not None:
                object.__setattr__(self, name, parse_size(size, name))
        object.__setattr__(self, "min_idle_for", parse_duration(self.min_idle_for, "min_idle_for"))
        if self.max_idle_for is not None:
            object.__setattr__(self, "max_idle_for", parse_duration(self.max_idle_for, "max_idle_for"))
        limits = self.bounds()
        if limits.max_idle is not None and limits.max_idle < limits.min_idle:
            raise BadSetting(
                f"max_idle={self.max_idle} is below min_idle={self.min_idle}: a node cannot keep both; raise max_idle"
            )
        if limits.max_idle_for is not None and limits.max_idle_for < limits.min_idle_for:
            raise BadSetting(
                f"max_idle_for={format_duration(limits.max_idle_for)} is less than "
                f"min_idle_for={format_duration(limits.min_idle_for)}: raise max_idle_for"
            )

    def bounds(self) -> Bounds:
        """The bounds in bytes and seconds."""
        sizes: dict[str, Any] = {name: getattr(self, name) for name in _SIZES}
        shortest: Any = self.min_idle_for
        longest: Any = self.max_idle_for
        return Bounds(self.min_idle, self.max_idle, min_idle_for=shortest, max_idle_for=longest, **sizes)

    def words(self) -> str:
        """The bounds in words.

        >>> JobPolicy(max_idle=4, max_memory="1GiB").words()
        'max_idle=4, none above 1.0 GiB'
        """
        parts = []
        for name, text in _WORDS.items():
            value = getattr(self, name)
            if (value is not None and value != 0.0) or (name.startswith("max") and value is not None):
                shown = format_size(value) if name in _SIZES else value
                parts.append(text.format(format_duration(value) if name.endswith("_for") else shown))
        return ", ".join(parts) if not self.bounds().none else "none leaves"


@dataclass(frozen=True)
class Policy(JobPolicy):
    """The bounds to which a guard keeps idle workers, and how often it looks.

    Sizes and durations are texts, or numbers of bytes and seconds.

    Raises
    ------
    BadSetting
        A field cannot be, two contradict each other, or there is no bound at all. The message names the field.

    Examples
    --------
    >>> Policy(max_idle=4, max_memory="1GiB", min_idle_for="30s").max_memory
    1073741824
    >>> Policy(max_idle=4, jobs={"python train.py*": JobPolicy()}).words()
    "max_idle=4; job 'python train.py*': none leaves"
    """

    every: str | float = 10.0
    """Seconds, or a text, from one look to the next. It is up to a tenth more or less, at random, and up to six times
    as long while nothing is idle. Of 32 nodes or more, those on which nothing happens are asked up to six times less
    often."""
    dry_run: bool = False
    """Only write down which workers would leave."""
    cpu_share: float = 0.005
    """The most that looking may take of one processor core, as 0.005 for 0.5 %. If it takes more, the guard
    looks less often. To let workers go counts, too, but for no longer than six times `every`."""
    jobs: Mapping[str, JobPolicy] = field(default_factory=dict)
    """Exceptions, by the id of a job, or by how it was started with `*` for any text, as "python train.py*". Such a
    job's workers are judged by these bounds alone, and do not count among the others."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "every", parse_duration(self.every, "every", least=_LEAST_EVERY))
        if not isinstance(self.dry_run, bool):
            raise BadSetting(f"dry_run={self.dry_run!r}: write True or False")
        share = self.cpu_share
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0.0 < share <= 1.0:
            raise BadSetting(
                f"cpu_share={share!r} is no part of a core: write more than 0 and at most 1, as 0.005 for 0.5 %"
            )
        if not isinstance(self.jobs, Mapping):
            raise BadSetting(f"jobs={self.jobs!r}: write a dict of a JobPolicy by job")
        for job, bounds in self.jobs.items():
            if not isinstance(job, str) or not job or type(bounds) is not JobPolicy:
                raise BadSetting(
                    f"jobs: {job!r}: {bounds!r}: write a job's id, or how it was started, and a JobPolicy(...)"
                )
        object.__setattr__(self, "jobs", dict(self.jobs))
        if self.bounds().none and all(bounds.bounds().none for bounds in self.jobs.values()):
            names = ", ".join(name for name in _WORDS if name.startswith("max_"))
            raise BadSetting(f"nothing to guard: give one of {names}")

    def words(self) -> str:
        """The bounds in words, and the exceptions."""
        parts = [super().words(), *(f"job {job!r}: {bounds.words()}" for job, bounds in self.jobs.items())]
        return "; ".join([*parts, "dry run"] if self.dry_run else parts)

    def exception(self, job: str | None, entrypoint: str) -> str | None:
        """The key in `jobs` for a job: its id, else the first that matches how it was started."""
        if job is None:
            return None
        if job in self.jobs:
            return job
        return next((text for text in self.jobs if fnmatchcase(entrypoint, text)), None)

    def to_json(self) -> dict[str, Any]:
        """All fields as plain data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Policy:
        """The policy of `to_json`.

        Raises
        ------
        BadSetting
            As the policy itself; or a field is not known here.
        """
        known = {one.name for one in dataclasses.fields(cls)}
        if unknown := sorted(set(data) - known):
            raise BadSetting(
                f"a policy has no field {', '.join(map(repr, unknown))}: there are {', '.join(sorted(known))}"
            )
        jobs = {
            job: bounds if isinstance(bounds, JobPolicy) else _job(bounds)
            for job, bounds in (data.get("jobs") or {}).items()
            if bounds is not None  # where a change ends the exception
        }
        return cls(**{**data, "jobs": jobs})

    def changes(self, new: Policy) -> Iterator[str]:
        """The fields that a new policy changes, as `max_idle: 4 -> 2`."""
        for one in dataclasses.fields(self):
            before, after = getattr(self, one.name), getattr(new, one.name)
            if before != after:
                yield f"{one.name}: {_shown(before)} -> {_shown(after)}"


def _job(data: Mapping[str, Any]) -> JobPolicy:
    known = {one.name for one in dataclasses.fields(JobPolicy)}
    if unknown := sorted(set(data) - known):
        raise BadSetting(f"a job has no bound {', '.join(map(repr, unknown))}: there are {', '.join(sorted(known))}")
    return JobPolicy(**data)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return str({job: bounds.words() for job, bounds in value.items()})
    return "none" if value is None else str(value)


def _check_number(name: str, value: Any, *, optional: bool) -> None:
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        none = ", or None for no bound" if optional else ""
        raise BadSetting(f"{name}={value!r} is no number of workers: write 0 or more{none}")
