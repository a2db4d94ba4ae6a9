"""A conformance suite for stores of arrays: any `MutableMapping[str, np.ndarray]` that keeps its arrays elsewhere.

In a test file, derive from `StoreTests` and say what a new, empty store is:

    import pytest
    from outlive.testing.conformance import StoreTests

    class TestMyStore(StoreTests):
        @pytest.fixture
        def store(self):
            with my_package.new_store() as store:
                yield store

pytest then runs every test of the suite against it. `ValueStoreTests` is for stores of any values. Builtin errors are
expected (`KeyError`, `TypeError`, `ValueError`), so the store need not know outlive. For detailed assertion messages,
put `pytest.register_assert_rewrite("outlive.testing.conformance")` into conftest.py.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, MutableMapping
from typing import Any

import numpy as np
import pytest

Array = np.ndarray[Any, Any]
ArrayStore = MutableMapping[str, Array]

SMALL, LARGE = 10, 200_000  # items of 8 bytes: implementations may copy one and map the other

ARRAYS: dict[str, Callable[[], Array]] = {
    "bool": lambda: np.array([True, False, True]),
    "float16": lambda: np.linspace(0, 1, 7).astype("f2"),
    "big-endian": lambda: np.arange(7, dtype=">i4"),
    "complex": lambda: np.arange(4).astype("c8") * 1j,
    "long double": lambda: np.arange(4, dtype="longdouble"),
    "datetime64": lambda: np.array(["2020-02-29", "NaT"], "M8[ns]"),
    "timedelta64": lambda: np.array([1, -1], "m8[25s]"),
    "bytes": lambda: np.array([b"a", b"bcd"]),
    "text": lambda: np.array(["ä", "🙂🙂", ""]),
    "void": lambda: np.frombuffer(b"abcdef", "V3"),
    "records": lambda: np.array([(1, [2.5, 3.5])], [("n", "<i4"), ("xy", ">f8", 2)]),
    "aligned records": lambda: np.zeros(3, np.dtype([("a", "i1"), ("b", "f8")], align=True)),
    "nested records": lambda: np.zeros(2, [("outer", [("inner", "u2"), ("name", "U3")])]),
    "NaN with payload": lambda: np.array([0x7FF8000000000001, 0xFFF0000000000001], "u8").view("f8"),
    "0-d": lambda: np.array(3.5),
    "empty": lambda: np.empty((2, 0, 3), "i2"),
    "Fortran order": lambda: np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "large in Fortran order": lambda: np.asfortranarray(np.arange(float(LARGE)).reshape(100, -1)),
    "transposed": lambda: np.arange(24).reshape(2, 3, 4).transpose(1, 2, 0),
    "every second, backwards": lambda: np.arange(2 * LARGE)[::-2],
    "broadcast": lambda: np.broadcast_to(np.arange(3), (4, 3)),
    "read-only": lambda: np.frombuffer(b"12345678", "u1"),
    "large": lambda: np.arange(LARGE),
}

KEYS = ["a", "../x", "/", "/etc/passwd", ".", "..", "a/b", "a//b", "\0", "a\nb", " ", " a", "a ", "\x7f", "\u2028"]
KEYS += ["🙂", "é", "e\u0301", "A", '"', "'", "\\", "%2F", "*", "null", "-rf", "x" * 1024, "é" * 512]

UNSUPPORTED: dict[str, Callable[[], Any]] = {
    "objects": lambda: np.array([1, None]),
    "objects in a field": lambda: np.zeros(2, [("x", "O")]),
    "masked": lambda: np.ma.masked_less(np.arange(5), 3),
    "list": lambda: [1, 2, 3],
    "scalar": lambda: np.float64(1.0),
    "None": lambda: None,
}

VALUES: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "number": lambda: 2**70,
    "text": lambda: "é",
    "scalar": lambda: np.float32(1.5),
    "list": lambda: [1, [2.5, None], (True, b"x")],
    "dict": lambda: {"image": np.arange(LARGE), "spacing": (1.0, 0.5), 3: {"mask": np.ones(5, bool)}},
    "masked": lambda: np.ma.masked_less(np.arange(5), 3),
    "objects": lambda: np.array([1, None]),
    "set": lambda: {1, "x"},
    "exception": lambda: [KeyError("k")],
}


def same_value(one: Any, other: Any) -> bool:
    """Whether they are of the same types, and equal."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ma.MaskedArray):
        return bool((one.mask == other.mask).all()) and same_value(one.filled(), other.filled())
    if isinstance(one, np.ndarray):
        return same(one, other) if not one.dtype.hasobject else one.tolist() == other.tolist()
    if isinstance(one, dict):
        return list(one) == list(other) and all(same_value(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same_value, one, other))
    return repr(one) == repr(other) if isinstance(one, Exception) else bool(one == other)


