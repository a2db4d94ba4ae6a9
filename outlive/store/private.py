"""Private arrays: writable, for the caller alone, and of the bytes that are stored."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal

from outlive.arrays.segment import COPY_BELOW
from outlive.errors import ArrayNotFound, MissingPackage, StoreUnavailable

if TYPE_CHECKING:
    import numpy as np

    from outlive.arrays.info import ArrayInfo
    from outlive.store.session import Session

Mode = Literal["r", "c"]


def check_mode(mode: object) -> None:
    """Raises ValueError for what is no mode."""
    if mode not in ("r", "c"):
        raise ValueError(f"mode is 'r' (read-only) or 'c' (copy-on-write: writable, for you alone), not {mode!r}")


def private(
    info: ArrayInfo, view: np.ndarray[Any, Any], *, sessions: Iterable[Callable[[], Session]]
) -> np.ndarray[Any, Any]:
    """The same array as `view`, writable. While the caller holds `view`, the array's segment is not written again.

    It is mapped a second time, by the first of the sessions whose shelf has it. Where this process cannot map it, it is
    a copy: the array was deleted since, or this is a Ray Client.

    Raises
    ------
    CorruptArray, TooManyViews
    """
    if info.size > COPY_BELOW:
        for at in sessions:
            with contextlib.suppress(ArrayNotFound, MissingPackage, StoreUnavailable):
                mapped: np.ndarray[Any, Any] = at().reader.private(info)
                return mapped
    try:
        view.flags.writeable = True  # its memory may be this process's own: the array came without a copy on this node
    except ValueError:
        copied: np.ndarray[Any, Any] = view.copy(order="K")
        return copied
    return view
