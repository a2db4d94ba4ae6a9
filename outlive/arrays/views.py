"""Views: how a process reads segments. Zero-copy, read-only, and the kernel counts them.

A mapped view holds a shared `flock` on its segment until the last array that looks at it is gone (`mmap.mmap` keeps a
duplicate of the descriptor, and with it the lock), whichever way the process ends.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import resource
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import numpy as np

from outlive.arrays.dtypes import decode_dtype
from outlive.arrays.info import ArrayInfo
from outlive.arrays.segment import COPY_BELOW, is_at, read_info, verify
from outlive.errors import CorruptArray, TooManyViews

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # a planted pipe must not block
_SHARED = fcntl.LOCK_SH | fcntl.LOCK_NB
_STAMP_EVERY, _READ_AGAIN = 10**9, 10 * 10**9  # nanoseconds
_live: dict[str, weakref.ref[np.ndarray[Any, Any]]] = {}
_gone: deque[_Live] = deque()  # references to those that are not looked at any more, to be forgotten


def live_view(array_id: str) -> np.ndarray[Any, Any] | None:
    """A new view of an array that this process is already looking at, if it is."""
    reference = _live.get(array_id)
    root = reference() if reference is not None else None
    return None if root is None else root.view()


def forget(array_id: str) -> None:
    """Answer no more reads from the live view of an array that was deleted. Its views stay valid."""
    _live.pop(array_id, None)


def open_view(
    path: str, info: ArrayInfo | None = None, again: Callable[[str], None] | None = None
) -> tuple[ArrayInfo, np.ndarray[Any, Any]]:
    """A read-only view of the array `info`, or of whichever is there, in the file `path`; and what is known of it.

    Parameters
    ----------
    again
        Called with `path` if it was read a short while ago.

    Raises
    ------
    FileNotFoundError
        There is no such file, or it is being made into another segment.
    CorruptArray
        The file is damaged, or no segment of this array.
    TooManyViews
        The process is out of file descriptors or maps.
    """
    try:
        fd = os.open(path, _FLAGS)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise explained(error, path) from None
    try:
        before = os.fstat(fd)  # the system itself may change the time of the last read as we read
        info, buffer = _contents(fd, path, info)
        if _stamp(fd, before) < _READ_AGAIN and again is not None:
            again(path)
    except BlockingIOError:  # locked for writing: this is no longer, or not yet, what we look for
        raise FileNotFoundError(path) from None
    except CorruptArray:
        if is_at(path, fd):
            raise
        raise FileNotFoundError(path) from None  # deleted and made into another array since it was opened
    except OSError as error:
        raise explained(error, path) from None
    finally:
        os.close(fd)
    return info, _remember(info, buffer)


def _stamp(fd: int, before: os.stat_result) -> int:
    """Write down that a segment is read now; returns how many nanoseconds ago it was read before.

    The system's own record is too rough (relatime), and maps do not count in it. `utime(2)` costs 0.5 us, so once a
    second is enough; when the array was put (mtime) stays.
    """
    now = time.time_ns()
    since = now - before.st_atime_ns
    # A time of change that lies behind the file's last one is a deadline, which `touch` may be moving now.
    if not 0 <= since < _STAMP_EVERY and before.st_mtime_ns <= before.st_ctime_ns:
        with contextlib.suppress(OSError):
            os.utime(fd, ns=(now, before.st_mtime_ns))
    return since


def _contents(fd: int, path: str, info: ArrayInfo | None) -> tuple[ArrayInfo, Any]:
    """The verified bytes of a segment: mapped and locked, or copied if they are few."""
    if info is None:
        fcntl.flock(fd, _SHARED)
        info = read_info(fd, path)
    elif info.size > COPY_BELOW:
        fcntl.flock(fd, _SHARED)
        data_end = info.offset + info.nbytes
        head, tail = os.pread(fd, info.offset, 0), os.pread(fd, info.size - data_end + 1, data_end)
        if len(tail) != info.size - data_end:
            raise CorruptArray(f"{path} is damaged: not {info.size} bytes long; run `outlive check`")
        verify(info, head, tail, path)
    if info.size > COPY_BELOW:
        return info, mmap.mmap(fd, info.size, prot=mmap.PROT_READ)
    buffer = os.pread(fd, max(0, info.size) + 1, 0)
    if len(buffer) != info.size:
        raise CorruptArray(f"{path} is damaged: not {info.size} bytes long; run `outlive check`")
    verify(info, buffer[: info.offset], buffer[info.offset + info.nbytes :], path)
    return info, buffer


def _remember(info: ArrayInfo, buffer: Any) -> np.ndarray[Any, Any]:
    dtype, order = decode_dtype(info.dtype), cast("Any", "F" if info.fortran else "C")
    try:
        root: np.ndarray[Any, Any] = np.ndarray(info.shape, dtype, buffer, info.offset, order=order)
    except (TypeError, ValueError) as error:
        raise CorruptArray(f"array {info.id} is damaged: its shape and dtype do not fit its bytes ({error})") from None
    if root.nbytes != info.nbytes:
        raise CorruptArray(f"array {info.id} is damaged: its shape and dtype tell of {root.nbytes} bytes")
    while _gone:
        with contextlib.suppress(IndexError):  # another thread was faster
            gone = _gone.popleft()
            if _live.get(gone.array_id) is gone:
                _live.pop(gone.array_id, None)
    _live[info.id] = _Live(root, info.id)
    view: np.ndarray[Any, Any] = root.view()  # its own, so that setting its shape or dtype in place is nobody else's
    return view


class _Live(weakref.ref[Any]):
    """To the array that a process looks at. When that goes, C code says so: an interrupt would be lost in Python's."""

    __slots__ = ("array_id",)
    array_id: str

    def __new__(cls, root: np.ndarray[Any, Any], array_id: str) -> _Live:  # noqa: PYI034  # Self: from Python 3.11
        live = super().__new__(cls, root, _gone.append)
        live.array_id = array_id
        return live

    def __init__(self, root: np.ndarray[Any, Any], _: str) -> None:
        super().__init__(root, _gone.append)  # type: ignore[call-arg]


def explained(error: OSError, path: str = "") -> Exception:
    """What an error of the system means for whoever opens segments; as it is if it says enough."""
    if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.ESPIPE):
        return CorruptArray(f"{path} is not a segment but a link, folder or device; refused. Remove it")
    if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        looked_at = sum(reference() is not None for reference in list(_live.values()))
        return TooManyViews(
            error.errno,
            f"cannot map one more array: this process looks at {looked_at}, and each takes one of its {soft} file "
            "descriptors and one of its vm.max_map_count maps. Drop views you do not need, or raise `ulimit -n`",
        )
    return error


def raise_descriptor_limit() -> None:
    """Allow this process as many descriptors as the system permits: each mapped view holds one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):  # macOS reports a hard limit that it does not grant
            return
