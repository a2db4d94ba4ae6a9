"""Packed values on a shelf: written once, read over the map, and otherwise like arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from outlive.arrays import segment
from outlive.arrays.info import ArrayInfo
from outlive.arrays.packed import DTYPE, Packed, PackedBytes
from outlive.arrays.reader import Reader
from outlive.arrays.shelf import Shelf
from outlive.arrays.tend.fsck import check
from outlive.arrays.writer import Writer
from outlive.catalog.wire import pack as pack_infos
from outlive.catalog.wire import unpack as unpack_infos
from outlive.errors import CorruptArray
from outlive.store import values as store_values
from outlive.store.private import private as own
from outlive.values import registry
from outlive.values.packing import pack
from outlive.values.structure import unpack

LARGE = 3 << 20  # bytes


def values() -> dict[str, Any]:
    """Values whose parts take each way of writing: small, many, with gaps, large, Fortran order, none."""
    numbers = np.arange(LARGE // 8)
    fields = np.zeros(9000, [("a", "i1"), ("b", "f8")])
    fields["a"], fields["b"] = 1, np.arange(9000)
    return {
        "small": {"a": [1, 2.5, None]},
        "many": [np.full(3, n) for n in range(2000)],
        "gaps": {"a": numbers[::2], "b": numbers.reshape(-1, 64).T[::3], "c": np.ones(5)},
        "gaps that are large": {"a": np.arange(LARGE)[::2], "b": np.ones((3, LARGE // 8))[:, ::-1], "c": b"c" * 999},
        "gaps between fields": {"a": fields[::2], "b": numbers},
        "large": {"a": numbers, "b": np.asfortranarray(numbers.reshape(64, -1))},
        "empty": {"a": np.zeros((0, 3))},
        "odd": {"a": object, "b": numbers},
    }


def same(one: Any, two: Any) -> bool:
    if isinstance(two, np.ndarray):
        return bool(np.array_equal(one, two) and one.dtype == two.dtype)
    if isinstance(two, dict):
        return list(one) == list(two) and all(same(one[key], two[key]) for key in two)
    if isinstance(two, list):
        return len(one) == len(two) and all(map(same, one, two))
    return bool(one == two)


@pytest.mark.parametrize("name", values())
def test_round_trip(shelf: Shelf, name: str) -> None:
    """The second time the segment is a recycled one, which is still mapped: its bytes are copied another way."""
    value = values()[name]
    for _ in range(2):
        packed = pack(value)
        info = Writer(shelf).put(packed)
        assert info.codec == packed.codec == "tree" and info.nbytes == packed.nbytes
        assert segment.read_info_at(f"{shelf.mem}/{info.id}", info.id) == info
        view = Reader(shelf).view(info)
        assert isinstance(view, PackedBytes) and view.info == info and not view.flags.writeable
        assert same(unpack(view), value)
        assert view.tobytes().endswith(view.tail) and same(store_values.value_of(view, pickle=True), value)
        again = Reader(shelf).view(info._replace())
        assert isinstance(again, PackedBytes) and again.info == info
        assert check(shelf) == []
        del view, again
        shelf.delete(info.id)


def test_arrays_of_a_value_lie_at_a_page_of_the_map(shelf: Shelf) -> None:
    info = Writer(shelf).put(pack({"a": np.arange(LARGE // 8), "b": np.ones(600)}))
    view = Reader(shelf).view(info)
    found = unpack(view)
    for array in found.values():
        assert np.shares_memory(array, view) and array.__array_interface__["data"][0] % segment.PAGE == 0
    inside = found["a"][5:]
    del view, found, array
    shelf.delete(info.id)
    assert inside[0] == 5  # it holds the map


def test_its_segment_is_an_npy_file_as_well(shelf: Shelf) -> None:
    packed = pack({"a": np.ones(10)})
    info = Writer(shelf).put(packed)
    found = np.load(f"{shelf.mem}/{info.id}", mmap_mode="r")
    assert found.dtype == np.uint8 and unpack(found)["a"].sum() == 10


def test_the_codec_travels(shelf: Shelf) -> None:
    info = Writer(shelf).put(pack([1]))
    assert unpack_infos(pack_infos([info])) == [info]
    before = ArrayInfo(*info[:12])  # as older versions pickled it
    assert before.codec == ""


def test_an_array_is_written_as_before(shelf: Shelf) -> None:
    info = Writer(shelf).put(np.ones(3))
    assert info.codec == "" and type(Reader(shelf).view(info)) is np.ndarray
    assert b'"kind":"array"' in Path(shelf.mem, info.id).read_bytes() and b"codec" not in segment.footer(info)


@pytest.mark.parametrize("changes", [{"dtype": "'<f8'", "shape": (8,)}, {"shape": (8, 8)}])
def test_a_packed_value_is_one_row_of_bytes(shelf: Shelf, changes: dict[str, Any]) -> None:
    array = np.zeros(changes["shape"], np.dtype("f8" if "dtype" in changes else "u1"))
    parts = Packed("tree", array.nbytes, [array])
    info = Writer(shelf).put(parts)
    forged = info._replace(dtype=changes.get("dtype", DTYPE), shape=changes["shape"])
    with pytest.raises(CorruptArray):
        Reader(shelf).view(forged)


class Canvas:
    """Stands for what a library writes to, as a frame."""

    def __init__(self, pixels: Any) -> None:
        self.pixels = pixels


@pytest.mark.parametrize("count", [10, LARGE // 8])
def test_what_may_be_written_to_is_mapped_apart_from_the_rest(
    shelf: Shelf, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small values are copied, and others mapped a second time, once that is needed."""
    monkeypatch.setattr(registry, "_by_type", {**registry._by_type})
    monkeypatch.setattr(registry, "_by_name", {**registry._by_name})
    registry.register(Canvas, lambda one: one.pixels.view(), Canvas, name="test.canvas", private=True)
    numbers, reader, maps = np.arange(count), Reader(shelf), []

    def private(info: ArrayInfo, view: Any, sessions: Any) -> Any:
        maps.append(info)
        return reader.private(info) if info.size > segment.COPY_BELOW else own(info, view, sessions=sessions)

    monkeypatch.setattr(store_values, "private", private)
    info = Writer(shelf).put(pack({"image": numbers, "canvas": Canvas(numbers), "odd": object}))
    first, second = (store_values.value_of(reader.view(info), pickle=True) for _ in range(2))
    assert len(maps) == 2
    first["canvas"].pixels[0] = 7
    assert first["image"][0] == second["canvas"].pixels[0] == 0 and not first["image"].flags.writeable
    assert np.shares_memory(first["image"], second["image"]) or count == 10
    assert not np.shares_memory(first["image"], first["canvas"].pixels)
    assert store_values.value_of(reader.view(info), ("image", 3), pickle=True) == 3 and len(maps) == 2
    assert store_values.value_of(reader.private(info), pickle=True)["image"].flags.writeable and len(maps) == 2
