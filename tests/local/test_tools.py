"""What joblib, zict and distributed make of a local store, where they are installed."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

import outlive
from tests.conftest import eventually

from .conftest import REPOSITORY

pytestmark = pytest.mark.filterwarnings("ignore")  # these libraries' own


def _put(store: outlive.Store, number: int) -> outlive.ArrayHandle:
    return store.put(np.full(100_000, number))


def _killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _total(array) -> float:
    return float(np.sum(array))


def test_joblib(store):
    joblib = pytest.importorskip("joblib")
    handles = [store.put(np.full(100_000, number)) for number in range(3)]
    pool, call = joblib.Parallel(n_jobs=2), joblib.delayed
    assert pool(call(_total)(one) for one in handles) == [0, 100_000, 200_000]
    assert pool(call(_total)(one.get()) for one in handles) == [0, 100_000, 200_000]
    put = pool(call(_put)(store, number) for number in range(3))
    with pytest.raises(Exception, match="SIGKILL"):
        pool(call(_killed)() for _ in handles)
    assert [int(one.get()[0]) for one in put] == [0, 1, 2]  # of workers that are gone by now
    assert joblib.hash(handles[1].get()) == joblib.hash(np.full(100_000, 1))


def test_what_a_worker_of_distributed_keeps(store):
    """Keys of any type, and values that may be written to. They are nobody else's, and end with it."""
    pytest.importorskip("zict")
    pytest.importorskip("dask.array")
    from outlive.dask import worker_data

    data, other = worker_data(900_000, store), worker_data("900KB", store)
    for number in range(4):
        data["x", number] = np.full(50_000, number)
        other["x", number] = np.full(50_000, -number)
    assert len(data.slow) == 2 and len(data) == 4
    assert [int(data["x", number][0]) for number in range(4)] == [0, 1, 2, 3]
    assert [int(other["x", number][0]) for number in range(4)] == [0, -1, -2, -3]
    data["x", 0] += 1
    data["x", 9] = "text"
    del data["x", 3], other
    assert int(data["x", 0][0]) == 1 and ("x", 3) not in data and sorted(data) == [("x", n) for n in (0, 1, 2, 9)]
    assert list(store) == []  # they have no keys there
    arrays = store.stats().shelves[0].arrays
    assert arrays >= 1
    data["y", 1] = np.ones(200_000)  # too large for its own memory
    del data
    gc.collect()
    eventually(lambda: store.stats().shelves[0].arrays == 0)


PROGRAM = """
import os, signal
import dask.array
from distributed import Client, LocalCluster, wait
import outlive.dask
if __name__ == "__main__":
    data = outlive.dask.worker_data, {"memory": 2_000_000}
    options = dict(n_workers=2, threads_per_worker=1, dashboard_address=None, data=data)
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        numbers = (dask.array.ones((2000, 1000), chunks=(125, 1000)) + 1).persist()
        wait(numbers)
        stored = outlive.open("dask", local=True)
        print(stored.stats().shelves[0].arrays > 4, float(numbers.sum().compute()))
        os.kill(client.run(os.getpid).popitem()[1], signal.SIGKILL)
        print(float(numbers.sum().compute()))
"""


def test_a_cluster_of_distributed(root, tmp_path):
    """A worker is killed: its results are computed again by the others, and those in the store are gone."""
    pytest.importorskip("distributed")
    pytest.importorskip("dask.array")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    environment = {**os.environ, "OUTLIVE_ROOT": root, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, program], stdout=subprocess.PIPE, text=True, env=environment, timeout=240)
    assert done.stdout.splitlines() == ["True 4000000.0", "4000000.0"]
    store = outlive.open(local=True, root=root)
    eventually(lambda: store.stats().shelves[0].arrays == 0)
