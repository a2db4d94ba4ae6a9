"""ArrayHandle: a small picklable value that names an array, or another value. Never an ObjectRef."""

from __future__ import annotations

import contextlib
import math
import sys
from datetime import datetime
from types import FrameType
from typing import Any, NamedTuple

import numpy as np

from outlive.arrays.dtypes import decode_dtype
from outlive.arrays.info import ArrayInfo
from outlive.arrays.lifetimes import JOB, SCOPE, lifetime_of
from outlive.arrays.live import live_view
from outlive.arrays.segment import COPY_BELOW
from outlive.arrays.spill.pin import pin, unpin
from outlive.errors import ArrayNotFound
from outlive.extras import need
from outlive.store import deadlines, notebook, session
from outlive.store.beside import view_beside
from outlive.store.elsewhere import locate
from outlive.store.gateway import in_cluster
from outlive.store.gone import missing
from outlive.store.private import Mode, check_mode, private
from outlive.store.reading import by_handle
from outlive.store.rows import part
from outlive.store.values import ARRAY, Pieces, pieces, value_of
from outlive.values.registry import is_private


class Durability(NamedTuple):
    """On how many nodes an array is kept."""

    replicas: int
    wanted: int


class _Named(type):
    """Says where the array is: `ray.get(handle)`, among others, raises an error that shows the class and no more."""

    def __repr__(cls) -> str:
        return f"<class '{cls.__module__}.{cls.__qualname__}'> (no ObjectRef: its array is handle.get())"


def _item(found: Any, handle: ArrayHandle, index: Any) -> Any:
    return value_of(found, (index,), pickle=handle._pickle) if handle.info.codec else found  # noqa: SLF001


def _asks_for_item(caller: FrameType, handle: ArrayHandle) -> bool:
    if sys.modules.get("ray.data") is None:
        return False
    from outlive.ray_internals.data import asks_for_item

    return asks_for_item(caller, handle)


