"""`ray start` command lines: on the head, and on workers, where `--system-config` is an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from outlive.workers import commands
from outlive.workers.checking import environment, spelling, system_settings
from outlive.workers.checking.misconfiguration import Misconfiguration
from outlive.workers.commands import Edit, RayStart

_WORKER_WHY = (
    'Ray refuses it: "System config parameters can only be set on the head node". Workers get the head\'s settings'
)


def check_text(
    text: str,
    line_of: Callable[[int], int | None],
    *,
    prose: bool = False,
    worker: bool = False,
    eager: bool = False,
    change: Callable[[int, Edit], None] | None = None,
) -> list[Misconfiguration]:
    """Check the `ray start` commands and the variables in a shell text.

    Parameters
    ----------
    line_of
        The line of a letter of the text, from 1.
    prose
        The text may have other things than commands.
    worker
        The text starts workers.
    eager
        A comment nearby says that cleaning up aggressively is meant.
    change
        Makes an edit for the `ray start` of this number.
    """
    found = []
    for number, start in enumerate(commands.find(text, prose=prose)):
        write = None
        if change is not None:

            def write(edit: Edit, number: int = number, change: Callable[[int, Edit], None] = change) -> None:
                change(number, edit)

        found += check(start, line_of(start.offset), worker=worker, eager=eager, change=write)
    for variable in commands.environment(text, prose=prose):
        if variable.known:
            found += environment.check(variable.name, variable.value, line_of(variable.offset), eager=eager)
    return found


def check(
    start: RayStart,
    line: int | None,
    *,
    worker: bool = False,
    eager: bool = False,
    change: Callable[[Edit], None] | None = None,
) -> list[Misconfiguration]:
    """Look at one `ray start`. The parameters are those of `check_text`."""
    found = _options(start, line)
    if start.option is None:
        return found
    if worker or start.worker:
        mend, edit = None, start.without_settings()
        if change is not None and edit is not None:

            def mend(change: Callable[[Edit], None] = change, edit: Edit = edit) -> None:
                change(edit)

        what = "--system-config on a worker node: it cannot start"
        return [*found, Misconfiguration("system-config-on-worker", line, what, _WORKER_WHY, "remove it here", mend)]
    if start.config is None:
        what = "--system-config is made when the command runs"
        return [
            *found,
            Misconfiguration("not-read", line, what, "its settings are not known here", "check what it is made of"),
        ]
    try:
        settings = start.settings()
    except ValueError as error:
        what, why = "--system-config is no JSON object", f"Ray cannot read it: {error}"
        return [*found, Misconfiguration("not-json", line, what, why, """write --system-config='{"name":value}'""")]

    def write(new: Mapping[str, Any]) -> None:
        if change is not None:
            change(start.with_only(dict(new)))

    return found + system_settings.check(settings, line, eager=eager, change=write if change is not None else None)


def _options(start: RayStart, line: int | None) -> list[Misconfiguration]:
    """Options that `ray start` does not have."""
    known = known_options()
    found = []
    for word in start.words:
        name = word.partition("=")[0]
        if not name.startswith("--") or name == "--" or "$" in name or not known or name in known:
            continue
        what = f"`ray start` has no option {name}"
        found.append(Misconfiguration("unknown-option", line, what, "it does not start", option_advice(name)))
    return found


def option_advice(name: str) -> str:
    """The advice for an option that does not exist."""
    told = spelling.advice(name, known_options())
    return "see `ray start --help`" if told == "leave it out" else told


@lru_cache(maxsize=1)
def known_options() -> frozenset[str]:
    """The options of the installed `ray start`; empty if they cannot be read."""
    try:
        from ray.scripts.scripts import start
    except ImportError:  # parts of Ray's command line need further packages
        return frozenset()
    parameters: Any = start.params
    return frozenset(option for one in parameters for option in (*one.opts, *one.secondary_opts)) | {"--help"}
