"""The store as programs see it, on one node with real Ray."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

import outlive
from outlive.store import session
from tests.conftest import eventually


def test_put_and_get(store: outlive.Store) -> None:
    volume = np.arange(24.0).reshape(2, 3, 4)
    handle = store.put(volume, key="ct/7")
    assert (handle.shape, handle.dtype, handle.ndim, handle.size, handle.nbytes, handle.key, len(handle)) == (
        (2, 3, 4), np.dtype("float64"), 3, 24, 192, "ct/7", 2,
    )  # fmt: skip
    for read in (handle.get(), store.get("ct/7"), store["ct/7"], np.asarray(handle), store.handle("ct/7").get()):
        np.testing.assert_array_equal(read, volume)
        assert not read.flags.writeable
    np.testing.assert_array_equal(handle[1:, 2], volume[1:, 2])
    assert np.asarray(handle, dtype="int8").dtype == "int8"
    assert np.array(handle).flags.writeable


@pytest.mark.parametrize("count", [10, 100_000])
def test_private_arrays(store: outlive.Store, count: int) -> None:
    """They are writable, each is its reader's alone, and the store stays as it is."""
    handle = store.put(np.ones(count), key="k")
    kept = handle.get()
    reads = [handle.get(mode="c"), store.get("k", mode="c"), np.from_dlpack(handle)]
    reads += [asyncio.run(store.aget("k", mode="c")), pickle.loads(pickle.dumps(handle)).get(mode="c")]
    for number, array in enumerate(reads):
        assert (array == 1).all()
        array *= number
    assert [array.sum() for array in reads] == [number * count for number in range(5)]
    assert kept.sum() == handle.get().sum() == store["k"].sum() == count
    store.delete(handle)
    assert store.get("k", mode="c") is None and store.get("k", 5, mode="c") == 5
    for get in (handle.get, lambda mode: store.get("k", mode=mode)):
        with pytest.raises(ValueError, match=r"mode is 'r' \(read-only\) or 'c'.*, not 'w'"):
            get(mode="w")


def test_ray_get_of_a_handle_says_what_to_do(store: outlive.Store) -> None:
    handle = store.put(np.ones(3))
    for given in (handle, [handle]):
        with pytest.raises((TypeError, ValueError), match=r"handle\.get\(\)"):
            ray.get(given)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"handle\.get\(\)"):
        ray.wait(handle)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore")  # Ray's
def test_ray_data_keeps_handles(store: outlive.Store) -> None:
    """A column of handles is one of handles. A handle that is a whole column is its array."""
    pytest.importorskip("pandas")  # which Ray Data needs
    from ray.data._internal.numpy_support import convert_to_numpy
    from ray.data.block import BlockAccessor

    handles = [store.put(np.full(shape, 2.0)) for shape in (3, 3, (2, 2))]
    for column in (handles, handles[:2], handles[:1], np.array([*handles, None], object)[:3]):
        block = BlockAccessor.batch_to_block({"h": column, "n": list(range(len(column)))})
        rows = BlockAccessor.for_block(block).iter_rows(public_row_format=True)
        assert [row["h"] for row in rows] == list(column)
    assert convert_to_numpy(handles[0]).tolist() == [2.0, 2.0, 2.0]


def test_a_put_without_key_needs_its_handle(store: outlive.Store) -> None:
    handle = store.put(np.ones(5))
    assert handle.key is None
    assert len(store) == 0
    assert pickle.loads(pickle.dumps(handle)).get().sum() == 5
    store.delete(handle)
    with pytest.raises(outlive.ArrayNotFound, match="deleted"):
        handle.get()


def test_missing_key(store: outlive.Store) -> None:
    store["scan/17"] = np.ones(1)
    assert store.get("scan/18") is None
    assert store.get("scan/18", 5) == 5
    with pytest.raises(outlive.ArrayNotFound, match=r"no array 'scan/18'; similar: 'scan/17'"):
        store["scan/18"]
    with pytest.raises(KeyError):
        store.handle("scan/18")
    with pytest.raises(KeyError):
        del store["scan/18"]
    with pytest.raises(outlive.ArrayNotFound, match="'a', 'b'"):
        store.get_many(["a", "scan/17", "b"])


def test_overwrite_and_delete_leave_open_views_alone(store: outlive.Store) -> None:
    old_handle = store.put(np.zeros(100_000), key="k")
    old = old_handle.get()
    store["k"] = np.ones(10)
    assert store["k"].shape == (10,)
    assert old.sum() == 0
    del store["k"]
    assert "k" not in store
    assert old.sum() == 0
    del old
    eventually(lambda: _raises(old_handle.get))


def _raises(get: object) -> bool:
    try:
        get()  # type: ignore[operator]
    except outlive.ArrayNotFound:
        return True
    return False


