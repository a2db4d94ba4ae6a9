"""Values of other libraries come back equal, by each library's own measure, and without pickle."""

from __future__ import annotations

import datetime as dt
import importlib
import subprocess
import sys
import zoneinfo
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from outlive.errors import CorruptArray, PickleRefused, UnknownType, UnsupportedArray
from outlive.values import registry
from outlive.values.libraries import CODECS, LIBRARIES
from outlive.values.packing import pack
from outlive.values.structure import Structure, unpack
from outlive.values.wire import PRIVATE, TRAILER_SIZE, trailer
from tests.long import few
from tests.values.test_values import joined

pytestmark = pytest.mark.filterwarnings("ignore")  # the libraries' own
Array = np.ndarray[Any, Any]


def there_and_back(value: Any, *, pickle: bool = False) -> Any:
    return unpack(joined(pack(value, pickle=pickle)).copy(), pickle=pickle)


def address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


def is_in(part: Array, whole: Array) -> bool:
    return np.shares_memory(part, whole)


def over(value: Any) -> tuple[Any, Array]:
    """A value that was read, and the bytes that it was read from."""
    data = joined(pack(value, pickle=False)).copy()
    return unpack(data, pickle=False), data


@pytest.mark.parametrize("library", LIBRARIES)
def test_each_codec_is_where_the_tables_say(library: str) -> None:
    pytest.importorskip("scipy.sparse" if library == "scipy" else library)
    importlib.import_module(LIBRARIES[library])
    named = {name for name, (module, package) in CODECS.items() if module == LIBRARIES[library] and package == library}
    made = {name for name, codec in registry._by_name.items() if codec.package == library}
    assert made and made == named


# --- Arrow


@pytest.fixture
def pa() -> Any:
    return pytest.importorskip("pyarrow")


def arrow_values(pa: Any) -> dict[str, Any]:
    words = pa.array(["a", None, "é" * 50] * 1000)
    numbers = pa.array(np.arange(3000.0))
    nested = pa.array([[1, None], None, []] * 1000)
    table = pa.table({"w": words, "n": numbers, "l": nested, "d": words.dictionary_encode()})
    chunked = pa.chunked_array([numbers[:5], numbers[5:9], pa.array([], pa.float64())])
    return {
        "table": table.replace_schema_metadata({"k": "v"}),
        "slice": table[7:2000],
        "chunks": pa.concat_tables([table[:10], table[100:]]),
        "empty": table[:0],
        "nothing": pa.table({}),
        "rows without columns": table.select([]),
        "batch": table.to_batches()[0],
        "array": words[3:],
        "null": pa.nulls(3),
        "struct": pa.array([{"a": 1, "b": "x"}, None]),
        "chunked": chunked,
        "decimal": pa.array([dt.date(2020, 1, 1), None]),
        "time": pa.array([dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc)], pa.timestamp("us", "UTC")),
        "two dictionaries": pa.table(
            {"d": pa.chunked_array([pa.array(["a"]).dictionary_encode(), pa.array(["b"]).dictionary_encode()])}
        ),
    }


@pytest.mark.parametrize(
    "name",
    [
        "table",
        "slice",
        "chunks",
        "empty",
        "nothing",
        "rows without columns",
        "batch",
        "array",
        "null",
        "struct",
        "chunked",
        "decimal",
        "time",
        "two dictionaries",
    ],
)
def test_arrow(pa: Any, name: str) -> None:
    value = arrow_values(pa)[name]
    found = there_and_back(value)
    assert type(found) is type(value) and found.equals(value)
    assert not hasattr(value, "schema") or found.schema.equals(value.schema, check_metadata=True)
    assert there_and_back({"a": [value, 1]})["a"][0].equals(value)


def test_arrow_numbers_are_not_copied(pa: Any) -> None:
    found, data = over({"t": arrow_values(pa)["table"]})
    numbers = found["t"]["n"].chunk(0).to_numpy()
    assert is_in(numbers, data)


# --- pandas


@pytest.fixture
def pd() -> Any:
    return pytest.importorskip("pandas")


