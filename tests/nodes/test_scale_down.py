"""A node leaves once nothing but outlive's arrays are on it, and they outlive it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import ray
from ray.experimental.internal_kv import _internal_kv_get

import outlive
from outlive.ray_internals.autoscaler import autoscaler
from outlive.ray_internals.node_table import busy
from tests.conftest import eventually
from tests.nodes.autoscaling import HEAD, autoscaling_cluster, workers
from tests.nodes.work import arrays, meet

IDLE_SECONDS = 6.0


@pytest.fixture(scope="module")
def autoscaled() -> Iterator[str]:
    with autoscaling_cluster(most=2, idle_minutes=IDLE_SECONDS / 60, OUTLIVE_EVACUATE_AFTER="1") as address:
        yield address
        outlive.shutdown()


def on_two_nodes(folder: Path, work: Callable[..., object]) -> list[tuple[str, object]]:
    """Run `work(0)` and `work(1)` at the same time, each on a worker node of its own; node ids and results."""

    @ray.remote(num_cpus=1, max_calls=1)
    def run(number: int) -> tuple[str, object]:
        meet(folder, number)
        return ray.get_runtime_context().get_node_id(), work(number)

    return ray.get([run.remote(number) for number in range(2)], timeout=120)


def rounds_made_at() -> float:
    """Unix time of the autoscaler's latest round."""
    return float(json.loads(_internal_kv_get(b"__autoscaling_status"))["time"])


def alive(node: str) -> bool:
    return node in {one.id for one in workers()}


def test_the_cluster_is_seen_to_be_autoscaled(autoscaled: str) -> None:
    @ray.remote(num_cpus=0)
    class Elsewhere:  # an actor on the head, as keeper and catalog are
        def ask(self) -> object:
            return autoscaler()

    here = eventually(autoscaler)
    assert here.min_workers == {"small": 0}
    there = ray.get(Elsewhere.remote().ask.remote())
    assert there.min_workers == here.min_workers
    eventually(lambda: (found := autoscaler()) and found.types.get(HEAD) == "ray.head.default")


def test_without_outlive_a_ray_object_keeps_its_node(autoscaled: str, tmp_path: Path) -> None:
    kept, empty = (node for node, _ in on_two_nodes(tmp_path, lambda number: None))
    ended = time.time()

    @ray.remote(num_cpus=1, max_calls=1)
    def make() -> np.ndarray:
        return np.ones(1 << 20)

    where = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(kept, soft=False)
    reference = make.options(scheduling_strategy=where).remote()  # owned by this driver, kept by that node
    eventually(lambda: not alive(empty))
    eventually(lambda: rounds_made_at() > ended + 3 * IDLE_SECONDS)
    assert alive(kept)
    assert "object store" in " ".join(busy(kept, set()))
    del reference
    eventually(lambda: not alive(kept))  # so the object it was, and nothing else


def test_both_nodes_leave_and_all_arrays_can_be_read_from_the_head(autoscaled: str, tmp_path: Path) -> None:
    def work(number: int) -> list[outlive.ArrayHandle]:
        store = outlive.open("scans")
        return [store.put(array, key=f"{number}/{index}") for index, array in enumerate(arrays(number))]

    done = dict(on_two_nodes(tmp_path, work))
    assert len(done) == 2 and HEAD not in done
    eventually(lambda: not workers(), 120)
    store = outlive.open("scans")
    assert ray.get_runtime_context().get_node_id() == HEAD
    assert store.lost() == []
    for number, handles in enumerate(done.values()):
        for index, array in enumerate(arrays(number)):
            for found in (store.get(f"{number}/{index}"), handles[index].get()):
                assert found is not None and (found.dtype, found.shape) == (array.dtype, array.shape)
                assert found.tobytes() == array.tobytes()
