"""The ledger: a few numbers that all processes of a node share, and the lock that orders their changes.

The numbers are in a mapped file, so reading one costs nothing. The lock is `flock`: the kernel releases it if its
holder dies.

`counting` changes files and the sum of their bytes together. Even if a process is killed in between, the sum is exact
for the next process that locks the ledger, without a recount. See `intent`.
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
import time
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from io import FileIO
from typing import Any

from outlive.arrays.intent import NUMBER as _NUMBER
from outlive.arrays.intent import SIZE as _INTENT_SIZE
from outlive.arrays.intent import Counting, Intent
from outlive.arrays.layout import ID_LENGTH
from outlive.arrays.lock import FileLock, create, living

_MAGIC = b"ledger 5"
_USED_AND_BUDGET = struct.Struct("@qq")
_SIZE = 4096
_USED, _BUDGET, _EPOCH, _GENERATIONS = 8, 16, 24, 512  # the offset of each number
_DISK_USED, _DISK_BUDGET, _MOVES, _SETTINGS, _BATCHES, _LEFT = 32, 40, 48, 56, 64, 72
_CHANGES, _INTENT, _MOVING, _DEVICE, _ADOPTED = 80, 88, 472, 496, 504
_BY_KEEPER, _BY_PROGRAM = 1, 2  # values at `_LEFT`: what removes the shelf
_NOTHING = -1  # the value at `_DISK_BUDGET` if nothing is to be spilled; 0 if nobody has set it
_OF_AN_ID = ID_LENGTH // 2  # bytes
assert _INTENT + _INTENT_SIZE <= _MOVING
assert _MOVING + _OF_AN_ID <= _DEVICE
_BEGUN = 1 << 24  # one more batch in `_BATCHES`, whose lower bits count those under way
_COUNTERS = (_SIZE - _GENERATIONS) // _NUMBER.size


class Ledger:
    """The ledger in the file `path`, which is created if there is none."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._raised = 0  # how often this process has raised a counter
        self._open()
        _ledgers.add(weakref.ref(self, _ledgers.discard))

    def _open(self) -> None:
        # `FileIO` closes by itself. A finalizer in Python would lose an interrupt.
        self._file = FileIO(self._path, "r+", opener=create)
        self._fd = self._file.fileno()
        with FileLock(self._path, same_as=self._fd).take():
            if os.fstat(self._fd).st_size != _SIZE or os.pread(self._fd, len(_MAGIC), 0) != _MAGIC:
                page = _MAGIC.ljust(_SIZE, b"\0")  # all of it is written: a hole could become a SIGBUS
                if os.pwrite(self._fd, page, 0) != _SIZE:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._map = mmap.mmap(self._fd, _SIZE)
        self._intent = Intent(self._map, _INTENT, os.path.dirname(self._path), (_USED, _DISK_USED))
        self._lock = FileLock(self._path, same_as=self._fd, before=self._intent.take_up, first=self._intent.mend)

    def after_fork(self) -> None:
        """In a forked child: the parent goes on with the change that was under way."""
        self._intent.under_way = False

    def locked(self) -> AbstractContextManager[Any]:
        """Lock the ledger against all other processes and threads of the node: `with ledger.locked():`.

        Raises
        ------
        StoreUnavailable
            Another process holds the lock and does not let go: it is stopped.
        """
        return self._lock.take()

    @property
    def mine(self) -> bool:
        """Whether this thread has the lock. Then nobody else may be waited for who needs it."""
        return self._lock.mine

    def exists(self) -> bool:
        """Whether the file is still there, and still the same."""
        try:
            return os.stat(self._path).st_ino == os.fstat(self._fd).st_ino
        except FileNotFoundError:
            return False

    def _raise(self, offset: int, to: Callable[[int], int] = lambda value: value + 1, step: int = 1) -> None:
        """Raise a counter. The caller holds the lock.

        A signal handler may raise it in between, and remember what it is then. So that value does not come again.
        """
        raised = self._raised
        value = to(self._get(offset))
        _NUMBER.pack_into(self._map, offset, value)
        if raised != self._raised:
            _NUMBER.pack_into(self._map, offset, value + step * (self._raised - raised))
        self._raised += 1

    def _get(self, offset: int) -> int:
        return int(_NUMBER.unpack_from(self._map, offset)[0])

    @property
    def free(self) -> int:
        """Bytes of the budget that are not used; negative if it was lowered since."""
        used, budget = _USED_AND_BUDGET.unpack_from(self._map, _USED)
        return int(budget - used)

    @property
    def used(self) -> int:
        """Bytes that the segments take, sealed or not, in whole pages."""
        return self._get(_USED)

    @used.setter
    def used(self, value: int) -> None:
        _NUMBER.pack_into(self._map, _USED, value)

    def counting(self, *paths: str, before: int, after: int, sum_at: int = _USED) -> Counting:
        """`with ledger.counting(path, before=0, after=4096): ...` changes files and the bytes used as one.

        The caller holds the lock. If the block fails, or is never finished, what the files take then is counted.

        Parameters
        ----------
        paths
            Up to two files that the block makes, removes, renames or resizes.
        before, after
            Bytes that they take together.
        """
        self.files_changed()
        return Counting(self._intent, sum_at, paths, before, after)

    @property
    def changes(self) -> int:
        """A counter: raised before segments come, go or change tiers under the lock, so that a recount notices."""
        return self._get(_CHANGES)

    def files_changed(self) -> None:
        """Raise `changes`. The caller holds the lock."""
        self._raise(_CHANGES)

    @property
    def budget(self) -> int:
        """Bytes that the segments may take; 0 in a new ledger."""
        return self._get(_BUDGET)

    @budget.setter
    def budget(self, value: int) -> None:
        _NUMBER.pack_into(self._map, _BUDGET, value)

    @property
    def epoch(self) -> int:
        """The epoch of the catalog that listed this shelf last: nanoseconds, so that two shelves never have the same.
        See `Shelf.seal`.
        """
        return self._get(_EPOCH)

    @epoch.setter
    def epoch(self, value: int) -> None:
        _NUMBER.pack_into(self._map, _EPOCH, value)

    def raise_epoch(self) -> int:
        """Start a new epoch, and return it."""
        with self.locked():
            self.epoch = max(self.epoch + 1, time.time_ns())
            return self.epoch

    @property
    def disk(self) -> Account:
        """The account of the disk: the bytes used there, and the budget."""
        return Account(self)

    @property
    def moves(self) -> int:
        """A counter: raised before a segment goes from memory to disk or back. A reader that found a segment in
        neither tier looks again if this has changed.
        """
        return self._get(_MOVES)

    def moved(self) -> None:
        """Raise `moves` and `changes`. The caller holds the lock."""
        self.files_changed()
        self._raise(_MOVES)

    @property
    def moving(self) -> str | None:
        """The id of the array that the holder of the lock moves from memory to disk or back. The next holder finds it
        if this one was killed or interrupted: the array may be in both.
        """
        number = self._map[_MOVING : _MOVING + _OF_AN_ID]
        return number.hex() if any(number) else None

    @moving.setter
    def moving(self, array_id: str | None) -> None:
        self._map[_MOVING : _MOVING + _OF_AN_ID] = bytes.fromhex(array_id or "00" * _OF_AN_ID)

    @property
    def settings(self) -> int:
        """A counter: raised when another folder on disk is chosen."""
        return self._get(_SETTINGS)

    def settings_changed(self) -> None:
        """Raise `settings`. The caller holds the lock."""
        self._raise(_SETTINGS)

    @property
    def batches(self) -> int:
        """How many batches are under way; see `batches`."""
        return self._get(_BATCHES) % _BEGUN

    @property
    def batches_begun(self) -> int:
        """A counter: raised by every batch that begins."""
        return self._get(_BATCHES) // _BEGUN

    def begin_batch(self) -> None:
        """Count one more batch. The caller holds the lock."""
        self._raise(_BATCHES, lambda value: value + _BEGUN + 1, _BEGUN)

    def set_batches(self, under_way: int) -> None:
        """Set the number of batches under way. The caller holds the lock."""
        self._raise(_BATCHES, lambda value: value // _BEGUN * _BEGUN + under_way, _BEGUN)

    @property
    def keeper_left(self) -> bool:
        """Whether the shelf was removed because its keeper left the node. A process that needs one starts a new one."""
        return bool(_NUMBER.unpack_from(self._map, _LEFT)[0] == _BY_KEEPER)  # each read asks this

    def leave(self) -> None:
        """Record that the shelf is removed because its keeper leaves."""
        _NUMBER.pack_into(self._map, _LEFT, _BY_KEEPER)

    @property
    def ends(self) -> bool:
        """Whether the program that started this cluster is ending, and removes the shelf."""
        return self._get(_LEFT) == _BY_PROGRAM

    def end(self) -> None:
        """Record that the program that started this cluster is ending."""
        _NUMBER.pack_into(self._map, _LEFT, _BY_PROGRAM)

    @property
    def adopted(self) -> int:
        """Adopted arrays of which the catalog was not told. A keeper that dies leaves this to the next."""
        return self._get(_ADOPTED)

    def note_adopted(self, count: int) -> None:
        """Count so many more; fewer, if the catalog was told. The caller holds the lock."""
        _NUMBER.pack_into(self._map, _ADOPTED, self.adopted + count)

    @staticmethod
    def counter(name: str) -> int:
        """The number of the generation counter of a name (hexadecimal digits, evenly spread)."""
        return int(name[:8], 16) % _COUNTERS

    def generation(self, counter: int) -> int:
        """The value of a generation counter: odd while something that it counts is changed. See `names`."""
        return self._get(_GENERATIONS + _NUMBER.size * counter)

    def change_all(self) -> None:
        """Make all processes distrust what they remember of the shelf. Called before the shelf is removed."""
        for counter in range(_COUNTERS):
            self.change(counter)

    def change(self, counter: int) -> None:
        """Make a generation counter odd, before a change. A process may have been killed after this: it is repeated."""
        self._raise(_GENERATIONS + _NUMBER.size * counter, lambda value: value | 1, 2)

    def changed(self, counter: int) -> None:
        """Make a generation counter even again, and another than before, after a change."""
        self._raise(_GENERATIONS + _NUMBER.size * counter, lambda value: (value | 1) + 1, 2)


class Account:
    """The ledger's account of the disk, with the methods that `Ledger` has for memory."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger, self.locked, self.files_changed = ledger, ledger.locked, ledger.files_changed

    def counting(self, *paths: str, before: int, after: int) -> Counting:
        """The same as `Ledger.counting`, for files on disk."""
        return self._ledger.counting(*paths, before=before, after=after, sum_at=_DISK_USED)

    @property
    def used(self) -> int:
        """Bytes that the segments on disk take, in whole pages."""
        return self._ledger._get(_DISK_USED)  # noqa: SLF001

    @used.setter
    def used(self, value: int) -> None:
        _NUMBER.pack_into(self._ledger._map, _DISK_USED, value)  # noqa: SLF001

    @property
    def budget(self) -> int:
        """Bytes that the segments may take on disk; 0 if nothing is to be spilled."""
        return max(0, self._ledger._get(_DISK_BUDGET))  # noqa: SLF001

    @budget.setter
    def budget(self, value: int) -> None:
        _NUMBER.pack_into(self._ledger._map, _DISK_BUDGET, value or _NOTHING)  # noqa: SLF001

    @property
    def device(self) -> int:
        """The number of the device that the shelf spills to; 0 if it is not known."""
        return self._ledger._get(_DEVICE)  # noqa: SLF001

    @device.setter
    def device(self, value: int) -> None:
        _NUMBER.pack_into(self._ledger._map, _DEVICE, value)  # noqa: SLF001

    @property
    def is_set(self) -> bool:
        """Whether somebody has set the budget. A keeper that adopts a shelf with a disk chooses one and sets none."""
        return self._ledger._get(_DISK_BUDGET) != 0  # noqa: SLF001

    def unset(self) -> None:
        """Forget the budget, as if nobody had set it."""
        _NUMBER.pack_into(self._ledger._map, _DISK_BUDGET, 0)  # noqa: SLF001

    @property
    def free(self) -> int:
        """Bytes of the budget that are not used."""
        return self.budget - self.used


_ledgers: set[weakref.ref[Ledger]] = set()


def _after_fork() -> None:
    for ledger in living(_ledgers):
        ledger.after_fork()


os.register_at_fork(after_in_child=_after_fork)
