"""A real autoscaler removes an idle node while its workers are watched, and kept few."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager

import pytest
import ray

from outlive.workers import keep_trim
from tests.conftest import eventually
from tests.nodes.autoscaling import autoscaling_cluster, workers
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
def test_a_node_leaves():
    with (
        autoscaling_cluster(most=1, idle_minutes=0.05) as address,
        keep_trim(max_idle=0, max_memory="1GiB", every="500ms"),
        watched(address),
    ):
        ray.get(pid_of_worker.remote(), timeout=120)  # the head has no CPU: this brings a node
        assert workers()
        eventually(lambda: not workers(), seconds=120)
