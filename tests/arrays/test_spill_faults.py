"""No space left, or a quota exceeded, in memory or on disk, at every single call that could say so.

Whatever fails: nothing that was put is lost, what was not put leaves nothing behind, and the accounts stay right.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from outlive.arrays import segment
from outlive.arrays.check import check
from outlive.arrays.move import NoRoomOnDisk, promote, spill
from outlive.arrays.room import promote_hot, spill_ahead
from outlive.arrays.shelf import Shelf
from outlive.arrays.views import forget
from outlive.errors import ArrayNotFound, StoreFull

from .conftest import MIB
from .faults import faults
from .local_store import assert_counted

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds files by /proc")
COUNT = MIB // 2 // 8
Expected = dict[str, int]


class Story:
    """Puts, spills, promotes and deletes; `expected` has what must be there, whichever step failed."""

    def __init__(self, folder: Path) -> None:
        self.shelf = Shelf(str(folder / "memory" / "shelf"), budget=2 * MIB + MIB // 4)
        self.shelf.spill_to(str(folder / "disk" / "shelf"))
        self.shelf.ledger.disk.budget = 12 * MIB
        self.expected: Expected = {}
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
            self.shelf._read_again(array_id)
        with self.failing():
            promote_hot(self.shelf)
        self.put(12)

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
            info = self.shelf.put(np.full(count, number, "i8"), key=key)
        except StoreFull:  # and nothing else
            self.failures += 1
        else:
            self.expected[info.id] = number

    def create(self, number: int, count: int = COUNT) -> None:
        info = segment.describe("'<i8'", (count,), 8 * count, fortran=False, store="default", key=None, version=1)
        try:
            draft = self.shelf.draft(info)
        except StoreFull:
            self.failures += 1
            return
        try:
            draft.map()[:] = number
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

    def verify(self) -> None:
        """All that was put is there, nothing else is, and all is counted."""
        for place in self.shelf.places():
            assert [name for folder in Path(place.new).iterdir() for name in os.listdir(folder)] == []
        assert_counted(self.shelf)
        assert set(self.shelf.ids()) == set(self.expected)
        for array_id, number in self.expected.items():
            info = self.shelf.info(array_id)
            forget(array_id)
            assert (self.shelf.view(info) == number).all()
            if info.key is not None:
                self.verify_name(info.key)
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
        named = self.shelf.named("default", key)
        assert named is None or named[0] == max(number for number in self.expected.values() if number in {9, 10})


@pytest.mark.parametrize("ever", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT], ids=["ENOSPC", "EDQUOT"])
@pytest.mark.parametrize("where", ["memory", "disk", "memory and disk"])
def test_at_every_call(root: Path, where: str, number: int, *, ever: bool) -> None:
    failures = 0
    for fail_at in itertools.count(1):
        folder = root / str(fail_at)
        folder.mkdir()
        story = Story(folder)
        with faults(str(folder if where == "memory and disk" else folder / where), fail_at, number, ever=ever) as shim:
            story.run()
        story.verify()
        failures += story.failures
        if shim.calls < fail_at:  # there is no such call any more
            break
    assert fail_at > 30  # or it has proved little
    assert failures > 0 or not ever


def test_without_faults(root: Path) -> None:
    story = Story(root)
    story.run()
    assert story.failures == 0
    assert len(story.expected) == 11
    story.verify()
    with pytest.raises(ArrayNotFound):
        story.shelf.view(segment.describe("'<i8'", (1,), 8, fortran=False, store="default", key=None, version=1))
