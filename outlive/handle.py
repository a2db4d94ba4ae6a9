"""ArrayHandle: a small picklable value that names an array and says its shape and dtype. Never an ObjectRef."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

import numpy as np

from outlive.arrays.dtypes import decode_dtype
from outlive.arrays.info import ArrayInfo
from outlive.arrays.lifetimes import JOB, SCOPE, lifetime_of
from outlive.arrays.pin import pin, unpin
from outlive.arrays.views import live_view
from outlive.cluster import session
from outlive.cluster.gone import why_gone
from outlive.errors import ArrayNotFound


class ArrayHandle:
    """Names one stored array; made by `Store.put`, `Store.handle` and unpickling, not by hand.

    Pass it through tasks, actors, files and other drivers freely: it holds nothing alive, and nothing that holds it or
    drops it, lives or dies, changes what becomes of the array. It always means the same bytes: once its key is deleted
    or overwritten, `get` raises `ArrayNotFound`, except in a process that still looks at it, which gets that view.

    >>> handle.shape, handle.dtype, handle.nbytes
    ((2, 3), dtype('float64'), 48)
    >>> handle.get().sum(), np.asarray(handle).sum(), handle[1].sum()
    (np.float64(15.0), np.float64(15.0), np.float64(12.0))
    """

    __slots__ = ("info",)

    def __init__(self, info: ArrayInfo) -> None:
        self.info = info

    def get(self) -> np.ndarray[Any, Any]:
        """The array: read-only, zero-copy (below 32 KiB: a copy). Valid for as long as you hold it, whatever happens.

        Raises
        ------
        ArrayNotFound
            It was deleted, or overwritten by a later put under its key.
        ArrayLost
            Its key still stands for it, but its segment is gone. Without a key, that is `ArrayNotFound` too.
        CorruptArray
            Its segment is damaged.
        TooManyViews
            This process is out of file descriptors or maps.
        StoreUnavailable
            This process is not connected to a Ray cluster.
        """
        view = live_view(self.info.id)
        return self._open(session.current()) if view is None else view

    def _open(self, current: session.Session) -> np.ndarray[Any, Any]:
        try:
            return current.shelf.view(self.info)
        except ArrayNotFound as error:
            raise why_gone(current, self.info, error) from None

    @property
    def id(self) -> str:
        """128 bits in hex; the segment's file name."""
        return self.info.id

    @property
    def key(self) -> str | None:
        """The key it was put under, None if under none."""
        return self.info.key

    @property
    def store(self) -> str:
        """The name of its store."""
        return self.info.store

    @property
    def shape(self) -> tuple[int, ...]:
        return self.info.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return decode_dtype(self.info.dtype)

    @property
    def ndim(self) -> int:
        return len(self.info.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.info.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of data."""
        return self.info.nbytes

    @property
    def lifetime(self) -> str:
        """With what it ends: "detached" (nothing), "job" or "scope"; and its `ttl`, if it has one."""
        kind = lifetime_of(self.info).kind
        return "job" if kind & JOB else "scope" if kind & SCOPE else "detached"

    @property
    def ttl(self) -> float | None:
        """Seconds to live from its put or its last `touch`; None if there is no limit."""
        return self.info.ttl or None

    def touch(self) -> None:
        """Let its time to live begin again.

        Raises
        ------
        ArrayNotFound
            Too late, or it was deleted.
        ValueError
            It has no time to live.
        """
        if not self.info.ttl:
            raise ValueError(f"{self!r} was put without ttl=, so there is nothing to renew")
        session.current().shelf.touch(self.info)

    def pin(self) -> None:
        """Keep it in memory from now on, as `put(pin=True)` does. If it is on disk, it is brought back first.

        Raises
        ------
        ArrayNotFound
        StoreFull
            Memory has no room for it, and nothing there can be spilled. It stays on disk.
        """
        pin(session.current().shelf, self.info)

    def unpin(self) -> None:
        """Let it be spilled like any other array.

        Raises
        ------
        ArrayNotFound
        """
        unpin(session.current().shelf, self.info)

    def ends_at(self) -> datetime | None:
        """When its time to live is over, as things are; None if it has none.

        Raises
        ------
        ArrayNotFound
        """
        deadline = session.current().shelf.deadline(self.info) if self.info.ttl else None
        return None if deadline is None else datetime.fromtimestamp(deadline).astimezone()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        view = self.get()
        if dtype is not None and np.dtype(dtype) != view.dtype:
            if copy is False:
                raise ValueError(f"a {view.dtype} array cannot become {np.dtype(dtype)} without a copy")
            return view.astype(dtype)
        return view.copy() if copy else view

    def __getitem__(self, index: Any) -> Any:
        return self.get()[index]

    def __len__(self) -> int:
        if not self.info.shape:
            raise TypeError("len() of a 0-dimensional array")
        return self.info.shape[0]

    def __eq__(self, other: object) -> bool:
        return self.info.id == other.info.id if isinstance(other, ArrayHandle) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.info.id)

    def __reduce__(self) -> tuple[Any, ...]:
        return ArrayHandle, (self.info,)

    def __repr__(self) -> str:
        name = f"key={self.key!r}" if self.key is not None else f"id={self.id}"
        return f"ArrayHandle({name}, store={self.store!r}, shape={self.shape}, dtype={self.dtype})"
