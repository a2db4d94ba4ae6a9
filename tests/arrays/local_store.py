"""A store in one process: a shelf and an index, put together by the catalog's protocol; and the bytes of a shelf."""

from __future__ import annotations

import stat
import threading
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import numpy as np

from outlive.arrays.disk import Disk
from outlive.arrays.draft import Draft
from outlive.arrays.info import check_key, new_version
from outlive.arrays.layout import COPY, is_id
from outlive.arrays.reader import Reader
from outlive.arrays.segment import pages
from outlive.arrays.shelf import Shelf
from outlive.arrays.writer import Writer
from outlive.catalog.index import Holding, Index, Replacement
from outlive.errors import ArrayNotFound

NODE, STORE = "here", "default"


def disk_usage(tier: Shelf | Disk) -> int:
    """What the ledger should say of memory (a shelf), or of its disk, counted from the files."""
    folders = [Path(tier.mem), Path(tier.pool.folder), *Path(tier.new).iterdir()]
    found = [file for folder in folders if stat.S_ISDIR(folder.lstat().st_mode) for file in folder.iterdir()]
    names = ((file, file.name.removesuffix(COPY).rpartition(".")[2]) for file in found)
    return sum(pages(file.lstat().st_size) for file, name in names if is_id(name))


def assert_counted(shelf: Shelf) -> None:
    """Both accounts say what the file system says."""
    assert shelf.ledger.used == disk_usage(shelf)
    assert shelf.ledger.disk.used == (0 if shelf.disk is None else disk_usage(shelf.disk))


class Catalog:
    """The catalog's part, without Ray: loses all it knows in a crash, and learns it again from the shelf."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.reader = Reader(shelf)  # one for all reads: it remembers what it has read
        self.restart()

    def restart(self) -> None:
        """Crash, and start anew from the files alone."""
        self.index, self.replaced = Index(), list[Replacement]()
        self.epoch = self.shelf.raise_epoch()
        for info in self.shelf.scan():
            self.replaced += self.index.admit(info, NODE)

    def bind(self, draft: Draft) -> int:
        """List a draft; returns the epoch to seal it under."""
        while isinstance(answer := self.index.bind([draft.info], NODE), int):
            draft.restamp(new_version(after=answer))
        self.replaced += answer
        return self.epoch

    def commit(self, draft: Draft) -> None:
        draft.seal(self.bind(draft))  # no other catalog can have started in between: `restart` is this one's

    def read(self, key: str) -> np.ndarray[Any, Any] | None:
        view = self.reader.named(STORE, key)
        if view is not None:
            return view
        entry = self.index.find(STORE, key)
        if entry is None or entry.doomed:
            return None
        try:
            view = self.reader.view(entry.info)
        except ArrayNotFound:  # listed, not sealed yet
            return self.reader.view(entry.info) if self.shelf.finish(entry.info.id, self.epoch) else None
        self.shelf.name(entry.info)
        return view

    def drop_replaced(self) -> None:
        replaced, self.replaced = self.replaced, []
        for replacement in replaced:
            new = replacement.new.array_id
            if self.shelf.has(new) or self.shelf.finish(new, self.epoch):
                self.shelf.delete(replacement.old.array_id)
                self.index.no_file(replacement.old.array_id, replacement.old.node)

    def doom(self, key: str) -> list[Holding]:
        return [holding for _, holdings in self.index.doom(STORE, [key]) for holding in holdings]

    def delete(self, key: str) -> bool:
        holdings = self.doom(key)
        for holding in holdings:
            self.shelf.delete(holding.array_id, (STORE, key))
        return bool(holdings) and self.index.unbind(STORE, key, holdings[-1].array_id)

    def listed(self, ids: list[str]) -> set[str]:
        return {array_id for array_id in ids if self.index.lists(array_id)}


class LocalStore(MutableMapping[str, np.ndarray[Any, Any]]):
    """What `outlive.Store` is to a cluster, in one process."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf, self.catalog, self._lock = shelf, Catalog(shelf), threading.Lock()

    def __setitem__(self, key: str, array: np.ndarray[Any, Any]) -> None:
        draft = Writer(self.shelf).draft_of(array, store=STORE, key=check_key(key))
        with self._lock:
            self.catalog.commit(draft)
            self.catalog.drop_replaced()

    def __getitem__(self, key: str) -> np.ndarray[Any, Any]:
        check_key(key)
        with self._lock:
            view = self.catalog.read(key)
        if view is None:
            raise KeyError(key)
        return view

    def __delitem__(self, key: str) -> None:
        check_key(key)
        with self._lock:
            if not self.catalog.delete(key):
                raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        with self._lock:
            return iter(self.catalog.index.keys(STORE))

    def __len__(self) -> int:
        return self.catalog.index.count(STORE)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.catalog.index.find(STORE, key) is not None
