"""Each way in which Ray loses an array, and its outlive twin, which does not."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import ray

import outlive
from tests.cluster.conftest import workers
from tests.conftest import eventually

ARRAY = np.arange(1 << 17, dtype="float64")


@ray.remote(max_calls=2)
def keep(store: outlive.Store | None, seed: int) -> tuple[int, Any]:
    """As the thread's task: leaks, keeps its array, and is spent after two calls."""
    import builtins

    builtins.leak = [*getattr(builtins, "leak", []), np.ones(1 << 20)]  # type: ignore[attr-defined]
    return os.getpid(), [ray.put(ARRAY + seed)] if store is None else store.put(ARRAY + seed, key=f"volume/{seed}")


def test_spent_workers_leave_and_their_arrays_stay(store: outlive.Store) -> None:
    """Ray keeps them for as long as their arrays live (max_calls_lingers.py)."""
    made = ray.get([keep.remote(store, seed) for seed in range(8)])
    spent = {pid for pid, calls in Counter(pid for pid, _ in made).items() if calls == 2}
    assert spent
    eventually(lambda: not spent & workers().keys())
    for seed, (_, handle) in enumerate(made):
        np.testing.assert_array_equal(handle.get(), ARRAY + seed)
        np.testing.assert_array_equal(store[f"volume/{seed}"], ARRAY + seed)


def test_ray_put_loses_what_outlive_keeps_when_the_owner_is_killed(store: outlive.Store) -> None:
    pid, (ref,) = ray.get(keep.remote(None, 1))
    os.kill(pid, signal.SIGKILL)

    def lost() -> bool:
        try:
            ray.get(ref, timeout=60)
        except ray.exceptions.OwnerDiedError:
            return True
        return False

    eventually(lost)

    @ray.remote
    class Producer:
        def put(self) -> tuple[int, outlive.ArrayHandle]:
            return os.getpid(), store.put(ARRAY)

    pid, handle = ray.get(Producer.remote().put.remote())
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not psutil.pid_exists(pid))
    np.testing.assert_array_equal(handle.get(), ARRAY)


def test_a_worker_that_stored_an_array_obeys_sigterm(store: outlive.Store) -> None:
    """A worker that owns an object does not, and fails every later task (sigterm_is_unsafe.py)."""

    @ray.remote
    def put() -> tuple[int, outlive.ArrayHandle]:
        return os.getpid(), store.put(ARRAY)

    pid, handle = ray.get(put.remote())
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: pid not in workers())
    np.testing.assert_array_equal(handle.get(), ARRAY)


def test_a_handle_survives_the_middle_worker_that_relays_it(store: outlive.Store) -> None:
    """A ref does not: ReferenceCountingAssertionError (reference_counting_error.py)."""

    @ray.remote(num_cpus=0)
    class Registry:
        def __init__(self) -> None:
            self.handles: dict[str, outlive.ArrayHandle] = {}

        def register(self, key: str, handle: outlive.ArrayHandle) -> None:
            self.handles[key] = handle

        def read(self, key: str) -> float:
            return float(self.handles[key].get().sum())

    @ray.remote
    class Maker:
        def make(self) -> list[outlive.ArrayHandle]:
            return [store.put(ARRAY)]

    @ray.remote(max_retries=0)
    def middle(registry: Any, wrapped: list[outlive.ArrayHandle]) -> None:
        ray.get(registry.register.remote("k", wrapped[0]))
        os._exit(1)

    registry, maker = Registry.remote(), Maker.remote()
    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(middle.remote(registry, maker.make.remote()))
    ray.kill(maker)
    assert ray.get(registry.read.remote("k")) == ARRAY.sum()


PROGRAM = """
import sys, pickle, numpy as np, ray, outlive
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
store = outlive.open("drivers")
if sys.argv[2] == "put":
    pickle.dump(store.put(np.arange(100_000), key="from/a driver that ends"), open(sys.argv[3], "wb"))
else:
    assert pickle.load(open(sys.argv[3], "rb"))[-1] == store["from/a driver that ends"][-1] == 99_999
    print("read", *store)
"""


def test_arrays_outlive_their_driver_and_another_reads_them_by_key(cluster: str, tmp_path: Path) -> None:
    def drive(verb: str) -> str:
        command = [sys.executable, "-c", PROGRAM, cluster, verb, str(tmp_path / "handle")]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout

    drive("put")
    assert "read from/a driver that ends" in drive("read")
    with (tmp_path / "handle").open("rb") as file:
        handle = pickle.load(file)
    assert handle.get()[7] == 7
    outlive.open("drivers").clear()


def test_a_handle_holds_no_reference(store: outlive.Store) -> None:
    """The reason why all of the above holds: no process owns an object of Ray because it put an array."""
    handle = store.put(ARRAY, key="k")
    assert b"ObjectRef" not in pickle.dumps(handle)
    assert len(pickle.dumps(handle)) < 600
