"""The disk becomes read-only in the midst of a move, as Linux has a file system with errors do."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from outlive.arrays.layout import SHELF
from outlive.arrays.reader import Reader
from outlive.arrays.shelf import Shelf
from outlive.arrays.spill.move import promote, spill
from outlive.arrays.tend.fsck import check
from outlive.arrays.writer import Writer
from outlive.cluster.tending import Tending

from .conftest import MIB
from .local_store import assert_counted


def refuse(patch: pytest.MonkeyPatch, folder: str, *calls: str) -> None:
    """Have these functions of `os` refuse to change anything below this folder."""

    def refusing(real: Callable[..., Any]) -> Callable[..., Any]:
        def change(path: Any, *arguments: Any, **named: Any) -> Any:
            flags = arguments[0] if real is opens else os.O_RDWR
            if str(path).startswith(folder) and flags & (os.O_RDWR | os.O_WRONLY):
                known = real is opens and flags & os.O_EXCL and os.path.lexists(path)
                number = errno.EEXIST if known else errno.EROFS
                raise OSError(number, os.strerror(number), path)
            return real(path, *arguments, **named)

        return change

    opens = os.open
    for call in calls:
        patch.setattr(os, call, refusing(getattr(os, call)))


@pytest.fixture
def shelf(root: Path) -> Shelf:
    shelf = Shelf(str(root / "shelf"), budget=64 * MIB)
    shelf.spill_to(str(root / "disk"))
    shelf.ledger.disk.budget = 64 * MIB
    return shelf


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("count", [1000, MIB])
def test_the_rounds_of_the_keeper_go_on(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, count: int, signed: bool
) -> None:
    """An array in both tiers, or a disk without the file that says whose it is, made each of them fail."""
    infos, disk = [Writer(shelf).put(np.full(count, value, np.uint8)) for value in range(2)], shelf.disk
    assert disk is not None
    assert min([spill(shelf, disk, info.id) for info in infos])
    if not signed:  # an earlier version has chosen it
        os.unlink(f"{disk.path}/{SHELF}")
    with monkeypatch.context() as patch:
        refuse(patch, disk.path, "rename", "unlink", "chmod")
        assert promote(shelf, disk, infos[0].id)
        refuse(patch, disk.path, "open", "mkdir")
        tending = Tending(shelf, "node", None)  # type: ignore[arg-type]
        tending.balance()
        tending.trim()
        assert [Reader(shelf).view(info)[0] for info in infos] == [0, 1]
    assert {defect.problem for defect in check(shelf)} == {"double"}
    assert shelf.spilled() == [infos[1].id]
    assert_counted(shelf)
