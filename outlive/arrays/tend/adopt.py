"""Adopting: taking over the shelf that a dead node left on this machine, when Ray was stopped and started again.

A shelf's file `node` names the raylet of its node and the address of its cluster. The shelf is adopted only if that
raylet is dead, and if nothing answers at that address, or a later cluster that has taken it over. Adopting also needs
the keeper's lock: of several nodes that could adopt a shelf, one does.

A raylet in another container cannot be seen from here. If that container has the same network, as those of one pod
have, it is dead if its own address refuses connections, or if its cluster's address is this cluster's own by now.
Otherwise it is taken for dead if its keeper has shown no sign of life for minutes: while a raylet lives, Ray starts its
keeper again within seconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from outlive.arrays import disk as disks
from outlive.arrays.clock import uptime
from outlive.arrays.layout import (
    CHECKSUMS,
    COPIED,
    KEEPER,
    LEDGER,
    MEM,
    MOVED,
    NEXT,
    NODE,
    OWNER,
    PRIVATE,
    REMOVED,
    disk_of,
    is_cached,
    is_id,
    kind_of,
    marked,
)
from outlive.arrays.ledger import Ledger
from outlive.arrays.lifetimes import JOB, SCOPE
from outlive.arrays.lock import open_owned
from outlive.arrays.marks import keep, mode_of
from outlive.arrays.removal import clear_removed, remove_tree
from outlive.arrays.root import names_in
from outlive.arrays.segment import pages, read_info_at
from outlive.arrays.tend.checksums import Checksums
from outlive.errors import CorruptArray, StoreUnavailable

if TYPE_CHECKING:
    from outlive.arrays.info import ArrayInfo
    from outlive.arrays.shelf import Shelf
    from outlive.arrays.tier import Tier

_ENDED = "ended"  # in place of the moment at which a raylet started that has ended
_PATIENCE = 1.0  # seconds to wait for an answer at a cluster's address
_SILENT_AFTER = 180 * 10**9  # nanoseconds without a sign of life of a keeper that cannot be seen


class Owner(NamedTuple):
    """The node and cluster that a shelf belongs to."""

    address: str  # of the cluster's GCS
    raylet: int  # its process id
    started: str  # when that process started, in the kernel's ticks since boot; see `sign`
    boot: str  # the machine's boot id
    processes: str  # the namespace of that process id
    network: str = ""  # the network namespace of the addresses; an earlier version did not write it
    listens: str = ""  # the address of the raylet; "" if it is not known


def sign(path: str, address: str, raylet: int, listens: str = "") -> None:
    """Write down that the shelf at `path` belongs to this node, of the cluster at `address`.

    Parameters
    ----------
    raylet
        The process id of the node's raylet; 0 if it cannot be seen from here. One that has ended is noted as such: a
        keeper may start just after that.
    listens
        The address at which it listens as long as it lives.
    """
    started = _started(raylet) or (_ENDED if raylet else "")
    owner = Owner(address, raylet, started, _boot_id(), _namespace("pid"), _namespace("net"), listens)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(f"{path}/{NODE}{NEXT}", flags, PRIVATE)
    try:
        os.write(fd, json.dumps(owner).encode())
    finally:
        os.close(fd)
    os.rename(f"{path}/{NODE}{NEXT}", f"{path}/{NODE}")


def live(path: str) -> None:
    """Record a sign of life of the keeper that tends the shelf at `path`. It does so now and then."""
    now = uptime()
    with contextlib.suppress(OSError):
        os.utime(f"{path}/{KEEPER}", ns=(now, now), follow_symlinks=False)


def orphaned(root: str, cluster: str, node: str, address: str, living: Callable[[], set[str]] = set) -> Iterator[str]:
    """The paths of the shelves below `root` that dead nodes left, of this cluster or of dead ones.

    Parameters
    ----------
    cluster, node, address
        The cluster, node and address of the caller.
    living
        Returns the nodes of this cluster that its head takes for alive. Called only for nodes that cannot be seen from
        here.
    """
    for other in os.listdir(root):
        folder = f"{root}/{other}"
        if os.path.exists(f"{folder}/{OWNER}"):  # the cluster and its arrays end with the program that started it
            continue
        with contextlib.suppress(OSError):
            for name in os.listdir(folder):
                path = f"{folder}/{name}"
                if name.endswith(REMOVED):  # see `finish_removals`
                    continue
                if path != f"{root}/{cluster}/{node}" and _is_dead(path, address, living if other == cluster else None):
                    yield path


def finish_removals(root: str) -> None:
    """Remove the shelves below `root` whose removal was begun: who did that may have been killed. Harmless to repeat.

    Their arrays were deleted, and some have no bytes any more. So nobody may adopt them.
    """
    for other in names_in(root):
        with contextlib.suppress(OSError):
            if clear_removed(f"{root}/{other}"):
                os.rmdir(f"{root}/{other}")  # if it was the last of its cluster


def unseen(root: str) -> bool:
    """Whether raylets in other containers have shelves below `root`: it takes minutes to tell whether they are dead."""
    for other in os.listdir(root):
        with contextlib.suppress(OSError):
            for name in os.listdir(f"{root}/{other}"):
                owner = _owner_of(f"{root}/{other}/{name}")
                if owner is not None and owner.boot == _boot_id() and owner.processes != _namespace("pid"):
                    return True
    return False


def adopt(
    shelf: Shelf,
    path: str,
    *,
    same_cluster: bool,
    wanted: Callable[[ArrayInfo], bool] = lambda _: True,
    came: Callable[[str], object] = lambda _: None,
) -> int:
    """Move the arrays of a dead node's shelf to this one; returns how many. Arrays that ended meanwhile are deleted.

    While the disk of either shelf is not mounted, the other shelf stays, for those that it has spilled: call it again.

    Parameters
    ----------
    wanted
        Tells whether an array is still wanted: it may have been deleted while its node was dead.
    came
        Called with the id of each array that comes, under the ledger's lock.

    Raises
    ------
    StoreUnavailable
        This shelf is removed meanwhile. The arrays that were not moved yet stay on the other.
    """
    lock = open_owned(f"{path}/{KEEPER}")
    if lock is None:
        return 0
    try:
        ends = SCOPE if same_cluster else SCOPE | JOB
        count = _move(f"{path}/{MEM}", shelf, shelf.memory, ends, wanted, came)
        old = disk_of(path)
        if old is not None and not (_is_mounted(path, old) and (shelf.disk is None or shelf.disk.is_mounted())):
            return count  # the rest waits on the other shelf: nobody else knows of the arrays on that disk
        if old is not None and os.path.isdir(f"{old}/{MEM}"):
            if shelf.disk is None:
                shelf.spill_to(os.path.join(os.path.dirname(os.path.dirname(old)), *shelf.path.split("/")[-2:]))
            assert shelf.disk is not None
            count += _move(f"{old}/{MEM}", shelf, shelf.disk, ends, wanted, came)
            disks.remove(old)
        Checksums(f"{shelf.path}/{CHECKSUMS}").append(Checksums(f"{path}/{CHECKSUMS}").load())
        _remove(path)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(path))
        return count
    finally:
        lock.close()


def _move(
    source: str,
    shelf: Shelf,
    tier: Tier,
    ends: int,
    wanted: Callable[[ArrayInfo], bool],
    came: Callable[[str], object],
) -> int:
    count = 0
    for name in filter(is_id, names_in(source)):  # it is missing if somebody was killed who had moved all
        path = f"{source}/{name}"
        info = _info_of(path)
        if info is not None:
            if not wanted(info):
                continue
            if info.key is None:  # its handles name a node that is gone: so the catalog has to be told where it is
                os.chmod(path, marked(os.lstat(path).st_mode, add=COPIED))
        if not kind_of(name) & ends:
            count += _bring(path, shelf, tier, came)
    return count


def _info_of(path: str) -> ArrayInfo | None:
    """The info of an array that is to be moved. None: it is damaged, or cannot be read now. It is moved all the same,
    and `outlive check` reports it.
    """
    try:
        return read_info_at(path, os.path.basename(path))
    except FileNotFoundError:
        raise
    except (CorruptArray, OSError):
        return None


def _bring(source: str, shelf: Shelf, tier: Tier, came: Callable[[str], object]) -> bool:
    """Move one array, if this shelf does not keep it already."""
    array_id = os.path.basename(source)
    try:
        return _rename(source, shelf, tier, array_id, came)
    except StoreUnavailable:  # an OSError too
        raise
    except OSError:  # another file system
        copy = f"{tier.mem}/{array_id}{MOVED}"
        try:
            shutil.copy2(source, copy, follow_symlinks=False)
            moved = _rename(copy, shelf, tier, array_id, came)
        finally:
            with contextlib.suppress(FileNotFoundError):  # it was renamed
                os.unlink(copy)  # else there was no room, or an interrupt came: no ledger counts this file
        os.unlink(source)  # last: the array is on one of the two shelves at every moment
        return moved


def _rename(path: str, shelf: Shelf, tier: Tier, array_id: str, came: Callable[[str], object]) -> bool:
    """Rename a file into the tier and count its bytes.

    Under the ledger's lock, the shelf does not end: a keeper that leaves removes it there, once nothing is kept.
    """
    with shelf.ledger.locked():
        if not shelf.exists():
            raise shelf.gone()
        found = os.lstat(path)
        if shelf.has(array_id) and (is_cached(found.st_mode) or not is_cached(mode_of(shelf, array_id))):
            return False
        shelf.ledger.note_adopted(1)  # first: a keeper that is killed after the move leaves it to the next to tell
        came(array_id)
        if shelf.has(array_id):
            return keep(shelf, array_id)
        shelf.delete_drafts(array_id)  # a copy that was begun before: after a deletion it would be sealed
        target = f"{tier.mem}/{array_id}"
        with tier.account.counting(target, before=0, after=pages(found.st_size)):
            os.rename(path, target)
    return True


def _is_mounted(path: str, disk: str) -> bool:
    """Whether the file system that the dead node's shelf at `path` spilled to is there, if arrays are on it."""
    account = Ledger(f"{path}/{LEDGER}").disk
    return not account.used or disks.is_mounted(disk, account.device)


