"""A lock between processes and threads that Ctrl-C cannot leave behind. The kernel releases it if its holder dies."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` wraps it in enums, which takes longer than all the rest of a small put
import fcntl
import os
import signal
import threading
from types import FrameType
from typing import Any

_SIGINT = int(signal.SIGINT)


class FileLock:
    """`with lock:` holds the exclusive `flock` of an open file. May be nested.

    Ctrl-C (and `ray.cancel`) takes effect after the block: a lock that stays behind would halt the node's writers.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._threads = threading.Lock()
        self._owner = 0  # the thread that holds it
        self._depth = 0
        self._interrupts = Interrupts()

    def __enter__(self) -> None:
        thread = threading.get_ident()
        if self._owner == thread:
            self._depth += 1
            return
        interrupts = Interrupts()
        interrupts.hold()
        try:
            self._threads.acquire()
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX)
            except BaseException:
                self._threads.release()
                raise
        except BaseException:
            interrupts.let_go()
            raise
        self._owner, self._depth, self._interrupts = thread, 1, interrupts

    def __exit__(self, *_: object) -> None:
        if self._owner == 0:  # a child that was forked inside the block: the lock is its parent's
            return
        self._depth -= 1
        if self._depth == 0:
            interrupts, self._owner = self._interrupts, 0
            fcntl.flock(self._fd, fcntl.LOCK_UN)
            self._threads.release()
            interrupts.let_go()

    def abandon(self) -> None:
        """In a forked child: the lock is the parent's, and so is the file."""
        self._owner = 0


class Interrupts:
    """Keeps SIGINT from being acted upon, in the main thread; elsewhere Python never acts upon it."""

    __slots__ = ("_handler", "_held")

    def __init__(self) -> None:
        self._handler: Any = None
        self._held: list[tuple[int, FrameType | None]] = []

    def hold(self) -> None:
        if threading.get_ident() == threading.main_thread().ident:
            handler = _signal.getsignal(_SIGINT)
            if callable(handler):
                self._handler = handler
                _signal.signal(_SIGINT, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._held.append((number, frame))

    def let_go(self) -> None:
        """Act upon what came meanwhile."""
        if self._handler is not None:
            _signal.signal(_SIGINT, self._handler)
            if self._held:
                first = self._held[0]
                self._held.clear()  # or it would keep alive whatever its frame knows
                self._handler(*first)


def _act_again() -> None:
    """In a forked child: whoever kept interrupts from being acted upon is in the parent, and lets go of them there."""
    handler = _signal.getsignal(_SIGINT)
    while isinstance(holder := getattr(handler, "__self__", None), Interrupts):  # one in the other
        handler = holder._handler  # noqa: SLF001
        _signal.signal(_SIGINT, handler)


os.register_at_fork(after_in_child=_act_again)
