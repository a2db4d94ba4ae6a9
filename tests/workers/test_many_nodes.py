"""What a look at 200 nodes asks of them, counted, so that it cannot grow unseen."""

from __future__ import annotations

import pytest

from outlive.ray_internals import node_workers, notes, rpc
from outlive.workers import Policy, inspect
from outlive.workers.watch import Watch
from tests.workers.played import played_cluster

pytest.importorskip("grpc")
NODES, WORKERS, FUNCTIONS = 200, 4, 250
ONCE = ["GetAllNodeInfo", "GetAllWorkerInfo", "GetInternalConfig", "GetAllAvailableResources", "GetAllJobInfo"]


@pytest.fixture(scope="module")
def cluster():
    with played_cluster(NODES, WORKERS, functions=FUNCTIONS) as cluster:
        inspect()  # so that all are connected
        yield cluster


def asked(cluster, **options):
    cluster.calls.clear()
    cluster.sent.clear()
    report = inspect(**options)
    assert len(report.workers) == NODES * WORKERS
    assert report.unseen == ()
    return dict(cluster.calls)


def test_calls_of_a_look(cluster):
    once = dict.fromkeys(ONCE, 1) | {"GetNodeStats": NODES}
    assert asked(cluster, with_history=False) == once
    assert asked(cluster) == once | {"GetTaskEvents": 1, "InternalKVKeys": 1}  # no function is read again


def test_calls_of_a_guards_look(cluster):
    """It asks the GCS for nodes and jobs, and tells it how it is. It does not ask what Ray's reaper goes by."""
    guard = Watch(Policy(max_idle=WORKERS), notes, {"version": "0", "actor_id": "a", "node_id": "n", "pid": 1})
    guard.step()
    cluster.calls.clear()
    cluster.sent.clear()
    guard.step()
    assert guard.record["workers"] == guard.record["idle"] == NODES * WORKERS
    assert cluster.calls == {"GetAllNodeInfo": 1, "GetAllJobInfo": 1, "GetNodeStats": NODES, "InternalKVPut": 1}
    assert cluster.sent.total() < 150 * NODES * WORKERS + 150 * NODES


def test_a_raylet_is_asked_by_what_was_made_for_it_once(cluster):
    """What makes a call is an object for each of 30 calls: to make all anew costs as much as the call."""
    assert len({id(rpc.raylet(node.address)) for node in node_workers.nodes() * 2}) == NODES


def test_calls_of_the_first_look():
    with played_cluster(1, 1, functions=FUNCTIONS) as cluster:
        inspect()
        assert cluster.calls["InternalKVMultiGet"] == 3  # 100 functions each


def test_bytes_of_a_look(cluster):
    """References are counted, not listed: they are most of what a raylet could send."""
    asked(cluster)
    workers = NODES * WORKERS
    assert cluster.sent["GetNodeStats"] < 150 * workers
    assert cluster.sent["GetAllWorkerInfo"] < 150 * workers
    assert sum(cluster.sent.values()) < 500 * workers + 50 * FUNCTIONS


def test_one_silent_worker_of_each_node_costs_one_question_each(cluster):
    for node in cluster.nodes[:20]:
        node.workers[0].silent = True
    try:
        cluster.calls.clear()
        report = inspect(with_history=False)
        assert len(report.unseen) == 20
        assert len(report.workers) == NODES * WORKERS
        # each process of these nodes, the driver too, and each of their raylets
        assert cluster.calls["GetCoreWorkerStats"] == 20 * WORKERS + 1
        assert cluster.calls["GetSystemConfig"] == 20
    finally:
        for node in cluster.nodes[:20]:
            node.workers[0].silent = False
