"""Any array that can be stored comes back bit by bit, in its shape, dtype and order; NumPy alone can read the file."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from outlive.arrays import segment
from outlive.arrays.draft import Draft
from outlive.arrays.dtypes import encode_dtype
from outlive.arrays.info import ArrayInfo, new_version
from outlive.arrays.reader import Reader
from outlive.arrays.segment import COPY_BELOW
from outlive.arrays.shelf import Shelf
from outlive.arrays.writer import Writer, mapped
from tests.long import few

from .local_store import disk_usage

Array = np.ndarray[Any, Any]
MIB = 1 << 20


@pytest.fixture(scope="module")
def shelf(module_root: Path) -> Iterator[Shelf]:
    shelf = Shelf(str(module_root / "round-trip"), budget=64 * MIB)
    yield shelf
    shelf.pool.trim()
    assert shelf.ledger.used == disk_usage(shelf) == 0


# --- dtypes

_TIME_UNITS = ["Y", "M", "W", "D", "h", "m", "s", "25s", "ms", "us", "ns", "as"]
_BASES = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16", "m8", "M8"]
_times = st.tuples(st.sampled_from("mM"), st.sampled_from(_TIME_UNITS)).map(lambda t: f"{t[0]}8[{t[1]}]")
_codes = st.one_of(
    st.sampled_from([*_BASES, np.dtype("g").str[1:], np.dtype("G").str[1:]]),
    _times,
    st.tuples(st.sampled_from("SUV"), st.integers(1, 40)).map(lambda t: f"{t[0]}{t[1]}"),
)
scalars = st.tuples(st.sampled_from("<>"), _codes).map(lambda t: np.dtype(t[0] + t[1]))
_nothing = st.just(np.dtype([("e", "S0")])["e"])  # the way to a dtype of zero bytes: S0 alone means S1
_names = st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=4, unique=True)


@st.composite
def structures(draw: st.DrawFn, inner: st.SearchStrategy[np.dtype[Any]]) -> np.dtype[Any]:
    """Fields of any dtype, some of them sub-arrays, with gaps between and behind, or aligned as in C."""
    names = draw(_names)
    formats = [draw(inner) for _ in names]
    shapes = [draw(st.sampled_from([(), (), (3,), (2, 2)])) if form.itemsize else () for form in formats]
    formats = [np.dtype((form, shape)) if shape else form for form, shape in zip(formats, shapes, strict=True)]
    if draw(st.booleans()):
        return np.dtype({"names": names, "formats": formats}, align=True)
    offsets, end = [], 0
    for form in formats:
        offsets.append(end + draw(st.integers(0, 3)))
        end = offsets[-1] + form.itemsize
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": end + draw(st.integers(0, 5))})


dtypes = st.one_of(scalars, structures(st.recursive(st.one_of(scalars, _nothing), structures, max_leaves=4)), _nothing)


# --- layouts


def filled(dtype: np.dtype[Any], shape: tuple[int, ...], seed: int, *, skew: int = 0) -> Array:
    """An array of random bits: any NaN, any padding. `skew` bytes off its alignment."""
    count = math.prod(shape) * dtype.itemsize
    buffer = np.random.default_rng(seed).bytes(count + skew)
    return np.ndarray(shape, dtype, bytearray(buffer), skew)


@st.composite
def arrays(draw: st.DrawFn) -> Array:
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=7))
    array = filled(draw(dtypes), shape, draw(st.integers(0, 2**32)), skew=draw(st.sampled_from([0, 0, 1])))
    for _ in range(draw(st.integers(0, 2))):
        array = relaid(draw, array)
    return array


def relaid(draw: st.DrawFn, array: Array) -> Array:
    """The array in another layout, or a view of some of it."""
    kind = draw(st.sampled_from(["fortran", "transpose", "slices", "reverse", "broadcast", "field"]))
    if kind == "fortran":
        return np.asfortranarray(array) if array.ndim else array
    if kind == "transpose":
        return array.transpose(draw(st.permutations(range(array.ndim))))
    if kind == "slices" and array.ndim:
        return array[tuple(slice(draw(st.integers(0, 2)), None, draw(st.integers(1, 3))) for _ in array.shape)]
    if kind == "reverse" and array.ndim:
        return np.flip(array, draw(st.integers(0, array.ndim - 1)))
    if kind == "broadcast":
        return np.broadcast_to(array, (2, *array.shape))
    if kind == "field" and array.dtype.names:
        return array[draw(st.sampled_from(array.dtype.names))]
    return array


# --- what has to be true


def same_bits(one: Array, other: Array) -> bool:
    """Same shape and dtype, and the same bits in every field (NumPy does not promise to copy the padding between)."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.dtype.names:
        return all(same_bits(one[name], other[name]) for name in one.dtype.names)
    return one.tobytes() == other.tobytes()


