"""A shelf and an index against a dict, with crashes of catalog and writers between any two steps.

`outlive.cluster.catalog` tells the steps of a put and of a deletion. Each is a rule of its own here, so that steps of
several writers, deletions, the keeper's rounds and crashes come in any order.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from outlive.arrays.draft import Draft
from outlive.arrays.live import forget
from outlive.arrays.pool import LEAST
from outlive.arrays.reader import Reader
from outlive.arrays.remains import clear_remains
from outlive.arrays.segment import COPY_BELOW, pages
from outlive.arrays.shelf import Shelf, StaleEpoch
from outlive.arrays.spill.move import promote, spill
from outlive.arrays.tend.fsck import check
from outlive.arrays.writer import Writer
from outlive.catalog.index import Holding

from .local_store import STORE, Catalog, assert_counted

Array = np.ndarray[Any, Any]
EXAMPLES = int(os.environ.get("OUTLIVE_EXAMPLES", "120"))
KEYS = st.sampled_from(["a", "b", "../c"])
COUNTS = st.sampled_from([0, 3, COPY_BELOW // 8 + 5, LEAST // 8, LEAST // 8 + 999])  # none, copied, mapped, recycled


class Put:
    """A writer with one array, and what the model knows of it. As a process has, it has a folder in new/ of its own."""

    def __init__(self, path: str, key: str, value: Array) -> None:
        self.key, self.value = key, value
        self.draft: Draft | None = Writer(Shelf(path)).draft_of(
            value, store=STORE, key=key
        )  # None once the writer has ended
        self.draft.settled = True  # as if in a process that is killed: it does not clean up after itself
        self.id, self.version, self.size = self.draft.info.id, self.draft.info.version, self.draft.info.size
        self.file: Literal["unsealed", "sealed", "gone"] = "unsealed"
        self.epoch = 0  # in which it was listed last

    def end(self) -> None:
        """Let go of everything, as the kernel does for a dead process: the lock of its folder goes with the shelf."""
        self.draft = None
        clear_remains()


class Deletion:
    """A key's files that are yet to be deleted."""

    def __init__(self, key: str, epoch: int, holdings: list[Holding]) -> None:
        self.key, self.epoch, self.left = key, epoch, holdings
        self.last = holdings[-1].array_id if holdings else ""


