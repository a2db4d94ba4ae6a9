"""Chunks that are set at the same time are written together, and each succeeds or fails by itself."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("zarr", minversion="3")

import zarr
from zarr.core.buffer import cpu

import outlive
from outlive.errors import StoreFull, StoreUnavailable
from outlive.zarr import OutliveStore, together
from outlive.zarr.chunks import Chunks
from tests.nodes.played import PlayedCluster
from tests.zarr.looking import beneath, buffer, got


class Told:
    """What a store was asked to write, and the errors that it is to meet."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.writes: list[list[str]] = []
        self.of_batches: Exception | None = None
        self.of_keys: dict[str, Exception] = {}
        one, many = Chunks.write, Chunks.write_many

        def write(chunks: Chunks, key: str, value: Any) -> None:
            self.writes.append([key])
            if key in self.of_keys:
                raise self.of_keys[key]
            one(chunks, key, value)

        def write_many(chunks: Chunks, values: dict[str, Any]) -> None:
            self.writes.append(list(values))
            if self.of_batches:
                raise self.of_batches
            many(chunks, values)

        monkeypatch.setattr(Chunks, "write", write)
        monkeypatch.setattr(Chunks, "write_many", write_many)


@pytest.fixture
def store(played: PlayedCluster, request: pytest.FixtureRequest) -> OutliveStore:
    return OutliveStore(outlive.Store(request.node.name))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    return Told(monkeypatch)


def set_at_once(store: OutliveStore, values: Iterable[tuple[str, bytes]]) -> list[Any]:
    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*(store.set(key, buffer(value)) for key, value in values), return_exceptions=True)

    return asyncio.run(all_of_them())


def test_one_question_for_all(store: OutliveStore, told: Told) -> None:
    keys = [f"c/{number}" for number in range(10)]
    assert set_at_once(store, [(key, key.encode()) for key in keys]) == [None] * 10
    assert told.writes == [keys]
    assert [got(store, key) for key in keys] == [key.encode() for key in keys]


def test_an_array_of_zarr(store: OutliveStore, told: Told) -> None:
    data = np.arange(400).reshape(20, 20)
    made = zarr.create_array(store, shape=data.shape, chunks=(5, 5), dtype=data.dtype)
    told.writes.clear()
    made[:] = data
    assert sum(map(len, told.writes)) == 16
    assert len(told.writes) < 16
    assert (zarr.open_array(store, mode="r")[:] == data).all()


def test_one_alone_is_put_by_itself(store: OutliveStore, told: Told) -> None:
    asyncio.run(store.set("one", buffer(b"1")))
    asyncio.run(store.set("two", buffer(b"2")))
    assert told.writes == [["one"], ["two"]]


def test_a_key_that_is_set_twice_at_once(store: OutliveStore, told: Told) -> None:
    assert set_at_once(store, [("x", b"1"), ("y", b"2"), ("x", b"3")]) == [None] * 3
    assert [sorted(keys) for keys in told.writes] == [["x", "y"], ["x"]]
    assert got(store, "x") in (b"1", b"3")
    assert got(store, "y") == b"2"


