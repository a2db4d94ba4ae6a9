"""What cannot be produced here: each check's own function, with plain data. And checks that cannot be made."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import ray
from typer.testing import CliRunner

from outlive.cli.app import app
from outlive.cluster.keeper import ShelfStats
from outlive.doctor import examine
from outlive.doctor.checks import CHECKS, idle_workers, node_states, settings, shared_memory, shelves, versions
from outlive.doctor.model import Symptom, ranked
from outlive.ray_internals.node_stats import Activity, Actor, NodeStats, ObjectStore
from outlive.ray_internals.node_workers import LiveNode
from outlive.tune import facts
from outlive.tune.compare import Compared
from outlive.tune.mount import Mount
from outlive.tune.speed import Speeds
from outlive.workers.rows import Worker
from outlive.workers.settings import Known

NODE = LiveNode("ab" * 28, "10.0.0.7:1", "10.0.0.7", "worker-7")


def room(total, free, capacity, directory="/dev/shm", taken=0):
    return list(shared_memory.of_room(NODE, shared_memory.Room(total, free, directory, capacity, taken)))


def test_plain_data_docker_default_of_64_mib_cannot_be_made_here():
    (finding,) = room(64 << 20, 60 << 20, 8 << 30, directory="/tmp/ray")
    assert finding.kind == "store-on-disk"
    assert "/dev/shm has only 64.0 MiB (Docker's default)" in finding.what
    assert "--shm-size=9g" in finding.fix
    (finding,) = room(64 << 20, 64 << 20, 50 << 20)
    assert finding.kind == "shm-docker-default"
    assert finding.evidence[0].numbers["shm_bytes"] == 64 << 20


def test_plain_data_shared_memory_that_fits():
    assert room(8 << 30, 4 << 30, 4 << 30) == []
    assert room(8 << 30, 1 << 30, 4 << 30, taken=3 << 30) == []
    (finding,) = room(8 << 30, 1 << 30, 4 << 30, taken=1 << 30)
    assert finding.kind == "shm-too-small"
    assert "3.0 GiB more" in finding.what and "1.0 GiB left" in finding.what


@pytest.mark.parametrize(
    ("version", "names"),
    [
        ("2.49.1", {"client-gc-deadlock", "drain-race", "raylet-client-heap"}),
        ("2.52.1", {"client-gc-deadlock", "drain-race"}),
        ("2.53.0", {"idle-time-reset", "client-gc-deadlock", "drain-race"}),
        ("2.54.0", set()),
        ("2.60.0", set()),
        ("3.0.0.dev0", set()),
    ],
)
def test_plain_data_bugs_of_versions_that_are_not_installed_here(version, names):
    found = list(versions.of_version(version))
    assert {finding.evidence[0].text.partition(":")[0] for finding in found} == names
    for finding in found:
        assert "github.com/ray-project/ray/" in finding.source
        assert "ray>=" in finding.fix


def test_the_version_is_that_of_the_installed_ray():
    class Here:
        ray_version = ray.__version__

    assert list(versions.check(Here())) == list(versions.of_version(ray.__version__))


def test_plain_data_shelf_on_disk_cannot_be_made_here():
    shelf = ShelfStats("cd" * 28, "/tmp/outlive-0/x", 3, 1 << 20, 1 << 30, 17, "/dev/shm has only 64 MiB")
    (finding,) = shelves.of_shelf(shelf)
    assert (finding.kind, finding.evidence[0].pid) == ("shelf-on-disk", 17)


def test_plain_data_setting_that_this_ray_does_not_start_with(monkeypatch):
    later = Known("num_workers_soft_limit", int, -1, "a setting of later Ray", since=(99, 0))
    monkeypatch.setitem(settings.KNOWN, "num_workers_soft_limit", later)
    (finding,) = settings.of_settings({"num_workers_soft_limit": 2}, [])
    assert finding.kind == "not-in-this-ray"


def worker(**given):
    about = {"node_id": "ab", "worker_id": "cd", "pid": 1, "job": "01000000", "title": None, "state": "idle"}
    about |= {"idle_for": 5.0, "unique": None, "shared": None, "owned": 1, "borrowed": 0, "tasks": 1}
    return Worker(**{**about, **given})


def test_plain_data_workers_between_two_tasks_and_workers_that_cannot_be_seen():
    assert list(idle_workers.of_owners([worker(idle_for=0.2)], {})) == []
    assert list(idle_workers.of_owners([worker(state="running"), worker(state="actor")], {})) == []
    (finding,) = idle_workers.of_owners([worker(idle_for=None)], {})
    assert "idle for an unknown time" in finding.evidence[0].text
    assert finding.evidence[0].numbers["unique_bytes"] is None


def test_the_worst_comes_first():
    order = [("waste", 9), ("risk", 1), ("wrong", 0), ("risk", 5)]
    made = [Symptom(str(size), severity, "", "", "", weight=size) for severity, size in order]
    assert [(one.severity, one.weight) for one in ranked(made)] == [
        ("wrong", 0),
        ("risk", 5),
        ("risk", 1),
        ("waste", 9),
    ]


def test_without_grpcio_it_says_so_and_checks_the_rest(local_ray, monkeypatch):
    def broken(cluster):
        yield Symptom("seen-before", "waste", "seen before it broke", "", "")
        raise ModuleNotFoundError("No module named 'grpc'", name="grpc")

    for name in list(sys.modules):
        if name == "grpc" or name.startswith("grpc.") or name.endswith("_pb2_grpc"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "grpc", None)
    monkeypatch.setitem(CHECKS, "broken", broken)
    diagnosis = examine()
    made = set(CHECKS) - {missed.check for missed in diagnosis.unchecked}
    assert made == {"room in /dev/shm", "known bugs of this Ray", "room on outlive's shelves"}
    assert {missed.reason for missed in diagnosis.unchecked} == {
        "this needs grpcio, which is not installed: pip install outlive"
    }
    assert "seen-before" in [finding.kind for finding in diagnosis.findings]
    assert diagnosis.workers is None
    result = CliRunner().invoke(app, ["doctor", "--address", local_ray])
    assert result.exit_code == 1
    assert "not checked: " in result.stdout and "pip install outlive" in result.stdout


def test_no_cluster_is_exit_code_2():
    result = CliRunner().invoke(app, ["doctor", "--address", "127.0.0.1:1"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no Ray cluster at 127.0.0.1:1" in result.stderr
    assert CliRunner().invoke(app, ["doctor", "--nope"]).exit_code == 2


def test_a_keeper_of_outlive_is_no_reason_to_keep_a_node():
    """It leaves by itself where an autoscaler could take its node."""
    node = LiveNode("cd" * 28, "10.0.0.8:1", "10.0.0.8", "worker-8")
    store = ObjectStore(used=0, capacity=1, objects=0, fallback=0, spilled=0, restored=0)
    keeper = Actor("ab", f"keeper-{node.node_id}", "outlive", "Keeper", True, node.node_id, 7, "01000000", {})
    cluster = SimpleNamespace(
        stats=[NodeStats(node, (), store, complete=True)],
        head="ab" * 28,
        actors=[keeper],
        running_tasks=[],
        activities={node.node_id: Activity(draining=False, reasons=("Busy workers on node.",))},
        own_job=None,
        scaled=True,
    )
    assert list(node_states.kept(cluster)) == []
    cluster.actors.append(replace(keeper, namespace="app", name="replica"))
    (finding,) = node_states.kept(cluster)
    assert (finding.severity, "1 actor, however idle" in finding.what) == ("waste", True)
    cluster.scaled = False
    (finding,) = node_states.kept(cluster)
    assert (finding.severity, "No autoscaler runs here" in finding.why) == ("info", True)


@pytest.mark.parametrize(("huge", "says"), [("never", True), ("within_size", False)])
def test_plain_data_pages_of_shared_memory(monkeypatch, huge, says):
    shm = Mount("/dev/shm", "tmpfs", (f"huge={huge}",), 8 << 30, 8 << 30, 0, 0)
    seen = facts.Facts("/dev/shm/outlive-0", shm, "never", 2 << 20, 1 << 20, 1 << 20, 16 << 30)
    monkeypatch.setattr(facts, "look", lambda: seen)
    note = shared_memory.page_note()
    assert (note is not None and "outlive tune" in note and "huge=never" in note) == says


def test_plain_data_pages_of_shared_memory_with_the_gain(monkeypatch):
    """What was refused is tried again, and what was measured is not measured again."""
    shm = Mount("/dev/shm", "tmpfs", (), 8 << 30, 8 << 30, 0, 0)
    looks = []
    seen = facts.Facts("/dev/shm/x", shm, "never", 2 << 20, 1 << 20, 1 << 20, 1 << 34)
    monkeypatch.setattr(facts, "look", lambda: looks.append(1) or seen)
    now, huge = Speeds(1, 100.0, 100.0, 100.0, 100.0), Speeds(1, 460.0, 100.0, 670.0, 100.0)
    answers = [Compared(now, None, "no private mount to measure on: not permitted"), Compared(now, huge, None)]
    monkeypatch.setattr("outlive.tune.compare.compare", lambda *_: answers.pop(0))
    monkeypatch.setattr(shared_memory, "_gains", {}, raising=False)
    notes = [shared_memory.page_note(measured=True) for _ in range(3)]
    assert "no private mount to measure on: not permitted" in notes[0]
    assert "a put into new memory is 4.6 times as fast, a first read 6.7 times" in notes[1]
    assert notes[2] == notes[1] and len(looks) == 3
