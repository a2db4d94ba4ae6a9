"""Copying: a large piece of memory is copied by several threads, if cores are idle.

The calling thread takes one piece after the other from a list, and so do the others. So a thread that gets no core
keeps nobody waiting for more than one piece. The others are ordinary threads that end with the copy: a forked child has
none of them.

A signal handler may raise in the calling thread. The others take no further piece then, but may be in the middle of
one: `wait` before the memory is given to anybody else.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from outlive.arrays import cores
from outlive.errors import BadSetting

SETTING = "OUTLIVE_COPY_THREADS"
MOST = 6  # threads, unless the setting says otherwise
PIECE = 4 << 20  # bytes of a piece, about
_WORTH_A_THREAD = 16 << 20  # bytes for each thread: it takes a tenth of a millisecond to start one
_PAUSE = 50e-6  # seconds between two looks whether the others are done


def threads(nbytes: int) -> int:
    """How many threads should copy so many bytes now, the calling one included.

    Raises
    ------
    BadSetting
        `OUTLIVE_COPY_THREADS` is no number.
    """
    most = min(_most(), nbytes // _WORTH_A_THREAD)
    return min(most, cores.idle()) if most > 1 else 1


def _most() -> int:
    text = os.environ.get(SETTING, "").strip() or str(MOST)
    if not text.isdecimal() or int(text) < 1:
        raise BadSetting(f"{SETTING}={text}: it is how many threads copy a large array at most, 1 or more")
    return int(text)


def assign(target: Any, source: Any) -> None:
    """Copy a piece."""
    target[...] = source


class Copying:
    """One copy, in pieces: each is a target and its source. `do` gets both of each piece, and copies it.

    Memory is allocated by several threads in the same way: a piece is where it begins and ends.
    """

    def __init__(self, do: Callable[[Any, Any], None] = assign) -> None:
        self._do = do
        self._pieces: deque[tuple[Any, Any]] = deque()
        self._at_work: set[object] = set()  # the other threads that have a piece, or are about to look for one
        self._errors: list[BaseException] = []
        self._pid = os.getpid()

    def run(self, pieces: Iterable[tuple[Any, Any]], count: int) -> None:
        """Copy all pieces by `count` threads."""
        self._pieces.extend(pieces)
        try:
            for _ in range(count - 1):
                try:
                    threading.Thread(target=self._help, name="outlive-copy", daemon=True).start()
                except RuntimeError:  # the system has no more threads
                    break
            self._work()
        finally:
            self.wait()
            error = self._take_error()
        if error is not None:
            try:
                raise error
            finally:
                del error  # else it would keep itself, and with it the memory: see `_take_error`

    def _take_error(self) -> BaseException | None:
        """The first error of the other threads, if any. An error that is kept here would keep this copy, and so itself.

        Its memory would stay mapped until Python's collector runs, and could not be given back.
        """
        errors, self._errors = self._errors, []
        return errors[0] if errors else None

    def wait(self) -> None:
        """Wait until no other thread writes, and have none begin. May be repeated, if a signal handler ended it."""
        self._pieces.clear()  # from here on, a thread that has just come finds nothing to do
        while self._at_work and os.getpid() == self._pid:  # a forked child has no other threads
            time.sleep(_PAUSE)

    def _help(self) -> None:
        thread = object()
        self._at_work.add(thread)  # before it looks for a piece: see `wait`
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - `run` raises it
            self._errors.append(error)
        finally:
            self._at_work.discard(thread)

    def _work(self) -> None:
        while True:
            try:
                target, source = self._pieces.popleft()
            except IndexError:
                return
            self._do(target, source)
