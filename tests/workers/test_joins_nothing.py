"""The first command of a cluster starts no worker there and adds no job."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from ray.cluster_utils import Cluster

from outlive.ray_internals import node_workers, processes, rpc

pytest.importorskip("grpc")


@pytest.fixture(scope="module")
def fresh() -> Iterator[str]:
    """The address of a cluster that nobody joins."""
    head = {"num_cpus": 2, "object_store_memory": 80 << 20, "include_dashboard": False}
    cluster, before = Cluster(initialize_head=True, head_node_args=head), [*rpc._named]
    try:
        rpc.name_gcs(cluster.address)
        yield cluster.address
    finally:
        rpc._named[:] = before
        cluster.shutdown()


@pytest.mark.parametrize(
    "words",
    [
        ["workers"],
        ["workers", "trim", "--max-idle", "0", "--yes"],
        ["workers", "check"],
        ["doctor"],
    ],
    ids=" ".join,
)
def test_nothing_was_started(fresh, words):
    command = [sys.executable, "-m", "outlive", *words, "--address", fresh]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    finds = {0, 1} if words == ["doctor"] else {0}  # an older Ray has faults that are known
    assert run.returncode in finds, run.stdout + run.stderr
    assert [list(answer.processes) for answer in processes.ask(node_workers.nodes())] == [[]]
    assert node_workers.jobs() == []
