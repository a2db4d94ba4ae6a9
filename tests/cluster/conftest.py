"""One private local Ray per test module."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest
import ray

import outlive


def start_ray(num_cpus: int = 4, **options: object) -> None:
    ray.init(
        address="local",
        num_cpus=num_cpus,
        object_store_memory=200 << 20,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        **options,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A local Ray of four CPUs; its address."""
    start_ray()
    try:
        yield ray.get_runtime_context().gcs_address
        outlive.shutdown()
    finally:
        ray.shutdown()


@pytest.fixture
def store(cluster: str, request: pytest.FixtureRequest) -> Iterator[outlive.Store]:
    """A store of the test's own."""
    store = outlive.open(request.node.name)
    yield store
    outlive.open(request.node.name).clear()


def workers() -> dict[int, str]:
    """Pid and title of the worker processes of this process's Ray, actors and agents left out."""
    titles = {}
    for process in psutil.Process().children(recursive=True):
        try:
            title = (process.cmdline() or [""])[0]
        except psutil.Error:
            continue
        if title.startswith("ray::") and not any(word in title for word in ("Agent", "Keeper", "Catalog")):
            titles[process.pid] = title
    return titles


def actor_pids() -> dict[str, int]:
    """Pids of keeper and catalog."""
    found = {}
    for process in psutil.Process().children(recursive=True):
        try:
            title = (process.cmdline() or [""])[0]
        except psutil.Error:
            continue
        for name in ("Keeper", "Catalog"):
            if title.startswith(f"ray::{name}"):
                found[name] = process.pid
    return found