def pandas_columns(pd: Any) -> dict[str, Any]:
    days = pd.date_range("2020-01-01", periods=4, freq="D")
    return {
        "f8": np.array([1.5, np.nan, -0.0, np.inf]),
        "i2": np.arange(4, dtype="i2"),
        "bool": np.array([True, False] * 2),
        "days": days,
        "days in a zone": days.tz_localize("Europe/Berlin"),
        "UTC": days.tz_localize("UTC"),
        "an offset": days.tz_localize(dt.timezone(dt.timedelta(hours=2))),
        "seconds": days.astype("M8[s]"),
        "a zone": days.tz_localize(zoneinfo.ZoneInfo("Asia/Tokyo")),
        "spans": pd.to_timedelta([1, 2, None, 4], unit="h"),
        "months": pd.period_range("2020-01", periods=4, freq="M"),
        "ranges": pd.interval_range(0, 4),
        "words": pd.array(["a", None, "é", "\U0001f600"], dtype="string[python]"),
        "objects": np.array(["a", None, float("nan"), "b"], object),
        "usual words": pd.Series(["a", "b", "c", None]).array,
        "Int64": pd.array([1, None, 3, 4], dtype="Int64"),
        "Float32": pd.array([1, None, 3, 4], dtype="Float32"),
        "boolean": pd.array([True, None, False, True], dtype="boolean"),
        "UInt8": pd.array([1, None, 3, 4], dtype="UInt8"),
        "category": pd.Categorical(["b", None, "a", "b"], categories=["b", "a", "z"], ordered=True),
        "category of days": pd.Categorical(days),
    }


COLUMNS = [
    "f8",
    "i2",
    "bool",
    "days",
    "days in a zone",
    "UTC",
    "an offset",
    "a zone",
    "seconds",
    "spans",
    "months",
    "ranges",
    "words",
    "objects",
    "usual words",
    "Int64",
    "Float32",
    "boolean",
    "UInt8",
    "category",
    "category of days",
]


@pytest.mark.parametrize("name", COLUMNS)
def test_pandas(pd: Any, name: str) -> None:
    column = pandas_columns(pd)[name]
    series = pd.Series(column, index=list("abcd"), name=("x", 1))
    series.attrs = {"unit": "mm"}
    found = there_and_back(series)
    pd.testing.assert_series_equal(found, series, check_freq=True)
    assert found.attrs == series.attrs and found.dtype == series.dtype
    frame = pd.DataFrame({"x": column, 5: range(4), ("a", "b"): list("wxyz")}, copy=True)
    frame.attrs = {"by": {"name": "me"}}
    pd.testing.assert_frame_equal(there_and_back(frame), frame, check_freq=True)
    assert there_and_back(frame).attrs == frame.attrs
    only = pd.DataFrame({"x": column})
    pd.testing.assert_frame_equal(there_and_back(only), only)
    index = pd.Index(column, name="n")
    assert type(there_and_back(index)) is type(index)
    pd.testing.assert_index_equal(there_and_back(index), index, exact=True)
    assert getattr(there_and_back(index), "freq", None) == getattr(index, "freq", None)
    pd.testing.assert_frame_equal(
        there_and_back(pd.DataFrame({"v": range(4)}, index=index)), pd.DataFrame({"v": range(4)}, index=index)
    )


def test_pandas_frames_of_other_forms(pd: Any) -> None:
    many = pd.MultiIndex.from_product([["a", "b"], pd.date_range("2020", periods=2)], names=["l", None])
    block = pd.DataFrame(np.arange(12.0).reshape(4, 3), index=many, columns=["a", "b", "a"])
    frames = [
        block,
        block.T,
        block.iloc[:0],
        block.iloc[:, :0],
        block[["b"]],
        block.iloc[::2],
        pd.DataFrame(),
        pd.DataFrame(index=range(3)),
        pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}, index=[7, 7]),
        pd.DataFrame({"a": pd.date_range("2020", periods=3), "b": pd.date_range("2020", periods=3)}),
        pd.DataFrame({"a": [1]}).set_flags(allows_duplicate_labels=False),
        pd.DataFrame(np.ones((3, 2)), columns=pd.RangeIndex(2, name="r")),
        pd.DataFrame({"a": pd.array([1, None], "Int64"), "b": pd.array([2, 3], "Int64")}),
    ]
    for frame in frames:
        found = there_and_back(frame)
        pd.testing.assert_frame_equal(found, frame, check_freq=True)
        assert found.flags == frame.flags and type(found.index) is type(frame.index)


