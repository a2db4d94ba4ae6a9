"""Finding the Ray cluster for a command. None is started: it would end with the command, and its arrays too."""

from __future__ import annotations

import atexit
import logging
import os
import socket
from typing import TYPE_CHECKING

from outlive.cli.failures import BadLimit, wrong_usage
from outlive.errors import OutliveError, StoreUnavailable

if TYPE_CHECKING:
    from outlive.store.store import Store

_REMEDY = "start one with `ray start --head`, or name one with --address HOST:PORT or RAY_ADDRESS"
_CLIENT = "ray://"  # Ray Client, for machines that are not nodes of the cluster
_OUTSIDE = "put, get, rm, ls, info, stats, check, save, load, shutdown, nodes and drain"  # as in docs/nodes.md
_PATIENCE = 5.0  # seconds for a cluster that is named to accept a connection; ray.init would take a minute to give up


def open_store(
    name: str,
    address: str | None,
    memory: str | None = None,
    disk: str | None = None,
    spill_to: str | None = None,
    *,
    local: bool = False,
) -> Store:
    """The store `name` of the cluster, or of this machine (`local`). The limits are those of `outlive.open`.

    Raises
    ------
    StoreUnavailable
        There is no such cluster, or this machine is not a node of it (which `ray://` need not be).
    BadLimit
        This node's shelf cannot be limited to that; or it is asked for a local store and for a cluster.
    """
    if local:
        no_address(address)
    else:
        connect(address)
    import outlive

    outlive.open(name, local=local)  # an error in the name is reported first
    with wrong_usage():
        return outlive.open(name, memory=memory, disk=disk, spill_to=spill_to, local=local)


def local_store() -> Store | None:
    """The local store, if there is one. None is begun."""
    import outlive
    from outlive.local.place import place_of

    return outlive.open(local=True) if place_of(None).shelves() else None


def no_address(address: str | None) -> None:
    """Raises BadLimit for an address beside --local."""
    if address:
        raise BadLimit(f"--local is a store without a cluster, and --address {address} names one: leave out either")


def connect(address: str | None, *, from_inside: bool = False) -> None:
    """Connect this process to the cluster, unless it is connected already. It raises the errors of `open_store`.

    A command `from_inside` asks raylets and GCS itself. A Ray Client cannot do that.
    """
    chosen, origin = _named(address, from_inside=from_inside)
    import ray

    if ray.is_initialized():
        return
    from outlive.ray_internals.joining import join

    try:
        join(chosen, log_to_driver=False, logging_level=logging.ERROR)
    except OutliveError:
        raise
    except Exception as error:  # noqa: BLE001 - of many types: no such cluster, no node of it here, another version of Ray or Python
        reason = " ".join(str(error).split())[:500].rstrip(". ")
        if chosen == "auto" and isinstance(error, ConnectionError):
            raise StoreUnavailable(
                f"no Ray cluster runs on this machine (looked for one as by {origin}); {_REMEDY}"
            ) from None
        raise StoreUnavailable(f"cannot join the Ray cluster {chosen!r} ({origin}): {reason}; {_REMEDY}") from None
    atexit.register(ray.shutdown)  # comes before Ray's own, which first waits 0.5 s for lines of workers to print


def find(address: str | None) -> str:
    """`HOST:PORT` of the cluster's GCS, which this process may then ask. It joins nothing, and raises as `connect`."""
    chosen, origin = _named(address, from_inside=True)
    from outlive.ray_internals.joining import find as found_by_ray

    try:
        found = found_by_ray(chosen, logging.ERROR)
    except ConnectionError as error:
        if isinstance(error, OutliveError):
            raise
        found = None
    if found is None:
        raise StoreUnavailable(f"no Ray cluster runs on this machine (looked for one as by {origin}); {_REMEDY}")
    return found


def _named(address: str | None, *, from_inside: bool) -> tuple[str, str]:
    """The address to try, and the option or variable that named it. A named address accepts a connection."""
    chosen, origin = _chosen(address)
    if from_inside and chosen.startswith(_CLIENT):
        raise StoreUnavailable(
            f"{chosen} ({origin}) is for Ray Client, which cannot ask the cluster's nodes as this command does: run it "
            f"on one of them, as by `ray job submit -- outlive ...`. With {_CLIENT} go {_OUTSIDE}"
        )
    if chosen == "local":
        raise StoreUnavailable(
            f"'local' ({origin}) would start a cluster that ends with this command, arrays and all; {_REMEDY}. "
            "The store of this machine without Ray is --local"
        )
    if chosen != "auto":
        _knock(chosen, origin)
    return chosen, origin


def _chosen(address: str | None) -> tuple[str, str]:
    """The address to try, and the option or variable that named it."""
    if address:
        return address, "--address"
    if named := os.environ.get("RAY_ADDRESS"):
        return named, "RAY_ADDRESS"
    return "auto", "ray.init('auto')"


def _knock(address: str, origin: str) -> None:
    host, _, port = address.removeprefix(_CLIENT).rpartition(":")
    if not host or not port.isdecimal():
        raise StoreUnavailable(
            f"{address!r} ({origin}) is no address of a Ray cluster: write HOST:PORT, ray://HOST:PORT or auto"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StoreUnavailable(f"no Ray cluster at {address} ({origin}): {reason.lower()}; {_REMEDY}") from None
