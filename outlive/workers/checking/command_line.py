"""`ray start` command lines: on the head, and on workers, where `--system-config` is an error."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from outlive.workers import commands
from outlive.workers.checking import system_settings
from outlive.workers.checking.finding import Finding
from outlive.workers.commands import RayStart

_WORKER_WHY = (
    'Ray refuses it: "System config parameters can only be set on the head node". Workers get the head\'s settings'
)


def check(
    start: RayStart,
    line: int | None,
    *,
    worker: bool = False,
    eager: bool = False,
    change: Callable[[str], None] | None = None,
) -> list[Finding]:
    """Look at one `ray start`.

    Parameters
    ----------
    worker
        It stands where workers are started.
    eager
        A comment nearby says that cleaning up aggressively is meant.
    change
        Writes another text in its place.
    """
    found = _options(start, line)
    if start.system_config is None:
        return found
    if worker or not start.head:
        mend = None
        if change is not None:

            def mend(change: Callable[[str], None] = change) -> None:
                change(commands.without_settings(start))

        what = "--system-config on a worker node: it cannot start"
        return [*found, Finding("system-config-on-worker", line, what, _WORKER_WHY, "remove it here", mend)]
    try:
        settings = start.settings()
    except ValueError as error:
        what, why = "--system-config is no JSON object", f"Ray cannot read it: {error}"
        return [*found, Finding("not-json", line, what, why, """write --system-config='{"name":value}'""")]

    def write(new: Mapping[str, Any]) -> None:
        if change is not None:
            bare = commands.without_settings(start)
            change(f"{bare} {commands.system_config_option(dict(new))}")

    return found + system_settings.check(settings, line, eager=eager, change=write if change is not None else None)


def _options(start: RayStart, line: int | None) -> list[Finding]:
    """Options that `ray start` does not have."""
    known = _known_options()
    try:
        words = shlex.split(start.text)[2:]
    except ValueError as error:
        return [Finding("unreadable", line, "the command cannot be read", str(error), "close the quote")]
    found = []
    for word in words:
        name = word.partition("=")[0]
        if not name.startswith("--") or not known or name in known:
            continue
        close = difflib.get_close_matches(name, known, 1, 0.7)
        fix = f"did you mean {close[0]}?" if close else "see `ray start --help`"
        found.append(Finding("unknown-option", line, f"`ray start` has no option {name}", "it does not start", fix))
    return found


@lru_cache(maxsize=1)
def _known_options() -> frozenset[str]:
    """The options of the installed `ray start`."""
    try:
        from ray.scripts.scripts import start
    except ImportError:  # parts of Ray's command line need more than Ray
        return frozenset()
    parameters: Any = start.params
    return frozenset(option for one in parameters for option in (*one.opts, *one.secondary_opts)) | {"--help"}
