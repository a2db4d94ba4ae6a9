"""The head is killed and started again on the same Redis (GCS fault tolerance): nothing is lost, and readers go on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import outlive
from tests.conftest import eventually
from tests.nodes.in_pod import until
from tests.nodes.pods import Pods, needs_pods, needs_redis, pods, redis

pytestmark = [needs_pods, needs_redis]
KEYS = {"head": 1, "worker": 3, "twice": 4}  # what each key's array is made of


@pytest.fixture
def cluster() -> Iterator[Pods]:
    with redis() as server, pods(server.address) as made:
        yield made


def array(number: int) -> np.ndarray:
    return np.random.default_rng(number).normal(size=(50, 1000))


def put_on_head() -> outlive.ArrayHandle:
    store = outlive.open("kube")
    store["head"] = array(1)
    store["deleted"] = np.ones(1000)
    del store["deleted"]
    return store.put(array(2), lifetime="detached")


def put_and_read(folder: str, of_head: outlive.ArrayHandle) -> dict[str, object]:
    """Put arrays on this node, and read them until the head is back. Then read all, in the same program."""
    store, count = outlive.open("kube"), {"reads": 0, "without a head": 0}
    handle = store.put(array(5), lifetime="detached")
    store["worker"] = array(3)
    store.put(array(4), "twice", replicas=2)
    expected = {number: array(number).tobytes() for number in (3, 4, 5)}

    def read() -> None:
        dead = os.path.exists(f"{folder}/dead")
        for found, number in ((store["worker"], 3), (store["twice"], 4), (handle.get(), 5)):
            assert found.tobytes() == expected[number]
        count["reads"] += 1
        count["without a head"] += dead
        if count["without a head"] == 50:
            store.put(np.ones(7), lifetime="detached")  # without a key: nobody is asked
            Path(f"{folder}/read").touch()

    read()
    Path(f"{folder}/put").touch()
    until(f"{folder}/back", read)
    store["after"] = np.full(7, 7)
    return {**count, **all_of(of_head)}


def all_of(of_head: outlive.ArrayHandle, seconds: float = 120) -> dict[str, object]:
    """Read all that was put, again where it counts as lost: what never was right, and what was lost meanwhile."""
    store = outlive.open("kube")
    reads: dict[str, Callable[[], np.ndarray]] = {key: lambda key=key: store[key] for key in KEYS}  # type: ignore[misc]
    reads["of head"] = of_head.get
    wrong, lost, deadline = list[str](), set[str](), time.monotonic() + seconds
    for name, read in reads.items():
        while True:
            try:
                if read().tobytes() != array({**KEYS, "of head": 2}[name]).tobytes():
                    wrong.append(name)
                break
            except outlive.ArrayLost:
                lost.add(name)
                if time.monotonic() > deadline:
                    wrong.append(name)
                    break
                time.sleep(0.2)
    return {"wrong": wrong, "lost meanwhile": sorted(lost)}


def look_after(of_head: outlive.ArrayHandle) -> dict[str, object]:
    store = outlive.open("kube")
    defects = [one for one in store.check() if not one.mended]
    roles = sorted(row.role for row in outlive.nodes())
    return {**all_of(of_head), "keys": sorted(store), "lost": store.lost(), "defects": defects, "roles": roles}


@pytest.mark.timeout(900)
def test_nothing_is_lost_and_readers_go_on(cluster: Pods, tmp_path: Path) -> None:
    head, worker = cluster.start_head(), cluster.start_worker()
    of_head = head.run(put_on_head)
    reader = worker.start(put_and_read, str(tmp_path), of_head)
    eventually(lambda: (tmp_path / "put").exists() or not reader.runs, 300)
    head.kill()
    (tmp_path / "dead").touch()
    eventually(lambda: (tmp_path / "read").exists() or not reader.runs, 120)
    assert (tmp_path / "read").exists(), reader.result()

    again = cluster.start_head(shm=head.shm)  # another pod and address, and the same /dev/shm, as a container has
    (tmp_path / "back").touch()
    read, found = reader.result(), again.run(look_after, of_head)
    assert read["without a head"] >= 50
    for one in (read, found):  # the catalog that starts anew knows of the head's arrays before it answers anybody
        assert (one["wrong"], one["lost meanwhile"]) == ([], [])
    assert (found["keys"], found["lost"]) == (["after", "head", "twice", "worker"], [])
    assert (found["defects"], found["roles"]) == ([], ["head", "stays"])
