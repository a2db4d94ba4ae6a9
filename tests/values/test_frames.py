"""Frames of pandas: what has a form since version 0.2.0, what that version wrote, and forms that nobody writes."""

from __future__ import annotations

import base64
import contextlib
import gc
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outlive.errors import CorruptArray
from outlive.values import wire
from outlive.values.packing import pack
from outlive.values.structure import Structure, unpack
from tests.long import few
from tests.values.test_values import joined

pd = pytest.importorskip("pandas")
pytestmark = pytest.mark.filterwarnings("ignore")  # pandas' own
Array = np.ndarray[Any, Any]
OLDER = Path(__file__).with_name("frames_of_0_2_0.json")
PANDAS_2 = int(pd.__version__.split(".")[0]) < 3
TEXT = "string[pyarrow]" if PANDAS_2 else "str"


def over(value: Any) -> tuple[Any, Array]:
    """A value that was read, and the bytes that it was read from."""
    data = joined(pack(value, pickle=False)).copy()
    return unpack(data, pickle=False), data


def there_and_back(value: Any) -> Any:
    found, data = over(value)
    for _ in range(4):  # the last two by a plan, if there is one for it
        again = unpack(data, pickle=True)
    same(again, value)
    return found


def same(found: Any, value: Any) -> None:
    if isinstance(value, dict):
        assert type(found) is dict
        for key, one in value.items():
            same(found[key], one)
        return
    alike(found, value)
    if isinstance(value, pd.DataFrame):
        same_inside(found, value)


def alike(found: Any, value: Any) -> None:
    """What pandas says itself of two frames, series or indexes."""
    assert type(found) is type(value)
    check = {pd.DataFrame: pd.testing.assert_frame_equal, pd.Series: pd.testing.assert_series_equal}
    if isinstance(value, pd.Index):
        pd.testing.assert_index_equal(found, value, exact=True)
    else:
        check[type(value)](found, value, check_freq=True)
        assert found.attrs == value.attrs and found.flags == value.flags and type(found.index) is type(value.index)


def same_inside(found: Any, value: Any) -> None:
    for block in getattr(found._mgr, "blocks", ()):
        places = block.mgr_locs.as_array.tolist()
        assert places == sorted(places) and len(places) == len(block.values if block.values.ndim > 1 else [0])
    if _expected[0] is not value:
        _expected[:] = value, inside(value)
    assert inside(found) == _expected[1]


_expected: list[Any] = [None, None]  # a frame that is read several times in a row, and what is inside


def inside(frame: Any) -> list[str]:
    """What pandas takes from a frame's blocks, whose columns it believes to be in order."""
    numbers, parts = frame.select_dtypes("number"), [frame, frame.iloc[:, 1:], frame.copy()]
    others = [frame[:3].T, numbers + numbers, *(frame.loc[[label]] for label in frame.index[:1])]
    tables = [part.to_numpy(dtype=kind) for part in parts + others for kind in (None, object)]
    series = [part.iloc[:, place] for part in parts for place in range(part.shape[1])[:6]]
    series += [frame.iloc[row] for row in range(len(frame))[:2]] + [numbers.sum()]
    return [repr([one.dtype, one.shape, one.tolist()]) for one in tables] + [
        repr([one.dtype, one.name, one.index.tolist(), one.to_numpy(dtype=object).tolist()]) for one in series
    ]


def mixed(rows: int = 6) -> Any:
    numbers = np.arange(4.0 * rows).reshape(rows, 4)
    frame = pd.DataFrame(numbers, columns=["a", "b", "c", "d"])
    frame.insert(1, "i", np.arange(rows))
    frame.insert(3, "w", pd.array([f"é{number}" if number % 3 else None for number in range(rows)], dtype=TEXT))
    frame["day"] = pd.date_range("2020", periods=rows)
    frame["j"] = np.arange(rows)
    frame["zone"] = pd.date_range("2020", periods=rows, tz="Europe/Berlin")
    frame["Int"] = pd.array([None, *range(1, rows)], dtype="Int64")
    frame["later"] = pd.date_range("2021", periods=rows)
    return frame


