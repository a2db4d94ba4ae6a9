"""outlive for dask: arrays whose chunks outlive dask's workers, and a scheduler that reads arrays where they are.

Needs the extra `outlive[dask]`. See docs/howto/dask.md.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Mapping, MutableMapping
from functools import partial
from typing import Any

import numpy as np

from outlive.errors import ArrayNotFound, StoreUnavailable, UnsupportedArray
from outlive.extras import named
from outlive.store import opening
from outlive.store.adding import add
from outlive.store.handle import ArrayHandle
from outlive.store.store import DEFAULT, LifetimeName, Store
from outlive.units import parse_size

try:
    import dask
    from dask.array import Array
    from dask.array.core import getter, slices_from_chunks
    from dask.utils import ensure_dict
except ModuleNotFoundError as error:
    raise named(error) from None

__all__ = ["get", "persist", "worker_data"]


def persist(
    array: Array,
    store: str | Store = DEFAULT,
    *,
    key: str | None = None,
    lifetime: LifetimeName | None = None,
    ttl: float | str | None = None,
    replicas: int = 1,
) -> Array:
    """Compute a dask array, keep each chunk as an array of outlive, and return a dask array that reads them.

    Each chunk is stored by the worker that computes it, and read from shared memory without a copy. No worker needs to
    live for that. The result is small, has no other tasks, and can be pickled, for another program to read.

    Parameters
    ----------
    store
        Its name as for `outlive.open`, or a store. Chunks that are put through a scope, as in
        `with store.scope() as tmp:`, end with it.
    key
        The chunks' keys are `KEY/0.0`, `KEY/0.1` and so on, and replace those that are there: a dask array of the older
        ones raises `ArrayNotFound` from then on. By default a new name for each call, `dask/...`.
    lifetime, ttl, replicas
        For each chunk: see `outlive.Store.put`. By default they stay until they are deleted.

    Raises
    ------
    UnsupportedArray
        A chunk is no array of NumPy's.
    ValueError
        The chunks' shapes make no array.
    StoreFull, StoreUnavailable
        A chunk could not be stored.

    Chunks that were stored until then are deleted, and so are those that other workers store later. Those under a
    `key` stay: they may have replaced others.

    Examples
    --------
    >>> import dask.array
    >>> squares = persist(dask.array.arange(6, chunks=3) ** 2, "results", key="squares")
    >>> int(squares.sum().compute()), sorted(outlive.open("results"))
    (55, ['squares/0', 'squares/1'])
    """
    opened = store if isinstance(store, Store) else opening.open(store)
    prefix = key if key is not None else f"dask/{array.name}-{secrets.token_hex(4)}"
    ends: dict[str, Any] = {"lifetime": lifetime, "ttl": ttl, "replicas": replicas}
    blocks = array.to_delayed()
    names = {place: f"{prefix}/{'.'.join(map(str, place)) or '0'}" for place in np.ndindex(blocks.shape)}
    mark = None if key is not None else f"{prefix}/under way"
    # a partial: an argument that is a mapping would become a dict
    put = dask.delayed(partial(_put, opened, ends, mark), pure=False)
    try:
        if mark is not None:
            opened.put(np.empty(0, np.uint8), mark, lifetime="job")
        handles = dask.compute(*(put(blocks[place], name) for place, name in names.items()))
        persisted = _array_of(dict(zip(names, handles, strict=True)), array)
    except BaseException:
        if mark is not None:
            _delete(opened, mark)  # first: see `_put`
            _delete(opened, *names.values())
        raise
    if mark is not None:
        _delete(opened, mark)
    return persisted


def _put(store: Store, ends: dict[str, Any], mark: str | None, chunk: Any, name: str) -> ArrayHandle:
    """Store a chunk.

    Dask raises the first error, and other workers go on. So a chunk that is stored after `persist` has deleted its mark
    and all chunks is deleted here.
    """
    if not isinstance(chunk, np.ndarray | np.generic) or isinstance(chunk, np.ma.MaskedArray):
        raise UnsupportedArray(
            f"a chunk of this dask array is a {type(chunk).__module__}.{type(chunk).__qualname__}, and only arrays of "
            "NumPy's are kept: turn them into such by array.map_blocks first"
        )
    if mark is None:
        return store.put(np.asarray(chunk), name, **ends)
    # A chunk that dask computes twice is stored once: its handle may be in the result already.
    if add(store, np.asarray(chunk), name, **ends) and mark not in store:
        _delete(store, name)
        raise StoreUnavailable(f"{name!r} is not wanted any more: another chunk could not be computed or stored")
    return store.handle(name)


def _delete(store: Store, *names: str) -> None:
    """Delete those of these that are there."""
    with contextlib.suppress(ArrayNotFound):
        store.delete(*names)


def _array_of(handles: dict[tuple[int, ...], ArrayHandle], like: Array) -> Array:
    """The dask array that these chunks make. Each of its tasks reads one. Raises ValueError if they do not fit."""
    for place, handle in handles.items():
        if handle.ndim != like.ndim:
            raise ValueError(f"the chunk at {place} has {handle.ndim} dimensions, and the dask array {like.ndim}")
    chunks = tuple(
        tuple(handles[tuple(at if one == axis else 0 for one in range(like.ndim))].shape[axis] for at in range(count))
        for axis, count in enumerate(like.numblocks)
    )  # it may not have known them
    name = f"outlive-{dask.base.tokenize(*handles.values())}"
    graph: dict[Any, Any] = {}
    for (place, handle), cut in zip(handles.items(), slices_from_chunks(chunks), strict=True):
        wanted = tuple(one.stop - one.start for one in cut)
        if handle.shape != wanted:  # dask would raise too, and a slice would cut the chunk in silence
            raise ValueError(f"the chunk at {place} has the shape {handle.shape}, and {wanted} fits the others")
        whole = tuple(slice(0, length) for length in wanted)
        at = (name, *place)
        graph[at] = (getter, handle, whole)  # dask merges slices of the result into this one
    return Array(graph, name, chunks, dtype=like.dtype, meta=like._meta)  # noqa: SLF001


def worker_data(memory: int | str = "1GiB", store: Store | None = None) -> MutableMapping[Any, Any]:
    """Where a worker of `distributed` keeps its results: in its own memory, and beyond `memory` bytes in a store.

    There they are in shared memory, and on disk when that is full. They end with the worker, however that ends: a
    killed worker leaves nothing. For `LocalCluster(data=...)` or `Worker(data=...)`, as below.

    Parameters
    ----------
    memory
        Bytes of the worker's own memory: a number, or text such as "1GiB".
    store
        By default the store "dask" of this machine, which needs no Ray: `outlive.open("dask", local=True)`.

    Raises
    ------
    ModuleNotFoundError
        zict is not installed; distributed brings it.

    Examples
    --------
    >>> from distributed import LocalCluster                                              # doctest: +SKIP
    >>> LocalCluster(data=(outlive.dask.worker_data, {"memory": "4GiB"}))                 # doctest: +SKIP
    """
    from dask.sizeof import sizeof
    from zict import Buffer

    opened = opening.open("dask", local=True) if store is None else store
    limit = parse_size(memory, "memory")
    data: MutableMapping[Any, Any] = Buffer({}, _Scratch(opened), limit, lambda _, value: sizeof(value))
    return data


class _Scratch(MutableMapping[Any, Any]):
    """Values under keys of any type, as dask has, in a scope of their own: it ends with this, or with the process."""

    def __init__(self, store: Store) -> None:
        self._scope = store.scope()
        self._store = self._scope.__enter__()  # it ends when the generator that it is does
        self._handles: dict[Any, ArrayHandle] = {}

    def __setitem__(self, key: Any, value: Any) -> None:
        before, self._handles[key] = self._handles.get(key), self._store.put(value)
        if before is not None:
            self._store.delete(before)

    def __getitem__(self, key: Any) -> Any:
        return self._handles[key].get(mode="c")  # as when it was computed: tasks may write to their arrays

    def __delitem__(self, key: Any) -> None:
        self._store.delete(self._handles.pop(key))

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._handles))

    def __len__(self) -> int:
        return len(self._handles)


def get(graph: Any, keys: Any, **options: Any) -> Any:
    """Dask on Ray (`ray.util.dask.ray_dask_get`), where each task that reads arrays runs on a node that has them.

    A task waits while that node is busy. If the node is gone, the task runs on another one.

    Examples
    --------
    >>> volume = outlive.open().put(np.ones((4, 4)))
    >>> float(volume.to_dask(chunks=(2, 4)).sum().compute(scheduler=get))
    16.0
    """
    from dask._task_spec import convert_legacy_graph  # as Ray does
    from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
    from ray.util.dask import ray_dask_get

    if not isinstance(graph, Mapping):
        graph = getattr(graph, "_optimized_dsk", None) or graph.__dask_graph__()
    given = graph.layers.values() if isinstance(graph, HighLevelGraph) else ()
    annotated = {key: layer.annotations for layer in given if layer.annotations for key in layer.get_output_keys()}
    layers: dict[Any, MaterializedLayer] = {}
    homes: dict[ArrayHandle, str | None] = {}
    for key, task in convert_legacy_graph(ensure_dict(graph)).items():
        about = _near(_home(task, homes), annotated.get(key))
        layer = layers.setdefault(repr(about), MaterializedLayer({}, annotations=about))
        layer.mapping[key] = task
    return ray_dask_get(HighLevelGraph(layers, {name: set() for name in layers}), keys, **options)


def _near(home: str | None, given: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The annotations of a task that reads what is on the node `home`. The program's own come first."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    about = dict(given or {})
    if home is not None:
        ours = {"scheduling_strategy": NodeAffinitySchedulingStrategy(home, soft=True)}
        about["ray_remote_args"] = {**ours, **about.get("ray_remote_args", {})}
    return about or None


def _home(task: Any, homes: dict[ArrayHandle, str | None]) -> str | None:
    """The node that has the most bytes of what this task reads; None if it reads nothing, or no node has it."""
    found: dict[str, int] = {}
    for handle in set(_handles(task)):
        if handle not in homes:
            homes[handle] = next(iter(handle.location), None)
        home = homes[handle]
        if home is not None:
            found[home] = found.get(home, 0) + handle.nbytes
    return max(found, key=found.__getitem__, default=None)


def _handles(part: Any) -> Iterator[ArrayHandle]:
    """The handles in a task of dask: in its arguments, or in those of the tasks that were merged into it."""
    if isinstance(part, ArrayHandle):
        yield part
    elif isinstance(part, list | tuple):
        for one in part:
            yield from _handles(one)
    elif isinstance(part, dict):
        yield from _handles(list(part.values()))
    else:
        for name in ("args", "kwargs", "value"):  # of Task and DataNode
            yield from _handles(getattr(part, name, ()) if type(part).__module__ == "dask._task_spec" else ())
