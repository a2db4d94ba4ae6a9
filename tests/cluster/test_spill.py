"""Spilling, through the calls that programs make: over the budget, everything goes on as before."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import ray

import outlive
from outlive.store import session
from tests.conftest import SPILL, eventually

from .conftest import actor_pids

MIB = 1 << 20
COUNT = MIB // 8


@pytest.fixture
def small(store: outlive.Store) -> Iterator[outlive.Store]:
    """Memory for eight arrays of a MiB."""
    shelf = store.stats().shelves[0]
    outlive.open(memory="9MiB", disk="64MiB")
    yield store
    store.clear()
    outlive.open(memory=shelf.budget, disk=shelf.disk_budget)


def test_over_the_budget(small: outlive.Store) -> None:
    for number in range(24):
        small[str(number)] = np.full(COUNT, number)
    [shelf] = small.stats().shelves
    assert shelf.used <= shelf.budget == 9 * MIB
    assert shelf.arrays == 24
    assert shelf.spilled >= 16
    assert shelf.disk_used >= 16 * MIB
    assert shelf.disk_budget == 64 * MIB
    assert shelf.spill_to is not None
    assert shelf.spill_to.startswith(f"{SPILL}/")
    assert len(small.spilled()) == shelf.spilled
    for number in range(24):
        view = small[str(number)]
        assert (view == number).all()
        assert not view.flags.writeable
        handle = small.handle(str(number))
        assert handle.get()[0] == number
    small.delete("0", small.handle("1"))
    small["2"] = np.zeros(3)
    del view
    gc.collect()
    assert "0" not in small and len(small) == 22
    assert small.check() == []


def test_other_processes_read_and_spill(small: outlive.Store) -> None:
    @ray.remote
    def put(number: int) -> outlive.ArrayHandle:
        return small.put(np.full(4 * COUNT, number), key=f"worker {number}")

    @ray.remote
    def read(handle: outlive.ArrayHandle) -> int:
        return int(handle.get().sum()) // handle.size

    handles = ray.get([put.remote(number) for number in range(6)])
    assert ray.get([read.remote(handle) for handle in handles]) == list(range(6))
    assert len(small.spilled()) >= 4


def test_larger_than_memory_and_pinned(small: outlive.Store) -> None:
    with small.create(16 * COUNT, "i8", key="large") as out:
        out[:] = 7
    assert small.handle("large").id in small.spilled()
    assert (small["large"] == 7).all()
    pinned = small.put(np.full(COUNT, 1), key="pinned", pin=True)
    for number in range(20):
        small[f"other {number}"] = np.full(COUNT, number)
    assert pinned.id not in small.spilled()
    with pytest.raises(outlive.StoreFull):
        small.put(np.zeros(16 * COUNT), pin=True)
    with pytest.raises(outlive.StoreFull, match=r"budget of 9\.0 MiB .* on disk .* budget of 64\.0 MiB"):
        small.put(np.zeros(100 * COUNT))


def test_pin_many_and_later(small: outlive.Store) -> None:
    handles = small.put_many({str(number): np.full(COUNT, number) for number in range(3)}, pin=True)
    for number in range(20):
        small[f"other {number}"] = np.full(COUNT, number)
    assert not {handle.id for handle in handles.values()} & small.spilled()
    spilled = next(handle for handle, _ in small.entries("other") if handle.id in small.spilled())
    spilled.pin()
    assert spilled.id not in small.spilled()
    for number in range(20):
        small[f"other {number + 20}"] = np.full(COUNT, number)
    assert not {spilled.id, *(handle.id for handle in handles.values())} & small.spilled()
    handles["0"].unpin()
    for number in range(20):
        small[f"other {number + 40}"] = np.full(COUNT, number)
    assert handles["0"].id in small.spilled()
    small.delete(spilled)
    with pytest.raises(outlive.ArrayNotFound):
        spilled.pin()


def test_the_keeper_spills_ahead_and_brings_back(small: outlive.Store) -> None:
    handles = [small.put(np.full(COUNT, number), key=str(number)) for number in range(8)]
    small["half"] = np.zeros(COUNT // 2)
    eventually(small.spilled)
    spilled = [handle for handle in handles if handle.id in small.spilled()]
    assert spilled
    small.delete(*(handle for handle in handles if handle not in spilled))
    eventually(lambda: spilled[0].get()[0] >= 0 and spilled[0].id not in small.spilled())


def test_arrays_on_disk_outlive_keeper_and_catalog(small: outlive.Store) -> None:
    for number in range(20):
        small[str(number)] = np.full(COUNT, number)
    for pid in actor_pids().values():
        psutil.Process(pid).kill()
    assert len(small) == 20
    for number in range(20):
        assert (small[str(number)] == number).all()


def test_shutdown_clears_the_disk(small: outlive.Store) -> None:
    for number in range(20):
        small[str(number)] = np.full(COUNT, number)
    disk = session.current().shelf.disk
    assert disk is not None and os.listdir(disk.mem)
    outlive.shutdown()
    assert not Path(disk.path).exists()
    outlive.open(memory="9MiB", disk="64MiB", spill_to=f"{SPILL}/other")
    [shelf] = small.stats().shelves
    assert (shelf.disk_used, shelf.spilled) == (0, 0)
    assert shelf.spill_to is not None
    assert shelf.spill_to.startswith(f"{SPILL}/other/")
