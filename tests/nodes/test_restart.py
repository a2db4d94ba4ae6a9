"""All of Ray stops, and starts again on the same machine, next to another cluster."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from ray.cluster_utils import Cluster

import outlive
from tests.conftest import ROOT, eventually
from tests.nodes.raylets import Nodes, several_nodes

_NEIGHBOUR = """
import sys
import numpy as np, outlive, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
store = outlive.open("restart")
store["k"] = np.full(50_000, 7)
unkeyed = store.put(np.full(50_000, 8), lifetime="detached")
print("put", store.stats().shelves[0].path, flush=True)
for _ in sys.stdin:
    print(int(store["k"][0]), int(unkeyed.get()[0]), sorted(store), len(store.check()), flush=True)
"""


@contextlib.contextmanager
def neighbour() -> Iterator[subprocess.Popen[str]]:
    """Another cluster with the same OUTLIVE_ROOT, and a driver of it that says for each line what it reads."""
    head = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}
    cluster, path = Cluster(initialize_head=True, head_node_args=head), ""
    try:
        command = [sys.executable, "-c", _NEIGHBOUR, cluster.address]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as driver:
            try:
                assert driver.stdout is not None
                said, path = driver.stdout.readline().split()
                assert said == "put"
                yield driver
            finally:
                driver.kill()
    finally:
        cluster.shutdown()
        if path:  # or the next cluster of this machine adopts its arrays
            shutil.rmtree(os.path.dirname(path), ignore_errors=True)


def reads(driver: subprocess.Popen[str]) -> str:
    assert driver.stdin is not None and driver.stdout is not None
    print(file=driver.stdin, flush=True)
    return driver.stdout.readline().strip()


@pytest.mark.filterwarnings("ignore::outlive.FewerReplicas")  # a keeper may take long to answer, on a busy machine
def test_everything_stops_and_starts_again() -> None:
    with neighbour() as driver:
        first = Nodes(2, 80 << 20)
        try:
            first.start(2)
            store = outlive.open("restart", memory="100MiB", disk="1GiB")
            arrays = {f"k{i}": np.random.default_rng(i).normal(size=(100, 1000)) for i in range(20)}
            store.put_many(arrays)
            store.put(np.full(9, 9), "two", replicas=2)
            store.put(np.ones(1000), "job's", lifetime="job")
            overwritten = store.put(np.zeros(50_000), "k0")
            store.put(arrays["k0"], "k0")
            store["deleted"] = np.ones(50_000)
            del store["deleted"]
            job, detached = store.put(np.ones(9)), store.put(np.full(9, 5), lifetime="detached")
            folder = f"{ROOT}/{first.cluster}"
        finally:
            first.stop()
        try:
            assert os.path.exists(folder)
            assert reads(driver) == "7 8 ['k'] 0"
            with several_nodes(2) as nodes:
                store = outlive.open("restart")
                eventually(lambda: len(store) >= 21)
                assert set(store) == {*arrays, "two"}
                for i in nodes:
                    assert nodes.on_node(i, read_all, store, list(arrays)) == [arrays[key].tobytes() for key in arrays]
                assert store["two"].tolist() == [9] * 9
                assert detached.get().tolist() == [5] * 9
                for gone in (job, overwritten):
                    with pytest.raises(outlive.ArrayNotFound):
                        gone.get()
                assert [finding for finding in store.check() if not finding.mended] == []
                eventually(lambda: not os.path.exists(folder) or not os.listdir(folder))
                assert reads(driver) == "7 8 ['k'] 0"
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def read_all(store: outlive.Store, keys: list[str]) -> list[bytes]:
    return [store[key].tobytes() for key in keys]
