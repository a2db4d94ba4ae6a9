"""Remains of an object that was dropped before it was finished. They are cleared away later.

Python prints and loses an exception that is raised in a finalizer. Ctrl-C is an exception too, and Python raises it in
whichever Python code runs next. So when an object dies, only C code runs, which puts its remains into a list. The next
call that uses the shelf clears them away, and an interrupt then reaches the caller.
"""

from __future__ import annotations

import collections
import contextlib
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any

_watched: set[Remains] = set()  # the remains that are not settled
_left: collections.deque[Any] = collections.deque()
# a thread that finds remains waits until they are cleared away: their path may be used again
_clearing = threading.RLock()


class Remains(weakref.ref[Any]):
    """Calls `clear` in this process some time after `of` is gone, unless it was `settled` before.

    `clear` must hold no reference to `of`, and may be called twice. A forked child has nothing to clear away.
    """

    __slots__ = ("_clear",)
    _clear: Callable[[], object]

    def __new__(cls, of: object, clear: Callable[[], object]) -> Remains:  # noqa: PYI034  # Self: from Python 3.11
        remains = super().__new__(cls, of, _left.append)  # `append` is C code: no signal handler interrupts it
        remains._clear = clear
        _watched.add(remains)
        return remains

    __hash__ = object.__hash__
    __eq__ = object.__eq__

    def settled(self) -> None:
        """Say that nothing is to be cleared away any more."""
        _watched.discard(self)
        self._clear = _nothing

    def clear(self) -> None:
        """Clear away, unless settled. Errors are ignored: the keeper finds what stays."""
        if self in _watched:
            with contextlib.suppress(Exception):
                self._clear()
            self.settled()


def _nothing() -> None:
    pass


def clear_remains() -> None:
    """Clear away all remains since the last time."""
    while _left:
        with _clearing:
            if _left:
                first = _left[0]
                first.clear()
                if _left and _left[0] is first:  # else a signal handler that puts has cleared it away
                    _left.popleft()  # last: after an interrupt the next call goes on with it


def _forget_parents() -> None:
    global _clearing
    _clearing = threading.RLock()
    _left.clear()
    _watched.clear()


os.register_at_fork(after_in_child=_forget_parents)
