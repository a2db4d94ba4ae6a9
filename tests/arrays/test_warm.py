"""Segments that a writer keeps mapped: written by a copy of memory, locked by nobody, freed like any other."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from outlive.arrays import copying, warm
from outlive.arrays.info import ArrayInfo
from outlive.arrays.live import forget
from outlive.arrays.reader import Reader
from outlive.arrays.shelf import Shelf
from outlive.arrays.writer import Writer

from .test_shelf import forked

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
COUNT = warm.LEAST // 8


@pytest.fixture(autouse=True)
def _no_maps() -> None:
    warm._maps.clear()


def put(shelf: Shelf, number: int, count: int = COUNT) -> ArrayInfo:
    info = Writer(shelf).put(np.full(count, number, "i8"), key=str(number))
    forget(info.id)
    assert (Reader(shelf).view(info) == number).all()
    return info


def put_and_delete(shelf: Shelf, *numbers: int) -> None:
    for number in numbers:
        shelf.delete(put(shelf, number).id)


def test_written_again_and_again(shelf: Shelf) -> None:
    put_and_delete(shelf, 1)
    assert not warm._maps  # new memory, by write(2)
    put_and_delete(shelf, 2, 3)
    assert len(warm._maps) == 1
    view = Reader(shelf).view(put(shelf, 4))
    put_and_delete(shelf, 5, 6, 7)
    assert (view == 4).all()
    forget(shelf.named_info("default", "4").id)  # type: ignore[union-attr]
    assert (Reader(shelf).named("default", "4") == 4).all()


LAYOUTS = {
    "every second": lambda: np.arange(2 * COUNT)[::2],
    "backwards": lambda: np.arange(COUNT)[::-1],
    "transposed and cut": lambda: np.arange(2 * COUNT, dtype=">f4").reshape(64, -1, 128).transpose(2, 0, 1)[:, ::-1],
    "large items": lambda: np.frombuffer(np.random.default_rng(0).bytes(4 << 20), "V4096").reshape(32, 32).T[::-1],
    "few and wide": lambda: np.arange(2 * COUNT).reshape(2, -1)[:, ::2],
    "fields with gaps": lambda: np.frombuffer(
        np.random.default_rng(0).bytes(4 << 20), {"names": ["a"], "formats": ["i4"], "offsets": [5], "itemsize": 16}
    )[::2],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("step", [1, 300_000, warm.LEAST * 64])
def test_arrays_that_are_not_contiguous(shelf: Shelf, monkeypatch: pytest.MonkeyPatch, layout: str, step: int) -> None:
    """Bit by bit, whatever was there before."""
    monkeypatch.setattr(copying, "PIECE", step)
    array = LAYOUTS[layout]()
    assert not array.flags.forc
    for _ in range(2):
        shelf.delete(Writer(shelf).put(np.full(array.nbytes, 0xA5, "u1")).id)
    again = Writer(shelf).put(array)
    assert len(warm._maps) == 1
    stored = Path(f"{shelf.mem}/{again.id}").read_bytes()[again.offset : again.offset + again.nbytes]
    assert stored == array.tobytes() or array.dtype.names is not None  # in the gaps may be anything of this process
    assert np.array_equal(Reader(shelf).view(again), array)


@pytest.mark.parametrize("more", [-5000, -1, 1, 5000])
def test_of_another_length(shelf: Shelf, more: int) -> None:
    put_and_delete(shelf, 1, 2)
    for number in range(3, 6):
        shelf.delete(put(shelf, number, COUNT + 5000 + more * (number % 2)).id)


def test_another_process_may_recycle_it(shelf: Shelf) -> None:
    put_and_delete(shelf, 1, 2)
    [(_, inode)] = warm._maps
    with forked(lambda: put(Shelf(shelf.path), 3)):
        pass
    info = shelf.named_info("default", "3")
    assert info is not None
    assert os.stat(f"{shelf.mem}/{info.id}").st_ino == inode
    assert (Reader(shelf).view(info) == 3).all()


@pytest.mark.parametrize("end", [lambda shelf: shelf.pool.trim(), lambda shelf: shelf.remove()])
def test_its_memory_is_freed_though_it_is_mapped(shelf: Shelf, end: object) -> None:
    put_and_delete(shelf, 1, 2)
    [name] = os.listdir(shelf.pool.folder)
    fd = os.open(f"{shelf.pool.folder}/{name}", os.O_RDONLY)
    assert os.fstat(fd).st_blocks > 0
    end(shelf)  # type: ignore[operator]
    assert os.fstat(fd).st_blocks == 0
    os.close(fd)
    shelf = Shelf(shelf.path)
    put_and_delete(shelf, 3, 4)


def test_few_are_kept(shelf: Shelf) -> None:
    infos = [put(shelf, number) for number in range(2 * warm._KEPT)]
    for info in infos:
        shelf.delete(info.id)
    infos = [put(shelf, number) for number in range(2 * warm._KEPT)]
    assert len(warm._maps) == warm._KEPT
    assert all((Reader(shelf).view(info) == number).all() for number, info in enumerate(infos))


def test_what_was_written_last_is_written_again_first(shelf: Shelf) -> None:
    """It is mapped here, and in the processor's cache. Its name comes before or after those of the others by chance."""
    put_and_delete(shelf, 0)
    for info in [put(shelf, number) for number in range(warm._KEPT)]:
        shelf.delete(info.id)
    put_and_delete(shelf, 1)
    last = warm.mapped()[-1]
    for number in range(8):
        put_and_delete(shelf, number)
        assert warm.mapped()[-1] == last
    assert len(list(shelf.pool.segments())) == warm._KEPT
