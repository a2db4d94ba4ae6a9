"""How the tests write, read and list."""

from __future__ import annotations

import asyncio

from zarr.core.buffer import cpu, default_buffer_prototype

import outlive
from outlive.zarr import OutliveStore

PROTOTYPE = default_buffer_prototype()
LARGE = 1 << 20


def buffer(data: bytes) -> cpu.Buffer:
    return cpu.Buffer.from_bytes(data)


def put(store: OutliveStore, **values: bytes) -> None:
    for key, value in values.items():
        store.set_sync(key, buffer(value))


def got(store: OutliveStore, key: str) -> bytes | None:
    found = store.get_sync(key)
    assert (found is None) == (asyncio.run(store.get(key, PROTOTYPE)) is None)
    return None if found is None else found.to_bytes()


def listed(store: OutliveStore, prefix: str = "") -> list[str]:
    async def collect() -> list[str]:
        return [key async for key in store.list_prefix(prefix)]

    return asyncio.run(collect())


def children(store: OutliveStore, prefix: str) -> list[str]:
    async def collect() -> list[str]:
        return [key async for key in store.list_dir(prefix)]

    return asyncio.run(collect())


def beneath(store: OutliveStore) -> outlive.Store:
    """The outlive store that has the chunks."""
    return store._place.chunks.store


def again(store: OutliveStore) -> OutliveStore:
    """Another object, outside its transaction."""
    return OutliveStore(outlive.Store(str(store).removeprefix("outlive://")))
