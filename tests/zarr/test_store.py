"""What OutliveStore promises beside zarr's own suite."""

from __future__ import annotations

import asyncio
import os
import pickle
from typing import Any

import numpy as np
import pytest

pytest.importorskip("zarr", minversion="3")

import zarr
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import cpu

import outlive
from outlive.arrays.writer import Writer
from outlive.store import session
from outlive.store.commit import commit
from outlive.zarr import OutliveStore
from tests.nodes.played import PlayedCluster
from tests.zarr.looking import LARGE, PROTOTYPE, again, beneath, buffer, children, got, listed, put

pytestmark = pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning")  # of chunks that are no objects of zarr


@pytest.fixture
def store(played: PlayedCluster, request: pytest.FixtureRequest) -> OutliveStore:
    return OutliveStore(outlive.Store(request.node.name))


# --- values


def test_a_value_is_read_without_a_copy(store: OutliveStore) -> None:
    put(store, large=bytes(LARGE))
    stored = beneath(store)["large"]
    for found in (store.get_sync("large"), asyncio.run(store.get("large", PROTOTYPE))):
        assert np.shares_memory(found.as_numpy_array(), stored)
        assert not found.as_numpy_array().flags.writeable


def test_what_is_written_is_a_copy(store: OutliveStore) -> None:
    data = np.ones(LARGE, np.uint8)
    with store.transaction():
        store.set_sync("staged", cpu.Buffer.from_array_like(data))
        data[:] = 2
        assert got(store, "staged") == bytes([1]) * LARGE
    store.set_sync("written", cpu.Buffer.from_array_like(data))
    data[:] = 3
    assert got(store, "staged") == bytes([1]) * LARGE
    assert got(store, "written") == bytes([2]) * LARGE


class Quantity(np.ndarray[Any, Any]):
    """As those of libraries of units."""


def test_arrays_of_subclasses_are_written_as_their_bytes(store: OutliveStore) -> None:
    """zarr hands them on as they are, if nothing compresses them."""
    data = np.arange(1, 6, dtype="float64").view(Quantity)
    zarr.create_array(store, name="a", shape=5, dtype="float64", compressors=None, fill_value=0)[:] = data
    assert zarr.open_group(store, mode="r")["a"][:].tolist() == [1, 2, 3, 4, 5]
    for key, value in (("sub", np.arange(3, dtype="B").view(Quantity)), ("masked", np.ma.arange(3, dtype="B"))):
        store.set_sync(key, cpu.Buffer.from_array_like(value))
        asyncio.run(store.set(f"{key} too", cpu.Buffer.from_array_like(value)))
        assert (got(store, key), got(store, f"{key} too")) == (b"\0\1\2", b"\0\1\2")


@pytest.mark.parametrize("key", ["a b", "ä/ö", "../x", "/x", "x//y", "x\ny", "%", "\0", "c" * 1000, "zarr:x"])
def test_odd_keys(store: OutliveStore, key: str) -> None:
    store.set_sync(key, buffer(b"1"))
    assert got(store, key) == b"1"
    assert listed(store) == [key]
    store.delete_sync(key)
    assert got(store, key) is None


@pytest.mark.parametrize("key", ["", "c" * 1025, "\ud800"])
def test_keys_under_which_nothing_can_be_stored(store: OutliveStore, key: str) -> None:
    with pytest.raises(outlive.InvalidKey):
        store.set_sync(key, buffer(b"1"))
    assert got(store, key) is None
    store.delete_sync(key)


def test_a_key_that_is_a_prefix_of_another(store: OutliveStore) -> None:
    for key in ("a", "a/b", "a/b/c", "ab"):
        store.set_sync(key, buffer(key.encode()))
    assert children(store, "") == ["a", "ab"]
    assert children(store, "a") == children(store, "a/") == ["b"]
    asyncio.run(store.delete_dir("a"))
    assert listed(store) == ["a", "ab"]
    assert got(store, "a") == b"a"


def test_an_array_that_is_no_chunk_is_none(store: OutliveStore) -> None:
    beneath(store)["numbers"] = np.ones(3)
    beneath(store)["text"] = "text"
    put(store, chunk=b"1")
    assert (got(store, "numbers"), got(store, "text"), listed(store)) == (None, None, ["chunk"])
    asyncio.run(store.clear())
    assert sorted(beneath(store)) == ["numbers", "text"]


