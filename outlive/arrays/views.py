"""Views: how a process reads segments. Zero-copy, read-only, and the kernel counts them.

A mapped view holds a shared `flock` on its segment until the last array over it is gone, however the process ends:
`mmap.mmap` keeps a duplicate of the descriptor, and with it the lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import sys
import time
from collections.abc import Callable
from typing import Any, cast

import numpy as np

from outlive.arrays import lock
from outlive.arrays.dtypes import decode_dtype
from outlive.arrays.info import ArrayInfo
from outlive.arrays.live import explained, keep, private_name
from outlive.arrays.lock import is_at, no_fork
from outlive.arrays.packed import DTYPE as PACKED
from outlive.arrays.packed import packed_over
from outlive.arrays.segment import COPY_BELOW, read_info, verify
from outlive.errors import CorruptArray

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # opening a pipe must not block
_SHARED = fcntl.LOCK_SH | fcntl.LOCK_NB
# Only pages that are written to take memory of their own, so none is set aside for the whole array.
_PRIVATE_MAP = mmap.MAP_PRIVATE | getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)
_STRUCTURE = 4096  # bytes at the end of a packed value that are read with its footer: most structures are shorter
_STAMP_EVERY, _READ_AGAIN = 10**9, 10 * 10**9  # nanoseconds


def open_view(
    path: str,
    info: ArrayInfo | None = None,
    again: Callable[[str], None] | None = None,
    *,
    private: bool = False,
    alone: bool = False,
) -> tuple[ArrayInfo, np.ndarray[Any, Any]]:
    """A read-only view of the array in the file `path`, and its `ArrayInfo`. With `info`, it must be that array.

    Parameters
    ----------
    again
        Called with `path` if the array was read a short while ago.
    private
        Have a writable view instead. A page that it writes to is copied first, so nobody else sees what it writes. It
        holds the same lock as any view, and is served to no other read of this process.
    alone
        No other thread forks meanwhile.

    Raises
    ------
    FileNotFoundError
        There is no such file, or the segment is being reused.
    CorruptArray
        The file is damaged, or no segment of this array.
    TooManyViews
        The process is out of file descriptors or maps.
    """
    forks = lock.forks
    try:
        fd = os.open(path, _FLAGS)
    except OSError as error:
        raise _not_opened(error, path) from None
    try:
        before = os.fstat(fd)  # reading may change the time of the last read, by the system itself
        if info is None or info.size <= COPY_BELOW:
            info, buffer, tail = _contents(fd, path, info, private=private)
        else:
            fcntl.flock(fd, _SHARED)
            tail = _verified(fd, path, info)
            buffer = _map(fd, info.size, private=private)
        since = time.time_ns() - before.st_atime_ns
        if not 0 <= since < _STAMP_EVERY:
            _stamp(fd, before)
        if since < _READ_AGAIN and again is not None:
            again(path)
        if (forks is None or forks is not lock.forks) and not alone:  # last: the child has the file until it is closed
            return _opened_again(fd, path, info, private=private)
    except BlockingIOError:  # it is locked for writing: the array is gone, or not complete yet
        raise FileNotFoundError(path) from None
    except CorruptArray:
        if is_at(path, fd):
            raise
        raise FileNotFoundError(path) from None  # it was deleted and reused since it was opened
    except OSError as error:
        raise explained(error, path) from None
    finally:
        os.close(fd)
    return info, _view_of(info, buffer, tail, private=private)


def _not_opened(error: OSError, path: str) -> Exception:
    return error if isinstance(error, FileNotFoundError) else explained(error, path)


def _opened_again(fd: int, path: str, info: ArrayInfo, *, private: bool) -> tuple[ArrayInfo, np.ndarray[Any, Any]]:
    """Open the array anew: a child that was forked meanwhile may have the file open for as long as it lives.

    That file is unlocked for both. To wait for forks before each read instead would have threads wait for one another.
    """
    fcntl.flock(fd, fcntl.LOCK_UN)
    with no_fork():
        return open_view(path, info, private=private, alone=True)


def open_private(
    path: str, info: ArrayInfo | None = None, again: Callable[[str], None] | None = None
) -> tuple[ArrayInfo, np.ndarray[Any, Any]]:
    """`open_view(private=True)`."""
    return open_view(path, info, again, private=True)


def _stamp(fd: int, before: os.stat_result) -> None:
    """Record that a segment is read now.

    The system's own record is too rough (relatime), and maps do not count in it. `utime(2)` costs 0.5 us, so it is
    called once a second at most. The time of the put (mtime) stays.
    """
    # A modification time in the future is a deadline, which `touch` may be moving now.
    if before.st_mtime_ns <= before.st_ctime_ns:
        with contextlib.suppress(OSError):
            os.utime(fd, ns=(time.time_ns(), before.st_mtime_ns))


def _verified(fd: int, path: str, info: ArrayInfo) -> bytes:
    """Verify an open segment. Returns, of a packed value's data, those at the end: they are read with its footer."""
    more = min(info.nbytes, _STRUCTURE) if info.codec else 0
    begin = info.offset + info.nbytes - more
    head, tail = os.pread(fd, info.offset, 0), os.pread(fd, info.size - begin + 1, begin)
    if len(tail) != info.size - begin:
        raise CorruptArray(f"{path} is damaged: not {info.size} bytes long; run `outlive check`")
    verify(info, head, tail[more:], path)
    return tail[:more]


