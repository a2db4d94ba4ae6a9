"""Chunks: what zarr stores under its keys, each as an array of bytes. Nothing here knows zarr.

They are in an outlive store of their own, `zarr:NAME`, apart from the arrays that programs put into the store NAME.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from outlive.arrays.info import ArrayInfo, check_key
from outlive.errors import ArrayNotFound, InvalidKey, StoreUnavailable
from outlive.store import adding, keys, reading, session
from outlive.store.handle import ArrayHandle
from outlive.store.store import LifetimeName, Store

Array = np.ndarray[Any, Any]
Cut = Callable[[int], slice]
"""Says which part of a chunk is wanted, given its bytes."""

BYTES, GONE = "'|u1'", "'|b1'"
"""The dtype of a chunk, and that of the empty array which stands for a chunk that a transaction deletes."""
_PREFIX = "zarr:"


class Ends(NamedTuple):
    """With what chunks end, and on how many nodes they are kept: as for `Store.put`."""

    lifetime: LifetimeName | None = None
    ttl: float | str | None = None
    replicas: int = 1


class Chunks:
    """The chunks of an outlive store whose keys are below `path`. Any number of threads may use it at once."""

    def __init__(self, store: Store, path: str, ends: Ends) -> None:
        self.store, self.path, self.ends = store, path, ends
        self._below = f"{path}/" if path else ""

    # --- reading

    def here(self, key: str) -> Array | None:
        """A chunk that this node has, read-only and without a copy. None: `read` has to ask others, and to wait."""
        name, current = self._name(key), session.known(self.store.place)
        if name is None or current is None:
            return None
        return _chunk(current.reader.named(self.store.name, name))

    def read(self, key: str, cut: Cut | None = None) -> Array | None:
        """A chunk, or a part of it, wherever it is; None if there is none.

        Raises
        ------
        ArrayLost
            The nodes that had it are dead.
        """
        name = self._name(key)
        if name is None:
            return None
        if cut is None:
            return _chunk(self.store._look_up(name))  # noqa: SLF001
        for _ in range(reading.MOST_LOOKS):
            handle = self._handle(name)
            if handle is None:
                return None
            with contextlib.suppress(ArrayNotFound):  # it was written again, or deleted, since
                part: Array = handle[cut(handle.nbytes)]  # of this very chunk: a later one may have another size
                return part
        raise reading.changes_too_often([name])

    def size(self, key: str) -> int | None:
        """The bytes of a chunk; None if there is none. Raises ArrayLost."""
        name = self._name(key)
        handle = None if name is None else self._handle(name)
        return None if handle is None else handle.nbytes

    def names(self, prefix: str, separator: str = "", *, deleted: bool = False) -> list[str]:
        """The keys that begin with `prefix`: the rest up to the next `separator` ("": all), sorted, each once.

        With `deleted`, also those that a transaction has deleted, whose writer was killed before it could clear up.
        """
        dtypes = [BYTES, GONE] if deleted else [BYTES]
        return keys.names(self.store.name, self._below + prefix, separator, dtypes, self.store.place)

    def total_size(self, prefix: str) -> int:
        """The bytes of all chunks whose keys begin with `prefix`."""
        return sum(handle.nbytes for handle, _ in self.store.entries(self._below + prefix) if _is_chunk(handle.info))

    # --- writing

    def write(self, key: str, value: Array) -> None:
        self.store.put(value, self._below + key, **self.ends._asdict())

    def write_many(self, values: Mapping[str, Array]) -> None:
        """Write several chunks, all or none."""
        if values:
            self.store.put_many({self._below + key: value for key, value in values.items()}, **self.ends._asdict())

    def add(self, key: str, value: Array) -> None:
        """Write a chunk unless there is one."""
        while self.size(key) is None and not adding.add(self.store, value, self._below + key, **self.ends._asdict()):
            if not self._was_deleted(key):
                return

    def _was_deleted(self, key: str) -> bool:
        """Clear away what stands for a chunk that a transaction has deleted. Whether there was such a thing."""
        with contextlib.suppress(ArrayNotFound):
            handle = self.store.handle(self._below + key)
            if handle.info.dtype != GONE:
                return False
            self.store.delete(handle)
        return True

    def delete(self, wanted: Iterable[str]) -> None:
        """Delete those of these chunks that are there."""
        names = [name for key in wanted if (name := self._name(key)) is not None]
        with contextlib.suppress(ArrayNotFound):
            self.store.delete(*names)

    def delete_below(self, prefix: str) -> None:
        """Delete all chunks whose keys begin with `prefix`."""
        self.delete([prefix + name for name in self.names(prefix, deleted=True)])

    def replace(self, values: Mapping[str, Array], deleted: Iterable[str]) -> None:
        """Write chunks and delete others: all of that, or nothing, whenever this process is killed.

        Deleted chunks are first replaced by empty arrays, in the same step in which the others are written. So no
        process sees the chunks of two versions of an array together.
        """
        gone = np.empty(0, bool)
        changes = {**dict.fromkeys(deleted, gone), **values}
        batch = {self._below + key: value for key, value in changes.items()}
        if batch:
            handles = self.store.put_many(batch, **self.ends._asdict())
            # Another process has written or deleted them since, or a node is silent: all has taken effect anyway.
            with contextlib.suppress(ArrayNotFound, StoreUnavailable):
                self.store.delete(*(handles[self._below + key] for key in deleted))

    # --- keys

    def check(self, key: str) -> str:
        """Return `key` if a chunk can be stored under it. Raises InvalidKey, InvalidKeyType."""
        check_key(self._below + key)
        return key

    def _name(self, key: str) -> str | None:
        """The key in the outlive store; None if nothing can be stored under it."""
        try:
            return check_key(self._below + key)
        except InvalidKey:
            return None

    def _handle(self, name: str) -> ArrayHandle | None:
        try:
            handle = self.store.handle(name)
        except ArrayNotFound:
            return None
        return handle if _is_chunk(handle.info) else None


def chunks_of(store: Store, path: str, ends: Ends) -> Chunks:
    """The chunks that go with an outlive store."""
    name = check_key(_PREFIX + store.name)
    return Chunks(Store(name, store._scope, store.pickle, store.place), path, ends)  # noqa: SLF001


def name_of(chunks: Chunks) -> str:
    """The name of the outlive store that these chunks go with."""
    return chunks.store.name.removeprefix(_PREFIX)


def _chunk(found: Any) -> Array | None:
    """This array, if it is a chunk: it may be another program's, or stand for a deleted chunk."""
    return found if type(found) is np.ndarray and found.dtype == np.uint8 and found.ndim == 1 else None


def _is_chunk(info: ArrayInfo) -> bool:
    return info.dtype == BYTES and len(info.shape) == 1 and not info.codec
