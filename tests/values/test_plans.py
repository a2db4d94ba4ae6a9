"""Values that are read again of the same structure: by a plan, and as they were the first time."""

from __future__ import annotations

import contextlib
import gc
import weakref
from typing import Any

import numpy as np
import pytest

from outlive.errors import CorruptArray
from outlive.values import registry, wire
from outlive.values.packing import pack
from outlive.values.structure import Structure, mark_foreign, unpack
from tests.values.test_values import joined

Array = np.ndarray[Any, Any]
TREES: dict[str, Any] = {
    "dict": {"a": np.arange(3), "b": 1, "c": [np.ones((2, 3)), "é", None, 2.5, True]},
    "list": [np.zeros((0, 3)), np.array(7), np.arange(4, dtype=">i2")],
    "tuple": (np.asfortranarray(np.arange(6.0).reshape(2, 3)), {"t": ()}, np.array(["2020"], "M8[D]")),
    "array": np.ma.getdata(np.ma.masked_array(np.arange(3))),
}


def bytes_of(value: Any, *, pickle: bool = False) -> Array:
    return joined(pack(value, pickle=pickle)).copy()


def plan_of(data: Array) -> Any:
    return Structure.of(data)._plan


def same(found: Any, value: Any) -> None:
    assert type(found) is type(value)
    if isinstance(value, np.ndarray):
        assert found.dtype == value.dtype and found.flags.f_contiguous == value.flags.f_contiguous
        np.testing.assert_array_equal(found, value, strict=True)
    elif isinstance(value, dict):
        assert list(found) == list(value)
        same(list(found.values()), list(value.values()))
    elif isinstance(value, list | tuple):
        assert len(found) == len(value)
        for one, other in zip(found, value, strict=True):
            same(one, other)
    else:
        assert found == value


def frame(rows: int = 4) -> Any:
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    if int(pd.__version__.split(".")[0]) < 3:
        pytest.skip("there is no plan for frames of pandas 2")
    made = pd.DataFrame(np.arange(3.0 * rows).reshape(rows, 3), columns=["a", "b", "c"]).copy()
    made["n"] = np.arange(rows)
    made["w"] = [f"é{number}" if number % 2 else None for number in range(rows)]
    made["v"] = ["x"] * rows
    return made


@pytest.mark.parametrize("name", sorted(TREES))
def test_a_tree_of_arrays(name: str) -> None:
    data = bytes_of(TREES[name])
    data.flags.writeable = False
    for pickle in (False, True, False, True):
        found = unpack(data, pickle=pickle)
        same(found, TREES[name])
    assert plan_of(data) is not None


def test_what_occurs_twice_is_one_object_and_arrays_are_views() -> None:
    one = np.arange(1000.0)
    data = bytes_of({"a": one, "b": [one]})
    for _ in range(4):
        found = unpack(data)
        assert found["a"] is found["b"][0] and np.shares_memory(found["a"], data)
        found["a"][0] += 1  # the bytes may be written to, and so may the array
    assert plan_of(data) is not None and found["a"][0] == 4


def test_read_only_bytes_give_read_only_arrays() -> None:
    data = bytes_of([np.arange(1000.0)])
    data.flags.writeable = False
    assert not any(unpack(data)[0].flags.writeable for _ in range(4))


@pytest.mark.parametrize("value", [{1: np.ones(3)}, [1j, np.ones(2)], {"a": object}])
def test_other_values_are_read_without_one(value: Any) -> None:
    data = bytes_of(value, pickle=True)
    for _ in range(4):
        assert str(unpack(data)) == str(value)
    assert plan_of(data) is None


def test_a_frame() -> None:
    import pandas as pd

    value = frame()
    data = bytes_of(value)
    for _ in range(5):
        found = unpack(data)
        pd.testing.assert_frame_equal(found, value)
        pd.testing.assert_frame_equal(found.assign(z=1).iloc[:, ::-1], value.assign(z=1).iloc[:, ::-1])
        assert np.shares_memory(found["a"].to_numpy(), data)
    assert plan_of(data) is not None


