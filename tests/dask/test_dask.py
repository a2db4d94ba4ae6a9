"""Handles and chunks as dask arrays."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

pytest.importorskip("dask.array")

import dask
from dask import array as da

import outlive
import outlive.dask
from outlive.arrays.writer import Writer
from outlive.dask import _home, persist
from outlive.store import session
from tests.nodes.played import PlayedCluster

ROWS = 64
VALUES = np.arange(ROWS * 8192.0).reshape(ROWS, 8192)  # 4 MiB


@pytest.fixture
def store(played: PlayedCluster, request: pytest.FixtureRequest) -> outlive.Store:
    return outlive.Store(request.node.name)


def on_another_node(played: PlayedCluster, store: outlive.Store) -> outlive.ArrayHandle:
    """VALUES, on the node `b`."""
    draft = Writer(played.shelves["b"]).draft_of(VALUES, store=store.name)
    draft.seal()
    return outlive.ArrayHandle(draft.info, "b")


def chunk(array: Any, *place: int) -> Any:
    """A chunk as tasks get it: `compute` copies it."""
    return dask.get(array.dask, (array.name, *place))


# --- to_dask


def test_a_handle_is_a_dask_array(store: outlive.Store) -> None:
    handle = store.put(VALUES)
    for array in (handle.to_dask(chunks=(16, 8192)), da.from_array(handle, chunks=(16, 8192))):
        assert (array.shape, array.dtype, array.chunks) == (VALUES.shape, VALUES.dtype, ((16,) * 4, (8192,)))
        assert type(array._meta) is np.ndarray
        assert float(array.sum().compute()) == VALUES.sum()
        assert (array[3:40, ::100].compute() == VALUES[3:40, ::100]).all()
        assert (array[[5, 1], 7].compute() == VALUES[[5, 1], 7]).all()
        assert np.shares_memory(chunk(array, 1, 0), handle.get())


def test_making_one_reads_nothing(played: PlayedCluster, store: outlive.Store) -> None:
    handle = on_another_node(played, store)
    array = handle.to_dask(chunks=(8, 8192))
    assert (array[8:16] + 1).sum().compute() == (VALUES[8:16] + 1).sum()
    assert not played.shelves["a"].has(handle.id)  # the rows came, and no more
    assert len(array.dask) <= 9
    assert len(pickle.dumps(array)) < 4096


def test_the_name_is_of_the_array_and_not_of_the_object(store: outlive.Store) -> None:
    handle, other = store.put(VALUES), store.put(VALUES)
    again = pickle.loads(pickle.dumps(handle))
    assert handle.to_dask().name == again.to_dask().name != other.to_dask().name
    assert handle.to_dask(chunks=32).name != handle.to_dask(chunks=16).name


def test_other_values_are_no_dask_arrays(store: outlive.Store) -> None:
    with pytest.raises(TypeError, match="is no array"):
        store.put({"x": VALUES}).to_dask()


# --- persist


def test_persisted_chunks_are_arrays(store: outlive.Store) -> None:
    array = persist(da.from_array(VALUES, chunks=(40, 5000)) * 2, store, key="k")
    assert sorted(store) == ["k/0.0", "k/0.1", "k/1.0", "k/1.1"]
    assert array.chunks == ((40, 24), (5000, 3192))
    assert (array.compute() == VALUES * 2).all()
    assert (pickle.loads(pickle.dumps(array))[39:42, 4999:5001].compute() == VALUES[39:42, 4999:5001] * 2).all()
    stored = store.handle("k/0.0").get()
    assert np.shares_memory(chunk(array, 0, 0), stored)
    assert {store.handle(key).lifetime for key in store} == {"detached"}


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2)])
def test_small_shapes(store: outlive.Store, shape: tuple[int, ...]) -> None:
    array = persist(da.ones(shape, chunks=-1), store)
    assert (array.shape, array.compute().shape, float(array.sum().compute())) == (shape, shape, float(not shape))


def test_chunks_of_unknown_sizes(store: outlive.Store) -> None:
    array = da.arange(10, chunks=4)
    assert persist(array[array % 3 == 0], store).chunks == ((2, 1, 1),)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda block: block[block[:, 0] % 8 > 0], r"chunk at \(0, 1\) has the shape \(4, 1\), and \(3, 1\) fits"),
        (lambda block: block.sum(axis=1), r"chunk at \(0, 0\) has 1 dimensions, and the dask array 2"),
    ],
    ids=["lengths", "dimensions"],
)
def test_chunks_that_make_no_array(store: outlive.Store, change: Any, reason: str) -> None:
    array = da.from_array(np.arange(16).reshape(8, 2), chunks=(4, 1)).map_blocks(change, dtype=int)
    with pytest.raises(ValueError, match=reason):
        persist(array, store)
    assert list(store) == []


def test_each_call_has_keys_of_its_own(store: outlive.Store) -> None:
    array = da.ones(3, chunks=2)
    first, second = persist(array, store, ttl="10min"), persist(array, store)
    assert len(store) == 4
    assert (first.compute() == second.compute()).all()
    assert sorted({store.handle(key).ttl or 0 for key in store}) == [0, 600]


def test_chunks_that_are_replaced(played: PlayedCluster, store: outlive.Store) -> None:
    before = persist(da.zeros(100_000, chunks=-1), store, key="k")
    after = persist(da.ones(100_000, chunks=-1), store, key="k")
    played.catalog.drop_replaced()
    with pytest.raises(outlive.ArrayNotFound):
        before.compute()
    assert int(after.sum().compute()) == 100_000


def test_a_chunk_that_cannot_be_computed(store: outlive.Store) -> None:
    def fail(block: Any, block_id: Any = None) -> Any:
        if block_id == (1,):
            raise ZeroDivisionError
        return block

    with pytest.raises(ZeroDivisionError):
        persist(da.ones(4, chunks=1).map_blocks(fail, dtype=float), store)
    assert list(store) == []


def test_a_chunk_that_is_stored_after_another_one_failed(store: outlive.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dask raises the first error, while its other threads go on."""
    begun, failed, real = threading.Event(), threading.Event(), outlive.dask._put
    errors: list[Exception] = []

    def fail(block: Any, block_id: Any = None) -> Any:
        if block_id == (1,):
            assert begun.wait(60)
            raise ZeroDivisionError
        return block

    def put(*args: Any) -> Any:
        begun.set()
        assert failed.wait(60)
        try:
            return real(*args)
        except outlive.StoreUnavailable as error:
            errors.append(error)
            raise

    monkeypatch.setattr(outlive.dask, "_put", put)
    array = da.ones(2, chunks=1).map_blocks(fail, dtype=float)
    with ThreadPoolExecutor(2) as pool, dask.config.set(scheduler="threads", pool=pool):
        with pytest.raises(ZeroDivisionError):
            persist(array, store)
        failed.set()
    assert list(store) == []
    assert "not wanted any more" in str(errors[0])


