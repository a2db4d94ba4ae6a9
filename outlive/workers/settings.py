"""The settings that decide how long an idle worker stays: names, types, defaults, and Ray versions.

Sources: `RAY_CONFIG(type, name, default)` in src/ray/common/ray_config_def.h of Ray, and the strings in the
raylets of the wheels of Ray 2.49.1 and 2.60.0. The values in force are read from the cluster, see `in_force`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Value = int | float | bool | str
Source = Literal["system-config", "environment", "default"]


@dataclass(frozen=True)
class Known:
    """One setting of the raylet."""

    name: str
    type: type
    default: Value
    meaning: str
    since: tuple[int, int] = (2, 49)
    minimum: float | None = None


@dataclass(frozen=True)
class Setting:
    """A setting, with its value on one node."""

    name: str
    value: Value
    source: Source


KNOWN: dict[str, Known] = {
    known.name: known
    for known in (
        Known("kill_idle_workers_interval_ms", int, 200, "how often the reaper looks; 0 turns it off", minimum=0),
        Known(
            "idle_worker_killing_time_threshold_ms",
            int,
            1000,
            "how long a worker must have been idle to be reaped",
            minimum=0,
        ),
        Known(
            "num_workers_soft_limit",
            int,
            -1,
            "how many workers idle for longer than that are kept; -1: as many as CPUs are available",
            minimum=-1,
        ),
        Known("enable_worker_prestart", bool, False, "start workers with the node, before any driver"),
        Known("prestart_worker_first_driver", bool, True, "start one worker per CPU for the first driver"),
        Known("worker_register_timeout_seconds", int, 60, "how long a starting worker may take to register", minimum=1),
        Known("memory_usage_threshold", float, 0.95, "share of memory in use at which Ray kills workers", minimum=0),
        Known("memory_monitor_refresh_ms", int, 250, "how often memory is looked at; 0 turns that off", minimum=0),
        Known(
            "idle_worker_killing_memory_threshold_bytes",
            int,
            1 << 30,
            "idle workers above this go first when memory runs out",
            since=(2, 56),
            minimum=0,
        ),
        Known(
            "task_events_report_interval_ms",
            int,
            1000,
            "how often task events are reported; 0 turns them off, and with them `outlive workers record`",
            minimum=0,
        ),
    )
}
REAPER = ("kill_idle_workers_interval_ms", "idle_worker_killing_time_threshold_ms", "num_workers_soft_limit")


@dataclass(frozen=True)
class Reaper:
    """Ray's killer of idle workers, with its settings on one node."""

    interval_ms: int = 200
    threshold_ms: int = 1000
    soft_limit: int = -1

    @property
    def off(self) -> bool:
        """Whether the reaper kills no idle worker, not even those of ended jobs."""
        return self.interval_ms == 0

    def kept(self, available_cpus: int) -> int:
        """The largest number of workers that it keeps although they are idle for longer than the threshold."""
        return self.soft_limit if self.soft_limit >= 0 else available_cpus


def version(text: str) -> tuple[int, int]:
    """(major, minor) of a version of Ray.

    >>> version("2.60.0rc1")
    (2, 60)
    """
    major, minor = text.split(".")[:2]
    return int(major), int(minor)


def in_force(system_config: Mapping[str, Any], environment: Mapping[str, str], ray_version: str) -> list[Setting]:
    """The values of the known settings on a raylet: from the head's system config, else its environment, else the
    default.

    Parameters
    ----------
    system_config
        The settings that the head was started with.
    environment
        The raylet's `RAY_...` variables, without the prefix.
    ray_version
        As in `ray.__version__`: settings that it does not have yet are left out.
    """
    return [_one(known, system_config, environment) for known in KNOWN.values() if known.since <= version(ray_version)]


def _one(known: Known, system_config: Mapping[str, Any], environment: Mapping[str, str]) -> Setting:
    if known.name in system_config:
        return Setting(known.name, system_config[known.name], "system-config")
    if known.name in environment:
        try:
            return Setting(known.name, parsed(known, environment[known.name]), "environment")
        except ValueError:
            pass  # the raylet uses the default too
    return Setting(known.name, known.default, "default")


def parsed(known: Known, text: str) -> Value:
    """The value of an environment variable, as the raylet reads it. ValueError if it cannot."""
    if known.type is bool:  # ReadEnv in ray_config.h: "true" in any case, or "1"
        return text.lower() == "true" or text == "1"
    value: Value = known.type(text)
    return value


def reaper(settings: list[Setting]) -> Reaper:
    """The reaper that has these settings."""
    values: dict[str, Any] = {setting.name: setting.value for setting in settings}
    return Reaper(*(int(values[name]) for name in REAPER))
