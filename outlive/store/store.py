"""The store, which programs call."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sized
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar, overload

import numpy as np

from outlive import progress as progress_bar
from outlive.archive.opening import place_of
from outlive.arrays import segment
from outlive.arrays.defect import Defect
from outlive.arrays.dtypes import encode_dtype, warn_of_metadata
from outlive.arrays.info import check_key, new_version
from outlive.arrays.packed import Packed
from outlive.arrays.put_options import PutOptions
from outlive.cluster.keeper import ShelfStats
from outlive.cluster.port import PATIENCE
from outlive.collecting import without_collections
from outlive.errors import ArrayLost, ArrayNotFound, InvalidKey, InvalidKeyType, StoreUnavailable
from outlive.store import gateway, notebook, reading, session
from outlive.store.check import check
from outlive.store.commit import commit, seal
from outlive.store.creation import Creation, CreationOutside, checked
from outlive.store.deleting import clear, delete_array, delete_keys
from outlive.store.gateway import in_cluster
from outlive.store.gone import not_found
from outlive.store.handle import ArrayHandle
from outlive.store.keys import StoreKeys
from outlive.store.loading import Ends, Loaded, load
from outlive.store.mirroring import Mirror, Order, running, start
from outlive.store.options import put_options
from outlive.store.private import Mode, check_mode
from outlive.store.ray_in_use import is_client
from outlive.store.replicas import check_replicas, replicate
from outlive.store.saving import Saved, save, warn_of_lost
from outlive.store.scopes import Scope, end_scope, open_scope
from outlive.store.session import Session
from outlive.store.values import are_many_arrays, stored_form, value_of
from outlive.units import parse_duration

if TYPE_CHECKING:
    from numpy.typing import DTypeLike
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from outlive.archive.place import Place
    from outlive.local.place import Place as LocalPlace

T = TypeVar("T")
Array = np.ndarray[Any, Any]
LifetimeName = Literal["job", "detached"]
DEFAULT = "default"


class StoreStats(NamedTuple):
    """A store in numbers, and the shelves that it shares with the cluster's other stores."""

    store: str
    arrays: int  # with a key
    nbytes: int  # of their data
    shelves: list[ShelfStats]

    def __repr__(self) -> str:
        return "\n".join(notebook.stats_lines(*self))

    @notebook.never_raises
    def _repr_html_(self) -> str:
        return notebook.of_stats(*self)


class LostArray(NamedTuple):
    """An array whose last copy went with its node."""

    handle: ArrayHandle
    node: str
    at: float  # seconds since 1970


def _packed(store: Store, value: Any, *args: Any) -> tuple[Any, ...]:
    """Pack what is sent where it is, and refuse what cannot be stored."""
    return store, store._form(value), *args  # noqa: SLF001


def _all_packed(store: Store, values: Mapping[str, Any] | Iterable[Any]) -> tuple[Any, ...]:
    def form(value: Any) -> Any:
        packed = store._form(value)  # noqa: SLF001
        # a generator may give the next value in the same memory
        return packed if type(values) in {dict, list, tuple} else copy.deepcopy(packed)

    if isinstance(values, Mapping):
        return store, {check_key(key): form(value) for key, value in values.items()}
    return store, [form(value) for value in values]


def _value(found: Any, store: Store, *_: Any) -> Any:
    return value_of(found, pickle=store.pickle)


def _values(found: dict[str, Any], store: Store, *_: Any) -> dict[str, Any]:
    return {key: one if type(one) is np.ndarray else value_of(one, pickle=store.pickle) for key, one in found.items()}


def _is_outside(store: Store) -> bool:
    """Whether the store's calls are made elsewhere, as this process is a Ray Client."""
    return store.place is None and is_client()


@contextlib.contextmanager
def _seen_from_here(store: Store, label: str, progress: Callable[[int, int], None] | None) -> Iterator[Any]:
    """The function that is told of the progress. A Ray Client has a bar of its own: workers draw none."""
    if progress is not None or not _is_outside(store):
        yield progress
        return
    with progress_bar.of(label) as bar:
        yield bar.update


