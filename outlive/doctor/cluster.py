"""The facts that checks use. Each is asked for once, when a check first needs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from outlive.doctor.model import Unchecked
from outlive.errors import OutliveError, StoreUnavailable
from outlive.extras import named

if TYPE_CHECKING:
    from outlive.ray_internals.node_stats import Activity, Actor, NodeStats, RunningTask
    from outlive.ray_internals.node_workers import Job, LiveNode
    from outlive.workers.rows import Report

T = TypeVar("T")


class Cluster:
    """The cluster that this process looks at. A fact that is not available raises, each time.

    Parameters
    ----------
    own_job
        The job of a command that only looks: its processes are left out.
    exact
        Other machines may be asked by a task.
    join
        Joins the cluster if this process has not joined it, and returns the job that this made.
    """

    def __init__(
        self, own_job: str | None = None, *, exact: bool = False, join: Callable[[], str | None] | None = None
    ) -> None:
        self.own_job = own_job
        self.exact = exact
        self.notes: list[str] = []
        """Notes on checks that were left out on purpose, and how to have them."""
        self._join = join
        self._known: dict[str, tuple[Any, Exception | None]] = {}

    def _once(self, name: str, ask: Callable[[], T]) -> T:
        if name not in self._known:
            try:
                self._known[name] = ask(), None
            except Exception as error:  # noqa: BLE001 - kept, and raised below for each check that needs the fact
                self._known[name] = None, error
        value, problem = self._known[name]
        if problem is not None:
            raise problem
        known: T = value
        return known

    def join(self) -> None:
        """Join the cluster, for a check that calls an actor. It comes last: for a node's first driver Ray starts
        workers.
        """
        if self._join is not None:
            self.own_job = self._join() or self.own_job

    @property
    def ray_version(self) -> str:
        """The same as `ray.__version__`."""
        import ray

        version: str = ray.__version__
        return version

    @property
    def nodes(self) -> list[LiveNode]:
        """`node_workers.LiveNode` of each node that is alive."""
        from outlive.ray_internals import node_workers

        return self._once("nodes", node_workers.nodes)

    @property
    def report(self) -> Report:
        """`outlive.workers.inspect`."""
        from outlive.workers import inspect

        return self._once("report", lambda: inspect(leave_out_job=self.own_job))

    @property
    def looks(self) -> list[NodeStats | OutliveError]:
        """For each node its `NodeStats`, or the error if it did not answer."""
        return self._once("looks", self.look_again)

    def look_again(self) -> list[NodeStats | OutliveError]:
        """The same as `looks`, but asked now."""
        from outlive.ray_internals import node_stats

        return list(node_stats.look_at_all(self.nodes))

    @property
    def stats(self) -> list[NodeStats]:
        """`NodeStats` of the nodes that answered."""
        answers = [look for look in self.looks if not isinstance(look, OutliveError)]
        if not answers:
            raise StoreUnavailable("no node answered")
        return answers

    @property
    def actors(self) -> list[Actor]:
        """`node_stats.Actor` of each actor that is alive."""
        from outlive.ray_internals import node_stats

        return self._once("actors", node_stats.actors)

    @property
    def activities(self) -> dict[str, Activity]:
        """`node_stats.Activity` by node id."""
        from outlive.ray_internals import node_stats

        return self._once("activities", node_stats.activities)

    @property
    def running_tasks(self) -> list[RunningTask]:
        """`node_stats.RunningTask`s."""
        from outlive.ray_internals import node_stats

        return self._once("running_tasks", node_stats.running_tasks)

    @property
    def scaled(self) -> bool:
        """Whether an autoscaler removes idle nodes. True if that is not known."""
        from outlive.ray_internals.autoscaler import autoscaler

        try:
            return self._once("autoscaler", autoscaler) is not None
        except OutliveError:
            return True

    @property
    def head(self) -> str | None:
        """The head's id."""
        from outlive.ray_internals import node_stats

        return self._once("head", node_stats.head)

    @property
    def system_config(self) -> dict[str, Any]:
        """The settings that the head was started with."""
        from outlive.ray_internals import config

        return self._once("system_config", config.system_config)

    @property
    def jobs(self) -> list[Job]:
        """`node_workers.Job` of every job."""
        from outlive.ray_internals import node_workers

        return self._once("jobs", node_workers.jobs)


def unchecked(check: str, error: Exception) -> Unchecked:
    """Note why a check could not be made."""
    if isinstance(error, ModuleNotFoundError):
        return Unchecked(check, str(named(error)))
    return Unchecked(check, str(error) or type(error).__name__)
