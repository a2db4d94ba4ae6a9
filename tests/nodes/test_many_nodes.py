"""Arrays on several nodes, as a user meets them: read anywhere, in part, overwritten and deleted from anywhere."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import psutil
import pytest
import ray
from ray.actor import ActorHandle

import outlive
from outlive.arrays.layout import is_cached
from outlive.arrays.marks import mode_of
from outlive.arrays.tend.checksums import Checksums
from outlive.calls.line import Line, NotMade
from outlive.cluster import transfer
from outlive.cluster.port import Call
from outlive.store import session
from outlive.store.replicas import FewerReplicas
from tests.conftest import ROOT, eventually
from tests.nodes.raylets import Nodes, several_nodes

MIB = 1 << 20


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with several_nodes(3) as nodes:
        outlive.open()
        for i in nodes:
            nodes.on_node(i, outlive.open)
        yield nodes


@pytest.fixture
def store(nodes: Nodes, request: pytest.FixtureRequest) -> Iterator[outlive.Store]:
    store = outlive.open(request.node.name)
    yield store
    store.clear()


# --- what the tasks do


def put(store: outlive.Store, array: Any, key: str | None = None) -> Any:
    return store.put(array, key)


def put_with(store: outlive.Store, array: Any, key: str | None, options: dict[str, Any]) -> Any:
    return store.put(array, key, **options)


def detached(store: outlive.Store, array: Any) -> Any:
    return store.put(array, lifetime="detached")


def delete(store: outlive.Store, key: str) -> None:
    store.delete(key)


def put_all(store: outlive.Store, arrays: list[Any]) -> list[Any]:
    return [store.put(array, f"k{i}") for i, array in enumerate(arrays)]


def get(store: outlive.Store, key: str) -> Any:
    array = store.get(key)
    return None if array is None else array.copy()


def get_first(store: outlive.Store, key: str) -> Any:
    array = store.get(key)
    return None if array is None else int(array.flat[0])


def seen(array: Any) -> tuple[Any, ...]:
    flags = array.flags
    return array.dtype, array.shape, flags.f_contiguous, flags.c_contiguous, flags.writeable, array.tobytes("A")


def see_all(store: outlive.Store, handles: list[Any]) -> list[tuple[Any, ...]]:
    found = []
    for i, handle in enumerate(handles):
        by_handle = seen(handle.get())
        assert seen(store[f"k{i}"]) == by_handle
        found.append(by_handle)
    return found


def part(handle: Any, index: Any) -> tuple[Any, ...] | type[Exception]:
    """What `handle[index]` is."""
    try:
        found = handle[index]
    except Exception as error:  # it is what is asked for
        return type(error)
    return type(found).__name__, found.dtype, found.shape, found.tobytes()


def error_of(work: Any) -> tuple[str, str]:
    try:
        work()
    except Exception as error:  # it is what is asked for
        return type(error).__name__, str(error)
    return "", ""


def read_handle(handle: Any) -> tuple[str, str]:
    return error_of(handle.get)


def read_key(store: outlive.Store, key: str) -> tuple[str, str]:
    return error_of(lambda: store[key])


@contextlib.contextmanager
def counted() -> Iterator[list[str]]:
    """The methods of keeper and catalog that this process calls in the block, by the catalog's port and through Ray."""
    calls: list[str] = []
    through_ray, by_port = ActorHandle._actor_method_call, Line.call

    def count_ray(self: Any, method: str, *args: Any, **options: Any) -> Any:
        calls.append(method)
        return through_ray(self, method, *args, **options)

    def count_port(self: Any, method: str, *args: Any) -> Any:
        calls.append(method)
        try:
            return by_port(self, method, *args)
        except NotMade:  # it goes through Ray, and is counted there
            calls.pop()
            raise

    ActorHandle._actor_method_call, Line.call = count_ray, count_port
    try:
        yield calls
    finally:
        ActorHandle._actor_method_call, Line.call = through_ray, by_port


