"""The store passes zarr's own suite for stores."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

pytest.importorskip("zarr", minversion="3")

from zarr.core.buffer import Buffer, cpu
from zarr.testing.store import StoreTests

import outlive
from outlive.zarr import OutliveStore

_numbers = itertools.count()


class TestOutliveStore(StoreTests[OutliveStore, cpu.Buffer]):
    """`StoreTests` writes and reads by `set` and `get` what is tried by other ways."""

    store_cls = OutliveStore
    buffer_cls = cpu.Buffer

    @pytest.fixture
    def store_kwargs(self, played: Any) -> dict[str, Any]:
        return {"store": outlive.Store("suite"), "path": f"test {next(_numbers)}"}

    @pytest.fixture
    def store(self, open_kwargs: dict[str, Any]) -> OutliveStore:
        return asyncio.run(OutliveStore.open(**open_kwargs))

    @pytest.fixture
    def store_not_open(self, store_kwargs: dict[str, Any]) -> OutliveStore:
        return OutliveStore(**store_kwargs)

    async def set(self, store: OutliveStore, key: str, value: Buffer) -> None:
        outlive.Store("zarr:suite")[f"{store._place.chunks.path}/{key}"] = value.as_numpy_array()

    async def get(self, store: OutliveStore, key: str) -> Buffer:
        array = outlive.Store("zarr:suite")[f"{store._place.chunks.path}/{key}"]
        return self.buffer_cls.from_array_like(array)

    def test_store_repr(self, store: OutliveStore) -> None:
        assert repr(store) == f"OutliveStore('outlive://suite/{store._place.chunks.path}')"

    def test_store_supports_writes(self, store: OutliveStore) -> None:
        assert store.supports_writes

    def test_store_supports_listing(self, store: OutliveStore) -> None:
        assert store.supports_listing
