"""What is known of nodes, against real raylets: death, draining, and each reason not to be idle."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import numpy as np
import pytest
import ray
from ray._private.worker import global_worker
from ray.cluster_utils import Cluster
from ray.core.generated import autoscaler_pb2
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from outlive.errors import StoreUnavailable
from outlive.ray_internals import node_table
from outlive.ray_internals.autoscaler import autoscaler
from outlive.ray_internals.node_table import Node, busy, nodes
from tests.conftest import eventually

STORE = 80 << 20


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head and one more node, `worker`."""
    head = {"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=head)
    try:
        ray.init(made.address, log_to_driver=False, logging_level="ERROR", namespace="outlive")
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


@pytest.fixture(scope="module")
def worker(cluster: Cluster) -> str:
    """Its id."""
    return str(cluster.add_node(num_cpus=2, object_store_memory=STORE).node_id)


@pytest.fixture
def idle(worker: str) -> Iterator[str]:
    """The worker node, idle before and after; its id."""
    eventually(lambda: not busy(worker, set()))
    yield worker
    eventually(lambda: not busy(worker, set()))


def on(node: str) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node, soft=False)


def node(node_id: str) -> Node:
    return next(one for one in nodes() if one.id == node_id)


def is_the_same_alone(node_id: str) -> bool:
    """Where one node can be asked for: that says what the list of all says of it."""
    return not node_table.can_ask_for_one() or node_table.node(node_id) == node(node_id)


def drain(node_id: str, deadline_ms: int) -> None:
    """As `ray drain-node` does, and a cloud's notice of preemption."""
    reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    accepted, why = global_worker.gcs_client.drain_node(node_id, reason, "test", deadline_ms)
    assert accepted, why


@ray.remote(num_cpus=0)
class Holder:
    """An actor that is there, and does as it is told."""

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def look(self, apart_from: set[str]) -> tuple[list[Node], list[str]]:
        return nodes(), busy(ray.get_runtime_context().get_node_id(), apart_from)


@ray.remote(num_cpus=0)
class Latch:
    """Open once it was told so."""

    def __init__(self) -> None:
        self._open = False

    def open(self) -> None:
        self._open = True

    def is_open(self) -> bool:
        return self._open


@ray.remote(num_cpus=0)
def wait_for(latch: ray.actor.ActorHandle) -> None:
    while not ray.get(latch.is_open.remote()):
        time.sleep(0.05)


@pytest.fixture
def latch(cluster: Cluster) -> ray.actor.ActorHandle:
    return Latch.options(scheduling_strategy=on(ray.get_runtime_context().get_node_id())).remote()


def test_nodes_say_who_they_are(cluster: Cluster, worker: str) -> None:
    here = ray.get_runtime_context().get_node_id()
    assert {one.id: (one.is_head, one.alive, one.object_store_memory) for one in nodes()} == {
        here: (True, True, STORE),
        worker: (False, True, STORE),
    }
    for one in nodes():
        assert one.ip and one.host
        assert one[5:8] == (None, None, None)


def test_nothing_scales_a_plain_cluster(cluster: Cluster, worker: str) -> None:
    assert autoscaler() is None


def test_an_idle_node_has_no_reasons(idle: str) -> None:
    assert busy(idle, set()) == []


def test_an_actor_is_a_reason_unless_it_is_named(idle: str) -> None:
    keeper = Holder.options(name="keeper", scheduling_strategy=on(idle)).remote()
    found, reasons = ray.get(keeper.look.remote({"keeper"}))  # as a keeper asks for its own node, from within a call
    assert [one._replace(occupied=False) for one in found] == [one._replace(occupied=False) for one in nodes()]
    assert reasons == []
    assert busy(idle, set()) == ["1 actor there, as keeper"]
    call = keeper.sleep.remote(2)
    assert busy(idle, {"keeper"}) == []
    assert not node(idle).occupied
    ray.get(call)
    other = Holder.options(name="keeper", namespace="another", scheduling_strategy=on(idle)).remote()
    ray.get(other.sleep.remote(0))
    assert busy(idle, {"keeper"}) == ["1 actor there, as keeper"]


@pytest.mark.parametrize("keeper", [False, True])
def test_a_task_without_resources_is_a_reason(idle: str, latch: ray.actor.ActorHandle, keeper: bool) -> None:
    actor = Holder.options(name="keeper", scheduling_strategy=on(idle)).remote() if keeper else None
    task = wait_for.options(scheduling_strategy=on(idle)).remote(latch)
    eventually(lambda: any("running a task (pid " in reason for reason in busy(idle, {"keeper"})))
    latch.open.remote()
    ray.get(task)
    eventually(lambda: busy(idle, {"keeper"}) == [])
    del actor


