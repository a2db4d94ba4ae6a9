"""Copies of another shelf's arrays by a connection: whole and verified, or nothing is left of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from outlive.arrays import draft
from outlive.arrays.info import ArrayInfo
from outlive.arrays.reader import Reader
from outlive.arrays.segment import read_info
from outlive.arrays.shelf import Shelf
from outlive.arrays.tend.fsck import check
from outlive.arrays.writer import Writer
from outlive.cluster import direct
from outlive.cluster.transfer import open_sealed
from outlive.transfer import client, wire
from outlive.transfer.channel import Lost
from outlive.transfer.server import Opened, Server
from tests.arrays.local_store import assert_counted
from tests.transfer.conftest import MIB, link_to

Start = Callable[..., Server]
SIZE = 24 * MIB + 40


@pytest.fixture(params=["written", "mapped"], autouse=True)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How new memory is received into: as with small pages, and as with huge ones."""
    monkeypatch.setattr(draft.huge, "given", lambda *_: request.param == "mapped")
    monkeypatch.setattr(client.cores, "usable", lambda: 3.0)
    return str(request.param)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Shelf]:
    shelf = Shelf(str(tmp_path / "here"), budget=128 * MIB)
    yield shelf
    assert_counted(shelf)
    assert check(shelf) == []


@pytest.fixture
def there(tmp_path: Path) -> Shelf:
    return Shelf(str(tmp_path / "there"), budget=128 * MIB)


def serving(shelf: Shelf, beyond: int = 0) -> Callable[[wire.Request], Opened]:
    """Opens segments of a shelf, and promises so many bytes more than they have of each part but the first."""

    def opened(request: wire.Request) -> Opened:
        path, file = open_sealed(shelf, request.array_id)
        info, size = read_info(file.fileno(), path), os.fstat(file.fileno()).st_size
        if beyond and request.begin:
            os.lseek(file.fileno(), 0, os.SEEK_SET)
            return Opened(file, size - beyond, size - beyond + request.end - request.begin, direct.head(info, 0))
        return Opened(file, request.begin, min(request.end, size), direct.head(info, 0))

    return opened


def copied(shelf: Shelf, link: client.Link, info: ArrayInfo) -> None:
    made = direct.copy(shelf, link, info.id, 0, kept=False, size=info.size)
    made.listed_in = shelf.ledger.epoch
    shelf.seal_copy(made)


def test_a_copy_is_whole(here: Shelf, there: Shelf, start_server: Start) -> None:
    array = np.random.default_rng(1).integers(0, 256, SIZE, "u1")
    link = link_to(start_server(opened=serving(there)))
    for _ in range(2):  # into new memory, and into that of the first
        info = Writer(there).put(array)
        copied(here, link, info)
        assert (Reader(here).view(info) == array).all()
        assert_counted(here)
        here.delete(info.id)


def test_a_stream_that_is_cut_leaves_nothing(here: Shelf, there: Shelf, start_server: Start) -> None:
    info = Writer(there).put(np.ones(SIZE, "u1"))
    link = link_to(start_server(opened=serving(there, beyond=2 * MIB)))
    with pytest.raises(Lost):
        copied(here, link, info)
    assert [os.listdir(f"{here.new}/{writer}") for writer in os.listdir(here.new)] == [[]]
    assert here.ledger.used == 0
    copied(here, link_to(start_server(opened=serving(there))), info)
    assert (Reader(here).view(info) == 1).all()
