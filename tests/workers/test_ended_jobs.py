"""Workers of jobs that ended, with the reaper off: freed, unless somebody can use them or needs what they hold."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
import ray

from outlive.errors import BadSetting
from outlive.ray_internals import node_workers
from outlive.ray_internals.job_actors import JobActor
from outlive.ray_internals.node_stats import Process, Reference
from outlive.workers import trim
from outlive.workers.ended import root, unneeded
from outlive.workers.rows import Worker
from tests.conftest import eventually
from tests.workers.conftest import kinds, local_ray, row, worker_when

DRIVER = """
import builtins, json, os, sys
import ray

ray.init(address=sys.argv[1], namespace="ended", log_to_driver=False, logging_level="ERROR")

@ray.remote
def work():
    return os.getpid()

@ray.remote
def keep():
    builtins.kept = ray.put(bytes(1 << 20))
    return os.getpid(), [builtins.kept]

@ray.remote(num_cpus=0)
class Root:
    def run(self):
        return ray.get(work.remote())

def plain():
    return ray.get(work.remote())

def owner():
    pid, refs = ray.get(keep.remote())
    return pid

def owner_for_another():
    pid, refs = ray.get(keep.remote())
    ray.get(ray.get_actor("holder").hold.remote(refs))
    return pid

def detached():
    return ray.get(Root.options(name="root", lifetime="detached").remote().run.remote())

def several_detached():
    roots = [Root.options(name=name, lifetime="detached").remote() for name in ("first", "second")]
    return [ray.get(one.run.remote()) for one in roots]

print(json.dumps(globals()[sys.argv[2]]()))
"""


@pytest.fixture(scope="module", autouse=True)
def address() -> Iterator[str]:
    with local_ray(4, kill_idle_workers_interval_ms=0) as where:
        yield where


@pytest.fixture(autouse=True)
def _none_is_left():
    yield
    trim(max_idle=0)


def run_job(address, kind):
    """What a job of this kind printed; it has ended."""
    run = subprocess.run(
        [sys.executable, "-c", DRIVER, address, kind], check=True, capture_output=True, text=True, timeout=120
    )
    return json.loads(run.stdout)


def left_idle(pid):
    """This worker, as soon as its job has ended and it is idle."""
    return worker_when(pid, lambda worker: worker.job_ended and worker.state == "idle")


def ended_job(address, kind):
    """The worker of a job of this kind, as it is after the job's end."""
    return left_idle(run_job(address, kind))


def let_go(pid):
    """What trim said of this worker."""
    found = {choice.worker.pid: choice.outcome for choice in trim(max_idle=0).chosen}
    found |= {worker.pid: "spared" for worker in trim(max_idle=0, dry_run=True).spared}
    return found[pid]


def test_a_worker_that_no_task_can_reach_is_freed_and_says_so(address):
    worker = ended_job(address, "plain")
    assert kinds(worker) == ["job ended"]
    assert "its job has ended" in worker.why
    assert "the reaper, which would free it, is off" in worker.why
    assert let_go(worker.pid) == "left"
    eventually(lambda: row(worker.pid) is None)


def test_what_nobody_needs_goes_with_it(address):
    worker = ended_job(address, "owner")
    assert kinds(worker) == ["job ended", "owns objects"]
    assert let_go(worker.pid) == "left"
    eventually(lambda: row(worker.pid) is None)


def test_what_another_holds_is_kept_and_the_worker_with_it(address):
    @ray.remote(num_cpus=0)
    class Holder:
        def hold(self, refs):
            self.refs = refs

        def read(self):
            return len(ray.get(self.refs[0]))

    holder = Holder.options(name="holder", namespace="ended").remote()
    ray.get(holder.__ray_ready__.remote())
    worker = ended_job(address, "owner_for_another")
    assert let_go(worker.pid) == "spared"
    assert ray.get(holder.read.remote()) == 1 << 20
    ray.get(holder.hold.remote([]))
    eventually(lambda: trim(max_idle=0) and row(worker.pid) is None)
    ray.kill(holder)


def test_those_that_a_detached_actor_may_use_leave_without_harm(address):
    worker = ended_job(address, "detached")
    assert worker.heir == "'root'"
    assert "the detached actor 'root' lives" in worker.why
    assert let_go(worker.pid) == "left"
    eventually(lambda: row(worker.pid) is None)
    detached = ray.get_actor("root", namespace="ended")
    assert ray.get(detached.run.remote()) != worker.pid
    ray.kill(detached)