def same(one: Array, other: Array) -> bool:
    """Whether they have the same shape, dtype and, in every field, the same bits."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.dtype.names:
        return all(same(one[name], other[name]) for name in one.dtype.names)
    return one.tobytes() == other.tobytes()


class StoreTests:
    """The suite. Derive from it, and have a fixture `store`: in the class, or in conftest.py."""

    # --- arrays

    @pytest.mark.parametrize("name", ARRAYS)
    def test_round_trip(self, store: ArrayStore, name: str) -> None:
        array = ARRAYS[name]()
        store["key"] = array
        assert same(store["key"], array)
        assert type(store["key"]) is np.ndarray

    @pytest.mark.parametrize("name", ["Fortran order", "large in Fortran order"])
    def test_fortran_order_is_kept(self, store: ArrayStore, name: str) -> None:
        store["key"] = ARRAYS[name]()
        assert store["key"].flags.f_contiguous

    @pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
    def test_subclasses_are_stored_as_arrays(self, store: ArrayStore, tmp_path: Any) -> None:
        mapped: Array = np.memmap(tmp_path / "mapped", "i4", "w+", shape=(3, 2))
        mapped[:] = np.arange(6).reshape(3, 2)
        for array in (mapped, np.rec.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]), np.matrix([[1, 2]])):
            store["key"] = array
            assert type(store["key"]) is np.ndarray
            assert same(store["key"], np.asarray(array))

    @pytest.mark.parametrize("count", [SMALL, LARGE])
    def test_results_are_read_only(self, store: ArrayStore, count: int) -> None:
        store["key"] = np.arange(count)
        array = store["key"]
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 7
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True
        assert store["key"][0] == 0

    @pytest.mark.parametrize("count", [SMALL, LARGE])
    def test_what_is_stored_is_a_copy(self, store: ArrayStore, count: int) -> None:
        array = np.arange(count)
        store["key"] = array
        array[:] = -1
        assert same(store["key"], np.arange(count))

    def test_one_readers_shape_is_nobody_elses(self, store: ArrayStore) -> None:
        store["key"] = np.arange(LARGE)
        one, other = store["key"], store["key"]
        assert one is not other
        assert one.reshape(2, -1).shape == (2, LARGE // 2)
        assert other.shape == store["key"].shape == (LARGE,)

    # --- views

    @pytest.mark.parametrize("count", [SMALL, LARGE])
    @pytest.mark.parametrize("end", ["delete", "pop", "clear", "overwrite"])
    def test_views_stay_valid(self, store: ArrayStore, count: int, end: str) -> None:
        store["key"] = np.arange(count)
        view = store["key"]
        part = view[5:]
        ends: dict[str, Callable[[], object]] = {
            "delete": lambda: store.__delitem__("key"),
            "pop": lambda: store.pop("key"),
            "clear": store.clear,
            "overwrite": lambda: store.__setitem__("key", np.zeros(count, int)),
        }
        ends[end]()
        for number in range(5):  # whatever takes its place
            store[f"other {number}"] = np.full(count, number)
        assert same(view, np.arange(count))
        del view
        assert same(part, np.arange(5, count))

    # --- keys

    def test_odd_keys(self, store: ArrayStore) -> None:
        """Keys are data. None is another's, whatever a file system makes of it."""
        for number, key in enumerate(KEYS):
            store[key] = np.array(number)
        assert sorted(store) == sorted(KEYS)
        for number, key in enumerate(KEYS):
            assert key in store
            assert store[key] == number
        for number, key in enumerate(KEYS):
            del store[key]
            assert key not in store
            assert len(store) == len(KEYS) - number - 1

    def test_key_of_another_str_class(self, store: ArrayStore) -> None:
        store[np.str_("key")] = np.arange(3)
        assert same(store["key"], np.arange(3))
        assert [type(key) for key in store] == [str]

    @pytest.mark.parametrize("key", [None, 7, b"a", ("a",), 1.5], ids=repr)
    def test_keys_of_other_types(self, store: Any, key: Any) -> None:
        uses: list[Callable[[], object]] = [
            lambda: store[key],
            lambda: store.__setitem__(key, np.arange(3)),
            lambda: store.__delitem__(key),
        ]
        for use in uses:
            with pytest.raises(TypeError):
                use()
        assert key not in store
        assert len(store) == 0

    @pytest.mark.parametrize("key", ["", "x" * 1025, "é" * 513, "\ud800"], ids=["empty", "long", "é", "half"])
    def test_strings_that_are_no_keys(self, store: ArrayStore, key: str) -> None:
        with pytest.raises(ValueError, match="key"):
            store[key] = np.arange(3)
        assert key not in store
        assert len(store) == 0

    def test_missing_key(self, store: ArrayStore) -> None:
        store["key"] = np.arange(3)
        uses: list[Callable[[], object]] = [
            lambda: store["yek"],
            lambda: store.__delitem__("yek"),
            lambda: store.pop("yek"),
        ]
        for use in uses:
            with pytest.raises(KeyError) as caught:
                use()
            assert "yek" in str(caught.value)
        assert store.get("yek") is None
        assert store.get("yek", 5) == 5
        assert store.pop("yek", None) is None
        assert "yek" not in store
        assert list(store) == ["key"]

    # --- bad values

    @pytest.mark.parametrize("name", UNSUPPORTED)
    def test_unsupported(self, store: ArrayStore, name: str) -> None:
        """Refused, and what had the key still has it."""
        store["key"] = np.arange(3)
        for key in ("key", "new"):
            with pytest.raises(TypeError):
                store[key] = UNSUPPORTED[name]()
        assert same(store["key"], np.arange(3))
        assert list(store) == ["key"]

    # --- a mapping

    def test_empty(self, store: ArrayStore) -> None:
        assert len(store) == 0
        assert list(store) == list(store.keys()) == list(store.values()) == list(store.items()) == []
        with pytest.raises(KeyError):
            store.popitem()
        store.clear()
        store.update({})

    def test_overwrite(self, store: ArrayStore) -> None:
        versions = [np.arange(3), np.ones((2, 2), "f4"), np.array("text"), np.arange(LARGE), np.arange(3)]
        for array in versions:
            store["key"] = array
            assert same(store["key"], array)
            assert len(store) == 1

    def test_overwrite_with_itself(self, store: ArrayStore) -> None:
        for count in (SMALL, LARGE):
            store["key"] = np.arange(count)
            store["key"] = store["key"]
            assert same(store["key"], np.arange(count))

    def test_delete_and_put_again(self, store: ArrayStore) -> None:
        for number in range(5):
            store["key"] = np.array(number)
            assert store["key"] == number
            del store["key"]
            assert "key" not in store
            with pytest.raises(KeyError):
                store["key"]

    def test_looking(self, store: ArrayStore) -> None:
        expected = {f"key {number}": np.arange(number) for number in range(20)}
        for key, array in expected.items():
            store[key] = array
        assert len(store) == len(list(store)) == 20
        assert set(store) == set(store.keys()) == set(expected)
        assert {key: array.size for key, array in store.items()} == {key: array.size for key, array in expected.items()}
        assert sorted(array.size for array in store.values()) == list(range(20))
        assert "key 7" in store.keys()  # noqa: SIM118
        assert store.keys() & {"key 7", "other"} == {"key 7"}

    def test_pop(self, store: ArrayStore) -> None:
        store["a"], store["b"] = np.arange(3), np.arange(LARGE)
        assert same(store.pop("a"), np.arange(3))
        assert list(store) == ["b"]
        key, array = store.popitem()
        assert (key, array.size) == ("b", LARGE)
        assert len(store) == 0

    def test_setdefault(self, store: ArrayStore) -> None:
        assert same(store.setdefault("key", np.arange(3)), np.arange(3))
        assert same(store.setdefault("key", np.zeros(2)), np.arange(3))
        assert same(store["key"], np.arange(3))

    def test_update(self, store: ArrayStore) -> None:
        store["a"] = np.zeros(2)
        store.update({"a": np.array(1), "b": np.array(2)}, c=np.array(3))
        store.update([("d", np.array(4))])
        store.update(e=np.array(5))
        assert {key: int(array) for key, array in store.items()} == {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}

    def test_clear(self, store: ArrayStore) -> None:
        for key in "abc":
            store[key] = np.arange(3)
        store.clear()
        assert len(store) == 0
        assert "a" not in store

    def test_iterate_while_it_changes(self, store: ArrayStore) -> None:
        """Other processes may change the store at any time. That is no error, and the iteration misses no other key."""
        for key in "abcdef":
            store[key] = np.arange(3)
        for key in store:
            if len(key) == 1:
                store[key * 2] = np.arange(3)
                del store[key]
        assert set(store) == {key * 2 for key in "abcdef"}

    # --- threads

    def test_threads(self, store: ArrayStore) -> None:
        """A reader sees one whole array, the newest or, while it is being replaced, the one before."""
        store["key"] = np.zeros(LARGE, int)
        wrong: list[str] = []
        done = threading.Event()

        def read() -> None:
            newest = 0
            while not done.is_set():
                array = store["key"]
                number = int(array[0])
                if not (array == number).all() or number < newest:
                    wrong.append(f"{number} after {newest}")
                newest = number

        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        try:
            for number in range(1, 30):
                store["key"] = np.full(LARGE, number)
                assert store["key"][0] == number
        finally:
            done.set()
            for reader in readers:
                reader.join()
        assert wrong == []


