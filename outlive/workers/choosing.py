"""The settings that suit a trace: the Pareto front of cold starts and idle memory, and a choice on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from outlive.errors import BadTrace
from outlive.workers.goals import Goal, Plan, plan_for_numbers
from outlive.workers.settings import Reaper
from outlive.workers.simulation import Outcome, simulate
from outlive.workers.trace import Trace

_THRESHOLDS_MS = (500, 1000, 2000, 5000, 10_000, 30_000, 60_000, 300_000)


def candidates(trace: Trace) -> list[Reaper]:
    """The settings that are worth a try: Ray's defaults, and a grid that ends at the node's CPUs."""
    most = max((int(node.cpus) for node in trace.nodes), default=1)
    limits = {-1, 0, most} | {2**i for i in range(most.bit_length()) if 2**i < most}
    return [Reaper(200, threshold, limit) for limit in sorted(limits) for threshold in _THRESHOLDS_MS]


def outcomes(trace: Trace, reapers: Sequence[Reaper] | None = None) -> list[Outcome]:
    """Replay the trace under each of them.

    Raises
    ------
    BadTrace
        It holds no task.
    """
    if not trace.tasks:
        raise BadTrace("no task ended while this trace was recorded: record again while the cluster works")
    return [simulate(trace, reaper) for reaper in (candidates(trace) if reapers is None else reapers)]


def pareto(found: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes that no other beats in both cold starts and idle memory, from few cold starts to little memory."""
    front: list[Outcome] = []
    for outcome in sorted(found, key=lambda one: (one.cold_starts, one.idle_memory_hours, one.reaper.threshold_ms)):
        if not front or outcome.idle_memory_hours < front[-1].idle_memory_hours:
            front.append(outcome)
    return front


def pick(found: Sequence[Outcome], goal: Goal) -> Outcome:
    """The point of the front that suits the goal: one of its ends, or where both are nearest to their best."""
    front = pareto(found)
    if goal == "latency":
        return front[0]
    if goal == "memory":
        return front[-1]
    cold = max(one.cold_starts for one in front) or 1
    memory = max(one.idle_memory_hours for one in front) or 1.0
    return min(front, key=lambda one: (one.cold_starts / cold) ** 2 + (one.idle_memory_hours / memory) ** 2)


def plan_for_trace(trace: Trace, goal: Goal) -> Plan:
    """The settings that the replay of this trace favours, and its outcome.

    Raises
    ------
    BadTrace
        It holds no task.
    """
    found = outcomes(trace)
    best, default = pick(found, goal), simulate(trace, Reaper())
    limit = best.reaper.soft_limit
    plan = plan_for_numbers(max_idle=None if limit < 0 else limit, idle_after=best.reaper.threshold_ms / 1000)
    note = (
        f"on this trace of {best.tasks} tasks: {best.cold_starts} cold starts and {best.idle_memory_hours:.3g} GiB h "
        f"of idle workers; with Ray's defaults {default.cold_starts} and {default.idle_memory_hours:.3g}"
    )
    return replace(plan, notes=(note, *plan.notes))
