"""OutliveStore: a store of zarr v3 whose chunks are arrays of outlive."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import os
import pickle
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import numpy as np
from zarr.abc.store import ByteRequest
from zarr.abc.store import Store as ZarrStore
from zarr.core.buffer import Buffer, BufferPrototype, cpu, default_buffer_prototype

from outlive.store import opening
from outlive.store.store import DEFAULT, LifetimeName, Store
from outlive.zarr.chunks import Array, Chunks, Ends, chunks_of, name_of
from outlive.zarr.ranges import cut_of
from outlive.zarr.together import Together
from outlive.zarr.transaction import Transaction


class OutliveStore(ZarrStore):  # type: ignore[misc]  # mypy does not look into zarr
    """Keeps the groups and arrays of zarr in outlive, for all processes of a Ray cluster. Picklable.

    Each chunk, and each `zarr.json`, is an array of outlive: no process owns it, reads are zero-copy, and like any
    other it is spilled, copied to the nodes that read it, and saved from nodes that leave. All are in an outlive store
    of their own, `zarr:NAME`. Nothing done here touches what programs put into the store `NAME`.

    Parameters
    ----------
    store
        Its name as for `outlive.open`, or a store. In `with store.scope() as tmp:`, all that `OutliveStore(tmp)` writes
        ends with the block.
    path
        Only what is below this group; all keys are relative to it.
    lifetime, ttl, replicas
        For everything that is written through this object: see `outlive.Store.put`.

    Raises
    ------
    StoreUnavailable, UnsafeRoot
        See `outlive.open`.

    Examples
    --------
    >>> import zarr
    >>> group = zarr.open_group(OutliveStore("scans"))
    >>> group["ct"] = np.ones((4, 4))
    >>> zarr.open_group(OutliveStore("scans"), mode="r")["ct"][0]
    array([1., 1., 1., 1.])
    """

    supports_writes = True
    supports_deletes = True
    supports_listing = True

    def __init__(
        self,
        store: str | Store = DEFAULT,
        *,
        path: str = "",
        read_only: bool = False,
        lifetime: LifetimeName | None = None,
        ttl: float | str | None = None,
        replicas: int = 1,
    ) -> None:
        opened = store if isinstance(store, Store) else opening.open(store)
        self._begin(_Place(chunks_of(opened, path.strip("/"), Ends(lifetime, ttl, replicas))), read_only=read_only)

    def _begin(self, place: _Place, *, read_only: bool) -> None:
        super().__init__(read_only=read_only)
        self._place = place

    @property
    def _chunks(self) -> Chunks | Transaction:
        place = self._place
        return place.chunks if place.transaction is None else place.transaction

    @contextlib.contextmanager
    def transaction(self) -> Iterator[OutliveStore]:
        """All changes that are made in the `with` block take effect as one at its end, and not at all if it raises.

        Until then it is in this process's memory. It is seen through this object, and through those that
        `with_read_only` makes of it, and by nobody else. A store that is in a transaction cannot be pickled: what other
        processes write would not belong to it.

        Examples
        --------
        >>> import zarr
        >>> store = OutliveStore("scans")
        >>> with store.transaction():
        ...     group = zarr.open_group(store, mode="w")
        ...     group["ct"], group["mask"] = np.ones(3), np.zeros(3)

        Raises
        ------
        RuntimeError
            It is in a transaction already.
        StoreFull, StoreUnavailable
            At the end of the block: nothing has changed.
        """
        self._check_writable()
        place = self._place
        if place.transaction is not None:
            raise RuntimeError("this store is in a transaction already: transactions cannot be nested")
        begun = place.transaction = Transaction(place.chunks)
        try:
            yield self
            if begun.pid == os.getpid():  # a forked child has no part in it
                begun.commit()
        finally:
            place.transaction = None

    # --- what it is

    def with_read_only(self, read_only: bool = False) -> OutliveStore:
        return _made(self._place, read_only=read_only)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, OutliveStore):
            return NotImplemented
        ours, theirs = self._place.chunks, other._place.chunks
        return ours.store == theirs.store and ours.path == theirs.path

    __hash__ = None  # type: ignore[assignment]  # as zarr's own stores

    def __reduce__(self) -> tuple[Any, ...]:
        if self._place.transaction is not None:
            raise pickle.PicklingError(
                "this store is in a transaction, which is of one process: what others write would not belong to it"
            )
        return _unpickled, (self._place.chunks.store, self._place.chunks.path, self._place.chunks.ends, self.read_only)

    def __str__(self) -> str:
        chunks = self._place.chunks
        return f"outlive://{name_of(chunks)}" + (f"/{chunks.path}" if chunks.path else "")

    def __repr__(self) -> str:
        return f"OutliveStore('{self}')"

    # --- reading

    def get_sync(
        self, key: str, *, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """`get`, without an event loop."""
        cut, chunks = cut_of(byte_range), self._chunks
        found = chunks.here(key)
        if found is None:
            found = chunks.read(key, cut)
        elif cut is not None:
            found = found[cut(len(found))]
        return _buffer(found, prototype)

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """The value of a key: a view of the stored bytes, and no copy. From another node only the range is moved.

        Raises
        ------
        ArrayLost
            It was written and not deleted, but the nodes that had it are dead. zarr never reads fill values instead.
        """
        await self._ensure_open()
        cut, chunks = cut_of(byte_range), self._chunks
        found = chunks.here(key)  # quicker than another thread would be
        if found is None:
            found = await asyncio.to_thread(chunks.read, key, cut)
        elif cut is not None:
            found = found[cut(len(found))]
        return _buffer(found, prototype)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> builtins.list[Buffer | None]:
        return await asyncio.gather(*(self.get(key, prototype, byte_range) for key, byte_range in key_ranges))

    async def exists(self, key: str) -> bool:
        return await asyncio.to_thread(self._chunks.size, key) is not None

    async def getsize(self, key: str) -> int:
        size = await asyncio.to_thread(self._chunks.size, key)
        if size is None:
            raise FileNotFoundError(key)
        return size

    async def getsize_prefix(self, prefix: str) -> int:
        return await asyncio.to_thread(self._chunks.total_size, _folder(prefix))

    # --- writing

    def set_sync(self, key: str, value: Buffer) -> None:
        """`set`, without an event loop."""
        self._check_writable()
        self._chunks.write(key, _bytes(value))

    async def set(self, key: str, value: Buffer) -> None:
        """Store a value. When this returns it outlives this process. Values that are set at once are written together.

        Raises
        ------
        StoreFull, StoreUnavailable
            It was not stored, and the key has the value that it had.
        InvalidKey, InvalidKeyType
            With `path` before it, a key has 1 to 1024 bytes in UTF-8.
        """
        self._check_writable()
        await self._ensure_open()
        place, array = self._place, _bytes(value)
        if place.transaction is None:
            await place.together.write(key, array)
        else:
            await asyncio.to_thread(place.transaction.write, key, array)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Store a value unless the key has one. Of several processes that do so at once, one succeeds."""
        self._check_writable()
        await self._ensure_open()
        await asyncio.to_thread(self._chunks.add, key, _bytes(value))

    async def _set_many(self, values: Iterable[tuple[str, Buffer]]) -> None:
        """Store several values, all or none."""
        self._check_writable()
        await self._ensure_open()
        await asyncio.to_thread(self._chunks.write_many, {key: _bytes(value) for key, value in values})

    def delete_sync(self, key: str) -> None:
        """`delete`, without an event loop."""
        self._check_writable()
        self._chunks.delete([key])

    async def delete(self, key: str) -> None:
        self._check_writable()
        await asyncio.to_thread(self._chunks.delete, [key])

    async def delete_dir(self, prefix: str) -> None:
        self._check_writable()
        await asyncio.to_thread(self._chunks.delete_below, _folder(prefix))

    async def clear(self) -> None:
        """Delete everything below `path`."""
        await self.delete_dir("")

    # --- listing

    async def is_empty(self, prefix: str) -> bool:
        return not await asyncio.to_thread(self._chunks.names, _folder(prefix), "/")

    async def list(self) -> AsyncIterator[str]:
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        for name in await asyncio.to_thread(self._chunks.names, prefix):
            yield prefix + name

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        for name in await asyncio.to_thread(self._chunks.names, _folder(prefix.rstrip("/")), "/"):
            yield name


