"""The reasons why a worker is still here: the rules of Ray's reaper, read backwards.

Ray's reaper (src/ray/raylet/worker_pool.cc, `TryKillingIdleWorkers`) counts the workers that are idle for longer than
the threshold. While there are more of them than the soft limit, it asks one to exit. That worker refuses while it holds
a reference, a pending task or a pin (`CoreWorker::HandleExit`). So a worker stays because it is not idle, would refuse,
or is not asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from outlive.units import count, format_duration
from outlive.workers.rows import Reason, State
from outlive.workers.settings import Reaper

_STORE = "store the arrays with outlive (`outlive.open().put`), then no worker owns them; or drop the references"


@dataclass(frozen=True)
class Facts:
    """The facts of one worker."""

    state: State
    owned: int
    borrowed: int
    pending: int
    idle_for: float | None
    spent: str | None = None
    """The reason if it takes no more tasks: `max_calls=2`, or a limit of `recycle`."""
    job_ended: bool = False
    heir: str | None = None
    """A detached actor of the ended job that lives."""
    unused: bool = False
    """It has run no task yet."""


@dataclass(frozen=True)
class Pool:
    """The facts of the workers of its node."""

    reaper: Reaper
    keeps: int
    """The soft limit now."""
    killable: int
    """Workers that are idle for longer than the threshold."""
    unused: int = 0
    """How many of them have run no task yet. The reaper takes these first, and spares some."""


def killable(facts: Facts, reaper: Reaper) -> bool:
    """Whether the reaper counts it: it is idle for longer than the threshold. An unknown idle time counts as long."""
    return facts.state == "idle" and (facts.idle_for is None or facts.idle_for * 1000 > reaper.threshold_ms)


def explain(facts: Facts, pool: Pool | None) -> tuple[Reason, ...]:
    """Every reason why this worker is still here. The first is the one to remove first.

    Parameters
    ----------
    pool
        None: it is not known. Then the reasons of the reaper are left out.
    """
    if facts.state == "actor":
        return (Reason("not idle", "not idle: it is the home of an actor", "ends with the actor"),)
    if facts.state == "io":
        return (Reason("not counted", "spills and restores objects; the reaper leaves these alone"),)
    if facts.state == "running":
        return (Reason("not idle", "not idle: it runs a task"),)
    if facts.job_ended and facts.heir is None:
        return (_left_over(pool.reaper if pool else None), *_refusals(facts))
    found = list(_refusals(facts))
    if facts.heir is not None:
        text = f"its job has ended, but the detached actor {facts.heir} lives and may give it tasks"
        found.append(Reason("job ended", text))
    if facts.state == "leaving" or pool is None:
        return tuple(found)
    found += _not_asked(facts, pool)
    if all(reason.kind == "job ended" for reason in found):
        found.append(
            _started_ahead(pool.reaper)
            if facts.unused
            else Reason("due", f"nothing keeps it: the reaper takes it within {_seconds(pool.reaper.interval_ms)}")
        )
    return tuple(found)


def spent(calls: int, limits: Sequence[int]) -> str | None:
    """The reason why a worker certainly takes no more tasks, such as `max_calls=2`.

    Ray tells how often a worker ran functions of one name, and counts each function by itself.

    Parameters
    ----------
    calls
        How often it ran functions of this name.
    limits
        `max_calls` of each function of this name; 0 means none.

    Examples
    --------
    >>> spent(4, [4]), spent(6, [4, 4]), spent(7, [4, 4]), spent(9, [4, 0])
    ('max_calls=4', None, 'max_calls=4', None)
    """
    if not limits or 0 in limits or calls <= sum(limit - 1 for limit in limits):
        return None
    return "max_calls=" + " or ".join(str(limit) for limit in sorted(set(limits)))


def silent(seconds: float, last_sign: float | None, stopped: bool) -> Reason:
    """The reason for a worker that did not answer.

    Parameters
    ----------
    seconds
        Time since it first did not answer.
    last_sign
        Seconds since its last task ended, or since it started if it is not known to have run any.
    stopped
        The kernel does not run it.
    """
    text = f"no answer for {_seconds(seconds * 1000)}"
    if stopped:
        text += ": stopped by a signal or a debugger"
    if last_sign is not None:
        text += f"; its last sign of life was {_seconds(last_sign * 1000)} ago"
    return Reason("no answer", text, "kill -CONT its pid" if stopped else "see what it does: py-spy dump --pid its pid")


def _left_over(reaper: Reaper | None) -> Reason:
    """The reason for a worker that no task can reach any more. The reaper asks these first, and forces them."""
    if reaper is None:
        return Reason("job ended", "its job has ended, so that no task can reach it")
    if reaper.off:
        text = "its job has ended, so that no task can reach it; the reaper, which would free it, is off"
        return Reason(
            "job ended", f"{text} (kill_idle_workers_interval_ms=0)", "outlive workers trim --max-idle 0 --yes"
        )
    return Reason("job ended", f"its job has ended: the reaper takes it within {_seconds(reaper.interval_ms)}")


def _refusals(facts: Facts) -> list[Reason]:
    """The reasons why it refuses to exit. Owned objects come first: no setting helps against them."""
    found = []
    if facts.state == "leaving":
        because = f"spent ({facts.spent})"
        if facts.owned:
            text = f"{because}, and owns {count(facts.owned, 'live object')}: it takes no more tasks, "
            found.append(Reason("owns objects, max_calls spent", f"{text}and cannot end before they do", _STORE))
        elif facts.borrowed:
            found.append(Reason("holds borrowed refs", f"{because}, and holds {_refs(facts.borrowed)}", "drop them"))
        else:
            found.append(Reason("due", f"{because}: it is about to end"))
    elif facts.owned:
        text = f"owns {count(facts.owned, 'live object')}, which would be lost with it; it refuses to exit"
        found.append(Reason("owns objects", text, _STORE))
    if facts.state != "leaving" and facts.borrowed:
        text = f"holds {_refs(facts.borrowed)}; it refuses to exit"
        remedy = "drop them: look for globals and caches that keep refs or actor handles between tasks"
        found.append(Reason("holds borrowed refs", text, remedy))
    if facts.pending:
        text = f"waits for {count(facts.pending, 'task')} that it submitted; it refuses to exit"
        found.append(Reason("waits for its tasks", text))
    return found


def _not_asked(facts: Facts, pool: Pool) -> list[Reason]:
    """The reason why the reaper does not ask it to exit."""
    reaper = pool.reaper
    if reaper.off:
        text = "the reaper is off (kill_idle_workers_interval_ms=0): no idle worker is ever asked to exit"
        return [Reason("reaper off", text, "leave the setting out, or: outlive workers plan --goal memory")]
    if not killable(facts, reaper):
        idle = "an unknown time" if facts.idle_for is None else _seconds(facts.idle_for * 1000)
        text = f"idle for {idle}, less than the threshold of {_seconds(reaper.threshold_ms)}"
        return [Reason("below threshold", text)]
    counted = pool.killable if facts.unused else pool.killable - pool.unused
    if pool.killable <= pool.keeps or counted <= pool.keeps:
        limit = "CPUs available" if reaper.soft_limit < 0 else "num_workers_soft_limit"
        competing = pool.killable if pool.killable <= pool.keeps else counted
        text = f"within the soft limit: {competing} idle, {pool.keeps} kept ({limit})"
        return [
            Reason(
                "within soft limit", text, "lower num_workers_soft_limit (needs a restart), or: outlive workers trim"
            )
        ]
    return []


def _started_ahead(reaper: Reaper) -> Reason:
    """The reason for a worker that has run no task: `keep_alive_until` of worker_pool.cc, which cannot be asked for."""
    text = (
        "started ahead, and has run no task: stays as long as whoever started it asked Ray to keep it "
        "(PrestartWorkers, as min_idle of keep_trim does); without that, the reaper takes it within "
        f"{_seconds(reaper.interval_ms)}"
    )
    return Reason("started ahead", text)


def _refs(number: int) -> str:
    return count(number, "borrowed reference")


def _seconds(milliseconds: float) -> str:
    return format_duration(milliseconds / 1000)
