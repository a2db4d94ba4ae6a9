"""Parts: other processes fill a draft, each a part of it. Its owner seals it once none of them is writing.

A draft that others may fill has a *gate* beside it, an empty file. A writer of a part holds the gate's shared lock from
before it opens the draft until it has closed it. The owner first unlinks the gate: from then on no part begins. Then it
waits for the exclusive lock: now no process has the draft open to write, and none will. Only after that is the draft
completed and sealed. The kernel releases the lock of a writer that is killed.

A part is written by `write(2)` and never mapped: no writable memory outlives the call that writes the part. Where a
draft is discarded, its file is unlinked and never written again for another array. A writer that was stopped meanwhile
writes its current piece to a file without a name, and then sees that it has none.

This module knows bytes and no numpy, because keepers write the parts that come from other nodes.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Iterable, Iterator
from io import FileIO
from typing import TYPE_CHECKING, NamedTuple

from outlive.arrays.full import explain
from outlive.arrays.layout import GATE, PRIVATE
from outlive.arrays.lock import SHARED, holder_of, is_at, opened, try_lock
from outlive.errors import CreationEnded, StoreUnavailable

if TYPE_CHECKING:
    from outlive.arrays.info import ArrayInfo
    from outlive.arrays.shelf import Shelf

PIECE = 4 << 20  # bytes that are written at a time: as much as a writer may write after the draft was discarded
PATIENCE = 60.0  # seconds to wait for the parts that are being written when a draft is sealed
_FIRST_PAUSE, _LONGEST_PAUSE = 20e-6, 10e-3  # seconds between two looks


class Region(NamedTuple):
    """The bytes of a part: runs of the same length, which are `steps` apart, the last of these first."""

    begin: int  # of the first run: bytes behind the beginning of the data
    run: int  # bytes of each run
    steps: tuple[tuple[int, int], ...] = ()  # outermost first: how many there are, and the bytes from one to the next

    @property
    def nbytes(self) -> int:
        return self.run * math.prod(count for count, _ in self.steps)

    def is_within(self, nbytes: int) -> bool:
        """Whether all of it lies in so many bytes of data."""
        reach = [(count - 1) * step for count, step in self.steps]
        low = self.begin + sum(one for one in reach if one < 0)
        high = self.begin + self.run + sum(one for one in reach if one > 0)
        return not self.nbytes or (low >= 0 and self.run > 0 and high <= nbytes)

    def spans(self, begin: int, end: int) -> Iterator[tuple[int, int]]:
        """Where bytes `begin` to `end` of the part lie in the data: offset and length of each run of them."""
        if begin >= end:
            return
        number, skipped = divmod(begin, self.run)
        inner, step = self.steps[-1] if self.steps else (1, 0)
        while True:
            left, nth = divmod(number, inner)
            first = self.begin
            for count, outer in reversed(self.steps[:-1]):
                left, index = divmod(left, count)
                first += index * outer
            for index in range(nth, inner):
                length = min(self.run - skipped, end - begin)
                yield first + index * step + skipped, length
                begin, skipped = begin + length, 0
                if begin >= end:
                    return
            number += inner - nth


class Gate:
    """The gate of the draft at `path`. Only the draft's owner opens and closes it."""

    def __init__(self, path: str) -> None:
        self._path = path + GATE

    def open(self) -> None:
        """Let other processes write parts. Raises OSError."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        os.close(os.open(self._path, flags, PRIVATE))

    def close(self) -> None:
        """Let no part begin any more, and wait for those that are being written.

        Raises
        ------
        StoreUnavailable
            A process goes on writing a part for too long: it may be stopped. No part can begin all the same.
        """
        try:
            with opened(self._path) as file:
                os.unlink(self._path)
                self._wait(file.file)
        except FileNotFoundError:
            raise StoreUnavailable(
                f"somebody removed {self._path} while the array was created; create it again"
            ) from None

    def _wait(self, file: FileIO) -> None:
        deadline, pause = time.monotonic() + PATIENCE, _FIRST_PAUSE
        while not try_lock(file):
            if time.monotonic() > deadline:
                raise StoreUnavailable(
                    f"{holder_of(file.fileno())} is still writing a part of the array, {PATIENCE:.0f} s after the "
                    "block of create() has ended: it is stopped or hangs. The array was discarded. Wait for all tasks "
                    "that write parts (ray.get) before the block ends, and create the array again"
                )
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def remove(self) -> None:
        """Let no part begin any more. Parts that are being written go to a draft that is about to be discarded."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(self._path)


def write(shelf: Shelf, info: ArrayInfo, region: Region, pieces: Iterable[memoryview], begin: int = 0) -> None:
    """Write bytes of a part to the draft of `info`, which its owner is creating on `shelf`.

    Several processes may write at once. Where parts overlap, the last to be written wins.

    Parameters
    ----------
    pieces
        The bytes, in the order of `region`, in pieces of about `PIECE` bytes.
    begin
        Where they begin in the part.

    Raises
    ------
    CreationEnded
        It is stored or discarded. Some pieces may have been written before it was discarded.
    ValueError
        The region is not within the array's data.
    StoreFull
        The file system has no room. That of memory is allocated when the draft is made.
    """
    if not region.is_within(info.nbytes):
        raise ValueError(f"{region} is not within the {info.nbytes} bytes of {name(info)}")
    path = next((path for path in shelf.tiers.drafts(info.id) if os.path.lexists(path + GATE)), None)
    try:
        if path is None:
            raise FileNotFoundError(info.id)
        with opened(path + GATE) as gate:
            if not try_lock(gate, SHARED) or not is_at(path + GATE, gate.fileno()):
                raise FileNotFoundError(path)
            with opened(path) as file:
                _write(file.file, info, region, pieces, begin)
    except FileNotFoundError:
        raise ended(shelf, info) from None
    except OSError as error:
        raise explain(shelf, error, info.size) from None


def _write(file: FileIO, info: ArrayInfo, region: Region, pieces: Iterable[memoryview], begin: int) -> None:
    # A signal handler may fork: the child then has the file closed, and `FileIO` refuses to write, whereas
    # `os.pwrite` would write to whatever has the descriptor's number there.
    for piece in pieces:
        status = os.fstat(file.fileno())
        if not status.st_nlink or status.st_size != info.size:
            raise FileNotFoundError(info.id)  # it was discarded
        done = 0
        for offset, length in region.spans(begin, begin + len(piece)):
            file.seek(info.offset + offset)
            until = done + length
            while done < until:
                done += file.write(piece[done:until]) or 0
        begin += done


def ended(shelf: Shelf, info: ArrayInfo) -> CreationEnded | StoreUnavailable:
    """The error for a part that comes too late."""
    if not shelf.exists():
        return shelf.gone()
    if shelf.has(info.id):
        why = (
            "is stored already, and does not change any more: the block of create() has ended. Let it end after all "
            "tasks that write parts (ray.get); to change what is stored, put another array under its key"
        )
    else:
        why = (
            "is not being created any more: the block of create() raised an error, the process that ran it died, or "
            "the array was stored and has been deleted. Create it again, and write all parts"
        )
    return CreationEnded(f"{name(info)} {why}")


def name(info: ArrayInfo) -> str:
    """The array, as messages name it."""
    return f"array {info.key!r}" if info.key is not None else f"array {info.id}"
