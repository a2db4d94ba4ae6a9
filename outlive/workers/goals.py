"""From a goal to settings, each with its reason and what it costs: `plan`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from outlive.errors import BadSetting
from outlive.workers.settings import KNOWN, Value

Goal = Literal["memory", "balanced", "latency"]
GOALS: tuple[Goal, ...] = ("memory", "balanced", "latency")


@dataclass(frozen=True)
class Planned:
    """One setting, the reason for its value, and its cost."""

    name: str
    value: Value
    reason: str
    cost: str
    yields: bool = False
    """A value that a file already has stays: no other value was asked for."""


@dataclass(frozen=True)
class Plan:
    """Settings of the raylet, and of the autoscaler."""

    system: tuple[Planned, ...]
    autoscaler: tuple[Planned, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def system_config(self) -> dict[str, Value]:
        """For `_system_config` and `--system-config`."""
        return {planned.name: planned.value for planned in self.system}

    def autoscaler_config(self) -> dict[str, Value]:
        """For the top level of a cluster YAML."""
        return {planned.name: planned.value for planned in self.autoscaler}

    def with_upscaling(self, speed: float) -> Plan:
        """The same plan with an `upscaling_speed` that replaces the value in a file.

        Raises
        ------
        BadSetting
            The speed is below 0.
        """
        if speed < 0:
            raise BadSetting(f"upscaling-speed {speed:g}: 0 or more")
        others = tuple(planned for planned in self.autoscaler if planned.name != "upscaling_speed")
        return replace(self, autoscaler=(*others, Planned("upscaling_speed", speed, *_UPSCALING)))


_UPSCALING = (
    "how many nodes may be started at once, as a multiple of those that run",
    "higher: more nodes than needed for a moment; lower: a burst waits longer",
)
_NO_MINIMUM = (
    "Ray has no minimum or hard maximum of idle workers: outlive.workers.keep_trim(min_idle=, max_idle=) keeps both"
)
_OWNERS = "no setting ends a worker that owns a live object: `outlive workers` shows those, and what to do about them"


def plan_for_goal(goal: Goal) -> Plan:
    """The settings for a goal.

    Parameters
    ----------
    goal
        `memory`: every idle worker leaves as soon as Ray can notice. `balanced`: Ray's reaper, with time for a burst to
        come back. `latency`: as many warm workers as CPUs, from the start, for minutes.

    Raises
    ------
    BadSetting
        There is no such goal.
    """
    if goal == "memory":
        return plan_for_numbers(max_idle=0, idle_after=1.0, node_idle_after=60.0, prestart=False)
    if goal == "balanced":
        return plan_for_numbers(max_idle=None, idle_after=10.0, node_idle_after=300.0, prestart=None)
    if goal == "latency":
        return plan_for_numbers(max_idle=None, idle_after=300.0, node_idle_after=900.0, prestart=True, upscaling=2.0)
    raise BadSetting(f"goal {goal!r} is none of {', '.join(GOALS)}")


def plan_for_numbers(
    *,
    min_idle: int = 0,
    max_idle: int | None = None,
    idle_after: float = 1.0,
    node_idle_after: float | None = None,
    prestart: bool | None = None,
    upscaling: float = 1.0,
) -> Plan:
    """The settings for bounds.

    Parameters
    ----------
    min_idle, max_idle
        Idle workers on each node. Ray has one soft limit, which becomes `max_idle`; for None, the number of available
        CPUs.
    idle_after
        Seconds after which a worker counts as idle.
    node_idle_after
        Seconds after which an idle node is removed.
    prestart
        Start workers with the node; None leaves Ray's default.
    upscaling
        How many nodes may be started at once, as a multiple of the running nodes. It is used if a file does not say.

    Raises
    ------
    BadSetting
        The bounds contradict each other.
    """
    if min_idle < 0 or (max_idle is not None and max_idle < min_idle):
        raise BadSetting(f"keep-idle {min_idle} and max-idle {max_idle}: 0 or more, and max-idle not below keep-idle")
    if idle_after < 0 or (node_idle_after is not None and node_idle_after <= 0):
        raise BadSetting("idle-after and node-idle-after are lengths of time above zero")
    threshold = round(idle_after * 1000)
    system = [
        _interval(threshold),
        Planned(
            "idle_worker_killing_time_threshold_ms",
            threshold,
            f"a worker that was idle for {idle_after:g} s may go",
            "shorter: a task that comes later than that starts a new worker; longer: its memory stays",
        ),
        _soft_limit(max_idle),
    ]
    if prestart is not None:
        system.append(_prestart(prestart))
    autoscaler = []
    if node_idle_after is not None:
        autoscaler = [
            Planned(
                "idle_timeout_minutes",
                _tidy(node_idle_after / 60),
                f"a node with nothing on it goes after {node_idle_after:g} s",
                "shorter: the next burst waits for a machine to boot. Any object or actor on a node keeps it for ever",
            ),
            Planned(
                "upscaling_speed",
                upscaling,
                *_UPSCALING,
                yields=True,
            ),
        ]
    notes = [_OWNERS]
    if min_idle:
        notes.insert(0, f"--keep-idle {min_idle}: {_NO_MINIMUM}")
    return Plan(tuple(system), tuple(autoscaler), tuple(notes))


def _interval(threshold_ms: int) -> Planned:
    value = int(KNOWN["kill_idle_workers_interval_ms"].default)
    return Planned(
        "kill_idle_workers_interval_ms",
        value,
        "how often the reaper looks; Ray's default, written out since 0 would turn it off",
        f"a worker stays up to {value} ms longer than {threshold_ms} ms; a look costs microseconds",
    )


def _soft_limit(max_idle: int | None) -> Planned:
    if max_idle is None:
        return Planned(
            "num_workers_soft_limit",
            -1,
            "as many idle workers stay as CPUs are available: one for each task that could start",
            "their memory, for as long as the node is up: 40 to 100 MB each, plus what their tasks leaked",
        )
    return Planned(
        "num_workers_soft_limit",
        max_idle,
        f"{max_idle} idle workers stay on each node",
        "a burst of more tasks than that starts workers first: 0.5 to 2 s each, plus the imports of the tasks",
    )


def _prestart(on: bool) -> Planned:
    if on:
        return Planned(
            "enable_worker_prestart",
            True,
            "workers are started with the node, before the first task asks for one",
            "their memory, even if no task ever comes",
        )
    return Planned(
        "prestart_worker_first_driver",
        False,
        "no workers are started ahead for the first driver",
        "the first tasks of the first program start their workers: 0.5 to 2 s each",
    )


def _tidy(number: float) -> float | int:
    return int(number) if number == int(number) else round(number, 3)
