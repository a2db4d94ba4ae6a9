"""Registered arrays: the memory of a view is locked for GPUs, once, until the last view of it is gone."""

from __future__ import annotations

import logging
import mmap
import os
import warnings
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from outlive.arrays.lock import Mutex
from outlive.arrays.segment import COPY_BELOW
from outlive.errors import GpuUnavailable
from outlive.gpu.driver import Driver
from outlive.store.private import check_mode
from outlive.store.values import ARRAY

if TYPE_CHECKING:
    from outlive.store.handle import ArrayHandle
    from outlive.store.private import Mode

Array = np.ndarray[Any, Any]
_FREED_FIRST = np.lib.NumpyVersion(np.__version__) >= "2.5.0.dev0"  # an array's own memory, before its weak references
_log = logging.getLogger(__name__)
_lock = Mutex()
_driver: Driver | None = None
_known: dict[int, _Memory] = {}  # by address; a forked child has none


class PagesCopied(UserWarning):
    """This GPU's driver cannot lock read-only memory, so the array was copied: it takes its size of memory again."""


class _Memory(NamedTuple):
    size: int
    context: int | None  # None: it was interrupted, and may be registered or not
    root: weakref.ref[Array]
    base: object  # what has the memory. It stays while this does: at its address, a GPU would read what is registered

    @property
    def is_unsure(self) -> bool:
        """Whether it was interrupted, or the driver refused to unregister it."""
        return self.context is None or self.root() is None


def register(array: ArrayHandle | Array, *, mode: Mode = "r") -> Array:
    """The array of a handle. Its memory is registered with CUDA (`cudaHostRegister`) for as long as a view of it lives.

    A GPU copies registered memory (also called pinned, or page-locked) without a detour, and while the program goes on:
    `torch.from_numpy(view).to("cuda", non_blocking=True)`. All GPUs of this process can. Registering locks every page,
    which takes time, so it pays for an array that is copied more than once. An array that is registered already is not
    registered again.

    Once the last view is gone, it waits for all that this process's GPUs were asked to do, and unregisters.

    Parameters
    ----------
    array
        A handle; or an array, as a part of a value that was read: `register(store["batch"]["images"])`. All arrays of
        one value are registered together. An array below 32 KiB is not: CUDA copies these on their way anyway.
    mode
        "r" or "c", as for `ArrayHandle.get`. All pages of "c" are copied as they are locked.

    Returns
    -------
    The view. It is read-only; but if the GPU's driver cannot lock read-only memory, it is as with `mode="c"`, with the
    warning `PagesCopied`.

    Raises
    ------
    GpuUnavailable
        There is no GPU or no driver here; or this process was forked from one that uses CUDA; or the driver refuses, as
        when other code has registered the same memory.
    TypeError
        The handle is of a value that is no array.
    ValueError
        An array that is not in one piece; or, from NumPy 2.5 on, one that has memory of its own.

    And what `ArrayHandle.get` raises.

    Examples
    --------
    >>> view = register(handle)                                    # doctest: +SKIP
    >>> torch.from_numpy(view).to("cuda", non_blocking=True)       # doctest: +SKIP
    """
    check_mode(mode)
    driver = _ready()
    if isinstance(array, np.ndarray):
        view = array
    elif array.kind != ARRAY:
        raise TypeError(f"{array!r} is no array: read it, and register the arrays of its value")
    else:
        view = array.get(mode=mode)
        if mode == "r" and _is_map(view) and not driver.takes_read_only():
            view = array.get(mode="c")
            warnings.warn(
                f"this GPU's driver cannot lock read-only memory, so the {view.nbytes} bytes of {array!r} are copied. "
                'register(handle, mode="c") does the same without this warning',
                PagesCopied,
                stacklevel=2,
            )
    if view.nbytes >= COPY_BELOW:
        _register(driver, view)
    return view


def _ready() -> Driver:
    global _driver
    with _lock.now:
        if _driver is None:
            _driver = Driver()
        return _driver


def _register(driver: Driver, view: Array) -> None:
    root = _root(view)
    address, size = _span(root)
    with _lock.now:
        known = _known.get(address)
        if known is not None and known.root() is root and known.context is not None:
            return
        for other, memory in list(_known.items()):
            if memory.is_unsure:
                _end(driver, other, memory)
        if address in _known:
            raise GpuUnavailable("this memory is registered already, for another array: keep that one, and use it here")
        reference = weakref.ref(root)
        # Views are collected before the memory that they are over: so it is mapped still.
        weakref.finalize(root, _gone, os.getpid(), address).atexit = False
        memory = _known[address] = _Memory(size, None, reference, root.base)
        writable = root.flags.writeable or _map_of(root) is None
        try:
            context = driver.register(address, size, writable=writable)
        except GpuUnavailable:
            _known.pop(address, None)
            raise
        _known[address] = memory._replace(context=context)


def _root(view: Array) -> Array:
    """The array that owns a view's memory, or holds what does. All views of that memory keep it alive."""
    while isinstance(view.base, np.ndarray):
        view = view.base
    return view


def _is_map(view: Array) -> bool:
    return _map_of(_root(view)) is not None


def _map_of(root: Array) -> mmap.mmap | None:
    return root.base if isinstance(root.base, mmap.mmap) else None


def _span(root: Array) -> tuple[int, int]:
    """Address and bytes of the memory: the whole map, where it is one."""
    if isinstance(root.base, mmap.mmap):
        whole = np.frombuffer(root.base, np.uint8)
        return int(whole.ctypes.data), -(-whole.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    if not root.flags.forc:
        raise ValueError("this array is not in one piece of memory: register a copy of it")
    if root.flags.owndata and _FREED_FIRST:
        raise ValueError(
            f"this array has memory of its own, and NumPy {np.__version__} frees that before anybody is told: register "
            "one that is in a store, as register(store.put(array))"
        )
    return int(root.ctypes.data), root.nbytes


def _gone(pid: int, address: int) -> None:
    """Unregister memory, whose last view is just being collected. A forked child leaves that to its parent."""
    if pid != os.getpid():
        return
    with _lock.now:
        memory = _known.get(address)
        if memory is not None and memory.root() is None and _driver is not None:  # else it is of another array
            _end(_driver, address, memory)


def _end(driver: Driver, address: int, memory: _Memory) -> None:
    try:
        driver.unregister(address, memory.context)
    except GpuUnavailable as error:  # as while a graph is captured: nobody could be told
        _log.warning("memory of %d bytes stays registered, and mapped, for now: %s", memory.size, error)
    else:
        _known.pop(address, None)


os.register_at_fork(after_in_child=_known.clear)