def test_a_lost_chunk_is_not_read_as_fill_values(store: OutliveStore) -> None:
    array = zarr.create_array(store, name="x", shape=4 * LARGE, chunks=LARGE, dtype="u1", compressors=None)
    array[:] = 1
    [segment] = [handle.id for handle, _ in beneath(store).entries("x/c/2")]
    os.unlink(f"{session.current().shelf.mem}/{segment}")
    with pytest.raises(outlive.ArrayLost):
        array[2 * LARGE]
    with pytest.raises(outlive.ArrayLost):
        asyncio.run(store.exists("x/c/2"))


# --- other programs


def test_nothing_else_is_touched(store: OutliveStore, request: pytest.FixtureRequest) -> None:
    arrays = outlive.Store(request.node.name)
    arrays["zarr.json"] = arrays["run1/zarr.json"] = np.ones(3, np.uint8)
    one, ten = OutliveStore(arrays, path="run1"), OutliveStore(arrays, path="run10")
    put(one, chunk=b"1")
    put(ten, chunk=b"10")
    assert listed(store) == ["run1/chunk", "run10/chunk"]
    asyncio.run(one.clear())
    assert listed(store) == ["run10/chunk"]
    asyncio.run(store.clear())
    assert listed(store) == []
    assert sorted(arrays) == ["run1/zarr.json", "zarr.json"]
    arrays.clear()


def test_deletion_while_listing(store: OutliveStore) -> None:
    async def each() -> list[str]:
        seen = []
        async for key in store.list_prefix("c/"):
            await store.delete(key)
            await store.delete(f"c/{9 - int(key[2:])}")
            seen.append(key)
        return seen

    for number in range(10):
        store.set_sync(f"c/{number}", buffer(b""))
    assert asyncio.run(each()) == [f"c/{number}" for number in range(10)]
    assert listed(store) == []


# --- transactions


def test_a_transaction_is_seen_by_its_store_alone_until_it_ends(store: OutliveStore) -> None:
    other = pickle.loads(pickle.dumps(store))
    put(store, old=b"1", kept=b"2")
    with store.transaction():
        put(store, new=b"3")
        store.delete_sync("old")
        asyncio.run(store.set_if_not_exists("kept", buffer(b"no")))
        asyncio.run(store.set_if_not_exists("old", buffer(b"yes")))
        store.delete_sync("old")
        store.delete_sync("never")
        for one in (store, store.with_read_only(read_only=True)):
            assert (got(one, "old"), got(one, "kept"), got(one, "new")) == (None, b"2", b"3")
            assert listed(one) == children(one, "") == ["kept", "new"]
            assert asyncio.run(one.getsize_prefix("")) == 2
        assert (got(other, "old"), got(other, "new"), listed(other)) == (b"1", None, ["kept", "old"])
    assert (got(other, "old"), got(other, "new"), listed(other)) == (None, b"3", ["kept", "new"])
    assert sorted(beneath(store)) == ["kept", "new"]


def test_a_transaction_that_raises_changes_nothing(store: OutliveStore) -> None:
    put(store, old=b"1")
    with pytest.raises(KeyError, match="mine"), store.transaction():  # noqa: PT012
        asyncio.run(store.clear())
        put(store, new=b"2")
        raise KeyError("mine")
    assert (got(store, "old"), got(store, "new")) == (b"1", None)


def test_a_group_is_replaced_as_a_whole(store: OutliveStore) -> None:
    zarr.open_group(store, mode="w")["x"] = np.ones((4, 4))
    with store.transaction():
        group = zarr.open_group(store, mode="w")
        group["y"] = np.zeros(3)
        assert list(zarr.open_group(again(store), mode="r").array_keys()) == ["x"]
    assert list(zarr.open_group(store, mode="r").array_keys()) == ["y"]
    assert not [key for key in listed(store) if key.startswith("x")]


def test_what_a_transaction_is_not_for(store: OutliveStore) -> None:
    with store.transaction():
        with pytest.raises(pickle.PicklingError, match="transaction"):
            pickle.dumps(store)
        with pytest.raises(RuntimeError, match="nested"), store.transaction():
            pass
        with pytest.raises(outlive.InvalidKey):
            store.set_sync("", buffer(b""))
    with pytest.raises(ValueError, match="read-only"), store.with_read_only(read_only=True).transaction():
        pass


