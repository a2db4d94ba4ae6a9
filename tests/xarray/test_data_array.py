"""Lazy data arrays of handles."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

pytest.importorskip("xarray")

import xarray

import outlive
from outlive.arrays.writer import Writer
from outlive.xarray import open_data_array
from tests.nodes.played import PlayedCluster

VALUES = np.arange(64 * 8192.0).reshape(64, 8192)  # 4 MiB


@pytest.fixture
def store(played: PlayedCluster, request: pytest.FixtureRequest) -> outlive.Store:
    return outlive.Store(request.node.name)


@pytest.fixture
def elsewhere(played: PlayedCluster, store: outlive.Store) -> outlive.ArrayHandle:
    """VALUES, on the node `b`."""
    draft = Writer(played.shelves["b"]).draft_of(VALUES, store=store.name)
    draft.seal()
    return outlive.ArrayHandle(draft.info, "b")


def test_what_is_used_is_read(played: PlayedCluster, elsewhere: outlive.ArrayHandle) -> None:
    coords = {"y": np.arange(64) * 2.0, "label": ("y", [f"row {number}" for number in range(64)])}
    array = open_data_array(elsewhere, ("y", "x"), coords=coords, name="ct", attrs={"unit": "HU"})
    part = array.sel(y=slice(10.0, 20.0)).isel(x=slice(100, 90, -1))
    assert (array.shape, array.dtype, array.name, array.attrs) == (VALUES.shape, VALUES.dtype, "ct", {"unit": "HU"})
    assert "row 63" in repr(array)
    assert (part.values == VALUES[5:11, 100:90:-1]).all()
    assert (array[[3, 1], 5].values == VALUES[[3, 1], 5]).all()
    assert not played.shelves["a"].has(elsewhere.id)  # no more was moved
    assert float(array.sum()) == VALUES.sum()
    assert played.shelves["a"].has(elsewhere.id)


def test_values_are_a_view(store: outlive.Store) -> None:
    handle = store.put(VALUES)
    for array in (open_data_array(handle), xarray.DataArray(handle)):
        assert array.dims == ("dim_0", "dim_1")
        assert np.shares_memory(array.values, handle.get())
        assert np.shares_memory(array[3:5].values, handle.get())


def test_a_write_does_not_reach_the_store(store: outlive.Store) -> None:
    handle = store.put(VALUES)
    array = open_data_array(handle, ("y", "x"))
    array[{"y": 0}] = -1
    assert float(array[0, 0]) == -1
    assert (handle.get() == VALUES).all()


def test_values_that_were_read_are_read_only(store: outlive.Store) -> None:
    handle = store.put(VALUES)
    array = open_data_array(handle, ("y", "x"))
    with pytest.raises(ValueError, match="read-only"):
        array += 1
    with pytest.raises(ValueError, match="read-only"):
        array.values[0] = 1
    for one in (array, array.load()):
        own = one.copy()
        own[{"y": 0}] = -1
        own += 1
        assert float(own[0, 0]) == 0
    with pytest.raises(ValueError, match="view"):
        array[{"y": 0}] = -1
    assert (handle.get() == VALUES).all()


def test_it_is_pickled_as_its_handle(store: outlive.Store) -> None:
    array = open_data_array(store.put(VALUES), ("y", "x"))
    pickled = pickle.dumps(array[5:])
    assert len(pickled) < 4096
    assert (pickle.loads(pickled).values == VALUES[5:]).all()


def test_chunks_of_dask(store: outlive.Store) -> None:
    pytest.importorskip("dask.array")
    handle = store.put(VALUES)
    array, again = (open_data_array(handle, ("y", "x")).chunk({"y": 16}) for _ in range(2))
    assert array.data.name == again.data.name
    assert float((array + 1).sum().compute()) == (VALUES + 1).sum()


@pytest.mark.parametrize("shape", [(), (0, 3)])
def test_small_shapes(store: outlive.Store, shape: tuple[int, ...]) -> None:
    array = open_data_array(store.put(np.ones(shape)))
    assert (array.shape, array.values.shape, float(array.sum())) == (shape, shape, float(not shape))


def test_what_does_not_fit(store: outlive.Store) -> None:
    with pytest.raises(ValueError, match="dimensions"):
        open_data_array(store.put(VALUES), ("x",))
    with pytest.raises(TypeError, match="is no array"):
        open_data_array(store.put({"x": VALUES}), ("x",))
