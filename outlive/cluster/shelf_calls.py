"""What the catalog asks of a shelf, and a keeper answers: all that needs the shelf's files alone.

So whoever runs on the node can answer in the keeper's stead, when that is stopped or gone: see `Peers`.
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
    """Each may be made twice, and at the same time by two processes."""

    _shelf: Shelf
    _node: str

    def listing(self) -> tuple[int, bytes]:
        """For a catalog that starts: a new epoch, and then what it has to know of this shelf, by `wire.pack_listed`.

        That is all arrays with a key, and those without that other nodes have, or shall have.
        """
        return Listing(self._shelf).all()

    def listing_part(self, after: str | None = None) -> tuple[int, bytes, str | None]:
        """As `listing`, in parts; see `Listing.part`."""
        return Listing(self._shelf).part(after)

    def describe(self, array_ids: list[str]) -> list[bytes]:
        """Those of these arrays that are here and have a key, by `wire.pack`, all in one."""
        return [pack(info for info in self._shelf.infos(array_ids) if info.key is not None)]

    def finish(self, array_ids: list[str], epoch: int) -> list[bool]:
        """Seal drafts that the catalog of `epoch` listed; says of each whether it is sealed now."""
        return [self._shelf.has(array_id) or self._shelf.finish(array_id, epoch) for array_id in array_ids]

    def drop(self, arrays: list[tuple[str, tuple[str, str] | None]]) -> list[bool]:
        """Delete arrays, each by id, and with its store and key if the key goes too. Open views stay valid.

        Says of each whether it was there.
        """
        return [self._shelf.delete(array_id, name) for array_id, name in arrays]

    def forbid(self, names: list[tuple[str, str, int, tuple[int, str, str] | None]]) -> None:
        """Nobody on this node finds what these stores' keys stood for before these versions by name, from now on.

        And what replaces that, if it is given, is remembered for a while: version, id and home.

        Raises
        ------
        StoreFull
            The file system has no room for that. Some may be forbidden all the same, which costs their readers a call.
        """
        try:
            self._shelf.names.forbid_all(names)
        except OSError as error:
            raise explain(self._shelf, error, 0) from None

    def holds(self, array_ids: list[str]) -> list[bool]:
        return [self._shelf.has(array_id) for array_id in array_ids]

    def holds_from_now(self, array_ids: list[str]) -> tuple[int, list[bool]]:
        """A new epoch, and then which of these arrays are here: none that is not can be sealed as of an earlier one."""
        return self._shelf.raise_epoch(), self.holds(array_ids)

    def unsealed(self, array_ids: list[str]) -> list[bool]:
        """Which of these arrays are drafts here."""
        return [self._shelf.has_draft(array_id) for array_id in array_ids]

    def never_put(self, array_ids: list[str]) -> list[bool]:
        """Of arrays that are not here: whether their puts came to nothing, and were written down as such."""
        found = map(self._shelf.ended.find, array_ids)
        return [ended is not None and ended.why == Why.NOT_PUT for ended in found]

    def given_up(self) -> list[str]:
        """Arrays whose puts came to nothing lately."""
        return self._shelf.ended.given_up()

    def keep(self, array_ids: list[str]) -> list[bool]:
        """Let cached copies be replicas from now on; says of each whether it is still there."""
        return [keep(self._shelf, array_id) for array_id in array_ids]

    def touch(self, array_id: str, deadline_ns: int) -> bool:
        """Let an array live until then; False if it is not there."""
        return self._shelf.set_deadline(array_id, deadline_ns)

    def why_ended(self, array_id: str) -> str | None:
        why = self._shelf.ended.find(array_id)
        return None if why is None else str(why)


class ShelfOf(ShelfCalls):
    """The shelf of the node that this process runs on.

    Raises
    ------
    StoreUnavailable
        There is none: its keeper left, and nothing is kept here.
    """

    def __init__(self, cluster: str, node: str) -> None:
        root, _ = default_root()
        path = shelf_folder(root, cluster, node)
        if not os.path.exists(f"{path}/{LEDGER}"):
            raise StoreUnavailable(f"node {node} has no shelf")
        self._shelf, self._node = Shelf(path), node


def call(cluster: str, node: str, method: str, args: tuple[Any, ...]) -> Any:
    """One of the calls above, by a process of that node."""
    return getattr(ShelfOf(cluster, node), method)(*args)
