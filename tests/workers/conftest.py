"""Local Rays with settings of the test's choice, and what is asked of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import pytest
import ray

from outlive.workers import inspect
from outlive.workers.rows import Worker
from tests.cluster.conftest import start_ray
from tests.conftest import eventually
from tests.little_ray import with_environments

OF_MEMORY = {"test_inspect.py"}  # a worker that was forked has less of its own
# Some calls there have a runtime environment of their own, or a node that is looked at by a task.
WITH_ENVIRONMENTS = {"test_beside_trim.py", "test_inspect.py", "test_looking.py", "test_model_against_ray.py"}


@pytest.fixture(scope="module", autouse=True)
def _ray_as_it_comes(ray_as_it_comes: None, request: pytest.FixtureRequest) -> Iterator[None]:
    """What is looked at here is what Ray does by itself."""
    environments = with_environments() if request.path.name in WITH_ENVIRONMENTS else nullcontext()
    with pytest.MonkeyPatch.context() as patch, environments:
        if request.path.name in OF_MEMORY:
            patch.delenv("OUTLIVE_FORKED", raising=False)
        yield


@contextmanager
def local_ray(num_cpus: int = 4, **system_config: object) -> Iterator[str]:
    """A local Ray; its address."""
    start_ray(num_cpus, _system_config=system_config or None)
    try:
        yield ray.get_runtime_context().gcs_address
    finally:
        ray.shutdown()


@pytest.fixture(scope="module")
def default_ray() -> Iterator[str]:
    """Four CPUs, and Ray's own settings."""
    with local_ray() as address:
        yield address


def row(pid: int) -> Worker | None:
    """The worker of this pid, if it is still there."""
    return next((worker for worker in inspect().workers if worker.pid == pid), None)


def worker_when(pid: int, condition: Callable[[Worker], bool]) -> Worker:
    """The worker of this pid, as soon as `condition` holds for it."""

    def look() -> Worker | None:
        found = row(pid)
        return found if found is not None and condition(found) else None

    return eventually(look)


@ray.remote
def pid_of_worker() -> int:
    """Occupies a worker for a moment."""
    return os.getpid()


def kinds(worker: Worker) -> list[str]:
    """Why it is still here."""
    return [reason.kind for reason in worker.reasons]
