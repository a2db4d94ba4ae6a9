"""States that no encoder makes: a codec of a library refuses them, before the library takes memory for them."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

import numpy as np
import pytest

from outlive.arrays.dtypes import encode_dtype
from outlive.errors import CorruptArray, PickleRefused, UnsupportedArray
from outlive.values import wire
from outlive.values.packing import pack
from outlive.values.structure import unpack
from tests.values.test_values import joined

pytestmark = pytest.mark.filterwarnings("ignore")  # the libraries' own
REFUSED = r"^the codec|^a stored (series|frame|column)"
FAR = 100_000_000  # items that a few bytes would become


@dataclasses.dataclass(frozen=True)
class Codec:
    """A codec's node, whose state is of a test's choice."""

    name: str
    state: Any

    def __hash__(self) -> int:
        return id(self)


def written(value: Any, *, flags: int = wire.PRIVATE) -> np.ndarray[Any, Any]:
    """The bytes of a value. What is one object in it is one node."""
    nodes: list[wire.Node] = []
    known: dict[int, list[int]] = {}
    buffers: list[np.ndarray[Any, Any]] = []

    def entry(one: Any) -> Any:
        if one is None or isinstance(one, str | int | float):
            return one
        if id(one) not in known:
            node = made(one)
            nodes.append(node)
            known[id(one)] = [len(nodes) - 1]
        return known[id(one)]

    def made(one: Any) -> wire.Node:
        if isinstance(one, Codec):
            return {"codec": one.name, "package": one.name.partition(".")[0], "state": entry(one.state)}
        if isinstance(one, np.ndarray):
            buffers.append(one.ravel().view(np.uint8))
            return {"array": len(buffers) - 1, "dtype": encode_dtype(one.dtype), "shape": [*one.shape]}
        if isinstance(one, dict):
            return {"dict": {key: entry(inside) for key, inside in one.items()}}
        return {"tuple" if isinstance(one, tuple) else "list": [entry(inside) for inside in one]}

    root, places, data = entry(value), [], b""
    for buffer in buffers:
        data += bytes(-len(data) % 64)
        places.append((len(data), buffer.nbytes))
        data += buffer.tobytes()
    return np.frombuffer(bytearray(data + wire.end(nodes, root, places, len(data), flags)), np.uint8)


def tree(of: Any, depth: int = 23) -> Any:
    """Lists of one list each twice: some nodes, and millions of lists if each is read where it stands."""
    for _ in range(depth):
        of = type(of)([of, of])
    return of


def range_index(length: int) -> Codec:
    return Codec("pandas.index", {"range": [0, length, 1], "name": None})


def series(array: Any, **more: Any) -> Codec:
    return Codec("pandas.series", {"array": array, "name": None, "index": range_index(3), "attrs": {}, **more})


def frame(columns: Any, labels: int = 2, **more: Any) -> Codec:
    return Codec(
        "pandas.frame",
        {"columns": columns, "labels": range_index(labels), "index": range_index(3), "attrs": {}, **more},
    )


def text() -> dict[str, Any]:
    return {"text": np.frombuffer(b"abc", np.uint8), "ends": np.arange(1, 4), "kinds": None}


def levels(*more: Any, codes: Any = None) -> Codec:
    found = [range_index(2), *more]
    state = {"levels": found, "codes": codes or [np.zeros(3, "i1") for _ in found], "names": [None for _ in found]}
    return Codec("pandas.index", state)


WHOLE: dict[str, Any] = {
    "a series": lambda: series(np.arange(3)),
    "text": lambda: series(text()),
    "a frame": lambda: frame([np.arange(3), text()]),
    "levels": lambda: levels(),
}
PANDAS: dict[str, Any] = {
    "a number under a long index": lambda: series(np.array(1.0), index=range_index(FAR)),
    "one row under a long index": lambda: series(np.ones(1), index=range_index(FAR)),
    "a text under a long index": lambda: series("a", index=range_index(FAR)),
    "a table as a series": lambda: series(np.ones((3, 1))),
    "a block under a long index": lambda: Codec(
        "pandas.frame",
        {"block": np.ones((1, 1)), "labels": range_index(1), "index": range_index(FAR), "attrs": {}},
    ),
    "a list as a block": lambda: Codec(
        "pandas.frame",
        {"block": tree([1, 2]), "labels": range_index(1), "index": range_index(3), "attrs": {}},
    ),
    "a column under a long index": lambda: frame([np.array(1.0), np.ones(1)], index=range_index(FAR)),
    "a column many times": lambda: frame([np.arange(3)] * 1000, 1000),
    "a text many times": lambda: frame([text()] * 1000, 1000),
    "the bytes of a text many times": lambda: frame([shared := text(), {**shared}]),
    "the objects of a column many times": lambda: frame([{"objects": (one := ["a", 1, 2])}, {"objects": one}]),
    "texts by small ends": lambda: series({**text(), "ends": np.arange(1, 4, dtype="i1")}),
    "text without an end": lambda: series({**text(), "text": tree([1])}),
    "text of fixed width": lambda: series(np.array(["a", "b", "c" * 100])),
    "text of no bytes": lambda: series(np.ndarray(3, "S0")),
    "an index of no bytes": lambda: Codec("pandas.index", {"array": np.ndarray(FAR // 100, "V0"), "name": None}),
    "an index of bytes": lambda: Codec("pandas.index", {"array": np.array([b"a", b"b"]), "name": None}),
    "times of the other byte order": lambda: series(np.zeros(3, ">M8[ns]")),
    "days": lambda: series(np.zeros(3, "M8[D]")),
    "lists as codes": lambda: series({"codes": tree([0, 0]), "categories": range_index(2), "ordered": False}),
    "wide codes": lambda: series({"codes": np.zeros(3, "i8"), "categories": range_index(2), "ordered": False}),
    "lists as categories": lambda: series({"codes": np.zeros(3, "i1"), "categories": tree([0]), "ordered": False}),
    "lists as times": lambda: series({"utc": tree([0, 0]), "tz": {"utc": True}}),
    "lists as periods": lambda: series({"ordinals": tree([0, 0]), "period": "period[D]"}),
    "a range as intervals": lambda: series({"left": range_index(FAR), "right": range_index(FAR), "closed": "left"}),
    "lists as intervals": lambda: series({"left": tree([0]), "right": tree([1]), "closed": "left"}),
    "one index as both sides of intervals": lambda: series(
        {"left": (one := Codec("pandas.index", {"array": np.ones(3), "name": None})), "right": one, "closed": "left"}
    ),
    "lists as masked numbers": lambda: series({"masked": tree([0, 0]), "mask": np.zeros(3, bool)}),
    "a mask of lists": lambda: series({"masked": np.zeros(3), "mask": tree([0, 0])}),
    "lists as an index": lambda: series(np.arange(3), index=tree([0, 0])),
    "lists in an index": lambda: Codec("pandas.index", {"array": tree([0, 0]), "name": None}),
    "a long range as a level": lambda: levels(range_index(FAR)),
    "lists as a level": lambda: levels(tree([0])),
    "lists as codes of levels": lambda: levels(codes=[tree([0, 0])]),
    "one level many times": lambda: levels(*[range_index(2)] * 1000),
    "a name that has no end": lambda: series(np.arange(3), name=tree((1, 2), 60)),
    "a name of an index that has no end": lambda: Codec(
        "pandas.index", {"range": [0, 1, 1], "name": tree((1, 2), 60)}
    ),
    "a label that has no end": lambda: Codec("pandas.index", {"array": {"objects": [tree((1,), 60)]}, "name": None}),
    "one state of two values": lambda: [one := WHOLE["text"](), Codec(one.name, one.state)],
    "a list of attributes": lambda: series(np.arange(3), attrs=tree([1])),
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_states_that_are_as_an_encoder_makes_them_are_read(name: str) -> None:
    pytest.importorskip("pandas")
    assert len(unpack(written(WHOLE[name]()), pickle=False)) == 3


@pytest.mark.parametrize("name", PANDAS)
def test_pandas(name: str) -> None:
    pytest.importorskip("pandas")
    with pytest.raises(CorruptArray, match=REFUSED):
        unpack(written(PANDAS[name]()), pickle=False)


def variable(data: Any, dims: Any = ("x",), **more: Any) -> dict[str, Any]:
    return {"dims": list(dims), "data": data, "attrs": {}, "encoding": {}, **more}


def dataset(variables: Any, coords: Any = ()) -> Codec:
    return Codec("xarray.dataset", {"variables": variables, "coords": list(coords), "attrs": {}, "encoding": {}})


XARRAY: dict[str, Any] = {
    "lists as data": lambda: dataset([["v", variable(tree([0, 0]))]]),
    "a number in a dimension": lambda: dataset([["v", variable(np.array(1.0))]]),
    "a variable many times": lambda: dataset([["v", one := variable(np.ones(3))], ["w", one]]),
    "a pair many times": lambda: dataset([["v", variable(np.ones(3))]] * 1000),
    "variables of two datasets": lambda: [dataset(one := [["v", variable(np.ones(3))]]), dataset(one)],
    "a name that has no end": lambda: dataset([[tree((1, 2), 60), variable(np.ones(3))]]),
    "a dimension that has no end": lambda: dataset([["v", variable(np.ones(3), [tree((1, 2), 60)])]]),
    "short numbers as labels of several dimensions": lambda: dataset(
        [], [["x", variable(one := np.ones(3, "f2"))], ["y", variable(one, ["y"])]]
    ),
    "days of several variables": lambda: dataset(
        [["v", variable(one := np.zeros(3, "M8[D]"))], ["w", variable(one)]]
    ),
    "labels many times": lambda: dataset(
        [], [["x", variable(one := np.array(["a", "b"]))], ["y", variable(one, ["y"])]]
    ),
    "labels of no bytes": lambda: dataset([], [["x", variable(np.ndarray(FAR // 100, "V0"))]]),
    "a list of attributes": lambda: dataset([["v", variable(np.ones(3), attrs=tree([1]))]]),
}  # fmt: skip


@pytest.mark.parametrize("name", XARRAY)
def test_xarray(name: str) -> None:
    pytest.importorskip("xarray")
    found = unpack(written(dataset([["v", variable(np.ones(3))]], [["x", variable(np.arange(3))]])), pickle=False)
    assert found["v"].sum() == 3
    with pytest.raises(CorruptArray, match=REFUSED):
        unpack(written(XARRAY[name]()), pickle=False)


def test_values_that_may_be_written_to_need_a_map_of_their_own() -> None:
    pytest.importorskip("torch")
    storage = np.zeros(4096, np.uint8)
    tensors = [
        Codec("torch.tensor", {"storage": storage, "dtype": "uint8", "shape": [4096], "strides": [1], "offset": 0})
        for _ in range(100)
    ]
    assert len(unpack(written(tensors), pickle=False)) == 100
    with pytest.raises(CorruptArray, match="trailer"):
        unpack(written(tensors, flags=0), pickle=False)


def test_rows_without_columns_take_no_memory() -> None:
    pytest.importorskip("pyarrow")
    empty = written(Codec("arrow.table", {"stream": stream_of_no_columns(), "rows": 1 << 61}))
    assert unpack(empty, pickle=False).num_rows == 1 << 61


def stream_of_no_columns() -> np.ndarray[Any, Any]:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    pa.ipc.new_stream(sink, pa.schema([])).close()
    return np.frombuffer(sink.getvalue(), np.uint8)


@pytest.mark.parametrize("dtype", ["quint8", "qint32", "quint4x2"])
def test_dtypes_that_need_more_than_bytes_are_refused(dtype: str) -> None:
    pytest.importorskip("torch")
    state = {"storage": np.zeros(64, np.uint8), "dtype": dtype, "shape": [2], "strides": [1], "offset": 0}
    with pytest.raises(CorruptArray, match="dtype"):
        unpack(written(Codec("torch.tensor", state)), pickle=False)


# --- what loses something is not taken silently


def there_and_back(value: Any) -> Any:
    return unpack(joined(pack(value, pickle=False)).copy(), pickle=False)


def test_fixed_zones_keep_their_name() -> None:
    pd = pytest.importorskip("pandas")
    for zone in (dt.timezone(dt.timedelta(hours=1), "CET"), dt.timezone(dt.timedelta(hours=1))):
        index = pd.date_range("2020", periods=3, tz=zone)
        found = there_and_back(index)
        assert found.tz == zone and found.tz.tzname(None) == zone.tzname(None) and found.freq == index.freq
        assert there_and_back(pd.Series(index)).dt.tz.tzname(None) == zone.tzname(None)


def test_times_in_a_zone_are_not_copied() -> None:
    pd = pytest.importorskip("pandas")
    data = joined(pack(pd.date_range("2020", periods=3, tz="Europe/Berlin"), pickle=False)).copy()
    assert np.shares_memory(unpack(data, pickle=False).asi8, data)


def test_levels_that_are_not_valid_are_pickled() -> None:
    pd = pytest.importorskip("pandas")
    one = pd.MultiIndex([["a"]], [[0, 5]], verify_integrity=False)
    with pytest.raises(PickleRefused):
        pack(one, pickle=False)
    same = pd.Index([1, 2])
    twice = pd.MultiIndex.from_product([same, same])
    assert there_and_back(twice).equals(twice)


def test_columns_and_indexes_that_are_one_object_come_back() -> None:
    pd = pytest.importorskip("pandas")
    numbers, words = np.arange(3.0), pd.Series(["a", None, "b"], dtype=object)
    frame = pd.DataFrame({"a": numbers, "b": numbers, "c": words, "d": words, "e": [1, 2, 3]}, copy=False)
    other = frame[["a", "c", "e"]]
    found = there_and_back({"all": [frame, frame], "some": other, "index": frame.index})
    pd.testing.assert_frame_equal(found["all"][0], frame)
    pd.testing.assert_frame_equal(found["some"], other)
    assert found["all"][0] is found["all"][1]


def test_xarray_keeps_frequencies() -> None:
    xr, pd = pytest.importorskip("xarray"), pytest.importorskip("pandas")
    days = pd.date_range("2020", periods=3, freq="D")
    array = xr.DataArray(np.ones(3), {"t": days}, ("t",))
    array.t.attrs["by"] = "me"
    for one in (array, xr.Dataset({"v": array})):
        found = there_and_back(one)
        assert found.indexes["t"].freq == days.freq and found.t.attrs == {"by": "me"}
        xr.testing.assert_identical(found, one)
    spans = xr.DataArray(np.ones(3), {"t": pd.timedelta_range("1h", periods=3)}, ("t",))
    assert there_and_back(spans).indexes["t"].freq == spans.indexes["t"].freq
    for index in (pd.CategoricalIndex(["a", "b", "a"]), pd.period_range("2020", periods=3, freq="M")):
        with pytest.raises(PickleRefused):
            pack(xr.DataArray(np.ones(3), {"t": index}, ("t",)), pickle=False)


def test_xarray_coordinates_that_are_one_array_come_back() -> None:
    xr = pytest.importorskip("xarray")
    ticks, names = np.arange(3.0), np.array(["a", "b", "c"])
    array = xr.DataArray(np.ones((3, 3)), {"x": ticks, "y": ticks}, ("x", "y"))
    xr.testing.assert_identical(there_and_back({"a": array, "b": array + 1})["b"], array + 1)
    array = xr.DataArray(np.ones((3, 3)), {"x": names, "y": names}, ("x", "y"))
    xr.testing.assert_identical(there_and_back(array), array)


def test_tensors_with_hooks_are_refused() -> None:
    torch = pytest.importorskip("torch")
    leaf = torch.ones(3, requires_grad=True)
    handle = leaf.register_hook(lambda grad: grad)
    with pytest.raises(UnsupportedArray, match="hooks"):
        pack(leaf)
    handle.remove()
    assert there_and_back(leaf).requires_grad
    leaf.register_post_accumulate_grad_hook(lambda _: None)
    with pytest.raises(UnsupportedArray, match="hooks"):
        pack(leaf)