numbers = st.one_of(
    hnp.boolean_dtypes(), hnp.integer_dtypes(endianness="="), hnp.floating_dtypes(endianness="=", sizes=(32, 64)),
    hnp.complex_number_dtypes(endianness="="),
)  # fmt: skip
blocks = hnp.arrays(numbers, hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=5))


@settings(max_examples=few(60), deadline=None)
@given(blocks, blocks)
def test_pandas_numbers_of_any_kind(one: Array, two: Array) -> None:
    pd = pytest.importorskip("pandas")
    for array in (one, one.T, two[::2]):
        pd.testing.assert_frame_equal(there_and_back(pd.DataFrame(array)), pd.DataFrame(array))
    mixed = pd.concat([pd.DataFrame(one), pd.DataFrame(two)], axis=1)
    pd.testing.assert_frame_equal(there_and_back(mixed), mixed)


@settings(max_examples=few(60), deadline=None)
@given(blocks)
def test_scipy_numbers_of_any_kind(array: Array) -> None:
    sp = pytest.importorskip("scipy.sparse")
    if array.dtype == np.float16:
        return
    for form in ("csr", "csc", "coo", "bsr", "dia"):
        one = getattr(sp, f"{form}_matrix")(array)
        found = there_and_back(one)
        assert found.dtype == one.dtype
        np.testing.assert_array_equal(found.toarray(), one.toarray())


def test_pandas_frequencies_of_a_program_are_pickled(pd: Any) -> None:
    holidays = pd.offsets.CustomBusinessDay(holidays=["2020-01-02"])
    index = pd.date_range("2020-01-01", periods=4, freq=holidays)
    with pytest.raises(PickleRefused):
        pack(index, pickle=False)
    assert there_and_back(index, pickle=True).freq == holidays


def test_pandas_arrow_columns(pd: Any, pa: Any) -> None:
    frame = pd.DataFrame(
        {"a": pd.array([1, None], pd.ArrowDtype(pa.int64())), "b": pd.array(["x", None], "string[pyarrow]")}
    )
    pd.testing.assert_frame_equal(there_and_back(frame), frame)


def test_pandas_numbers_are_not_copied_and_may_be_written_to(pd: Any) -> None:
    frame = pd.DataFrame({"a": np.arange(5000.0), "b": np.arange(5000)})
    for one in (frame, frame[["a"]]):
        found, data = over(one)
        assert is_in(found["a"].to_numpy(), data)
        found.iloc[0, 0] = 7
        assert found.iloc[0, 0] == 7


class Odd:
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Odd)

    def __hash__(self) -> int:
        return 1


def test_pandas_frames_that_are_pickled_may_be_written_to(pd: Any) -> None:
    frame = pd.DataFrame({"a": np.arange(5000.0), "s": pd.arrays.SparseArray([0] * 5000)})
    packed = joined(pack(frame))
    assert trailer(packed[-TRAILER_SIZE:].tobytes(), packed.nbytes).flags & PRIVATE
    found = unpack(packed.copy())
    assert found["a"].to_numpy(copy=False).base is not None
    found.iloc[0, 0] = 7
    assert found.iloc[0, 0] == 7


def test_what_may_be_written_to_is_read_apart_from_all_else(pd: Any) -> None:
    array = np.arange(999.0)
    value = {"image": array, "frame": pd.DataFrame({"a": array, "b": 1}, copy=False), "odd": [Odd()]}
    data = joined(pack(value)).copy()
    own, structure = data.copy(), Structure.of(data)
    data.flags.writeable = False

    def reader(memory: Array) -> Any:
        return lambda offset, size: memory[offset : offset + size]

    found = structure.value(structure.root, reader(data), pickle=True, private=reader(own))
    assert is_in(found["image"], data) and not found["image"].flags.writeable
    found["frame"].loc[0, "a"] = 7
    again = structure.value(structure.root, reader(data), pickle=True)
    assert again["frame"].loc[0, "a"] == found["image"][0] == 0
    assert is_in(again["frame"]["a"].to_numpy(), data)