def test_large_chunks_are_written_by_themselves(
    store: OutliveStore, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(together, "MOST_BYTES", 100)
    set_at_once(store, [("large", bytes(100)), *((f"small/{number}", bytes(40)) for number in range(5))])
    assert sorted(map(sorted, told.writes)) == [["large"], ["small/0", "small/1"], ["small/2", "small/3"], ["small/4"]]


def test_no_more_than_so_many(store: OutliveStore, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "MOST_CHUNKS", 3)
    set_at_once(store, [(f"c/{number}", b"1") for number in range(7)])
    assert sorted(map(len, told.writes)) == [1, 3, 3]


def test_one_that_has_no_room_harms_no_other(store: OutliveStore, told: Told) -> None:
    told.of_batches = StoreFull("no room for all of them")
    told.of_keys["b"] = refused = StoreFull("no room for this one")
    assert set_at_once(store, [("a", b"1"), ("b", b"2"), ("c", b"3")]) == [None, refused, None]
    assert [got(store, key) for key in "abc"] == [b"1", None, b"3"]


def test_a_bad_key_harms_no_other(store: OutliveStore) -> None:
    done = set_at_once(store, [("a", b"1"), ("x" * 2000, b"2"), ("c", b"3")])
    assert [type(one) for one in done] == [type(None), outlive.InvalidKey, type(None)]
    assert [got(store, key) for key in "ac"] == [b"1", b"3"]


def test_a_key_for_which_a_node_does_not_answer_harms_no_other(store: OutliveStore, told: Told) -> None:
    told.of_batches = told.of_keys["b"] = StoreUnavailable("a node may have a copy of b")
    assert set_at_once(store, [(key, b"1") for key in "abc"]) == [None, told.of_batches, None]


def test_a_cluster_that_does_not_answer_is_not_asked_for_each_key(store: OutliveStore, told: Told) -> None:
    silent = told.of_batches = StoreUnavailable("nobody answers")
    told.of_keys = dict.fromkeys("abcdef", silent)
    assert set_at_once(store, [(key, b"1") for key in "abcdef"]) == [silent] * 6
    assert told.writes == [[*"abcdef"], ["a"], ["b"]]


def test_whoever_sets_again_as_all_threads_end_is_heard(store: OutliveStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """All tasks find nothing more to write in one step of the loop, as when the threads end while the loop is busy."""
    monkeypatch.setattr(together, "MOST_BYTES", 100)

    async def set_each(key: str, *values: bytes) -> None:
        for value in values:
            await store.set(key, buffer(value * 60))

    async def work() -> None:
        go_on, begun = asyncio.Event(), list[str]()

        async def in_this_thread(function: Callable[..., Any], *args: Any) -> Any:
            begun.append("one")
            await go_on.wait()
            return function(*args)

        monkeypatch.setattr(asyncio, "to_thread", in_this_thread)
        tasks = [asyncio.create_task(set_each("twice", b"1", b"2"))]
        tasks += [asyncio.create_task(set_each(f"c/{number}", b"1")) for number in range(1, together._AT_ONCE)]
        while len(begun) < together._AT_ONCE:
            await asyncio.sleep(0)
        go_on.set()
        await asyncio.wait_for(asyncio.gather(*tasks), 10)

    asyncio.run(work())
    assert got(store, "twice") == b"2" * 60


def test_what_was_given_up_before_it_began_is_not_written(store: OutliveStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "_AT_ONCE", 1)
    begun, go_on, write = threading.Event(), threading.Event(), Chunks.write

    def slow(chunks: Chunks, key: str, value: Any) -> None:
        begun.set()
        assert go_on.wait(60)
        write(chunks, key, value)

    monkeypatch.setattr(Chunks, "write", slow)

    async def work() -> None:
        first = asyncio.create_task(store.set("first", buffer(b"1")))
        await asyncio.to_thread(begun.wait, 60)
        second = asyncio.create_task(store.set("second", buffer(b"2")))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        go_on.set()
        await first

    asyncio.run(work())
    assert got(store, "first") == b"1" and got(store, "second") is None


def test_what_was_given_up_while_all_were_written_is_not_written_again_by_itself(
    store: OutliveStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its memory is used for something else by now, and its key has a later value."""
    begun, go_on = threading.Event(), threading.Event()

    def fails_late(chunks: Chunks, values: dict[str, Any]) -> None:
        begun.set()
        assert go_on.wait(60)
        raise StoreFull("no room for all of them")

    monkeypatch.setattr(Chunks, "write_many", fails_late)

    async def work() -> None:
        data = np.full(4, ord("1"), "B")
        tasks = [asyncio.create_task(store.set("a", cpu.Buffer.from_array_like(data)))]
        tasks += [asyncio.create_task(store.set("b", buffer(b"1")))]
        await asyncio.to_thread(begun.wait, 60)
        tasks[0].cancel()
        await asyncio.gather(tasks[0], return_exceptions=True)
        data[:] = ord("x")
        await store.set("a", buffer(b"2222"))
        go_on.set()
        await tasks[1]

    asyncio.run(work())
    assert (got(store, "a"), got(store, "b")) == (b"2222", b"1")


def test_whoever_gave_up_keeps_no_other_waiting(store: OutliveStore) -> None:
    async def one_gives_up() -> list[Any]:
        tasks = [asyncio.create_task(store.set(key, buffer(key.encode()))) for key in "abc"]
        await asyncio.sleep(0)  # all wait now
        tasks[1].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    done = asyncio.run(one_gives_up())
    assert [type(one) for one in done] == [type(None), asyncio.CancelledError, type(None)]
    assert [got(store, key) for key in "ac"] == [b"a", b"c"]


def test_a_loop_that_ends_lets_go_of_all(store: OutliveStore) -> None:
    async def begin() -> None:
        for number in range(20):
            asyncio.create_task(store.set(f"c/{number}", buffer(b"1")))  # noqa: RUF006 - it is to be cancelled
        await asyncio.sleep(0)

    asyncio.run(begin())  # cancels and awaits every task: it would not return
    assert set_at_once(store, [("a", b"1"), ("b", b"2")]) == [None, None]


def test_a_forked_child_writes_too(store: OutliveStore) -> None:
    async def fork_in_the_loop() -> None:
        await store.set("parent", buffer(b"1"))

    asyncio.run(fork_in_the_loop())
    child = os.fork()
    if not child:
        try:
            done = set_at_once(store, [("a", b"1"), ("b", b"2")])
            os._exit(done != [None, None])
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert [got(store, key) for key in "ab"] == [b"1", b"2"]


def test_what_is_set_in_a_transaction_waits_for_its_end(store: OutliveStore, told: Told) -> None:
    with store.transaction():
        set_at_once(store, [("a", b"1"), ("b", b"2")])
        assert told.writes == []
    assert [got(store, key) for key in "ab"] == [b"1", b"2"]
    assert beneath(store).get("a") is not None
