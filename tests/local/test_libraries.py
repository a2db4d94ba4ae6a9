"""zarr, dask and xarray over a local store, as over one in Ray. In a process without Ray they load none."""

from __future__ import annotations

import numpy as np
import pytest

from .conftest import run


def test_zarr(store):
    zarr = pytest.importorskip("zarr", minversion="3")
    from outlive.zarr import OutliveStore

    group = zarr.open_group(OutliveStore(store))
    group.create_array("ct", data=np.arange(12).reshape(3, 4), chunks=(1, 4))
    again = zarr.open_group(OutliveStore(store), mode="r")
    assert again["ct"][1].tolist() == [4, 5, 6, 7] and list(again) == ["ct"]
    del group["ct"]
    assert list(zarr.open_group(OutliveStore(store))) == []


def test_dask(store):
    dask_array = pytest.importorskip("dask.array")
    from outlive import dask

    kept = dask.persist(dask_array.arange(6, chunks=3) ** 2, store, key="squares")
    assert int(kept.sum().compute()) == 55 and sorted(store) == ["squares/0", "squares/1"]


def test_without_ray(shared_root):
    pytest.importorskip("dask.array")
    pytest.importorskip("xarray")
    pytest.importorskip("zarr", minversion="3")
    said = run(
        """
import zarr
from outlive import dask, xarray
from outlive.zarr import OutliveStore
handle = store.put(np.ones((4, 4)))
print(float(handle.to_dask(chunks=2).sum().compute()), float(xarray.open_data_array(handle).sum()))
print(zarr.open_group(OutliveStore(outlive.open("z", local=True, root=store.place.root))))
""",
        shared_root,
    )
    assert said.startswith("16.0 16.0\n<Group")