def calls_of(store: outlive.Store) -> dict[str, list[str]]:
    """Which methods of keeper and catalog are called, by what is done. On a node of its own."""
    for _ in range(3):  # the first call of a process goes through Ray
        store.put(np.ones(100_000), "warm").get()
        store["warm"]
    found = {}
    handles: dict[str, Any] = {}
    with counted() as calls:
        for what, work in {
            "put without key": lambda: handles.update(unkeyed=store.put(np.ones(100_000))),
            "put with key": lambda: handles.update(keyed=store.put(np.ones(100_000), "k")),
            "get by handle": lambda: handles["unkeyed"].get() + handles["keyed"].get(),
            "get by key": lambda: store["k"] + store["k"],
            "slice": lambda: handles["unkeyed"][5:10] + handles["keyed"][7],
            "overwrite": lambda: store.put(np.ones(100_000), "k"),
        }.items():
            calls.clear()
            work()
            found[what] = list(calls)
    return found


def read_again_counted(handle: Any, store: outlive.Store) -> list[str]:
    """What is called when a copy that has come is read again."""
    first = handle.get().sum(), store[handle.key].sum()
    with counted() as calls:
        assert (handle.get().sum(), store[handle.key].sum()) == first
    return calls


def where_am_i() -> str:
    return str(ray.get_runtime_context().get_node_id())


def sum_in_flight(handle: Any, meet: float) -> Any:
    return handle.get().sum()


def ends_at(handle: Any) -> float:
    return float(handle.ends_at().timestamp())


def touch(handle: Any) -> None:
    handle.touch()


def shelf_holds(array_ids: list[str]) -> list[str]:
    """Of each array what this node has of it: nothing, cached, kept, and whether on disk."""
    shelf = session.current().shelf
    found = []
    for array_id in array_ids:
        mode = mode_of(shelf, array_id)
        what = "" if not mode else "cached" if is_cached(mode) else "kept"
        found.append(what + (" on disk" if array_id in shelf.spilled() else ""))
    return found


def stats(store: outlive.Store, nodes: Nodes, i: int) -> Any:
    (found,) = (shelf for shelf in store.stats().shelves if shelf.node == nodes.id(i))
    return found


# --- read anywhere


def arrays() -> list[Any]:
    random = np.random.default_rng(7)
    bits = random.integers(0, 2**63, 50_000, "int64")
    return [
        random.integers(0, 256, 3 * MIB, "uint8"),
        np.asfortranarray(random.normal(size=(300, 200))),
        bits.view("float64"),  # NaNs with payloads
        np.empty((0, 3), "int16"),
        np.array(3.5),
        np.arange(20, dtype=">i4"),
        np.zeros(3, [("x", "<i4"), ("y", "S5")]),
        random.normal(size=(100, 100))[::2, ::-3],
        np.array(["2026-01-01", "NaT"], "datetime64[D]"),
        np.array(["ä", "longer"]),
    ]


def test_read_anywhere_bit_for_bit(nodes: Nodes, store: outlive.Store) -> None:
    expected = arrays()
    handles = nodes.on_node(1, put_all, store, expected)
    at_home = nodes.on_node(1, see_all, store, handles)
    for found, array in zip(at_home, expected, strict=True):
        assert found[:2] == (array.dtype, array.shape)
        assert not found[4]
    for i in (0, 2):
        for found, home in zip(nodes.on_node(i, see_all, store, handles), at_home, strict=True):
            assert found == home
    for handle, array in zip(handles, expected, strict=True):
        assert handle.get().tobytes() == array.tobytes()


