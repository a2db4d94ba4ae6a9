"""The tally: what all processes of a node did, whichever of them were killed, forked, or have no room."""

from __future__ import annotations

import os
import signal
import threading

import numpy as np
import pytest

from outlive.arrays import tally as tallies
from outlive.arrays.draft import Draft
from outlive.arrays.layout import CACHED
from outlive.arrays.marks import evict
from outlive.arrays.reader import Reader
from outlive.arrays.shelf import Shelf
from outlive.arrays.spill.move import promote, spill
from outlive.arrays.tally import (
    EVICTED,
    IN_MEMORY,
    MISSED,
    ON_DISK,
    PROMOTED,
    PUT_BYTES,
    PUTS,
    REFUSED,
    SPILLED,
    SPILLED_BYTES,
    VIEWED,
    Tally,
)
from outlive.arrays.writer import Writer
from outlive.errors import StoreFull
from tests.forking import exit_code, forked

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.fixture
def shelf(tmp_path) -> Shelf:
    (tmp_path / "root").mkdir(mode=0o700)
    return Shelf(str(tmp_path / "root" / "shelf"), 16 << 20)


@pytest.fixture
def path(tmp_path) -> str:
    Tally(str(tmp_path / "tally")).make()
    return str(tmp_path / "tally")


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_puts_and_gets_are_counted(shelf):
    writer, reader = Writer(shelf), Reader(shelf)
    small, large = writer.put(np.zeros(10)), writer.put(np.zeros(1 << 16))
    held = reader.view(large)
    reader.view(large)
    reader.view(small)
    reader.view(small)
    del held
    reader.view(large)
    totals = shelf.tally.totals()
    assert [totals[PUTS], totals[PUT_BYTES]] == [2, 80 + (8 << 16)]
    assert [totals[IN_MEMORY], totals[ON_DISK], totals[MISSED]] == [3, 0, 0]
    assert reader.at_once(large, private=True) is not None
    assert reader.at_once(small) is not None
    assert shelf.tally.totals()[IN_MEMORY] == 4
    reader.private(large)
    assert shelf.tally.totals()[VIEWED] == 3
    assert totals[VIEWED] == 2  # of the array that was open, and of the small one just read: told with the next


def test_a_forked_child_does_not_count_what_its_parent_read(shelf):
    writer, reader = Writer(shelf), Reader(shelf)
    info, other = writer.put(np.zeros(1 << 16)), writer.put(np.zeros(1 << 16))
    held = reader.view(info)
    reader.view(info)

    def work():
        reader.view(info)
        reader.view(other)

    assert exit_code(forked(work)) == 0
    assert shelf.tally.totals()[VIEWED] == 1
    reader.view(other)
    assert shelf.tally.totals()[VIEWED] == 2
    del held


def test_what_moves_and_what_has_no_room(shelf, tmp_path):
    shelf.spill_to(str(tmp_path / "disk"))
    shelf.ledger.disk.budget = 64 << 20
    writer, reader = Writer(shelf), Reader(shelf)
    info = writer.put(np.zeros(1 << 17))
    assert spill(shelf, shelf.disk, info.id)
    reader.view(info)
    assert promote(shelf, shelf.disk, info.id)
    shelf.ledger.disk.budget = 0
    with pytest.raises(StoreFull):
        writer.put(np.zeros(4 << 20))
    assert not evict(shelf, info.id)  # no cached copy
    with pytest.raises(StoreFull):  # a copy that a reader does without is no put that failed
        Draft.make(shelf, info._replace(id="c" * 32, size=32 << 20), CACHED)
    totals = shelf.tally.totals()
    assert [totals[SPILLED], totals[SPILLED_BYTES], totals[PROMOTED]] == [1, info.size, 1]
    assert [totals[ON_DISK], totals[REFUSED], totals[EVICTED]] == [1, 1, 0]


def test_a_killed_process_loses_nothing_and_its_row_is_taken_again(path):
    tally = Tally(path)
    for _ in range(3):

        def work():
            tally.add(PUTS, 5)
            killed()

        assert exit_code(forked(work)) == -signal.SIGKILL
    tally.add(PUTS)
    assert tally.totals()[PUTS] == 16


def test_a_forked_child_counts_for_itself(path):
    tally = Tally(path)
    tally.add(PUTS)

    def work():
        for _ in range(1000):
            tally.add(PUTS)

    children = [forked(work) for _ in range(4)]
    for _ in range(1000):
        tally.add(PUTS)
    assert [exit_code(child) for child in children] == [0] * 4
    assert tally.totals()[PUTS] == 5001


