"""The speed of this node's shared memory now, beside that with huge pages."""

from __future__ import annotations

from typing import NamedTuple

from outlive.arrays.limits import existing
from outlive.errors import TuneRefused
from outlive.tune import speed
from outlive.tune.advice import Advice
from outlive.tune.facts import Facts
from outlive.tune.record import WANTED
from outlive.tune.speed import Speeds


class Compared(NamedTuple):
    """The speeds that could be measured."""

    now: Speeds | None
    huge: Speeds | None
    """On a private mount with huge pages. None: they are in use already, or it was not measured."""
    refused: str | None
    """Why something was not measured."""


def compare(facts: Facts, found: list[Advice]) -> Compared:
    """Measure for a few seconds. `found` is the advice on these facts."""
    now = None
    try:
        now = speed.measure(facts.mount.folder if facts.mount.kind == "tmpfs" else existing(facts.root))
        small = any(one.kind == "small-pages" for one in found)
        return Compared(now, speed.measure_private(WANTED) if small else None, None)
    except (TuneRefused, MemoryError, OSError) as error:  # StoreFull is a MemoryError
        return Compared(now, None, str(error) or "there is too little memory to measure in")
