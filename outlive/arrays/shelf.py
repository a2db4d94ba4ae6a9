"""A shelf: the folder that holds one node's segments.

    new/<token>/<id>   drafts; each process writes in a folder of its own, which it keeps locked while it lives
    mem/<id>           sealed arrays
    free/<bytes>.<id>  deleted arrays that are still read, or whose warm pages wait to be written again (see `pool`)
    scopes/<number>    locked by the process whose `with` block it stands for (see `lifetimes`)
    ended              what ended by itself, when and why
    names/<hash>       which array a key stands for (see `names`)
    ledger             bytes used, budget, epoch, generations (see `ledger`)
    checksums          of sealed arrays, written by the keeper (see `checksums`)
    node               whose it is, and so when it may be adopted (see `adopt`)
    keeper             locked by the keeper that tends this shelf
    disk               leads to the folder that this shelf spills to, if there is one (see `disk`, `moves`, `room`)
    hot/<id>           arrays on disk that are read often, for the keeper to bring back
    spilling           locked by who spills

The files are the truth; whatever else knows about arrays can be rebuilt from them. A rename from new/ to mem/ commits
an array, an unlink deletes it, and the kernel tells who died: a folder in new/ that can be locked has lost its writer.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from outlive.arrays import disk as disks
from outlive.arrays import segment
from outlive.arrays.ended import EndedArrays
from outlive.arrays.full import full
from outlive.arrays.info import ArrayInfo, new_version
from outlive.arrays.ledger import Ledger
from outlive.arrays.lifetimes import DETACHED, Lifetime, deadline_from
from outlive.arrays.lock import Mutex
from outlive.arrays.marks import PINNED, PRIVATE, is_copy
from outlive.arrays.names import Names
from outlive.arrays.places import Places
from outlive.arrays.pool import Pool
from outlive.arrays.remains import clear_remains
from outlive.arrays.removal import empty_if_unread, remove_tree
from outlive.arrays.root import default_budget, names_in, private_folder
from outlive.arrays.staging import Staging
from outlive.arrays.warm import LEAST
from outlive.errors import ArrayNotFound, CorruptArray, StoreFull, StoreUnavailable

if TYPE_CHECKING:
    import numpy as np

    from outlive.arrays.draft import Draft

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EFBIG}
_NO_SUCH_FILE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.EPERM}  # or something planted there
_MARKS = 10_000  # arrays that a process remembers to have marked as hot
_SEALS_AT_A_TIME = 512  # of put_many, so that other writers get their turn


class StaleEpoch(Exception):
    """The catalog that ordered this change is gone; ask the one that took its place."""


class Shelf(Places):
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
            self.mem, self.new = private_folder(f"{path}/mem"), private_folder(f"{path}/new")
            self.ledger = Ledger(f"{path}/ledger")
            self.scopes = private_folder(f"{path}/scopes")
            self.ended = EndedArrays(f"{path}/ended")
            self.pool = Pool(private_folder(f"{path}/free"), self.ledger)
            self.names = Names(private_folder(f"{path}/names"), self.ledger)
            self.hot = private_folder(f"{path}/hot")
        except OSError as error:
            if error.errno in NO_ROOM:
                raise StoreFull(
                    f"no room for a shelf at {path}: {error.strerror}; free some, or set OUTLIVE_ROOT"
                ) from None
            raise
        self._reset_disk()
        with self.ledger.locked():
            if not self.ledger.budget:
                self.recount()  # of an earlier version, or damaged: it was made anew
            if budget is not None or not self.ledger.budget:
                self.ledger.budget = budget if budget is not None else default_budget(path)
        if "numpy" in sys.modules:  # now, as a child that is forked while a thread imports one waits for ever for it
            from outlive.arrays import draft, dtypes, views  # noqa: F401
        self.removed = False  # found out when a write fails
        self._staging: Staging | None = None
        self._lock = Mutex()
        self._marked: set[str] = set()  # as hot, by this process
        self._seen_on_disk: set[str] = set()  # where this process last found them

    # --- writing

    def put(
        self,
        array: np.ndarray[Any, Any],
        *,
        store: str = "default",
        key: str | None = None,
        version: int = 0,
        lifetime: Lifetime = DETACHED,
        pin: bool = False,
        replicas: int = 1,
    ) -> ArrayInfo:
        """Store one array at once and return what is known of it. For keys, which a catalog orders, see `draft`."""
        draft = self.draft_of(
            array, store=store, key=key, version=version, lifetime=lifetime, pin=pin, replicas=replicas
        )
        try:
            draft.seal()
        except BaseException as error:
            draft.discard()
            if isinstance(error, OSError):
                raise self.explain(error, draft.info.size) from None
            raise
        return draft.info

    def draft_of(
        self,
        array: np.ndarray[Any, Any],
        *,
        store: str = "default",
        key: str | None = None,
        version: int = 0,
        lifetime: Lifetime = DETACHED,
        pin: bool = False,
        replicas: int = 1,
    ) -> Draft:
        """A draft with all of `array` written, ready to be sealed. `pin`: see `draft`."""
        from outlive.arrays.dtypes import encode_dtype, storable

        array = storable(array)
        fortran = array.flags.f_contiguous and not array.flags.c_contiguous
        draft = self.draft(
            segment.describe(
                encode_dtype(array.dtype),
                array.shape,
                array.nbytes,
                fortran=fortran,
                store=store,
                key=key,
                version=version or new_version(),
                lifetime=lifetime,
                replicas=replicas,
            ),
            mode=PINNED if pin else PRIVATE,
        )
        try:
            draft.write(array)
        except BaseException:
            draft.discard()
            raise
        return draft

    def draft(self, info: ArrayInfo, mode: int = PRIVATE) -> Draft:
        """Reserve the bytes of `info` and open its draft, still empty, with these `marks`.

        In memory; if that is full, others are spilled first; on disk, if nothing can be spilled or it is larger than
        the memory's budget. If it is pinned, it is in memory and stays there.

        Raises
        ------
        StoreFull
            Neither budget has room for it. Nothing is left behind.
        StoreUnavailable
            The shelf was removed.
        """
        from outlive.arrays.draft import Draft

        clear_remains()
        try:
            draft = Draft(self, info, f"{self.staging()}/{info.id}", mode)
            draft.reserve()
        except FileNotFoundError as error:
            if self.exists():
                raise StoreUnavailable(f"somebody removed {error.filename} while it was in use; try again") from None
            self.removed = True
            raise StoreUnavailable(f"the store was shut down: {self.path} is gone; call outlive.open() again") from None
        except OSError as error:
            raise self.explain(error, info.size) from None
        return draft

    def reserve(self, path: str, size: int) -> int | None:
        """Make a draft's file at its full size, if the budget has room now; its descriptor."""
        if self._is_on_disk(path):
            disk = self.disk
            return None if disk is None else disk.reserve(path, size)
        found = self.pool.find(size)
        if found is not None:
            try:
                fd = self.pool.take(found, size, path)
            finally:
                found.file.close()
            if fd is not None:
                return fd
        return self.pool.make(path, size)

    def explain(self, error: OSError, asked: int) -> Exception:
        """`StoreFull` for an error that says that there is no room for `asked` bytes; others as for reading."""
        from outlive.arrays.views import explained

        return full(self, asked, f"the file system: {error.strerror}") if error.errno in NO_ROOM else explained(error)

    def seal(self, draft: Draft, epoch: int | None = None) -> None:
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

    def seal_copy(self, draft: Draft) -> None:
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
            draft.settled = self._rename(draft.path, draft.info.id)
        if not draft.settled:
            raise StoreUnavailable(f"somebody removed {draft.path} while it was being copied")

    def seal_many(self, drafts: list[Draft], epoch: int | None = None) -> list[Draft]:
        """`seal` for many; returns those that are gone, as others sealed and then deleted them.

        Those sealed before a `StaleEpoch` stay so, and may be given again.
        """
        gone = []
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
        disk = self.disk if self._is_on_disk(path) else None
        try:
            os.rename(path, f"{self.mem if disk is None else disk.mem}/{array_id}")
        except FileNotFoundError:
            return False
        return True

    def finish(self, array_id: str, epoch: int) -> bool:
        """Seal, in its writer's stead, a draft that the catalog of `epoch` has listed. True if it is sealed now.

        A writer first has the catalog list a complete draft, then seals it; whoever reads in between does it for the
        writer, which may just have died. What a catalog listed that is gone does not count. Nor does a copy of another
        node's array that is being made: who replaces that does not ask this node yet.
        """
        with self.ledger.locked():
            if self.ledger.epoch == epoch:
                for path in self._drafts(array_id):
                    with contextlib.suppress(FileNotFoundError, CorruptArray):
                        info = read_info_at(path, array_id)
                        if not is_copy(os.lstat(path).st_mode):
                            self._commit(path, info)
        return self.has(array_id)

    def name(self, info: ArrayInfo) -> None:
        """Have the key of an array that the catalog knows lead to it, for those who ask next."""
        with self.ledger.locked():
            if self.has(info.id):
                self.names.point(info, self.has)

    def discard(self, draft: Draft) -> None:
        """Remove a draft and give back its bytes; nothing if it was sealed."""
        self.delete_draft(draft.path)

    def delete_draft(self, path: str) -> bool:
        return self._unlink(path)

    # --- reading

    def view(self, info: ArrayInfo) -> np.ndarray[Any, Any]:
        """A read-only view of a sealed array, zero-copy (small arrays: a copy).

        Raises
        ------
        ArrayNotFound, CorruptArray, TooManyViews
        """
        from outlive.arrays.views import live_view

        view = live_view(info.id)
        if view is not None:
            return view
        try:
            return self._open(info.id, info)[1]
        except FileNotFoundError:
            raise self.not_found(info) from None

    def not_found(self, info: ArrayInfo, why: str | None = None) -> ArrayNotFound:
        """What to say of an array that is not there. `why`: what another node knows of its end."""
        name = f"array {info.key!r} (id {info.id})" if info.key is not None else f"array {info.id}"
        ended = why or self.ended.find(info.id) or "it was deleted, or overwritten by a later put"
        return ArrayNotFound(f"{name} of store {info.store!r} is not there: {ended}")

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

    def _open(self, array_id: str, info: ArrayInfo | None) -> tuple[ArrayInfo, np.ndarray[Any, Any]]:
        from outlive.arrays.views import open_view

        disk = self.disk
        if disk is None:
            return open_view(f"{self.mem}/{array_id}", info)
        on_disk = f"{disk.mem}/{array_id}"
        if array_id in self._seen_on_disk:  # it will be there still, and a look that fails takes a while
            try:
                return open_view(on_disk, info, self._read_again)
            except FileNotFoundError:
                self._seen_on_disk.discard(array_id)
        try:  # as `somewhere` does, and faster: who reads what was spilled waits for this
            return open_view(f"{self.mem}/{array_id}", info)
        except FileNotFoundError:
            pass
        try:
            found = open_view(on_disk, info, self._read_again)
        except FileNotFoundError:  # it may have gone the other way between the two
            again = self._read_again
            return self.somewhere(
                array_id, lambda path: open_view(path, info, again if self._is_on_disk(path) else None)
            )
        if len(self._seen_on_disk) >= _MARKS:
            self._seen_on_disk.clear()
        self._seen_on_disk.add(array_id)
        return found

    def _read_again(self, path: str) -> None:
        """An array on disk is read once more, soon after another read: the keeper may bring it back to memory."""
        array_id = os.path.basename(path)
        if array_id not in self._marked:
            if len(self._marked) >= _MARKS:
                self._marked.clear()
            self._marked.add(array_id)
            with contextlib.suppress(OSError):
                os.close(os.open(f"{self.hot}/{array_id}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))

    def named(self, store: str, key: str) -> np.ndarray[Any, Any] | None:
        """The view of a key's array, if its name on this shelf leads to it; else ask the catalog.

        Raises
        ------
        CorruptArray, TooManyViews
        """
        from outlive.arrays.views import live_view

        if self.ledger.batches:
            return None
        info = self.names.remembered(store, key)
        if info is not None:
            view = live_view(info.id)
            if view is not None:
                return view
        found = self.names.look_up(store, key)
        if found is None:
            return None
        array_id, counter, generation = found
        try:
            info, view = self._open(array_id, info if info is not None and info.id == array_id else None)
        except FileNotFoundError:
            return None
        if info.id != array_id or info.store != store or info.key != key:
            return None
        self.names.remember(info, counter, generation)
        return view

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

    # --- ending

    def delete(self, array_id: str, name: tuple[str, str] | None = None) -> bool:
        """Delete an array (or its draft); False if there is none. Views that are open stay valid.

        Parameters
        ----------
        name
            Store and key, if its key is deleted with it.
        """
        if views := sys.modules.get("outlive.arrays.views"):  # the keeper has no views, and does not load numpy
            views.forget(array_id)
        with self.ledger.locked():  # so that nobody seals the draft between the two places
            if name is not None:
                self.names.remove(*name, array_id)
            disk = self.disk
            spilled = disk is not None and disk.release(array_id)
            gone = self._release(array_id) or spilled or any(self._unlink(path) for path in self._drafts(array_id))
        if spilled and disk is not None:
            disk.pool.trim()
        return gone

    def _release(self, array_id: str) -> bool:
        """Take a sealed segment out of mem/: to the pool, unless it is too small for that. False if there is none."""
        path = f"{self.mem}/{array_id}"
        try:
            found = os.lstat(path)
        except OSError as error:
            if error.errno in _NO_SUCH_FILE:
                return False
            raise
        if found.st_size <= segment.COPY_BELOW or not stat.S_ISREG(found.st_mode):
            return self._unlink(path)
        if stat.S_IMODE(found.st_mode) != PRIVATE:
            os.chmod(path, PRIVATE)  # no marks for whoever writes it next
        self.pool.add(path, array_id, found.st_size)
        return True

    def _unlink(self, path: str) -> bool:
        with self.ledger.locked():
            aside = self._set_aside(path)
            if aside is None:
                return self._unlink_counted(path)
        try:
            empty_if_unread(aside)  # while the ledger is not locked, as it takes a while
        finally:
            self._unlink_counted(aside)
        return True

    def _set_aside(self, path: str) -> str | None:
        """Give a large draft a name by which nobody seals it, so that no array is emptied; None if it keeps its name.

        A reader, or the keeper, seals a draft that the catalog lists, and a dead writer's call can reach the catalog
        late. The new name is a copy's: the keeper removes it if this process dies. The caller holds the ledger's lock.
        """
        try:
            found = os.lstat(path)
            if found.st_size < LEAST or not stat.S_ISREG(found.st_mode):
                return None
            aside = f"{os.path.dirname(path)}/{os.urandom(16).hex()}{disks.COPY}"
            self.ledger.files_changed()
            os.rename(path, aside)
        except FileNotFoundError:
            return None
        except OSError:  # a disk can be too full for another name: nobody seals it while the ledger is locked
            empty_if_unread(path)
            return None
        return aside

    def _unlink_counted(self, path: str) -> bool:
        with self.ledger.locked():
            account = self.ledger.disk if self._is_on_disk(path) else self.ledger
            try:
                with account.counting(path, before=segment.pages(os.lstat(path).st_size), after=0):
                    os.unlink(path)
            except OSError as error:
                if error.errno in _NO_SUCH_FILE:
                    return False
                raise
        return True

    def raise_epoch(self) -> int:
        """Start a new epoch: what an earlier catalog listed can no longer be sealed."""
        return self.ledger.raise_epoch()

    def leave(self, nothing_kept: Callable[[], bool]) -> bool:
        """Remove the shelf if nothing is kept on it, and nobody writes to it; whether that was so."""
        with self.ledger.locked():
            writers = [f"{place.new}/{name}" for place in self.places() for name in names_in(place.new)]
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
        removed = f"{self.path}.{os.urandom(4).hex()}.removed"
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


def read_info_at(path: str, array_id: str) -> ArrayInfo:
    """What the footer of the segment at `path` says, which must be that of this array.

    Raises
    ------
    FileNotFoundError, CorruptArray
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(path) from None
    except OSError as error:
        raise CorruptArray(f"{path} cannot be opened ({error.strerror}); a link is refused") from None
    try:
        info = segment.read_info(fd, path)
        if info.id != array_id:
            raise CorruptArray(f"{path} holds array {info.id}: somebody renamed it")
        return info
    except CorruptArray:
        if segment.is_at(path, fd):
            raise
        raise FileNotFoundError(path) from None  # deleted, and being made into another, as we looked
    finally:
        os.close(fd)
