"""Trim again and again while a program runs, and keep workers warm: `keep_trim`."""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType

from outlive.errors import BadSetting, OutliveError
from outlive.ray_internals import leases, node_workers
from outlive.ray_internals.leases import Pool
from outlive.units import parse_duration
from outlive.workers.bounds import bounds
from outlive.workers.idle_sizes import IdleSizes
from outlive.workers.inspection import inspect
from outlive.workers.rows import Report
from outlive.workers.trimming import Trimmed, carry_out, decide

_log = logging.getLogger(__name__)
_STARTS = 30.0  # seconds for a worker to start: after that another may be started instead
_WARM = 3600  # seconds for which the reaper spares a worker that was started ahead


class KeepTrim:
    """A thread that trims the idle workers of this program's job. Made by `keep_trim`; also a context manager."""

    def __init__(self, min_idle: int, max_idle: int | None, max_memory: str | int | None, every: float) -> None:
        import ray

        by_nothing = max_idle is None and max_memory is None
        self._limits = None if by_nothing else bounds(min_idle, max_idle, max_memory)
        self._min_idle: int = min_idle
        self._every: float = every
        self._job: str = ray.get_runtime_context().get_job_id()
        self._sizes = IdleSizes()
        self._starting: dict[str, list[float]] = {}
        self._stopped = threading.Event()
        self.retired: int = 0
        """The number of workers that have left so far."""
        self.freed: int = 0
        """Bytes of unique memory that they gave back."""
        self._thread = threading.Thread(target=self._run, name="outlive-keep-trim", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop trimming. When this returns, no lease is held any more."""
        self._stopped.set()
        self._thread.join()

    def __enter__(self) -> KeepTrim:  # noqa: PYI034 - typing.Self is new in 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        import ray

        while not self._stopped.wait(self._every):
            if not ray.is_initialized():
                return
            try:
                self.once()
            # such as a node that went, or a GCS that restarts: the next round looks again
            except OutliveError as error:
                _log.warning("not trimmed this time: %s", error)
            except Exception:  # noqa: BLE001 - no descriptor is left, perhaps: the next round may do better
                if not ray.is_initialized():
                    return
                _log.exception("not trimmed this time")

    def once(self) -> Trimmed | None:
        """Make one round now. None if there is no bound to trim by."""
        leases.return_left()  # of a raylet that did not answer in an earlier round
        report = inspect(with_history=False)
        trimmed = None
        if self._limits is not None:
            chosen = decide(report, self._limits, self._job, self._sizes)
            trimmed = carry_out(report, chosen, self._job)
            self.retired += sum(choice.left for choice in trimmed.chosen)
            self.freed += trimmed.freed
        if self._min_idle:
            self._warm_up(report)
        return trimmed

    def _warm_up(self, report: Report) -> None:
        """Start workers on nodes where fewer than `min_idle` are idle, unless some are starting already."""
        job = next((job for job in node_workers.jobs() if job.job_id == self._job), None)
        if job is None:
            return
        pool = Pool(job, leases.job_environment(job))
        for node in node_workers.nodes():
            idle = sum(
                worker.node_id == node.node_id and worker.state == "idle" and worker.job in {self._job, None}
                for worker in report.workers
            )
            begun = [moment for moment in self._starting.get(node.node_id, []) if time.monotonic() - moment < _STARTS]
            missing = self._min_idle - idle
            begun = begun[: max(0, missing)]
            if missing > len(begun):
                leases.prestart(node, pool, missing - len(begun), _WARM)
                begun += [time.monotonic()] * (missing - len(begun))
            self._starting[node.node_id] = begun


def keep_trim(
    *,
    min_idle: int = 0,
    max_idle: int | None = None,
    max_memory: str | int | None = None,
    every: str | float = "5s",
) -> KeepTrim:
    """Keep the idle workers of this program's job within bounds on every node, for as long as it runs.

    It sets bounds for which Ray has no setting: a hard maximum, a minimum, and a limit of memory. A daemon thread of
    this process looks at each interval. A worker is leased only while there is one too many, so a node without spare
    idle workers can still be scaled down.

    Parameters
    ----------
    min_idle
        Idle workers that stay on each node. If a node has fewer, workers are started ahead.
    max_idle, max_memory
        As for `trim`.
    every
        As in "200ms" or 5 (seconds).

    Returns
    -------
    KeepTrim
        Call its `stop`, or use it as a context manager.

    Raises
    ------
    BadSetting
        The bounds contradict each other.

    Examples
    --------
    >>> with keep_trim(min_idle=2, max_idle=4, max_memory="1GiB"):  # doctest: +SKIP
    ...     ray.get([work.remote(i) for i in range(1000)])
    """
    seconds = parse_duration(every, "every")
    if not seconds >= 0.05:
        raise BadSetting(f"every={every!r} is too often: looking takes some milliseconds a node; 50ms is the least")
    if min_idle == 0 and max_idle is None and max_memory is None:
        raise BadSetting("nothing to keep: give min_idle, max_idle or max_memory")
    return KeepTrim(min_idle, max_idle, max_memory, seconds)
