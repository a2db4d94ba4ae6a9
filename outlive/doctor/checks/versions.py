"""Known bugs of this version of Ray, from Ray's own tracker only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from outlive.doctor.cluster import Cluster
from outlive.doctor.model import Evidence, Severity, Symptom

_TRACKER = "https://github.com/ray-project/ray"


@dataclass(frozen=True)
class Bug:
    """A bug, and the versions that have it: from `since` (None: older than 2.49) to before `fixed`."""

    name: str
    what: str
    why: str
    until_then: str
    """A workaround without another version."""
    fixed: tuple[int, int, int]
    source: str
    since: tuple[int, int, int] | None = None
    severity: Severity = "risk"

    def concerns(self, version: tuple[int, int, int]) -> bool:
        """Whether this version has the bug."""
        return (self.since is None or self.since <= version) and version < self.fixed


BUGS = (
    Bug(
        name="idle-time-reset",
        what="nodes may never be idle for long enough to be removed",
        why="With autoscaler v2, a task that is queued anywhere sets the idle time of nodes back to 0, on which nothing runs.",
        until_then="a shorter idle timeout, or autoscaler v1",
        since=(2, 53, 0),
        fixed=(2, 54, 0),
        source=f"{_TRACKER}/issues/60546 (reported of 2.53.0), {_TRACKER}/pull/60581 (in the release notes of 2.54.0)",
        severity="waste",
    ),
    Bug(
        name="client-gc-deadlock",
        what="programs that are connected by Ray Client (ray://) may hang in .remote() for ever",
        why="A garbage collection during a call releases a reference, which waits for the lock that the call itself holds.",
        until_then="run the program on the cluster (`ray job submit`) instead of over ray://",
        fixed=(2, 54, 0),
        source=f"{_TRACKER}/issues/59643, {_TRACKER}/pull/60014 (in the release notes of 2.54.0)",
    ),
    Bug(
        name="drain-race",
        what="a node that drains may be given new tasks, which are lost with it",
        why="A late report of the node's resources undoes in the scheduler that it drains.",
        until_then="retries (max_retries, max_task_retries) for what runs on nodes that come and go",
        fixed=(2, 54, 0),
        source=f"{_TRACKER}/pull/59536 (in the release notes of 2.54.0)",
    ),
    Bug(
        name="raylet-client-heap",
        what='drivers may crash with SIGABRT, "corrupted size vs. prev_size"',
        why="The client of the raylet is used after it was freed.",
        until_then="none is known",
        fixed=(2, 52, 0),
        source=f"{_TRACKER}/pull/58660, {_TRACKER}/pull/58747 (picked into the release of November 2025)",
    ),
)


def check(cluster: Cluster) -> Iterable[Symptom]:
    """Check the version of the installed Ray. The cluster has the same: Ray lets no other connect."""
    return of_version(cluster.ray_version)


def of_version(version: str) -> Iterator[Symptom]:
    """`check`, on plain data."""
    parts = parsed(version)
    for bug in BUGS:
        if bug.concerns(parts):
            fixed = ".".join(map(str, bug.fixed))
            yield Symptom(
                kind="known-bug",
                severity=bug.severity,
                what=f"Ray {version}: {bug.what}",
                why=bug.why,
                fix=f"pip install 'ray>={fixed}' on all nodes; until then: {bug.until_then}",
                evidence=(Evidence(f"{bug.name}: this is Ray {version}, fixed in {fixed}"),),
                source=bug.source,
            )


def parsed(version: str) -> tuple[int, int, int]:
    """(major, minor, patch).

    >>> parsed("2.60.0rc1"), parsed("3.0.0.dev0"), parsed("2.49")
    ((2, 60, 0), (3, 0, 0), (2, 49, 0))
    """
    numbers = [int(number) for number in re.findall(r"\d+", version)[:3]]
    major, minor, patch = [*numbers, 0, 0, 0][:3]
    return major, minor, patch
