"""A local Ray of one node that records where references come from, and what its doctor says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import ray

import outlive
from outlive.doctor import Symptom, examine
from outlive.doctor.examine import CHECKS
from tests.conftest import eventually

STORE = 100 << 20


@pytest.fixture(scope="package", autouse=True)
def _ray_as_it_comes(ray_as_it_comes: None) -> Iterator[None]:
    """What is looked at here is what Ray does by itself, and memory: a worker that was forked has less of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OUTLIVE_FORKED", raising=False)
        yield


@pytest.fixture(scope="module")
def local_ray() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_record_ref_creation_sites", "1")
        patch.delenv("RAY_ADDRESS", raising=False)
        ray.init(
            address="local",
            num_cpus=4,
            object_store_memory=STORE,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            namespace="doctor",
        )
        try:
            yield ray.get_runtime_context().gcs_address
            outlive.shutdown()
        finally:
            ray.shutdown()


def find(kind: str) -> Symptom | None:
    return next((finding for finding in examine().findings if finding.kind == kind), None)


def found(kind: str) -> Symptom:
    """The finding of this kind, as soon as there is one."""
    return eventually(lambda: find(kind))


def gone(kind: str) -> None:
    """Wait until there is no finding of this kind."""
    eventually(lambda: find(kind) is None)


def only(patch: pytest.MonkeyPatch, *kept: str) -> None:
    """Leave out all checks but those whose names contain one of these words."""
    for name in [name for name in CHECKS if not any(word in name for word in kept)]:
        patch.delitem(CHECKS, name)
