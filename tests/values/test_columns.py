"""Large trees of plain data are columns: they come back as they were, in part too, and no bytes do harm."""

from __future__ import annotations

import collections
import contextlib
import gc
import itertools
import math
import os
import random
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outlive.collecting import without_collections
from outlive.errors import CorruptArray, PickleRefused, UnknownType
from outlive.values import arrays, columns, packing, rows, wire
from outlive.values.packing import pack
from outlive.values.structure import Structure, unpack
from tests.long import few
from tests.values.classes_of_data import Colour
from tests.values.test_values import Array, altered, assert_same, joined, there_and_back

RECORDS: list[Any] = [
    {"id": n, "name": f"patient {n}", "visits": [n / 7, -0.0, math.nan], "tags": ("a", None), "seen": n % 3 == 0}
    for n in range(100)
]


@pytest.fixture(autouse=True)
def small_trees_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_SMALL", 0)
    monkeypatch.setattr(columns, "_RECORDS", 2)


def kinds_of(value: Any) -> list[str]:
    return [wire.kind_of(node) for node in Structure.of(joined(pack(value)))._nodes]


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(min_value=2**62, max_value=2**300),
    st.floats(allow_nan=True, allow_infinity=True), st.text(), st.text(st.characters(categories=["Cs"])),
    st.binary(max_size=40), st.binary(min_size=8, max_size=8).map(lambda bits: np.frombuffer(bits, "f8").tolist()[0]),
)  # fmt: skip
keys = st.one_of(st.text(), st.integers(), st.none(), st.booleans(), st.floats(), st.binary(max_size=9))
plain_trees = st.recursive(
    scalars,
    lambda inside: st.one_of(
        st.lists(inside),
        st.lists(inside).map(tuple),
        st.dictionaries(keys, inside),
        st.lists(st.fixed_dictionaries({"a": inside, "b": inside}), max_size=5),
    ),
    max_leaves=40,
)


@settings(max_examples=few(200), deadline=None)
@given(plain_trees)
def test_plain_trees_come_back(value: Any) -> None:
    assert_same(there_and_back(value), value)
    if isinstance(value, list | tuple | dict):
        assert_same(there_and_back([value, np.ones(2)])[0], value)


def test_a_large_tree_is_a_few_columns_and_only_with_what_is_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(kinds_of(RECORDS)) == {"column", "plain"} and len(kinds_of(RECORDS)) < 16
    assert_same(there_and_back(RECORDS), RECORDS)
    for odd in (Colour.RED, np.float64(3), np.ones(2), {1}, 1j, bytearray(b"x"), collections.OrderedDict(), {(1,): 2}):
        value = {"records": RECORDS, "inside": {"deeper": [[odd]]}}
        assert "plain" in kinds_of(value) and not {"dict", "list"} - set(kinds_of(value))
        assert_same(there_and_back(value), value)
    monkeypatch.undo()
    assert set(kinds_of([{"a": (1, 2)}, [3.5]])) == {"dict", "list", "tuple"}  # small ones stay readable


def test_types_that_look_alike_stay_what_they_are() -> None:
    values: list[Any] = [
        [True, 1, 1.0, None, 0, False, -0.0], [{1: "a"}, {True: "a"}, {1.0: "a"}], [[1], (1,)], [b"a", "a"],
        [{"a": 1, "b": 2}, {"b": 2, "a": 1}], [{"a": 1}, {np.str_("a"): 1}], [{}, {}], [[], []], [()],
        [2**63, -(2**63)],
        [2**31, -(2**31) - 1], ["\ud83d", "\ude00"], ["", "é", "x"], [{None: 1}], [b"", b""], [{"a\ud800": 1}] * 3,
        [{"": {}}, {"": {}}], {2**64: 1}, {"1": 1, 1: 2},
    ]  # fmt: skip
    for value in values:
        assert_same(there_and_back(value, pickle=True), value)


