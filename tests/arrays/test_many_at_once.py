"""Many arrays at once: what a batch can do once is done once, and all of them are written, or none."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import numpy as np
import pytest

from outlive.arrays import draft as draft_module
from outlive.arrays import pool as pool_module
from outlive.arrays.lifetimes import Lifetime
from outlive.arrays.lock import FileLock
from outlive.arrays.packed import Packed
from outlive.arrays.put_options import PutOptions
from outlive.arrays.reader import Reader
from outlive.arrays.remains import clear_remains
from outlive.arrays.segment import COPY_BELOW
from outlive.arrays.shelf import Shelf
from outlive.arrays.writer import Writer
from outlive.errors import StoreFull
from tests.arrays.conftest import MIB
from tests.arrays.faults import faults
from tests.arrays.local_store import assert_counted

STORE = "default"
Items = list[tuple[str | None, np.ndarray[Any, Any] | Packed]]


def numbered(count: int, size: int = 128) -> Items:
    return [(f"key {number}", np.full(size, float(number))) for number in range(count)]


def drafts_left(shelf: Shelf) -> list[str]:
    return [name for writer in os.listdir(shelf.new) for name in os.listdir(f"{shelf.new}/{writer}")]


def test_the_ledger_is_locked_once_for_many_small_arrays(shelf: Shelf) -> None:
    Writer(shelf).put(np.ones(3))
    with mock.patch.object(FileLock, "_open", autospec=True, side_effect=FileLock._open) as opened:
        drafts = Writer(shelf).drafts_of(numbered(640), store=STORE)
    assert opened.call_count <= 10
    assert_counted(shelf)
    shelf.seal_many(drafts)
    assert [Reader(shelf).view(one.info)[0] for one in drafts] == list(range(640))
    assert_counted(shelf)


def test_arrays_of_all_forms_and_sizes_come_back_in_order(shelf: Shelf) -> None:
    rng = np.random.default_rng(1)
    plain = rng.random((20, 30))
    parts = [rng.integers(0, 99, 3, "u1") for _ in range(3000)]  # more than one call of the system writes
    mixed: list[Any] = [
        plain, np.asfortranarray(plain), plain[::2, ::3], plain.T[1:], np.empty((0, 3)), np.array(5), np.array("text"),
        np.zeros(3, [("a", "i1"), ("b", "f8")])[::2], rng.random(COPY_BELOW // 8), rng.random(MIB // 8), plain[0],
        Packed("test", 9000, parts), np.ones((), "M8[s]"), rng.random((300, 300))[::2], plain[:1],
        np.zeros(3, [("e", "S0"), ("x", "i4")])["e"],
    ]  # fmt: skip
    drafts = Writer(shelf).drafts_of([(f"{number}", one) for number, one in enumerate(mixed)], store=STORE)
    shelf.seal_many(drafts)
    assert [one.info.key for one in drafts] == [f"{number}" for number in range(len(mixed))]
    for draft, one in zip(drafts, mixed, strict=True):
        view = Reader(shelf).view(draft.info)
        if isinstance(one, Packed):
            assert view.tobytes() == b"".join(map(bytes, parts))
        else:
            assert view.dtype == one.dtype and view.shape == one.shape
            assert view.tobytes() == one.tobytes()
            assert view.flags.f_contiguous == one.flags.f_contiguous or not one.flags.forc
    assert_counted(shelf)


@pytest.mark.parametrize("size", [8, 9, COPY_BELOW])
@pytest.mark.parametrize("budget", [MIB, 2 * COPY_BELOW])
def test_a_generator_may_give_all_arrays_in_the_same_memory(root: Path, size: int, budget: int) -> None:
    shelf, buffer = Shelf(str(root / "shelf"), budget=budget), np.empty(size, "u1")
    shelf.spill_to(str(root / "disk"))
    shelf.ledger.disk.budget = MIB

    def given() -> Iterator[tuple[None, Any]]:
        for number in range(4):
            for array in (buffer, buffer[::2], buffer.reshape(1, -1), np.asfortranarray(buffer.reshape(-1, 1))):
                buffer[:] = number
                yield None, array
            yield None, Packed("test", size, [buffer])

    drafts = Writer(shelf).drafts_of(given(), store=STORE)
    shelf.seal_many(drafts)
    assert [set(Reader(shelf).view(one.info).ravel().tolist()) for one in drafts] == [{n // 5} for n in range(20)]


def test_marks_and_times_to_live(shelf: Shelf) -> None:
    options = PutOptions(Lifetime(4, 0, 1000.0), pin=True)
    for draft in Writer(shelf).drafts_of(numbered(3), store=STORE, options=options):
        status = os.stat(draft.path)
        assert status.st_mode & 0o7777 == options.mode
        assert status.st_mtime > status.st_atime + 900
        draft.discard()


def test_a_full_budget_has_arrays_spilled_and_then_is_an_error(root: Path) -> None:
    shelf = Shelf(str(root / "shelf"), budget=MIB)
    shelf.spill_to(str(root / "disk"))
    shelf.ledger.disk.budget = MIB
    drafts = Writer(shelf).drafts_of(numbered(200), store=STORE)  # of 256 that fit
    shelf.seal_many(drafts)
    shelf.seal_many(Writer(shelf).drafts_of([(f"more {key}", one) for key, one in numbered(200)], store=STORE))
    assert shelf.spilled()
    assert all((Reader(shelf).view(one.info) == float(number)).all() for number, one in enumerate(drafts))
    before = set(shelf.ids())
    with pytest.raises(StoreFull):
        Writer(shelf).drafts_of(numbered(300), store=STORE)
    assert set(shelf.ids()) == before
    assert drafts_left(shelf) == []
    assert_counted(shelf)


@pytest.mark.parametrize("ever", [False, True])
def test_a_file_system_that_is_full_at_any_call(root: Path, ever: bool) -> None:
    """Without a disk this is an error, and nothing stays. A single refusal is one too, or all are written."""
    shelf = Shelf(str(root / "shelf"), budget=MIB)
    Writer(shelf).put(np.ones(3))
    for fail_at in itertools.count(1):
        with faults(shelf.path, fail_at, errno.ENOSPC, ever=ever) as shim:
            try:
                drafts = Writer(shelf).drafts_of(numbered(3), store=STORE)
            except StoreFull:
                drafts = []
        assert len(drafts) in {0, 3}
        for draft in drafts:
            draft.discard()
        assert drafts_left(shelf) == []
        assert_counted(shelf)
        if shim.calls < fail_at:
            break
    assert fail_at > 6


@pytest.mark.parametrize("handler", ["raises", "puts"])
def test_a_signal_in_any_line(root: Path, handler: str) -> None:
    shelf = Shelf(str(root / "shelf"), budget=MIB)
    writer = Writer(shelf)
    writer.put(np.ones(3))
    files, put = {draft_module.__file__, pool_module.__file__}, list[Any]()

    def handle() -> None:
        if handler == "raises":
            signal.raise_signal(signal.SIGINT)
        else:
            put.append(writer.put(np.full(9, 9.0)))

    for step in itertools.count(1):
        line, done = 0, False

        def trace(frame: FrameType, event: str, _: object, step: int = step) -> Any:
            nonlocal line, done
            if frame.f_code.co_filename in files and event == "line" and not done:
                line += 1
                done = line == step
                if done:
                    sys.settrace(None)
                    handle()
            return trace

        drafts: list[Any] = []
        sys.settrace(trace)
        try:
            drafts = writer.drafts_of(numbered(2), store=STORE)
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)
        assert len(drafts) == (0 if done and handler == "raises" else 2)
        for draft in drafts:
            draft.discard()
        drafts.clear()
        clear_remains()  # as the next put does
        assert drafts_left(shelf) == []
        assert_counted(shelf)
        if not done:
            break
    assert step > 30
    assert all((Reader(shelf).view(one) == 9).all() for one in put)
