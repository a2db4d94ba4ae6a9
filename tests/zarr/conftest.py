"""Tests that are coroutines; and a cluster that is played in this process, as most of what zarr does needs no Ray."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from outlive.store import session
from tests.cluster.conftest import cluster
from tests.conftest import ROOT
from tests.nodes.played import PlayedCluster, play

assert cluster  # for the tests that need a Ray
SHORT = {  # of xarray's suite: each way to write, to read and to list
    "test_write_store", "test_roundtrip_test_data", "test_roundtrip_coordinates", "test_roundtrip_consolidated",
    "test_roundtrip_string_data", "test_zero_dimensional_variable", "test_load", "test_dask_roundtrip", "test_group",
    "test_chunk_encoding", "test_append_write", "test_append_with_append_dim_not_set_raises",
    "test_overwrite_store", "test_hidden_zarr_keys", "test_pickle", "test_no_warning_from_open_emptydim_with_chunks",
}  # fmt: skip


@pytest.fixture(scope="module")
def cluster_here(request: pytest.FixtureRequest) -> Iterator[PlayedCluster]:
    """This process is on its node `a`."""
    Path(ROOT).mkdir(mode=0o700, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        for made in play(f"{ROOT}/{request.module.__name__}", 2):
            here = made.session("a")
            here.connection = SimpleNamespace(stands=lambda: True, job=1)
            patch.setattr(session, "_session", here)
            yield made


@pytest.fixture
def played(cluster_here: PlayedCluster) -> Iterator[PlayedCluster]:
    """What is replaced in one test is dropped before the next."""
    yield cluster_here
    cluster_here.catalog.drop_replaced()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--zarr-examples", type=int, help="how many examples zarr's state machines try (5)")
    parser.addoption("--xarray-suite", action="store_true", help="run all of xarray's suite for zarr, for many minutes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--xarray-suite"):
        return
    left_out = {item for item in items if item.path.name == "test_xarray.py" and _test(item) not in SHORT}
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]


def _test(item: pytest.Item) -> str:
    return item.name.partition("[")[0]


def pytest_configure(config: pytest.Config) -> None:
    for marker in ("asyncio", "network", "skip_if_param", "skip_with_dask_array", "xfail_with_dask_array"):
        config.addinivalue_line("markers", f"{marker}: of the suites of other libraries")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    asyncio.run(pyfuncitem.obj(**wanted))
    return True


def pytest_runtest_setup(item: pytest.Item) -> None:
    """What xarray's own configuration does with its marker `skip_if_param`."""
    for mark in item.iter_markers("skip_if_param"):
        about = dict(mark.kwargs)
        reason, condition = about.pop("reason", ""), about.pop("condition", True)
        params = getattr(item, "callspec", None) and item.callspec.params  # type: ignore[attr-defined]
        if condition and params and all(params.get(name) == value for name, value in about.items()):
            pytest.skip(reason)
