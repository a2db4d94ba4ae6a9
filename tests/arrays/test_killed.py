"""Writers and readers killed with SIGKILL at random moments lose nothing, show nothing unsealed, and leak nothing.

`OUTLIVE_KILLS=100000 pytest tests/arrays/test_killed.py` kills more of them than the 300 that CI does.

Arrays are self-describing: an item is a function of its place and of the array's seed, which is part of its key too.
So a torn read, or one of another array's bytes, is seen by whoever reads. A writer says through a pipe what it has put
and deleted: after the call returned (put, deleted), or before it begins (deleting).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import select
import signal
import struct
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from outlive.arrays import segment
from outlive.arrays.draft import Draft
from outlive.arrays.info import ArrayInfo, new_version
from outlive.arrays.live import forget
from outlive.arrays.packed import PackedBytes
from outlive.arrays.reader import Reader
from outlive.arrays.segment import pages
from outlive.arrays.shelf import Shelf
from outlive.arrays.tend.fsck import check, clear_orphans
from outlive.arrays.writer import Writer, mapped
from outlive.errors import ArrayNotFound, StoreFull
from outlive.values.packing import pack
from outlive.values.structure import unpack
from tests.arrays.summing import compute_checksums

from .local_store import assert_counted

KILLS = int(os.environ.get("OUTLIVE_KILLS", "300"))
WRITERS, READERS = 2, 1
MIB = 1 << 20
BUDGET = 256 * MIB
TIDY_ABOVE = 64 * MIB

SEED_BITS = 20  # of an array's seed; above them is its writer's number
RECORD = struct.Struct("<c16s")
PUT, DELETING, DELETED, WRONG = b"P", b"d", b"D", b"!"


def content(seed: int, count: int) -> np.ndarray[Any, Any]:
    return np.arange(count, dtype="u8") * np.uint64(2 * seed + 1) + np.uint64(seed)


def key_of(seed: int, count: int) -> str:
    return f"{seed} {count}"


def writer_of(info: ArrayInfo) -> int:
    return int((info.key or "").split()[0]) >> SEED_BITS


def verify(shelf: Shelf, array_id: str) -> None:
    """An array that is visible is whole, and is what its key says."""
    info = shelf.info(array_id)
    seed, count = map(int, (info.key or "").split())
    forget(array_id)
    view = Reader(shelf).view(info)
    assert np.array_equal(items(view, seed), content(seed, count)), f"array {array_id} has other bytes than were put"
    del view
    forget(array_id)
    named = Reader(shelf).named(info.store, info.key or "")
    assert named is None or np.array_equal(items(named, seed), content(seed, count)), f"{info.key} leads elsewhere"


def items(view: np.ndarray[Any, Any], seed: int) -> np.ndarray[Any, Any]:
    """The items of an array, or those in a value, beside which its seed is told twice."""
    if not isinstance(view, PackedBytes):
        return view
    value = unpack(view, pickle=False)
    assert value["seed"] == value["more"][0] == seed
    found: np.ndarray[Any, Any] = value["items"]
    return found


# --- what the processes do that get killed


def write(shelf: Shelf, pipe: int, number: int) -> None:
    own: list[str] = []
    rng = random.Random(number)

    def say(what: bytes, array_id: str) -> None:
        os.write(pipe, RECORD.pack(what, bytes.fromhex(array_id)))  # at once, as it is short (pipe(7))

    while True:
        count = int(2 ** rng.uniform(7, 18))  # 1 KiB to 2 MiB
        with contextlib.suppress(StoreFull):
            seed = number << SEED_BITS | rng.getrandbits(SEED_BITS)
            puts = [put_value] if seed % 5 == 0 else [put, put_strided, create, put_under_epoch]
            info = rng.choice(puts)(shelf, seed, count)
            say(PUT, info.id)
            own.append(info.id)
        if own and rng.random() < 0.4:
            array_id = own.pop(rng.randrange(len(own)))
            say(DELETING, array_id)
            assert shelf.delete(array_id, ("default", shelf.info(array_id).key or ""))
            say(DELETED, array_id)


def put(shelf: Shelf, seed: int, count: int) -> ArrayInfo:
    return Writer(shelf).put(content(seed, count), key=key_of(seed, count))


def put_strided(shelf: Shelf, seed: int, count: int) -> ArrayInfo:
    """Written in several steps."""
    return Writer(shelf).put(np.repeat(content(seed, count), 2)[::2], key=key_of(seed, count))


def put_value(shelf: Shelf, seed: int, count: int) -> ArrayInfo:
    """A value that is no array: in parts, some of which have gaps."""
    strided = np.repeat(content(seed, count), 2)[::2]
    value = {"seed": seed, "items": strided if seed % 2 else content(seed, count), "more": [seed, np.arange(9)]}
    return Writer(shelf).put(pack(value, pickle=False), key=key_of(seed, count))


def put_under_epoch(shelf: Shelf, seed: int, count: int) -> ArrayInfo:
    draft = Writer(shelf).draft_of(content(seed, count), key=key_of(seed, count))
    draft.seal(shelf.ledger.epoch)
    return draft.info


def create(shelf: Shelf, seed: int, count: int) -> ArrayInfo:
    key = key_of(seed, count)
    kind = {"fortran": False, "store": "default", "key": key, "version": new_version()}
    draft = Draft.make(shelf, segment.describe("'<u8'", (count,), 8 * count, **kind))
    try:
        out = mapped(draft)
        out[:] = content(seed, count)
        draft.detach()
        draft.seal()
    except BaseException:
        draft.discard()
        raise
    out[:] = 0  # its own pages now
    return draft.info


def read(shelf: Shelf, _: int, number: int) -> None:
    views: list[np.ndarray[Any, Any]] = []
    rng = random.Random(number)
    while True:
        for array_id in rng.sample(ids := shelf.ids(), min(5, len(ids))):
            with contextlib.suppress(ArrayNotFound, FileNotFoundError):  # deleted meanwhile
                verify(shelf, array_id)
                views.append(Reader(shelf).view(shelf.info(array_id)))
        del views[:-10]


class Victim:
    """A forked process with a pipe to tell what it does."""

    def __init__(self, path: str, work: Any, number: int) -> None:
        self.path, self.work, self.number, self.said = path, work, number, b""
        self.pipe, end = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._live(end)
        os.close(end)

    def _live(self, pipe: int) -> None:
        try:
            self.work(Shelf(self.path), pipe, self.number)
        except BaseException:
            with contextlib.suppress(BaseException):
                os.write(pipe, RECORD.pack(WRONG, bytes(16)) + traceback.format_exc().encode())
        finally:
            os._exit(1)

    def listen(self) -> None:
        """Take what it has said so far, lest it blocks with a full pipe."""
        there = select.poll()  # `select` takes no descriptor above 1024
        there.register(self.pipe, select.POLLIN)
        while there.poll(0) and (data := os.read(self.pipe, 1 << 16)):
            self.said += data

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        self.listen()
        os.close(self.pipe)
        at = self.said.find(RECORD.pack(WRONG, bytes(16)))
        assert at < 0, self.said[at + RECORD.size :].decode()
        assert os.WTERMSIG(status) == signal.SIGKILL


class Killing:
    """Keeps some writers and readers alive, kills one after the other, and knows what must be there."""

    def __init__(self, shelf: Shelf, seed: int, works: list[Any]) -> None:
        self.shelf, self.rng = shelf, random.Random(seed)
        self.number = self.rng.getrandbits(20) + 1
        self.victims = [self._new(work) for work in works]
        self.kept: set[str] = set()
        self.deleted: set[str] = set()
        self.puts = 0

    def _new(self, work: Any) -> Victim:
        self.number += 1
        return Victim(self.shelf.path, work, self.number)

    def kill_one(self) -> None:
        index = self.rng.randrange(len(self.victims))
        victim = self.victims[index]
        victim.kill()
        self.victims[index] = self._new(victim.work)
        self._learn(victim)

    def _learn(self, victim: Victim) -> None:
        """What a dead process had been promised."""
        state: dict[str, bytes] = {}
        for what, identity in RECORD.iter_unpack(victim.said):
            state[identity.hex()] = what
            self.puts += what == PUT
        for array_id, what in state.items():
            if what == PUT:
                self.kept.add(array_id)
                assert self.shelf.has(array_id), f"array {array_id} is lost"
            elif what == DELETED:
                self.deleted.add(array_id)
        for array_id in [array_id for array_id, what in state.items() if what == PUT][-3:]:
            verify(self.shelf, array_id)  # those nearest to its end; readers look at the others

    def tidy(self) -> None:
        """Delete what has proved to be there, so that there is room for more."""
        for array_id in list(self.kept):
            assert self.shelf.delete(array_id), f"array {array_id} was lost"
            self.kept.remove(array_id)
            self.deleted.add(array_id)
        alive = {victim.number for victim in self.victims}
        for info in self.shelf.scan():
            if writer_of(info) not in alive:  # sealed, but its writer did not live to tell
                self.shelf.delete(info.id)

    def end(self) -> None:
        for victim in self.victims:
            victim.kill()
            self._learn(victim)

    def stop(self) -> None:
        """Leave no process behind when something else went wrong."""
        for victim in self.victims:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(victim.pid, signal.SIGKILL)
                os.waitpid(victim.pid, 0)


def kill_many(shelf: Shelf, kills: int, works: list[Any]) -> int:
    """Kill that many processes that do `works`, while all else goes on; returns how many arrays they put.

    All that had been promised holds at the end, and both accounts say what the file system says.
    """
    seed = int(os.environ.get("OUTLIVE_SEED", "0")) or random.randrange(1, 1 << 32)
    print(f"OUTLIVE_SEED={seed}")  # shown if it fails; the moments of death differ all the same
    killing = Killing(shelf, seed, works)
    try:
        for number in itertools.count():
            if number >= kills and killing.puts > kills // 10:
                break  # else it has proved little: those that are killed may get no turn before, on a busy machine
            time.sleep(killing.rng.uniform(0, 0.015))  # when to kill is what is random here
            killing.kill_one()
            for victim in killing.victims:
                victim.listen()
            if number % 20 == 0:
                list(clear_orphans(shelf))  # as the keeper does, while others write
            if number % 100 == 0:
                compute_checksums(shelf, older_than=0)
            if shelf.ledger.used + shelf.ledger.disk.used > TIDY_ABOVE:
                killing.tidy()
        killing.end()
    except BaseException:
        killing.stop()
        raise

    findings = check(shelf)
    assert {finding.problem for finding in findings} <= {"abandoned", "double"}, findings
    assert check(shelf) == []
    present = set(shelf.ids())
    assert killing.kept <= present, "arrays whose put had returned are lost"
    assert not killing.deleted & present, "arrays whose delete had returned are back"
    for array_id in present:
        verify(shelf, array_id)
    for tier in shelf.tiers.all():
        assert not [folder for folder in Path(tier.new).iterdir() if os.listdir(folder)]
    sizes = [os.path.getsize(shelf.locate(array_id) or "") for array_id in present]
    assert_counted(shelf)
    assert shelf.ledger.used + shelf.ledger.disk.used == sum(map(pages, sizes))
    for array_id in present:
        assert shelf.delete(array_id)
    shelf.pool.trim()
    assert_counted(shelf)
    assert shelf.ledger.used == shelf.ledger.disk.used == 0
    return killing.puts


@pytest.mark.timeout(max(300, KILLS))
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_killed(root: Path, record_property: Any) -> None:
    shelf = Shelf(str(root / "shelf"), BUDGET)
    record_property("puts", kill_many(shelf, KILLS, [write] * WRITERS + [read] * READERS))
