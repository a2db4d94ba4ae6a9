"""Each error of a lost node, or of too little memory or disk, raised by a program of its own on several raylets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ray import exceptions
from ray.cluster_utils import Cluster

from outlive import explain
from tests.explain.conftest import provoke
from tests.explain.programs.several_nodes import head
from tests.little_ray import with_environments

EXPECTED = {
    "owner_died_with_node": ("OwnerDiedError", "owner-died"),
    "lost_without_retries": ("ObjectReconstructionFailedError", "unreconstructable-retries-disabled"),
    "lost_actor_result": ("ObjectReconstructionFailedError", "unreconstructable-retries-disabled"),
    "lost_borrowed": ("ObjectReconstructionFailedError", "unreconstructable-retries-disabled"),
    "lost_too_often": ("ObjectReconstructionFailedError", "unreconstructable-attempts-exceeded"),
    "lost_lineage_evicted": ("ObjectReconstructionFailedError", "unreconstructable-lineage-evicted"),
    "lost_lineage_disabled": ("ObjectReconstructionFailedError", "unreconstructable-lineage-disabled"),
    "fetch_timed_out": ("ObjectFetchTimedOutError", "fetch-timed-out"),
    "node_died": ("NodeDiedError", "node-died"),
    "actor_node_died": ("ActorDiedError", "actor-node-died"),
    "out_of_memory_by_time": ("OutOfMemoryError", "out-of-memory"),
    "out_of_memory_by_group": ("OutOfMemoryError", "out-of-memory"),
    "actor_out_of_memory": ("OutOfMemoryError", "out-of-memory"),
    "out_of_disk": ("OutOfDiskError", "out-of-disk"),
}


if not hasattr(exceptions.ObjectReconstructionFailedError, "REASON_MESSAGES"):  # Ray before 2.54
    LOST = ("lost_without_retries", "lost_actor_result", "lost_borrowed", "lost_lineage_disabled")
    EXPECTED |= dict.fromkeys(LOST, ("ObjectLostError", "copies-lost"))
    OOM = ("out_of_memory_by_time", "out_of_memory_by_group", "actor_out_of_memory")
    EXPECTED |= dict.fromkeys(OOM, ("OutOfMemoryError", "out-of-memory-by-group"))  # the only policy by default
    for name, kind in (("lost_too_often", "MaxAttemptsExceeded"), ("lost_lineage_evicted", "LineageEvicted")):
        EXPECTED[name] = (f"ObjectReconstructionFailed{kind}Error", EXPECTED[name][1])


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with pytest.MonkeyPatch.context() as patch, with_environments():
        patch.delenv("RAY_ADDRESS", raising=False)
        with head(log_to_driver=False) as started:
            yield started


@pytest.mark.parametrize("name", EXPECTED)
def test_explained(cluster, logs, name):
    before = set(Path(logs).glob("raylet*.out"))
    raised = provoke(name, cluster)
    (explanation,) = explain.read(raised.text).explanations
    assert (explanation.error, explanation.variant) == EXPECTED[name]
    again = explain.why(raised.error, live=False)
    assert again is not None
    assert (again.error, again.variant) == EXPECTED[name]
    if name.startswith("out_of_memory_by_") and EXPECTED[name][1] == "out-of-memory":
        (log,) = set(Path(logs).glob("raylet*.out")) - before
        explanations = explain.read(raised.text + log.read_text(errors="replace")).explanations
        assert explanations[0].variant == name.replace("_", "-")
