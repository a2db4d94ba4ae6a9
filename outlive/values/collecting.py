"""Python's collector rests while very many objects are made: it would look at all of them again and again."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator

_resting: list[None] = []  # not empty while a block has turned it off


@contextlib.contextmanager
def no_collections() -> Iterator[None]:
    """The collector is off in this block, for all threads. Of several blocks, the first that ends turns it on again."""
    was_on = gc.isenabled()
    try:
        if was_on:
            _resting.append(None)
            gc.disable()
        yield
    finally:
        if was_on:
            gc.enable()
            _resting.clear()


def _in_child() -> None:
    """Turn it on in a process that another thread forked meanwhile: nobody else does so there."""
    if _resting:
        gc.enable()
        _resting.clear()


os.register_at_fork(after_in_child=_in_child)