FRAMES: dict[str, Callable[[], Any]] = {
    "blocks and other columns": mixed,
    "one block": lambda: pd.DataFrame(np.arange(12.0).reshape(4, 3)),
    "columns that lie side by side": lambda: pd.DataFrame(np.arange(12.0).reshape(3, 4).T),
    "a block for each column": lambda: pd.concat([pd.Series(np.arange(3) + n) for n in range(5)], axis=1),
    "every other column": lambda: mixed().iloc[:, ::2],
    "columns backwards": lambda: mixed().iloc[:, ::-1],
    "every other row": lambda: mixed().iloc[::2],
    "rows backwards": lambda: mixed().iloc[::-1],
    "the last rows": lambda: mixed(40).iloc[21:],
    "no rows": lambda: mixed().iloc[:0],
    "no columns": lambda: mixed().iloc[:, :0],
    "nothing": pd.DataFrame,
    "labels that occur twice": lambda: mixed().set_axis(["a", "a", *"bcdefghij"][: mixed().shape[1]], axis=1),
    "levels as labels": lambda: pd.DataFrame(
        np.ones((2, 4)), columns=pd.MultiIndex.from_product([["x", "y"], [1, 2]], names=["k", None])
    ),
    "levels as index": lambda: mixed(4).set_index(pd.MultiIndex.from_product([["a", "b"], ["c", "d"]])),
    "text as index": lambda: mixed(3).set_index(pd.Index(["x", None, "z"], dtype=TEXT, name="i")),
    "many words as index": lambda: pd.DataFrame({"a": 1.5}, pd.Index(map(str, range(1100)), dtype=TEXT)),
    "objects as labels": lambda: pd.DataFrame([[1, 2]], columns=pd.Index(["a", ("b", 1)], dtype=object)),
    "words of objects as labels": lambda: pd.DataFrame([[1, 2]], columns=pd.Index(["a", "\ud800"], dtype=object)),
    "named labels": lambda: mixed().rename_axis(columns="é", index=[("a", 1)]),
    "numbers as labels": lambda: pd.DataFrame(np.ones((2, 3)), columns=[7, 7, 9]),
    "labels that are the index": lambda: pd.DataFrame(np.eye(3), (i := pd.Index([3, 1, 2], name="n")), i),
    "a long range": lambda: pd.DataFrame({"a": [1, 2]}, index=pd.RangeIndex(10**12, 10**12 + 20, 10, name=3)),
    "attributes": lambda: with_attrs(mixed()),
    "labels that may not occur twice": lambda: mixed().set_flags(allows_duplicate_labels=False),
    "one dtype in several blocks": lambda: pd.DataFrame({"a": [1.0], "b": [2.0]}, copy=False).assign(c=3.0, d=1, e=4.0),
    "wide": lambda: pd.DataFrame({n: [n, 1.5 * n] if n % 3 else [f"{n}", "b"] for n in range(120)}),
    "a column inserted among others": lambda: with_inserted(2, 1),
    "columns inserted backwards": lambda: with_inserted(3, 0, 0, 2, 1),
    "columns inserted among those of each dtype": lambda: inserted_in(mixed()),
    "an inserted column, and others dropped": lambda: with_inserted(5, 1, 4, 2).drop(columns=[1, "c0"]),
    "inserted columns in another order": lambda: with_inserted(4, 1, 3).iloc[:, [5, 1, 0, 3, 2, 4]],
    "an inserted column, and others beside it": lambda: pd.concat([with_inserted(2, 1), with_inserted(3, 2)], axis=1),
    "an inserted column with a label that is there": lambda: with_inserted(3, 1, 1).set_axis([*"aabab"], axis=1),
    "an inserted column without rows": lambda: with_inserted(2, 1).iloc[:0],
    "an inserted column, every other row": lambda: with_inserted(2, 1).iloc[::2],
    "a column inserted in a table": lambda: inserted_in(pd.DataFrame(np.arange(12.0).reshape(3, 4))),
    "complex numbers and flags": lambda: pd.DataFrame({"c": [1j, 2], "b": [True, False], "f": np.ones(2, "f2")}),
}  # fmt: skip


