"""Checksums: what is recorded, what survives a crash, what is forgotten."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import numpy as np
import pytest

from outlive.arrays.check import compute_checksums
from outlive.arrays.checksums import Checksums, checksum_of
from outlive.arrays.shelf import Shelf


def test_checksums(root: Path) -> None:
    checksums = Checksums(str(root / "checksums"))
    assert checksums.load() == {}
    found = {f"{number:032x}": number for number in range(5)}
    checksums.append(found)
    checksums.append({"f" * 32: 2**32 - 1})
    assert checksums.load() == {**found, "f" * 32: 2**32 - 1}
    checksums.replace({"a" * 32: 1})
    assert checksums.load() == {"a" * 32: 1}
    assert os.listdir(root) == ["checksums"]


@pytest.mark.parametrize("cut", range(1, 20))
def test_checksum_that_a_crash_cut_short(root: Path, cut: int) -> None:
    checksums = Checksums(str(root / "checksums"))
    checksums.append({"a" * 32: 1, "b" * 32: 2})
    os.truncate(root / "checksums", 40 - cut)
    assert checksums.load() == {"a" * 32: 1}
    checksums.append({"c" * 32: 3})
    assert checksums.load() == {"a" * 32: 1, "c" * 32: 3}


def test_checksum_is_of_all_bytes(root: Path) -> None:
    data = np.random.default_rng(1).bytes(3_000_000)
    (root / "file").write_bytes(data)
    assert checksum_of(str(root / "file")) == zlib.crc32(data)
    with pytest.raises(OSError, match="No such file"):
        checksum_of(str(root / "none"))


def test_checksums_of_settled_arrays_only(shelf: Shelf) -> None:
    old, new = shelf.put(np.arange(5)), shelf.put(np.arange(6))
    os.utime(f"{shelf.mem}/{old.id}", (1, 1))
    assert compute_checksums(shelf, older_than=3600) == 1
    assert set(Checksums(f"{shelf.path}/checksums").load()) == {old.id}
    os.utime(f"{shelf.mem}/{new.id}", (1, 1))
    assert compute_checksums(shelf, stop=lambda: True) == 0
    assert compute_checksums(shelf) == 1
    assert compute_checksums(shelf) == 0


def test_checksums_of_deleted_arrays_are_forgotten(shelf: Shelf) -> None:
    checksums = Checksums(f"{shelf.path}/checksums")
    checksums.append({f"{number:032x}": number for number in range(1500)})
    info = shelf.put(np.arange(5))
    compute_checksums(shelf, older_than=-60)
    assert set(checksums.load()) == {info.id}
