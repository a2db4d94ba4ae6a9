"""The examples of the README and of the docstrings do what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import numpy as np
import pytest
import ray

import outlive

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page.relative_to(ROOT).as_posix()
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    # tests/explain, tests/gpu and tests/local run these, which need no Ray
    if "\n>>> " in page.read_text() and page.name not in {"explain.md", "gpu.md", "without-ray.md"}
)
NEEDS = {
    "docs/before-after/deisa.md": {"dask.array": None},
    "docs/before-after/raydp.md": {"pyarrow": None},
    "docs/howto/dask.md": {"dask.array": None},
    "docs/howto/ray-data.md": {"pyarrow": None, "pandas": None},
    "docs/howto/xarray.md": {"xarray": None},
    "docs/howto/zarr.md": {"zarr": "3"},
}
MEMORY = "1GiB"  # pages change it
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture(autouse=True)
def quiet_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread of Ray's prints that a worker died, on stdout and at some later moment.

    doctest would take it for the output of the example that is running then.
    """
    monkeypatch.setattr("ray._private.worker.print_to_stdstream", lambda *_, **__: None)


@pytest.mark.filterwarnings("ignore:`use_:DeprecationWarning")  # of settings that Ray Data sets itself
@pytest.mark.filterwarnings("ignore::outlive.FewerReplicas")  # one node is too few, and says so
@pytest.mark.parametrize("page", PAGES)
def test_page(page: str, cluster: str) -> None:
    for package, version in NEEDS.get(page, {}).items():
        pytest.importorskip(package, minversion=version)
    result = doctest.testfile(str(ROOT / page), module_relative=False, optionflags=FLAGS)
    assert result.attempted > 2
    assert result.failed == 0
    outlive.open(memory=MEMORY).clear()


@pytest.mark.parametrize(
    "module", ["outlive.store.opening", "outlive.store.store", "outlive.store.handle", "outlive.store.numpy_store"]
)
def test_docstrings(module: str, cluster: str) -> None:
    store = outlive.open()
    names = {
        "np": np,
        "outlive": outlive,
        "ray": ray,
        "store": store,
        "NumpyStore": outlive.NumpyStore,
        "handle": store.put(np.arange(6.0).reshape(2, 3)),
    }
    result = doctest.testmod(importlib.import_module(module), extraglobs=names, optionflags=FLAGS)
    assert result.attempted > 0
    assert result.failed == 0
    store.clear()


@pytest.mark.filterwarnings("ignore")  # Ray's
def test_dask_on_ray(cluster: str) -> None:
    pytest.importorskip("dask.array")
    import dask

    import outlive.dask

    outlive.open("results").clear()  # the pages put there too
    result = doctest.testmod(outlive.dask, extraglobs={"outlive": outlive, "np": np}, optionflags=FLAGS)
    assert result.attempted
    assert result.failed == 0
    values = np.arange(64 * 8192.0).reshape(64, 8192)
    # Two chunks: each worker that Ray starts for one more takes over a second to import dask.
    array = outlive.open("on ray").put(values).to_dask(chunks=(32, 8192))
    with dask.config.set(scheduler=outlive.dask.get):
        kept = outlive.dask.persist(array + 1, "on ray", key="k")
        assert (kept.compute() == values + 1).all()
    assert len(outlive.open("on ray")) == 2
    for name in ("default", "results", "on ray"):
        outlive.open(name).clear()
