"""Interrupts that come between any two calls of some work, as a Ctrl-C may."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import FrameType


def interrupt() -> None:
    raise KeyboardInterrupt


def interrupted_at(step: int, work: Callable[[], object], by: Callable[[], None] = interrupt) -> bool:
    """Do some work, with an interrupt as the function that is the `step`th to do so returns; False if fewer do.

    Python collects nothing meanwhile: what a callback of the collector raises is lost, and a child that was forked
    there did not end.
    """
    events = 0

    def profile(_: FrameType, kind: str, __: object) -> None:
        nonlocal events
        if kind.endswith("return"):  # Python calls it as a function ends, also one in C
            events += 1
            if events == step:
                sys.setprofile(None)
                by()

    collects = gc.isenabled()
    gc.disable()
    sys.setprofile(profile)
    try:
        work()
    except KeyboardInterrupt:
        pass
    finally:
        sys.setprofile(None)
        if collects:
            gc.enable()
    return events >= step
