"""`outlive doctor --watch`: looks again and again, and prints what has changed. Ctrl-C ends it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer

from outlive.cli.failures import NOT_SO, UNABLE, ray_errors, report
from outlive.doctor.changes import Changes, changes, remembered
from outlive.errors import OutliveError

if TYPE_CHECKING:
    from outlive.doctor import Diagnosis


def watch(
    look: Callable[[], Diagnosis],
    every: float,
    show: Callable[[Diagnosis, Changes | None], None] | None,
    *,
    rest: Callable[[float], Any] = time.sleep,
) -> int:
    """Look until somebody interrupts; the exit code of the last look.

    Parameters
    ----------
    every
        Seconds between two looks.
    show
        Prints a look, and what has changed since the one before, None for the first. None: each is printed as JSON, on
        one line: the first, those that differ, and the first after one that failed.
    """
    code, before, failed = 0, None, ""
    try:
        while True:
            try:
                now = look()
            except Exception as error:
                if not isinstance(error, (OutliveError, OSError, *ray_errors())):
                    raise
                code = UNABLE  # the cluster may come back
                if str(error) != failed:
                    report(error, as_json=show is None)
                failed = str(error)
            else:
                code = 0 if now.healthy else NOT_SO
                differs = None if before is None else changes(before, now)
                if differs is None or differs or failed:  # that it looks again is news
                    _print(now, differs, show)
                before = now if before is None else remembered(before, now)
                failed = ""
            rest(every)
    except KeyboardInterrupt:
        return code


def _print(now: Diagnosis, differs: Changes | None, show: Callable[[Diagnosis, Changes | None], None] | None) -> None:
    if show is None:
        typer.echo(json.dumps(now.to_json()))
    else:
        show(now, differs)