def read(shelf: Shelf, info: ArrayInfo) -> Array:
    """The array as another process would see it, and as the footer describes it."""
    assert shelf.info(info.id) == info
    view = Reader(shelf).view(info)
    assert not view.flags.writeable
    assert type(view) is np.ndarray
    with pytest.raises(ValueError, match="WRITEABLE"):
        view.flags.writeable = True
    return view


def numpy_reads(path: str, array: Array) -> Array:
    """By NumPy alone; it cannot map arrays without bytes."""
    return np.load(path, mmap_mode="r" if array.nbytes else None, max_header_size=100_000)


def assert_round_trip(shelf: Shelf, array: Array) -> None:
    info = Writer(shelf).put(array)
    try:
        path = f"{shelf.mem}/{info.id}"
        shelf.pool.trim()
        assert shelf.ledger.used == disk_usage(shelf) == segment.pages(info.size)
        assert os.path.getsize(path) == info.size
        view, loaded = read(shelf, info), numpy_reads(path, array)
        assert same_bits(view, array)
        assert same_bits(loaded, array)
        if array.nbytes:  # the order of nothing is nobody's concern
            fortran = array.flags.f_contiguous
            assert view.flags.f_contiguous if fortran else view.flags.c_contiguous
            assert loaded.flags.f_contiguous if fortran else loaded.flags.c_contiguous
        if array.flags.forc:  # then even the padding
            assert view.tobytes("A") == array.tobytes("A")
    finally:
        shelf.delete(info.id)