def test_a_task_without_resources_is_seen_without_grpcio_where_no_keeper_lives(
    idle: str, latch: ray.actor.ActorHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    task = wait_for.options(scheduling_strategy=on(idle)).remote(latch)
    eventually(lambda: busy(idle, {"keeper"}) == ["a worker is leased to a task"])
    latch.open.remote()
    ray.get(task)


def test_a_task_with_resources_is_a_reason_even_blocked(idle: str, latch: ray.actor.ActorHandle) -> None:
    @ray.remote
    def blocked(task: list[ray.ObjectRef]) -> None:
        ray.get(task)  # gives its CPU back meanwhile

    @ray.remote(num_cpus=1.5)
    def running(latch: ray.actor.ActorHandle) -> None:
        while not ray.get(latch.is_open.remote()):
            time.sleep(0.05)

    task = running.options(scheduling_strategy=on(idle)).remote(latch)
    eventually(lambda: any(reason.startswith("1.5 of 2 CPU") for reason in busy(idle, set())))
    eventually(lambda: node(idle).occupied)
    waits = blocked.options(scheduling_strategy=on(idle)).remote([task])
    eventually(lambda: any(reason.startswith("2 workers running a task") for reason in busy(idle, set())))
    latch.open.remote()
    ray.get(waits)


def test_a_ray_object_is_a_reason_where_its_primary_copy_is(idle: str) -> None:
    @ray.remote(num_cpus=0)
    def make() -> np.ndarray:
        return np.ones(1 << 20)

    reference = make.options(scheduling_strategy=on(idle)).remote()
    ray.get(reference)  # now there is a copy here, too
    eventually(lambda: any("object store holds 8,388,861 bytes" in reason for reason in busy(idle, set())))
    assert not [why for why in busy(ray.get_runtime_context().get_node_id(), set()) if "object store" in why]


def test_spilled_objects_are_a_reason(idle: str) -> None:
    @ray.remote(num_cpus=0)
    def make() -> np.ndarray:
        return np.ones(3 << 20)  # 24 MiB: a fifth does not fit

    references = [make.options(scheduling_strategy=on(idle)).remote() for _ in range(5)]
    ray.wait(references, num_returns=5, fetch_local=False)
    assert any("object store holds" in reason for reason in eventually(lambda: busy(idle, set())))


def test_a_placement_group_is_a_reason(idle: str) -> None:
    group = placement_group([{"CPU": 2}])
    ray.get(group.ready())
    expected = {"2 of 2 CPU in use", "1 placement group reserved there"}
    eventually(lambda: set(busy(idle, set())) >= expected)
    remove_placement_group(group)


def test_a_node_that_drains_and_dies(cluster: Cluster) -> None:
    added = cluster.add_node(num_cpus=1, object_store_memory=STORE)
    keeper = Holder.options(name="keeper", scheduling_strategy=on(added.node_id)).remote()
    ray.get(keeper.sleep.remote(0))  # it holds the node
    assert node(added.node_id).draining_until is None
    deadline = time.time() + 3600
    drain(added.node_id, round(deadline * 1000))
    assert eventually(lambda: node(added.node_id).draining_until) == pytest.approx(deadline, abs=0.01)
    assert busy(added.node_id, {"keeper"}) == []
    assert busy(added.node_id, set()) == ["1 actor there, as keeper"]
    eventually(lambda: is_the_same_alone(added.node_id))
    before = time.time()
    cluster.remove_node(added, allow_graceful=False)
    eventually(lambda: not node(added.node_id).alive)
    dead = node(added.node_id)
    assert dead.died_at is not None and before - 1 < dead.died_at < time.time() + 1
    assert dead.death_reason is not None and "unexpected" in dead.death_reason
    assert dead.draining_until is None
    assert busy(added.node_id, set()) == ["it is not alive"]
    eventually(lambda: is_the_same_alone(added.node_id))


def test_a_draining_node_without_a_deadline_leaves_with_its_last_actor(cluster: Cluster) -> None:
    added = cluster.add_node(num_cpus=1, object_store_memory=STORE)
    keeper = Holder.options(name="keeper", scheduling_strategy=on(added.node_id)).remote()
    ray.get(keeper.sleep.remote(0))
    drain(added.node_id, 0)
    assert eventually(lambda: node(added.node_id).draining_until) == math.inf
    del keeper
    eventually(lambda: not node(added.node_id).alive)
    assert node(added.node_id).death_reason is not None
    cluster.remove_node(added)


def test_without_a_cluster_it_says_so() -> None:
    ray.shutdown()
    for ask in (nodes, autoscaler, lambda: busy("00", set())):
        with pytest.raises(StoreUnavailable, match="not connected"):
            ask()
