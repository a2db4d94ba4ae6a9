"""Several processes write to one zarr store, and one is killed."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import numpy as np
import pytest
import ray

pytest.importorskip("zarr", minversion="3")

import zarr

import outlive
from outlive.zarr import OutliveStore
from tests.conftest import eventually
from tests.zarr.looking import LARGE, beneath, buffer, got, listed, put


@pytest.fixture
def store(cluster: str, request: pytest.FixtureRequest) -> OutliveStore:
    return OutliveStore(request.node.name)


@ray.remote(max_retries=0)
def run(function: Any, *args: Any) -> Any:
    return function(*args)


def test_two_writers_of_one_chunk(store: OutliveStore) -> None:
    def write(store: OutliveStore, value: int) -> None:
        for _ in range(20):
            store.set_sync("chunk", buffer(bytes([value]) * LARGE))

    writers = [run.remote(write, store, value) for value in (1, 2)]
    while ray.wait(writers, num_returns=2, timeout=0)[1]:
        found = store.get_sync("chunk")
        assert found is None or len(set(found.to_bytes())) == 1
    ray.get(writers)
    assert len(set(got(store, "chunk") or b"")) == 1


def test_of_many_that_set_a_new_key_one_succeeds(store: OutliveStore) -> None:
    def add(store: OutliveStore, value: int) -> bytes:
        asyncio.run(store.set_if_not_exists("new", buffer(bytes([value]))))
        return store.get_sync("new").to_bytes()

    assert len(set(ray.get([run.remote(add, store, value) for value in range(8)]))) == 1


def test_it_goes_to_tasks_and_to_forked_children(store: OutliveStore) -> None:
    group = zarr.open_group(store)
    group["x"] = np.arange(10)

    def write(store: OutliveStore) -> int:
        zarr.open_group(store)["x"][3] = 7
        return int(zarr.open_group(store, mode="r")["x"][:].sum())

    assert ray.get(run.remote(write, store)) == 49
    assert group["x"][3] == 7
    whole, pid = got(store, "zarr.json"), os.fork()
    if not pid:
        try:
            os._exit(0 if whole and got(store, "zarr.json") == whole else 1)
        finally:
            os._exit(2)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_writer_killed_in_a_transaction(store: OutliveStore) -> None:
    def write(store: OutliveStore) -> None:
        def die(*_: Any) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        beneath(store).delete = die  # called once all is written
        with store.transaction():
            store.delete_sync("old")
            for number in range(5):
                store.set_sync(f"new{number}", buffer(bytes(LARGE)))

    put(store, old=b"1", kept=b"2")
    with pytest.raises(ray.exceptions.RayError):
        ray.get(run.remote(write, store))
    assert listed(store) == ["kept", *(f"new{number}" for number in range(5))]
    assert got(store, "old") is None
    asyncio.run(store.clear())
    assert eventually(lambda: not list(beneath(store)))


def test_a_scope(store: OutliveStore, request: pytest.FixtureRequest) -> None:
    with outlive.open(request.node.name).scope() as scope:
        put(OutliveStore(scope), scoped=b"1")
        assert got(store, "scoped") == b"1"
    assert got(store, "scoped") is None


def test_the_docstrings(cluster: str) -> None:
    import doctest

    import outlive.zarr.store

    result = doctest.testmod(outlive.zarr.store, extraglobs={"np": np})
    assert result.attempted and not result.failed
