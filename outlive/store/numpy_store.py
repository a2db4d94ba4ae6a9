"""NumpyStore: one array under a key, in the shape that many Ray programs already have."""

from __future__ import annotations

from typing import Any

import numpy as np

from outlive.arrays.dtypes import storable
from outlive.arrays.info import check_key
from outlive.errors import UnsupportedArray
from outlive.store.handle import ArrayHandle
from outlive.store.opening import open as open_store
from outlive.store.store import DEFAULT, Store


class NumpyStore:
    """One stored array and its key.

    Parameters
    ----------
    data
        Stored at once under `key`, replacing what had it.
    key
        A `str` of 1 to 1024 bytes in UTF-8.
    store
        The name of the store.

    Raises
    ------
    UnsupportedArray
        A `TypeError`: `data` is no `numpy.ndarray`, or one that cannot be stored as it is.

    Examples
    --------
    >>> NumpyStore(np.arange(6).reshape(2, 3), key="ct/8").shape
    (2, 3)
    >>> NumpyStore.open("ct/8").retrieve()
    array([[0, 1, 2],
           [3, 4, 5]])
    """

    def __init__(self, data: np.ndarray[Any, Any], key: str, *, store: str = DEFAULT) -> None:
        storable(data)  # both are checked before a cluster is started
        check_key(key)
        self.handle: ArrayHandle = open_store(store).put(data, key)

    @classmethod
    def open(cls, key: str, *, store: str = DEFAULT) -> NumpyStore:
        """The entry of `key`. This neither changes nor reads the array.

        Raises
        ------
        ArrayNotFound
        """
        self = cls.__new__(cls)
        self.handle = open_store(store).handle(key)
        return self

    @property
    def key(self) -> str:
        return self.handle.key or ""

    @property
    def shape(self) -> tuple[int, ...]:
        return self.handle.shape

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.handle.size

    @property
    def ndim(self) -> int:
        return self.handle.ndim

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.handle.dtype

    def retrieve(self) -> np.ndarray[Any, Any]:
        """The array that has the key now, read-only and zero-copy.

        Raises
        ------
        ArrayNotFound
            The key was deleted.
        UnsupportedArray, PickleRefused
            The key has another value now, and no array.
        """
        found = Store(self.handle.store, pickle=False)[self.key]
        if not isinstance(found, np.ndarray):
            raise UnsupportedArray(f"the key {self.key!r} has a {type(found).__qualname__} now, and no array")
        return found

    def __len__(self) -> int:
        return len(self.handle)

    def __repr__(self) -> str:
        return f"NumpyStore(key={self.key!r}, shape={self.shape}, dtype={self.dtype})"

    def _repr_html_(self) -> str:
        return self.handle._repr_html_()