def test_many_readers_make_one_fetch_and_the_copy_stays(nodes: Nodes, store: outlive.Store) -> None:
    array = np.random.default_rng(1).integers(0, 256, 24 * MIB, "uint8")
    handle = nodes.on_node(1, put, store, array, "k")
    before, sent = stats(store, nodes, 2).fetched, stats(store, nodes, 1).sent_bytes
    readers = [nodes.start_on_node(2, sum_in_flight, handle, 0) for _ in range(6)]
    assert ray.get(readers, timeout=100) == [array.sum(dtype="uint64")] * 6
    assert stats(store, nodes, 2).fetched == before + 1
    assert stats(store, nodes, 1).no_server is None and not stats(store, nodes, 2).through_ray
    assert stats(store, nodes, 1).sent_bytes - sent == handle.info.size
    assert nodes.on_node(2, shelf_holds, [handle.id]) == ["cached"]
    assert nodes.on_node(2, read_again_counted, handle, store) == []
    assert stats(store, nodes, 1).sent_bytes - sent == handle.info.size
    assert handle.durability == (1, 1)  # a cached copy is no replica
    assert set(handle.location) == {nodes.id(1), nodes.id(2)}


ROWS, ROW = 1024, 8192  # and bytes of each
SLICES: list[tuple[Any, int | None]] = [  # and how many rows are moved; None: all of the array
    (np.s_[10:20], 10),
    (np.s_[20:10:-1], 10),
    (np.s_[-5:], 5),
    (np.s_[100:200:7], 99),
    (np.s_[200:100:-7], 99),
    (3, 1),
    (-1, 1),
    (np.int64(7), 1),
    (np.int8(-2), 1),
    (np.s_[np.int64(4) : np.int64(6)], 2),
    (np.s_[10:20, 5], 10),
    (np.s_[10:20, ::-2], 10),
    (np.s_[10, 5], 1),
    (np.s_[10, None, 5:7], 1),
    (np.s_[10:12, ...], 2),
    (np.s_[10:12, [1, 3, 2]], 2),
    (np.s_[5:5], 0),
    (np.s_[2000:], 0),
    (np.s_[20:10], 0),
    (ROWS, 0),
    (-ROWS - 1, 0),
    (np.s_[10, 5, 5], 1),
    (np.s_[10:20, ROW], 10),
    ("x", None),
    (1.5, None),
    (True, None),
    (np.s_[...], None),
    (np.s_[..., 3], None),
    ((), None),
    (np.s_[None, 4], None),
    ([1, 2], None),
    (np.s_[::100], None),
]


def test_a_slice_moves_its_rows_only(nodes: Nodes, store: outlive.Store) -> None:
    array = np.random.default_rng(2).integers(0, 256, (ROWS, ROW), "uint8")
    handle = nodes.on_node(1, put, store, array, "k")

    def expected(index: Any) -> Any:
        try:
            found = array[index]
        except Exception as error:  # it is what is expected
            return type(error)
        return type(found).__name__, found.dtype, found.shape, found.tobytes()

    for index, rows in SLICES:
        if rows is None:
            continue
        before = stats(store, nodes, 1).sent_bytes
        found = nodes.on_node(2, part, handle, index)
        assert found == expected(index) or (index == ROWS and found is IndexError), index
        assert stats(store, nodes, 1).sent_bytes - before == rows * ROW, index
    assert nodes.on_node(2, shelf_holds, [handle.id]) == [""]
    for index, rows in SLICES:  # the others bring the whole array, once
        if rows is None:
            assert nodes.on_node(2, part, handle, index) == expected(index), index
    assert nodes.on_node(2, shelf_holds, [handle.id]) == ["cached"]


@pytest.mark.parametrize("array", [np.array(3.5), np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.empty((0, 3))])
def test_parts_of_small_arrays(nodes: Nodes, store: outlive.Store, array: Any) -> None:
    handle = nodes.on_node(1, put, store, array)  # numpy's scalars, views and errors
    for index in [(), ..., 0, np.s_[:1], (0, 0), -1, 5]:
        try:
            found = array[index]
            expected: Any = (type(found).__name__, found.dtype, found.shape, found.tobytes())
        except IndexError:
            expected = IndexError
        assert nodes.on_node(2, part, handle, index) == expected, index


