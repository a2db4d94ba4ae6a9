"""Changes: the files that came into some folders, or went, since the last call. The cost depends on the changes alone.

The kernel tells of them (inotify(7)). If it cannot, or its queue overflows, the answer is that everything may have
changed. Then the caller lists the folders, as on the first call.
"""

from __future__ import annotations

import ctypes
import os
import struct
import time
from collections.abc import Callable, Iterator
from io import FileIO

_EVENT = struct.Struct("iIII")  # watch, what happened, cookie, length of the name
_CAME_OR_WENT = 0x100 | 0x200 | 0x40 | 0x80  # IN_CREATE, IN_DELETE, IN_MOVED_FROM, IN_MOVED_TO
_ONLY_FOLDERS = 0x01000000  # IN_ONLYDIR
_LOST = 0x4000 | 0x8000 | 0x2000  # IN_Q_OVERFLOW, IN_IGNORED, IN_UNMOUNT
_AT_A_TIME = 64 << 10  # bytes of events
_TICK = 1_000_000_000  # nanoseconds: longer than any clock's tick

File = tuple[str, str]  # folder, name


class Changes:
    """The files that come into these folders, or go. It watches no subfolders, and not what is written to files.

    Parameters
    ----------
    folders
        Returns the folders, and is called each time anew.
    """

    def __init__(self, folders: Callable[[], tuple[str, ...]]) -> None:
        self._folders = folders
        self._file: FileIO | None = None  # it closes by itself, in C code
        self._watches: dict[int, str] = {}  # their folders
        self._watched: tuple[str, ...] = ()
        self._times: dict[str, int] = {}  # times of the folders' last changes, when all were listed

    def take(self) -> set[File] | None:
        """The files that came or went since the last call; None if that is not known: then list the folders.

        It also has files that are there again, or came and went: the caller looks.
        """
        folders = self._folders()
        if self._file is None or folders != self._watched:
            self._watch(folders)
            return set() if self._file is None and self._looks_unchanged(folders) else None
        found: set[File] = set()
        for watch, what, name in self._events(self._file.fileno()):
            if what & _LOST:
                self.close()  # the watch begins anew before the caller lists
                self._watch(folders)
                return None
            found.add((self._watches.get(watch, ""), name))
        return found

    def _looks_unchanged(self, folders: tuple[str, ...]) -> bool:
        """Whether the folders' times are unchanged. Used where the kernel does not tell."""
        try:
            times = {folder: os.stat(folder).st_mtime_ns for folder in folders}
        except OSError:
            times = {}
        unchanged = bool(times) and times == self._times
        # A later change in the same tick of the clock would not show, so such a time is not trusted.
        old_enough = max(times.values(), default=0) < time.time_ns() - _TICK
        self._times = times if old_enough else {}
        return unchanged

    def _watch(self, folders: tuple[str, ...]) -> None:
        self.close()
        libc = _libc()
        if libc is None:
            return
        fd = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if fd < 0:  # this user has too many: fs.inotify.max_user_instances
            return
        self._file, self._watched = FileIO(fd), folders
        for folder in folders:
            watch = libc.inotify_add_watch(fd, os.fsencode(folder), _CAME_OR_WENT | _ONLY_FOLDERS)
            if watch < 0:  # the folder is not there, or fs.inotify.max_user_watches is reached
                self.close()
                return
            self._watches[watch] = folder

    @staticmethod
    def _events(fd: int) -> Iterator[tuple[int, int, str]]:
        while True:
            try:
                data = os.read(fd, _AT_A_TIME)
            except BlockingIOError:
                return
            at = 0
            while at < len(data):
                watch, what, _, length = _EVENT.unpack_from(data, at)
                at += _EVENT.size + length
                yield watch, what, os.fsdecode(data[at - length : at].rstrip(b"\0"))

    def close(self) -> None:
        """Stop watching."""
        file, self._file = self._file, None
        self._watches, self._watched = {}, ()
        if file is not None:
            file.close()


def _libc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "inotify_init1") else None