def test_create_fills_in_place(store: outlive.Store) -> None:
    creation = store.create((512, 64), "int16", key="mask", order="F")
    with creation as out:
        assert "mask" not in store
        out[:] = 7
        row = out[3]
    assert creation.handle.get().flags.f_contiguous
    assert store["mask"].sum() == 7 * 512 * 64
    row[:] = 9  # kept by mistake: changes this process's memory, not the sealed array
    assert store["mask"].sum() == 7 * 512 * 64

    with pytest.raises(ZeroDivisionError), store.create(10, key="never") as out:
        out[:] = 1 / 0
    assert "never" not in store
    with pytest.raises(outlive.UnsupportedArray):
        store.create(3, object)
    with pytest.raises(ValueError, match="negative"):
        store.create((3, -1))
    assert [finding for finding in store.check() if finding.problem != "foreign"] == []


def test_tasks_fill_one_array(store: outlive.Store) -> None:
    @ray.remote(num_cpus=0)
    def fill(creation: Any, number: int) -> None:
        creation[:, number] = np.full(50_000, number)

    creation = store.create((50_000, 3), "int64", key="scan", order="F")
    for too_early in (lambda: pickle.dumps(creation), lambda: creation.__setitem__(0, 1)):
        with pytest.raises(ValueError, match="not being created yet"):
            too_early()
    with creation as out:
        with pytest.raises(TypeError, match="not by list"):
            creation[[0, 1]] = 1
        ray.get([fill.remote(creation, number) for number in range(2)])
        creation[:, 2] = 2
        assert (out == [0, 1, 2]).all() and "scan" not in store
        parts = pickle.loads(pickle.dumps(creation))
        assert (parts.shape, parts.dtype, parts.key) == ((50_000, 3), np.dtype("int64"), "scan")
        assert len(pickle.dumps(parts)) < 500
        child = os.fork()
        if not child:
            with contextlib.suppress(BaseException):
                creation[0, 0] = 5  # it was not pickled
            os._exit(0)
        os.waitpid(child, 0)
        assert out[0, 0] == 5
    for late in (parts, creation):
        with pytest.raises(outlive.CreationEnded, match="array 'scan' is stored already"):
            late[0] = 7
    assert store["scan"].sum() == 3 * 50_000 + 5
    elsewhere = type(parts)(creation.handle.info, creation.handle.hint, "another cluster")
    with pytest.raises(outlive.StoreUnavailable, match="created in cluster another cluster, and this process"):
        elsewhere[0] = 7
    with pytest.raises(ZeroDivisionError), (failed := store.create(3, key="never")):
        failed[0] = 1 / 0
    with pytest.raises(outlive.CreationEnded, match="not being created any more"):
        failed[0] = 1


def test_put_many_is_all_or_nothing(store: outlive.Store) -> None:
    handles = store.put_many({"a": np.ones(2), "b": np.zeros(3)})
    assert sorted(handles) == sorted(store) == ["a", "b"]
    used = store.stats().shelves[0].used
    with pytest.raises(outlive.UnsupportedArray):
        store.put_many({"c": np.ones(2), "d": (n for n in range(3))})
    with pytest.raises(outlive.InvalidKey):
        store.put_many({"c": np.ones(2), "": np.ones(2)})
    assert sorted(store) == ["a", "b"]
    assert store.stats().shelves[0].used == used
    assert store.put_many({}) == store.get_many([]) == {}
    assert list(store.get_many(["b", "a"])) == ["b", "a"]


def test_mutable_mapping(store: outlive.Store) -> None:
    store.update({"x/1": np.ones(1)}, y=np.ones(2))
    assert list(store.keys(prefix="x/")) == ["x/1"]
    assert len(store.keys(prefix="x/")) == 1
    assert "y" in store.keys()  # noqa: SIM118
    assert store.pop("y").shape == (2,)
    assert store.setdefault("x/1", np.zeros(9)).shape == (1,)
    assert {key: array.shape for key, array in store.items()} == {"x/1": (1,)}
    store.clear()
    assert len(store) == 0
    assert list(store) == []


@pytest.mark.parametrize("key", ["../x", "/", "\0", "🧠/é", "a\nb", " ", "x" * 1024, "ö" * 512, "%s{}", "."])
def test_any_text_is_a_key(store: outlive.Store, key: str) -> None:
    store[key] = np.arange(3)
    assert list(store) == [key]
    assert store[key][2] == 2


@pytest.mark.parametrize("key", ["", "x" * 1025, "\ud800"])
def test_invalid_keys(store: outlive.Store, key: str) -> None:
    for use in (lambda: store.put(np.ones(1), key=key), lambda: store[key], lambda: store.get(key)):
        with pytest.raises(ValueError, match="key"):
            use()
    assert key not in store
    with pytest.raises(TypeError):
        store[7] = np.ones(1)  # type: ignore[index]


def test_stores_are_apart(store: outlive.Store) -> None:
    other = outlive.open(store.name + " 2")
    store["k"], other["k"] = np.ones(1), np.zeros(1)
    assert store["k"][0] != other["k"][0]
    del other["k"]
    assert "k" in store
    assert pickle.loads(pickle.dumps(store)) == store


