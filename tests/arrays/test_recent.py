"""Small arrays that a process has just read are read again without their files, and never when they are stale."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from outlive.arrays import reader as reading
from outlive.arrays import recent
from outlive.arrays.info import ArrayInfo
from outlive.arrays.layout import CACHED
from outlive.arrays.marks import evict, mark
from outlive.arrays.reader import Reader
from outlive.arrays.recent import Recent
from outlive.arrays.segment import COPY_BELOW
from outlive.arrays.shelf import Shelf
from outlive.arrays.writer import Writer
from outlive.errors import ArrayNotFound, BadSetting, CorruptArray

Array = np.ndarray[Any, Any]
STORE = "default"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are opened to be read."""
    opened, open_view = list[str](), reading.open_view

    def counted(path: str, *args: Any) -> tuple[ArrayInfo, Array]:
        opened.append(path)
        return open_view(path, *args)

    monkeypatch.setattr(reading, "open_view", counted)
    return opened


@pytest.fixture
def reader(shelf: Shelf) -> Reader:
    return Reader(shelf)


def named(reader: Reader, key: str = "k") -> list[int] | None:
    """Copied, so that nobody looks at the array from then on."""
    array = reader.named(STORE, key)
    return None if array is None else array.tolist()


def test_a_file_is_opened_once(shelf: Shelf, reader: Reader, opened: list[str]) -> None:
    info = Writer(shelf).put(np.arange(3), key="k")
    assert [named(reader) for _ in range(5)] == [[0, 1, 2]] * 5
    assert [reader.view(info).tolist() for _ in range(5)] == [[0, 1, 2]] * 5
    assert opened == [f"{shelf.mem}/{info.id}"]


@pytest.mark.parametrize("array", [np.zeros((0, 3)), np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.array(5)])
def test_it_is_the_same_and_read_only(shelf: Shelf, reader: Reader, array: Array) -> None:
    Writer(shelf).put(array, key="k")
    for _ in range(2):
        view = reader.named(STORE, "k")
        assert view is not None
        assert (view.shape, view.dtype, view.flags.fnc) == (array.shape, array.dtype, array.flags.fnc)
        assert np.array_equal(view, array)
        with pytest.raises(ValueError, match="WRITEABLE"):
            view.flags.writeable = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # NumPy 2.5 does it still
            view.dtype = array.dtype.newbyteorder()  # nobody else's
        del view


def test_large_ones_are_mapped_each_time(shelf: Shelf, reader: Reader, opened: list[str]) -> None:
    Writer(shelf).put(np.zeros(COPY_BELOW, "u1"), key="k")
    assert named(reader) == named(reader)
    assert len(opened) == 2


def other_process(shelf: Shelf) -> Shelf:
    return Shelf(shelf.path)


CHANGES = {
    "overwritten": lambda shelf, _: Writer(shelf).put(np.array([7]), key="k"),
    "deleted": lambda shelf, info: shelf.delete(info.id, (STORE, "k")),
    "evicted": lambda shelf, info: mark(shelf, info.id, add=CACHED) and evict(shelf, info.id),
    "shut down": lambda shelf, _: shelf.remove(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_it_is_never_stale(shelf: Shelf, reader: Reader, change: str) -> None:
    info = Writer(shelf).put(np.arange(3), key="k")
    assert named(reader) == [0, 1, 2]
    CHANGES[change](other_process(shelf), info)
    assert named(reader) == ([7] if change == "overwritten" else None)
    if change != "overwritten":  # else it is there until its writer drops it
        with pytest.raises(ArrayNotFound):
            reader.view(info)


def test_a_forbidden_version_is_not_read(shelf: Shelf, reader: Reader) -> None:
    info = Writer(shelf).put(np.arange(3), key="k")
    assert named(reader) == [0, 1, 2]
    other_process(shelf).names.forbid_all([(STORE, "k", info.version + 1, None)])
    assert named(reader) is None


def test_an_array_without_a_key_that_was_deleted_is_gone(shelf: Shelf, reader: Reader) -> None:
    info = Writer(shelf).put(np.arange(3))
    assert reader.view(info).tolist() == [0, 1, 2]
    assert other_process(shelf).delete(info.id)
    with pytest.raises(ArrayNotFound):
        reader.view(info)


def test_after_a_second_its_file_is_looked_at(
    shelf: Shelf, reader: Reader, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which says that it was read, and that it is damaged."""
    now = [100.0]
    monkeypatch.setattr(recent, "time", type("Clock", (), {"monotonic": lambda: now[0]}))
    info = Writer(shelf).put(np.arange(3), key="k")
    path = f"{shelf.mem}/{info.id}"
    assert named(reader) == [0, 1, 2]
    os.utime(path, ns=(1, os.stat(path).st_mtime_ns))
    now[0] += 0.9
    assert named(reader) == [0, 1, 2]
    assert len(opened) == 1
    now[0] += 0.2
    assert named(reader) == [0, 1, 2]
    assert len(opened) == 2
    assert os.stat(path).st_atime_ns > 1
    Path(path).write_bytes(b"?" * info.size)
    now[0] += 1.1
    with pytest.raises(CorruptArray):
        reader.named(STORE, "k")


def test_what_is_kept_has_a_limit(shelf: Shelf) -> None:
    kept = Recent(budget=200_000)
    infos = [Writer(shelf).put(np.full(1000, number)) for number in range(100)]
    for info in infos:
        kept.add(info, np.zeros(1000))
    held = [info for info in infos if kept.get(info.id) is not None]
    assert 5 <= len(held) <= 25
    assert held == infos[-len(held) :]
    for info in infos[:2]:
        for _ in range(1000):
            kept.add(info, np.zeros(1000))
    assert sum(kept.get(info.id) is not None for info in infos) <= 25


@pytest.mark.parametrize(("setting", "holds"), [("0", False), ("1KiB", False), ("1MiB", True)])
def test_it_is_set(shelf: Shelf, monkeypatch: pytest.MonkeyPatch, setting: str, *, holds: bool) -> None:
    monkeypatch.setenv("OUTLIVE_RECENT", setting)
    info = Writer(shelf).put(np.zeros(100))
    kept = Recent()
    kept.add(info, np.zeros(100))
    assert (kept.get(info.id) is not None) == holds
    monkeypatch.setenv("OUTLIVE_RECENT", "much")
    with pytest.raises(BadSetting, match="OUTLIVE_RECENT"):
        Recent()
