"""Settings in `RAY_...` variables of the environment in which Ray is started."""

from __future__ import annotations

from outlive.ray_internals import config
from outlive.workers.checking import spelling, system_settings
from outlive.workers.checking.misconfiguration import Misconfiguration
from outlive.workers.settings import KNOWN, parsed


def check(name: str, value: str, line: int | None, *, eager: bool = False) -> list[Misconfiguration]:
    """Look at one variable.

    Parameters
    ----------
    eager
        A comment nearby says that cleaning up aggressively is meant.
    """
    setting = name.removeprefix("RAY_")
    known = KNOWN.get(setting)
    if known is None:
        return _misspelled(setting, value, line)
    try:
        made = parsed(known, value)
    except ValueError:
        why = f"the raylet cannot read it, and goes on with {known.default}"
        return [
            Misconfiguration(
                "wrong-type", line, f"{name}={value}: no {known.type.__name__}", why, f"as {known.default}"
            )
        ]
    return system_settings.check({setting: made}, line, eager=eager)


def _misspelled(setting: str, value: str, line: int | None) -> list[Misconfiguration]:
    """Ray's settings are in small letters. The many other variables are ignored."""
    if setting != setting.lower() or config.knows_setting(setting) is not False:
        return []
    name = spelling.meant(setting, {*KNOWN, *config.known_settings()})
    if name is None:
        return []
    what = f"no setting {setting}: RAY_{setting}={value} does nothing"
    return [
        Misconfiguration("unknown-setting", line, what, "Ray ignores it without a word", f"did you mean RAY_{name}?")
    ]
