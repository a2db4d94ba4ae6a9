"""Handles and arrays in the columns of Ray Data, without a Ray: what stays, what is stored, what is refused."""

from __future__ import annotations

import pickle
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("pandas")

import pandas as pd
import pyarrow as pa
from ray import cloudpickle
from ray.data.block import BlockAccessor
from ray.data.extensions import ArrowPythonObjectArray

import outlive
import outlive.data
from outlive.arrays.writer import Writer
from outlive.data import OutliveSink, arrays
from outlive.data.reading import _by_node, _Handles, _portions
from tests.nodes.played import PlayedCluster

pytestmark = [pytest.mark.usefixtures("without_ray"), pytest.mark.filterwarnings("ignore")]  # Ray's warnings
VALUES = np.arange(2**15.0)  # 256 KiB: no copy when it is read


@pytest.fixture
def store(played: PlayedCluster, request: pytest.FixtureRequest) -> outlive.Store:
    return outlive.Store(request.node.name)


def block_of(values: list[Any], **columns: list[Any]) -> Any:
    """A block with these rows, as Ray Data makes it of what `Dataset.map` returns."""
    from ray.data._internal.delegating_block_builder import DelegatingBlockBuilder

    builder = DelegatingBlockBuilder()
    for place, value in enumerate(values):
        builder.add({"data": value, **{name: column[place] for name, column in columns.items()}})
    return builder.build()


def table(handles: list[outlive.ArrayHandle]) -> pa.Table:
    return pa.table({"data": ArrowPythonObjectArray.from_objects(handles)})


def rows(block: Any) -> list[Any]:
    return [row["data"] for row in BlockAccessor.for_block(block).iter_rows(public_row_format=True)]


def write(sink: OutliveSink, *blocks: Any) -> list[outlive.ArrayHandle]:
    """What Ray Data does with a sink: it pickles it for a task, and hands the tasks' results to the driver's."""
    sink.on_write_start()
    returns = [sent(sink).write([block], None) for block in blocks]
    sink.on_write_complete(SimpleNamespace(write_returns=returns))
    return sink.handles


def sent(value: Any) -> Any:
    """As a task gets it."""
    return pickle.loads(cloudpickle.dumps(value))


def equal(found: Any, value: Any) -> bool:
    if value.dtype.hasobject:
        return found.dtype == value.dtype and found.tolist() == value.tolist()
    return (found.dtype, found.shape, found.tobytes()) == (value.dtype, value.shape, value.tobytes())


# --- handles in columns


@pytest.mark.parametrize("shapes", [[3], [3, 3], [3, 4], [(), ()], [3, (2, 2)]])
@pytest.mark.parametrize("batch_format", ["numpy", "pandas", "pyarrow"])
def test_a_column_of_handles_stays_one(
    store: outlive.Store, monkeypatch: pytest.MonkeyPatch, shapes: list[Any], batch_format: str
) -> None:
    """As with `map_batches(lambda batch: batch)`: no array is read."""
    handles = [store.put(np.ones(shape)) for shape in shapes]
    monkeypatch.setattr(outlive.ArrayHandle, "_view", lambda handle: pytest.fail("an array was read"))
    batch = BlockAccessor.for_block(table(handles)).to_batch_format(batch_format)
    if batch_format == "numpy":
        assert list(batch["data"]) == handles
    assert rows(BlockAccessor.batch_to_block(batch)) == handles


