"""A shelf: the folder that holds one node's segments. See `layout` for the names of its files.

The files are the truth: all other knowledge of arrays can be rebuilt from them. A rename from new/ to mem/ commits an
array, and an unlink deletes it. The kernel tells which writers died: their folders in new/ can be locked.

This module knows files and no numpy, because actors use it. `reader` and `writer` know arrays.
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
from outlive.arrays.layout import ENDED, HOT, LEDGER, NAMES, REMOVED, SCOPES, TALLY
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
from outlive.arrays.tally import COPIED, COPIED_BYTES, PUT_BYTES, PUTS, Tally
from outlive.arrays.tiers import Tiers
from outlive.errors import ArrayNotFound, CorruptArray, StoreFull, StoreUnavailable

_T = TypeVar("_T")
_Draft = TypeVar("_Draft", bound="Unsealed")
_SEALS_AT_A_TIME = 512  # of a put_many, under one lock, so that other writers get their turn


class StaleEpoch(Exception):
    """The catalog that ordered this change is gone; ask the one that took its place."""


class Unsealed(Protocol):
    """An object that can be sealed: a `Draft`."""

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
        self.tally = Tally(f"{path}/{TALLY}")
        with self.ledger.locked():
            if not self.ledger.budget:
                self.recount()  # the ledger was damaged or an earlier version's, and was made anew
            if budget is not None or not self.ledger.budget:
                self.ledger.budget = budget if budget is not None else default_budget(path)
            self.tally.make()
        self.removed = False  # set when a write fails because the shelf is gone
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
        """Whether there is a disk, mounted, and a budget for it."""
        return self.tiers.spills()

    def somewhere(self, array_id: str, use: Callable[[str], _T]) -> _T:
        """The result of `use(path)` for an array's file, in either tier. See `Tiers.somewhere`."""
        return self.tiers.somewhere(array_id, use)

    def locate(self, array_id: str) -> str | None:
        """The path of a sealed array's file; None if there is none."""
        return self.tiers.locate(array_id)

    def has(self, array_id: str) -> bool:
        return self.tiers.locate(array_id) is not None

    def has_draft(self, array_id: str) -> bool:
        """Whether there is a draft with this id."""
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
        """The error for an array that is not there. `why`: what another node knows of its end."""
        name = f"array {info.key!r} (id {info.id})" if info.key is not None else f"array {info.id}"
        ended = why or self.ended.find(info.id) or self.away() or "it was deleted, or overwritten by a later put"
        return ArrayNotFound(f"{name} of store {info.store!r} is not there: {ended}")

    def away(self) -> str | None:
        """A sentence for errors, if the arrays on disk are not to be seen now; else None. They may come back."""
        disk = self.disk
        if disk is None or not disk.is_away():
            return None
        return f"arrays were spilled to {disk.path}, and nothing is there now: is that disk mounted?"

    def named_info(self, store: str, key: str) -> ArrayInfo | None:
        """The `ArrayInfo` of a key's array, by its name on this shelf, without mapping the data."""
        found = None if self.ledger.batches else self.names.look_up(store, key)
        try:
            info = None if found is None else self.info(found[0])
        except (OSError, CorruptArray):  # the catalog is asked
            return None
        return info if info is not None and (info.store, info.key) == (store, key) else None

    def exists(self) -> bool:
        """Whether this shelf is still there, and not another one at its path."""
        return self.ledger.exists()

    def gone(self) -> StoreUnavailable:
        """The error for a write on a shelf that was removed. The next call looks for another shelf."""
        self.removed = True
        if self.ledger.keeper_left:
            return StoreUnavailable(
                f"this node's keeper has just left, as nothing was kept here any more: {self.path} is gone; try again, "
                "which starts another"
            )
        return StoreUnavailable(f"the store was shut down: {self.path} is gone; call outlive.open() again")

    def info(self, array_id: str) -> ArrayInfo:
        """The `ArrayInfo` in a sealed segment's footer.

        Raises
        ------
        FileNotFoundError, CorruptArray
        """
        return self.somewhere(array_id, lambda path: read_info_at(path, array_id))

    def scan(self) -> Iterator[ArrayInfo]:
        """The infos of all sealed arrays that can be read. `check` reports the others."""
        return self.infos(self.ids())

    def infos(self, array_ids: Iterable[str]) -> Iterator[ArrayInfo]:
        """The same as `scan`, for these arrays."""
        for array_id in array_ids:
            with contextlib.suppress(FileNotFoundError, CorruptArray):
                yield self.info(array_id)

    # --- sealing

    def seal(self, draft: Unsealed, epoch: int | None = None) -> None:
        """Rename a draft into mem/. From this moment the array exists, for all processes.

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
        if draft.info.key is None:  # no other process knows of it, and no name changes: no lock is needed
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
            The shelf was listed again since, without the copy: the catalog would not ask this node before it replaces
            the array. Nothing was sealed.
        """
        with self.ledger.locked():
            if self.ledger.epoch != draft.listed_in:
                raise StaleEpoch
            if self.has(draft.info.id):  # another process of this node has made the same copy meanwhile
                draft.discard()
                return  # in a child that was forked meanwhile, the draft is still there, and belongs to its parent
            if self._rename(draft.path, draft.info.id):
                draft.settled = True
                self.tally.add(COPIED)
                self.tally.add(COPIED_BYTES, draft.info.nbytes)
        if not draft.settled:
            raise StoreUnavailable(f"somebody removed {draft.path} while it was being copied")

    def seal_many(self, drafts: Sequence[_Draft], epoch: int | None = None) -> list[_Draft]:
        """`seal` for many drafts. Returns the drafts that are gone, because others sealed and then deleted them.

        Drafts that were sealed before a `StaleEpoch` stay sealed, and may be passed again.
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
        """Make an array exist. Its name turns first: if this process dies in between, a reader that asks the catalog
        seals the draft. False if it is neither a draft nor sealed. The caller holds the ledger's lock.

        An array with `replicas` has no name until it has them, so that nobody reads an array that may be lost with this
        node: see `name`.
        """
        if info.key is not None and info.replicas == 1:
            self.names.point(info, self.has)
        elif info.key is not None:
            self.names.hide(info)
        if self._rename(path, info.id):
            self.tally.add(PUTS)
            self.tally.add(PUT_BYTES, info.nbytes)
            return True
        if self.has(info.id):  # another process sealed it (`finish`)
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
        """Seal a draft for its writer, if the catalog of `epoch` has listed it. True if it is sealed now.

        A writer first has the catalog list a complete draft, then seals it. A reader that comes in between seals it for
        the writer, which may have died. The listing of an earlier catalog does not count. A copy of another shelf's
        array is not sealed either: the catalog has to know of the copy before anyone reads it (see `seal_copy`).
        """
        with self.ledger.locked():
            if self.ledger.epoch == epoch:
                for path in self.tiers.drafts(array_id):
                    with contextlib.suppress(FileNotFoundError, CorruptArray):
                        if not is_copy(path):
                            self._commit(path, read_info_at(path, array_id))
        return self.has(array_id)

    def name(self, info: ArrayInfo) -> None:
        """Turn the key's name to an array that the catalog knows, for later readers.

        While there are adopted arrays of which the catalog was not told, no name is turned. It may know such an array
        on another node, and then asks only that one when the key is deleted or put again.
        """
        with self.ledger.locked():
            if self.has(info.id) and not self.ledger.adopted:
                self.names.point(info, self.has)

    # --- ending

    def touch(self, info: ArrayInfo) -> None:
        """Begin an array's time to live again.

        Raises
        ------
        ArrayNotFound
        """
        now = time.time()
        try:
            times = int(now * 1e9), deadline_from(now, info.ttl)
            # the keeper looks under the same lock, so it does not end the array at the same time
            with self.ledger.locked():
                if self.somewhere(info.id, os.lstat).st_mtime < now:
                    raise ArrayNotFound(f"too late to touch {info.key or info.id!r}: its time to live is over")
                self.somewhere(info.id, lambda path: os.utime(path, ns=times, follow_symlinks=False))
        except FileNotFoundError:
            raise self.not_found(info) from None

    def set_deadline(self, array_id: str, deadline_ns: int) -> bool:
        """Make an array live at least until `deadline_ns`, in nanoseconds since 1970; False if it is not there.

        A call that comes late does not shorten what a later call gave.
        """
        with self.ledger.locked(), contextlib.suppress(FileNotFoundError):
            times = time.time_ns(), max(deadline_ns, self.somewhere(array_id, os.lstat).st_mtime_ns)
            self.somewhere(array_id, lambda path: os.utime(path, ns=times, follow_symlinks=False))
            return True
        return False

    def deadline(self, info: ArrayInfo) -> float | None:
        """The end of the array's time to live, in seconds since 1970; None if it has none.

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
        with self.ledger.locked():  # so that no process seals the draft between the two removals
            if name is not None:
                self.names.remove(*name, array_id)
            # of a copy, other processes may have drafts, which they would seal then
            copied = any(is_copy(f"{folder}/{array_id}") for folder in self.folders())
            disk = self.disk
            spilled = disk is not None and disk.release(array_id)
            gone = self.memory.release(array_id) or spilled
            if copied or not gone:
                gone |= self.delete_drafts(array_id)
        if spilled and disk is not None:
            disk.pool.trim()
        return gone

    def delete_drafts(self, array_id: str) -> bool:
        """Remove all drafts of an array; False if there is none."""
        return sum(map(self.delete_draft, self.tiers.drafts(array_id))) > 0

    def delete_draft(self, path: str) -> bool:
        """Remove a draft and give back its bytes; False if there is none."""
        return (self.tiers.of(path) or self.memory).unlink(path)

    def raise_epoch(self) -> int:
        """Start a new epoch: drafts that an earlier catalog listed can no longer be sealed."""
        return self.ledger.raise_epoch()

    def leave(self, nothing_kept: Callable[[], bool]) -> bool:
        """Remove the shelf if it keeps no array and no process writes to it; returns whether it was removed."""
        with self.ledger.locked():
            writers = [f"{tier.new}/{name}" for tier in self.tiers.all() for name in names_in(tier.new)]
            if any(map(names_in, writers)) or os.listdir(self.scopes) or not nothing_kept():
                return False
            self.ledger.leave()
            self.remove()
            return True

    def remove(self) -> None:
        """Delete every array and the shelf itself. It is renamed first, so that no process writes to it meanwhile."""
        disk = self.disk
        if disk is not None:
            disks.remove(disk.path)
        with self.ledger.locked():
            self.ledger.change_all()
        removed = f"{self.path}.{os.urandom(4).hex()}{REMOVED}"
        os.rename(self.path, removed)
        if disk is not None:
            disks.remove_empty(disk.path)  # a process that spills may have made it again until the shelf was gone
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
                raise FileNotFoundError(self.path)  # the shelf was removed, and perhaps made anew
            if self._staging is None or self._staging.pid != os.getpid():
                made = Staging(self.new)
                if self._staging is None or self._staging.pid != os.getpid():  # a signal handler may have made one
                    self._staging = made
            return self._staging
