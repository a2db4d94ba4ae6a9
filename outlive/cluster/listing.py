"""The listing: the arrays of a shelf that a catalog has to know, in one answer or in parts."""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from typing import TYPE_CHECKING

from outlive.arrays.layout import is_cached, is_copied
from outlive.arrays.marks import mode_of
from outlive.catalog.wire import Listed, Successor, pack_listed

if TYPE_CHECKING:
    from outlive.arrays.shelf import Shelf

AT_A_TIME = 10_000  # arrays in a part


class Listing:
    """The arrays of `shelf` that have a key, and those without one that are, or are to be, on other nodes too."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._ids: list[str] = []  # sorted, while they are listed in parts

    def all(self) -> tuple[int, bytes]:
        """Raise the epoch; returns it, and then all arrays, packed by `wire.pack_listed`."""
        epoch = self._shelf.raise_epoch()
        return epoch, self._pack(self._shelf.ids())

    def part(self, after: str | None) -> tuple[int, bytes, str | None]:
        """The next part: arrays whose ids come after `after`. None asks for the first part, and raises the epoch.

        Another process than that of the first part may answer for the others: it reads the folder again.

        Returns
        -------
        The epoch, some arrays, and the `after` for the next part, or None if this was the last. If the epoch is not
        that of the first part, somebody has begun another listing, and the earlier parts may lack arrays.
        """
        if after is None:
            self._shelf.raise_epoch()
        ids = self._ids if after is not None and self._ids else sorted(self._shelf.ids())
        begin = 0 if after is None else bisect.bisect_right(ids, after)
        some = ids[begin : begin + AT_A_TIME]
        more = begin + len(some) < len(ids)
        self._ids = ids if more else []
        return self._shelf.ledger.epoch, self._pack(some), some[-1] if more else None

    def _pack(self, array_ids: Iterable[str]) -> bytes:
        modes = ((info, mode_of(self._shelf, info.id)) for info in self._shelf.infos(array_ids))
        return pack_listed(
            Listed(
                info,
                kept=not is_cached(mode),
                late=self._shelf.names.knows_later(info),
                successors=[Successor(*one) for one in self._shelf.names.successors(info)],
            )
            for info, mode in modes
            if info.key is not None or info.replicas > 1 or is_cached(mode) or is_copied(mode)
        )
