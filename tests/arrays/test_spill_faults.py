"""No space left, or a quota exceeded, in memory or on disk, at every single call that could say so.

Whatever fails: nothing that was put is lost, what was not put leaves nothing behind, and the accounts stay right.
"""

from __future__ import annotations

import errno
import gc
import itertools
import random
import sys
from pathlib import Path

import numpy as np
import pytest

from outlive.arrays import segment
from outlive.arrays.ledger import Ledger
from outlive.arrays.reader import Reader
from outlive.arrays.shelf import Shelf
from outlive.arrays.tend.checksums import Checksums
from outlive.arrays.tend.fsck import check
from outlive.arrays.writer import Writer
from outlive.errors import ArrayNotFound
from tests.long import SHORT

from .faults import faults
from .story import Story

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds files by /proc")


FULL, QUOTA = errno.ENOSPC, errno.EDQUOT


@pytest.mark.parametrize(
    ("where", "ever", "number"),
    [
        ("memory", False, FULL),
        ("disk", False, FULL),
        ("memory", True, FULL),
        ("disk", True, FULL),
        ("memory and disk", True, FULL),
        ("memory and disk", True, QUOTA),  # one set, NO_ROOM in shelf.py, tells both from other errors
    ],
    ids=[
        *("memory, once", "disk, once", "memory, from then on", "disk, from then on", "both, from then on"),
        "both, from then on, a quota",
    ],
)
def test_at_every_call(root: Path, where: str, *, ever: bool, number: int) -> None:
    failures = 0
    first, step = (random.randrange(1, 4), 3) if SHORT else (1, 1)  # every call in the longer forms
    for fail_at in itertools.count(first, step):
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
        Reader(story.shelf).view(
            segment.describe("'<i8'", (1,), 8, fortran=False, store="default", key=None, version=1)
        )


def test_the_check_needs_no_room(root: Path) -> None:
    shelf = Shelf(str(root / "shelf"))
    info = Writer(shelf).put(np.arange(10_000))
    with faults(str(root), 1, errno.ENOSPC, ever=True) as shim:
        assert check(shelf) == []
    assert shim.calls
    assert set(Checksums(f"{shelf.path}/checksums").load()) == set()
    assert check(shelf) == []
    assert set(Checksums(f"{shelf.path}/checksums").load()) == {info.id}


def test_a_ledger_without_room_closes_its_file_once(root: Path) -> None:
    """By the second time, the number is that of another's file."""
    with faults(str(root), 2, errno.ENOSPC), pytest.raises(OSError, match="No space") as caught:
        Ledger(str(root / "ledger"))
    with (root / "other").open("w") as other:
        caught.value.__traceback__ = None
        del caught
        gc.collect()
        other.write("still open")
    assert (root / "other").read_text() == "still open"
