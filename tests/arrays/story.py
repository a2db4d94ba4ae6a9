"""A story for full file systems: puts, spills, promotions, deletions, and what must be there, whatever failed."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from outlive.arrays import segment
from outlive.arrays.draft import Draft
from outlive.arrays.ended import Why
from outlive.arrays.live import forget
from outlive.arrays.reader import Reader
from outlive.arrays.shelf import Shelf
from outlive.arrays.spill.move import NoRoomOnDisk, promote, spill
from outlive.arrays.spill.room import promote_hot, spill_ahead
from outlive.arrays.tend.fsck import check
from outlive.arrays.writer import Writer, mapped
from outlive.errors import StoreFull
from tests.arrays.summing import compute_checksums

from .conftest import MIB
from .local_store import assert_counted

COUNT = MIB // 2 // 8
Expected = dict[str, int]


class Story:
    """Puts, spills, promotes and deletes; `expected` has what must be there, whichever step failed."""

    def __init__(self, folder: Path) -> None:
        self.shelf = Shelf(str(folder / "memory" / "shelf"), budget=2 * MIB + MIB // 4)
        self.shelf.spill_to(str(folder / "disk" / "shelf"))
        self.shelf.ledger.disk.budget = 12 * MIB
        self.expected: Expected = {}
        self.ended: dict[str, int] = {}
        self.failures = 0

    def run(self) -> None:
        for number in range(6):  # more than memory holds
            self.put(number)
        self.put(6, 5 * COUNT)  # more than memory could hold
        self.create(7)
        self.create(8, 5 * COUNT)
        self.put(9, key="a")
        self.put(10, key="a")
        self.put(11, 100)
        for array_id in list(self.expected):
            self.move(spill, array_id)
        for array_id in list(self.expected)[:3]:
            self.move(promote, array_id)
        for array_id in list(self.expected)[:2]:
            self.delete(array_id)
        with self.failing():
            spill_ahead(self.shelf)
        for array_id in self.shelf.spilled()[:2]:
            Reader(self.shelf)._read_again(array_id)
        with self.failing():
            promote_hot(self.shelf)
        self.put(12)
        self.end(next(iter(self.expected), None))
        self.put(13, COUNT * 5 // 4)  # in a segment that was deleted, made longer

    def compute_checksums(self) -> None:
        with self.failing():
            compute_checksums(self.shelf, older_than=-1)

    @contextlib.contextmanager
    def failing(self) -> Any:
        try:
            yield
        except (StoreFull, NoRoomOnDisk):
            self.failures += 1
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            self.failures += 1

    def put(self, number: int, count: int = COUNT, key: str | None = None) -> None:
        try:
            info = Writer(self.shelf).put(np.full(count, number, "i8"), key=key)
        except StoreFull:  # and nothing else
            self.failures += 1
        else:
            self.expected[info.id] = number

    def create(self, number: int, count: int = COUNT) -> None:
        info = segment.describe("'<i8'", (count,), 8 * count, fortran=False, store="default", key=None, version=1)
        try:
            draft = Draft.make(self.shelf, info)
        except StoreFull:
            self.failures += 1
            return
        try:
            mapped(draft)[:] = number
            draft.detach()
            draft.seal()
            self.expected[info.id] = number
        except (StoreFull, OSError):
            self.failures += 1
            draft.discard()

    def move(self, how: Any, array_id: str) -> None:
        with self.failing():
            how(self.shelf, self.shelf.disk, array_id)

    def delete(self, array_id: str) -> None:
        """Never fails: a full disk is what makes people delete."""
        assert self.shelf.delete(array_id)
        del self.expected[array_id]

    def end(self, array_id: str | None) -> None:
        """As the keeper does it: written down first, if there is room for that, and then deleted in any case."""
        if array_id is not None:
            self.ended[array_id] = time.time_ns()
            with self.failing():
                self.shelf.ended.add([self.shelf.info(array_id)], Why.TTL, self.ended[array_id])
            self.delete(array_id)

    def verify(self) -> None:
        """All that was put is there, nothing else is, and all is counted. In the end nothing is there."""
        for tier in self.shelf.tiers.all():
            assert [name for folder in Path(tier.new).iterdir() for name in os.listdir(folder)] == []
        assert_counted(self.shelf)
        assert set(self.shelf.ids()) == set(self.expected)
        for array_id, number in self.expected.items():
            info = self.shelf.info(array_id)
            forget(array_id)
            assert (Reader(self.shelf).view(info) == number).all()
            if info.key is not None:
                self.verify_name(info.key)
        for array_id, when in self.ended.items():
            assert self.shelf.ended.find(array_id) in {None, (when, Why.TTL)}
        assert {finding.problem for finding in check(self.shelf)} <= {"double"}
        assert_counted(self.shelf)
        for array_id in list(self.expected):
            self.delete(array_id)
            with pytest.raises(FileNotFoundError):
                self.shelf.info(array_id)
        check(self.shelf)
        assert self.shelf.ledger.used == self.shelf.ledger.disk.used == 0
        assert_counted(self.shelf)

    def verify_name(self, key: str) -> None:
        """It leads to what was put under it, or nowhere, so that the catalog is asked."""
        named = Reader(self.shelf).named("default", key)
        assert named is None or named[0] == max(number for number in self.expected.values() if number in {9, 10})
