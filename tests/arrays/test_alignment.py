"""Where a segment's data begins: on a page if it is mapped, at 64 bytes if it is copied. Older files are read too."""

from __future__ import annotations

import json
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from outlive.arrays.draft import Draft
from outlive.arrays.info import new_id, new_version
from outlive.arrays.lifetimes import DETACHED
from outlive.arrays.live import forget
from outlive.arrays.reader import Reader
from outlive.arrays.segment import COPY_BELOW, PAGE, read_info_at
from outlive.arrays.shelf import Shelf
from outlive.arrays.spill.move import promote, spill
from outlive.arrays.tend.adopt import adopt
from outlive.arrays.writer import Writer, fill

from .test_adopt import shelf_of

Array = np.ndarray[Any, Any]
MIB = 1 << 20


def address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


@pytest.mark.parametrize("count", [COPY_BELOW - 350, COPY_BELOW, COPY_BELOW + 1, 300_000, 2 * MIB])
@pytest.mark.parametrize("again", [False, True], ids=["fresh", "recycled"])
def test_mapped_data_begins_on_a_page(shelf: Shelf, count: int, *, again: bool) -> None:
    array = np.random.default_rng(0).integers(0, 256, count, "u1")
    if again:
        for _ in range(2):
            shelf.delete(Writer(shelf).put(array).id)
    info = Writer(shelf).put(array)
    view = Reader(shelf).view(info)
    assert np.array_equal(view, array)
    assert np.array_equal(np.load(f"{shelf.mem}/{info.id}", mmap_mode="r"), array)
    if info.size > COPY_BELOW:
        assert (info.offset, address(view) % PAGE) == (PAGE, 0)
    else:
        assert info.offset % 64 == 0
        assert info.offset < 256


@pytest.mark.parametrize("fields", [60, 150, 250, 2000])
def test_a_header_that_numpy_still_reads(shelf: Shelf, fields: int) -> None:
    """NumPy refuses headers of more than 10,000 bytes unless told: padding makes no header one of those."""
    array = np.zeros(40_000 // fields, [(f"a_long_name_of_a_field_{i:04}", "f8") for i in range(fields)])
    info = Writer(shelf).put(array)
    assert info.offset % 64 == 0
    if info.offset <= 10_000:
        assert len(np.load(f"{shelf.mem}/{info.id}")) == len(array)
    assert Reader(shelf).view(info).dtype == array.dtype


# --- files of versions that padded every header to 64 bytes


def put_as_before(shelf: Shelf, array: Array, key: str) -> str:
    """A sealed segment as those versions wrote it, byte for byte; its id."""
    text = f"{{'descr': '{array.dtype.str}', 'fortran_order': False, 'shape': {array.shape}, }}"
    text += " " * (-(10 + len(text) + 1) % 64) + "\n"
    head = b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode()
    array_id, version = new_id(DETACHED.suffix), new_version()
    about = {"kind": "array", "store": "default", "dtype": repr(array.dtype.str), "shape": array.shape,
             "fortran": False, "offset": len(head), "nbytes": array.nbytes, "id": array_id, "key": key,
             "version": version}  # fmt: skip
    foot = json.dumps(about, separators=(",", ":")).encode()
    trailer = struct.pack("<II16s8s", len(foot), zlib.crc32(head + foot), bytes.fromhex(array_id), b"outlive1")
    path = f"{shelf.mem}/{array_id}"
    Path(path).write_bytes(head + array.tobytes() + foot + trailer)
    os.chmod(path, 0o600)
    info = read_info_at(path, array_id)
    with shelf.ledger.locked():
        shelf.names.point(info, shelf.has)
    shelf.recount()
    return array_id


ARRAY = np.arange(100_000)


def test_an_older_segment_is_read(shelf: Shelf) -> None:
    array_id = put_as_before(shelf, ARRAY, "k")
    info = shelf.info(array_id)
    assert info.offset == 128
    assert np.array_equal(Reader(shelf).view(info), ARRAY)
    forget(array_id)
    named = Reader(shelf).named("default", "k")
    assert named is not None
    assert np.array_equal(named, ARRAY)


def test_an_older_segment_goes_to_disk_and_back(root: Path) -> None:
    shelf = Shelf(str(root / "shelf"), budget=64 * MIB)
    shelf.spill_to(str(root / "disk"))
    assert shelf.disk is not None
    shelf.ledger.disk.budget = 64 * MIB
    array_id = put_as_before(shelf, ARRAY, "k")
    assert spill(shelf, shelf.disk, array_id)
    assert shelf.spilled() == [array_id]
    assert promote(shelf, shelf.disk, array_id)
    assert shelf.spilled() == []
    assert np.array_equal(Reader(shelf).view(shelf.info(array_id)), ARRAY)


def test_an_older_segment_is_adopted(root: Path) -> None:
    old, new = shelf_of(root, "one", "dead"), shelf_of(root, "one", "new")
    array_id = put_as_before(old, ARRAY, "k")
    assert adopt(new, old.path, same_cluster=True) == 1
    assert np.array_equal(Reader(new).view(new.info(array_id)), ARRAY)


def test_a_draft_of_an_older_layout_is_written_as_it_is_described(shelf: Shelf) -> None:
    info = shelf.info(put_as_before(shelf, ARRAY, "k"))
    shelf.delete(info.id)
    draft = Draft.make(shelf, info)
    fill(draft, ARRAY)
    draft.restamp(info.version + 1)
    draft.seal()
    assert shelf.info(info.id) == info._replace(version=info.version + 1)
    assert np.array_equal(Reader(shelf).view(draft.info), ARRAY)
