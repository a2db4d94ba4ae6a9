"""A transaction: what is written and deleted in it is seen by its own process alone, and takes effect as one."""

from __future__ import annotations

import os

import numpy as np

from outlive.arrays.lock import Mutex
from outlive.zarr.chunks import Array, Chunks, Cut


class Transaction:
    """`Chunks`, with changes that this process's memory holds until `commit`."""

    def __init__(self, chunks: Chunks) -> None:
        self.chunks, self.pid = chunks, os.getpid()
        self._changed: dict[str, Array | None] = {}  # None: deleted
        self._adding = Mutex()

    def commit(self) -> None:
        """Have all changes take effect, or none.

        Raises
        ------
        StoreFull, StoreUnavailable
            None has.
        """
        written = {key: value for key, value in self._changed.items() if value is not None}
        deleted = [key for key, value in self._changed.items() if value is None]
        if deleted:
            prefix = os.path.commonprefix(deleted)  # noqa: RUF071 - keys are no paths
            there = {prefix + name for name in self.chunks.names(prefix, deleted=True)}
            deleted = [key for key in deleted if key in there]
        self.chunks.replace(written, deleted)

    # --- as `Chunks`

    def here(self, key: str) -> Array | None:
        return self._changed[key] if key in self._changed else self.chunks.here(key)

    def read(self, key: str, cut: Cut | None = None) -> Array | None:
        if key not in self._changed:
            return self.chunks.read(key, cut)
        value = self._changed[key]
        return value if value is None or cut is None else value[cut(len(value))]

    def size(self, key: str) -> int | None:
        if key not in self._changed:
            return self.chunks.size(key)
        value = self._changed[key]
        return None if value is None else len(value)

    def names(self, prefix: str, separator: str = "") -> list[str]:
        found = set(self.chunks.names(prefix))
        for key, value in dict(self._changed).items():
            if key.startswith(prefix):
                (found.discard if value is None else found.add)(key[len(prefix) :])
        return sorted({name.split(separator, 1)[0] for name in found} if separator else found)

    def total_size(self, prefix: str) -> int:
        return sum(self.size(prefix + name) or 0 for name in self.names(prefix))

    def write(self, key: str, value: Array) -> None:
        self._changed[self.chunks.check(key)] = _own(value)

    def write_many(self, values: dict[str, Array]) -> None:
        for key, value in values.items():
            self.write(key, value)

    def add(self, key: str, value: Array) -> None:
        with self._adding.now:
            if self.size(key) is None:
                self.write(key, value)

    def delete(self, wanted: list[str]) -> None:
        self._changed.update(dict.fromkeys(wanted))

    def delete_below(self, prefix: str) -> None:
        self.delete([prefix + name for name in self.names(prefix)])


def _own(value: Array) -> Array:
    own = np.array(value)
    own.flags.writeable = False
    return own
