"""Replay a trace under any settings of the reaper, in a fraction of the time. The model itself is `pool_model.py`.

It replays one node at a time, because each raylet has its own pool.
"""

from __future__ import annotations

from dataclasses import dataclass

from outlive.workers.pool_model import Pool
from outlive.workers.programs import Programs
from outlive.workers.settings import Reaper
from outlive.workers.trace import Trace


@dataclass(frozen=True)
class Outcome:
    """The outcome of a trace under a reaper with these settings."""

    reaper: Reaper
    tasks: int
    cold_starts: int
    """Tasks that waited for a worker to start."""
    started: int
    """Workers that were started, including those that no task waited for."""
    idle_memory_hours: float
    """GiB of idle workers, times hours."""
    waited: float
    """Seconds that tasks waited for workers to start, all together."""
    curve: tuple[tuple[float, int], ...]
    """Pairs of a time and the number of workers on all nodes from then on."""

    def workers_at(self, time: float) -> int:
        """The number of workers at a time."""
        number = 0
        for moment, count in self.curve:
            if moment > time:
                break
            number = count
        return number


def simulate(trace: Trace, reaper: Reaper, first_pass: float | None = None) -> Outcome:
    """Replay a trace under these settings. Each node gets the tasks that it ran.

    Parameters
    ----------
    first_pass
        The time of the reaper's first look, in seconds after the trace began. A trace does not tell it. By default one
        interval.
    """
    ends = dict(trace.job_ends)
    first = reaper.interval_ms / 1000 if first_pass is None else first_pass
    pools = [Pool(facts, reaper, Programs.of(facts.node, trace.tasks), ends, first) for facts in trace.nodes]
    for pool in pools:
        pool.replay(trace.seconds)
    memory = sum(pool.idle_seconds * pool.facts.memory for pool in pools)
    return Outcome(
        reaper=reaper,
        tasks=sum(not task.actor for task in trace.tasks),
        cold_starts=sum(pool.cold for pool in pools),
        started=sum(pool.started for pool in pools),
        idle_memory_hours=memory / (1 << 30) / 3600,
        waited=sum(pool.waited for pool in pools),
        curve=_added([pool.curve for pool in pools]),
    )


def _added(curves: list[list[tuple[float, int]]]) -> tuple[tuple[float, int], ...]:
    """The sum of step functions."""
    steps = []
    for curve in curves:
        before = 0
        for moment, count in curve:
            steps.append((moment, count - before))
            before = count
    total, added = 0, []
    for moment, step in sorted(steps):
        total += step
        added.append((moment, total))
    return tuple(added)