def _map(fd: int, size: int, *, private: bool) -> mmap.mmap:
    if private:
        return mmap.mmap(fd, size, flags=_PRIVATE_MAP, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    return mmap.mmap(fd, size, prot=mmap.PROT_READ)


def _contents(fd: int, path: str, info: ArrayInfo | None, *, private: bool) -> tuple[ArrayInfo, Any, bytes]:
    """The verified bytes of a segment that is small, or of which nothing is known: copied, or mapped and locked."""
    if info is None:
        fcntl.flock(fd, _SHARED)
        info = read_info(fd, path)
        if info.size > COPY_BELOW:
            return info, _map(fd, info.size, private=private), b""
    buffer = os.pread(fd, max(0, info.size) + 1, 0)
    if len(buffer) != info.size:
        raise CorruptArray(f"{path} is damaged: not {info.size} bytes long; run `outlive check`")
    verify(info, buffer[: info.offset], buffer[info.offset + info.nbytes :], path)
    return info, bytearray(buffer) if private else buffer, b""


def unknown_to_live(info: ArrayInfo, view: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """An array over bytes that `open_view` has copied. It is the caller's own: keeping it holds no view."""
    root: Any = view if info.codec else view.base
    return packed_over(root.base, info) if info.codec else _array_of(info, view.dtype, root.base)


def _array_of(info: ArrayInfo, dtype: np.dtype[Any], buffer: Any) -> np.ndarray[Any, Any]:
    order = cast("Any", "F" if info.fortran else "C")
    array: np.ndarray[Any, Any] = np.ndarray(info.shape, dtype, buffer, info.offset, order=order)
    return array


def _view_of(info: ArrayInfo, buffer: Any, tail: bytes, *, private: bool) -> np.ndarray[Any, Any]:
    try:
        if info.codec:
            if info.dtype != PACKED or info.shape != (info.nbytes,):
                raise ValueError("it is a packed value, and not one row of bytes")
            root: Any = packed_over(buffer, info, tail)
        else:
            root = _array_of(info, decode_dtype(info.dtype), buffer)
    except (TypeError, ValueError) as error:
        raise CorruptArray(f"array {info.id} is damaged: its shape and dtype do not fit its bytes ({error})") from None
    if root.nbytes != info.nbytes:
        raise CorruptArray(f"array {info.id} is damaged: its shape and dtype tell of {root.nbytes} bytes")
    keep(private_name(info.id) if private else info.id, root)
    # An array object of its own, so that setting its shape or dtype changes no other view. Packed bytes nobody sets.
    view: np.ndarray[Any, Any] = root if info.codec else root.view()
    return view
