"""Frames that handles read: over one private map, and without another look at what is known."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import outlive
from outlive.errors import ArrayNotFound
from outlive.store.handle import ArrayHandle
from tests.nodes.played import PlayedCluster

pd = pytest.importorskip("pandas")


def frame(rows: int) -> Any:
    return pd.DataFrame({"a": np.arange(float(rows)), "b": 1.0, "w": ["x", "y"] * (rows // 2)})


def maps(handle: ArrayHandle) -> int:
    """How often this process has mapped its segment."""
    return sum(handle.id in line for line in Path("/proc/self/maps").read_text().splitlines())


@pytest.mark.parametrize("rows", [10, 20_000])
def test_each_reading_is_its_own(played: PlayedCluster, rows: int) -> None:
    del played
    store = outlive.Store("frames")
    handle = store.put(frame(rows), key=f"f{rows}")
    found = [one for _ in range(2) for one in (handle.get(), handle.get(mode="c"), store[f"f{rows}"])]
    for number, one in enumerate(found):
        one.iloc[0, 0] = 7 + number
    assert [one.iloc[0, 0] for one in found] == [7 + number for number in range(6)]
    pd.testing.assert_frame_equal(handle.get(), frame(rows))
    pd.testing.assert_series_equal(handle.get("a"), frame(rows)["a"])
    kept = handle.get()
    store.delete(handle)
    pd.testing.assert_frame_equal(kept, frame(rows))
    with pytest.raises(ArrayNotFound):
        handle.get()


@pytest.mark.skipif(sys.platform != "linux", reason="where the system says what is mapped")
def test_a_frame_is_mapped_once(played: PlayedCluster) -> None:
    del played
    store = outlive.Store("frames")
    handle = store.put(frame(20_000))
    store.put(frame(10)).get()  # from here on the codec is known
    found = handle.get()
    assert maps(handle) == 1
    array = found["a"].to_numpy(copy=False)
    del found
    assert maps(handle) == 1 and array[3] == 3
    del array
    assert maps(handle) == 0


def test_a_frame_on_another_node_is_brought_here(played: PlayedCluster) -> None:
    there = played.session("b")
    info = there.writer.put(outlive.store.values.stored_form(frame(20_000), pickle=True))
    handle = ArrayHandle(info, "b")
    found = handle.get()
    found.iloc[0, 0] = 7
    pd.testing.assert_frame_equal(handle.get(), frame(20_000))
