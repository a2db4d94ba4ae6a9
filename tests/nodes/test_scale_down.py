"""A node leaves once nothing but outlive's arrays are on it, and they outlive it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import ray
from ray.core.generated import autoscaler_pb2
from ray.experimental.internal_kv import _internal_kv_get

import outlive
from outlive.cluster.ray_port import RayPeers
from outlive.ray_internals import Connection
from outlive.ray_internals.autoscaler import _monitor as monitor
from outlive.ray_internals.autoscaler import autoscaler
from outlive.ray_internals.node_table import busy, gcs_client
from tests.conftest import ROOT, eventually
from tests.nodes.autoscaling import HEAD, autoscaling_cluster, workers
from tests.nodes.work import arrays, meet, put

IDLE_SECONDS = 6.0
ROWS = 1000
T = TypeVar("T")


@pytest.fixture(scope="module", params=[1, 2], ids=["v1", "v2"])
def version(request: pytest.FixtureRequest) -> int:
    """The autoscaler's."""
    return int(request.param)


@pytest.fixture(scope="module")
def autoscaled(version: int) -> Iterator[str]:
    idle = IDLE_SECONDS / 60
    with autoscaling_cluster(most=2, idle_minutes=idle, version=version, OUTLIVE_EVACUATE_AFTER="1") as address:
        yield address
        outlive.shutdown()


def on_nodes(folder: Path, work: Callable[[int], T], count: int = 2) -> list[tuple[str, T]]:
    """Run `work(0)` and so on at the same time, each on a worker node of its own; node ids and results."""

    @ray.remote(num_cpus=1, max_calls=1)
    def run(number: int) -> tuple[str, T]:
        meet(folder, number, count)
        return ray.get_runtime_context().get_node_id(), work(number)

    return ray.get([run.remote(number) for number in range(count)], timeout=120)


class Rounds:
    """The autoscaler's rounds that were seen: one each second, and each asks the head for the nodes anew."""

    def __init__(self, version: int) -> None:
        self._version, self._seen = version, set[int | float]()

    def count(self) -> int:
        if self._version == 1:
            self._seen.add(float(json.loads(_internal_kv_get(b"__autoscaling_status"))["time"]))
        else:
            reply = autoscaler_pb2.GetClusterStatusReply.FromString(gcs_client().get_cluster_status(timeout_s=10))
            self._seen.add(reply.autoscaling_state.last_seen_cluster_resource_state_version)
        return len(self._seen)


def alive(node: str) -> bool:
    return node in {one.id for one in workers()}


def shelf(node: str) -> Path:
    return Path(ROOT, Connection().cluster, node)


def all_left(nodes: Iterable[str]) -> bool:
    """Whether these nodes have left, and each had removed its shelf before. Else the head adopts it on this machine."""
    gone = {node: shelf(node) for node in nodes if not alive(node)}
    assert [node for node, left in gone.items() if left.exists()] == []
    return gone.keys() == {*nodes}


def assert_all_can_be_read(by_number: list[list[outlive.ArrayHandle]]) -> None:
    """From the head, where no task has put anything."""
    store = outlive.open("scans")
    assert ray.get_runtime_context().get_node_id() == HEAD
    assert store.lost() == []
    for number, handles in enumerate(by_number):
        for index, array in enumerate(arrays(number)):
            for found in (store.get(f"{number}/{index}"), handles[index].get()):
                assert found is not None and (found.dtype, found.shape) == (array.dtype, array.shape)
                assert found.tobytes() == array.tobytes()


@contextmanager
def read_meanwhile(handle: outlive.ArrayHandle, expected: np.ndarray) -> Iterator[None]:
    """Read some rows again and again until the block ends. They are not kept here: they come from where they are."""
    over = threading.Event()

    def read() -> int:
        times = 0
        while not over.is_set():
            assert handle[:ROWS].tobytes() == expected[:ROWS].tobytes()
            times += 1
        return times

    with ThreadPoolExecutor(1) as pool:
        reads = pool.submit(read)
        try:
            yield
        finally:
            over.set()
        assert reads.result() > 1


def drain(node: str, reason: str, deadline: float = 0) -> bool:
    """Ask Ray to drain a node, as an autoscaler does; whether it agrees."""
    number = autoscaler_pb2.DrainNodeReason.Value(f"DRAIN_NODE_REASON_{reason}")
    accepted, _ = gcs_client().drain_node(node, number, "a test", round(deadline * 1000))
    return bool(accepted)


