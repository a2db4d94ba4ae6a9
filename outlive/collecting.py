"""Python's collector rests while very many objects are made: it would look at all of them again and again."""

from __future__ import annotations

import gc
import io
import os
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")
_resting: list[None] = []  # not empty while a call has turned it off


class _OnAtTheEnd(io.IOBase):
    """`with` this, the collector is on again at the end of the block. C code does that, so no signal prevents it."""

    close = staticmethod(gc.enable)  # what its `__exit__` calls


_on_at_the_end = _OnAtTheEnd()


def without_collections(make: Callable[[], _T]) -> _T:
    """Call `make` while the collector is off, for all threads. Of several calls, the first that ends turns it on again.

    A signal handler may raise at any time. A generator with `contextlib` would then leave the collector off: the error
    keeps the generator alive, and they may be a cycle that only the collector would find.
    """
    if not gc.isenabled():
        return make()
    try:
        with _on_at_the_end:
            _resting.append(None)
            gc.disable()
            return make()
    finally:
        _resting.clear()


def _in_child() -> None:
    """Turn it on in a process that another thread forked meanwhile: nobody else does so there."""
    if _resting:
        gc.enable()
        _resting.clear()


os.register_at_fork(after_in_child=_in_child)