class StoreMachine(RuleBasedStateMachine):
    """`current` is the dict that the store has to equal, but for the keys in `doomed`."""

    root: str
    puts = Bundle("puts")
    deletions = Bundle("deletions")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp(dir=self.root)
        self.shelf = Shelf(f"{self.folder}/shelf", budget=1 << 30)
        self.shelf.spill_to(f"{self.folder}/disk")
        self.shelf.ledger.disk.budget = 1 << 30
        self.catalog = Catalog(self.shelf)
        self.by_id: dict[str, Put] = {}
        self.current: dict[str, Put] = {}
        self.doomed: set[str] = set()
        self.named: dict[str, Put] = {}  # what each key leads to by name, unless it is gone
        self.views: list[tuple[Array, Array]] = []

    # --- writers

    @rule(target=puts, key=KEYS, count=COUNTS)
    def draft(self, key: str, count: int) -> Put:
        put = Put(self.shelf.path, key, np.arange(count) + len(self.by_id))
        self.by_id[put.id] = put
        return put

    @rule(put=puts)
    def bind(self, put: Put) -> None:
        """Have the catalog list it: once in each epoch, and again if it is the current one (the answer was lost)."""
        if put.draft is None or (put.epoch == self.catalog.epoch and self.current.get(put.key) is not put):
            return
        if put.epoch and put.file != "unsealed":  # a reader sealed it before the catalog crashed: it was stored
            put.end()
            return
        anew = self.current.get(put.key) is not put
        put.epoch = self.catalog.bind(put.draft)
        put.version = put.draft.info.version
        self.current[put.key] = put
        if anew:
            self.doomed.discard(put.key)

    @rule(put=puts)
    def seal(self, put: Put) -> None:
        if put.draft is None or not put.epoch:
            return
        try:
            put.draft.seal(put.epoch)
        except StaleEpoch:
            assert put.epoch != self.catalog.epoch
            return
        assert put.epoch == self.catalog.epoch
        self._sealed(put)
        put.end()

    @rule(key=KEYS, count=COUNTS)
    def put(self, key: str, count: int) -> None:
        """All of it, undisturbed."""
        put = self.draft(key, count)
        self.bind(put)
        self.seal(put)

    @rule(put=puts)
    def writer_dies(self, put: Put) -> None:
        put.end()

    @rule(put=puts)
    def writer_gives_up(self, put: Put) -> None:
        """Its write failed: it discards a draft that no catalog knows."""
        if put.draft is not None and not put.epoch:
            put.draft.discard()
            put.file = "gone"
            put.end()

    def _sealed(self, put: Put) -> None:
        if put.file == "unsealed":
            put.file = "sealed"
        named = self.named.get(put.key)
        if put.file == "sealed" and (named is None or named.file != "sealed" or named.version < put.version):
            self.named[put.key] = put

    # --- readers

    @rule(key=KEYS, hold=st.booleans())
    def read(self, key: str, *, hold: bool) -> None:
        view = self.catalog.read(key)
        named = self.named.get(key)
        if named is not None and named.file == "sealed":  # stands until a later one is sealed, or it is deleted
            put = named
        elif key in self.current and key not in self.doomed:
            put = self.current[key]
            self._sealed(put)  # by the reader, if its writer had not
        else:
            assert view is None
            return
        assert view is not None
        assert np.array_equal(view, put.value)
        if hold:
            self.views.append((view, put.value))

    # --- catalog and keeper

    @rule()
    def drop_replaced(self) -> None:
        replaced = self.catalog.replaced
        self.catalog.drop_replaced()
        for replacement in replaced:
            new, old = self.by_id[replacement.new.array_id], self.by_id[replacement.old.array_id]
            self._sealed(new)
            if new.file == "sealed":
                old.file = "gone"

    @rule()
    def keeper_trims_the_pool(self) -> None:
        self.shelf.pool.trim()

    # --- between memory and disk

    @rule(put=puts)
    def spill(self, put: Put) -> None:
        mover = Shelf(self.shelf.path)
        in_memory = os.path.exists(f"{mover.mem}/{put.id}")
        assert mover.disk is not None
        freed = spill(mover, mover.disk, put.id)
        assert not freed or in_memory
        if in_memory and not any(view.base is not None and put.value is value for view, value in self.views):
            assert freed == pages(put.size)
            assert put.id in self.shelf.spilled()

    @rule(put=puts)
    def promote(self, put: Put) -> None:
        mover = Shelf(self.shelf.path)
        assert mover.disk is not None
        spilled = put.id in mover.spilled()
        assert promote(mover, mover.disk, put.id) == (spilled and mover.ledger.budget > 0)

    @rule(full=st.booleans())
    def memory_is_full(self, *, full: bool) -> None:
        """Then everything goes straight to disk."""
        self.shelf.pool.trim()
        self.shelf.ledger.budget = 0 if full else 1 << 30

    @rule()
    def readers_go(self) -> None:
        self.views.clear()

    @rule(target=deletions, key=KEYS)
    def begin_to_delete(self, key: str) -> Deletion:
        deletion = Deletion(key, self.catalog.epoch, self.catalog.doom(key))
        if deletion.left:
            self.doomed.add(key)
        return deletion

    @rule(deletion=deletions, steps=st.integers(1, 3))
    def go_on_deleting(self, deletion: Deletion, steps: int) -> None:
        if deletion.epoch != self.catalog.epoch:  # it ended with that catalog
            return
        for _ in range(min(steps, len(deletion.left))):
            array_id = deletion.left.pop(0).array_id
            self.shelf.delete(array_id, (STORE, deletion.key))
            self.by_id[array_id].file = "gone"
        if not deletion.left and self.catalog.index.unbind(STORE, deletion.key, deletion.last):
            assert self.current.pop(deletion.key).id == deletion.last
            self.doomed.discard(deletion.key)

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        """All of it, undisturbed."""
        holdings = self.catalog.doom(key)
        assert (key in self.current) == bool(holdings)
        deletion = Deletion(key, self.catalog.epoch, holdings)
        self.go_on_deleting(deletion, len(holdings))
        self.current.pop(key, None)
        assert self.catalog.read(key) is None
        assert self.catalog.reader.named(STORE, key) is None
        assert Reader(self.shelf).named(STORE, key) is None

    @rule()
    def catalog_crashes(self) -> None:
        """It forgets everything; the files tell all."""
        self.catalog.restart()
        self.current, self.doomed = {}, set()
        for put in sorted(self._with_file("sealed"), key=lambda put: put.version):
            self.current[put.key] = put

    @rule()
    def keeper_checks(self) -> None:
        """Drafts of dead writers go, except those that are listed: they are sealed."""
        found = {(finding.problem, finding.subject) for finding in check(self.shelf, self.catalog.listed)}
        expected = set()
        for put in self._with_file("unsealed"):
            if put.draft is None:
                put.file = "unsealed" if self.current.get(put.key) is put else "gone"
                self._sealed(put)
                expected.add(("unfinished" if put.file == "sealed" else "abandoned", put.id))
        assert found == expected

    def _with_file(self, state: str) -> Iterator[Put]:
        return (put for put in self.by_id.values() if put.file == state)

    # --- what is true after every step

    @invariant()
    def keys_are_those_of_the_dict(self) -> None:
        assert set(self.catalog.index.keys(STORE)) == set(self.current) - self.doomed
        assert self.catalog.index.count(STORE) == len(set(self.current) - self.doomed)
        for key, put in self.current.items():
            entry = self.catalog.index.find(STORE, key)
            assert entry is not None
            assert (entry.info.id, entry.info.version, entry.doomed) == (put.id, put.version, key in self.doomed)
            assert put.file != "gone" or key in self.doomed

    @invariant()
    def sealed_arrays_are_there_and_right(self) -> None:
        assert set(self.shelf.ids()) == {put.id for put in self._with_file("sealed")}
        for info in self.shelf.scan():
            forget(info.id)  # read the file, not what this process remembers of it
            assert np.array_equal(Reader(self.shelf).view(info), self.by_id[info.id].value)
            assert np.array_equal(self.catalog.reader.view(info), self.by_id[info.id].value)

    @invariant()
    def views_do_not_change(self) -> None:
        assert all(np.array_equal(view, value) for view, value in self.views)

    @invariant()
    def every_byte_is_counted(self) -> None:
        assert_counted(self.shelf)

    def teardown(self) -> None:
        """Everybody dies. What was listed is all that is left, and a catalog that starts now says the same."""
        try:
            for put in self.by_id.values():
                put.end()
            self.keeper_checks()
            self.drop_replaced()
            self.views.clear()
            for key in self.doomed:
                self.current.pop(key)
                self.catalog.delete(key)
            self.shelf.pool.trim()
            assert set(self.shelf.ids()) == {put.id for put in self.current.values()}
            assert self.shelf.disk is not None
            self.shelf.disk.pool.trim()
            in_all = self.shelf.ledger.used + self.shelf.ledger.disk.used
            assert in_all == sum(pages(put.size) for put in self.current.values())
            assert_counted(self.shelf)
            assert not list(Path(self.shelf.disk.new).iterdir())
            assert not list(Path(self.shelf.new).iterdir())
            self.catalog.restart()
            assert set(self.catalog.index.keys(STORE)) == set(self.current)
        finally:
            self.views.clear()
            shutil.rmtree(self.folder)


@pytest.mark.timeout(600)
def test_store_machine(module_root: Path) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    StoreMachine.root = str(module_root)
    run_state_machine_as_test(
        StoreMachine, settings=settings(max_examples=EXAMPLES, stateful_step_count=40, deadline=None)
    )