def test_threads_have_one_row(path):
    tally = Tally(path)
    threads = [threading.Thread(target=lambda: [tally.add(MISSED) for _ in range(1000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tally.totals()[MISSED] > 0  # they may find a row at the same moment; after that none is lost


def test_two_objects_of_one_process_have_two_rows_and_closing_one_frees_the_other_not(path):
    first, second, third = Tally(path), Tally(path), Tally(path)
    first.add(PUTS)
    second.add(PUTS)
    rows = [_row(first), _row(second)]
    del first
    third.add(PUTS)
    assert rows[0] != rows[1]
    assert _row(third) == rows[0]
    assert third.totals()[PUTS] == 3


def _row(tally: Tally) -> int:
    """Where a tally's numbers are, found by writing there."""
    tally._own[15], before = 7, tally._own[15]
    with open(tally._path, "rb") as file:
        numbers = memoryview(file.read()).cast("q")
    tally._own[15] = before
    return next(row for row in range(2, 512) if numbers[row * tallies.NUMBERS + 15] == 7)


def test_more_processes_than_rows_share_them(path, monkeypatch):
    monkeypatch.setattr(tallies, "_END", 4)  # rows; the file keeps its size
    several = [Tally(path) for _ in range(5)]
    for one in several:
        one.add(PUTS)
    assert several[0].totals()[PUTS] == 5


def test_a_keeper_that_is_started_anew_goes_on_where_the_last_one_was(path):
    tally, keeper = Tally(path), Tally(path)
    tally.add(PUTS, 3)
    assert keeper.take()[PUTS] == 3
    tally.add(PUTS, 2)
    assert Tally(path).take()[PUTS] == 2
    assert Tally(path).take()[PUTS] == 0


@pytest.mark.parametrize("content", [None, b"", b"x" * 65536, b"tally 02"])
def test_without_a_file_nothing_fails(tmp_path, content):
    path = tmp_path / "tally"
    if content is not None:
        path.write_bytes(content)
    tally = Tally(str(path))
    tally.add(PUTS)
    assert tally.take() == [0] * tallies.NUMBERS
    tally.make()
    Tally(str(path)).add(PUTS)
    assert Tally(str(path)).take()[PUTS] == 1


def test_a_file_of_another_kind_is_replaced_under_those_who_have_it_mapped(path):
    """To cut it would kill them."""

    def work():
        mapped = Tally(path)
        mapped.add(PUTS)
        with open(path, "r+b") as file:
            file.write(b"tally 01")  # as an earlier version's
        Tally(path).make()
        mapped.add(PUTS)

    inode = os.stat(path).st_ino
    assert exit_code(forked(work)) == 0
    assert os.stat(path).st_ino != inode
    assert Tally(path).totals()[PUTS] == 0


def test_a_file_that_stays_half_written_by_a_kill_is_in_nobodys_way(tmp_path):
    (tmp_path / "tally.new").write_bytes(b"tally 02" * 3)
    tally = Tally(str(tmp_path / "tally"))
    tally.make()
    tally.add(PUTS)
    assert tally.take()[PUTS] == 1
    assert os.listdir(tmp_path) == ["tally"]


def test_without_room_no_file_stays_and_nothing_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "pwrite", lambda fd, page, at: len(page) // 2)
    tally = Tally(str(tmp_path / "tally"))
    tally.make()
    tally.add(PUTS)
    assert tally.take() == [0] * tallies.NUMBERS
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number", [b"\xff" * 7 + b"\x7f", b"\xff" * 7 + b"\x80"], ids=["largest", "smallest"])
def test_numbers_that_somebody_else_wrote_fail_nothing(path, number):
    tally = Tally(path)
    with open(path, "r+b") as file:
        file.seek(2 * 128)
        file.write(number * 510 * 16)
    tally.add(PUTS, 1000)
    tally.add(PUTS)
    tally.take()


def test_a_link_in_its_place_is_refused(tmp_path):
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "tally").symlink_to(tmp_path / "victim")
    tally = Tally(str(tmp_path / "tally"))
    tally.make()
    tally.add(PUTS)
    tally.take()
    assert (tmp_path / "victim").read_bytes() == b"precious"


def test_a_draft_that_is_discarded_is_no_put(shelf):
    draft = Writer(shelf).draft_of(np.zeros(10))
    assert isinstance(draft, Draft)
    draft.discard()
    assert shelf.tally.totals()[PUTS] == 0
