"""Live views: the arrays that this process looks at. Without numpy, which the actors do not load."""

from __future__ import annotations

import errno
import itertools
import resource
import weakref
from collections import deque
from typing import Any

from outlive.errors import CorruptArray, TooManyViews

_live: dict[str, weakref.ref[Any]] = {}
_numbers = itertools.count()
_gone: deque[_Live] = deque()  # references to arrays that are not looked at any more


def live_view(array_id: str) -> Any:
    """A new view of an array that this process already looks at; None if it does not."""
    reference = _live.get(array_id)
    root = reference() if reference is not None else None
    return None if root is None else root.view()


def keep(array_id: str, root: Any) -> None:
    """Serve later reads from the array `root`, which this process looks at from now on."""
    if _gone:
        _forget_gone()
    live = _Live(root, _gone.append)  # the callback is C code: one in Python could lose an interrupt
    live.array_id = array_id
    _live[array_id] = live


def _forget_gone() -> None:
    while _gone:
        try:
            gone = _gone[0]
            array_id = getattr(gone, "array_id", "")  # it has none if an interrupt came as it was made
            if _live.get(array_id) is gone:
                _live.pop(array_id, None)
            _gone.remove(gone)  # last: after an interrupt the next view does it
        except (IndexError, ValueError):  # another thread did the same
            continue


def private_name(array_id: str) -> str:
    """A name for `keep`: a private map of an array counts as looked at, and no other read gets it."""
    return f"{array_id} {next(_numbers)}"


def forget(array_id: str) -> None:
    """Serve no more reads from the live view of a deleted array. Its views stay valid."""
    _live.pop(array_id, None)


class _Live(weakref.ref[Any]):
    """A weak reference to a live array. A method of its own would be one more call for each view."""

    __slots__ = ("array_id",)
    array_id: str


def explained(error: OSError, path: str = "") -> Exception:
    """The error to raise for a system's error in opening a segment. One that says enough stays as it is."""
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
