"""A private local Ray for a test module, or for those that share one (tests/sharing.py)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psutil
import pytest
import ray

import outlive
from outlive.store import session
from tests.conftest import eventually
from tests.sharing import is_shared, shared


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


@contextlib.contextmanager
def _a_ray() -> Iterator[str]:
    start_ray()
    try:
        yield ray.get_runtime_context().gcs_address
        outlive.shutdown()
    finally:
        ray.shutdown()


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest) -> Iterator[str]:
    """A local Ray of four CPUs; its address. It holds no array when a file begins."""
    yield shared.get(request, _a_ray)
    if is_shared(request):
        delete_all()


def delete_all() -> None:
    """Delete all arrays of this node, whoever put them and whether they have a key."""
    shelf = session.current().shelf
    for info in shelf.scan():
        with contextlib.suppress(outlive.ArrayNotFound):  # what was replaced goes by itself
            outlive.open(info.store).delete(outlive.ArrayHandle(info))
    eventually(lambda: not shelf.ids())


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