class Altering:
    """A port to a keeper that sends another bit."""

    def __init__(self, shelf: Any) -> None:
        self._shelf = shelf

    def stream(self, node: str, call: Call) -> Iterator[Any]:
        array_id, begin, end, step, _ = call.args
        for count, sent in enumerate(transfer.send(self._shelf, array_id, begin, end, step)):
            if isinstance(sent, transfer.Chunk):
                data = bytearray(sent.data)
                data[len(data) // 2] ^= count == 2
                yield sent._replace(data=memoryview(bytes(data)))
            else:
                yield sent


def test_a_chunk_that_was_altered_on_the_way_is_refused(nodes: Nodes, store: outlive.Store) -> None:
    handle = store.put(np.random.default_rng(3).integers(0, 256, 4 * MIB, "uint8"))
    shelf = session.current().shelf
    used = shelf.ledger.used
    source = transfer.Source(Altering(shelf), "another", MIB)  # type: ignore[arg-type]
    with pytest.raises(outlive.CorruptArray, match=f"{handle.id} did not arrive as it was sent"):
        transfer.copy(shelf, source, handle.id, kept=False)
    assert shelf.ledger.used == used  # nothing of it is left


# --- written anywhere


def test_an_overwrite_and_a_deletion_are_seen_at_once_everywhere(nodes: Nodes, store: outlive.Store) -> None:
    for value, writer in enumerate((0, 1, 2, 1)):
        nodes.on_node(writer, put, store, np.full(10_000, value), "k")
        for _ in range(2):  # the second by the name that the first left
            assert [nodes.on_node(i, get_first, store, "k") for i in nodes] == [value] * 3
    for deleter in nodes:
        store["gone"] = np.ones(10_000)
        assert [nodes.on_node(i, get_first, store, "gone") for i in nodes] == [1] * 3
        nodes.on_node(deleter, delete, store, "gone")
        assert [nodes.on_node(i, get_first, store, "gone") for i in nodes] == [None] * 3
        assert "gone" not in store


def test_an_array_without_a_key_is_deleted_from_another_node(nodes: Nodes, store: outlive.Store) -> None:
    handle = nodes.on_node(1, detached, store, np.ones(100_000))
    assert nodes.on_node(2, read_handle, handle) == ("", "")
    store.delete(handle)
    for i in nodes:
        kind, text = nodes.on_node(i, read_handle, handle)
        assert kind == "ArrayNotFound" and handle.id in text and "it was deleted" in text
    with pytest.raises(outlive.ArrayNotFound):
        store.delete(handle)
    assert [nodes.on_node(i, shelf_holds, [handle.id]) for i in nodes] == [[""]] * 3


def test_touch_and_ttl(nodes: Nodes, store: outlive.Store) -> None:
    handle = nodes.on_node(1, put_with, store, np.ones(100_000), "k", {"ttl": 100})
    assert nodes.on_node(2, read_handle, handle) == ("", "")
    ends = nodes.on_node(1, ends_at, handle)
    assert nodes.on_node(2, ends_at, handle) == ends
    nodes.on_node(2, touch, handle)
    later = nodes.on_node(1, ends_at, handle)
    assert later > ends
    assert [nodes.on_node(i, ends_at, handle) for i in nodes] == [later] * 3
    short = nodes.on_node(1, put_with, store, np.ones(100_000), "short", {"ttl": 1})
    eventually(lambda: nodes.on_node(1, shelf_holds, [short.id]) == [""])
    assert all(nodes.on_node(i, read_handle, short)[0] == "ArrayNotFound" for i in nodes)
    assert "its time to live was over" in nodes.on_node(2, read_handle, short)[1]
    assert [nodes.on_node(i, get_first, store, "short") for i in nodes] == [None] * 3


def test_a_job_array_of_another_node_is_told_to_have_ended(nodes: Nodes, store: outlive.Store) -> None:
    handle = nodes.on_node(1, put, store, np.ones(10))
    assert handle.lifetime == "job"
    assert nodes.on_node(2, read_handle, handle) == ("", "")


def wait_until_summed(shelf: Any, array_ids: list[str]) -> None:
    """A keeper maps each array once to compute its checksum, and what is mapped is not evicted."""
    deadline = time.monotonic() + 60
    while len(Checksums(f"{shelf.path}/checksums").load(array_ids)) < len(array_ids):
        assert time.monotonic() < deadline, "the keeper computes no checksums"
        time.sleep(0.05)


def fill_and_see(store: outlive.Store, cached: list[Any], pinned: Any) -> list[list[str]]:
    """On a node with memory for seven arrays: what becomes of two that are kept and three that are cached."""
    shelf = session.current().shelf
    shelf.pool.trim()
    outlive.open(store.name, memory=shelf.ledger.used + 30 * MIB, disk="100MiB")
    kept = [store.put(np.full(4 * MIB, 1, "uint8"), f"kept {i}") for i in range(2)]
    pinned.pin()
    for handle in cached:
        handle.get()
    wait_until_summed(shelf, [one.id for one in (*kept, *cached, pinned)])
    before = shelf_holds([one.id for one in (*kept, *cached, pinned)])
    more = [store.put(np.full(4 * MIB, 1, "uint8"), f"more {i}") for i in range(3)]
    between = shelf_holds([one.id for one in (*kept, *more, *cached, pinned)])
    last = [store.put(np.full(4 * MIB, 1, "uint8"), f"last {i}") for i in range(3)]
    after = shelf_holds([one.id for one in (*kept, *more, *last, *cached, pinned)])
    assert all(handle.get().all() for handle in (*kept, *more, *last, *cached, pinned))
    outlive.open(store.name, memory="500MiB")
    return [before, between, after]


def test_cached_copies_go_before_anything_is_spilled_and_kept_ones_never_go(nodes: Nodes, store: outlive.Store) -> None:
    handles = [nodes.on_node(1, put, store, np.full(4 * MIB, 9, "uint8"), f"c{i}") for i in range(3)]
    pinned = nodes.on_node(1, put, store, np.full(MIB, 9, "uint8"), "pinned")
    before, between, after = nodes.on_node(2, fill_and_see, store, handles, pinned)
    assert before == ["kept"] * 2 + ["cached"] * 3 + ["cached"]
    assert between[:5] == ["kept"] * 5 and between[8] == "cached"
    assert "" in between[5:8] and "cached on disk" not in between
    assert all(state.startswith("kept") for state in after[:8]) and any(state == "kept on disk" for state in after[:8])
    assert after[8:] == [""] * 3 + ["cached"]


# --- for computing where the array is


def test_a_task_runs_where_its_array_is(nodes: Nodes, store: outlive.Store) -> None:
    where = ray.remote(num_cpus=0)(where_am_i)
    for i in nodes:
        handle = nodes.on_node(i, put, store, np.ones(10), f"k{i}")
        assert handle.location == [nodes.id(i)]
        for named in (handle, f"k{i}"):
            assert ray.get(where.options(scheduling_strategy=store.strategy(named)).remote()) == nodes.id(i)
    with pytest.raises(outlive.ArrayNotFound):
        store.strategy("nothing")


def test_calls_are_counted(nodes: Nodes, store: outlive.Store) -> None:
    assert nodes.on_node(1, calls_of, store) == {
        "put without key": [],
        "put with key": ["bind"],
        "get by handle": [],
        "get by key": [],
        "slice": [],
        "overwrite": ["bind"],
    }


# --- replicas


@pytest.mark.filterwarnings("ignore::outlive.FewerReplicas")  # a keeper may take long to answer, on a busy machine
def test_replicas_are_there_after_a_put(nodes: Nodes, store: outlive.Store) -> None:
    """When it returns, if no warning says otherwise: see the played cluster of `test_interleavings`."""
    for key in ("k", None):
        handle = nodes.on_node(1, put_with, store, np.arange(100_000), key, {"replicas": 2})
        eventually(lambda handle=handle: handle.durability == (2, 2))
        holds = [nodes.on_node(i, shelf_holds, [handle.id])[0] for i in nodes]
        assert sorted(holds) == ["", "kept", "kept"]
        assert nodes.on_node(0, read_handle, handle) == ("", "")
    handles = store.put_many({"x": np.ones(10), "y": np.ones(10)}, replicas=3)
    eventually(lambda: {handle.durability for handle in handles.values()} == {(3, 3)})
    with store.create(5, "int8", "made", replicas=2) as out:
        out[:] = 1
    eventually(lambda: store.handle("made").durability == (2, 2))


@pytest.mark.parametrize("replicas", [0, -1, 1.5, "2", True])
def test_replicas_is_a_positive_whole_number(nodes: Nodes, store: outlive.Store, replicas: Any) -> None:
    with pytest.raises(ValueError, match="replicas"):
        store.put(np.ones(3), "k", replicas=replicas)
    assert "k" not in store


def test_a_node_comes_and_goes(nodes: Nodes, store: outlive.Store) -> None:
    """Fewer nodes than replicas; one joins; one is lost, with what was there alone; a reader is in flight."""
    with pytest.warns(FewerReplicas, match="replicas=4, but only [123] so far"):
        four = store.put(np.arange(100_000), "four", replicas=4)
    eventually(lambda: four.durability == (3, 4))
    fourth = nodes.add_node()
    eventually(lambda: four.durability == (4, 4))

    nodes.on_node(fourth, outlive.open)
    alone = nodes.on_node(fourth, put, store, np.ones(100_000), "alone")
    deleted = nodes.on_node(fourth, put, store, np.ones(100_000), "deleted")
    unkeyed = nodes.on_node(fourth, detached, store, np.ones(100_000))
    cached = nodes.on_node(fourth, put, store, np.full(100_000, 5), "cached")
    assert nodes.on_node(2, get_first, store, "cached") == 5  # the only copy that will be left
    big = nodes.on_node(fourth, put_with, store, np.ones(40 * MIB, "uint8"), "big", {"replicas": 2})
    (other,) = (i for i in nodes if i != fourth and nodes.id(i) in big.location)
    reader = next(i for i in nodes if i not in (fourth, other))
    in_flight = [nodes.start_on_node(reader, sum_in_flight, big, 0) for _ in range(3)]
    at, gone = time.time(), nodes.kill_node(fourth)
    assert ray.get(in_flight, timeout=100) == [40 * MIB] * 3

    assert nodes.on_node(1, get_first, store, "cached") == 5
    for i in nodes:
        for handle, key in ((alone, "alone"), (unkeyed, None)):
            errors = [nodes.on_node(i, read_handle, handle)]
            errors += [] if key is None else [nodes.on_node(i, read_key, store, key)]
            for kind, text in errors:
                assert kind == "ArrayLost", text
                assert (key or handle.id) in text and gone in text and "replicas=2" in text
                assert time.strftime("%Y-%m-%d", time.localtime(at)) in text
    lost = store.lost()
    assert {one.handle.key for one in lost} == {"alone", "deleted"}
    assert all(one.node == gone and abs(one.at - at) < 60 for one in lost)
    assert "alone" not in store and "alone" not in list(store)
    store["alone"] = np.zeros(3)
    store.delete(deleted)
    assert store.lost() == []
    assert store["alone"].tolist() == [0, 0, 0] and store.get("deleted") is None
    eventually(lambda: big.durability == (2, 2))  # without being asked
    assert four.durability == (3, 4)
    assert cached.durability.replicas >= 1  # more, if others read it while it was being saved
    assert nodes.on_node(reader, read_handle, four) == ("", "")


def test_ray_restarts_on_a_machine(nodes: Nodes, store: outlive.Store) -> None:
    fourth = nodes.add_node()
    nodes.on_node(fourth, outlive.open)
    array = np.random.default_rng(5).normal(size=100_000)
    keyed = nodes.on_node(fourth, put, store, array, "k")
    unkeyed = nodes.on_node(fourth, detached, store, array)
    nodes.on_node(fourth, put, store, array, "deleted")
    nodes.on_node(fourth, put, store, array, "replaced")
    nodes.on_node(fourth, put_with, store, array, "two", {"replicas": 2})
    nodes.kill_node(fourth, machine=False)
    eventually(lambda: len(store.lost()) == 3)
    store["replaced"] = np.zeros(3)
    store.delete("deleted")
    store.delete("two")
    fifth = nodes.add_node()
    eventually(lambda: store.lost() == [] and store.get("k") is not None)
    assert np.array_equal(store["k"], array) and np.array_equal(unkeyed.get(), array)
    assert keyed.location[-1] == nodes.id(fifth)
    assert store["replaced"].tolist() == [0, 0, 0]
    assert store.get("deleted") is None and store.get("two") is None
    assert sorted(store) == ["k", "replaced"]
    assert [finding for finding in store.check() if not finding.mended] == []
    nodes.kill_node(fifth)


def test_a_keeper_that_is_slow_to_die(nodes: Nodes, store: outlive.Store) -> None:
    fourth = nodes.add_node()
    nodes.on_node(fourth, put, store, np.arange(50_000), "k")
    shelf = f"{ROOT}/{nodes.cluster}/{nodes.id(fourth)}"
    (keeper,) = nodes.processes(fourth, "ray::Keeper")
    nodes.kill_node(fourth, machine=False)
    eventually(lambda: not keeper.is_running() or keeper.status() == psutil.STATUS_ZOMBIE)
    with open(f"{shelf}/keeper") as lock:  # in its stead
        fcntl.flock(lock, fcntl.LOCK_EX)
        fifth = nodes.add_node()
        nodes.on_node(fifth, outlive.open)  # its keeper runs
        assert [one.handle.key for one in store.lost()] == ["k"]
    eventually(lambda: store.lost() == [])
    assert store["k"].sum() == np.arange(50_000).sum()
    nodes.kill_node(fifth)


def read_without_room(handle: Any, key: str, store: outlive.Store) -> list[Any]:
    """On a node whose budget is smaller than the array, whatever arrays of other tests leave there meanwhile."""
    shelf = session.current().shelf
    budget, disk_budget = shelf.ledger.budget, shelf.ledger.disk.budget
    shelf.ledger.budget, shelf.ledger.disk.budget = MIB, 0
    try:
        found = [handle.get().sum(), store[key].sum(), handle[5:7].tolist(), shelf.has(handle.id)]
    finally:
        shelf.ledger.budget, shelf.ledger.disk.budget = budget, disk_budget
    return found


def test_an_array_is_read_where_there_is_no_room_for_it(nodes: Nodes, store: outlive.Store) -> None:
    array = np.arange(MIB)
    handle = nodes.on_node(1, put, store, array, "k")
    assert nodes.on_node(2, read_without_room, handle, "k", store) == [array.sum(), array.sum(), [5, 6], False]


def test_fewer_replicas_are_warned_of(nodes: Nodes, store: outlive.Store) -> None:
    with pytest.warns(FewerReplicas, match="replicas=5, but only [123] so far") as warned:
        handle = store.put(np.ones(3), "k", replicas=5)
    assert {warning.filename for warning in warned} == {__file__}
    eventually(lambda: handle.durability == (3, 5))
