"""Any value through a store, on the cluster that is played: by key and by handle, whole and in part."""

from __future__ import annotations

import asyncio
import collections
import pickle
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import outlive
from outlive.arrays.live import live_view
from outlive.store import gateway, session
from outlive.testing.conformance import ValueStoreTests
from tests.conftest import ROOT
from tests.nodes.played import PlayedCluster, play
from tests.values.classes_of_data import assert_scan, scan

LARGE = 1 << 20
COUNT, MUCH = 1 << 17, 1 << 20


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[PlayedCluster]:
    root = f"{ROOT}/played-{request.node.name[:60]}-{secrets.token_hex(4)}"
    Path(root).mkdir(mode=0o700, parents=True)
    yield from play(root, 2)


@pytest.fixture
def at(cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Go on as a process of this node."""

    def go(node: str) -> None:
        current = cluster.session(node)
        current.connection = SimpleNamespace(job=1)  # type: ignore[assignment]
        for name in ("current", "known"):
            monkeypatch.setattr(session, name, lambda: current)

    return go


@pytest.fixture
def store(at: Callable[[str], None]) -> outlive.Store:
    at("a")
    return outlive.Store("s")


def test_each_way_of_reading_gives_the_value(store: outlive.Store) -> None:
    handle = store.put(scan(), key="scan")
    assert_scan(handle.get())
    assert_scan(store["scan"])
    assert_scan(store.get("scan"))
    assert_scan(store.get_many(["scan"])["scan"])
    assert_scan(asyncio.run(store.aget("scan")))
    assert np.shares_memory(store["scan"].image["image"], handle.get(("image", "image")))
    assert pickle.loads(pickle.dumps(handle)) == handle and handle in store and "scan" in store
    assert_scan(store.handle("scan").get())
    private = handle.get(mode="c")
    private.image["image"][:] = 0
    assert_scan(handle.get())
    assert_scan(store["scan"])


def test_all_kinds_of_values(store: outlive.Store) -> None:
    values: dict[str, Any] = {
        "none": None, "text": "é", "number": 5, "numpy": np.float32(2), "masked": np.ma.MaskedArray([1, 2], [1, 0]),
        "ordered": collections.OrderedDict(a=1), "objects": np.array([None, "x"], object), "function": len,
        "array": np.ones(3), "records": np.ones(2, "i4,f4").view(np.recarray), "error": ValueError("x"),
    }  # fmt: skip
    handles = store.put_many(values)
    assert {key: handle.kind for key, handle in handles.items()} == {
        "none": "tree", "text": "tree", "number": "tree", "numpy": "numpy", "masked": "numpy", "ordered": "tree",
        "objects": "pickle", "function": "pickle", "array": "array", "records": "array", "error": "pickle",
    }  # fmt: skip
    for key, value in values.items():
        found = store[key]
        if key not in ("error", "records"):
            assert type(found) is type(value)
        if isinstance(value, np.ndarray):
            assert found.tolist() == value.tolist()
        elif key != "error":
            assert found == value
    assert store.get("none", "missing") is None and store.get("absent", "missing") == "missing"
    assert repr(store["error"]) == "ValueError('x')"


def test_put_many_without_keys_returns_handles_in_order(store: outlive.Store) -> None:
    handles = store.put_many([np.ones(2), {"a": 1}, "x"])
    assert [handle.kind for handle in handles] == ["array", "tree", "tree"]
    assert [handle.lifetime for handle in handles] == ["job"] * 3 and all(handle.key is None for handle in handles)
    assert handles[1].get() == {"a": 1} and handles[2].get() == "x" and handles[0].get().sum() == 2
    assert handles[0] in store and object() not in store and handles[0] not in outlive.Store("another")
    assert store.put_many([]) == [] and store.put_many(iter(["y"]))[0].get() == "y"
    used = session.current().shelf.ledger.used
    with pytest.raises(outlive.UnsupportedArray):
        store.put_many([1, (n for n in range(2))])
    assert session.current().shelf.ledger.used == used  # all or none
    store.delete(*handles)
    assert handles[0] not in store


def test_a_handle_of_a_value_says_what_it_is(store: outlive.Store) -> None:
    handle = store.put({"image": np.ones(9000), "runs": [1, {"x": "deep"}]}, key="tree")
    assert handle.kind == "tree" and handle.nbytes > 72_000
    assert repr(handle) == f"ArrayHandle(key='tree', store='s', kind='tree', nbytes={handle.nbytes})"
    assert (
        handle["image"].sum() == 9000 == handle.get("image").sum()
        and handle.get(("runs", 1, "x")) == "deep"
        and handle.get(("image", 5)) == 1
    )
    for missing, error in (("no", KeyError), ((("runs"), 5), IndexError), (("runs", "x"), TypeError)):
        with pytest.raises(error):
            handle.get(missing if isinstance(missing, tuple) else (missing,))
    for name in ("shape", "dtype", "ndim", "size"):
        with pytest.raises(TypeError, match="is no array"):
            getattr(handle, name)
    for call in (len, np.asarray):
        with pytest.raises(TypeError, match="is no array"):
            call(handle)
    assert "tree" in handle._repr_html_()
    assert store.put(np.ones((2, 3)))[1].tolist() == [1, 1, 1]


def test_pickle_can_be_refused(store: outlive.Store) -> None:
    strict = outlive.Store("s", pickle=False)
    assert pickle.loads(pickle.dumps(strict)).pickle is False and "pickle=False" in repr(strict)
    store["odd"] = {"f": len, "a": np.ones(2)}
    strict["plain"] = {"a": np.ones(2)}
    assert strict["plain"]["a"].sum() == 2
    for read in (
        lambda: strict["odd"],
        lambda: strict.get("odd"),
        lambda: strict.get_many(["odd"]),
        strict.handle("odd").get,
    ):
        with pytest.raises(outlive.PickleRefused, match="builtin_function_or_method"):
            read()
    assert pickle.loads(pickle.dumps(strict.handle("odd"))).get(("a",)).sum() == 2  # this part has no pickle
    with pytest.raises(outlive.PickleRefused, match=r"\(at value\['f'\]\)"):
        strict["new"] = {"f": len}
    with pytest.raises(outlive.PickleRefused):
        pickle.loads(pickle.dumps(strict.handle("odd"))).get()
    with pytest.raises(outlive.PickleRefused):
        strict.put_many([1, len])
    assert "new" not in store


def test_a_part_comes_alone_from_another_node(
    store: outlive.Store, at: Callable[[str], None], cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [np.full(10 + n % 2, n) for n in range(5000)]  # their structure is longer than the first look
    records = [{"id": n, "name": f"patient {n}", "dose": n / 7, "small": np.full(9, n)} for n in range(2000)]
    value = {"image": np.arange(LARGE), "rows": rows, "records": records, 3: {"mask": np.ones(LARGE, bool)}, "odd": len}
    handle = store.put(value, key="tree")
    asked: list[int] = []
    real = outlive.store.values.rows  # type: ignore[attr-defined]

    def counted(current: Any, info: Any, hint: Any, begin: int, end: int) -> Any:
        asked.append(end - begin)
        return real(current, info, hint, begin, end)

    monkeypatch.setattr("outlive.store.values.rows", counted)
    at("b")
    assert live_view(handle.id) is None
    found = handle.get(("rows", 7))
    assert found[0] == 7 and not found.flags.writeable and sum(asked) < handle.nbytes / 10
    assert handle.get(("records", 5, "name")) == "patient 5" and handle.get(("records", 6, "small"))[8] == 6
    assert handle.get(("records", -1))["id"] == 1999 and sum(asked) < handle.nbytes / 3
    assert handle.get((3, "mask")).all() and handle["odd"] is len
    private = handle.get(("rows", 8), mode="c")
    private[:] = 0
    assert handle.get(("rows", 8))[0] == 8
    with pytest.raises(KeyError):
        handle.get(("absent",))
    assert not cluster.shelves["b"].has(handle.id)
    found = handle.get()  # all of it is copied here
    assert cluster.shelves["b"].has(handle.id) and found["image"][-1] == LARGE - 1 and len(found["rows"]) == 5000


def test_it_is_read_where_no_copy_fits(store: outlive.Store, at: Callable[[str], None], cluster: PlayedCluster) -> None:
    handle = store.put({"image": np.arange(LARGE)})
    at("b")
    cluster.shelves["b"].ledger.budget = 0
    assert handle.get()["image"][5] == 5 and not cluster.shelves["b"].has(handle.id)


def test_a_client_makes_values_where_its_classes_are(store: outlive.Store) -> None:
    """The gateway sends the bytes of a value, and the program packs and reads them."""
    store["scan"] = scan()
    sent = gateway.serve(gateway.pack((outlive.Store.__getitem__, [store, "scan"], {})))
    raw = gateway._result([bytes(part) for part in sent])
    assert raw.info.codec == "tree" and not raw.flags.writeable
    assert_scan(values_of(raw))
    form = store._form(scan())
    handle = gateway._result(gateway.serve(gateway.pack((outlive.Store.put, [store, form, "again"], {}))))
    assert_scan(handle.get())


def values_of(raw: Any) -> Any:
    from outlive.store.values import value_of

    return value_of(raw, pickle=False)


def test_what_is_spilled_is_read_alike(store: outlive.Store, tmp_path: Path) -> None:
    from outlive.arrays.spill.move import spill

    shelf = session.current().shelf
    shelf.spill_to(str(tmp_path / "disk"))
    shelf.ledger.disk.budget = 1 << 30
    handle = store.put(scan())
    assert spill(shelf, shelf.disk, handle.id)
    assert_scan(handle.get())
    assert handle.get(("image", "image"))[3] == 3


class TestStore(ValueStoreTests):
    """`ValueStoreTests` takes its `store` from here: a store without Ray."""


@pytest.mark.filterwarnings("ignore")  # the libraries' own
@pytest.mark.parametrize("library", ["pandas", "scipy.sparse", "torch", "xarray"])
def test_a_value_of_a_library_may_be_written_to(store: outlive.Store, at: Callable[[str], None], library: str) -> None:
    """Each reading is of its own: whole, in part, on this node and on another."""
    module: Any = pytest.importorskip(library)
    make: dict[str, Callable[[], Any]] = {
        "pandas": lambda: module.DataFrame({"x": np.ones(COUNT), "y": np.arange(COUNT) % 2}),
        "scipy.sparse": lambda: module.eye(COUNT, format="csr"),
        "torch": lambda: module.ones(COUNT),
        "xarray": lambda: module.DataArray(np.ones(COUNT), dims="t"),
    }

    def total(value: Any) -> float:
        return float(np.asarray(value.sum()).sum())

    strict, expected = outlive.Store("s", pickle=False), total(make[library]())
    handle = strict.put({"numbers": make[library](), "more": np.zeros(MUCH)}, key="k")
    for node in "ab":
        at(node)
        for read in (lambda: strict["k"]["numbers"], lambda: handle.get()["numbers"], lambda: handle["numbers"]):
            own = read()
            assert total(own) == expected
            own *= 3  # in place, where the library has that
            assert total(own) == 3 * expected
            assert total(read()) == expected


@pytest.mark.filterwarnings("ignore")
def test_an_arrow_table_is_a_view_of_its_segment(store: outlive.Store) -> None:
    pa = pytest.importorskip("pyarrow")
    handle = store.put(pa.table({"x": np.arange(50_000), "w": ["a", None] * 25_000}))
    assert handle.kind == "arrow.table"
    found, again = handle.get(), handle.get()
    assert found.equals(again) and found["w"].null_count == 25_000
    assert np.shares_memory(found["x"].chunk(0).to_numpy(), again["x"].chunk(0).to_numpy())
