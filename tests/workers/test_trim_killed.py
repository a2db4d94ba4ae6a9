"""A trim that is killed leaves nothing leased: its workers can be used, or have left, and its node is idle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
import ray

from outlive.ray_internals import rpc
from outlive.ray_internals.lease_guard import LeaseGuard
from outlive.workers import inspect, trim
from tests.conftest import eventually
from tests.workers.conftest import local_ray, pid_of_worker
from tests.workers.played import played_cluster

pytest.importorskip("grpc")
TRIM = """
import os, signal, sys
from outlive.ray_internals import leases, rpc
from outlive.workers import trim

def die(*args, **options):
    os.kill(os.getpid(), int(sys.argv[3]))

rpc.name_gcs(sys.argv[1])
setattr(leases, sys.argv[2], die)
trim(max_idle=0)
"""


@pytest.fixture(scope="module")
def unreaped():
    with local_ray(kill_idle_workers_interval_ms=0) as address:
        yield address


def idle():
    return [worker.pid for worker in inspect().workers if worker.state == "idle"]


def leased():
    """A lease keeps its node from being idle. What makes it busy is told only while it is."""
    pb = rpc.messages("autoscaler")
    reply = rpc.autoscaler().GetClusterResourceState(pb.GetClusterResourceStateRequest(), timeout=10)
    (state,) = reply.cluster_resource_state.node_states
    return state.idle_duration_ms == 0


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
@pytest.mark.parametrize("where", ["let_exit", "ask_to_exit", "give_back"])
def test_its_leases_are_returned(unreaped, where, signal_number):
    pids = set(ray.get([pid_of_worker.remote() for _ in range(4)]))
    eventually(lambda: set(idle()) >= pids and not leased())
    run = subprocess.run([sys.executable, "-c", TRIM, unreaped, where, str(int(signal_number))], timeout=120)
    assert run.returncode == -signal_number
    eventually(lambda: not leased())

    def nothing_is_left():
        trim(max_idle=0)
        return not idle()

    eventually(nothing_is_left)
    assert ray.get(pid_of_worker.remote()) > 0


def test_a_child_that_was_forked_keeps_no_pipe_open_and_its_parent_is_missed():
    """Without Ray: the process beside this one ends with it, though a child of it lives on."""
    program = """
import os, sys, time
from outlive.ray_internals.lease_guard import LeaseGuard

guard = LeaseGuard()
guard.about_to_take(b"x", "127.0.0.1:1")
guard.returned(b"x")
child = os.fork()
if child == 0:
    os.close(1), os.close(2)
    time.sleep(60)
    os._exit(0)
print(guard._process.pid, child, flush=True)
os._exit(0)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    beside, child = map(int, run.stdout.split())
    try:
        eventually(lambda: not alive(beside))
        assert alive(child)
    finally:
        os.kill(child, signal.SIGKILL)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_one_that_was_killed_is_started_again_and_told_what_is_held():
    guard = LeaseGuard()
    guard.about_to_take(b"one", "127.0.0.1:1")
    first = guard._process
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    guard.learn(b"one", port=5)
    second = guard._process
    assert second.pid != first.pid
    guard.returned(b"one")
    guard._end()
    assert second.returncode == 0


def test_it_is_out_of_reach_of_ray_kill_before_a_lease_is_asked_for():
    """An actor that is ended by `ray.kill` kills its children, and not theirs."""
    guard = LeaseGuard()
    guard.about_to_take(b"one", "127.0.0.1:1")
    pid = guard._process.pid
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        assert file.read().split()
    guard.returned(b"one")
    guard._end()


HOLDER = """
import sys
from outlive.ray_internals.lease_guard import LeaseGuard

guard = LeaseGuard()
guard.about_to_take(b"x" * 32, sys.argv[1])
print(guard._process.pid, flush=True)
for _ in sys.stdin:
    guard.learn(b"x" * 32, worker_id="ab", port=1)
    print(guard._process.pid, flush=True)
"""


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(word) for word in file.read().split()]


def test_what_is_held_is_returned_although_the_holders_children_were_killed_with_it():
    """As by `ray.kill` of an actor. While the holder lives, nothing is returned, whichever process beside it ended."""
    with played_cluster(1, 1) as cluster:
        address = f"127.0.0.1:{cluster.nodes[0].port}"
        command = [sys.executable, "-c", HOLDER, address]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
            first = int(holder.stdout.readline())
            (beside,) = eventually(lambda: children(first))
            os.kill(first, signal.SIGKILL)
            eventually(lambda: not alive(first))
            holder.stdin.write("again\n")
            holder.stdin.flush()
            second = int(holder.stdout.readline())
            assert second != first
            eventually(lambda: not alive(beside))  # its pipe has ended, and its parent has not
            assert cluster.returned == 0
            eventually(lambda: children(second))
            os.kill(second, signal.SIGKILL)
            os.kill(holder.pid, signal.SIGKILL)
        eventually(lambda: cluster.returned == 1)