def test_what_is_changed_in_a_frame_is_in_no_later_one() -> None:
    import pandas as pd

    value = frame()
    for _ in range(5):
        found = unpack(bytes_of(value))
        pd.testing.assert_frame_equal(found, value)
        found.columns.name = found.index.name = "changed"
        found.attrs["a"] = 1
        found.insert(1, "z", 5)
        found.loc[0, "w"] = "changed"
        found.iloc[0, 0] = -1.0
        with contextlib.suppress(ValueError):  # pandas 3.1 lets nobody
            found["v"].array[0] = found.columns.array[0] = "changed"
    assert not unpack(bytes_of(value)).attrs


def test_frames_of_other_bytes_with_the_same_structure() -> None:
    value = frame()
    other = value.assign(a=-value["a"], v=["y"] * len(value))
    for one in (value, other) * 3:
        data = bytes_of(one)
        assert unpack(data).equals(one)


def test_a_plan_keeps_no_bytes() -> None:
    data = bytes_of(frame(3000))
    for _ in range(3):
        unpack(data)
    assert plan_of(data) is not None
    gone = weakref.ref(data)
    del data
    gc.collect()
    assert gone() is None


def planned_text() -> tuple[Array, Array]:
    """The bytes of a frame that has a plan, and the ends of its last column of text."""
    data = bytes_of(frame())
    for _ in range(3):
        unpack(data)
    structure = Structure.of(data)
    assert structure._plan is not None
    steps = [step for step in structure._plan._steps if getattr(step, "dtype", None) == np.int64]
    ends = np.ndarray(steps[-1].shape, np.int64, data, steps[-1].offset)
    return data, ends


def test_who_refuses_pickle_looks_at_text_all_the_same() -> None:
    data, ends = planned_text()
    ends[1] = 1 << 40
    with pytest.raises(CorruptArray):
        unpack(data, pickle=False)


@pytest.mark.parametrize("at", [0, -1], ids=["first", "last"])
def test_a_damaged_end_of_a_text_is_noticed_at_each_reading(at: int) -> None:
    data, ends = planned_text()
    ends[at] = 1 << 40 if at else -8
    with pytest.raises(CorruptArray):
        unpack(data)


def test_bytes_from_outside_have_no_plan_for_a_codec() -> None:
    data = bytes_of(frame())
    mark_foreign(data)
    for _ in range(4):
        unpack(data)
    assert plan_of(data) is None


def test_what_cannot_be_read_leaves_no_plan() -> None:
    data = bytes_of({"a": np.arange(1000)})
    changed = joined(pack({"a": np.arange(1000)})).tobytes().replace(b'"shape":[1000]', b'"shape":[1001]')
    size = wire.structure_size(changed)
    text = changed[-wire.TRAILER_SIZE - size : -wire.TRAILER_SIZE]
    tail = wire._TRAILER.pack(size, len(changed), wire.checksum(text, 0), 0, wire.MAGIC)
    wrong = np.frombuffer(changed[: -wire.TRAILER_SIZE] + tail, np.uint8)
    for _ in range(4):
        with pytest.raises(CorruptArray):
            unpack(wrong)
        assert unpack(data)["a"][999] == 999
    assert plan_of(wrong) is None


@pytest.mark.parametrize("state", [5, 1.5, None, True, "text", {}, []], ids=str)
def test_a_codec_whose_state_is_plain_data(state: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Own:
        def __init__(self, state: Any) -> None:
            self.state = state

    monkeypatch.setattr(registry, "_by_type", dict(registry._by_type))
    monkeypatch.setattr(registry, "_by_name", dict(registry._by_name))
    registry.register(Own, lambda own: own.state, Own, name="own")
    data = bytes_of(Own(state))
    for _ in range(4):
        assert unpack(data).state == state


@pytest.mark.parametrize("library", ["fails", "makes something else", "has no way"])
def test_a_frame_is_read_where_its_library_is_another(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    value = frame()
    data = bytes_of(value.assign(other=library))
    makes = {"fails": lambda parts: parts[99], "makes something else": lambda parts: parts, "has no way": None}
    monkeypatch.setitem(registry._planners, "pandas.frame", lambda form, made: makes[library])
    for _ in range(4):
        assert unpack(data)[list(value)].equals(value)
    assert plan_of(data) is None