def with_inserted(columns: int, *places: int) -> Any:
    frame = pd.DataFrame({number: np.arange(4.0) + 100 * number for number in range(columns)})
    for count, place in enumerate(places):
        frame.insert(place, f"c{count}", 0.5 + count + np.arange(4.0))
    return frame


def inserted_in(frame: Any) -> Any:
    for place in range(1, 2 * frame.shape[1], 2):
        kind = ("f8", "i8", "M8[ns]")[place % 3]
        frame.insert(place, f"in {place}", np.arange(len(frame)).astype(kind))
    return frame


def with_attrs(frame: Any) -> Any:
    frame.attrs = {"unit": "mm", "of": {"a": [1, 2]}}
    return frame


@pytest.mark.parametrize("name", FRAMES)
def test_frames_come_back(name: str) -> None:
    frame = FRAMES[name]()
    same(there_and_back(frame), frame)
    same(there_and_back({"a": frame, "b": frame.index, "c": frame.columns})["a"], frame)


@pytest.mark.parametrize("name", FRAMES)
def test_frames_come_back_where_pandas_has_no_blocks_to_give(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = pytest.importorskip("outlive.values.pandas_blocks")
    frame = FRAMES[name]()
    by_columns = [blocks.split(frame)]
    monkeypatch.setattr(blocks, "_of_blocks", None)
    same(there_and_back(frame), frame)
    monkeypatch.setattr(blocks, "getattr", lambda *_: None, raising=False)
    same(there_and_back(frame), frame)
    assert sorted(by_columns[0][1]) == blocks.split(frame)[1]


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["insert", "insert", "insert", "delete", "reorder", "concat", "consolidate"]),
        st.integers(0, 50),
        st.sampled_from(["f8", "f8", "i8", "M8[ns]", TEXT]),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=few(30), deadline=None)
@given(columns=st.integers(0, 5), changes=CHANGES, rows=st.sampled_from([3, 1, 0]))
def test_frames_made_by_any_changes_come_back(columns: int, changes: Any, rows: int) -> None:
    frame = pd.DataFrame(np.arange(float(rows * columns)).reshape(columns, rows)).T.copy()
    for count, (change, number, kind) in enumerate(changes, 100):
        width = frame.shape[1]
        if change == "insert":
            numbers = pd.Series(np.arange(rows) + 1000 * count)
            made = numbers.astype(str).astype(kind) if kind == TEXT else numbers.astype(kind)
            frame.insert(number % (width + 1), f"c{count}", made)
        elif change == "delete" and width:
            frame = frame.drop(columns=frame.columns[number % width])
        elif change == "reorder":
            frame = frame.iloc[:, np.random.default_rng(number).permutation(width)]
        elif change == "concat" and width:
            frame = pd.concat([frame, frame.iloc[:, number % width :].add_prefix(f"p{count}")], axis=1)
        elif change == "consolidate":
            frame = frame.copy()
    same(there_and_back(frame), frame)


def test_inserted_columns_stay_one_array() -> None:
    data = joined(pack(with_inserted(4, 1, 3, 0)))
    shapes = [node["shape"] for node in Structure.of(data)._nodes if node.get("dtype") == "'<f8'"]
    assert shapes == [[7, 4]]


