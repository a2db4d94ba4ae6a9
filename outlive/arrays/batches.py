"""Batches: several keys that change as one.

The catalog lists the arrays of a batch in one step, but their names turn one after the other. So while a batch is under
way on a shelf, its readers do not trust names: they ask the catalog. If a writer is killed in between, its marker stays
in its folder in new/, and the batch stays under way, until the keeper has sealed the arrays that the catalog listed.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
from typing import TYPE_CHECKING

from outlive.arrays.layout import BATCH, PRIVATE
from outlive.arrays.remains import Remains

if TYPE_CHECKING:
    from outlive.arrays.shelf import Shelf


class Batch:
    """A batch of this process. `begin` it before the catalog lists its drafts, `end` it when all are sealed or gone."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf, self._pid = shelf, os.getpid()
        self._marker = f"{shelf.staging()}/{secrets.token_hex(8)}{BATCH}"
        self._remains = Remains(self, functools.partial(_end, shelf, self._marker))

    def begin(self) -> None:
        with self._shelf.ledger.locked():
            self._shelf.ledger.begin_batch()  # first: if there is a marker, its batch was counted
            os.close(
                os.open(self._marker, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE)
            )

    def end(self) -> None:
        """End the batch, if it has begun and not ended yet. A forked child leaves that to its parent."""
        if self._pid == os.getpid():
            _end(self._shelf, self._marker)
            self._remains.settled()


def _end(shelf: Shelf, marker: str) -> None:
    with shelf.ledger.locked():
        try:
            os.unlink(marker)
        except FileNotFoundError:  # this or `begin` was interrupted before, or the shelf was removed
            with contextlib.suppress(FileNotFoundError):
                recount(shelf)
        else:
            shelf.ledger.set_batches(max(0, shelf.ledger.batches - 1))


def recount(shelf: Shelf) -> None:
    """Set the number of batches under way to the number of markers: their writers may have died."""
    with shelf.ledger.locked():
        if shelf.ledger.batches:
            folders = (f"{shelf.new}/{name}" for name in os.listdir(shelf.new))
            shelf.ledger.set_batches(sum(_markers(folder) for folder in folders))


def _markers(folder: str) -> int:
    try:
        return sum(name.endswith(BATCH) for name in os.listdir(folder))
    except OSError:
        return 0
