"""A shelf: the folder that holds one node's segments. See `layout` for how they are called.

The files are the truth; whatever else knows about arrays can be rebuilt from them. A rename from new/ to mem/ commits
an array, an unlink deletes it, and the kernel tells who died: a folder in new/ that can be locked has lost its writer.

It knows files, and no numpy: actors work with it. `reader` and `writer` know arrays.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from outlive.arrays import disk as disks
from outlive.arrays.disk import Disk
from outlive.arrays.ended import EndedArrays
from outlive.arrays.info import ArrayInfo
from outlive.arrays.layout import ENDED, HOT, LEDGER, NAMES, REMOVED, SCOPES
from outlive.arrays.ledger import Ledger
from outlive.arrays.lifetimes import deadline_from
from outlive.arrays.limits import NO_ROOM
from outlive.arrays.live import forget
from outlive.arrays.lock import Mutex
from outlive.arrays.names import Names
from outlive.arrays.removal import remove_tree
from outlive.arrays.root import default_budget, names_in, private_folder
from outlive.arrays.segment import is_copy, read_info_at
from outlive.arrays.staging import Staging
from outlive.arrays.tiers import Tiers
from outlive.errors import ArrayNotFound, CorruptArray, StoreFull, StoreUnavailable

_T = TypeVar("_T")
_Draft = TypeVar("_Draft", bound="Unsealed")
_SEALS_AT_A_TIME = 512  # of put_many, so that other writers get their turn


class StaleEpoch(Exception):
    """The catalog that ordered this change is gone; ask the one that took its place."""


class Unsealed(Protocol):
    """What can be sealed: a `Draft`."""

    path: str
    info: ArrayInfo
    settled: bool
    listed_in: int

    def discard(self) -> None: ...


class Shelf:
    """The shelf in the folder `path` (created, mode 0700). Any number of processes and threads may use it at once.

    Parameters
    ----------
    path
        The folder; its parent must be private too.
    budget
        Bytes that it may hold. None keeps what it has, or computes it (`root.default_budget`).
    """

    def __init__(self, path: str, budget: int | None = None) -> None:
        try:
            self.path = private_folder(path)
            self.ledger = Ledger(f"{path}/{LEDGER}")
            self.tiers = Tiers(path, self.ledger)
            self.scopes = private_folder(f"{path}/{SCOPES}")
            self.ended = EndedArrays(f"{path}/{ENDED}")
            self.names = Names(private_folder(f"{path}/{NAMES}"), self.ledger)
            self.hot = private_folder(f"{path}/{HOT}")
        except OSError as error:
            if error.errno in NO_ROOM:
                raise StoreFull(
                    f"no room for a shelf at {path}: {error.strerror}; free some, or set OUTLIVE_ROOT"
                ) from None
            raise
        self.memory = self.tiers.memory
        self.mem, self.new, self.pool = self.memory.mem, self.memory.new, self.memory.pool
        with self.ledger.locked():
            if not self.ledger.budget:
                self.recount()  # of an earlier version, or damaged: it was made anew
            if budget is not None or not self.ledger.budget:
                self.ledger.budget = budget if budget is not None else default_budget(path)
        self.removed = False  # found out when a write fails
        self._staging: Staging | None = None
        self._lock = Mutex()

    # --- where segments are

    @property
    def disk(self) -> Disk | None:
        """The folder that this shelf spills to, or has spilled to; None if none was ever chosen."""
        return self.tiers.disk

    def spill_to(self, path: str) -> None:
        """See `Tiers.spill_to`."""
        self.tiers.spill_to(path)

    def spills(self) -> bool:
        """Whether there is a disk, and a budget for it."""
        return self.tiers.spills()

    def somewhere(self, array_id: str, use: Callable[[str], _T]) -> _T:
        """What `use` says of an array's file, wherever it is. See `Tiers.somewhere`."""
        return self.tiers.somewhere(array_id, use)

    def locate(self, array_id: str) -> str | None:
        """The path of a sealed array's file; None if there is none."""
        return self.tiers.locate(array_id)

    def has(self, array_id: str) -> bool:
        return self.tiers.locate(array_id) is not None

    def has_draft(self, array_id: str) -> bool:
        """Whether an array of this id is being written, or was and is not sealed yet."""
        return self.tiers.has_draft(array_id)

    def ids(self) -> list[str]:
        """The ids of all sealed arrays."""
        return self.tiers.ids()

    def spilled(self) -> list[str]:
        """The ids of those on disk."""
        return self.tiers.spilled()

    def folders(self) -> tuple[str, ...]:
        """Where sealed arrays are."""
        return self.tiers.folders()

    def recount(self) -> int:
        """See `Tiers.recount`."""
        return self.tiers.recount()

    # --- what is known of arrays

    def not_found(self, info: ArrayInfo, why: str | None = None) -> ArrayNotFound:
        """What to say of an array that is not there. `why`: what another node knows of its end."""
        name = f"array {info.key!r} (id {info.id})" if info.key is not None else f"array {info.id}"
        ended = why or self.ended.find(info.id) or "it was deleted, or overwritten by a later put"
        return ArrayNotFound(f"{name} of store {info.store!r} is not there: {ended}")

    def named_info(self, store: str, key: str) -> ArrayInfo | None:
        """As `named`, without mapping the data."""
        found = None if self.ledger.batches else self.names.look_up(store, key)
        try:
            info = None if found is None else self.info(found[0])
        except (FileNotFoundError, CorruptArray):
            return None
        return info if info is not None and (info.store, info.key) == (store, key) else None

    def exists(self) -> bool:
        """Whether this shelf, and not another in its place, is still there."""
        return self.ledger.exists()

    def info(self, array_id: str) -> ArrayInfo:
        """What a sealed segment's footer says.

        Raises
        ------
        FileNotFoundError, CorruptArray
        """
        return self.somewhere(array_id, lambda path: read_info_at(path, array_id))

    def scan(self) -> Iterator[ArrayInfo]:
        """What the footers of all readable sealed arrays say; `check` tells of the others."""
        return self.infos(self.ids())

    def infos(self, array_ids: Iterable[str]) -> Iterator[ArrayInfo]:
        """As `scan`, of these arrays."""
        for array_id in array_ids:
            with contextlib.suppress(FileNotFoundError, CorruptArray):
                yield self.info(array_id)

    # --- sealing

    def seal(self, draft: Unsealed, epoch: int | None = None) -> None:
        """Rename a draft into mem/: the point from which on it exists, for everyone, for good.

        Parameters
        ----------
        epoch
            For an array with a key: the epoch of the catalog that listed it. A catalog that starts anew raises the
            shelf's epoch before it reads the shelf, so no array slips in behind its back.

        Raises
        ------
        StaleEpoch
            Another catalog has started since. Nothing was sealed: have it list the array, then seal again.
        """
        if draft.info.key is None:  # nobody else knows of it yet, and no name changes: no lock
            draft.settled = self._commit(draft.path, draft.info)
            if not draft.settled:
                raise StoreUnavailable(f"somebody removed {draft.path} while it was being put; put it again")
        else:
            self.seal_many([draft], epoch)

    def seal_copy(self, draft: Unsealed) -> None:
        """Seal a draft that is a copy of another shelf's array. No name leads to it yet; see `name`.

        Its `listed_in` is the epoch of the listing of this shelf to which the catalog added the copy.

        Raises
        ------
        StaleEpoch
            The shelf was listed again since, without the copy: nobody would ask this node before the array is replaced.
            Nothing was sealed.
        """
        with self.ledger.locked():
            if self.ledger.epoch != draft.listed_in:
                raise StaleEpoch
            if self.has(draft.info.id):  # another process of this node has made the same copy meanwhile
                draft.discard()
            draft.settled = draft.settled or self._rename(draft.path, draft.info.id)
        if not draft.settled:
            raise StoreUnavailable(f"somebody removed {draft.path} while it was being copied")

    def seal_many(self, drafts: Sequence[_Draft], epoch: int | None = None) -> list[_Draft]:
        """`seal` for many; returns those that are gone, as others sealed and then deleted them.

        Those sealed before a `StaleEpoch` stay so, and may be given again.
        """
        gone: list[_Draft] = []
        for start in range(0, len(drafts), _SEALS_AT_A_TIME):
            with self.ledger.locked():
                if epoch is not None and self.ledger.epoch != epoch:
                    raise StaleEpoch
                for draft in drafts[start : start + _SEALS_AT_A_TIME]:
                    if not self._commit(draft.path, draft.info):
                        gone.append(draft)
                    draft.settled = True
        return gone

    def _commit(self, path: str, info: ArrayInfo) -> bool:
        """The moment from which on an array exists. Its name first: should this be cut short, whoever asks the catalog
        seals it. False if it is neither here nor sealed. The caller holds the ledger's lock.
        """
        if info.key is not None:
            self.names.point(info, self.has)
        if self._rename(path, info.id) or self.has(info.id):  # the latter: somebody sealed it for us (`finish`)
            return True
        if info.key is not None:
            self.names.remove(info.store, info.key, info.id)
        return False

    def _rename(self, path: str, array_id: str) -> bool:
        tier = self.tiers.of(path) or self.memory
        try:
            os.rename(path, f"{tier.mem}/{array_id}")
        except FileNotFoundError:
            return False
        return True

    def finish(self, array_id: str, epoch: int) -> bool:
        """Seal, in its writer's stead, a draft that the catalog of `epoch` has listed. True if it is sealed now.

        A writer first has the catalog list a complete draft, then seals it; whoever reads in between does it for the
        writer, which may just have died. What a catalog listed that is gone does not count. Nor does a copy of another
        shelf's array: the catalog lists that, but has to know of the copy before anyone reads it; see `seal_copy`.
        """
        with self.ledger.locked():
            if self.ledger.epoch == epoch:
                for path in self.tiers.drafts(array_id):
                    with contextlib.suppress(FileNotFoundError, CorruptArray):
                        if not is_copy(path):
                            self._commit(path, read_info_at(path, array_id))
        return self.has(array_id)

    def name(self, info: ArrayInfo) -> None:
        """Have the key of an array that the catalog knows lead to it, for those who ask next."""
        with self.ledger.locked():
            if self.has(info.id):
                self.names.point(info, self.has)

    # --- ending

    def touch(self, info: ArrayInfo) -> None:
        """Let an array live for its time to live from now on.

        Raises
        ------
        ArrayNotFound
        """
        now = time.time()
        try:
            times = int(now * 1e9), deadline_from(now, info.ttl)
            with self.ledger.locked():  # so that the keeper, which looks under it too, does not end it at the same time
                if self.somewhere(info.id, os.lstat).st_mtime < now:
                    raise ArrayNotFound(f"too late to touch {info.key or info.id!r}: its time to live is over")
                self.somewhere(info.id, lambda path: os.utime(path, ns=times, follow_symlinks=False))
        except FileNotFoundError:
            raise self.not_found(info) from None

    def set_deadline(self, array_id: str, deadline_ns: int) -> bool:
        """Let an array live until then, in nanoseconds since 1970, or longer; False if it is not there.

        A call that comes late takes nothing back of what a later one gave.
        """
        with self.ledger.locked(), contextlib.suppress(FileNotFoundError):
            times = time.time_ns(), max(deadline_ns, self.somewhere(array_id, os.lstat).st_mtime_ns)
            self.somewhere(array_id, lambda path: os.utime(path, ns=times, follow_symlinks=False))
            return True
        return False

    def deadline(self, info: ArrayInfo) -> float | None:
        """When the array's time to live is over, in seconds since 1970; None if it has none.

        Raises
        ------
        ArrayNotFound
        """
        try:
            return self.somewhere(info.id, os.lstat).st_mtime if info.ttl else None
        except FileNotFoundError:
            raise self.not_found(info) from None

    def delete(self, array_id: str, name: tuple[str, str] | None = None) -> bool:
        """Delete an array (or its draft); False if there is none. Views that are open stay valid.

        Parameters
        ----------
        name
            Store and key, if its key is deleted with it.
        """
        forget(array_id)
        with self.ledger.locked():  # so that nobody seals the draft between the two tiers
            if name is not None:
                self.names.remove(*name, array_id)
            disk = self.disk
            spilled = disk is not None and disk.release(array_id)
            gone = self.memory.release(array_id) or spilled or any(map(self.delete_draft, self.tiers.drafts(array_id)))
        if spilled and disk is not None:
            disk.pool.trim()
        return gone

    def delete_draft(self, path: str) -> bool:
        """Remove a draft and give back its bytes; False if there is none."""
        return (self.tiers.of(path) or self.memory).unlink(path)

    def raise_epoch(self) -> int:
        """Start a new epoch: what an earlier catalog listed can no longer be sealed."""
        return self.ledger.raise_epoch()

    def leave(self, nothing_kept: Callable[[], bool]) -> bool:
        """Remove the shelf if nothing is kept on it, and nobody writes to it; whether that was so."""
        with self.ledger.locked():
            writers = [f"{tier.new}/{name}" for tier in self.tiers.all() for name in names_in(tier.new)]
            if any(map(names_in, writers)) or os.listdir(self.scopes) or not nothing_kept():
                return False
            self.ledger.leave()
            self.remove()
            return True

    def remove(self) -> None:
        """Delete every array and the shelf itself. In one step, so that nobody can write to what is being removed."""
        disk = self.disk
        if disk is not None:
            disks.remove(disk.path)
        with self.ledger.locked():
            self.ledger.change_all()
        removed = f"{self.path}.{os.urandom(4).hex()}{REMOVED}"
        os.rename(self.path, removed)
        if disk is not None:
            disks.remove_empty(disk.path)  # who spills may have made it again, until the shelf was gone
        remove_tree(removed)

    # --- drafts of the living and the dead

    def staging(self) -> str:
        """This process's folder for drafts.

        Raises
        ------
        FileNotFoundError
            The shelf was removed.
        """
        staging = self._staging
        if staging is None or staging.pid != os.getpid():
            staging = self._new_staging()
        return staging.path

    def _new_staging(self) -> Staging:
        with self._lock.now:
            if not self.exists():
                raise FileNotFoundError(self.path)  # removed, and perhaps made anew
            if self._staging is None or self._staging.pid != os.getpid():
                self._staging = Staging(self.new)
            return self._staging
