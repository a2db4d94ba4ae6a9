"""Each reason for which a worker is still here is produced on purpose, on a real Ray, and read back."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pytest
import ray
from typer.testing import CliRunner

import outlive
from outlive.cli.app import app
from outlive.ray_internals import node_workers
from outlive.workers import inspect, probe, trim
from tests.conftest import eventually
from tests.workers.conftest import kinds, pid_of_worker, row, worker_when


def big():
    return np.ones(1 << 17)  # 1 MiB: not inlined


@ray.remote
def own():
    return os.getpid(), [ray.put(big())]


def leaky_task():
    """A function sent by value: importing this module in a worker would change its OUTLIVE_ROOT."""

    @ray.remote(max_calls=2)
    def leaky(through):
        import builtins

        builtins.leak = [*getattr(builtins, "leak", []), np.ones(1 << 20)]
        array = np.ones(1 << 17)
        return os.getpid(), [ray.put(array)] if through == "ray" else outlive.open("thread").put(array)

    return leaky


@ray.remote
def borrow(wrapped):
    import builtins

    builtins.kept = wrapped
    return os.getpid()


@ray.remote
def drop_borrowed():
    import builtins

    return vars(builtins).pop("kept", None) is not None


@ray.remote
def wait_for(path):
    with open(f"{path}.starting", "w") as file:
        file.write(str(os.getpid()))
    os.rename(f"{path}.starting", f"{path}.started")
    while not os.path.exists(path):
        time.sleep(0.01)
    return os.getpid()


@ray.remote(num_cpus=0)
def submit_and_leave(path):
    ref = wait_for.remote(path)
    while not os.path.exists(f"{path}.started"):  # else the task may be given to this very worker
        time.sleep(0.01)
    return os.getpid(), [ref]


@ray.remote(num_cpus=0)
class Actor:
    def pid(self):
        return os.getpid()


@pytest.fixture
def go(tmp_path):
    """The file that `wait_for` waits for. It is there after the test, however that ends: no task runs on."""
    yield tmp_path / "go"
    (tmp_path / "go").touch()


def test_owns_objects(default_ray):
    pid, refs = ray.get(own.remote())
    worker = worker_when(pid, lambda worker: worker.owned > 0 and worker.state == "idle")
    assert worker.reasons[0].kind == "owns objects"
    assert "live object" in worker.why
    assert not worker.retirable
    del refs


def test_holds_borrowed_refs(default_ray):
    ref = ray.put(big())
    pid = ray.get(borrow.remote([ref]))
    worker = worker_when(pid, lambda worker: worker.state == "idle" and worker.borrowed > 0)
    assert worker.reasons[0].kind == "holds borrowed refs"
    assert worker.owned == 0
    eventually(lambda: ray.get(drop_borrowed.remote()))


def test_not_idle_runs_a_task(default_ray, go):
    task = wait_for.remote(str(go))
    pid = int(eventually(lambda: os.path.exists(f"{go}.started") and Path(f"{go}.started").read_text()))
    worker = worker_when(pid, lambda worker: worker.state == "running" and kinds(worker) == ["not idle"])
    assert (worker.title, worker.idle_for) == ("ray::wait_for", None)
    go.touch()
    assert ray.get(task) == pid


def test_not_idle_is_an_actor(default_ray):
    actor = Actor.remote()
    worker = worker_when(ray.get(actor.pid.remote()), lambda worker: True)
    assert (worker.state, kinds(worker)) == ("actor", ["not idle"])
    assert "actor" in worker.why


def test_waits_for_tasks_that_it_submitted(default_ray, go):
    pid, refs = ray.get(submit_and_leave.remote(str(go)))
    worker = worker_when(pid, lambda worker: worker.state == "idle" and "waits for its tasks" in kinds(worker))
    assert not worker.retirable
    go.touch()
    ray.get(refs)


def test_within_the_soft_limit(default_ray):
    pid = ray.get(pid_of_worker.remote())
    worker = worker_when(pid, lambda worker: worker.idle_for is not None and kinds(worker) == ["within soft limit"])
    assert worker.retirable
    assert worker.idle_for > 1.0


def test_a_spent_owner_of_the_thread_s_kind_and_none_after_the_same_work_through_outlive(default_ray):
    """`max_calls=2`, a leak, and an array that is kept: each worker that is spent stays, for that reason."""
    leaky = leaky_task()
    made = [ray.get(leaky.remote("ray")) for _ in range(8)]
    pids = {pid for pid, number in Counter(pid for pid, _ in made).items() if number == 2}
    assert pids
    for pid in pids:
        worker = worker_when(pid, lambda worker: worker.state == "leaving")
        assert kinds(worker) == ["owns objects, max_calls spent"]
        assert "spent (max_calls=2), and owns" in worker.why
        assert "outlive" in worker.reasons[0].remedy
    assert all(row(pid) is not None for pid in pids)  # however long one waits
    del made
    eventually(lambda: all(row(pid) is None for pid in pids))
    kept = [ray.get(leaky.remote("outlive")) for _ in range(8)]
    calls = Counter(pid for pid, _ in kept)  # a busy Ray may give one worker a single call, and it is not spent then
    spent = {pid for pid, number in calls.items() if number == 2}
    assert spent
    eventually(lambda: all(row(pid) is None for pid in spent))
    assert [handle.get().shape for _, handle in kept] == [(1 << 17,)] * 8
    outlive.shutdown()


def test_memory_is_that_of_the_process(default_ray):
    pid = ray.get(pid_of_worker.remote())
    worker = worker_when(pid, lambda worker: worker.state == "idle")
    memory = psutil.Process(pid).memory_full_info()
    assert worker.unique == pytest.approx(memory.uss, rel=0.2)
    assert worker.unique + worker.shared == pytest.approx(memory.rss, rel=0.2)


def test_totals_add_up_and_settings_say_where_they_come_from(default_ray):
    report = inspect()
    assert sum(total.workers for total in report.by_node()) == len(report.workers) == report.total().workers
    assert sum(total.unique for total in report.by_job()) == report.total().unique
    settings = {setting.name: setting for setting in report.nodes[0].settings}
    assert (settings["kill_idle_workers_interval_ms"].value, report.nodes[0].settings_known) == (200, True)
    json.dumps(report.to_json())


def test_command(default_ray):
    ray.get(pid_of_worker.remote())
    result = CliRunner().invoke(app, ["workers", "--address", default_ray])
    assert result.exit_code == 0, result.stderr
    assert "  WHY" in result.stdout.splitlines()[0]
    assert "kill_idle_workers_interval_ms=200 (default)" in result.stdout
    shown = json.loads(CliRunner().invoke(app, ["--json", "--address", default_ray, "workers"]).stdout)
    assert {"workers", "nodes", "by_node", "by_job"} <= set(shown)


def test_a_node_elsewhere_is_looked_at_by_a_task_that_needs_no_cpu(default_ray):
    pid = ray.get(pid_of_worker.remote())
    (node,) = node_workers.nodes()
    seen = eventually(lambda: found if (found := probe.look_there(node, [pid])).error is None else None)
    assert seen.titles[pid].startswith("ray::")
    unique, shared = seen.memory[pid]
    assert unique > 10 << 20
    assert shared > 0
    assert seen.raylets[node.node_id].start_at_once >= 1
    here = probe.look({node.node_id: [pid, 2**22 + 1], "another": [os.getpid()]})
    assert here.titles.keys() == {pid}


def test_a_stopped_worker_is_silent_and_hides_nobody(default_ray):
    ray.get([pid_of_worker.remote() for _ in range(8)])
    workers = eventually(lambda: [worker for worker in inspect().workers if worker.state == "idle"])
    stopped = workers[0].pid
    os.kill(stopped, signal.SIGSTOP)
    try:
        report = inspect()
        states = {worker.pid: worker.state for worker in report.workers}
        assert [pid for pid, state in states.items() if state == "silent"] == [stopped], states
        (silent,) = [worker for worker in report.workers if worker.state == "silent"]
        assert "stopped by a signal" in silent.why
        assert silent.unique > 10 << 20
        assert [node.error for node in report.nodes] == [None]
        assert all(worker.state != "silent" for worker in report.workers if worker.pid != stopped)
        assert len(trim(max_idle=99).unseen) == 1
    finally:
        os.kill(stopped, signal.SIGCONT)
    eventually(lambda: inspect().unseen == ())
