"""The guard on a real Ray: one actor that goes on without its driver, and whatever happens to it harms nobody."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import ray
from typer.testing import CliRunner

from outlive.cli.app import app
from outlive.errors import BadSetting
from outlive.ray_internals import rpc
from outlive.workers import Policy, change_guard, guard, guard_log, guard_state, guarding, inspect, stop_guard
from outlive.workers.guard_actor import Guard
from tests.conftest import eventually
from tests.workers.conftest import local_ray, pid_of_worker

pytest.importorskip("grpc")
FAST = {"every": "100ms", "cpu_share": 1.0}
START = """
import sys
import ray
from outlive.workers import Policy, guard

ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
print(guard(Policy(max_idle=int(sys.argv[2]), every="100ms", cpu_share=1.0)).pid)
"""
SLOW_EXIT = """
import time
from outlive.ray_internals import leases

ask = leases.ask_to_exit

def slowly(address, **options):
    open({path!r}, "w").close()
    time.sleep(600)

leases.ask_to_exit = slowly
"""


@pytest.fixture(scope="module")
def unreaped():
    with local_ray(kill_idle_workers_interval_ms=0) as address:
        yield address


@pytest.fixture(autouse=True)
def _no_guard_stays(unreaped):
    yield
    stop_guard()


def idle():
    return [worker.pid for worker in inspect(with_history=False, memory=False).workers if worker.state == "idle"]


def some_idle(number=3):
    """So many idle workers of this job."""

    @ray.remote
    def meet(path):
        open(f"{path}/{os.getpid()}", "w").close()
        while len(os.listdir(path)) < number:
            time.sleep(0.01)

    import tempfile

    with tempfile.TemporaryDirectory() as path:
        ray.get([meet.remote(path) for _ in range(number)])
        eventually(lambda: len(idle()) >= number)


def leased():
    """A lease keeps its node from being idle. What makes it busy is told only while it is."""
    pb = rpc.messages("autoscaler")
    reply = rpc.autoscaler().GetClusterResourceState(pb.GetClusterResourceStateRequest(), timeout=10)
    (state,) = reply.cluster_resource_state.node_states
    return state.idle_duration_ms == 0


def run(*words, expected=0):
    result = CliRunner().invoke(app, ["workers", "guard", *words])
    assert result.exit_code == expected, result.output
    return result.stdout


def test_two_that_start_at_once_make_one_which_outlives_both(unreaped):
    some_idle()
    drivers = [
        subprocess.Popen([sys.executable, "-c", START, unreaped, number], stdout=subprocess.PIPE, text=True)
        for number in ("2", "1")
    ]
    pids = {driver.communicate(timeout=180)[0] for driver in drivers}
    assert [driver.returncode for driver in drivers] == [0, 0]
    assert len(pids) == 1
    state = guard_state()
    assert state.phase == "running"
    eventually(lambda: len(idle()) <= state.policy["max_idle"])
    assert state.policy["max_idle"] in {1, 2}
    assert ray.get(pid_of_worker.remote()) > 0


def test_one_that_is_killed_comes_back_as_it_was_set_last(unreaped):
    first = guard(Policy(max_idle=4, **FAST))
    change_guard(max_idle=1)
    os.kill(first.pid, signal.SIGKILL)
    again = eventually(lambda: (state := guard_state()).phase == "running" and state.pid != first.pid and state)
    assert (again.policy["max_idle"], again.restarts, again.actor_id) == (1, 1, first.actor_id)
    some_idle()
    eventually(lambda: len(idle()) <= 1)


@pytest.mark.parametrize("how", ["SIGKILL", "ray.kill", "SIGSTOP"])
def test_one_that_ends_while_it_holds_a_worker_gives_it_back(unreaped, how, tmp_path, monkeypatch):
    """It hangs where it has leased a worker, and has not asked it to exit yet."""
    held = tmp_path / "held"

    class Hanging(Guard):
        def __init__(self, policy):
            exec(SLOW_EXIT.format(path=str(held)), {})
            super().__init__(policy)

    some_idle(2)
    monkeypatch.setattr("outlive.workers.guard_actor.Guard", Hanging)
    state = guard(Policy(max_idle=0, **FAST))
    eventually(held.exists)
    if how == "SIGKILL":
        held.unlink()
        os.kill(state.pid, signal.SIGKILL)
        eventually(held.exists)  # it has come back, and holds the next
        assert guard_state().restarts == 1
    elif how == "SIGSTOP":
        os.kill(state.pid, signal.SIGSTOP)
        monkeypatch.setattr(guarding, "_END", 5.0)
    if how == "ray.kill":
        ray.kill(ray.get_actor("workers-guard", namespace="outlive"), no_restart=True)
    else:
        monkeypatch.setattr(guarding, "_END", 5.0)
        assert stop_guard()
        assert guard_state().phase == "stopped"
    eventually(lambda: not leased())
    assert ray.get([pid_of_worker.remote() for _ in range(4)])  # it may be given to a task, or has left
    monkeypatch.undo()
    guard(Policy(max_idle=0, **FAST))
    eventually(lambda: not idle())


def test_the_commands(unreaped):
    assert run("stop") == "no guard runs\n"
    assert "runs on node" in run("start", "--max-idle", "0", "--dry-run", "--every", "100ms", "--cpu-share", "1")
    some_idle(2)
    eventually(lambda: guard_state().would_leave >= 2)
    rows = json.loads(run("log", "--json"))
    assert [row["outcome"] for row in rows if row["pid"]][:2] == ["would leave"] * 2
    assert json.loads(run("status", "--json"))["policy"]["dry_run"] is True
    assert "max_idle=1" in run("start", "--max-idle", "1", "--every", "100ms", "--cpu-share", "1")
    eventually(lambda: len(idle()) <= 1)
    assert "dry_run: True -> False" in run("log")
    assert "max_idle=3" in run("set", "--max-idle", "3")
    table = CliRunner().invoke(app, ["workers"]).stdout
    assert "guard: running; max_idle=3" in " ".join(table.split())
    assert json.loads(CliRunner().invoke(app, ["workers", "--json"]).stdout)["guard"]["phase"] == "running"
    assert run("stop") == "stopped\n"
    assert "stopped" in run("status", expected=1)
    assert run("stop") == "no guard runs\n"
    run("set", "--max-idle", "3", expected=2)
    assert guard_log()[-1].because == "stopped"


def test_one_of_another_version_is_stopped_first(unreaped, monkeypatch):
    guard(Policy(max_idle=4))
    monkeypatch.setattr(guarding, "FORM", 99)
    for change in (lambda: guard(Policy(max_idle=2)), lambda: change_guard(max_idle=2)):
        with pytest.raises(BadSetting, match="a guard of outlive .* runs, and this is another version: stop it"):
            change()
    assert guard_state().policy["max_idle"] == 4
    assert stop_guard()


def test_one_that_was_ended_by_force_is_told_and_started_anew(unreaped):
    guard(Policy(max_idle=4))
    ray.kill(ray.get_actor("workers-guard", namespace="outlive"), no_restart=True)
    eventually(lambda: guard_state().phase == "gone")
    assert "started" in eventually(lambda: guard(Policy(max_idle=3)) and guard_log())[-1].because
    assert guard_state().policy["max_idle"] == 3