def test_a_chunk_that_is_computed_twice_is_stored_once(store: outlive.Store) -> None:
    """As when a worker of dask dies after it stored one: the first handle may be in the result."""
    store["mark"] = np.empty(0)
    first, second = (outlive.dask._put(store, {}, "mark", np.ones(3), "k/0") for _ in range(2))
    assert first == second


def test_other_chunks_are_refused(store: outlive.Store) -> None:
    with pytest.raises(outlive.UnsupportedArray, match=r"is a numpy\.ma.*MaskedArray"):
        persist(da.ma.masked_equal(da.ones(3, chunks=2), 1), store)
    assert list(store) == []


# --- where tasks run


def test_the_node_of_what_a_task_reads(played: PlayedCluster, store: outlive.Store) -> None:
    from dask._task_spec import convert_legacy_graph
    from dask.utils import ensure_dict

    there, here = on_another_node(played, store), store.put(VALUES[:8])
    array = there.to_dask(chunks=(16, 8192))[:8] + here.to_dask()
    for one in (array, dask.optimize(array)[0], persist(array, store)):
        graph = convert_legacy_graph(ensure_dict(one.__dask_graph__()))
        homes = {_home(task, {}) for task in graph.values()}
        assert homes - {None} <= {"a", "b"}
        assert ("b" in homes) == (one.name == array.name)
    assert session.current().node == "a"


@pytest.mark.filterwarnings("ignore")  # Ray's
def test_what_ray_is_asked_for(played: PlayedCluster, store: outlive.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.util.dask import scheduler

    asked: dict[Any, dict[Any, Any]] = {}

    def compute_here(graph: Any, keys: Any, **options: Any) -> Any:
        scoped = scheduler._build_key_scoped_ray_remote_args(graph, {}, options.pop("ray_remote_args", {}))
        for key, arguments in scoped.items():
            where = arguments.pop("scheduling_strategy", None)
            asked.setdefault(where, {})[key] = arguments
        return dask.get(graph, keys)

    monkeypatch.setattr("ray.util.dask.ray_dask_get", compute_here)
    strategy = "ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy"
    monkeypatch.setattr(strategy, lambda node, soft: (node, soft))
    there, here = on_another_node(played, store).to_dask(chunks=(32, 8192)), store.put(VALUES[:8]).to_dask()
    total = there.sum() + here.sum() + da.ones(3).sum()
    assert float(total.compute(scheduler=outlive.dask.get)) == VALUES.sum() + VALUES[:8].sum() + 3
    assert set(asked) == {("a", True), ("b", True), None}
    assert [len(asked[node, True]) for node in "ab"] == [1, 2]
    asked.clear()
    with dask.annotate(ray_remote_args={"num_cpus": 2}):
        told = da.map_blocks(np.negative, there)
    with dask.config.set({"optimization.fuse.active": False}):
        told.compute(scheduler=outlive.dask.get)
    assert {"num_cpus": 2} in [arguments for keys in asked.values() for arguments in keys.values()]
