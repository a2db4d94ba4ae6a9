"""Reading by key without asking a catalog, and never something old."""

from __future__ import annotations

import itertools
import mmap
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from outlive.arrays.batches import Batch
from outlive.arrays.info import ArrayInfo
from outlive.arrays.reader import Reader
from outlive.arrays.shelf import Shelf
from outlive.arrays.tend.fsck import check, clear_orphans
from outlive.arrays.writer import Writer
from tests.arrays.interrupts import interrupted_at

from .test_shelf import kill

STORE = "default"


def value(shelf: Shelf, key: str = "k") -> int | None:
    array = Reader(shelf).named(STORE, key)
    return None if array is None else int(array[0])


def put(shelf: Shelf, number: int, key: str = "k", size: int = 10) -> ArrayInfo:
    return Writer(shelf).put(np.full(size, number), key=key)


def test_a_key_leads_to_its_array(shelf: Shelf) -> None:
    assert Reader(shelf).named(STORE, "k") is None
    info = put(shelf, 1)
    assert value(shelf) == 1
    assert shelf.named_info(STORE, "k") == info
    assert Reader(shelf).named("another store", "k") is None
    assert Reader(shelf).named(STORE, "K") is None


@pytest.mark.parametrize("size", [10, 100_000])
def test_another_process_that_remembers_sees_what_comes_after(shelf: Shelf, size: int) -> None:
    other = Shelf(shelf.path)
    first = put(shelf, 1, size=size)
    held = Reader(other).named(STORE, "k")
    assert held is not None
    assert other.names.remembered(STORE, "k") == first
    second = put(shelf, 2, size=size)
    assert other.names.remembered(STORE, "k") is None
    assert value(other) == 2
    assert held[0] == 1
    shelf.delete(second.id, (STORE, "k"))
    assert Reader(other).named(STORE, "k") is None


def test_remembered_while_other_keys_change(shelf: Shelf) -> None:
    info = put(shelf, 1)
    assert value(shelf) == 1
    for i in range(20):
        put(shelf, i, key=f"other {i}")
    assert shelf.names.remembered(STORE, "k") == info


def test_an_earlier_array_that_is_sealed_late_does_not_come_back(shelf: Shelf) -> None:
    early, late = Writer(shelf).draft_of(np.array([1]), key="k"), Writer(shelf).draft_of(np.array([2]), key="k")
    late.seal()
    early.seal()
    assert value(shelf) == 2
    shelf.name(early.info)
    assert value(shelf) == 2


def test_a_deleted_array_s_earlier_one_may_be_named_again(shelf: Shelf) -> None:
    early = put(shelf, 1)
    late = put(shelf, 2)
    shelf.delete(late.id)  # its name stays, and leads nowhere
    assert Reader(shelf).named(STORE, "k") is None
    shelf.name(early)
    assert value(shelf) == 1


def test_the_deletion_of_an_overwritten_array_leaves_the_name(shelf: Shelf) -> None:
    early = put(shelf, 1)
    put(shelf, 2)
    shelf.delete(early.id, (STORE, "k"))
    assert value(shelf) == 2