def test_pandas_objects_are_pickled_as_a_whole(pd: Any) -> None:
    pd.testing.assert_frame_equal(
        there_and_back(pd.DataFrame({"a": ["a", 1, (1, "b")]})), pd.DataFrame({"a": ["a", 1, (1, "b")]})
    )
    for column in ([Odd(), 1], [{}, []]):
        frame = pd.DataFrame({"a": column, "b": [1, 2]})
        with pytest.raises(PickleRefused):
            pack(frame, pickle=False)
        pd.testing.assert_frame_equal(there_and_back(frame, pickle=True), frame)
    sparse = pd.DataFrame({"a": pd.arrays.SparseArray([0, 0, 1])})
    pd.testing.assert_frame_equal(there_and_back(sparse, pickle=True), sparse)
    for dtype in ("V8", "V0"):  # pandas makes no series of a stored array of these
        column = pd.Series(np.zeros(3, dtype))
        assert there_and_back(column, pickle=True).dtype == column.dtype
        with pytest.raises(PickleRefused):
            pack(column.to_frame(), pickle=False)


# --- Polars


def polars_frame(pl: Any) -> Any:
    return pl.DataFrame(
        {
            "n": [1, None, 3],
            "f": [1.0, float("nan"), None],
            "w": ["a", None, "é" * 30],
            "l": [[1], None, []],
            "d": [dt.date(2020, 1, 1), None, None],
            "s": [{"a": 1}, {"a": 2}, None],
            "b": [b"x", None, b""],
            "t": [dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc), None, None],
            "z": [dt.timedelta(1), None, None],
        }
    ).with_columns(c=pl.col("w").cast(pl.Categorical), e=pl.Series(["x", None, "y"], dtype=pl.Enum(["y", "x"])))


def test_polars() -> None:
    pl = pytest.importorskip("polars")
    importlib.import_module("polars.testing")
    frame = polars_frame(pl)
    for one in (frame, frame[:0], frame[1:], pl.DataFrame(), pl.concat([frame, frame], rechunk=False)):
        found = there_and_back(one)
        pl.testing.assert_frame_equal(found, one)
        assert found.schema == one.schema
    pl.testing.assert_series_equal(there_and_back(frame["w"]), frame["w"])
    with pytest.raises(PickleRefused):
        pack(pl.DataFrame({"o": [Odd()]}), pickle=False)


# --- SciPy


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "dia", "lil", "dok"])
@pytest.mark.parametrize("ending", ["array", "matrix"])
def test_scipy(form: str, ending: str) -> None:
    sp = pytest.importorskip("scipy.sparse")
    dense = np.zeros((40, 60))
    dense[::3, ::7] = np.arange(14 * 9).reshape(14, 9)
    for numbers in (dense, dense.astype("i4"), dense.astype("c16"), dense > 3, dense[:0], dense[:, :0]):
        one = getattr(sp, f"{form}_{ending}")(numbers)
        found = there_and_back(one, pickle=form in {"lil", "dok"})
        assert (type(found), found.shape, found.dtype) == (type(one), one.shape, one.dtype)
        assert (found.toarray() == one.toarray()).all()
        for name in ("data", "indices", "indptr", "offsets"):
            if form not in {"lil", "dok"} and hasattr(one, name):
                assert getattr(found, name).dtype == getattr(one, name).dtype
        assert ((found + found).toarray() == numbers.astype(one.dtype) + numbers.astype(one.dtype)).all()


def test_scipy_keeps_wide_indices_and_does_not_copy() -> None:
    sp = pytest.importorskip("scipy.sparse")
    one = (
        sp.random_array((2000, 2000), density=0.01, format="csr", rng=1)
        if hasattr(sp, "random_array")
        else sp.eye(2000, format="csr")
    )
    one.indices, one.indptr = one.indices.astype("i8"), one.indptr.astype("i8")
    found, data = over(one)
    assert found.indices.dtype == found.indptr.dtype == np.int64
    assert all(is_in(array, data) for array in (found.data, found.indices, found.indptr))
    found.data[:] = 2
    found.sum_duplicates()