class ArrayHandle(metaclass=_Named):
    """Names one stored array, or another value; made by `Store.put`, `Store.handle` and unpickling, not by hand.

    Pass it through tasks, actors, files and other drivers freely: it holds nothing alive, and nothing that holds it or
    drops it, lives or dies, changes what becomes of the array. It always means the same bytes: once its key is deleted
    or overwritten, `get` raises `ArrayNotFound`, except in a process that still looks at it, which gets that view.

    >>> handle.shape, handle.dtype, handle.nbytes
    ((2, 3), dtype('float64'), 48)
    >>> handle.get().sum(), np.asarray(handle).sum(), handle[1].sum()
    (np.float64(15.0), np.float64(15.0), np.float64(12.0))
    """

    __slots__ = ("_node", "_pickle", "info")

    def __init__(self, info: ArrayInfo, node: str | None = None, pickle: bool = True) -> None:
        self.info, self._node, self._pickle = info, node, pickle

    def get(self, path: Any = (), *, mode: Mode = "r") -> Any:
        """The array: read-only, zero-copy (below 32 KiB: a copy). Valid for as long as you hold it, whatever happens.

        If it is on another node, it is copied to this one first, and stays for the next reader while there is room.

        A value that is no array comes back as it was put. Its arrays are as above.

        Parameters
        ----------
        path
            Keys, indices and names of fields that lead to a part of a value: a tuple, as `("runs", 0, "mask")`, or one
            key. From another node only the part's bytes are moved, and are not kept here.
        mode
            "c" is a writable array for you alone: copy-on-write, as in `numpy.memmap`. It is zero-copy too, but a page
            (4 KiB) that you write to is copied first. No write reaches the store, or another call's array. Libraries
            that do not know of read-only memory need this: `torch.from_numpy(handle.get(mode="c"))`.

        Raises
        ------
        KeyError, IndexError, TypeError
            The value has no such part.
        PickleRefused
            It was stored by pickle, and the store was opened with `pickle=False`.
        UnknownType
            It needs a codec, a package or a class that this process lacks.
        ArrayNotFound
            It was deleted, or overwritten by a later put under its key.
        ArrayLost
            The nodes that had it are dead; or its key still stands for it, but its segment is gone. Without a key, the
            latter is `ArrayNotFound`.
        CorruptArray
            Its segment is damaged.
        TooManyViews
            This process is out of file descriptors or maps.
        StoreUnavailable
            This process is not connected to a Ray cluster, as where Ray is not installed, and no shelf of this machine
            has the array. Or it is in the local store of another machine.
        """
        path = path if isinstance(path, tuple) else (path,)
        if path or mode != "r":
            found = self._found(path, mode)
        else:
            found = self._at_once()
            if found is None:
                found = self._view()
        if type(found) is np.ndarray and not path:
            return found
        return value_of(found, path, pickle=self._pickle)

    def _at_once(self) -> Any:
        """The same as `_view`, if this process is in the store already and its shelf has the array; None otherwise."""
        info = self.info
        view = live_view(info.id)
        if view is None and (now := session.known_of(self._node)) is not None:
            return now.reader.at_once(info, private=is_private(info.codec))
        return view

    def _found(self, path: tuple[Any, ...], mode: Mode) -> Any:
        """The array, or the bytes of another value, or of the part of it at `path`."""
        check_mode(mode)
        found = self._pieces(path) if path else self._view()
        if mode == "r":
            return found
        if isinstance(found, Pieces):
            return found.writable()
        return found if found.flags.writeable else private(self.info, found, sessions=[lambda: session.of(self._node)])

    @in_cluster()
    def _view(self) -> np.ndarray[Any, Any]:
        """Its bytes. They are writable, for the caller alone, where that spares the value a second map."""
        view: np.ndarray[Any, Any] | None = self._at_hand()
        if view is not None:
            return view
        now = session.of(self._node)
        own = is_private(self.info.codec) and self.info.size > COPY_BELOW
        if own:
            with contextlib.suppress(ArrayNotFound):
                return now.reader.private(self.info)
        return by_handle(now, self.info, self._node)

    @in_cluster()
    def _pieces(self, path: tuple[Any, ...]) -> Any:
        view = self._at_hand()
        return pieces(session.of(self._node), self.info, self._node, path) if view is None else view

    def _at_hand(self) -> Any:
        """A view that needs no session: one that this process has, or one of a shelf that is on this machine."""
        view = live_view(self.info.id)
        return view_beside(self.info, self._node) if view is None else view

    @property
    def kind(self) -> str:
        """The form in which it is stored: "array"; "tree" for dicts, lists, dataclasses and such; "pickle"; "numpy" for
        NumPy's other values; or the name of a codec, as "arrow".
        """
        return self.info.codec or ARRAY

    def _array(self, wanted: str) -> ArrayInfo:
        """The `ArrayInfo` of an array. Raises TypeError for another value."""
        if self.info.codec:
            raise TypeError(f"{self!r} is no array, and has no {wanted}; see what its get() returns")
        return self.info

    @property
    def hint(self) -> str | None:
        """The node where it was when this handle was made: where to look first."""
        return self._node

    @property
    def id(self) -> str:
        """128 bits in hex; the segment's file name."""
        return self.info.id

    @property
    def key(self) -> str | None:
        """The key it was put under, None if under none."""
        return self.info.key

    @property
    def store(self) -> str:
        """The name of its store."""
        return self.info.store

    @property
    def shape(self) -> tuple[int, ...]:
        return self._array("shape").shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return decode_dtype(self._array("dtype").dtype)

    @property
    def ndim(self) -> int:
        return len(self._array("ndim").shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self._array("size").shape)

    @property
    def nbytes(self) -> int:
        """Bytes of data. Those of a value that is no array include its structure, and what lies between its arrays."""
        return self.info.nbytes

    @property
    def lifetime(self) -> str:
        """With what it ends: "job", "scope", or "detached" if it does not end by itself. See also `ttl`."""
        kind = lifetime_of(self.info).kind
        return "job" if kind & JOB else "scope" if kind & SCOPE else "detached"

    @property
    def ttl(self) -> float | None:
        """Seconds to live from its put or its last `touch`; None if there is no limit."""
        return self.info.ttl or None

    @in_cluster()
    def touch(self) -> None:
        """Let its time to live begin again.

        Raises
        ------
        ArrayNotFound
            Too late, or it was deleted.
        StoreUnavailable
            A node that keeps it too did not confirm: it may end at its earlier time. Try again.
        ValueError
            It has no time to live.
        """
        if not self.info.ttl:
            raise ValueError(f"{self!r} was put without ttl=, so there is nothing to renew")
        deadlines.touch(session.of(self._node), self.info, self._node)

    @in_cluster()
    def pin(self) -> None:
        """Keep it in memory from now on, as `put(pin=True)` does; on this node.

        If it is on disk, it is brought back first; if it is on another node, it is copied to this one first.

        Raises
        ------
        ArrayNotFound
        StoreFull
            Memory has no room for it, and nothing there can be spilled. It stays on disk.
        """
        current = session.of(self._node)
        if not current.shelf.has(self.info.id):
            by_handle(current, self.info, self._node)
        pin(current.shelf, self.info)

    @in_cluster()
    def unpin(self) -> None:
        """Let it be spilled like any other array, on this node. If only other nodes have it, nothing is done.

        Raises
        ------
        ArrayNotFound
            It was deleted, or overwritten.
        StoreUnavailable
            It is in the local store of another machine.
        """
        current = session.of(self._node)
        try:
            unpin(current.shelf, self.info)
        except ArrayNotFound:
            located = locate(current, self.info, self._node)
            if not located.nodes:
                raise missing(current, self.info, located, self._node) from None

    @in_cluster()
    def ends_at(self) -> datetime | None:
        """When its time to live is over, unless it is touched again; None if it has none.

        Raises
        ------
        ArrayNotFound
        """
        deadline = deadlines.deadline(session.of(self._node), self.info, self._node) if self.info.ttl else None
        return None if deadline is None else datetime.fromtimestamp(deadline).astimezone()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        if _asks_for_item(sys._getframe(1), self):  # noqa: SLF001 - it asks without saying what for
            itself: np.ndarray[Any, Any] = np.empty((), object)
            itself[()] = self
            return itself  # no numbers: Ray Data then keeps the handle as an object
        self._array("elements")
        view: np.ndarray[Any, Any] = self.get()
        if dtype is not None and np.dtype(dtype) != view.dtype:
            if copy is False:
                raise ValueError(f"a {view.dtype} array cannot become {np.dtype(dtype)} without a copy")
            return view.astype(dtype)
        return view.copy() if copy else view

    def __dlpack__(self, **how: Any) -> Any:
        """For `torch.as_tensor(handle)` and other libraries: no copy, and writable, as with `get(mode="c")`."""
        self._array("memory")
        return self.get(mode="c").__dlpack__(**how)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0  # memory of the processor (kDLCPU)

    def __dask_tokenize__(self) -> tuple[str, str]:
        return "outlive.ArrayHandle", self.info.id

    def to_dask(self, chunks: Any = "auto") -> Any:
        """A dask array of it. Its graph has the handle and no data: each task reads its chunk, as `handle[...]` does.

        `dask.array.from_array(handle, chunks)` is the same, with one task more. Needs `outlive[dask]`.

        Parameters
        ----------
        chunks
            As for `dask.array.from_array`.

        Raises
        ------
        TypeError
            It names a value that is no array.
        MissingPackage
            dask is not installed.
        """
        self._array("chunks")
        need("dask")
        from dask.array import from_array

        return from_array(self, chunks, inline_array=True)

    @property
    def replicas(self) -> int:
        """On how many nodes it is to be kept."""
        return self.info.replicas

    @property
    @in_cluster()
    def durability(self) -> Durability:
        """On how many nodes the array is kept now, and on how many it is to be.

        On 0 nodes, if it was deleted or is lost: this raises no error, and `get` says which of the two it is.

        Raises
        ------
        StoreUnavailable
            A node that may have it does not answer.
        """
        current = session.of(self._node)
        kept = current.ask_catalog("kept_on", self.id)
        return Durability(len(kept) if kept else int(bool(self.location)), self.info.replicas)

    @property
    @in_cluster()
    def location(self) -> list[str]:
        """The ids of the nodes that have the array, this one first if it does; see `Store.strategy`."""
        return locate(session.of(self._node), self.info, self._node).nodes

    @in_cluster(then=_item)
    def __getitem__(self, index: Any) -> Any:
        """The same as `handle.get()[index]`, but only what `index` names is copied from another node: the rows of an
        array, or the item of a dict, a list, or such.
        """
        view = self._at_hand()
        if self.info.codec:
            return pieces(session.of(self._node), self.info, self._node, (index,)) if view is None else view
        return part(session.of(self._node), self.info, self._node, index) if view is None else view[index]

    def __len__(self) -> int:
        shape = self._array("length").shape
        if not shape:
            raise TypeError("len() of a 0-dimensional array")
        return shape[0]

    def __eq__(self, other: object) -> bool:
        return self.info.id == other.info.id if isinstance(other, ArrayHandle) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.info.id)

    def __reduce__(self) -> tuple[Any, ...]:
        return ArrayHandle, (self.info, self._node) if self._pickle else (self.info, self._node, False)

    def __repr__(self) -> str:
        name = f"key={self.key!r}" if self.key is not None else f"id={self.id}"
        about = f"shape={self.info.shape}, dtype={decode_dtype(self.info.dtype)}"
        if self.info.codec:
            about = f"kind={self.kind!r}, nbytes={self.nbytes}"
        return f"ArrayHandle({name}, store={self.store!r}, {about})"

    def __str__(self) -> str:
        what = "value" if self.info.codec else "array"
        return f"{self!r} (its {what} is handle.get())"  # `ray.get([handle])` shows this

    @notebook.never_raises
    def _repr_html_(self) -> str:
        return notebook.of_array(self.info, self._node)
