"""The logs of outlive's actors: lines on stderr, which Ray writes into a file of the actor's process.

A library leaves it to the program what becomes of its log. These actors are outlive's own program, so they choose: they
write warnings, and more of it if `OUTLIVE_LOG` says so where Ray starts. A handler that a program had Ray install
(`ray.LoggingConfig`) is left in charge.
"""

from __future__ import annotations

import logging
import os

SETTING = "OUTLIVE_LOG"
_LEVELS = ("debug", "info", "warning", "error")
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def begin() -> None:
    """Write this process's log from now on. May be called again."""
    log = logging.getLogger("outlive")
    asked = os.environ.get(SETTING, "warning").strip().lower()
    log.setLevel((asked if asked in _LEVELS else "warning").upper())
    if not log.handlers and not logging.getLogger().handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter(_FORMAT))
        log.addHandler(handler)
    if asked not in _LEVELS:
        log.warning("%s=%r is no level: there are %s", SETTING, asked, ", ".join(_LEVELS))
