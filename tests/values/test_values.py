"""Values come back as they were, and no bytes do harm."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import enum
import json
import math
import pickle
import random
import subprocess
import sys
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from outlive.arrays.packed import Packed
from outlive.errors import CorruptArray, PickleRefused, UnknownType, UnsupportedArray
from outlive.store.values import stored_form
from outlive.values import registry, wire
from outlive.values.packing import pack
from outlive.values.structure import Structure, unpack
from tests.long import few
from tests.values import classes_of_data

Array = np.ndarray[Any, Any]


def joined(packed: Packed) -> Array:
    data = np.frombuffer(b"".join(part.tobytes() for part in packed.parts), np.uint8)
    assert data.nbytes == packed.nbytes
    return data


def there_and_back(value: Any, *, pickle: bool = False) -> Any:
    return unpack(joined(pack(value, pickle=pickle)), pickle=pickle)


def assert_same(found: Any, wanted: Any) -> None:
    """The same value, of the same types, down to NaNs and negative zeros."""
    assert type(found) is type(wanted)
    if isinstance(wanted, np.ma.MaskedArray):
        assert_same(found.data, wanted.data)
        np.testing.assert_array_equal(np.ma.getmaskarray(found), np.ma.getmaskarray(wanted))
        assert found.fill_value == wanted.fill_value or found.fill_value != found.fill_value
    elif isinstance(wanted, np.ndarray):
        assert found.dtype == wanted.dtype and found.shape == wanted.shape
        if wanted.dtype.char == "T":
            assert found.tolist() == wanted.tolist()
        else:
            assert found.tobytes() == wanted.tobytes()
    elif isinstance(wanted, dict):
        assert len(found) == len(wanted)
        for (key, one), (other, two) in zip(found.items(), wanted.items(), strict=True):
            assert_same(key, other)
            assert_same(one, two)
    elif isinstance(wanted, list | tuple):
        assert len(found) == len(wanted)
        for one, two in zip(found, wanted, strict=True):
            assert_same(one, two)
    elif isinstance(wanted, classes_of_data.Scan):
        assert_same(vars(found), vars(wanted))
    elif isinstance(wanted, np.longdouble | np.clongdouble):  # six of its bytes are never set
        assert found == wanted
    elif isinstance(wanted, float | complex | np.generic):
        assert np.asarray(found).tobytes() == np.asarray(wanted).tobytes()
    else:
        assert found == wanted


numbers = st.floats(allow_nan=True, allow_infinity=True)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(min_value=2**62, max_value=2**5000), numbers,
    st.complex_numbers(), st.text(), st.text(st.characters(categories=["Cs"])), st.binary(max_size=600),
)  # fmt: skip
dtypes = st.one_of(
    hnp.scalar_dtypes(), hnp.unicode_string_dtypes(), hnp.byte_string_dtypes(), hnp.datetime64_dtypes(),
    hnp.array_dtypes(hnp.scalar_dtypes(), allow_subarrays=False),
)  # fmt: skip
some_arrays = hnp.arrays(dtypes, hnp.array_shapes(min_dims=0, min_side=0, max_side=4))
keys = st.one_of(st.text(), st.integers(), st.none(), st.tuples(st.text(), st.integers()))
trees = st.recursive(
    st.one_of(scalars, some_arrays),
    lambda inside: st.one_of(
        st.lists(inside, max_size=4),
        st.dictionaries(keys, inside, max_size=4),
        st.tuples(inside, inside),
        st.dictionaries(st.text(), inside, max_size=3).map(collections.OrderedDict),
        st.builds(classes_of_data.Scan, inside, inside),
        st.builds(classes_of_data.Pair, inside, inside),
    ),
    max_leaves=12,
)


@settings(max_examples=few(150), deadline=None)
@given(trees)
def test_trees_come_back_without_pickle(value: Any) -> None:
    assert_same(there_and_back(value), value)


def test_attributes_of_an_ordered_dict_come_back() -> None:
    weights = collections.OrderedDict({"w": np.ones(3)})
    weights._metadata = collections.OrderedDict({"": {"version": 2}})  # type: ignore[attr-defined]  # as PyTorch's
    for value in (weights, {"models": [weights, weights]}):
        for pickle_ in (False, True):
            again = there_and_back(value, pickle=pickle_)
            assert_same(again, value)
            found = again if type(again) is collections.OrderedDict else again["models"][1]
            assert_same(vars(found), vars(weights))
            assert found["w"].base is not None  # a view, as everything that is not pickled


def test_attributes_that_are_none_are_damage() -> None:
    weights = collections.OrderedDict({"w": 1})
    weights.more = 2  # type: ignore[attr-defined]
    data = joined(pack(weights, pickle=False))
    text = data.tobytes()[: -wire.TRAILER_SIZE]
    for entry in (b"[9]", b"true", b'"x"'):
        other = text.replace(b'"attributes":[0]', b'"attributes":' + entry)
        assert other != text
        size, _, _, flags, magic = wire._TRAILER.unpack(data[-wire.TRAILER_SIZE :].tobytes())
        size += len(other) - len(text)
        tail = wire._TRAILER.pack(size, len(other) + wire.TRAILER_SIZE, wire.checksum(other, flags), flags, magic)
        with pytest.raises(CorruptArray):
            unpack(np.frombuffer(other + tail, np.uint8))


@settings(max_examples=few(100), deadline=None)
@given(some_arrays)
def test_arrays_come_back_in_any_order(array: Array) -> None:
    for one in (array, array.T, array[..., None], array[::2] if array.ndim else array):
        assert_same(there_and_back({"a": one})["a"], one)


@pytest.mark.parametrize(
    "value",
    [
        np.float64(3), np.int8(-1), np.str_("é\ud800"), np.str_(""), np.bytes_(b"a\0b"), np.datetime64("2020-01-01"),
        np.timedelta64(3, "s"), np.longdouble(1) / 3, np.bool_(True), np.zeros(2, "i4,f8")[0], np.void(b"abc"),
        {1, 2, "x", None}, frozenset({(1, "a")}), classes_of_data.Colour.RED, {classes_of_data.Colour.RED: 1},
        bytearray(b"abc"), b"y" * 5000, -0.0, float("inf"), {True: 1, "1": 2}, {float("nan"): 1},
        classes_of_data.Frozen(1),
        classes_of_data.Slots(1, "b"), [], {}, (), "\ud83d\ude00", np.array("x"), np.zeros((0, 3)),
        np.zeros((3, 0, 2), "V0"),
        np.ma.MaskedArray([1.0, 2.0], [False, True], fill_value=7), np.ma.MaskedArray(np.ones((2, 2)), hard_mask=True),
        np.ma.MaskedArray(np.zeros(2, "i4,f8"), mask=[(True, False), (False, False)]),
    ],
    ids=lambda value: type(value).__name__,  # the order of a set's text differs between processes
)  # fmt: skip
def test_this_comes_back_without_pickle(value: Any) -> None:
    assert_same(there_and_back(value), value)
    assert_same(there_and_back([value, value])[1], value)


@pytest.mark.skipif(not hasattr(np.dtypes if hasattr(np, "dtypes") else np, "StringDType"), reason="from NumPy 2")
def test_text_of_any_length_comes_back() -> None:
    kind: Any = np.dtypes.StringDType  # type: ignore[attr-defined]
    for array in (
        np.array(["a", "", "é" * 50], "T"),
        np.array([["a", None]], kind(na_object=None)),
        np.array([], "T"),
        np.array("x", "T"),
        np.array([], kind(na_object=None)),
    ):
        assert_same(there_and_back(array), array)
    nan = there_and_back(np.array(["a", np.nan], kind(na_object=np.nan)))
    assert nan[0] == "a" and math.isnan(nan[1])


def test_numbers_of_ml_dtypes_come_back() -> None:
    ml = pytest.importorskip("ml_dtypes")
    for kind in (ml.bfloat16, ml.float8_e4m3fn):
        array = np.arange(6).reshape(2, 3).astype(kind)
        assert_same(there_and_back({"a": array, "b": array[1, 1]}), {"a": array, "b": array[1, 1]})


def test_what_occurs_twice_is_stored_once_and_comes_back_shared() -> None:
    array, inner = np.arange(10_000.0), [1]
    packed = pack({"a": array, "b": [array, inner], "c": inner, "d": array.reshape(100, 100)}, pickle=False)
    assert packed.nbytes < array.nbytes + 2 * 4096
    found = unpack(joined(packed))
    assert found["a"] is found["b"][0] and found["c"] is found["b"][1]
    assert np.shares_memory(found["d"], found["a"])


def test_arrays_are_views_of_the_bytes_at_a_page() -> None:
    value = {
        "a": np.ones(5000),
        "b": [np.ones(3), np.asfortranarray(np.ones((70, 80)))],
        "c": object_with(np.ones(600)),
    }
    packed = pack(value)
    assert any(np.shares_memory(part, value["a"]) for part in packed.parts)  # it is not copied on the way in either
    data = joined(packed)
    found = unpack(data)
    for array in (found["a"], found["b"][0], found["b"][1], found["c"].inside):
        assert np.shares_memory(array, data) and not array.flags.writeable
        offset = array.__array_interface__["data"][0] - data.__array_interface__["data"][0]
        assert offset % (4096 if array.nbytes >= 4096 else 64) == 0
    assert unpack(data.copy())["a"].flags.writeable  # a private map can be written to


class Side(enum.Enum):
    LEFT = 1


@pytest.mark.parametrize("key", [b"y" * 300, Side.LEFT, ("a", 1), 2.5])
def test_a_part_is_found_by_its_key_whatever_that_is(key: Any) -> None:
    """A long key is a buffer, and was taken for an empty one."""
    data = joined(pack({b"x" * 300: 0, b"": "short", key: [7]}))
    structure = Structure.of(data)
    entry, rest = structure.find(structure.root, (key, 0))
    found = structure.value(entry, lambda offset, size: data[offset : offset + size], pickle=True)
    for step in rest:
        found = found[step]
    assert found == 7


def test_only_the_odd_leaf_is_pickled() -> None:
    value = {"odd": object_with(1), "set": {classes_of_data.Frozen(1)}, "plain": [1, np.ones(3)]}
    packed = pack(value)
    assert packed.codec == "tree"
    structure = Structure.of(joined(packed))
    assert structure.pickled
    entry, rest = structure.find(structure.root, ("plain", 0))
    assert (entry, rest) == (1, ())
    found = unpack(joined(packed))
    assert found["odd"].inside == 1 and found["set"] == value["set"]
    with pytest.raises(PickleRefused, match="Holder, stored by pickle"):
        unpack(joined(packed), pickle=False)
    with pytest.raises(PickleRefused, match=r"Holder \(at value\['odd'\]\)"):
        pack(value, pickle=False)


def test_what_holds_itself_is_pickled() -> None:
    value: list[Any] = [np.ones(3)]
    value.append({"again": value})
    assert pack(value).codec == "pickle"
    found = there_and_back(value, pickle=True)
    assert found[1]["again"] is found
    with pytest.raises(PickleRefused):
        pack(value, pickle=False)


def test_deep_values_come_back_or_are_refused() -> None:
    deep: Any = "core"
    for _ in range(150):
        deep = [deep]
    found = there_and_back(deep, pickle=True)
    for _ in range(150):
        (found,) = found
    assert found == "core"
    for _ in range(20_000):
        deep = [deep]
    for allowed in (True, False):
        with pytest.raises(UnsupportedArray, match="nested too deeply|cannot be pickled"):
            pack(deep, pickle=allowed)


def test_a_part_needs_only_its_own_bytes() -> None:
    value = {"image": np.ones(9000), "runs": [{"mask": np.zeros(5000)}, 7], 3: "x"}
    data = joined(pack(value))
    structure, asked = Structure.of(data), []

    def read(offset: int, size: int) -> Array:
        asked.append((offset, size))
        return data[offset : offset + size]

    def part(*path: Any) -> Any:
        entry, rest = structure.find(structure.root, path)
        assert not rest
        assert structure.buffers(entry) == sorted({*structure.buffers(entry)})
        return structure.value(entry, read, pickle=False)

    assert_same(part("runs", 0, "mask"), value["runs"][0]["mask"])  # type: ignore[index]
    assert [size for _, size in asked] == [40_000] == [size for _, size in structure.buffers([1])]
    assert part(3) == "x" and part("runs", -1) == 7 and len(asked) == 1
    for path, error in ((("none",), KeyError), (("runs", 2), IndexError), (("runs", "x"), TypeError)):
        with pytest.raises(error):
            part(*path)
    scan = Structure.of(joined(pack([classes_of_data.Scan(1, [2]), classes_of_data.Pair(3, 4)])))
    for path, wanted in (((0, "image"), 1), ((0, "notes", 0), 2), ((1, "right"), 4), ((1, 0), 3)):
        assert scan.find(scan.root, path) == (wanted, ())
    assert scan.find(scan.root, (0, "image", "more")) == (1, ("more",))


class Holder:
    """A class of which only pickle knows how to store it."""

    inside: Any


def object_with(inside: Any) -> Holder:
    made = Holder()
    made.inside = inside
    return made


# --- what is not stored


def test_what_is_rays_is_refused_wherever_it_is() -> None:
    ray = pytest.importorskip("ray")
    ref = ray.ObjectRef(bytes(28))
    for value in (ref, [ref], {"a": (1, ref)}, object_with(ref), object_with([{"x": ref}])):
        with pytest.raises(UnsupportedArray, match="store what ray.get"):
            pack(value)


def test_what_cannot_be_pickled_is_refused_with_its_place() -> None:
    with pytest.raises(UnsupportedArray, match=r"generator.*\(at value\['a'\]\[1\]\)"):
        pack({"a": [0, (n for n in range(3))]})


# --- classes


def test_classes_are_made_without_running_their_code() -> None:
    found = there_and_back(classes_of_data.Checked.__new__(classes_of_data.Checked))
    assert vars(found) == {}
    made = classes_of_data.Checked(1)
    assert_same(vars(there_and_back(made)), {"value": 1, "seen": 2})


@pytest.mark.parametrize("make", [classes_of_data.WithProperty, classes_of_data.WithHook, classes_of_data.OfList])
def test_classes_with_a_say_are_pickled(make: Any) -> None:
    value = make(5)
    with pytest.raises(PickleRefused):
        pack(value, pickle=False)
    assert there_and_back(value, pickle=True).value == 5


@pytest.mark.parametrize(
    "value",
    [
        classes_of_data.Odd((1, 2, 3)),
        classes_of_data.Unusual.ONE,
        {classes_of_data.Loud.ONE: 1},
    ],
)
def test_values_that_are_not_only_what_they_derive_from_are_pickled(value: Any) -> None:
    for one in (value, classes_of_data.Word("a")):  # NumPy's pickle makes a np.str_ of that
        with pytest.raises(PickleRefused):
            pack([one], pickle=False)
    found = there_and_back([value], pickle=True)[0]
    assert type(found) is type(value) and found == value


def test_enums_of_other_types_are_no_pickle() -> None:
    for member in (classes_of_data.Number.ONE, classes_of_data.Letter.A, _Flag.A):
        assert there_and_back({member: [member]}) == {member: [member]}
        assert type(there_and_back(member)) is type(member)


def test_a_local_class_is_pickled() -> None:
    @dataclasses.dataclass
    class Local:
        value: int

    assert there_and_back([Local(4)], pickle=True)[0].value == 4
    with pytest.raises(PickleRefused):
        pack([Local(4)], pickle=False)


def test_a_module_that_data_name_is_imported_only_with_pickle() -> None:
    data = joined(pack(classes_of_data.Scan(1, 2), pickle=False))
    code = f"""