class _Place:
    """The part of an `OutliveStore` that it shares with the objects that `with_read_only` makes of it."""

    def __init__(self, chunks: Chunks) -> None:
        self.chunks, self.together = chunks, Together(chunks)
        self.transaction: Transaction | None = None


def _made(place: _Place, *, read_only: bool) -> OutliveStore:
    made = OutliveStore.__new__(OutliveStore)
    made._begin(place, read_only=read_only)  # noqa: SLF001
    return made


def _unpickled(store: Store, path: str, ends: Ends, read_only: bool) -> OutliveStore:
    """Nothing is opened or asked before it is used."""
    return _made(_Place(Chunks(store, path, ends)), read_only=read_only)


def _folder(prefix: str) -> str:
    return prefix if not prefix or prefix.endswith("/") else f"{prefix}/"


def _buffer(found: Array | None, prototype: BufferPrototype | None) -> Buffer | None:
    if found is None:
        return None
    kind = (default_buffer_prototype() if prototype is None else prototype).buffer
    return kind.from_array_like(found) if issubclass(kind, cpu.Buffer) else kind.from_bytes(found)


def _bytes(value: Buffer) -> Array:
    if not isinstance(value, Buffer):
        raise TypeError(f"the value of a key of zarr is a Buffer, not {type(value).__name__}: {value!r:.100}")
    array: Array = np.asarray(value.as_numpy_array())  # of a subclass its plain bytes: else it were no chunk
    return array
