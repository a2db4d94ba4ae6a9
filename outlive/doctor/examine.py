"""Make every check, and sort the findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from outlive.doctor.checks import CHECKS
from outlive.doctor.cluster import Cluster, unchecked
from outlive.doctor.model import Diagnosis, Symptom, Unchecked, ranked
from outlive.doctor.mutes import Mute, apart
from outlive.errors import OutliveError


def examine(
    *,
    own_job: str | None = None,
    exact: bool = False,
    progress: Callable[[int, int], None] | None = None,
    join: Callable[[], str | None] | None = None,
    mutes: Iterable[Mute] = (),
) -> Diagnosis:
    """Find what is wrong or risky now on the cluster that this process looks at.

    It changes nothing. A check that cannot be made is named in `unchecked`, and the others are made.

    Parameters
    ----------
    own_job
        The job of a command that only looks: its workers are left out.
    exact
        Look at /dev/shm of other machines too, each by a task without CPUs, which makes its node busy for a moment.
        And measure for some seconds what huge pages would gain on this one.
    progress
        Called with the number of checks made and of all.
    join
        Joins the cluster, and returns the job that this made. It is called if this process has not joined the cluster,
        and an actor has to be asked: so if outlive keeps arrays there.
    mutes
        Findings to set aside, see `mutes.load`.

    Raises
    ------
    StoreUnavailable
        This process is connected to no cluster, and none was named; or the GCS does not answer.
    """
    from ray.exceptions import RayError

    cluster = Cluster(own_job, exact=exact, join=join)
    _ = cluster.nodes  # first: a GCS that does not answer is an error, not a finding
    found: list[Symptom] = []
    missed: list[Unchecked] = []
    checks: dict[str, str] = {}
    for number, (name, check) in enumerate(CHECKS.items()):
        if progress is not None:
            progress(number, len(CHECKS))
        try:
            for finding in check(cluster):
                found.append(finding)  # findings of a check that then fails count too
                checks[finding.kind] = name
        except (OutliveError, ModuleNotFoundError, RayError, OSError) as error:
            missed.append(unchecked(name, error))
    remaining, muted = apart(found, mutes, cluster.nodes)
    return Diagnosis(
        cluster.ray_version,
        len(cluster.nodes),
        _workers(cluster),
        ranked(remaining),
        tuple(missed),
        muted=ranked(muted),
        notes=tuple(cluster.notes),
        checks=checks,
    )


def _workers(cluster: Cluster) -> int | None:
    try:
        return len(cluster.report.workers)
    except (OutliveError, ModuleNotFoundError, OSError):
        return None