def test_no_room(store: outlive.Store) -> None:
    shelf = store.stats().shelves[0]
    try:
        outlive.open(memory="1MiB", disk=0)
        with pytest.raises(outlive.StoreFull, match=r"no room for 2\.0 MiB .* budget of 1\.0 MiB"):
            store.put(np.zeros(1 << 18), key="big")
        with pytest.raises(MemoryError), store.create(1 << 18):
            pass
        assert "big" not in store
    finally:
        outlive.open(memory=shelf.budget, disk=shelf.disk_budget)
    with pytest.raises(ValueError, match="not a size"):
        outlive.open(memory="lots")


def test_a_lost_segment_is_named(store: outlive.Store) -> None:
    handle = store.put(np.ones(3), key="gone")
    store["here"] = np.ones(3)
    Path(session.current().shelf.mem, handle.id).unlink()
    with pytest.raises(outlive.ArrayLost, match="'gone'.*lost"):
        store["gone"]
    with pytest.raises(outlive.ArrayLost, match="'gone'.*lost"):
        handle.get()
    findings = store.check()
    assert ("missing", "gone") in [(finding.problem, finding.subject) for finding in findings]
    assert "miscounted" in [finding.problem for finding in findings]
    assert list(store) == ["here"]
    assert store.check() == []
    with pytest.raises(outlive.ArrayNotFound):
        handle.get()


def test_check_finds_flipped_bits(store: outlive.Store) -> None:
    handle = store.put(np.zeros(50_000), key="k")
    assert store.check() == []
    path = Path(session.current().shelf.mem, handle.id)
    data = bytearray(path.read_bytes())
    data[handle.info.offset] ^= 1
    path.write_bytes(data)
    assert [(finding.problem, finding.mended) for finding in store.check()] == [("flipped", False)]
    del store["k"]
    assert store.check() == []


def test_the_keeper_computes_checksums_by_itself(store: outlive.Store) -> None:
    handle = store.put(np.zeros(50_000), key="k")
    checksums = Path(session.current().shelf.path, "checksums")
    eventually(lambda: checksums.exists() and bytes.fromhex(handle.id) in checksums.read_bytes())


def test_what_other_processes_write_is_seen_at_once(store: outlive.Store) -> None:
    @ray.remote
    def put(value: int) -> None:
        store["shared"] = np.full(3, value)

    for value in range(20):
        ray.get(put.remote(value))
        assert store["shared"][0] == value


def test_two_threads_and_a_slow_clock(store: outlive.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer whose clock is behind is told so by the catalog, and still wins."""
    store["k"] = np.zeros(1)
    monkeypatch.setattr("outlive.arrays.info._version", 0)
    monkeypatch.setattr("time.time_ns", lambda: 1_000_000_000_000_000_000)
    store["k"] = np.ones(1)
    assert store["k"][0] == 1


def test_numpy_store(store: outlive.Store) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = outlive.NumpyStore(np.ones((2, 5), "int8"), "n", store=store.name)
    assert (made.shape, made.size, made.ndim, made.dtype, len(made), made.key) == (
        (2, 5),
        10,
        2,
        np.dtype("int8"),
        2,
        "n",
    )
    again = outlive.NumpyStore.open("n", store=store.name)
    assert again.retrieve().sum() == 10
    with pytest.raises(TypeError):
        outlive.NumpyStore([1, 2], "n", store=store.name)  # type: ignore[arg-type]
    with pytest.raises(KeyError):
        outlive.NumpyStore.open("missing", store=store.name)
    assert again.retrieve().sum() == 10


def test_async_twins(store: outlive.Store) -> None:
    """Many at once, while the loop goes on."""
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0)

    async def run() -> None:
        heart = asyncio.create_task(beat())
        handles = await asyncio.gather(*(store.aput(np.full(50_000, i), f"k{i}", ttl="1h") for i in range(10)))
        assert [handle.key for handle in handles] == [f"k{i}" for i in range(10)]
        arrays = await asyncio.gather(*(store.aget(f"k{i}") for i in range(10)))
        assert [int(array[-1]) for array in arrays] == list(range(10))
        assert await store.aget("none") is None
        assert await store.aget("none", 5) == 5
        with pytest.raises(outlive.UnsupportedArray):
            await store.aput(n for n in range(2))
        heart.cancel()

    asyncio.run(run())
    assert beats > 100


def test_a_put_that_cannot_be_sealed(store: outlive.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a disk that is too full for one more name in a folder."""
    store["before"], rename = np.zeros(3), os.rename

    def refuse(source: str, target: str) -> None:
        if os.path.basename(os.path.dirname(target)) == "mem":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), target)
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refuse)
        with pytest.raises(outlive.StoreFull, match="No space left"):
            store["new"] = np.ones(3)
        with contextlib.suppress(outlive.StoreFull):  # the keeper, where it works, may seal it for us first
            store["before"] = np.ones(3)
    assert "new" not in store and list(store) == ["before"]
    assert store["before"][0] in {0, 1}
    store["new"] = store["before"] = np.full(3, 2)
    assert [store[key][0] for key in store] == [2, 2]
    assert store.check() == []