def test_scipy_arrays_that_could_not_be_read_again_are_pickled() -> None:
    sp = pytest.importorskip("scipy.sparse")
    one = sp.csr_array(np.eye(3))
    one.indices = one.indices.astype("i8")  # and indptr stays i4
    with pytest.raises(PickleRefused):
        pack(one, pickle=False)
    assert (there_and_back(one, pickle=True).data == 1).all()


# --- xarray


def test_xarray() -> None:
    xr, pd = pytest.importorskip("xarray"), pytest.importorskip("pandas")
    volume = xr.DataArray(
        np.arange(24.0).reshape(2, 3, 4),
        dims=("t", "y", "x"),
        coords={
            "t": pd.date_range("2020", periods=2),
            "y": [1.5, 2.5, 3.5],
            "x": list("abcd"),
            "label": ("y", ["p", "q", "r"]),
            "scalar": 7,
        },
        attrs={"unit": "mm"},
        name="volume",
    )
    volume.encoding = {"scale_factor": 2.0, "dtype": np.dtype("i2")}
    data = xr.Dataset({"v": volume, ("odd", 1): ("y", [1, 2, 3]), "s": 5.0}, attrs={"by": "me"})
    for one in (
        volume,
        data,
        volume.T,
        volume.isel(x=2),
        data.isel(y=0),
        xr.Dataset(),
        xr.DataArray(3.0),
        volume.drop_vars("y"),
        volume.isel(x=[]),
    ):
        xr.testing.assert_identical(there_and_back(one), one)
    found, data = over(volume)
    assert is_in(found.values, data) and found.encoding == volume.encoding
    found.values[:] = 3
    stacked = volume.stack(z=("x", "y"))
    with pytest.raises(PickleRefused):
        pack(stacked, pickle=False)
    xr.testing.assert_identical(there_and_back(stacked, pickle=True), stacked)


def test_xarray_lazy_values_are_refused() -> None:
    xr = pytest.importorskip("xarray")
    pytest.importorskip("dask.array")
    with pytest.raises(UnsupportedArray, match=r"lazy.*compute\(\)"):
        pack(xr.DataArray(np.ones(5)).chunk(2))


# --- PyTorch


def test_torch() -> None:
    torch = pytest.importorskip("torch")
    base = torch.arange(5000.0)
    values = [
        base,
        base.reshape(50, 100).T,
        base[7:100:3],
        torch.tensor(5),
        torch.empty(0, 3),
        torch.ones(3, dtype=torch.bfloat16),
        torch.ones(3, dtype=torch.bool),
        torch.ones(2, dtype=torch.complex64),
        base.expand(3, 5000),
        torch.ones(2, requires_grad=True),
        torch.nn.Parameter(torch.ones(3)),
        torch.nn.Parameter(torch.ones(3), requires_grad=False),
        torch.ones(2, dtype=torch.float16),
    ]
    for one in values:
        found = there_and_back(one)
        assert type(found) is type(one)
        assert (found.dtype, found.shape, found.stride(), found.requires_grad) == (
            one.dtype,
            one.shape,
            one.stride(),
            one.requires_grad,
        )
        torch.testing.assert_close(found, one, rtol=0, atol=0)
    leaf = torch.ones(3, requires_grad=True)
    (leaf * 2).sum().backward()
    assert there_and_back(leaf).grad.tolist() == [2, 2, 2]
    with pytest.raises(UnsupportedArray, match="detach"):
        pack(leaf * 2)
    with pytest.raises(PickleRefused):
        pack(torch.eye(3).to_sparse(), pickle=False)
    assert there_and_back(torch.eye(3).to_sparse(), pickle=True).to_dense().equal(torch.eye(3))