def test_a_part_is_of_one_chunk_even_if_it_is_replaced_meanwhile(
    played: PlayedCluster, store: OutliveStore, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, handle, values = f"zarr:{request.node.name}", outlive.Store.handle, [b"0123456789", b"abcdefghijklmnopqrst"]

    def write(value: bytes) -> None:
        commit(
            played.session("b"),
            [Writer(played.shelves["b"]).draft_of(np.frombuffer(value, "B"), key="chunk", store=name)],
        )

    def late(self: outlive.Store, key: str) -> Any:
        found = handle(self, key)
        if values[1:]:
            values.pop(0)
            write(values[0])
            played.catalog.drop_replaced()
        return found

    write(values[0])
    monkeypatch.setattr(outlive.Store, "handle", late)
    assert store.get_sync("chunk", byte_range=SuffixByteRequest(3)).to_bytes() in (b"789", b"rst")


# --- lifetimes


def test_a_forked_child_does_not_commit(store: OutliveStore) -> None:
    transaction = store.transaction()
    transaction.__enter__()
    put(store, new=b"1")
    pid = os.fork()
    if not pid:
        try:
            transaction.__exit__(None, None, None)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert got(again(store), "new") is None
    transaction.__exit__(None, None, None)
    assert got(again(store), "new") == b"1"


@pytest.mark.parametrize("method", ["put_many", "delete"])
def test_a_transaction_that_is_interrupted(store: OutliveStore, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    put(store, old=b"1", kept=b"2")
    monkeypatch.setattr(beneath(store), method, interrupt)
    with pytest.raises(KeyboardInterrupt), store.transaction():  # noqa: PT012
        store.delete_sync("old")
        put(store, new=b"3")
    monkeypatch.undo()
    if method == "put_many":
        assert (listed(store), got(store, "old"), sorted(beneath(store))) == (["kept", "old"], b"1", ["kept", "old"])
        return
    assert listed(store) == children(store, "") == ["kept", "new"]
    assert (got(store, "old"), asyncio.run(store.exists("old"))) == (None, False)
    assert sorted(beneath(store)) == ["kept", "new", "old"]
    asyncio.run(store.set_if_not_exists("old", buffer(b"again")))
    assert got(store, "old") == b"again"


def test_what_a_killed_transaction_left_is_cleared(store: OutliveStore) -> None:
    beneath(store)["c/0"] = np.empty(0, bool)
    beneath(store)["c/1"] = np.empty(0, bool)
    with store.transaction():
        store.delete_sync("c/0")
    assert sorted(beneath(store)) == ["c/1"]
    asyncio.run(store.delete_dir("c"))
    assert not list(beneath(store))


def test_a_node_that_is_silent_once_a_transaction_has_taken_effect(
    store: OutliveStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, old=b"1")

    def not_confirmed(*_: Any) -> None:
        raise outlive.StoreUnavailable("a node did not confirm")

    monkeypatch.setattr(beneath(store), "delete", not_confirmed)
    with store.transaction():
        store.delete_sync("old")
        put(store, new=b"2")
    assert (got(store, "old"), got(store, "new"), listed(store)) == (None, b"2", ["new"])


# --- several nodes


def test_a_part_comes_from_another_node(
    played: PlayedCluster, store: OutliveStore, request: pytest.FixtureRequest
) -> None:
    values = np.arange(3 * LARGE, dtype=np.uint8)
    draft = Writer(played.shelves["b"]).draft_of(values, key="chunk", store=f"zarr:{request.node.name}")
    commit(played.session("b"), [draft])
    for wanted, expected in (
        (RangeByteRequest(10, 20), values[10:20]),
        (OffsetByteRequest(3 * LARGE - 5), values[-5:]),
        (SuffixByteRequest(7), values[-7:]),
    ):
        assert store.get_sync("chunk", byte_range=wanted).to_bytes() == expected.tobytes()
    assert not played.shelves["a"].has(draft.info.id)  # nor is it kept here
    assert got(store, "chunk") == values.tobytes()
    assert played.shelves["a"].has(draft.info.id)


# --- lifetimes


def test_lifetimes(store: OutliveStore, request: pytest.FixtureRequest) -> None:
    kept = OutliveStore(outlive.Store(request.node.name), path="kept", lifetime="job", ttl="10min")
    put(pickle.loads(pickle.dumps(kept)), chunk=b"1")
    with kept.transaction():
        put(kept, other=b"2")
    asyncio.run(kept.set_if_not_exists("third", buffer(b"3")))
    for key in ("kept/chunk", "kept/other", "kept/third"):
        handle = beneath(store).handle(key)
        assert (handle.lifetime, handle.ttl) == ("job", 600)
