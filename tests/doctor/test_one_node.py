"""What can be wrong on one node is produced on purpose, on a real Ray, and read back with its evidence."""

from __future__ import annotations

import gc
import json
import os
import signal

import numpy as np
import pytest
import ray
from typer.testing import CliRunner

import outlive
from outlive.cli.app import app
from outlive.doctor import examine
from outlive.doctor.checks import shared_memory, shelves
from outlive.ray_internals import node_workers, rpc
from tests.conftest import eventually
from tests.doctor.conftest import STORE, find, found, gone, only

pytest.importorskip("grpc")
SIZE = 1 << 20


def doctor(address, *arguments):
    return CliRunner().invoke(app, ["doctor", "--address", address, *arguments])


def functions():
    """Sent by value: importing this module in a worker would change its OUTLIVE_ROOT."""

    @ray.remote
    def own():
        return os.getpid(), [ray.put(np.ones(1 << 17))]

    @ray.remote(max_calls=1)
    def leave():
        return os.getpid(), [ray.put(np.ones(1 << 17))]

    @ray.remote
    def borrow(wrapped):
        import builtins

        builtins.kept = wrapped
        return os.getpid()

    @ray.remote
    def drop():
        import builtins

        return vars(builtins).pop("kept", None) is not None

    return own, leave, borrow, drop


def holder():
    @ray.remote(num_cpus=0)
    class Holder:
        def hold(self, wrapped):
            self.wrapped = wrapped
            return os.getpid()

    return Holder


def test_a_fresh_cluster_has_nothing(local_ray):
    diagnosis = examine()
    assert diagnosis.unchecked == ()
    assert [finding for finding in diagnosis.findings if finding.kind != "known-bug"] == []
    result = doctor(local_ray)
    assert result.exit_code == (0 if diagnosis.healthy else 1), result.output
    assert f"Ray {ray.__version__}, 1 node" in result.stdout
    assert "not checked" not in result.stdout
    assert result.stderr == ""
    if diagnosis.healthy:
        assert "nothing found" in result.stdout


def test_idle_owners(local_ray):
    own, *_ = functions()
    pid, refs = ray.get(own.remote())
    finding = found("idle-owners")
    (evidence,) = finding.evidence
    assert (evidence.pid, evidence.node) == (pid, ray.get_runtime_context().get_node_id())
    assert evidence.numbers["owned"] == 1
    assert SIZE < evidence.numbers["object_bytes"] < 1.01 * SIZE
    assert evidence.numbers["unique_bytes"] > 10 * SIZE
    assert "test_one_node.py" in evidence.text
    assert "outlive.open().put" in finding.fix
    del refs
    gone("idle-owners")


def test_spent_owners(local_ray):
    _, leave, *_ = functions()
    pid, refs = ray.get(leave.remote())
    finding = found("spent-owners")
    (evidence,) = finding.evidence
    assert (evidence.pid, evidence.numbers["owned"]) == (pid, 1)
    assert find("idle-owners") is None
    result = doctor(local_ray)
    assert result.exit_code == 1
    assert "1. RISK  spent owners: 1 object (1.0 MiB)" in result.stdout
    assert f"pid {pid} on node" in result.stdout
    del refs
    gone("spent-owners")


def test_idle_borrowers(local_ray):
    _, _, borrow, drop = functions()
    ref = ray.put(np.ones(1 << 17))
    pid = ray.get(borrow.remote([ref]))
    (evidence,) = found("idle-borrowers").evidence
    assert (evidence.pid, evidence.numbers["borrowed"], evidence.numbers["owned"]) == (pid, 1, 0)
    assert "deserialize task arg" in evidence.text
    eventually(lambda: ray.get(drop.remote()))
    gone("idle-borrowers")


def test_references_that_outlast_their_owner(local_ray):
    cache = holder().options(name="cache", lifetime="detached").remote()
    ref = ray.put(np.ones(1 << 17))
    pid = ray.get(cache.hold.remote([ref]))
    finding = found("doomed-refs")
    (evidence,) = finding.evidence
    assert evidence.pid == pid
    assert ref.hex() in evidence.text
    assert "actor cache holds it" in evidence.text
    assert f"its owner is driver {os.getpid()}" in evidence.text
    assert f"job {ray.get_runtime_context().get_job_id()}" in finding.what
    ray.kill(cache)
    gone("doomed-refs")


def test_what_an_ordinary_actor_borrows_is_no_finding(local_ray):
    actor = holder().remote()
    ref = ray.put(np.ones(1 << 17))
    ray.get(actor.hold.remote([ref]))
    assert examine().findings == tuple(one for one in examine().findings if one.kind == "known-bug")
    ray.kill(actor)


