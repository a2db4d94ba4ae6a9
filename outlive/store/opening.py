"""Opening: a process joins the stores of a Ray cluster, or those of its machine, and leaves none behind."""

from __future__ import annotations

import os
import sys
from typing import Any

from outlive.arrays.info import check_key
from outlive.arrays.settings import Settings
from outlive.errors import InvalidKeyType, StoreUnavailable
from outlive.local.place import place_of
from outlive.store import gateway, session
from outlive.store.gateway import in_cluster
from outlive.store.loading import Loaded
from outlive.store.ray_in_use import is_client, is_connected
from outlive.store.store import DEFAULT, Store

_TO_START = 30.0  # seconds for a cluster that is starting, if a server in between accepts connections already


def open(
    name: str = DEFAULT,
    *,
    memory: int | str | None = None,
    disk: int | str | None = None,
    spill_to: str | os.PathLike[str] | None = None,
    address: str | None = None,
    pickle: bool = True,
    local: bool = False,
    root: str | os.PathLike[str] | None = None,
) -> Store:
    """Open the store `name`, which need not exist yet.

    It is a store of the Ray cluster that this process is connected to. If it is connected to none, it is connected as
    by `ray.init()`: to `address`; else to the cluster that RAY_ADDRESS names, or that `ray start` started on this
    machine; else to a local one that is started now and ends with this process, arrays and all.

    With `local=True` it is a store of this machine, without Ray: all processes of this user share it, for as long as
    one uses it or an array is in it. See docs/howto/without-ray.md.

    Parameters
    ----------
    name
        Stores with different names are apart: they share no keys.
    memory
        Bytes that this node's shelf may hold in memory, for all stores together: a number, or text such as "8GiB". By
        default 30 % of memory, and at most 40 % of /dev/shm. It can be changed at any time: when it shrinks, arrays are
        spilled.
    disk
        Bytes that may be spilled to disk when memory is full: those read least recently go first, and all calls read
        them as before. By default half of what the disk has free; 0 spills nothing. It can be changed at any time.
    spill_to
        The folder on disk, made and private to this user. By default one below the folder for temporary files. It can
        be changed while nothing is spilled. See docs/memory.md for the defaults of all three.
    address
        The address of a Ray cluster, as for `ray.init`. With `ray://HOST:PORT` (Ray Client), or if the process is
        connected so, all that the store does is done in the cluster, and reads give private copies. See docs/nodes.md.
    pickle
        Whether values that no codec knows are stored by pickle. With False nothing is pickled, nor unpickled, through
        this store and the handles that it gives: the error names the type. Others may open the store otherwise. Through
        Ray Client, calls themselves travel by pickle.
    local
        Whether to open the store of this machine. It is not opened by itself where Ray is not installed: programs on
        two machines would each have a store of their own, and no error.
    root
        The folder of a local store's segments; by default as for OUTLIVE_ROOT. Stores with different roots are apart.

    Raises
    ------
    MissingPackage
        Ray is not installed, and `local` is false.
    StoreUnavailable
        Keeper and catalog cannot be started; or the cluster of a Ray Client has no outlive, or not this version; or no
        cluster listens at `address` within half a minute.
    UnsafeRoot
        The folder for the segments belongs to another user, or is open to others.
    ValueError
        A size is not valid, nothing can be spilled to that folder, or arrays are spilled to another. Or `address` or
        `root` is of the other kind of store.

    Examples
    --------
    >>> store = outlive.open()
    >>> store["ct/7"] = np.zeros((4, 4))
    >>> store["ct/7"].shape
    (4, 4)
    """
    if not isinstance(name, str):
        raise InvalidKeyType(f"a store's name is a str, not {type(name).__name__}: {name!r:.100}")
    check_key(name)
    settings = Settings.of(memory, disk, spill_to)
    if local:
        if address is not None:
            raise ValueError(f"address={address!r} is of a Ray cluster, and local=True asks for a store without one")
        place = place_of(root)
        session.join(settings, place)
        return Store(name, pickle=pickle, place=place)
    if root is not None:
        raise ValueError("root= is for local=True; where Ray is, set OUTLIVE_ROOT before Ray starts")
    _load_ray()
    if not is_connected():
        _connect(address)
    _join(settings)
    return Store(name, pickle=pickle)


def load(url: str | os.PathLike[str], *, store: str = DEFAULT, **how: Any) -> Loaded:
    """`outlive.open(store).load(url, ...)`: see `Store.load`."""
    return open(store).load(url, **how)


@in_cluster()
def _join(settings: Settings) -> None:
    session.join(settings)


def _load_ray() -> None:
    """Raises MissingPackage, and UnsupportedRay if it is too old."""
    import outlive.ray_internals  # noqa: F401


def _connect(address: str | None) -> None:
    from outlive.ray_internals.joining import join

    if _is_connecting():
        raise StoreUnavailable(
            "a signal handler has interrupted its thread as that was connecting to Ray: call outlive.open() once the "
            "handler has returned"
        )
    chosen = address or os.environ.get("RAY_ADDRESS") or None
    if chosen is not None and chosen.startswith("ray://"):
        join(chosen, patience=_TO_START)  # Ray Client logs to the driver anyway, and warns of every option
    else:
        join(chosen, patience=_TO_START, log_to_driver=True)


def _is_connecting() -> bool:
    """Whether this thread is in `_connect` already. A second `ray.init` in the middle of one may start a cluster."""
    frame = sys._getframe(2)  # noqa: SLF001
    while frame.f_code is not _connect.__code__:
        if frame.f_back is None:
            return False
        frame = frame.f_back
    return True


def shutdown(*, local: bool = False, root: str | os.PathLike[str] | None = None) -> int:
    """Stop keepers and catalog and delete all arrays of all stores; returns the bytes that this freed.

    Views that are open stay valid. `open` starts anew. Does nothing if this process is not connected to a cluster.

    Parameters
    ----------
    local, root
        As for `open`: end the store of this machine instead, for all programs that use it.
    """
    if local:
        return session.close_local(place_of(root))
    if is_client():
        return gateway.call(session.close)
    return session.close() if is_connected() else 0
