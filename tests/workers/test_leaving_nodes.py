"""A real autoscaler removes an idle node while its workers are watched, and kept few."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import ray

import outlive
from outlive.workers import Policy, guard, guard_state, keep_trim
from tests.conftest import eventually
from tests.nodes.autoscaling import autoscaling_cluster, workers
from tests.nodes.work import arrays, put
from tests.workers.conftest import pid_of_worker

pytest.importorskip("grpc")


@contextmanager
def watched(address):
    command = [sys.executable, "-m", "outlive", "workers", "--watch", "0.5", "--json", "--address", address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as watching:
        try:
            assert watching.stdout.readline()
            yield watching
        finally:
            watching.kill()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("version", [1, 2])
def test_a_node_leaves(version):
    with (
        autoscaling_cluster(most=1, idle_minutes=0.05, version=version) as address,
        keep_trim(max_idle=0, max_memory="1GiB", every="500ms"),
        watched(address),
    ):
        ray.get(pid_of_worker.remote(), timeout=120)  # the head has no CPU: this brings a node
        assert workers()
        eventually(lambda: not workers(), seconds=120)


@contextmanager
def shown(address):
    """The page of the dashboard, with everything that it shows of the cluster asked for again and again."""
    from tests.dashboard.test_command import ask, dashboard  # these skip what imports them, if aiohttp is missing

    over = threading.Event()

    def look(url):
        times = 0
        while not over.is_set():
            for what in ("workers", "nodes", "arrays", "doctor"):
                ask(url, what)
            times += 1
        return times

    with dashboard(address) as (_, url), ThreadPoolExecutor(1) as pool:
        looks = pool.submit(look, url)
        try:
            yield
        finally:
            over.set()
        assert looks.result() > 1


@pytest.mark.timeout(300)
@pytest.mark.parametrize("version", [1, 2])
def test_a_node_with_arrays_leaves_beside_a_guard_and_the_dashboard(version):
    pytest.importorskip("aiohttp")
    with autoscaling_cluster(most=1, idle_minutes=0.05, version=version, OUTLIVE_EVACUATE_AFTER="1") as address:
        guard(Policy(max_idle=1, max_memory="1GiB", every="500ms"))
        with shown(address):
            handles = ray.get(ray.remote(num_cpus=1)(put).remote(0), timeout=120)
            assert workers()
            eventually(lambda: not workers(), seconds=120)
        state = guard_state()
        assert (state.phase, state.restarts) == ("running", 0), state
        assert state.looks > 1
        assert [handle.get().tobytes() for handle in handles] == [array.tobytes() for array in arrays(0)]
        outlive.shutdown()