def test_handles_beside_other_values(store: outlive.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    handles = [store.put(np.ones(3)), None, store.put({"x": 1})]
    monkeypatch.setattr(outlive.ArrayHandle, "_view", lambda handle: pytest.fail("an array was read"))
    assert rows(block_of(handles)) == handles
    assert list(BlockAccessor.for_block(table(handles)).to_batch_format("numpy")["data"]) == handles


# --- arrays


def test_arrays_of_handles(store: outlive.Store) -> None:
    values = [VALUES, VALUES + 1]
    batch = BlockAccessor.for_block(table([store.put(one) for one in values])).to_batch_format("numpy")
    found = arrays({**batch, "label": np.array([1, 2])})
    assert found["label"].tolist() == [1, 2]
    assert all(not one.flags.owndata and equal(one, value) for one, value in zip(found["data"], values, strict=True))
    assert all(map(equal, rows(BlockAccessor.batch_to_block(found)), values))


EXACT = {
    "ragged": [np.arange(3), np.ones((4,), "i8")],
    "with other numbers of dimensions": [np.ones(3), np.ones((2, 2))],
    "without rows": [np.ones((0, 3)), np.ones((0, 3))],
    "some without rows": [np.ones((0, 3), "f4"), np.ones((2, 3), "f4")],
    "bool": [np.array([True, False, True]), np.array([False])],
    "Fortran": [np.asfortranarray(np.arange(6).reshape(2, 3))] * 2,
    "strided": [np.arange(12)[::2], np.arange(12)[::-3]],
    "small floats": [np.ones(3, "f2"), np.ones(2, "f2")],
    "large integers": [np.array([2**64 - 1], "u8")] * 2,
}


@pytest.mark.parametrize("values", EXACT.values(), ids=EXACT)
@pytest.mark.parametrize("count", [1, 2])
def test_arrays_that_are_kept(store: outlive.Store, values: list[Any], count: int) -> None:
    found = arrays({"data": [store.put(one) for one in values[:count]]})
    assert all(map(equal, rows(BlockAccessor.batch_to_block(found)), values))


@pytest.mark.parametrize("count", [1, 2])
def test_big_endian_arrays_have_the_same_numbers(store: outlive.Store, count: int) -> None:
    found = arrays({"data": [store.put(np.arange(3, dtype=">i4"))] * count})
    back = rows(BlockAccessor.batch_to_block(found))
    assert [one.tolist() for one in back] == [[0, 1, 2]] * count
    assert back[0].dtype == np.int32


def test_arrays_without_dimensions_are_numbers(store: outlive.Store) -> None:
    found = arrays({"data": [store.put(np.array(2.5, "f4")), store.put(np.array(3.5, "f4"))]})
    assert rows(BlockAccessor.batch_to_block(found)) == [2.5, 3.5]


@pytest.mark.parametrize(
    "value",
    [
        np.zeros(2, "i4,f8"), np.ones(2, "c8"), np.array(["2020"], "M8[D]"), np.array(["a"]), np.array([b"a\0"]),
        np.ones(2, "g"), np.array([{}], object), {"x": 1}, "text",
    ],
    ids=lambda value: str(getattr(value, "dtype", type(value).__name__)),
)  # fmt: skip
def test_what_ray_data_would_change_is_refused(store: outlive.Store, value: Any) -> None:
    with pytest.raises(outlive.UnsupportedArray, match=r"column 'data', .* keep the handle"):
        arrays({"data": [store.put(value)]})


def test_arrays_of_different_dtypes_are_refused(store: outlive.Store) -> None:
    with pytest.raises(outlive.UnsupportedArray, match=r"dtypes float32, float64, .*astype"):
        arrays({"data": [store.put(np.ones(3)), store.put(np.ones(3, "f4"))]})


# --- the sink


AS_THEY_ARE = {
    **EXACT,
    "structured": [np.ones(2, "i4,f8"), np.zeros(3, "i4,f8")],
    "complex": [np.ones(2, "c8") * 1j] * 2,
    "of objects": [np.array([{1: 2}, None], object)] * 2,
    "of bytes": [np.array([b"a\0b", b"bc"])] * 2,
    "of text": [np.array(["a", "bc"])] * 2,
    "times": [np.array(["2020-01-01", "NaT"], "M8[ns]")] * 2,
}


@pytest.mark.parametrize("values", AS_THEY_ARE.values(), ids=AS_THEY_ARE)
@pytest.mark.parametrize("count", [1, 2])
def test_arrays_are_stored_as_they_are(store: outlive.Store, values: list[Any], count: int) -> None:
    sink = OutliveSink(store, key="name")
    handles = write(sink, block_of(values[:count], name=["a", "b"][:count]))
    assert [handle.key for handle in handles] == ["a", "b"][:count]
    assert all(map(equal, (handle.get() for handle in handles), values))
    assert {handle.lifetime for handle in handles} == {"detached"}


@pytest.mark.parametrize(
    "numbers", [[1, 2], [1.5, float("nan")], [True, False], list(np.array([1, 2], "f4")), list(np.array([1, 2], "u1"))]
)
def test_numbers_are_arrays_without_dimensions(store: outlive.Store, numbers: list[Any]) -> None:
    handles = write(OutliveSink(store, key=lambda row: str(row["n"])), block_of(numbers, n=[0, 1]))
    assert [handle.shape for handle in handles] == [(), ()]
    assert all(equal(handle.get(), np.asarray(one)) for handle, one in zip(handles, numbers, strict=True))


def test_blocks_of_pandas(store: outlive.Store) -> None:
    frame = pd.DataFrame({"data": [np.ones(3), np.ones(2)], "name": ["a", "b"], "n": np.array([1, 2], "i2")})
    write(OutliveSink(store, key="name"), frame)
    write(OutliveSink(store, column="n", key=lambda row: f"n/{row['name']}"), frame)
    assert [store[key].shape for key in ("a", "b", "n/a")] == [(3,), (2,), ()]
    assert store["n/b"].dtype == np.int16


@pytest.mark.parametrize("value", [None, [1, 2], [], "text", b"bytes", {"x": 1}], ids=str)
def test_other_values_are_refused(store: outlive.Store, value: Any) -> None:
    with pytest.raises(outlive.UnsupportedArray, match=r"column 'data' has a .*numpy\.asarray.*store\.put"):
        write(OutliveSink(store, key="name"), block_of([value], name=["a"]))
    assert list(store) == []


def test_lists_that_were_arrays_are_refused(store: outlive.Store) -> None:
    """Ray Data makes lists of a batch whose arrays it cannot hold, and their dtype is lost."""
    batch = {"data": np.ones((2, 3), "c8"), "name": ["a", "b"]}
    with pytest.raises(outlive.UnsupportedArray, match="has a list"):
        write(OutliveSink(store, key="name"), BlockAccessor.batch_to_block(batch))


def test_handles_are_stored_once_more(store: outlive.Store) -> None:
    values = [np.arange(3, dtype=">f8"), np.ones(2, "c8"), {"x": 1}]
    write(OutliveSink(store, key="name"), block_of([store.put(one) for one in values], name=["a", "b", "c"]))
    assert equal(store["a"], values[0]) and equal(store["b"], values[1]) and store["c"] == {"x": 1}


def test_a_handle_of_a_masked_array_keeps_the_mask(store: outlive.Store) -> None:
    masked = np.ma.array([1, 2], mask=[False, True])
    write(OutliveSink(store, key="name"), block_of([store.put(masked)], name=["a"]))
    assert store["a"].tolist() == [1, None]


def test_big_endian_arrays_of_a_frame(store: outlive.Store) -> None:
    """A block of pandas keeps them. One of Arrow does not: see the page."""
    value = np.arange(3, dtype=">i4")
    write(OutliveSink(store, key="name"), pd.DataFrame({"data": [value], "name": ["a"]}))
    assert equal(store["a"], value)


def test_a_task_that_is_repeated_leaves_no_doubles(played: PlayedCluster, store: outlive.Store) -> None:
    sink, block = OutliveSink(store, key="name"), block_of([VALUES, VALUES + 1], name=["a", "b"])
    first = sink.write([block], None)
    second = write(sink, block)
    played.catalog.drop_replaced()
    assert sorted(store) == ["a", "b"]
    assert [handle.location for handle in first] == [[], []]
    assert all(map(equal, (handle.get() for handle in second), (VALUES, VALUES + 1)))


def test_a_task_stores_all_or_nothing(store: outlive.Store) -> None:
    with pytest.raises(outlive.UnsupportedArray):
        write(OutliveSink(store, key="name"), block_of([np.ones(3), None, np.ones((2, 2))], name=["a", "b", "c"]))
    with pytest.raises(outlive.InvalidKeyType):
        write(OutliveSink(store, key=lambda row: row["n"] or "a"), block_of([np.ones(3), np.ones(3)], n=[0, 1]))
    with pytest.raises(outlive.InvalidKeyType):
        write(OutliveSink(store, key=lambda row: [row["n"]]), block_of([np.ones(3)], n=[0]))
    assert list(store) == []


def test_rows_with_the_same_key(store: outlive.Store) -> None:
    sink, block = OutliveSink(store, key="name"), block_of([np.ones(3), np.ones(3)], name=["a", "a"])
    with pytest.raises(ValueError, match="two rows have the key 'a'"):
        write(sink, block)
    assert list(store) == []
    with pytest.raises(ValueError, match="two rows have the key 'a'"):
        write(sink, *(block_of([np.ones(3)], name=["a"]) for _ in range(2)))  # by two tasks


@pytest.mark.parametrize(("column", "key"), [("image", "name"), ("data", "title")])
def test_a_column_that_is_not_there(store: outlive.Store, column: str, key: str) -> None:
    with pytest.raises(KeyError, match=r"no column '(image|title)'; there are 'data', 'name'"):
        write(OutliveSink(store, column=column, key=key), block_of([np.ones(3)], name=["a"]))


def test_how_long_they_live(store: outlive.Store) -> None:
    (handle,) = write(OutliveSink(store, key="name", ttl="10min", lifetime="job"), block_of([VALUES], name=["a"]))
    assert (handle.ttl, handle.lifetime) == (600, "job")
    with store.scope() as scope:
        write(OutliveSink(scope, key="name"), block_of([VALUES], name=["b"]))
        assert "b" in store
    assert list(store) == ["a"]


def test_a_write_without_rows(store: outlive.Store) -> None:
    assert write(OutliveSink(store, key="name"), block_of([])) == []
    assert list(store) == []


# --- reading


def test_handles_by_node(played: PlayedCluster, store: outlive.Store) -> None:
    draft = Writer(played.shelves["b"]).draft_of(VALUES, store=store.name)
    draft.seal()
    there, here = outlive.ArrayHandle(draft.info, "b"), store.put(VALUES)
    gone = store.put(VALUES)
    store.delete(gone)
    assert _by_node([there, here, there, gone]) == {"b": [there, there], "a": [here], None: [gone]}
    assert _by_node([]) == {None: []}
    assert not played.shelves["a"].has(there.id)  # nothing was read


@pytest.mark.parametrize(("count", "tasks"), [(1, 1), (5, 5), (5, 2), (0, 1)])
def test_a_task_reads_its_handles(store: outlive.Store, count: int, tasks: int) -> None:
    handles = [store.put(VALUES[:8]) for _ in range(count)]
    made = _Handles(handles, "scan", tasks).get_read_tasks(7)
    blocks = [list(sent(task)()) for task in made]
    assert len(made) == tasks
    assert [row["scan"] for (block,) in blocks for row in BlockAccessor.for_block(block).iter_rows(True)] == handles
    assert [task.metadata.num_rows for task in made] == [block.num_rows for (block,) in blocks]
    assert len(list(_portions(handles, tasks))) == tasks


def test_only_handles_are_read(store: outlive.Store) -> None:
    with pytest.raises(TypeError, match=r"store\.handle\(key\).* not str"):
        outlive.data.read(["key"])  # type: ignore[list-item]
