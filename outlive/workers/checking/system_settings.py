"""Settings of the raylet, from any source: names, types, and values that do not do what is meant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ray

from outlive.ray_internals import config
from outlive.workers.checking import spelling
from outlive.workers.checking.misconfiguration import Misconfiguration
from outlive.workers.settings import KNOWN, Known, version

START_UP_MS = 500
"""The shortest time that a worker takes to start: 0.5 to 2 s on a warm machine, more with imports."""
_RARELY_MS = 1000
_NAMES: dict[type, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "a string"}

Change = Callable[[Mapping[str, Any]], None]
"""Writes other settings in place of these."""


def check(
    settings: Mapping[str, Any],
    line: int | None,
    *,
    eager: bool = False,
    change: Change | None = None,
    start_up_ms: int = START_UP_MS,
) -> list[Misconfiguration]:
    """Look at settings.

    Parameters
    ----------
    eager
        A comment nearby says that cleaning up aggressively is meant.
    change
        Writes them anew; None if that cannot be done.
    start_up_ms
        The time that a worker takes to start here.
    """
    found = []
    for name, value in settings.items():
        known = KNOWN.get(name)
        if known is None:
            found += _unknown(name, value, settings, line, change)
        elif known.since > version(ray.__version__):
            since = ".".join(map(str, known.since))
            why = f"it came with Ray {since}, this is {ray.__version__}, which does not start with it"
            found.append(
                Misconfiguration("not-in-this-ray", line, f"{name} is unknown to this Ray", why, "leave it out")
            )
        elif problem := _wrong_type(known, value):
            found.append(
                Misconfiguration(
                    "wrong-type", line, f"{name}={value!r}: {problem}", known.meaning, f"as {known.default}"
                )
            )
        else:
            found += _value(known, value, settings, line, eager, change, start_up_ms)
    return found


def _unknown(
    name: str, value: Any, settings: Mapping[str, Any], line: int | None, change: Change | None
) -> list[Misconfiguration]:
    if config.knows_setting(name) is not False and name in config.known_settings():
        return []  # one of the hundreds of other settings
    bare, known = name.removeprefix("RAY_"), {*KNOWN, *config.known_settings()}
    close = spelling.meant(bare, known)
    if not close and config.knows_setting(name) is not False:
        return []
    fix = spelling.advice(bare, known)
    if fix == "leave it out":
        fix = "see `outlive workers plan` for those that matter here"
    mend = None
    if (
        close
        and change is not None
        and close not in settings
        and not (close in KNOWN and _wrong_type(KNOWN[close], value))
    ):
        renamed = {close if other == name else other: kept for other, kept in settings.items()}

        def mend(change: Change = change) -> None:
            change(renamed)

    why = "Ray does not start with a name it does not know"
    return [Misconfiguration("unknown-setting", line, f"no setting {name}={value!r}", why, fix, mend)]


def _wrong_type(known: Known, value: Any) -> str | None:
    fits = isinstance(value, known.type) and (known.type is bool or not isinstance(value, bool))
    if known.type is float and isinstance(value, int) and not isinstance(value, bool):
        fits = True
    if not fits:
        return f"has to be {_NAMES[known.type]}"
    if known.minimum is not None and value < known.minimum:
        return f"has to be {known.minimum:g} or more"
    return None


def _value(
    known: Known,
    value: Any,
    settings: Mapping[str, Any],
    line: int | None,
    eager: bool,
    change: Change | None,
    start_up_ms: int,
) -> list[Misconfiguration]:
    """A value that is allowed, but does not do what is meant."""
    reset = None
    if change is not None:

        def reset(change: Change = change) -> None:
            change({**settings, known.name: known.default})

    if known.name == "kill_idle_workers_interval_ms" and value == 0:
        why = "no idle worker is ever asked to exit: each keeps its memory, after its job has ended too"
        return [
            Misconfiguration(
                "reaper-off", line, f"{known.name}=0 turns the reaper off", why, f"use {known.default}", reset
            )
        ]
    if known.name == "kill_idle_workers_interval_ms" and value > _RARELY_MS:
        times = value / int(known.default)
        what = f"{known.name}={value} looks {times:g} times less often than Ray's default of {known.default}"
        why = f"an idle worker stays up to {value / 1000:g} s longer, and nothing is gained: a look costs microseconds"
        return [
            Misconfiguration("lazier-than-default", line, what, why, f"use {known.default}, or leave it out", reset)
        ]
    if known.name == "idle_worker_killing_time_threshold_ms":
        if eager and value > int(known.default):
            times = value / int(known.default)
            what = f"{known.name}={value} is {times:g} times lazier than Ray's default of {known.default}"
            why = "the comment says aggressive; with this value idle workers stay longer than without any setting"
            return [
                Misconfiguration(
                    "lazier-than-default", line, what, why, "leave it out: outlive workers plan --goal memory"
                )
            ]
        if value < start_up_ms:
            what = f"{known.name}={value} is shorter than a worker's start-up of some {start_up_ms} ms"
            why = "a worker is let go in less time than it takes to get another: tasks wait, and CPUs start processes"
            return [
                Misconfiguration("shorter-than-start-up", line, what, why, f"use {max(1000, 2 * start_up_ms)} or more")
            ]
    return []
