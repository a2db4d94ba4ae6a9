"""Shelf calls: the catalog's calls of a keeper that need nothing but the shelf's files.

So any process of the node can carry them out if the keeper is stopped or gone: see `Peers.ask`.
"""

from __future__ import annotations

import os
from typing import Any

from outlive.arrays.ended import Why
from outlive.arrays.full import explain
from outlive.arrays.layout import LEDGER
from outlive.arrays.marks import keep
from outlive.arrays.root import default_root, shelf_folder
from outlive.arrays.shelf import Shelf
from outlive.catalog.wire import pack
from outlive.cluster.listing import Listing
from outlive.errors import StoreUnavailable


class ShelfCalls:
    """Each call may be made twice, and by two processes at the same time."""

    _shelf: Shelf
    _node: str

    def listing(self) -> tuple[int, bytes]:
        """See `Listing.all`."""
        return Listing(self._shelf).all()

    def listing_part(self, after: str | None = None) -> tuple[int, bytes, str | None]:
        """See `Listing.part`."""
        return Listing(self._shelf).part(after)

    def describe(self, array_ids: list[str]) -> list[bytes]:
        """The arrays, of these, that are here and have a key: one `wire.pack` of all of them."""
        return [pack(info for info in self._shelf.infos(array_ids) if info.key is not None)]

    def finish(self, array_ids: list[str], epoch: int) -> list[bool]:
        """Seal drafts that were listed under `epoch`; whether each array is sealed now."""
        return [self._shelf.has(array_id) or self._shelf.finish(array_id, epoch) for array_id in array_ids]

    def drop(self, arrays: list[tuple[str, tuple[str, str] | None]]) -> list[bool]:
        """Delete arrays, each with its name if a store and a key are given; whether each was here.

        Open views stay valid.
        """
        return [self._shelf.delete(array_id, name) for array_id, name in arrays]

    def forbid(self, names: list[tuple[str, str, int, tuple[int, str, str] | None]]) -> None:
        """Forbid names: from now on no read by name on this node finds an earlier version than this.

        Each item is a store, a key, a version, and the version, id and home of the array that replaces the earlier
        ones, if any. These are remembered for a while: see `catalog.successors`.

        Raises
        ------
        StoreFull
            The file system has no room. Some names may be forbidden all the same, which costs their readers a call.
        """
        try:
            self._shelf.names.forbid_all(names)
        except OSError as error:
            raise explain(self._shelf, error, 0) from None

    def forget_successors(self, names: list[tuple[str, str, str]]) -> None:
        """Forget arrays that were to replace others, as their puts came to nothing: store, key and id of each.

        Raises
        ------
        StoreFull
            The file system has no room.
        """
        try:
            self._shelf.names.forget_successors(names)
        except OSError as error:
            raise explain(self._shelf, error, 0) from None

    def holds(self, array_ids: list[str]) -> list[bool]:
        return [self._shelf.has(array_id) for array_id in array_ids]

    def lacks(self, array_ids: list[str]) -> list[bool]:
        """Whether each of these arrays is not here, sealed or as a draft."""
        # in this order: it may be sealed in between
        return [not self._shelf.has_draft(array_id) and not self._shelf.has(array_id) for array_id in array_ids]

    def holds_from_now(self, array_ids: list[str]) -> tuple[int, list[bool]]:
        """Raise the epoch; returns it, and whether each array is here. The others need it to be sealed."""
        return self._shelf.raise_epoch(), self.holds(array_ids)

    def unsealed(self, array_ids: list[str]) -> list[bool]:
        """Whether each of these arrays is a draft here."""
        return [self._shelf.has_draft(array_id) for array_id in array_ids]

    def never_put(self, array_ids: list[str]) -> list[bool]:
        """Whether each of these arrays is recorded here as one whose put came to nothing."""
        found = map(self._shelf.ended.find, array_ids)
        return [ended is not None and ended.why == Why.NOT_PUT for ended in found]

    def given_up(self) -> list[str]:
        """The arrays that were recorded lately as ones whose puts came to nothing."""
        return self._shelf.ended.given_up()

    def keep(self, array_ids: list[str]) -> list[bool]:
        """Make cached copies replicas; whether each is still here."""
        return [keep(self._shelf, array_id) for array_id in array_ids]

    def touch(self, array_id: str, deadline_ns: int) -> bool:
        """Let an array live until `deadline_ns`; False if it is not here."""
        return self._shelf.set_deadline(array_id, deadline_ns)

    def why_ended(self, array_id: str) -> str | None:
        why = self._shelf.ended.find(array_id)
        return None if why is None else str(why)


class ShelfOf(ShelfCalls):
    """The shelf of this process's node.

    Raises
    ------
    StoreUnavailable
        The node has no shelf, as its keeper has left.
    """

    def __init__(self, cluster: str, node: str) -> None:
        root, _ = default_root()
        path = shelf_folder(root, cluster, node)
        if not os.path.exists(f"{path}/{LEDGER}"):
            raise StoreUnavailable(f"node {node} has no shelf")
        self._shelf, self._node = Shelf(path), node


def call(cluster: str, node: str, method: str, args: tuple[Any, ...]) -> Any:
    """Make one of the `ShelfCalls`, in a process of that node."""
    return getattr(ShelfOf(cluster, node), method)(*args)
