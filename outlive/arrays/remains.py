"""Remains: what an object leaves behind when it is forgotten, cleared away later.

An exception that is raised in a finalizer is printed and lost, and Ctrl-C is one: Python acts upon it in whatever
Python code runs next. So nothing is done when an object dies, except that C code puts its remains into a list.
Who uses the shelf next clears them away, and an interrupt of that reaches its caller.
"""

from __future__ import annotations

import collections
import contextlib
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any

_watched: set[Remains] = set()  # those that were not settled
_left: collections.deque[Any] = collections.deque()
_clearing = threading.RLock()  # who finds remains waits until they are gone, by whomever: their path may be used again


class Remains(weakref.ref[Any]):
    """Has `clear` called some time after `of` is gone, by the same process, unless it was `settled` before.

    `clear` must not know `of`, and must be harmless to repeat. A child that is forked has nothing to clear away.
    """

    __slots__ = ("_clear",)
    _clear: Callable[[], object]

    def __new__(cls, of: object, clear: Callable[[], object]) -> Remains:  # noqa: PYI034  # Self: from Python 3.11
        remains = super().__new__(cls, of, _left.append)  # `append` is C code, which no signal handler gets into
        remains._clear = clear
        _watched.add(remains)
        return remains

    def __init__(self, of: object, _: Callable[[], object]) -> None:
        super().__init__(of, _left.append)  # type: ignore[call-arg]

    __hash__ = object.__hash__
    __eq__ = object.__eq__

    def settled(self) -> None:
        """Nothing is left to clear away."""
        _watched.discard(self)
        self._clear = _nothing

    def clear(self) -> None:
        """Clear away what was left, unless it was settled. An error is nobody's: the keeper finds what stays."""
        if self in _watched:
            with contextlib.suppress(Exception):
                self._clear()
            self.settled()


def _nothing() -> None:
    pass


def clear_remains() -> None:
    """Clear away what was left since the last time."""
    while _left:
        with _clearing:
            if _left:
                _left[0].clear()
                _left.popleft()  # last, so that what an interrupt leaves is for the next


def _forget_parents() -> None:
    global _clearing
    _clearing = threading.RLock()
    _left.clear()
    _watched.clear()


os.register_at_fork(after_in_child=_forget_parents)
