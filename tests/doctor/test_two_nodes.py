"""Nodes that cannot be removed or do not answer, settings, and /dev/shm, on a real Ray of several nodes."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import ray
from ray.cluster_utils import Cluster

from outlive.doctor import cluster as doctor_cluster
from outlive.doctor import examine
from outlive.doctor.checks import node_states
from outlive.doctor.mutes import Mute
from outlive.ray_internals import node_stats, rpc
from tests.conftest import eventually
from tests.doctor.conftest import find, found, gone, only

pytest.importorskip("grpc")
SETTINGS = {"kill_idle_workers_interval_ms": 0, "idle_worker_killing_time_threshold_ms": 50}
OPTIONS = {"num_cpus": 1, "object_store_memory": 80 << 20}


@pytest.fixture(scope="module")
def cluster():
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        head = {**OPTIONS, "include_dashboard": False, "_system_config": SETTINGS}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR", namespace="doctor")
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()


@pytest.fixture(scope="module")
def second(cluster):
    return cluster.add_node(**OPTIONS, resources={"second": 1})


def there():
    return {"num_cpus": 0, "resources": {"second": 0.01}}


def test_reaper_that_is_off_and_a_threshold_that_is_too_short(cluster):
    finding = found("reaper-off")
    assert "kill_idle_workers_interval_ms=0" in finding.what
    assert "the head's system config" in finding.evidence[0].text
    assert "outlive workers plan" in finding.fix
    assert "=50 " in found("shorter-than-start-up").what
    assert find("kept-node") is None  # the head is never removed


def test_node_with_an_idle_actor(second, monkeypatch):
    only(monkeypatch, "cannot be removed")
    assert examine().findings == ()

    @ray.remote
    class Idle:
        def pid(self):
            return os.getpid()

    actor = Idle.options(**there(), name="idler").remote()
    pid = ray.get(actor.pid.remote())
    finding = found("kept-node")
    assert finding.severity == "info"  # no autoscaler runs here
    assert examine().healthy
    monkeypatch.setattr(doctor_cluster.Cluster, "scaled", True)
    finding = found("kept-node")
    assert finding.severity == "waste"
    mutes = [Mute("kept-node", second.node_id[:8])]
    assert (examine(mutes=mutes).findings, len(examine(mutes=mutes).muted)) == ((), 1)
    assert second.node_id[:8] in finding.what
    assert "1 actor, however idle" in finding.what
    assert (finding.evidence[0].pid, finding.evidence[0].node) == (pid, second.node_id)
    assert "actor Idle named 'idler'" in finding.evidence[0].text
    assert 'ray.get_actor("idler"' in finding.fix
    eventually(lambda: any("Busy workers on node" in one.text for one in found("kept-node").evidence))
    ray.kill(actor)
    gone("kept-node")


def test_node_with_an_object_and_then_draining(second, monkeypatch):
    only(monkeypatch, "cannot be removed")

    @ray.remote
    def make():
        return np.ones(1 << 17)

    ref = make.options(**there()).remote()
    ray.wait([ref], fetch_local=False)
    finding = found("kept-node")
    assert finding.severity == "info"
    assert "1 object" in finding.what and "actor" not in finding.what
    evidence = next(one for one in finding.evidence if "object_bytes" in one.numbers)
    assert (evidence.node, evidence.numbers["objects"]) == (second.node_id, 1)
    assert evidence.numbers["object_bytes"] > 1 << 20
    del ref
    gone("kept-node")


def test_node_with_a_task_that_runs_on_and_on(second, monkeypatch, tmp_path):
    only(monkeypatch, "cannot be removed")

    @ray.remote
    def wait_for(path):
        while not os.path.exists(path):
            time.sleep(0.01)
        return os.getpid()

    task = wait_for.options(**there()).remote(str(tmp_path / "go"))

    def running():
        """The task. Ray may say for some seconds that others run which have ended."""
        there = [one for one in node_stats.running_tasks() if one.node_id == second.node_id]
        return [one for one in there if "wait_for" in one.name]

    def kept():
        """Ray tells of a node's workers, tasks and activity at different times."""
        every = node_stats.node_workers.nodes()
        (stats,) = [node_stats.look(node) for node in every if node.node_id == second.node_id]
        return list(node_states.of_kept(stats, [], running(), node_stats.activities()[second.node_id], long_task=1))

    try:
        (seen,) = eventually(running)
        assert examine().findings == ()  # it works
        eventually(lambda: time.time() - seen.since > 1)
        (finding,) = eventually(kept)
    finally:  # or it is there for the tests that follow
        (tmp_path / "go").touch()
    assert "1 task that runs on and on" in finding.what
    assert "leased to task" in finding.evidence[0].text and "wait_for" in finding.evidence[0].text
    assert finding.evidence[0].pid == ray.get(task, timeout=60)