class ValueStoreTests(StoreTests):
    """For a store that takes any value, and refuses only what cannot be pickled."""

    @pytest.mark.parametrize("name", VALUES)
    def test_value(self, store: Any, name: str) -> None:
        value = VALUES[name]()
        store["key"] = value
        assert same_value(store["key"], value)
        assert list(store) == ["key"]
        assert "key" in store
        assert same_value(store.pop("key"), value)
        assert "key" not in store

    def test_values_and_arrays_replace_each_other(self, store: Any) -> None:
        for value in (np.arange(3), {"a": np.arange(LARGE)}, "x", np.arange(LARGE), [1]):
            store["key"] = value
            assert same_value(store["key"], value)
            assert len(store) == 1

    def test_arrays_of_a_value_are_read_only(self, store: Any) -> None:
        for count in (SMALL, LARGE):
            store["key"] = {"a": np.arange(count)}
            found = store["key"]["a"]
            with pytest.raises(ValueError, match="read-only"):
                found[0] = 5
            del store["key"]
            assert same(found, np.arange(count))

    @pytest.mark.parametrize("name", ["generator", "inside"])
    def test_unsupported(self, store: Any, name: str) -> None:
        """Refused, and what had the key still has it."""
        store["key"] = np.arange(3)
        bad: Any = (number for number in range(3))
        for key in ("key", "new"):
            with pytest.raises(TypeError):
                store[key] = bad if name == "generator" else {"a": [bad]}
        assert same(store["key"], np.arange(3))
        assert list(store) == ["key"]