import sys, numpy as np, outlive
from outlive.values.structure import unpack
data = np.frombuffer({data.tobytes()!r}, np.uint8)
try:
    unpack(data, pickle=False)
except outlive.PickleRefused as error:
    assert "import tests.values.classes_of_data first" in str(error), error
assert "tests.values.classes_of_data" not in sys.modules
assert unpack(data).notes == 2
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.parametrize(
    "name",
    ["tests.values.classes_of_data:Gone", "os:system", "no.such.module:X", "builtins:dict", "builtins:object", "x", ""],
)
@pytest.mark.parametrize("kind", ["dataclass", "namedtuple", "enum"])
def test_other_classes_are_refused(name: str, kind: str) -> None:
    with pytest.raises((CorruptArray, UnknownType)):
        unpack(altered([{kind: name, "fields": {}, "member": "RED"}], [0]))


# --- codecs


class Point:
    def __init__(self, x: float, y: Array) -> None:
        self.x, self.y = x, y


class Point3(Point):
    pass


@pytest.fixture
def codecs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Codecs that a test registers are forgotten after it."""
    monkeypatch.setattr(registry, "_by_type", dict(registry._by_type))
    monkeypatch.setattr(registry, "_by_name", dict(registry._by_name))


@pytest.mark.usefixtures("codecs")
def test_a_codec_of_ones_own() -> None:
    value = [Point(1.5, np.ones(2000)), Point3(1, np.ones(1))]
    registry.register(Point, lambda p: {"x": p.x, "y": p.y}, lambda s: Point(**s), name="point")
    with pytest.raises(PickleRefused, match="Point3"):
        pack(value, pickle=False)
    registry.register(Point, lambda p: {"x": p.x, "y": p.y}, lambda s: Point(**s), name="point", subclasses=True)
    packed = pack(value[0], pickle=False)
    assert packed.codec == "point"
    data = joined(packed)
    found = unpack(data, pickle=False)
    assert found.x == 1.5 and np.shares_memory(found.y, data)
    assert type(there_and_back(value)[1]) is Point
    registry._by_name.clear()
    with pytest.raises(UnknownType, match="codec 'point' of the package tests"):
        unpack(data)


@pytest.mark.usefixtures("codecs")
def test_a_codec_may_leave_a_value_to_pickle() -> None:
    registry.register(Point, lambda _: NotImplemented, lambda s: s, name="point")
    assert pack(Point(1, np.ones(1))).codec == "pickle"


@pytest.mark.usefixtures("codecs")
def test_names_of_codecs_are_checked() -> None:
    registry.register(Point, lambda p: 0, lambda s: s, name="point")
    for name in ("", "array", "pickle", "Point", "a b", "x" * 65):
        with pytest.raises(ValueError, match="codec's name"):
            registry.register(Point, lambda p: 0, lambda s: s, name=name)
    with pytest.raises(ValueError, match="needs no codec"):
        registry.register(dict, lambda p: 0, lambda s: s, name="mine")  # type: ignore[arg-type,return-value]
    with pytest.raises(ValueError, match="is registered for"):
        registry.register(Point3, lambda p: 0, lambda s: s, name="point")


@pytest.mark.usefixtures("codecs")
def test_a_codec_for_a_class_of_numpy_is_used_wherever_the_value_is() -> None:
    registry.register(np.recarray, lambda r: [np.asarray(r)], lambda s: s[0].view(np.recarray), name="numpy.recarray")
    value = np.zeros(3).view(np.recarray)
    stored = stored_form(value, pickle=False)
    assert isinstance(stored, Packed) and stored.codec == "numpy.recarray"
    assert type(there_and_back([value])[0]) is np.recarray


@pytest.mark.usefixtures("codecs")
def test_errors_of_a_codec_say_whose_they_are() -> None:
    registry.register(Point, lambda p: p.x, lambda s: 1 / s, name="point")  # type: ignore[arg-type,return-value]
    with pytest.raises(CorruptArray, match="codec 'point' cannot read"):
        there_and_back(Point(0, np.ones(1)))


@pytest.mark.usefixtures("codecs")
def test_a_value_that_may_be_written_to_says_so() -> None:
    registry.register(Point, lambda p: p.y, lambda s: Point(0, s), name="point", private=True)
    assert Structure.of(joined(pack([Point(0, np.ones(3))]))).private
    assert not Structure.of(joined(pack([1]))).private


# --- damaged and malicious bytes


def altered(nodes: list[Any], root: Any, buffers: list[tuple[int, int]] = [], body: bytes = b"") -> Array:  # noqa: B006
    return np.frombuffer(body + wire.end(nodes, root, buffers, len(body), 0), np.uint8)


NODES: list[Any] = [
    {}, [], 1, {"nonsense": 1}, {"list": 1}, {"list": [[0]]}, {"list": [[-1]]}, {"list": [[5]]}, {"list": [[0, 1]]},
    {"list": [{}]}, {"list": [["x"]]}, {"list": [[True]]}, {"dict": []}, {"dict": {"a": [9]}}, {"items": [[1]]},
    {"items": [[1, 2, 3]]}, {"items": [[1, 2], [1, 3]]}, {"set": [1, 1]}, {"array": 0}, {"array": 9,
    "dtype": "'<f8'", "shape": []},
    {"array": -1, "dtype": "'|u1'", "shape": [8]}, {"array": 0, "dtype": "'<f8'", "shape": [10**30]},
    {"array": 0, "dtype": "'<f8'", "shape": [-1]}, {"array": 0, "dtype": "'O'", "shape": [1]}, {"array": 0,
    "dtype": 3, "shape": [1]},
    {"array": 0, "dtype": "__import__('os')", "shape": [1]}, {"array": 0, "dtype": "'|u1'", "shape": [1, True]},
    {"array": 0, "dtype": "'|u1'", "shape": {}}, {"array": "0", "dtype": "'|u1'", "shape": [8]},
    {"scalar": "'<f8'", "value": ""},
    {"scalar": "'O'", "value": "AAAAAAAAAAA="}, {"scalar": "'<f8'", "value": 3}, {"scalar": "str", "value": "gA=="},
    {"int": "x"}, {"int": 4}, {"float": "00"}, {"float": 1}, {"complex": ["00"]}, {"str": 1}, {"str": "gA=="},
    {"bytes": "?"},
    {"bytes": 1.5}, {"bytes": None}, {"bytearray": 7}, {"pickle": []}, {"pickle": [0], "type": "x"}, {"pickle": 0},
    {"codec": 1}, {"codec": "x", "package": "y", "state": None}, {"codec": "x"}, {"strings": True, "state": None},
    {"strings": True, "state": {}}, {"masked": True, "state": 1}, {"masked": True}, {"enum": "os:x"},
]  # fmt: skip


@pytest.mark.parametrize("node", NODES, ids=repr)
def test_malicious_nodes_are_refused(node: Any) -> None:
    with pytest.raises((CorruptArray, UnknownType, PickleRefused)):
        unpack(altered([node], [0], [(0, 8)], bytes(8)), pickle=False)


def test_keys_that_take_long_are_refused() -> None:
    """Each level doubles the time to hash the tuple, which is not kept."""
    nodes: list[Any] = [{"tuple": [1, 2]}]
    nodes += [{"tuple": [[n], [n]]} for n in range(60)]
    with pytest.raises(CorruptArray, match="as a key"):
        unpack(altered([*nodes, {"set": [[60]]}], [61]))
    assert len(unpack(altered(nodes, [60]))) == 2  # as a value it takes no time


@pytest.mark.parametrize(
    "buffers", [[(0, 9)], [(0, 5), (4, 2)], [(4, 2), (0, 2)], [(-1, 2)], [(0, -1)], [(0, 2**70)], [("a", 1)], [3], 7]
)
def test_buffers_that_lie_are_refused(buffers: Any) -> None:
    with pytest.raises(CorruptArray):
        unpack(altered([], 1, buffers, bytes(8)))


def test_flags_that_changed_are_damage() -> None:
    data = joined(pack({"a": object_with(1)})).copy()
    data[-12] ^= wire.PICKLED
    with pytest.raises(CorruptArray, match="structure changed"):
        Structure.of(data)


def test_keys_of_one_hash_are_few() -> None:
    """Each of them is compared with all others."""
    same: list[int] = [n * sys.hash_info.modulus for n in range(1, 200)]
    nodes = [*({"int": hex(number)} for number in same), {"items": [[[n], None] for n in range(len(same))]}]
    for last in (nodes[-1], {"set": [[n] for n in range(len(same))]}):
        with pytest.raises(CorruptArray, match="keys of one hash"):
            unpack(altered([*nodes[:-1], last], [len(same)]))
    for value in (dict.fromkeys(same), set(same)):
        with pytest.raises(PickleRefused):
            pack(value, pickle=False)
        assert there_and_back(value, pickle=True) == value
    assert there_and_back({n << 40: n for n in range(1000)}) == {n << 40: n for n in range(1000)}


def test_bytes_are_copied_once() -> None:
    body, node = bytes(1000), {"bytes": 0}
    for nodes in ([node, node, {"list": [[0], [1]]}], [node, {"bytearray": 0}, {"list": [[0], [1]]}]):
        with pytest.raises(CorruptArray, match="the same bytes"):
            unpack(altered(nodes, [2], [(0, 1000)], body))
    text, ends = {"array": 0, "dtype": "'|u1'", "shape": [8]}, {"array": 1, "dtype": "'<i8'", "shape": [1]}
    state = {"dict": {"text": [0], "ends": [1], "missing": None, "shape": [2], "coerce": True}}
    shape = {"list": [1]}
    nodes = [
        text,
        ends,
        shape,
        state,
        {"strings": True, "state": [3]},
        {"strings": True, "state": [3]},
        {"list": [[4], [5]]},
    ]
    if hasattr(np, "dtypes") and hasattr(np.dtypes, "StringDType"):
        with pytest.raises(CorruptArray, match="the same bytes"):
            unpack(altered(nodes, [6], [(0, 8), (8, 8)], bytes(8) + (8).to_bytes(8, "little")))


@pytest.mark.parametrize("shape", [[10**12, "x"], ["x" * 9, 10**12], [10**12, [0]], [True], [-1], 5, None])
def test_shapes_that_are_none_are_refused(shape: Any) -> None:
    """To multiply a text takes as much memory as it says."""
    text, ends = {"array": 0, "dtype": "'|u1'", "shape": [8]}, {"array": 1, "dtype": "'<i8'", "shape": [1]}
    state = {"dict": {"text": [0], "ends": [1], "missing": None, "shape": [2], "coerce": True}}
    nodes = [text, ends, {"list": shape}, state, {"strings": True, "state": [3]}]
    for one in (nodes, [{**text, "shape": shape}]):
        with pytest.raises(CorruptArray):
            unpack(altered(one, [len(one) - 1], [(0, 8), (8, 8)], bytes(8) + (8).to_bytes(8, "little")))


def test_lengths_without_bytes_take_no_memory() -> None:
    """An array of items of no bytes may tell of any length."""
    none, shape = {"array": 0, "dtype": "'|V0'", "shape": [10**12]}, {"list": [10**12]}
    state = {"dict": {"text": [0], "ends": [0], "missing": None, "shape": [1], "coerce": True}}
    masked = {"dict": {"data": [0], "mask": None, "fill": None, "hard": False}}
    named = {"array": 0, "dtype": "[('a', '|V0')]", "shape": [10**12]}
    for nodes in (
        [none, shape, state, {"strings": True, "state": [2]}],
        [named, masked, {"masked": True, "state": [1]}],
        [none, {"set": [[0]]}],
    ):
        with pytest.raises(CorruptArray):
            unpack(altered(nodes, [len(nodes) - 1], [(0, 0)]))


def test_deep_and_large_structures_are_read_without_a_stack() -> None:
    nodes: list[Any] = [{"list": []}] + [{"list": [[n]]} for n in range(20_000)]
    found, depth = unpack(altered(nodes, [20_000])), 0
    while found:
        (found,), depth = found, depth + 1
    assert depth == 20_000
    text = b'{"nodes":[],"buffers":[],"root":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    tail = wire._TRAILER.pack(len(text), len(text) + 32, wire.checksum(text, 0), 0, wire.MAGIC)
    with pytest.raises(CorruptArray):
        unpack(np.frombuffer(text + tail, np.uint8))


TEXTS = [
    b"", b"[]", b"{}", b"NaN", b"\xff", b'{"nodes":[],"buffers":[],"root":NaN}', b'{"nodes":0,"buffers":[],"root":1}',
    b'{"nodes":[],"buffers":[],"root":{}}', b'{"nodes":[],"buffers":[],"root":[0]}',
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_structures_that_are_none_are_refused(text: bytes) -> None:
    tail = wire._TRAILER.pack(len(text), len(text) + 32, wire.checksum(text, 0), 0, wire.MAGIC)
    with pytest.raises(CorruptArray):
        unpack(np.frombuffer(text + tail, np.uint8))


def test_a_newer_form_says_so() -> None:
    tail = wire._TRAILER.pack(0, 32, 0, 0, wire.MAGIC[:-1] + b"\x09")
    with pytest.raises(CorruptArray, match="upgrade outlive"):
        unpack(np.frombuffer(tail, np.uint8))


def test_random_damage_is_an_error_or_a_value() -> None:
    """It is never a crash, nor another exception. Half of the changes mend the checksum,
    as someone with intent would."""
    chosen = random.Random(7)
    value = {
        "a": np.arange(20.0),
        "b": [1, "x", None, b"q" * 300, {1: (2, 3)}],
        "c": np.float32(1),
        "d": classes_of_data.Pair(1, [2]),
    }
    whole = bytearray(joined(pack(value, pickle=False)).tobytes())
    length = Structure.length(bytes(whole[-wire.TRAILER_SIZE :]), len(whole))
    for _ in range(1500):
        data = bytearray(whole)
        for _ in range(chosen.randint(1, 4)):
            data[chosen.randrange(len(data) - length, len(data))] = chosen.choice(b'0123456789[]{},:"xyz-\x00\xff')
        if chosen.random() < 0.5:
            text = bytes(data[-length : -wire.TRAILER_SIZE])
            data[-wire.TRAILER_SIZE :] = wire._TRAILER.pack(len(text), len(data), wire.checksum(text, 0), 0, wire.MAGIC)
        with contextlib.suppress(CorruptArray, UnknownType, PickleRefused):
            unpack(np.frombuffer(data, np.uint8), pickle=False)
    for size in range(0, len(whole), 7):
        with pytest.raises(CorruptArray):
            unpack(np.frombuffer(bytes(whole[:size]), np.uint8))


def test_arrays_and_known_types_touch_no_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("dumps", "loads", "Pickler"):
        monkeypatch.setattr(pickle, name, None)
    value = {
        "a": np.ones(9),
        "b": classes_of_data.Scan(1, classes_of_data.Colour.RED),
        "c": np.ma.MaskedArray([1], [True]),
    }
    assert_same(there_and_back(value, pickle=True)["b"], value["b"])


def test_the_structure_is_plain_json() -> None:
    data = joined(pack({"a": [1, 2.5, None], "b": np.ones(1)})).tobytes()
    length = Structure.length(data[-32:], len(data))
    found = json.loads(data[-length:-32])
    assert found["nodes"][0] == {"list": [1, 2.5, None]}
    assert found["nodes"][-1] == {"dict": {"a": [0], "b": [1]}}


class _Unused(NamedTuple):
    a: int


class _Flag(enum.Flag):
    A, B = 1, 2


def test_combinations_of_flags_are_pickled() -> None:
    assert there_and_back(_Flag.A) is _Flag.A
    assert there_and_back(_Flag.A | _Flag.B, pickle=True) == _Flag.A | _Flag.B
    assert there_and_back(_Unused(1)) == _Unused(1)


def test_metadata_of_a_dtype_is_lost_with_a_warning():
    array = np.zeros(3, np.dtype("i4", metadata={"unit": "mm"}))
    with pytest.warns(UserWarning, match="metadata on a dtype is not stored"):
        pack({"a": array})