def test_references_whose_owner_is_gone(local_ray):
    own, *_ = functions()
    pid, refs = ray.get(own.remote())
    os.kill(pid, signal.SIGKILL)
    finding = found("orphan-refs")
    assert finding.severity == "wrong"
    (evidence,) = finding.evidence
    assert evidence.pid == os.getpid()
    assert refs[0].hex() in evidence.text
    assert "first ray.put" in evidence.text

    def lost(refs=refs):
        try:
            return ray.get(refs) is None
        except ray.exceptions.ObjectLostError:  # as OwnerDiedError is
            return True

    eventually(lost)  # the copy is there for a moment longer
    del refs, lost
    gc.collect()  # Ray's error and the frames that it came through hold each other, and the references
    gone("orphan-refs")


def test_the_page_as_json_is_ranked(local_ray):
    own, leave, *_ = functions()
    kept = ray.get([own.remote(), leave.remote()])

    def page():
        result = doctor(local_ray, "--json")
        assert result.exit_code == 1
        answer = json.loads(result.stdout)
        kinds = [one["kind"] for one in answer["findings"] if one["kind"] != "known-bug"]
        return answer if {"idle-owners", "spent-owners"} <= set(kinds) else None

    answer = eventually(page)  # both look idle only a moment after their tasks have ended
    ours = [one["kind"] for one in answer["findings"] if one["kind"] != "known-bug"]
    assert ours == ["spent-owners", "idle-owners"]
    assert not answer["healthy"]
    assert answer["findings"][0]["evidence"][0]["numbers"]["owned"] == 1
    del kept
    gone("idle-owners")
    gone("spent-owners")


def test_room_that_is_taken_in_shared_memory_is_seen(local_ray):
    (node,) = node_workers.nodes()
    before = shared_memory.look(node)
    assert (before.directory, before.capacity) == ("/dev/shm", STORE)
    ref = ray.put(np.ones(4 << 20))
    after = shared_memory.look(node)
    assert after.taken - before.taken >= 20 << 20
    by_task = shared_memory.look_there(node)
    assert (by_task.total, by_task.directory, by_task.capacity) == (after.total, "/dev/shm", STORE)
    del ref


def test_nearly_full_shelf_and_keeper_that_does_not_answer(local_ray, monkeypatch):
    only(monkeypatch, "outlive's shelves")
    assert examine().findings == ()
    store = outlive.open(memory="2MiB")
    store["scan"] = np.ones(250_000)
    finding = found("shelf-nearly-full")
    (evidence,) = finding.evidence
    (shelf,) = store.stats().shelves
    assert (evidence.pid, evidence.node) == (shelf.keeper_pid, shelf.node)
    assert (evidence.numbers["used_bytes"], evidence.numbers["budget_bytes"]) == (shelf.used, 2 << 20)
    monkeypatch.setattr(shelves, "_PATIENCE", 2.0)
    monkeypatch.setattr(rpc, "PATIENCE", 2.0)
    os.kill(shelf.keeper_pid, signal.SIGSTOP)
    try:
        silent = found("silent-keeper")
        assert (silent.severity, silent.evidence[0].pid) == ("wrong", shelf.keeper_pid)
        assert f"kill -CONT {shelf.keeper_pid}" in silent.fix
    finally:
        os.kill(shelf.keeper_pid, signal.SIGCONT)
    gone("silent-keeper")
    outlive.shutdown()
    gone("shelf-nearly-full")


def test_nearly_full_store_spilling_and_files_on_disk(local_ray, monkeypatch):
    only(monkeypatch, "object stores")
    node = ray.get_runtime_context().get_node_id()
    refs = [ray.put(np.ones(SIZE)) for _ in range(12)]  # 96 of 100 MiB
    (evidence,) = found("store-nearly-full").evidence
    assert evidence.node == node
    assert evidence.numbers["capacity_bytes"] == STORE
    assert evidence.numbers["used_bytes"] >= 96 << 20
    refs.append(ray.put(np.ones(SIZE)))
    (evidence,) = found("spilled").evidence
    assert evidence.numbers["spilled_bytes"] >= 8 << 20
    del refs
    gone("store-nearly-full")
    arrays = [ray.get(ray.put(np.ones(7 * SIZE)))]  # 56 MiB, in use: cannot be spilled
    arrays.append(ray.get(ray.put(np.ones(7 * SIZE))))
    (evidence,) = found("store-fallback").evidence
    assert evidence.numbers["fallback_bytes"] >= 56 << 20
    del arrays
    gone("store-fallback")