def test_what_is_shared_stays_shared() -> None:
    one: list[Any] = [1, 2]
    pair = (one, 3)
    found = there_and_back([one, [5], one, {"a": one}, pair, pair])
    assert found[0] is found[2] is found[3]["a"] is found[4][0] and found[4] is found[5] and found[0] is not found[1]
    found = there_and_back([{"labels": one, "n": n} for n in range(50)])
    assert all(record["labels"] is found[0]["labels"] for record in found)
    assert "plain" in kinds_of([{"labels": one, "n": n} for n in range(50)])
    for value in ({"a": [one], "b": [np.ones(1), one]}, {"a": [np.ones(1), one], "b": [one, [4]]}):
        found = there_and_back(value)
        assert any(item is found["b"][0] or item is found["b"][1] for item in found["a"])
    wide: Any = (1, 2)
    for _ in range(25):  # twice as many each time, if each were written
        wide = (wide, wide)
    assert pack(wide).nbytes < 20_000
    deep: Any = [1, 2]
    for _ in range(25):
        deep = {"a": deep, "b": deep}
    assert pack(deep).nbytes < 20_000


def test_what_holds_itself_or_is_deep_is_no_column() -> None:
    value: list[Any] = [[1, 2, 3]]
    value.append(value)
    found = there_and_back(value, pickle=True)
    assert found[1] is found
    deep: Any = RECORDS
    for _ in range(60):
        deep = [deep]
    assert "plain" in kinds_of(deep)
    found = there_and_back(deep)
    for _ in range(60):
        (found,) = found
    assert_same(found, RECORDS)