def test_killed_between_name_and_seal(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name leads nowhere, so the reader asks the catalog and seals the array itself."""
    put(shelf, 1)
    draft = Writer(shelf).draft_of(np.array([2]), key="k")
    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", stop_at(os.rename, "/mem/"))
        with pytest.raises(KeyboardInterrupt):
            draft.seal()
    assert Reader(shelf).named(STORE, "k") is None
    assert shelf.finish(draft.info.id, shelf.ledger.epoch)
    assert value(shelf) == 2


def test_killed_while_the_name_changes(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    put(shelf, 1)
    assert value(shelf) == 1
    draft = Writer(shelf).draft_of(np.array([2]), key="k")
    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", stop_at(os.rename, "/names/"))
        with pytest.raises(KeyboardInterrupt):
            draft.seal()
    assert shelf.names.remembered(STORE, "k") is None  # it may have changed
    assert value(shelf) == 1
    draft.seal()
    assert value(shelf) == 2
    assert value(shelf) == 2
    assert shelf.names.remembered(STORE, "k") == draft.info
    assert check(shelf) == []


def stop_at(rename: Callable[[str, str], None], where: str) -> Callable[[str, str], None]:
    def stopping(source: str, target: str) -> None:
        if where in target:
            raise KeyboardInterrupt
        rename(source, target)

    return stopping


def test_a_batch_whose_writer_is_killed_is_never_half_visible(shelf: Shelf) -> None:
    for key in ("a", "b"):
        shelf.seal(Writer(shelf).draft_of(np.zeros(3), key=key))
    drafts = [Writer(shelf).draft_of(np.ones(3), key=key) for key in ("a", "b")]
    child = os.fork()
    if child == 0:
        writer = Shelf(shelf.path)
        drafts = [Writer(writer).draft_of(np.ones(3), key=key) for key in ("a", "b")]
        Batch(writer).begin()
        writer.seal(drafts[0])
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert [Reader(shelf).named("default", key) for key in ("a", "b")] == [None, None]  # the catalog knows
    assert len(list(clear_orphans(shelf, set))) == 1  # it had listed both
    assert [Reader(shelf).named("default", key).sum() for key in ("a", "b")] == [3, 3]
    for draft in drafts:
        draft.discard()


def test_batches_of_the_living_are_left_alone(shelf: Shelf) -> None:
    batch = Batch(shelf)
    batch.begin()
    assert list(clear_orphans(shelf)) == []
    assert shelf.ledger.batches == 1
    batch.end()
    batch.end()  # does no harm
    assert shelf.ledger.batches == 0


def test_an_interrupt_between_any_two_calls_as_a_batch_begins_ends_no_other_batch(shelf: Shelf) -> None:
    """Readers would then see some of the other batch's keys, and not yet the rest."""
    other = Batch(shelf)
    other.begin()
    for step in itertools.count(1):
        batch = Batch(shelf)
        interrupted = interrupted_at(step, batch.begin)
        batch.end()
        assert shelf.ledger.batches == 1, step
        if not interrupted:
            break
    other.end()
    assert shelf.ledger.batches == 0


def test_strangers_among_the_names(shelf: Shelf) -> None:
    put(shelf, 1)
    other = put(shelf, 2, key="other")
    [name] = [link for link in Path(shelf.path, "names").iterdir() if os.readlink(link).endswith(other.id)]
    for planted in ("/etc/passwd", "nonsense", f"1.{other.id[::-1]}", "9" * 30 + "./../../etc/passwd"):
        name.unlink()
        name.symlink_to(planted)
        assert Reader(shelf).named(STORE, "other") is None
    name.unlink()
    name.write_text("a file")
    assert Reader(shelf).named(STORE, "other") is None
    shelf.name(other)  # as after the catalog was asked
    assert value(shelf, "other") == 2
    name.unlink()
    name.symlink_to(f"1.{shelf.ids()[0] if shelf.ids()[0] != other.id else shelf.ids()[1]}")  # another key's array
    assert Reader(shelf).named(STORE, "other") is None


def test_check_sweeps_names_that_lead_nowhere(shelf: Shelf) -> None:
    info = put(shelf, 1)
    put(shelf, 2, key="kept")
    shelf.delete(info.id)
    check(shelf)
    assert len(list(Path(shelf.path, "names").iterdir())) == 1
    assert value(shelf, "kept") == 2


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_no_read_that_starts_after_a_put_or_delete_returned_sees_what_was_before(shelf: Shelf) -> None:
    """The other process changes the key and then says, in memory that both see, which change is done."""
    done = mmap.mmap(-1, 4096)
    pid = os.fork()
    if pid == 0:
        try:
            change(Shelf(shelf.path), done)
        finally:
            os._exit(1)
    try:
        reads, last = 0, 0
        while reads < 20_000 or last <= 100:
            before = changes(done)
            array = Reader(shelf).named(
                STORE, "k"
            )  # held until the next one is read, so that it could be taken for that
            if array is not None:
                found = int(array[0])
                assert before <= found <= changes(done) + 1, "a read saw what had been overwritten or deleted before"
                assert found >= last, "reads went back"
                last, reads = found, reads + 1
    finally:
        kill(pid)


def changes(done: mmap.mmap) -> int:
    return int.from_bytes(done[:8], "little")


def change(shelf: Shelf, done: mmap.mmap) -> None:
    """Every fifth change is a deletion."""
    number, info = 0, None
    while True:
        number += 1
        if number % 5 == 0 and info is not None:
            shelf.delete(info.id, (STORE, "k"))
        else:
            before, info = info, put(shelf, number, size=10 if number % 2 else 5_000)
            if before is not None:
                shelf.delete(before.id)  # as the catalog does, a little later
        done[:8] = number.to_bytes(8, "little")


def test_a_shelf_remembers_by_what_others_were_about_to_replace_an_array(shelf: Shelf) -> None:
    info = put(shelf, 1)
    first, second = (info.version + 1, "1" * 32, "f" * 56), (info.version + 2, "2" * 32, "e" * 56)
    shelf.names.forbid_all([(STORE, "k", first[0], first)])
    assert value(shelf) is None and shelf.named_info(STORE, "k") is None
    shelf.name(info)
    assert value(shelf) is None, "it stays forbidden"
    assert shelf.names.successors(info) == [first]
    shelf.names.forbid_all([(STORE, "k", second[0], second), (STORE, "other", 1, None)])
    assert shelf.names.successors(info) == [first, second], "either may have come to nothing"
    shelf.names.forbid_all([(STORE, "k", second[0] + 1, (second[0] + 1, *second[1:]))])
    assert shelf.names.successors(info) == [first, (second[0] + 1, *second[1:])], "it was restamped"
    shelf.names.forbid_all([(STORE, "k", second[0] + 2, None)])
    assert len(shelf.names.successors(info)) == 2 and shelf.names.knows_later(info)
    assert check(shelf) == [] and shelf.names.successors(info), "it is kept for a while"
    later = info._replace(version=second[0] + 3)
    assert shelf.names.successors(later) == []


def test_a_shelf_remembers_a_successor_that_a_later_one_overtook(shelf: Shelf) -> None:
    """The later one may come to nothing, and the earlier one be listed and acknowledged."""
    info = put(shelf, 1)
    first, second = (info.version + 1, "1" * 32, "f" * 56), (info.version + 2, "2" * 32, "e" * 56)
    for by in (second, first, first, (second[0] - 1, *second[1:])):  # a call may be repeated, and come late
        shelf.names.forbid_all([(STORE, "k", by[0], by)])
    assert sorted(shelf.names.successors(info)) == [first, second]
    later = info._replace(version=second[0])
    assert not shelf.names.knows_later(later)
    assert shelf.names.knows_later(info._replace(version=first[0])), "the later version stays forbidden"


def test_a_shelf_remembers_the_latest_of_many_successors(shelf: Shelf) -> None:
    info = put(shelf, 1)
    many = [(info.version + number, f"{number:032x}", "f" * 56) for number in range(1, 21)]
    shelf.names.forbid_all([(STORE, "k", one[0], one) for one in many])
    assert shelf.names.successors(info) == many[-8:]