def _remove(path: str) -> None:
    """Remove a shelf. The file that says whose it is goes last: a process that is killed leaves the rest to others."""
    for name in set(os.listdir(path)) - {NODE, KEEPER}:
        remove_tree(f"{path}/{name}")
        with contextlib.suppress(OSError):  # a file
            os.unlink(f"{path}/{name}")
    remove_tree(path)


def _is_dead(path: str, address: str, living: Callable[[], set[str]] | None) -> bool:
    """Whether there is a shelf at `path` whose node is dead, and whose cluster is dead or this one.

    `living` returns the living nodes of the same cluster; None if the shelf is another cluster's.
    """
    owner = _owner_of(path)
    if owner is None:
        return False
    own_address, same_cluster = owner.address == address, living is not None
    if owner.boot == _boot_id():
        if owner.processes != _namespace("pid"):
            same_network = owner.network == _namespace("net")
            gone = same_network and _refuses(owner.listens)
            taken_over = same_network and own_address and not same_cluster
            if not _is_unlocked(f"{path}/{KEEPER}") or not (gone or taken_over or _is_silent(path)):
                return False
            if living is not None and not gone and os.path.basename(path) in living():
                return False
        elif not owner.started or _started(owner.raylet) == owner.started:
            return False
    return same_cluster or own_address or not _answers(owner.address)