def set_min_workers(count: int) -> None:
    """Change the autoscaler's configuration while it runs."""
    command = monitor()
    assert command is not None
    (path,) = (Path(part.partition("=")[2]) for part in command if part.startswith("--autoscaling-config="))
    config = json.loads(path.read_text())
    config["available_node_types"]["small"]["min_workers"] = count
    path.with_suffix(".new").write_text(json.dumps(config))
    path.with_suffix(".new").rename(path)


def test_the_cluster_is_seen_to_be_autoscaled(autoscaled: str, version: int) -> None:
    @ray.remote(num_cpus=0)
    class Elsewhere:  # an actor on the head, as keeper and catalog are
        def ask(self) -> object:
            return autoscaler()

    here = eventually(autoscaler)
    assert here.min_workers == {"small": 0}
    there = ray.get(Elsewhere.remote().ask.remote())
    assert there.min_workers == here.min_workers
    if version == 1:  # v2 tells a node its type as it starts, and the head nothing more
        eventually(lambda: (found := autoscaler()) and found.types.get(HEAD) == "ray.head.default")


def test_without_outlive_a_ray_object_keeps_its_node(autoscaled: str, version: int, tmp_path: Path) -> None:
    kept, empty = (node for node, _ in on_nodes(tmp_path, lambda number: None))

    @ray.remote(num_cpus=1, max_calls=1)
    def make() -> np.ndarray:
        return np.ones(1 << 20)

    where = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(kept, soft=False)
    reference = make.options(scheduling_strategy=where).remote()  # owned by this driver, kept by that node
    eventually(lambda: not alive(empty))
    rounds = Rounds(version)
    eventually(lambda: rounds.count() > 3 * IDLE_SECONDS, 180)
    assert alive(kept)
    assert "object store" in " ".join(busy(kept, set()))
    del reference
    eventually(lambda: not alive(kept))  # so the object it was, and nothing else


def test_a_node_that_cannot_see_the_monitor_knows_what_the_head_knows(autoscaled: str, tmp_path: Path) -> None:
    def look(number: int) -> tuple[object, dict[str, str]]:
        from outlive.ray_internals import autoscaler as seen

        seen._monitor = lambda: None  # as on another machine
        outlive.open("scans")
        return RayPeers().autoscaler(), {row.id: row.role for row in outlive.nodes()}

    for node, (found, roles) in on_nodes(tmp_path, look):
        assert (found.min_workers, roles[node], roles[HEAD]) == ({"small": 0}, "may go", "head")


def test_both_nodes_leave_and_all_arrays_can_be_read_from_the_head(autoscaled: str, tmp_path: Path) -> None:
    done = dict(on_nodes(tmp_path, put))
    assert len(done) == 2 and HEAD not in done
    handles = list(done.values())
    with read_meanwhile(handles[0][0], arrays(0)[0]), read_meanwhile(handles[1][0], arrays(1)[0]):
        eventually(lambda: all_left(done), 120)
    assert_all_can_be_read(handles)


def test_ray_refuses_to_drain_a_node_as_idle_until_its_arrays_are_elsewhere(
    autoscaled: str, version: int, tmp_path: Path
) -> None:
    """Autoscaler v2 drains what it takes for idle. Here it does so without patience, and one node is preempted."""
    if version == 1:
        pytest.skip("it drains no node")
    (hurried, first), (preempted, second) = on_nodes(tmp_path, put)
    refused = 0

    def try_to_drain() -> bool:
        nonlocal refused
        agreed = drain(hurried, "IDLE_TERMINATION")
        assert not (agreed and shelf(hurried).exists())
        refused += not agreed
        return not alive(hurried)

    try_to_drain()
    assert drain(preempted, "PREEMPTION", time.time() + 600)
    eventually(try_to_drain, 120)
    assert refused
    eventually(lambda: all_left([hurried, preempted]), 120)
    assert_all_can_be_read([first, second])


def test_a_node_of_min_workers_keeps_its_arrays_until_it_may_go(autoscaled: str, version: int, tmp_path: Path) -> None:
    set_min_workers(1)
    try:
        ((node, handles),) = on_nodes(tmp_path, put, 1)

        def seen() -> tuple[str, tuple[str, ...], int]:
            (row,) = (row for row in outlive.nodes() if row.id == node)
            return row.role, row.stays_because, row.only_arrays

        rounds = Rounds(version)
        eventually(lambda: rounds.count() > 3 * IDLE_SECONDS, 180)
        assert seen() == ("stays", ("min_workers",), len(handles))
        assert shelf(node).exists()
    finally:
        set_min_workers(0)
    eventually(lambda: all_left([node]), 240)  # a keeper asks for the settings every 80 s
    assert_all_can_be_read([handles])
