"""Keeper and catalog killed with SIGKILL lose nothing, and readers on the node do not notice.

Here all calls go through Ray, which is the way back. `test_calls` kills both where they go by ports.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import ray

import outlive
from outlive.arrays.live import forget
from outlive.store import session
from tests.cluster.conftest import actor_pids
from tests.conftest import eventually


@pytest.fixture(scope="module", autouse=True)
def _through_ray() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OUTLIVE_CALLS", "ray")
        yield


def kill(name: str) -> None:
    """Kill an actor's process and wait until another runs in its place."""
    pid = eventually(lambda: actor_pids().get(name))
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: actor_pids().get(name) not in (None, pid))


def test_all_arrays_are_found_again(store: outlive.Store) -> None:
    arrays = {f"k{i}": np.full(100 + i, i) for i in range(200)}
    store.put_many(arrays)
    store["k3"] = np.full(7, -3)
    del store["k4"]
    arrays["k3"] = np.full(7, -3)
    del arrays["k4"]
    kill("Keeper")
    kill("Catalog")
    assert sorted(store) == sorted(arrays)
    for key, array in arrays.items():
        np.testing.assert_array_equal(store[key], array)
    assert store.check() == []


def test_reads_by_handle_ask_no_actor(store: outlive.Store) -> None:
    """So they go on while neither runs: both are stopped here, not just slow."""
    handles = [store.put(np.full(1 << 15, i), key=f"k{i}") for i in range(20)]
    processes = [psutil.Process(pid) for pid in actor_pids().values()]
    assert len(processes) == 2
    for process in processes:
        process.suspend()
    try:
        assert [handle.get()[0] for handle in handles] == list(range(20))
        assert store.put(np.ones(3)).get().sum() == 3
    finally:
        for process in processes:
            process.resume()


def test_a_keeper_goes_on_while_the_catalog_is_stopped(store: outlive.Store) -> None:
    """What the catalog has to end waits for it; what the shelf can end alone does not."""
    catalog = psutil.Process(actor_pids()["Catalog"])
    keyed = store.put(np.ones(3), key="k", ttl=0.1)
    catalog.suspend()
    try:
        for _ in range(2):  # the second ends in a later round than the one that has met the catalog
            alone = store.put(np.ones(3), ttl=0.1)
            path = Path(session.current().shelf.mem) / alone.id
            eventually(lambda path=path: not path.exists())
    finally:
        catalog.resume()
    eventually(lambda: "k" not in store)
    with pytest.raises(outlive.ArrayNotFound, match="time to live"):
        outlive.ArrayHandle(keyed.info).get()


@ray.remote(num_cpus=0.5, max_retries=0)
def read_and_write(store: outlive.Store, number: int, stop: Path) -> dict[str, int]:
    """Puts rising values under its own keys, reads them back and reads the others': no value ever goes back."""
    last: dict[str, int] = {}
    value = 0
    while not stop.exists():
        value += 1
        store[f"{number}/{value % 5}"] = np.full(5_000, value)
        last[f"{number}/{value % 5}"] = value
        for key in (f"{number}/{value % 5}", f"{(number + 1) % 4}/{value % 5}"):
            array = store.get(key)
            if array is not None:
                assert (array == array[0]).all(), f"torn read of {key}"
                assert array[0] >= last.get(key, 0), f"{key} went back from {last[key]} to {array[0]}"
                last[key] = int(array[0])
    return {key: value for key, value in last.items() if key.startswith(f"{number}/")}


def test_four_processes_read_and_write_meanwhile(store: outlive.Store, tmp_path: Path) -> None:
    """OUTLIVE_KILLS_OF_ACTORS says how often keeper and catalog are killed."""
    others = store.stats().shelves[0].arrays  # that other tests put without key
    running = [read_and_write.remote(store, number, tmp_path / "stop") for number in range(4)]
    held = store.put(np.arange(100_000))
    reads, stop = 0, threading.Event()

    def read_on() -> None:
        nonlocal reads
        while not stop.wait(0.001):
            forget(held.id)  # open it anew each time
            assert held.get()[5] == 5
            reads += 1

    reader = threading.Thread(target=read_on)
    reader.start()
    eventually(lambda: len(store) == 20)
    for _ in range(int(os.environ.get("OUTLIVE_KILLS_OF_ACTORS", "2"))):
        kill("Keeper")
        kill("Catalog")
        before = len(store), reads
        assert before[0] == 20
        eventually(lambda before=before: reads > before[1])
    (tmp_path / "stop").touch()
    wrote: dict[str, int] = {}
    for written in ray.get(running):
        wrote |= written
    stop.set()
    reader.join()
    assert {key: int(store[key][0]) for key in store} == wrote
    assert [finding for finding in store.check() if not finding.mended] == []
    stats = store.stats()
    assert stats.arrays == len(wrote) == 20
    eventually(lambda: store.stats().shelves[0].arrays == others + 21)  # nothing that was overwritten is left


def test_a_writer_killed_at_any_moment_leaves_all_or_nothing(store: outlive.Store) -> None:
    @ray.remote(max_retries=0)
    def put_batches(store: outlive.Store) -> None:
        batch = 0
        while True:
            batch += 1
            store.put_many({f"k{i}": np.full(20_000, batch) for i in range(20)})

    others = store.stats().shelves[0].arrays
    for round_ in range(5):
        before = workers_running("put_batches")
        task = put_batches.remote(store)
        (pid,) = eventually(lambda before=before: workers_running("put_batches") - before)
        eventually(lambda: len(store) == 20)
        time.sleep(0.013 * round_)  # a different moment each time
        os.kill(pid, signal.SIGKILL)
        ray.wait([task])
        values = {int(array[0]) for array in store.get_many(store.keys()).values()}
        assert len(values) == 1, "part of one batch, part of another"
        assert [finding for finding in store.check() if not finding.mended] == []
        assert store.check() == []
        assert store.stats().shelves[0].arrays == others + 20


def workers_running(name: str) -> set[int]:
    found = set()
    for process in psutil.Process().children(recursive=True):
        try:
            if (process.cmdline() or [""])[0] == f"ray::{name}":
                found.add(process.pid)
        except psutil.Error:
            continue
    return found