def _owner_of(path: str) -> Owner | None:
    try:
        with open(f"{path}/{NODE}") as file:
            owner = Owner(*json.load(file))
    except (OSError, ValueError, TypeError):
        return None
    kinds = [int if name == "raylet" else str for name in Owner._fields]
    return owner if all(map(isinstance, owner, kinds)) else None


def _is_silent(path: str) -> bool:
    """Whether the shelf's keeper has shown no sign of life for longer than Ray takes to start another."""
    try:
        since = os.lstat(f"{path}/{KEEPER}").st_mtime_ns
    except OSError:
        return False
    return uptime() - since > _SILENT_AFTER


def _is_unlocked(path: str) -> bool:
    file = open_owned(path)
    if file is not None:
        file.close()
    return file is not None


def _answers(address: str) -> bool:
    try:
        _connect(address)
        return True
    except (OSError, ValueError):
        return False


def _refuses(address: str) -> bool:
    """Whether nobody listens at an address of this network. A process that is stopped does listen."""
    try:
        _connect(address)
    except ConnectionRefusedError:
        return True
    except (OSError, ValueError):
        pass
    return False


def _connect(address: str) -> None:
    host, _, port = address.rpartition(":")
    socket.create_connection((host, int(port)), _PATIENCE).close()


def _started(pid: int) -> str | None:
    """When a process started; None if there is none (proc_pid_stat(5), field 22)."""
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as file:  # a process may have any name
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def _boot_id() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""


def _namespace(kind: str) -> str:
    try:
        return os.readlink(f"/proc/self/ns/{kind}")
    except OSError:
        return ""