def test_torch_storage_is_shared_and_not_copied() -> None:
    torch = pytest.importorskip("torch")
    base = torch.zeros(100, 100)
    found, data = over({"all": base, "row": base[3], "columns": [base.T]})
    found["row"] += 1
    assert found["all"][3].sum() == 100 and found["columns"][0][:, 3].sum() == 100
    assert is_in(found["all"].numpy(), data)
    kept = joined(pack(base))
    kept.flags.writeable = False  # as a plain view of a segment
    unpack(kept).add_(1)
    assert unpack(kept).sum() == 0


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [5001]}, {"strides": [2]}, {"offset": 1}, {"offset": -1}, {"shape": [1 << 61], "strides": [1 << 61]},
        {"strides": [-1]}, {"dtype": "nn"}, {"shape": [50, 101], "strides": [100, 1]}, {"shape": [2.0]},
        {"storage": "x"},
    ],
    ids=repr,
)  # fmt: skip
def test_torch_damage(change: dict[str, Any]) -> None:
    pytest.importorskip("torch")
    module: Any = importlib.import_module("outlive.values.of_torch")
    state = {"storage": np.zeros(20_000, np.uint8), "dtype": "float32", "shape": [5000], "strides": [1], "offset": 0}
    assert module._decode(state).sum() == 0
    with pytest.raises(CorruptArray):
        module._decode({**state, **change})


# --- without the library, and with damage


@pytest.mark.parametrize("name", sorted({package: name for name, (_, package) in CODECS.items()}.values()))
def test_a_reader_without_the_library_is_told_its_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, package = CODECS[name]
    monkeypatch.delitem(registry._by_name, name, raising=False)
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    if package == "scipy":
        monkeypatch.setitem(sys.modules, "scipy.sparse", None)
    with pytest.raises(UnknownType, match=rf"pip install {package}"):
        registry.codec_named(name, package)


SEEDS = 60
FUZZED = """
import random, sys
import numpy as np
from outlive.errors import OutliveError
from outlive.values import wire
from outlive.values.packing import pack
from outlive.values.structure import unpack
from tests.values.test_libraries import fuzzed_values, joined, use

for value in fuzzed_values(sys.argv[1]):
    whole = joined(pack(value, pickle=False))
    end = wire.trailer(whole[-wire.TRAILER_SIZE:].tobytes(), whole.nbytes).structure + wire.TRAILER_SIZE
    for seed in range(int(sys.argv[2])):
        dice, data = random.Random(seed), whole.copy()
        for _ in range(dice.randint(1, 8)):
            data[dice.randrange(data.nbytes - end)] = dice.choice([0, 1, 127, 128, 255, dice.randrange(256)])
        try:
            found = unpack(data, pickle=False)
        except OutliveError:
            continue
        use(found)
"""


def fuzzed_values(library: str) -> list[Any]:
    if library == "pyarrow":
        values = arrow_values(importlib.import_module("pyarrow"))
        return [values[name] for name in ("table", "array", "two dictionaries", "struct")]
    if library == "scipy":
        import scipy.sparse as sp

        return [sp.eye(30, format=form) for form in ("csr", "csc", "coo", "bsr", "dia")]
    if library == "polars":
        frame = polars_frame(importlib.import_module("polars"))
        return [frame, frame.select("w", "l"), frame["c"], frame[:0]]
    import pandas as pd

    return [pd.DataFrame(pandas_columns(pd))]


def use(value: Any) -> None:
    """Read all of a value."""
    try:
        if hasattr(value, "to_pylist"):
            value.to_pylist()
        elif hasattr(value, "to_arrow"):
            str(value), value.reverse(), value.to_arrow()
        elif hasattr(value, "toarray"):
            value.toarray(), value.tocsr(), value.sum()
        else:
            str(value), value.sort_index(axis=1)
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":  # of Polars
            raise


@pytest.mark.parametrize("library", ["pyarrow", "scipy", "pandas", "polars"])
def test_damaged_bytes_are_an_error_or_another_value_and_never_a_crash(library: str) -> None:
    pytest.importorskip("scipy.sparse" if library == "scipy" else library)
    done = subprocess.run(
        [sys.executable, "-c", FUZZED, library, str(SEEDS)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