def test_each_of_several_detached_actors_has_its_own_workers_and_they_leave_too(address):
    pids = run_job(address, "several_detached")
    assert [left_idle(pid).heir for pid in pids] == ["'first' (one of 2)"] * 2
    roots = [ray.get_actor(name, namespace="ended") for name in ("first", "second")]
    eventually(lambda: all(node_workers.task_histories()[left_idle(pid).worker_id].actor for pid in pids))
    outcomes = {choice.worker.pid: choice.outcome for choice in trim(max_idle=0).chosen}
    assert [outcomes[pid] for pid in pids] == ["left", "left"]
    assert all(ray.get(one.run.remote()) not in pids for one in roots)
    for one in roots:
        ray.kill(one)


def test_a_worker_of_a_dead_one_leaves_while_another_lives(address):
    pids = run_job(address, "several_detached")
    first, second = (ray.get_actor(name, namespace="ended") for name in ("first", "second"))
    ray.kill(first)
    eventually(lambda: left_idle(pids[0]).heir == "'second'")
    assert let_go(pids[0]) == "left"
    assert ray.get(second.run.remote()) > 0
    ray.kill(second)


def test_a_job_that_there_is_not():
    with pytest.raises(BadSetting, match="no job '99'"):
        trim(max_idle=0, job="99")


def actor(name, *, alive=True, dead=False, detached=True):
    return JobActor(name, name, alive and not dead, dead, detached, None)


@pytest.mark.parametrize(
    ("actors", "origin", "ended", "expected"),
    [
        ([], None, True, None),
        ([actor("a")], None, True, "a"),
        ([actor("a", detached=False)], "a", True, None),
        ([actor("a"), actor("b")], None, True, None),  # whose it is nobody knows
        ([actor("a"), actor("b")], "b", True, "b"),
        ([actor("a", dead=True), actor("b")], "a", True, "a"),
        ([actor("a", dead=True)], "a", True, None),  # nobody lives in whose name it could be leased
        ([actor("a", alive=False)], "a", True, None),
        ([actor("a"), actor("b")], None, False, "a"),
        ([actor("a", alive=False)], None, False, "a"),
        ([actor("a"), actor("b", dead=True)], "b", False, "b"),
        ([actor("a", dead=True)], None, False, None),
    ],
)
def test_for_whose_tasks_a_worker_is_leased(actors, origin, ended, expected):
    found = root(actors, origin, ended=ended)
    assert (found and found.actor_id) == expected


def left_over(name, **changes):
    settings = {
        "job": "01",
        "job_ended": True,
        "state": "idle",
        "title": None,
        "idle_for": 9.0,
        "unique": 1,
        "shared": 1,
    }
    return Worker("node", name, 1, owned=1, borrowed=1, tasks=1, **(settings | changes))


def process(name, *references):
    return Process("node", name, 1, "WORKER", "01", None, 0, references)


def owns(name):
    return Reference(name, 1, owned=True, in_use=True, call_site="")


def borrows(name):
    return Reference(name, 1, owned=False, in_use=True, call_site="")


@pytest.mark.parametrize(
    ("processes", "expected"),
    [
        ([process("a", owns("x")), process("b")], {"a", "b"}),
        ([process("a", owns("x")), process("b", borrows("x"))], {"a", "b"}),  # both go
        ([process("a", owns("x")), process("b"), process("other", borrows("x"))], {"b"}),
        ([process("a", owns("x")), process("b", owns("y"), borrows("x")), process("other", borrows("y"))], set()),
        ([process("a", borrows("x")), process("b"), process("other", owns("x"))], {"a", "b"}),
        ([process("a", borrows("x")), process("b"), process("other", owns("x")), process("c", borrows("x"))], {"b"}),
        ([process("a")], {"a"}),  # b did not answer
    ],
)
def test_who_is_needed(processes, expected):
    assert unneeded([left_over("a"), left_over("b")], processes) == expected


@pytest.mark.parametrize(
    "changes", [{"job_ended": False}, {"heir": "'root'"}, {"state": "running"}, {"tasks_pending": 1}]
)
def test_who_is_not_left_over(changes):
    assert unneeded([left_over("a", **changes)], [process("a", owns("x"))]) == set()