def test_objects_are_looked_at_in_vain_a_few_times_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each level has many objects, and what is not plain is below all of them."""
    looked = []

    class Counting(columns.Shredder):
        def _shred(self, column: Any) -> None:
            looked.append(len(column.items))
            super()._shred(column)

    monkeypatch.setattr(packing, "Shredder", Counting)
    monkeypatch.setattr(packing, "_VAIN", 0)
    value: Any = [[1j]] * 2
    for _ in range(60):
        value = [value, [[n] for n in range(100)], [1j]]
    pack(value)
    assert sum(looked) < 20 * 60 * 200


# --- a part


def part(value: Any, *path: Any) -> tuple[Any, int]:
    """A part, and the bytes that were read for it."""
    data = joined(pack(value))
    structure, asked = Structure.of(data), 0

    def read(offset: int, size: int) -> Array:
        nonlocal asked
        asked += size
        return data[offset : offset + size]

    entry, rest = structure.find(structure.root, path)
    found = structure.value(entry, read, rest, pickle=False)
    assert asked <= sum(size for _, size in structure.buffers(entry))
    return found, asked


def test_a_part_reads_its_columns_only() -> None:
    whole = joined(pack(RECORDS)).nbytes
    paths: list[tuple[tuple[Any, ...], Any]] = [
        ((7, "id"), 7), ((-1, "name"), "patient 99"), ((50, "visits", 0), 50 / 7), ((3, "tags", 0), "a"),
        ((3, "tags"), ("a", None)),
    ]  # fmt: skip
    for path, wanted in paths:
        found, asked = part(RECORDS, *path)
        assert found == wanted and asked < whole / 2
    assert_same(part(RECORDS, 9)[0], RECORDS[9])
    tree: Any = {
        "a": {1: [1, "x", None, [2.5]], "b": ()},
        "rows": RECORDS,
        2.5: [[], [1], [2, 3]],
        "far": [np.ones(3), RECORDS],
    }
    for value in (tree, {key: one for key, one in tree.items() if key != "far"}):
        paths = [
            (("a", 1, 3, 0), 2.5), (("a", 1, -3), "x"), (("rows", 4, "id"), 4), ((2.5, 2, 1), 3), (("a", "b"), ()),
            (("a", 1, 1, 0), "x"),
        ]  # fmt: skip
        for path, wanted in paths:
            assert part(value, *path)[0] == wanted
        wrong: list[tuple[tuple[Any, ...], Any]] = [
            (("no",), KeyError), (("a", 7), KeyError), (("a", 1, 4), IndexError), (("a", 1, "x"), TypeError),
            (("rows", 100), IndexError), (("rows", 0, "no"), KeyError), (("rows", "x"), TypeError),
            ((2.5, 0, 0), IndexError),
            (("rows", 0, "id", 0), TypeError),
        ]  # fmt: skip
        for path, error in wrong:
            with pytest.raises(error):
                part(value, *path)


# --- small arrays


def test_small_arrays_of_one_kind_are_one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    value = [np.full((3, 4), n, dtype) for dtype in ("<f8",) for n in range(20)]
    assert kinds_of(value) == ["column", "column", "plain"]
    found = there_and_back(value)
    assert_same(found, value)
    assert all(one.base is not None and not one.flags.writeable for one in found)
    assert found[0].__array_interface__["data"][0] + 96 == found[1].__array_interface__["data"][0]
    same = np.ones(8)
    found = there_and_back([same, np.zeros(8), same])
    assert found[0] is found[2] and found[0][0] == 1
    found = there_and_back({"a": [same, np.zeros(8)], "b": {1: (same, {1, 2})}})
    assert found["a"][0] is found["b"][1][0]
    records = [{"id": n, "embedding": np.full(16, n, "f4")} for n in range(64)]
    assert_same(there_and_back(records), records)
    with monkeypatch.context() as patch:
        patch.setattr(arrays, "describe", lambda _: None)  # a dtype that the .npy format does not have
        assert kinds_of(value) == ["pickle"] * len(value) + ["list"]
    assert part(records, 5, "embedding")[0][0] == 5


@pytest.mark.parametrize(
    "arrays",
    [
        [np.ones(4), np.ones(5)], [np.ones(4), np.ones(4, "f4")],
        [np.asfortranarray(np.ones((3, 4)))] * 2, [np.array(1.0)],
        [np.ones((3, 4)).T, np.zeros((3, 4)).T], [np.ones(20)[::2], np.ones(20)[::2]],
        [np.ones(4, ">f8"), np.zeros(4, ">f8")],
        [np.zeros(9, "i4,f8"), np.zeros(9, "i4,f8")], [np.ones((0, 3)), np.ones((0, 3))],
        [np.ones(3, "u1"), np.zeros(3, "u1")],
        [np.array(["abc", "d"] * 9), np.array(["xyz", "d"] * 9)], [np.ones(900), np.zeros(900)],
    ],
    ids=repr,
)  # fmt: skip
def test_arrays_of_any_kind_come_back(arrays: list[Array]) -> None:
    found = there_and_back([*arrays, "x"])
    assert_same(found[:-1], arrays)
    for one, wanted in zip(found, arrays, strict=False):
        assert one.flags.f_contiguous == wanted.flags.f_contiguous or not wanted.flags.forc


# --- damaged and malicious bytes


def tree_of(*nodes: Any) -> list[Any]:
    return [*nodes, {"plain": [len(nodes) - 1]}]


FLAGS = {"column": "flag", "data": 0}
MALICIOUS: list[list[Any]] = [
    tree_of({"column": "flag", "data": 9}), tree_of({"column": "nonsense", "data": 0}), tree_of({"column": []}),
    tree_of({"column": "flag"}),
    tree_of(FLAGS), tree_of({"column": "list", "each": 8, "of": []}),
    tree_of({"column": "list", "each": 8, "of": [0]}),
    tree_of({"column": "list", "each": 8, "of": [[0]]}), tree_of(FLAGS, {"column": "list", "each": 0, "of": [[0]]}),
    tree_of(FLAGS, {"column": "list", "each": 3, "of": [[0]]}),
    tree_of(FLAGS, {"column": "list", "each": True, "of": [[0]]}),
    tree_of(FLAGS, {"column": "list", "each": 8, "of": [[0], [0]]}),
    tree_of(FLAGS, {"column": "list", "ends": 0, "of": [[0]]}),
    tree_of(FLAGS, {"column": "list", "ends": 1, "of": [[0]]}),
    tree_of(FLAGS, {"column": "record", "keys": ["a", "a"], "of": [[0]]}),
    tree_of(FLAGS, {"column": "record", "keys": ["a", "b"], "of": [[0], [0]]}),
    tree_of(FLAGS, {"column": "record", "keys": [1], "of": [[0]]}),
    tree_of({"column": "record", "keys": [], "of": []}),
    tree_of(FLAGS, {"column": "record", "keys": "a", "of": [[0]]}),
    tree_of(FLAGS, {"column": "record", "keys": "a", "of": [[0]]}, {"column": "list", "each": 8, "of": [[1]]}),
    tree_of(FLAGS, FLAGS, {"column": "map", "each": 8, "of": [[0], [1]]}),
    tree_of({"column": "mixed", "codes": 0, "of": []}),
    tree_of(FLAGS, {"column": "mixed", "codes": 1, "of": [[0]]}),
    tree_of(FLAGS, {"column": "shared", "index": 1, "of": [[0]]}),
    tree_of({"column": "text", "data": 0, "ends": 0}), tree_of({"column": "text", "data": 0, "ends": 1}),
    tree_of({"column": "int", "data": 2}),
    tree_of({"column": "float", "data": 2}),
    tree_of({"column": "int", "data": 0, "bits": 64}, FLAGS, {"column": "list", "each": 1, "of": [[0]]}),
    tree_of({"column": "array", "data": 0, "dtype": "'|u1'", "shape": [8]}),
    tree_of({"column": "array", "data": 3, "dtype": "'|u1'", "shape": []}),
    tree_of({"column": "array", "data": 3, "dtype": "'|V0'", "shape": [8]}),
    tree_of({"column": "array", "data": 3, "dtype": "'O'", "shape": [8]}),
    tree_of({"column": "array", "data": 3, "dtype": "'|u1'", "shape": [64, 0]}),
    tree_of({"column": "array", "data": 3, "dtype": "'|u1'", "shape": ["x"]}),
    [FLAGS, {"list": [[0]]}], [{"plain": [0]}], [{"plain": 0}], [FLAGS, {"plain": [0]}, {"plain": [0]}],
    [FLAGS, {"column": "list", "each": 8, "of": [[0]]}],
    [{"list": []}, {"column": "list", "each": 1, "of": [[0]]}, {"plain": [1]}],
    [FLAGS, {"column": "list", "each": 8, "of": [[0]]}, {"plain": [1]}, {"plain": [1]}, {"list": [[2], [3]]}],
]  # fmt: skip


@pytest.mark.parametrize("nodes", MALICIOUS, ids=repr)
def test_malicious_columns_are_refused(nodes: Any) -> None:
    data = altered(nodes, [len(nodes) - 1], [(0, 8), (8, 8), (16, 3), (24, 64)], b"\x01" * 88)
    with pytest.raises((CorruptArray, UnknownType)):
        unpack(data, pickle=False)
    structure = Structure.of(data)
    with contextlib.suppress(CorruptArray, KeyError, IndexError, TypeError):  # as if it were not there
        entry, rest = structure.find(structure.root, (0, "a"))
        structure.value(entry, lambda offset, size: data[offset : offset + size], rest, pickle=False)


def test_containers_are_no_more_than_bytes_allow() -> None:
    """Each level of lists has as many as there are bytes, and stores none for them."""
    nodes: list[Any] = [FLAGS, *({"column": "list", "each": 1, "of": [[n]]} for n in range(50))]
    nodes = tree_of(*nodes, {"column": "list", "each": 10_000, "of": [[50]]})
    with pytest.raises(CorruptArray, match="more containers than bytes"):
        unpack(altered(nodes, [len(nodes) - 1], [(0, 10_000)], bytes(10_000)))
    value: Any = [[[[[None]]]] for _ in range(1000)]  # is as light, and is given the bytes
    assert_same(there_and_back(value), value)


def test_columns_are_not_deep() -> None:
    nodes = tree_of(FLAGS, *({"column": "list", "each": 1, "of": [[n]]} for n in range(5000)))
    with pytest.raises(CorruptArray, match="nested too deeply"):
        unpack(altered(nodes, [len(nodes) - 1], [(0, 1)], bytes(100_000)))


def test_random_damage_to_columns_is_an_error_or_a_value() -> None:
    """Half of the changes are in the buffers; all mend the checksum."""
    chosen = random.Random(7)
    value = [
        *RECORDS[:9],
        [1, "x", None, b"q" * 9, {1: (2, 3), None: 2**70}],
        *[np.full(9, float(n)) for n in range(4)],
    ]
    whole = bytearray(joined(pack([value, [[]]], pickle=False)).tobytes())
    length = Structure.length(bytes(whole[-wire.TRAILER_SIZE :]), len(whole))
    paths = [(), (0, 9, 4, 1), (0, 3, "visits"), (0, 12), (0, 9, 4, None)]
    for _ in range(600):
        data = bytearray(whole)
        for _ in range(chosen.randint(1, 4)):
            if chosen.random() < 0.5:
                data[chosen.randrange(len(data) - length, len(data) - 32)] = chosen.choice(b'0123456789[]{},:"xyz-\xff')
            else:
                data[chosen.randrange(len(data) - length)] = chosen.choice([0, 1, 2, 7, 127, 128, 255])
        text = bytes(data[-length : -wire.TRAILER_SIZE])
        data[-wire.TRAILER_SIZE :] = wire._TRAILER.pack(len(text), len(data), wire.checksum(text, 0), 0, wire.MAGIC)
        array = np.frombuffer(data, np.uint8)
        for path in paths:
            missing = (KeyError, IndexError, TypeError) if path else ()
            with contextlib.suppress(CorruptArray, UnknownType, PickleRefused, *missing):
                structure = Structure.of(array)
                entry, rest = structure.find(structure.root, path)
                structure.value(entry, lambda offset, size: array[offset : offset + size], rest, pickle=False)  # noqa: B023


# --- the collector


@pytest.fixture
def collector() -> Iterator[None]:
    """It is on at first, whatever an interrupted call of Ray has left."""
    gc.enable()
    yield
    gc.enable()


@pytest.mark.usefixtures("collector")
def test_the_collector_rests_while_many_objects_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    data = joined(pack([{"id": n} for n in range(20_000)]))
    states, get = [], rows._Records.get

    def spied(*args: Any) -> Any:
        states.append(gc.isenabled())
        return get(*args)

    monkeypatch.setattr(rows._Records, "get", spied)
    assert len(unpack(data)) == 20_000 and gc.isenabled()
    assert len(unpack(joined(pack([{"id": n} for n in range(300)])))) == 300 and states == [False, True]
    monkeypatch.setattr(rows._Records, "get", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        unpack(data)
    assert gc.isenabled()
    assert not without_collections(lambda: without_collections(gc.isenabled)) and gc.isenabled()
    gc.disable()  # as a program may have chosen
    assert not without_collections(gc.isenabled) and not gc.isenabled()


@pytest.mark.usefixtures("collector")
def test_a_signal_that_raises_leaves_the_collector_on() -> None:
    """Whenever it comes, and even if somebody keeps the error."""
    kept, place = [], 0

    def interrupt(_: FrameType, event: str, __: object) -> None:
        nonlocal place
        if event.endswith("return"):  # of C functions too
            place -= 1
            if place == 0:
                raise KeyboardInterrupt

    for step in itertools.count(1):
        place = step
        sys.setprofile(interrupt)
        try:
            without_collections(gc.isenabled)
        except KeyboardInterrupt as error:
            kept.append(error)
        finally:
            sys.setprofile(None)
        assert gc.isenabled(), step
        if place > 0:
            break
    assert len(kept) > 5


@pytest.mark.usefixtures("collector")
def test_a_child_that_is_forked_meanwhile_has_a_collector() -> None:
    def fork() -> int:
        child = os.fork()
        if not child:
            os._exit(not gc.isenabled())
        assert not gc.isenabled()
        return child

    assert os.waitpid(without_collections(fork), 0)[1] == 0