def test_store_on_disk_and_store_larger_than_shared_memory(cluster, monkeypatch):
    only(monkeypatch, "/dev/shm")
    assert examine().findings == ()
    with tempfile.TemporaryDirectory() as folder:
        on_disk = cluster.add_node(**OPTIONS, plasma_directory=folder)
        finding = found("store-on-disk")
        assert folder in finding.what
        assert finding.evidence[0].node == on_disk.node_id
        cluster.remove_node(on_disk)
    room = os.statvfs("/dev/shm")
    too_much = room.f_bavail * room.f_frsize + (1 << 30)
    large = cluster.add_node(num_cpus=1, memory=1 << 30, object_store_memory=too_much, plasma_directory="/dev/shm")
    finding = found("shm-too-small")
    assert finding.evidence[0].node == large.node_id
    assert finding.evidence[0].numbers["capacity_bytes"] == too_much
    assert "--object-store-memory=" in finding.fix
    cluster.remove_node(large)
    gone("shm-too-small")


def raylet_pid(node):
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"raylet") and f"--node_id={node.node_id}".encode() in words:
            return int(entry.name)
    return pytest.fail("no such raylet")


def test_node_that_does_not_answer_hides_nothing_else(second, monkeypatch):
    monkeypatch.setattr(rpc, "PATIENCE", 2.0)
    pid = raylet_pid(second)
    os.kill(pid, signal.SIGSTOP)
    try:
        diagnosis = examine()
    finally:
        os.kill(pid, signal.SIGCONT)
    kinds = [finding.kind for finding in diagnosis.findings]
    assert kinds[0] == "silent-node"
    assert (diagnosis.findings[0].evidence[0].node, diagnosis.findings[0].evidence[0].pid) == (second.node_id, pid)
    (log,) = [word for word in diagnosis.findings[0].fix.split() if word.endswith("raylet.out")]
    assert Path(log).parent.is_dir()
    assert "reaper-off" in kinds
    assert [missed.check for missed in diagnosis.unchecked] == ["references whose owner is gone"]
    assert not diagnosis.healthy
    eventually(lambda: find("silent-node") is None)


def test_node_that_drains(second, monkeypatch):
    only(monkeypatch, "cannot be removed")

    @ray.remote
    class Idle:
        def pid(self):
            return os.getpid()

    actor = Idle.options(**there()).remote()
    ray.get(actor.pid.remote(), timeout=60)  # not, if the node drains already
    reasons = rpc.messages("autoscaler").DrainNodeReason
    client = ray._private.worker.global_worker.gcs_client
    deadline = int((time.time() + 600) * 1000)
    accepted, _ = client.drain_node(second.node_id, reasons.Value("DRAIN_NODE_REASON_PREEMPTION"), "test", deadline)
    assert accepted
    finding = eventually(lambda: (one := find("kept-node")) and one.severity == "risk" and one)
    assert "is draining and cannot be removed" in finding.what
    assert "lost" in finding.why
    ray.kill(actor)  # then nothing keeps the node any more, and it leaves
