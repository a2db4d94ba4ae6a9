"""The place of a local store: its folder, and what a handle says of where its array is.

In the folder `<root>/local` are:

    <id>/    the shelf; the id is another for each store that is begun here
    jobs/    the processes that use it (see `jobs`)
    keeper   locked by the process of the keeper, or by who starts it
    node     the node's name, as it was when the store was begun
    socket   where the keeper's process listens
    log      what it logs
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from typing import NamedTuple, TypeGuard

from outlive.arrays import disk as disks
from outlive.arrays.layout import LEDGER, NEXT, disk_of
from outlive.arrays.limits import NO_ROOM
from outlive.arrays.lock import open_owned
from outlive.arrays.removal import clear_removed, remove_tree
from outlive.arrays.root import default_root, names_in
from outlive.errors import OutliveError, StoreFull, StoreUnavailable

CLUSTER = "local"
_DYING, _AGAIN = 5.0, 0.01  # seconds for a killed keeper to end, and between two looks
_PREFIX = "local:"
_ID_LENGTH = 16  # hexadecimal digits


class Place(NamedTuple):
    """A root folder, and why it is on disk, if it is not the one that was asked for."""

    root: str
    on_disk: str | None = None

    @property
    def folder(self) -> str:
        return f"{self.root}/{CLUSTER}"

    @property
    def jobs(self) -> str:
        return f"{self.folder}/jobs"

    @property
    def keeper(self) -> str:
        return f"{self.folder}/keeper"

    @property
    def socket(self) -> str:
        return f"{self.folder}/socket"

    @property
    def name(self) -> str:
        return f"{self.folder}/node"

    @property
    def log(self) -> str:
        return f"{self.folder}/log"

    @property
    def node(self) -> str:
        """The node's name, as handles have it: the machine and the root."""
        return f"{_PREFIX}{socket.gethostname()}:{self.root}"

    def shelves(self) -> list[str]:
        """The ids of the shelves that are there: one as a rule, none if there is no store."""
        return sorted(
            name
            for name in names_in(self.folder)
            if len(name) == _ID_LENGTH and os.path.exists(f"{self.folder}/{name}/{LEDGER}")
        )


def node_of(place: Place) -> str:
    """The name of the node, which stays for as long as the store does: programs that use it know it by that.

    The machine may be renamed; or containers with names of their own share the folder, and the one with the keeper
    ends. The caller holds the keeper's lock.
    """
    with contextlib.suppress(OSError):
        with open(place.name, "rb") as file:
            found = os.fsdecode(file.read())
        if place.shelves() and is_local(found) and root_of(found) == place.root:
            return found
    with contextlib.suppress(OSError):  # there may be no room
        with open(place.name + NEXT, "wb") as file:
            file.write(os.fsencode(place.node))
        os.rename(place.name + NEXT, place.name)
    return place.node


def place_of(root: str | os.PathLike[str] | None) -> Place:
    """The place of a root that a program named; None: of the default, or of OUTLIVE_ROOT."""
    chosen, on_disk = default_root()
    return Place(chosen, on_disk) if root is None or os.path.abspath(root) == chosen else Place(os.path.abspath(root))


def new_id() -> str:
    return os.urandom(_ID_LENGTH // 2).hex()


def is_local(node: str | None) -> TypeGuard[str]:
    """Whether a handle's node is a local store."""
    return node is not None and node.startswith(_PREFIX)


def root_of(node: str) -> str:
    """The root of the store that a handle's node names."""
    return node.split(":", 2)[2]


def host_of(node: str) -> str:
    """The machine of the store that a handle's node names."""
    return node.split(":", 2)[1]


def of_another_machine(place: Place, node: str | None) -> StoreUnavailable | None:
    """The error for an array that is not in the store at `place`, if its handle's node is of another machine.

    It may be here all the same: machines are renamed, and containers share a folder.
    """
    here = host_of(place.node)
    if not is_local(node) or host_of(node) == here:
        return None
    return StoreUnavailable(
        f"this handle is of the local store {root_of(node)} of machine {host_of(node)}, and this is {here}: a store "
        "that was opened with local=True is on one machine. Read the array there, or use a Ray cluster"
    )


def clear_ended(place: Place) -> None:
    """`clear`, if no store is there and no keeper."""
    deadline = time.monotonic() + _DYING
    # a keeper that is killed lets go of the lock when the last of its threads has ended
    while (lock := open_owned(place.keeper)) is None:
        if not os.path.lexists(place.keeper) or place.shelves() or time.monotonic() > deadline:
            return
        time.sleep(_AGAIN)
    try:
        if not place.shelves():
            clear(place)
    finally:
        lock.close()


@contextlib.contextmanager
def saying_if_full(place: Place) -> Iterator[None]:
    """Raise StoreFull in the block if the system has no room for the store's own files."""
    try:
        yield
    except OutliveError:  # some are an OSError too
        raise
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise StoreFull(
            f"no room for a store in {place.folder}: {error.strerror}; free some, or set OUTLIVE_ROOT"
        ) from None


def discard(place: Place) -> None:
    """Remove a store that could not be begun: nobody has put anything. The caller holds the keeper's lock."""
    for name in names_in(place.folder):
        if len(name) == _ID_LENGTH:
            disk = disk_of(f"{place.folder}/{name}")
            if disk is not None:
                disks.remove(disk)
            remove_tree(f"{place.folder}/{name}")
    clear(place)


def clear(place: Place) -> None:
    """Remove all but the root of a store that has ended. The caller holds the keeper's lock.

    A process that just joins finds that its job's file is gone, or the folder, and begins again. The shelf may be under
    removal still: a thread of the keeper ends the process as soon as it finds that the shelf is not there.
    """
    clear_removed(place.folder)
    jobs = [f"{place.jobs}/{name}" for name in names_in(place.jobs)]
    for path in (place.socket, place.name, place.name + NEXT, place.log, f"{place.log}.1", *jobs):
        with contextlib.suppress(OSError):
            os.unlink(path)
    with contextlib.suppress(OSError):
        os.rmdir(place.jobs)
    with contextlib.suppress(OSError):
        os.unlink(place.keeper)
    with contextlib.suppress(OSError):
        os.rmdir(place.folder)