def _listed(keys: Iterable[str] | None) -> list[str] | None:
    if isinstance(keys, str):
        raise InvalidKeyType(f"keys is a list of keys, not one key, as {keys!r:.100} is")
    return None if keys is None else [check_key(key) for key in keys]


class Store(MutableMapping[str, Any]):
    """Arrays, and other values, by key, shared by all processes of a Ray cluster, or of one machine. Made by
    `outlive.open`; picklable.

    An array is a file in shared memory: no process owns it. It stays until it is deleted or overwritten, whichever
    worker, owner, keeper or driver ends. Readers get read-only views of the one copy there is. So do they of the arrays
    in other values: see docs/values.md.
    """

    def __init__(
        self, name: str = DEFAULT, scope: Scope | None = None, pickle: bool = True, place: LocalPlace | None = None
    ) -> None:
        self.name, self._scope, self.pickle, self.place = name, scope, pickle, place

    # --- putting

    @in_cluster(_packed)
    def put(
        self,
        value: Any,
        key: str | None = None,
        *,
        lifetime: LifetimeName | None = None,
        ttl: float | str | None = None,
        pin: bool = False,
        replicas: int = 1,
    ) -> ArrayHandle:
        """Store a copy of `value`, an array or any other, and return its handle.

        When this returns, the value outlives this process. With a `key`, it replaces the key's array, and every read
        that starts afterwards sees it. Without a key, only the handle names it, and no actor is asked; delete it with
        `store.delete(handle)`.

        Parameters
        ----------
        lifetime
            "detached": until it is deleted; the default with a key. "job": until the Ray job that put it ends, however
            that ends; the default without a key. In a local store, a job is the program that opened it first, and the
            processes that it has started: see docs/howto/without-ray.md.
        ttl
            Time to live, in addition to `lifetime`: a number of seconds, or text such as "10min". `handle.touch()`
            renews it.
        pin
            Keep it in memory: it is never spilled to disk, until `handle.unpin()`.
        replicas
            The number of nodes that keep it when this returns. If there are too few nodes, or no room on them, a
            warning says so, and the missing replicas are made as soon as possible. `handle.durability` counts them.

        Raises
        ------
        UnsupportedArray
            It cannot be stored: it holds an ObjectRef, an actor's handle, or what cannot be pickled. The message says
            where, and what to do.
        PickleRefused
            Only pickle could store it, and the store was opened with `pickle=False`.
        InvalidKey, InvalidKeyType
            A key is a `str` of 1 to 1024 bytes in UTF-8.
        StoreFull
            There is no room. Nothing was stored, and the key keeps its array.
        """
        session = self._session()
        if key is None:
            options = self._options(session, lifetime or "job", ttl, pin, replicas)
            info = session.writer.put(self._form(value), store=self.name, options=options)
        else:
            options = self._options(session, lifetime or "detached", ttl, pin, replicas)
            draft = session.writer.draft_of(self._form(value), store=self.name, key=check_key(key), options=options)
            commit(session, [draft])
            info = draft.info
        replicate(session, [info])
        return ArrayHandle(info, session.node, self.pickle)

    async def aput(
        self,
        value: Any,
        key: str | None = None,
        *,
        lifetime: LifetimeName | None = None,
        ttl: float | str | None = None,
        pin: bool = False,
        replicas: int = 1,
    ) -> ArrayHandle:
        """`put` for coroutines, as in Ray Serve: a thread does the work, and the event loop is not blocked.

        `value` must not change until this returns.
        """
        options: dict[str, Any] = {"lifetime": lifetime, "ttl": ttl, "pin": pin, "replicas": replicas}
        return await asyncio.to_thread(self.put, value, key, **options)

    @overload
    def put_many(
        self,
        values: Mapping[str, Any],
        *,
        lifetime: LifetimeName | None = None,
        ttl: float | str | None = None,
        pin: bool = False,
        replicas: int = 1,
    ) -> dict[str, ArrayHandle]: ...
    @overload
    def put_many(
        self,
        values: Iterable[Any],
        *,
        lifetime: LifetimeName | None = None,
        ttl: float | str | None = None,
        pin: bool = False,
        replicas: int = 1,
    ) -> list[ArrayHandle]: ...
    @in_cluster(_all_packed)
    def put_many(
        self,
        values: Any,
        *,
        lifetime: LifetimeName | None = None,
        ttl: float | str | None = None,
        pin: bool = False,
        replicas: int = 1,
    ) -> Any:
        """Store several values, all or none: those of a mapping under their keys, with one call of the catalog, and
        those of a list without keys. The handles come back by key, or in the order of the list.

        `lifetime`, `ttl`, `pin` and `replicas` apply to each value, as for `put`.

        Raises
        ------
        UnsupportedArray, PickleRefused, InvalidKey, InvalidKeyType, StoreFull
            See `put`. None of the values was stored.
        """
        session, keyed = self._session(), isinstance(values, Mapping)
        options = self._options(session, lifetime or ("detached" if keyed else "job"), ttl, pin, replicas)
        pairs = ((check_key(key), one) for key, one in values.items()) if keyed else ((None, one) for one in values)
        forms = ((key, self._form(value)) for key, value in pairs)
        with progress_bar.of("storing", unit="values", total=len(values) if isinstance(values, Sized) else 0) as bar:
            write = functools.partial(session.writer.drafts_of, bar.each(forms), store=self.name, options=options)
            drafts = without_collections(write) if are_many_arrays(values) else write()
            if drafts and keyed:
                commit(session, drafts)
            elif drafts:
                seal(session, drafts)
        replicate(session, [draft.info for draft in drafts])
        handles = [ArrayHandle(draft.info, session.node, self.pickle) for draft in drafts]
        return {handle.key: handle for handle in handles} if keyed else handles

    def create(
        self,
        shape: int | tuple[int, ...],
        dtype: DTypeLike = "float64",
        key: str | None = None,
        *,
        order: Literal["C", "F"] = "C",
        lifetime: LifetimeName | None = None,
        ttl: float | str | None = None,
        pin: bool = False,
        replicas: int = 1,
    ) -> Creation:
        """Make an array in place: no copy at all.

        `with` gives the writable array. Its content is undefined at first, as with `numpy.empty`. It is stored when the
        block ends, and discarded if the block raises. Afterwards `Creation.handle` is its handle. `lifetime`, `ttl`,
        `pin` and `replicas` are as for `put`.

        Several tasks may fill it, on any node: pass them the creation, inside the block. Each writes a part, as
        `creation[10:20] = array`; see docs/howto/fill-together.md. Wait for them before the block ends: a part that
        comes later raises `CreationEnded`.

        Raises
        ------
        StoreFull
            There is no room. All memory is allocated before the block begins, so filling the array cannot fail.
        StoreUnavailable
            When the block ends: a task is still writing a part after a minute. The array is discarded.

        Examples
        --------
        >>> with store.create((2, 3), "int16", key="mask") as out:
        ...     out[:] = 7
        >>> int(store["mask"].sum())
        42
        >>> creation = store.create((2, 3), "int16", key="mask")
        >>> with creation:
        ...     creation[0] = [1, 2, 3]  # so does a task that `creation` was passed to
        ...     creation[1] = 0
        >>> int(store["mask"].sum())
        6
        """
        shape, dtype, nbytes = checked(shape, dtype, order)
        warn_of_metadata(dtype)
        if key is not None:
            check_key(key)
        check_replicas(replicas)
        described = functools.partial(
            segment.describe,
            encode_dtype(dtype),
            shape,
            nbytes,
            fortran=order == "F",
            store=self.name,
            key=key,
            version=new_version(),
        )
        if _is_outside(self):
            ends: dict[str, Any] = {"lifetime": lifetime, "ttl": ttl, "pin": pin, "replicas": replicas}
            return CreationOutside(functools.partial(self.put, key=key, **ends), described())
        session = self._session()
        options = self._options(session, lifetime or ("job" if key is None else "detached"), ttl, pin, replicas)
        return Creation(session, described(options=options), options.mode)

    @contextlib.contextmanager
    def scope(self) -> Iterator[Store]:
        """A store whose arrays end with the `with` block.

        If this process dies first, they end with it. The store may be passed to tasks on any node: arrays that they put
        through it end at the same time. Its puts take `ttl=`, but no `lifetime=`.

        Examples
        --------
        >>> with store.scope() as tmp:
        ...     tmp["partial"] = np.ones(3)
        ...     store["sum"] = tmp["partial"] * 2
        >>> "partial" in store, "sum" in store
        (False, True)
        """
        if _is_outside(self):
            with gateway.scope(self) as scoped:
                yield scoped
            return
        session = self._session()
        lock = open_scope(session)
        try:
            yield Store(self.name, Scope(lock.number, session.node), self.pickle, self.place)
        finally:
            end_scope(session, lock)

    def _options(
        self, session: Session, lifetime: str, ttl: float | str | None, pin: bool, replicas: int
    ) -> PutOptions:
        return put_options(session, self._scope, lifetime, ttl, pin, replicas)

    def _form(self, value: Any) -> Array | Packed:
        return stored_form(value, pickle=self.pickle)

    def __setitem__(self, key: str, value: Any) -> None:
        check_key(key)
        self.put(value, key)

    def update(self, other: Any = (), /, **more: Any) -> None:
        """Put all items of a mapping, or all pairs, as one `put_many`; see `dict.update`."""
        self.put_many({**dict(other), **more})

    # --- getting

    @overload
    def get(self, key: str, *, mode: Mode = "r") -> Any: ...
    @overload
    def get(self, key: str, default: T, *, mode: Mode = "r") -> Any | T: ...
    def get(self, key: str, default: Any = None, *, mode: Mode = "r") -> Any:
        """The array of a key, read-only and zero-copy, or its other value; `default` if there is none.

        With `mode="c"` it is writable, for you alone, as with `ArrayHandle.get`.

        Raises
        ------
        ArrayLost
            It was put and not deleted, but its segment is gone.
        CorruptArray, TooManyViews, PickleRefused, UnknownType
            See `ArrayHandle.get`.
        """
        found = self._look_up(key) if mode == "r" else self._private(key, mode)
        if type(found) is np.ndarray:
            return found
        return default if found is None else value_of(found, pickle=self.pickle)

    @in_cluster(then=_value)
    def __getitem__(self, key: str) -> Any:
        session = self._session()
        array = reading.read(session, self.name, check_key(key))
        if array is None:
            raise not_found(session, self.name, [key])
        return array

    @in_cluster()
    def _look_up(self, key: str) -> Array | None:
        return reading.read(self._session(), self.name, check_key(key))

    def _private(self, key: str, mode: Mode) -> Any:
        check_mode(mode)
        for _ in range(reading.MOST_LOOKS):
            try:
                handle = self.handle(key)
            except ArrayNotFound:
                return None
            with contextlib.suppress(ArrayNotFound):  # it was put again, or deleted, since
                return handle._found((), mode)  # noqa: SLF001
        raise reading.changes_too_often([key])

    async def aget(self, key: str, default: Any = None, *, mode: Mode = "r") -> Any:
        """`get` for coroutines: a thread does the work, and the event loop is not blocked."""
        return await asyncio.to_thread(self.get, key, default, mode=mode)

    @in_cluster(lambda store, keys: (store, list(keys)), then=_values)
    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """The values of several keys, in their order, with at most one call of the catalog.

        Raises
        ------
        ArrayNotFound
            Some keys have no array. The message names them.
        """
        session = self._session()
        wanted = [check_key(key) for key in dict.fromkeys(keys)]
        arrays = reading.read_many(session, self.name, wanted)
        missing = [key for key, array in zip(wanted, arrays, strict=True) if array is None]
        if missing:
            raise not_found(session, self.name, missing)
        return {key: array for key, array in zip(wanted, arrays, strict=True) if array is not None}

    @in_cluster()
    def handle(self, key: str) -> ArrayHandle:
        """A handle of the array that has this key now, without mapping its data.

        Raises
        ------
        ArrayNotFound
        """
        found = reading.info(self._session(), self.name, check_key(key))
        if found is None:
            raise not_found(self._session(), self.name, [key])
        return ArrayHandle(found.info, found.nodes[0], self.pickle)

    # --- deleting

    @in_cluster()
    def delete(self, *items: str | ArrayHandle) -> None:
        """Delete arrays, by key or handle. Views that are open stay valid; their memory is free once they are gone.

        Raises
        ------
        ArrayNotFound
            Some arrays were not there. The message names them. The others are deleted.
        """
        session = self._session()
        keys = [check_key(item) for item in items if not isinstance(item, ArrayHandle)]
        missing = delete_keys(session, self.name, keys) if keys else []
        handles = [item for item in items if isinstance(item, ArrayHandle)]
        lost = [handle for handle in handles if not delete_array(session, handle.info, handle.hint)]
        if len(lost) == 1 and not missing:
            raise ArrayNotFound(f"{lost[0]!r} is not there: it was deleted, or overwritten by a later put")
        if missing or lost:
            raise not_found(session, self.name, [*missing, *(repr(handle) for handle in lost)])

    def __delitem__(self, key: str) -> None:
        self.delete(check_key(key))

    @in_cluster()
    def clear(self) -> None:
        """Delete all arrays that have a key."""
        clear(self._session(), self.name)

    # --- out and in

    def save(
        self,
        url: str | os.PathLike[str],
        *,
        prefix: str = "",
        keys: Iterable[str] | None = None,
        delete: bool = False,
        options: Mapping[str, Any] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Saved:
        """Save arrays, and other values, as plain files and one manifest, which others can read without outlive.

        Every node that has arrays writes its own. A file that the archive has already, with the same bytes, is not
        written again, and neither is one that a save which was cut off has written. The manifest is replaced at the
        end, in one step: until then, and if this is killed, readers see the archive as it was. See
        docs/howto/save-and-load.md.

        Parameters
        ----------
        url
            A folder, which all nodes should see under this path; or `s3://`, `gs://`, `az://`, with `outlive[save]`. A
            Ray Client's folder is one of the cluster, not of the program's machine.
        prefix, keys
            Save these keys only. By default all. Other keys of the archive stay.
        delete
            Also drop the chosen keys that the store has not (any more) from the archive.
        options
            For object storage: `endpoint`, `region`, `access_key_id` and others, as for obstore's stores. The rest
            comes from the environment of each process (`AWS_REGION`, ...).
        progress
            Called now and then with the bytes done so far and the bytes in all. By default a person who watches sees a
            bar after two seconds.

        Returns
        -------
        Saved
            Its `sent` counts the files that were written. Lost arrays are not saved: it lists them, and a warning does.

        Raises
        ------
        ArrayNotFound
            The store lacks some of the `keys`.
        ValueError
            It is no URL, or an option cannot be. Nothing was done.
        ArchiveUnavailable, OSError
            The object storage, or the folder, refuses. The archive is as it was.
        CorruptArchive
            There is a manifest, and it cannot be read. Nothing was changed.
        CorruptArray, UnsupportedArray
            An array is damaged, or has a dtype that no manifest can tell. The archive keeps what it has of it, and has
            the others.
        """
        with _seen_from_here(self, "saving", progress) as told:
            saved = self._save(self._place(url, options), prefix, _listed(keys), delete, told)
        warn_of_lost(saved)
        return saved

    @in_cluster()
    def _save(
        self,
        place: Place,
        prefix: str,
        keys: list[str] | None,
        delete: bool,
        progress: Callable[[int, int], None] | None,
    ) -> Saved:
        session = self._session()
        with progress_bar.of("saving") as bar:
            return save(session, self.name, place, prefix, keys, progress_bar.told(bar, progress), delete=delete)

    def load(
        self,
        url: str | os.PathLike[str],
        *,
        prefix: str = "",
        keys: Iterable[str] | None = None,
        replace: bool = False,
        pickle: bool = False,
        lifetime: LifetimeName | None = None,
        ttl: float | str | None = None,
        pin: bool = False,
        replicas: int = 1,
        options: Mapping[str, Any] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Loaded:
        """Load what `save` has saved: in this cluster or another, with any number of nodes.

        The nodes share the work. Each array is stored once its file is there in full and has the SHA-256 that the
        manifest says. A load that was cut off goes on where it was.

        Parameters
        ----------
        url, options, progress
            As for `save`.
        prefix, keys
            Load these keys only. By default all.
        replace
            Whether arrays that the store has under these keys are replaced. By default they stay, unless they are lost.
        pickle
            Whether values are loaded that are pickled, or that name classes, whose modules their readers import. Both
            can run code, so say so only if you trust whoever can write to the archive.
        lifetime, ttl, pin, replicas
            As for `put`. The archive does not say how arrays were kept.

        Raises
        ------
        ArchiveNotFound
            There is no manifest, or it has not all `keys`.
        CorruptArchive
            The manifest, or a file, is damaged, or lies. Nothing was stored under the file's key; the others are there.
        PickleRefused
            Some values need `pickle=True`. The others are there.
        StoreFull
            There is no room. The arrays that were loaded until then are there.
        ArchiveUnavailable, OSError
            See `save`.
        """
        ends = Ends(self.name, self._scope, lifetime or "detached", ttl, pin, replicas)
        with _seen_from_here(self, "loading", progress) as told:
            return self._load(self._place(url, options), prefix, _listed(keys), ends, replace, pickle, told)

    @in_cluster()
    def _load(
        self,
        place: Place,
        prefix: str,
        keys: list[str] | None,
        ends: Ends,
        replace: bool,
        pickle: bool,
        progress: Callable[[int, int], None] | None,
    ) -> Loaded:
        session = self._session()
        with progress_bar.of("loading") as bar:
            told = progress_bar.told(bar, progress)
            return load(session, ends, place, prefix, keys, told, pickle=pickle, replace=replace)

    def mirror(
        self,
        url: str | os.PathLike[str],
        every: float | str,
        *,
        prefix: str = "",
        delete: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> Mirror:
        """Save this store now and then, as `save` does, until the mirror is stopped or the cluster ends.

        An actor on the head does it, which outlives this program. It starts again if it dies. When the whole cluster is
        lost, all that was put before the last save (`Mirror.status().saved_at`) can be loaded into another.

        Parameters
        ----------
        url, prefix, delete, options
            As for `save`. A folder has to be one that the head sees.
        every
            Seconds from the begin of one save to that of the next, or text such as "5min"; at least 1.

        Returns
        -------
        Mirror
            With `status`, `save` and `stop`. If there is one of this store to this place, it gets the new settings.
        """
        seconds = parse_duration(every, "every", least=1.0)
        self._in_ray("a mirror is an actor of Ray")
        return start(Order(self.name, self._place(url, options), prefix, seconds, delete))

    def mirrors(self) -> list[Mirror]:
        """The mirrors of this store that run."""
        return [] if self.place is not None else running(self.name)

    # --- looking

    def keys(self, prefix: str = "") -> StoreKeys:
        """The keys, sorted; with `prefix`, those that begin with it.

        >>> store["mri/1"] = store["mri/2"] = np.zeros(3)
        >>> list(store.keys(prefix="mri/"))
        ['mri/1', 'mri/2']
        """
        return StoreKeys(self, self.name, prefix, self.place)

    @in_cluster()
    def entries(self, prefix: str = "") -> list[tuple[ArrayHandle, str]]:
        """Handle and node of each array that has a key, sorted by key: what `outlive ls --long` shows."""
        session = self._session()
        found = reading.entries(session, self.name, prefix)
        return [(ArrayHandle(one.info, one.nodes[0], self.pickle), one.nodes[0]) for one in found]

    @in_cluster()
    def lost(self) -> list[LostArray]:
        """The arrays whose last copy went with a node, the latest first. An array without a key is listed if other
        nodes had copies of it before.

        Reading one raises `ArrayLost`. Putting its key again, or deleting it, takes it off this list.
        """
        session = self._session()
        return [
            LostArray(
                ArrayHandle(one.info, None if self.place is None else session.node, self.pickle),
                one.nodes[0],
                one.lost_at,
            )
            for one in reading.lost_arrays(session, self.name)
        ]

    @in_cluster()
    def strategy(self, array: str | ArrayHandle) -> NodeAffinitySchedulingStrategy:
        """Has Ray run a task where an array is. It waits while that node is busy, and goes elsewhere if it is gone.

        Examples
        --------
        >>> store["volume"] = np.ones(3)
        >>> @ray.remote
        ... def total(handle):
        ...     return handle.get().sum()
        >>> handle = store.handle("volume")
        >>> ray.get(total.options(scheduling_strategy=store.strategy(handle)).remote(handle))
        np.float64(3.0)

        Raises
        ------
        ArrayNotFound, ArrayLost
        """
        self._in_ray("tasks of Ray have strategies")
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        handle = array if isinstance(array, ArrayHandle) else self.handle(array)
        nodes = handle.location
        if not nodes:
            handle.get()  # raises
        return NodeAffinitySchedulingStrategy(nodes[0] if nodes else self._session().node, soft=True)

    @in_cluster()
    def spilled(self) -> set[str]:
        """The ids of all arrays, of every store, that are on disk now (`handle.id`)."""
        session = self._session()
        return {array_id for _, array_ids in session.ask_each("spilled") for array_id in array_ids}

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    @in_cluster()
    def __len__(self) -> int:
        session = self._session()
        return int(session.ask_catalog("count", self.name))

    @in_cluster()
    def __contains__(self, key: object) -> bool:
        """Whether there is such a key, or the array of such a handle."""
        if isinstance(key, ArrayHandle):
            return key.store == self.name and bool(key.location)
        if not isinstance(key, str):
            return False
        try:
            check_key(key)
        except InvalidKey:
            return False
        session = self._session()
        if session.shelf.named_info(self.name, key) is not None:
            return True
        found = reading.find(session, self.name, [key])[0]
        if found is not None and found.doomed:  # an array can be read until its file is gone
            with contextlib.suppress(ArrayLost):
                return reading.read(session, self.name, key) is not None
        return found is not None and not found.doomed and not found.lost_at

    @in_cluster()
    def stats(self) -> StoreStats:
        """This store in numbers, and the shelves of all nodes."""
        session = self._session()
        totals = session.ask_catalog("totals")
        arrays, nbytes = totals.get(self.name, (0, 0))
        shelves = [shelf for _, shelf in session.ask_each("stats", patience=PATIENCE)]
        return StoreStats(self.name, arrays, nbytes, shelves)

    @in_cluster()
    def check(self, progress: Callable[[int, int], None] | None = None) -> list[Defect]:
        """An fsck of all shelves and the catalog: finds what a crash left, mends what can be mended, and says so.

        It verifies the checksum of every array, and so reads all bytes. Programs may go on meanwhile.

        Parameters
        ----------
        progress
            Called now and then with the bytes verified so far and the bytes in all. By default a person who watches
            sees a bar after two seconds; see docs/logging.md.

        Returns
        -------
        list of Defect
            Empty if all is well. A defect that is not `mended` (damaged or changed bytes) says what to decide.
        """
        session = self._session()
        with progress_bar.of("checking") as bar:
            return check(session, progress or bar.update)

    def _session(self) -> Session:
        return session.at(self.place)

    def _place(self, url: str | os.PathLike[str], options: Mapping[str, Any] | None) -> Place:
        return place_of(url, options, here=not _is_outside(self))

    def _in_ray(self, why: str) -> None:
        """Raises StoreUnavailable if this is a local store."""
        if self.place is not None:
            raise StoreUnavailable(f"{why}, and {self!r} has none: it is on this machine alone. Use outlive.open()")

    def __eq__(self, other: object) -> bool:
        return (self.name, self.place) == (other.name, other.place) if isinstance(other, Store) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.name)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.place is not None:
            return Store, (self.name, self._scope, self.pickle, self.place)
        return Store, (self.name, self._scope) if self.pickle else (self.name, self._scope, False)

    def __repr__(self) -> str:
        refuses = "" if self.pickle else ", pickle=False"
        local = "" if self.place is None else f", local=True, root={self.place.root!r}"
        return f"outlive.open({self.name!r}{local}{refuses}){'' if self._scope is None else '.scope()'}"

    @notebook.never_raises
    def _repr_html_(self) -> str:
        return notebook.of_store(self.name, "" if self._scope is None else ", a scope of it", self.place)