MANY: dict[str, Callable[[], Any]] = {
    "frames": lambda: [pd.DataFrame({"a": [n, 2], "b": [1.5, n]}) for n in range(20)],
    "series": lambda: {f"s{n}": pd.Series([n, 2.5], name="s") for n in range(10)},
    "frames of text": lambda: [pd.DataFrame({"a": [f"{n}", None], "b": [1, n]}) for n in range(20)],
    "frames of objects": lambda: [pd.DataFrame({"a": pd.Series([n, (1, "b")], dtype=object)}) for n in range(20)],
    "levels": lambda: [pd.DataFrame({"a": [n, 2]}, index=[[1, n], ["b", "a"]]) for n in range(20)],
    "categories": lambda: [pd.Series(pd.Categorical([f"{n}", "b"])) for n in range(20)],
    "intervals": lambda: [pd.interval_range(n, n + 3.0) for n in range(20)],
    "times": lambda: [pd.date_range("2020", periods=n, tz="UTC") for n in range(20)],
    "one in another": lambda: {
        "a": [[pd.DataFrame({"a": [n]}), {"b": pd.DataFrame({"c": [n], "d": [2.5]})}] for n in range(20)],
        "e": tuple(pd.Series([n], name=("a", n)) for n in range(20)),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", MANY)
@pytest.mark.parametrize("pickle", [False, True])
def test_many_in_one_value(name: str, pickle: bool) -> None:
    def compare(found: Any, value: Any, look: Callable[[Any, Any], None] = same) -> None:
        if isinstance(value, list | tuple):
            assert type(found) is type(value)
            for number, (one, other) in enumerate(zip(found, value, strict=True)):
                compare(one, other, alike if number % 9 else look)  # the others of a list were made in the same way
        elif isinstance(value, dict):
            assert type(found) is dict
            assert found.keys() == value.keys()
            for key, one in value.items():
                compare(found[key], one, look)
        else:
            look(found, value)

    compare(unpack(joined(pack(MANY[name](), pickle=False)).copy(), pickle=pickle), MANY[name]())


def words() -> Any:
    pa = pytest.importorskip("pyarrow")
    texts = [None if number % 5 == 1 else "é" * (number % 7) for number in range(50)]
    return pa, pa.array(texts, pa.large_string())


@pytest.mark.parametrize("begin", [0, 1, 7, 8, 9, 16])
@pytest.mark.parametrize("count", [0, 1, 8, 30])
def test_slices_of_text(begin: int, count: int) -> None:
    pa, text = words()
    dtype = pd.Series(["a"], dtype=TEXT).dtype
    array = dtype.__from_arrow__(pa.chunked_array([text[begin : begin + count], text[:0], text[3:5]], text.type))
    series = pd.Series(array)
    same(there_and_back(series), series)
    whole = pd.Series(dtype.__from_arrow__(pa.chunked_array([text])))
    assert joined(pack(whole[:2])).nbytes < joined(pack(whole)).nbytes


def test_text_is_neither_copied_nor_a_stream() -> None:
    pa, _ = words()
    frame = pd.DataFrame({"w": pd.array(["abc"] * 5000, dtype=TEXT), "v": pd.array([None, "d"] * 2500, dtype=TEXT)})
    found, data = over(frame)
    first = int(data.__array_interface__["data"][0])
    for name in frame:
        (chunk,) = pa.chunked_array(found[name].array.__arrow_array__()).chunks
        assert all(first <= part.address < first + data.nbytes for part in chunk.buffers() if part is not None)
    assert not any(node.get("package") == "pyarrow" for node in Structure.of(data)._nodes)


def test_numbers_of_one_dtype_are_one_array_and_are_not_copied() -> None:
    frame = pd.concat([pd.Series(np.arange(100.0) * n) for n in range(6)] + [pd.Series(["x"] * 100)], axis=1)
    frame[9] = np.arange(100)
    found, data = over(frame)
    same(found, frame)
    numbers = [found[name].to_numpy(copy=False) for name in (0, 1, 5, 9)]
    assert all(np.shares_memory(one, data) for one in numbers)
    shapes = [node["shape"] for node in Structure.of(data)._nodes if node.get("dtype") == "'<f8'"]
    assert shapes == [[6, 100]]
    found.iloc[0, 0] = 7  # it may be written to
    assert unpack(data).iloc[0, 0] == 7


def test_frames_of_one_value_share_nothing_that_is_written_to() -> None:
    frame, array = pd.DataFrame({"a": np.arange(3.0), "b": 1.0}), np.arange(3.0)
    value = {"one": frame, "two": frame.copy(deep=False), "series": frame["a"], "other": frame["a"].copy(deep=False)}
    found = over(value)[0]
    found["one"].iloc[0, 0] = 7
    found["series"].iloc[1] = 8
    assert found["two"].iloc[0, 0] == found["other"].iloc[0] == 0
    assert found["two"].iloc[1, 0] == found["other"].iloc[1] == found["one"].iloc[1, 0] == 1
    columns = over(pd.DataFrame({"a": array, "b": array, "c": 1}, copy=False))[0]
    columns.iloc[0, 0] = 7
    assert columns.iloc[0, 1] == 0


def test_what_is_changed_after_reading_is_in_no_later_value() -> None:
    frame = with_attrs(mixed())
    data = joined(pack(frame, pickle=False))
    found = unpack(data.copy())
    found.attrs["of"]["a"].append(3)
    found.columns.name = "changed"
    with contextlib.suppress(ValueError):  # pandas 3 lets nobody
        found.columns.array[0] = "changed"
    found.index.name = "changed"
    same(unpack(data.copy()), frame)


def test_labels_are_no_arrays() -> None:
    frame = pd.DataFrame(np.ones((3, 2)), columns=["a", "é"])
    nodes = Structure.of(joined(pack(frame)))._nodes
    assert [wire.kind_of(node) for node in nodes] == ["array", "form", "codec"]


# --- what version 0.2.0 wrote


def older_values() -> dict[str, Any]:
    """What is in the file. It was packed by version 0.2.0, with pandas 3."""
    frame = mixed()
    return {
        "mixed": frame,
        "block": pd.DataFrame(np.arange(6.0).reshape(3, 2), columns=["a", "a"]),
        "attributes": with_attrs(frame.iloc[:3].set_flags(allows_duplicate_labels=False)),
        "series": pd.Series(frame["w"], name=("a", 1)),
        "numbers": pd.Series([1, 2], index=["a", "b"]),
        "index": pd.Index(["a", "b"], name="n"),
        "range": pd.RangeIndex(3, 9, 2),
        "levels": pd.MultiIndex.from_product([["a", "b"], pd.date_range("2020", periods=2)], names=["l", None]),
        "no columns": frame.iloc[:, :0],
    }


@pytest.mark.parametrize("name", sorted(json.loads(OLDER.read_text())))
def test_what_version_0_2_0_wrote_is_read(name: str) -> None:
    if PANDAS_2:
        pytest.skip("it has dtypes of pandas 3")
    pytest.importorskip("pyarrow")
    data = np.frombuffer(bytearray(zlib.decompress(base64.b64decode(json.loads(OLDER.read_text())[name]))), np.uint8)
    same(unpack(data, pickle=False), older_values()[name])


# --- forms that no encoder makes


def changed(value: Any, change: Callable[[list[wire.Node]], None]) -> Array:
    """The bytes of a value whose nodes were changed."""
    data = joined(pack(value, pickle=False))
    structure = Structure.of(data)
    nodes, root = json.loads(json.dumps([structure._nodes, structure.root]))
    change(nodes)
    begin = max((offset + size for offset, size in structure._buffers), default=0)
    tail = wire.end(nodes, root, structure._buffers, begin, wire.PRIVATE)
    return np.frombuffer(bytearray(data[:begin].tobytes() + tail), np.uint8)


def form(nodes: list[wire.Node]) -> Any:
    """The form of the frame, or series, which comes last."""
    return nodes[-2]


def text_form(nodes: list[wire.Node]) -> Any:
    return next(node for node in nodes if "words" in node.get("form", {}))


FAR = 10**12
HOSTILE: dict[str, Callable[[list[wire.Node]], Any]] = {
    "no form": lambda nodes: form(nodes).update(form=[]),
    "a form of nothing": lambda nodes: form(nodes).update(form={}, of=[]),
    "fewer parts": lambda nodes: form(nodes)["of"].pop(),
    "parts of other kinds": lambda nodes: form(nodes)["of"].reverse(),
    "no list of parts": lambda nodes: form(nodes).update(of={"a": 1}),
    "a part twice": lambda nodes: form(nodes)["of"].__setitem__(1, form(nodes)["of"][0]),
    "a form twice": lambda nodes: form(nodes)["of"].__setitem__(-1, form(nodes)["of"][-2]),
    "a text as blocks": lambda nodes: form(nodes)["form"].update(blocks="ab"),
    "a column in two places": lambda nodes: form(nodes)["form"]["blocks"].__setitem__(0, [0, 2, 1, 3]),
    "columns beyond the labels": lambda nodes: form(nodes)["form"]["blocks"].__setitem__(0, [0, 1, 90, 93]),
    "columns before the first": lambda nodes: form(nodes)["form"]["blocks"].__setitem__(0, [-1, 0, 2, 5]),
    "columns backwards": lambda nodes: form(nodes)["form"].update(columns=[3, 1]),
    "numbers with a point": lambda nodes: form(nodes)["form"].update(columns=[1.0, 3.0]),
    "a begin without an end": lambda nodes: form(nodes)["form"]["columns"].append(1),
    "columns without end": lambda nodes: form(nodes)["form"].update(columns=[0, FAR]),
    "a long index": lambda nodes: form(nodes)["form"]["index"].update(range=[0, FAR, 1]),
    "an index of numbers with a point": lambda nodes: form(nodes)["form"]["index"].update(range=[0.0, 6.0, 1.0]),
    "an index without a step": lambda nodes: form(nodes)["form"]["index"].update(range=[0, 6]),
    "a step of nothing": lambda nodes: form(nodes)["form"]["index"].update(range=[0, 6, 0]),
    "more labels": lambda nodes: form(nodes)["form"]["labels"]["words"].append("z"),
    "numbers as words": lambda nodes: form(nodes)["form"]["labels"]["words"].__setitem__(0, 1),
    "lists as words": lambda nodes: form(nodes)["form"]["labels"]["words"].__setitem__(0, []),
    "a text as labels": lambda nodes: form(nodes)["form"]["labels"].update(words="abcdefghijk"),
    "another dtype of labels": lambda nodes: form(nodes)["form"]["labels"].update(dtype=["arrow", "nan"]),
    "many labels": lambda nodes: form(nodes)["form"]["labels"].update(words=["a"] * 1001),
    "long labels": lambda nodes: form(nodes)["form"]["labels"]["words"].__setitem__(0, "a" * (1 << 16)),
    "a list as dtype of labels": lambda nodes: form(nodes)["form"]["labels"].update(dtype=[[], "nan"]),
    "a list as name": lambda nodes: form(nodes)["form"]["labels"].update(name=[1]),
    "no index": lambda nodes: form(nodes)["form"].update(index=None),
    "an index of another kind": lambda nodes: form(nodes)["form"].update(index=[1]),
    "attributes that are none": lambda nodes: form(nodes)["form"].update(attrs=True),
    "more rows of text": lambda nodes: text_form(nodes)["form"]["chunks"][0].__setitem__(0, 7),
    "rows before the first": lambda nodes: text_form(nodes)["form"]["chunks"][0].__setitem__(0, -1),
    "more that are missing": lambda nodes: text_form(nodes)["form"]["chunks"][0].__setitem__(1, 3),
    "more missing than rows": lambda nodes: text_form(nodes)["form"]["chunks"][0].__setitem__(1, 7),
    "none that are missing": lambda nodes: text_form(nodes)["form"]["chunks"][0].__setitem__(1, 0.0),
    "a chunk without parts": lambda nodes: text_form(nodes)["form"]["chunks"].append([6, 0]),
    "no chunks": lambda nodes: text_form(nodes)["form"].update(chunks=[]),
    "text that is kept otherwise": lambda nodes: text_form(nodes)["form"].update(words=["python", "nan"]),
    "bytes as ends": lambda nodes: text_form(nodes)["of"].__setitem__(0, text_form(nodes)["of"][1]),
    "ends that are text too": lambda nodes: text_form(nodes)["of"].__setitem__(1, text_form(nodes)["of"][0]),
}  # fmt: skip


@pytest.mark.parametrize("pickle", [False, True])
def test_one_that_is_not_changed_is_read(pickle: bool) -> None:
    same(unpack(changed(mixed(), lambda _: None), pickle=pickle), mixed())


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("pickle", [False, True])
def test_forms_that_no_encoder_makes_are_refused(name: str, pickle: bool) -> None:
    pytest.importorskip("pyarrow")
    if pickle and name == "more that are missing":
        return  # Arrow does not count them for a reader that trusts
    data = changed(mixed(), HOSTILE[name])
    for _ in range(2):  # what is known of the first read does not help the second
        with pytest.raises(CorruptArray):
            unpack(data, pickle=pickle)


@pytest.mark.parametrize("places", [[0, 1, 2, 3, 1, 2], [2, 3, 1, 2, 0, 1], [1, 3, 0, 1], [0, 1, 1, 2, 2, 3]])
def test_columns_that_are_stored_in_another_order(places: list[int]) -> None:
    stored = np.arange(12.0).reshape(4, 3)
    data = changed(pd.DataFrame(stored), lambda nodes: form(nodes)["form"].update(blocks=[places]))
    order = [place for begin, end in zip(places[::2], places[1::2], strict=True) for place in range(begin, end)]
    expected = np.empty((4, 3))
    expected[:, order] = stored
    found = unpack(data, pickle=False)
    same(found, pd.DataFrame(expected))
    assert all(np.shares_memory(found[place].to_numpy(copy=False), data) for place in found)


def test_columns_without_rows_take_no_memory() -> None:
    empty = pd.DataFrame(np.ones((0, 5)), columns=pd.RangeIndex(5))

    def many(nodes: list[wire.Node]) -> None:
        nodes[0]["shape"] = [FAR, 0]
        form(nodes)["form"].update(blocks=[[0, 3, 3, FAR]])
        form(nodes)["form"]["labels"]["range"] = [0, FAR, 1]

    if PANDAS_2:  # it makes each column
        with pytest.raises(CorruptArray, match="columns without rows"):
            unpack(changed(empty, many), pickle=False)
        return
    found = unpack(changed(empty, many), pickle=False)
    assert found.shape == (0, FAR)


def test_forms_are_no_values() -> None:
    frame = mixed()

    def as_root(nodes: list[wire.Node]) -> None:
        nodes.pop()

    def in_a_list(nodes: list[wire.Node]) -> None:
        nodes[-1] = {"list": [[len(nodes) - 2]]}

    data = joined(pack(frame))
    structure = Structure.of(data)
    for change in (as_root, in_a_list):
        with pytest.raises(CorruptArray):
            unpack(changed(frame, change), pickle=False)
    with pytest.raises(CorruptArray):
        structure.value([len(structure._nodes) - 2], lambda offset, size: data[offset : offset + size], pickle=False)


def test_wrong_ends_of_text_are_found_by_readers_that_refuse_pickle() -> None:
    pytest.importorskip("pyarrow")
    series = pd.Series(["abc"] * 1000, dtype=TEXT)
    data = joined(pack(series, pickle=False)).copy()
    offset, size = Structure.of(data)._buffers[0]
    ends = data[offset : offset + size].view(np.int64)
    ends[500] = 1 << 40
    with pytest.raises(CorruptArray):
        unpack(data, pickle=False)
    gc.collect()
