"""Looking changes nothing: a node on another machine stays as idle as it was, and no worker starts there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
import ray
from ray.cluster_utils import Cluster
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from outlive.ray_internals import node_workers, processes, rpc
from outlive.workers import inspect, keep_trim, probe, record, trim
from tests.conftest import eventually
from tests.workers.conftest import pid_of_worker


@pytest.fixture(scope="module")
def far() -> Iterator[node_workers.Node]:
    """A node of another machine, as far as this process can tell."""
    look_here = probe.look
    options = {"num_cpus": 2, "object_store_memory": 80 << 20}
    cluster = Cluster(initialize_head=True, head_node_args={**options, "include_dashboard": False})
    try:
        cluster.add_node(**options, node_ip_address="127.0.0.2")
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        (node,) = [node for node in node_workers.nodes() if node.ip == "127.0.0.2"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(probe, "look", lambda pids: look_here({n: pids[n] for n in pids if n != node.node_id}))
            yield node
    finally:
        ray.shutdown()
        cluster.shutdown()


def workers_of(node):
    (answer,) = processes.ask([node])
    return [stats for stats in answer.processes if stats.worker_type == rpc.messages("common").WorkerType.WORKER]


def idle_seconds(node):
    """For how long the autoscaler takes the node for idle."""
    pb = rpc.messages("autoscaler")
    reply = rpc.autoscaler().GetClusterResourceState(pb.GetClusterResourceStateRequest(), timeout=10)
    states = {state.node_id.hex(): state.idle_duration_ms for state in reply.cluster_resource_state.node_states}
    return states[node.node_id] / 1000


def look():
    inspect()
    return nullcontext()


def sample():
    record(1, every=0.1)
    return nullcontext()


@pytest.mark.parametrize(
    "looking",
    [
        look,
        sample,
        lambda: keep_trim(max_idle=8, every="100ms"),
        lambda: keep_trim(max_memory="1GiB", every="100ms"),
    ],
    ids=["inspect", "record", "keep_trim", "keep_trim by memory"],
)
def test_the_node_stays_idle(far, looking):
    eventually(lambda: idle_seconds(far) > 1)
    before = time.monotonic()
    with looking():
        eventually(lambda: time.monotonic() - before > 3)  # some rounds
        eventually(lambda: idle_seconds(far) > time.monotonic() - before, seconds=15)
    assert workers_of(far) == []


def test_rounds_that_let_workers_go_leave_other_nodes_idle(far):
    home = ray.get_runtime_context().get_node_id()
    here = NodeAffinitySchedulingStrategy(home, soft=False)
    eventually(lambda: idle_seconds(far) > 1)
    before = time.monotonic()
    with keep_trim(max_idle=0, every="100ms") as kept:
        for round_ in range(4):
            ray.get(pid_of_worker.options(scheduling_strategy=here).remote())
            eventually(lambda wanted=round_ + 1: kept.retired >= wanted)
        eventually(lambda: idle_seconds(far) > time.monotonic() - before, seconds=15)


def test_an_exact_look_and_a_bound_on_memory_ask_the_node_and_leave_no_worker_behind(far):
    here = NodeAffinitySchedulingStrategy(far.node_id, soft=False)
    pid = ray.get(pid_of_worker.options(scheduling_strategy=here).remote())

    def seen(report):
        return next((worker for worker in report.workers if worker.pid == pid), None)

    assert seen(inspect()).unique is None
    assert seen(inspect(exact=True)).unique > 10 << 20
    assert [(one.worker.pid, one.left) for one in trim(max_memory="1MiB").chosen if one.worker.pid == pid] == [
        (pid, True)
    ]
    eventually(lambda: workers_of(far) == [])
