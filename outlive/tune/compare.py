"""The speed of this node's shared memory now, beside that with huge pages."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import NamedTuple

from outlive.arrays.limits import existing
from outlive.tune import speed
from outlive.tune.advice import Advice
from outlive.tune.facts import Facts
from outlive.tune.mount import IN_MEMORY, in_words
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
        with _ended_in_order():
            now = speed.measure(facts.mount.folder if facts.mount.kind == IN_MEMORY else existing(facts.root))
            small = any(one.kind == "small-pages" for one in found)
            return Compared(now, speed.measure_private(WANTED) if small else None, None)
    except speed.REFUSED as error:
        return Compared(now, None, in_words(error))


@contextlib.contextmanager
def _ended_in_order() -> Iterator[None]:
    """SIGTERM and SIGHUP end this block by SystemExit, unless the program handles them: nothing measured in stays."""
    ours = []
    if threading.current_thread() is threading.main_thread():
        ours = [one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, lambda got, _: sys.exit(128 + got))
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