@settings(
    max_examples=few(400), deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(array=arrays())
def test_put(shelf: Shelf, array: Array) -> None:
    assert_round_trip(shelf, array)


@settings(max_examples=few(100), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(dtype=dtypes, shape=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=9), fortran=st.booleans())
@example(dtype=np.dtype("f8"), shape=(200, 100), fortran=True)
def test_create(shelf: Shelf, dtype: np.dtype[Any], shape: tuple[int, ...], *, fortran: bool) -> None:
    """Filled in place, then cut off: what its maker writes later is not in the array."""
    content = filled(dtype, shape, 7)
    described = segment.describe(
        encode_dtype(dtype), shape, content.nbytes, fortran=fortran, store="default", key=None, version=new_version()
    )
    draft = Draft.make(shelf, described)
    out = mapped(draft)
    assert (out.shape, out.dtype, out.flags.writeable) == (shape, dtype, True)
    assert out.flags.f_contiguous if fortran else out.flags.c_contiguous
    out[...] = content
    draft.detach()
    draft.seal()
    out[...] = filled(dtype, shape, 8)
    try:
        assert same_bits(read(shelf, draft.info), content)
        assert same_bits(numpy_reads(f"{shelf.mem}/{draft.info.id}", content), content)
    finally:
        shelf.delete(draft.info.id)


SPECIAL = {
    "memmap": lambda folder: np.memmap(folder / "mapped", "i4", "w+", shape=(5, 6)),
    "recarray": lambda _: np.rec.array([(1, 2.5, "a"), (3, 4.5, "bc")], dtype=[("i", "i4"), ("f", ">f8"), ("t", "U3")]),
    "chararray": lambda _: np.array(["ab", "c"]).view(np.char.chararray),
    "matrix": lambda _: np.asarray([[1, 2], [3, 4]]).view(np.matrix),
    "0-d": lambda _: np.array(3 + 4j),
    "0-d big": lambda _: np.frombuffer(bytes(range(250)) * 400, "V100000").reshape(()),
    "empty": lambda _: np.empty((3, 0, 5), "f4", order="F"),
    "zero itemsize": lambda _: np.zeros((3, 2), np.dtype([("e", "U0")])["e"]),
    "NaN payloads": lambda _: np.array([0x7FF8000000000001, 0xFFF0000000000001, 1 << 63], "u8").view("f8"),
    "not a time": lambda _: np.array(["NaT", "2020-01-01"], "M8[D]"),
    "title": lambda _: np.zeros(3, [(("a title", "name"), "i4")]),
    "field of a foreign script": lambda _: np.zeros(3, [("größe", "i4"), ("大小", "f8")]),
    "most dimensions": lambda _: np.arange(6.0).reshape((1,) * 29 + (2, 1, 3)),
    "wide dtype": lambda _: np.zeros(2, [(f"a_rather_long_field_name_{i}", "f8") for i in range(2000)]),
    "overlapping windows": lambda _: np.lib.stride_tricks.sliding_window_view(np.arange(9000.0), 50),
    "read-only": lambda _: np.frombuffer(b"12345678", "u2"),
    "every second": lambda _: np.arange(3_000_000, dtype="i4")[::2],
    "every second backwards": lambda _: np.arange(3_000_000, dtype=">i4")[::-2],
    "transposed and cut": lambda _: np.arange(2_000_000.0).reshape(100, 200, 100).transpose(2, 0, 1)[3:, ::-1],
    "every second of large records": lambda _: np.zeros(4000, [("x", "i4"), ("y", "V5000")])[::2],
    "just copied": lambda _: np.arange(COPY_BELOW - 600, dtype="u1"),
    "just mapped": lambda _: np.arange(COPY_BELOW + 1, dtype="u1"),
}


@pytest.mark.filterwarnings("ignore:The chararray class:DeprecationWarning")
@pytest.mark.parametrize("name", SPECIAL)
def test_special(shelf: Shelf, root: Path, name: str) -> None:
    array = SPECIAL[name](root)
    if isinstance(array, np.memmap):
        array[:] = np.arange(30).reshape(5, 6)
    assert_round_trip(shelf, array)


def test_field_of_zero_bytes(shelf: Shelf) -> None:
    """Not contiguous, as its items are further apart than their size."""
    assert_round_trip(shelf, np.zeros(3, [("e", "S0"), ("x", "i4")])["e"])


MM = np.dtype("i4", metadata={"unit": "mm"})


@pytest.mark.filterwarnings("ignore:metadata on a dtype is not saved:UserWarning")  # NumPy's, of structures
@pytest.mark.parametrize("dtype", [MM, [("x", MM)], [("x", [("y", MM, 3)])]], ids=str)
def test_metadata_of_a_dtype_is_left_out_with_a_warning(shelf: Shelf, dtype: Any) -> None:
    """As by `numpy.save`: it is no part of a dtype's identity."""
    for _ in range(2):  # the second time, an equal dtype is known already
        with pytest.warns(UserWarning, match="metadata on a dtype is not stored"):
            assert_round_trip(shelf, np.zeros(3, dtype))


def test_a_dtype_without_metadata_is_stored_without_a_warning(shelf: Shelf) -> None:
    assert_round_trip(shelf, np.zeros(3, [("x", "i4"), ("y", "f8", (2, 2))]))


def test_a_put_is_a_copy(shelf: Shelf) -> None:
    array = np.arange(100_000)
    info = Writer(shelf).put(array)
    array[:] = 0
    assert (Reader(shelf).view(info) == np.arange(100_000)).all()
    shelf.delete(info.id)


@pytest.mark.parametrize("count", [10, 100_000])
def test_views_outlive_the_array(shelf: Shelf, count: int) -> None:
    info = Writer(shelf).put(np.arange(count))
    view, part = Reader(shelf).view(info), Reader(shelf).view(info)[5:]
    assert shelf.delete(info.id)
    del view
    assert (part == np.arange(5, count)).all()


def test_views_in_one_process_share_one_map_but_not_their_shape(shelf: Shelf) -> None:
    info = Writer(shelf).put(np.arange(100_000))
    one, other = Reader(shelf).view(info), Reader(shelf).view(info)
    assert one.__array_interface__["data"] == other.__array_interface__["data"]
    two_rows = Reader(shelf).view(info).reshape(2, -1)
    assert two_rows.base is one.base
    assert other.shape == (100_000,)
    shelf.delete(info.id)
