"""All that the catalog knows, as plain data, and what must be true of it at every moment."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from outlive.arrays.info import ArrayInfo
from outlive.catalog import pages
from outlive.catalog.holds import Holds
from outlive.catalog.index import Holding, Index, Replacement
from outlive.catalog.instructions import Ask
from outlive.catalog.latest import Latest
from outlive.catalog.wire import Successor
from outlive.errors import StoreUnavailable
from outlive.node import Node

Name = tuple[str, str]  # store and key


class Outside(NamedTuple):
    """What is not plain data: the time, and chance."""

    now: Callable[[], float]  # seconds that only go forward
    time: Callable[[], float]  # seconds since 1970
    chance: random.Random


class UnderWay:
    """What conversations are about: others that would do the same wait until it is done."""

    def __init__(self) -> None:
        self.listing: dict[str, set[str]] = {}  # nodes that are listed, and what was dropped there meanwhile
        self.deleted: dict[str, dict[tuple[str, str], int]] = {}  # and the keys deleted meanwhile: of which version
        self.copying: set[str] = set()  # arrays of which copies are made
        self.in_bulk: set[str] = set()  # those of which copies are made together
        self.dropping: set[str] = set()  # nodes of which somebody drops what was replaced by arrays there
        self.clearing: set[str] = set()  # nodes of which somebody drops what is unwanted there
        self.deleting: set[str] = set()  # arrays whose keys are deleted, and whose files nodes may be dropping
        self.losing: set[str] = set()  # dead nodes, what they alone kept
        self.saving = False  # what is lost
        self.saving_shelves = False  # which nodes have one
        self.bulk = False  # copies are made together


class State:
    """The catalog's. Each method is one step, or only looks."""

    def __init__(self, outside: Outside) -> None:
        self.outside = outside
        self.index = Index()
        self.holds = Holds(outside.now, outside.chance.getrandbits(62))
        self.under_way = UnderWay()
        # nodes
        self._nodes: dict[str, Node] = {}
        self.staying: list[str] = []  # sorted: those that live and are not drained
        self.dead: list[str] = []
        self.head = ""
        self.unseen: set[str] = set()  # living ones whose machines are to be searched for shelves to adopt
        self.seen: set[str] = set()  # and that were
        self.losses_known: list[str] = []  # dead nodes whose losses are known: another list each time
        self.saved_losses_known = self.losses_known  # the list that was written down last
        self.rounds = 0  # how often the nodes, and what is to be copied, were looked at
        # shelves
        self.epochs: dict[str, int] = {}  # by node, of its last listing
        self.known: set[str] = set()  # nodes whose keepers were found
        self.unlisted: set[str] = set()  # nodes that have a keeper, and have not said yet what is on their shelves
        self.left: set[str] = set()  # being emptied: no new replicas. Cleared by the next keyed put from that node
        self.lost_keepers: set[str] = set()  # nodes whose keepers were gone for good, and that are to be listed again
        self.shelves: set[str] = set()  # nodes that have one, or may have: the next catalog is to list them
        self.unsaved_shelves: set[str] = set()  # nodes that have one, or have none, since that was written down
        self.unheard: set[str] = set()  # nodes that had a shelf, and are dead before they said what they have
        self.heard_of: set[str] = set()  # of these, what they took with them is known, and is to be written down
        self.leavings = Counter[str]()  # how often the keeper of a node has left
        # arrays
        self.secured = Latest[str]()  # that others keep too, or of which that was tried: they may be shown
        self.late: dict[str, Sequence[Successor]] = {}  # that were to be replaced or deleted: a node may have to say
        self.erased = Latest[str]()  # deleted ones without a key, and puts that were taken back: late calls
        self.ended = Latest[tuple[str, str]]()  # arrays without a key, and nodes where they have ended: late calls
        self.given_up: dict[str, set[str]] = {}  # by node: puts that had been taken back when it was listed
        self.unfinished: set[str] = set()  # of which a node did not confirm that it deleted them
        self.replaced: list[Replacement] = []  # to be dropped
        self.to_drop: dict[str, list[Replacement]] = {}  # by the node that is asked whether the new one is sealed
        self.again: list[Replacement] = []  # of which a node did not confirm it: a second later
        self.unwanted: dict[str, dict[str, Name | None]] = {}  # never to be current again: nodes to drop it, its name

    def remember(self, load: pages.Load) -> None:
        """What an earlier catalog wrote down."""
        self.losses_known = self.saved_losses_known = pages.losses_known(load)
        self.shelves = pages.shelves(load)
        for lost in pages.saved_as_lost(load):
            self.index.lost.add(lost)
        self.index.lost.take_changed()

    # --- nodes

    @property
    def nodes(self) -> dict[str, Node]:
        """By id, as of when they were listed last."""
        return self._nodes

    @nodes.setter
    def nodes(self, nodes: dict[str, Node]) -> None:
        """They were listed. What others ask of them is sorted out here, once, and not by each who asks."""
        self._nodes = nodes
        living = [node for node in nodes.values() if node.alive]
        self.staying = sorted(node.id for node in living if node.draining_until is None)
        self.dead = [node.id for node in nodes.values() if not node.alive]
        self.head = next((node.id for node in living if node.is_head), "")
        self.unseen = {node.id for node in living if node.id not in self.seen}

    def is_alive(self, node: str) -> bool:
        return node not in self._nodes or self._nodes[node].alive  # not there: it has come since they were listed

    def has_keeper(self, node: str) -> bool:
        """Whether it lives, and its keeper is known."""
        return node in self.known and self.is_alive(node)

    def keepers(self) -> list[str]:
        """All nodes of which that is so."""
        return sorted(filter(self.is_alive, self.known))

    def say_unlisted(self, what: str) -> None:
        """Raises StoreUnavailable if a node has not said yet what it has, or died and nobody knows yet what it took."""
        if unlisted := sorted(self.unlisted | self.unheard):
            raise StoreUnavailable(
                f"{what} may be on node {', '.join(unlisted)}, which has not yet told the catalog what it has: its "
                "keeper does not answer. Try again"
            )

    def say_silent(self, array_id: str, silent: Iterable[str]) -> None:
        """Raises StoreUnavailable if nodes did not say whether they have an array."""
        if nodes := ", ".join(sorted(silent)):
            raise StoreUnavailable(
                f"array {array_id} may be on node {nodes}, which does not answer: its keeper is silent. Try again"
            )

    def note_shelf(self, node: str, *, has_one: bool) -> None:
        """Whether a node has a shelf, for the next catalog."""
        if has_one != (node in self.shelves):
            (self.shelves.add if has_one else self.shelves.discard)(node)
            self.unsaved_shelves.add(node)

    # --- arrays

    def kept(self, array_id: str, leaving: str = "") -> list[str]:
        """The living nodes that keep an array, apart from the one that is `leaving`."""
        holders = self.index.holders(array_id).items()
        return [node for node, kept in holders if kept and node != leaving and self.is_alive(node)]

    def not_there(self, node: str, array_id: str) -> None:
        """An array's file is not on a node's shelf, or will not be."""
        if staying := self.kept(array_id, node):
            self.index.move_home(array_id, node, staying[0])
        self.index.copies.remove(array_id, node)
        self.index.no_file(array_id, node)
        self.note_gone(node, [array_id])

    def forget_copy(self, array_id: str, node: str) -> None:
        """An array without a key is not on a node any more."""
        self.index.copies.remove(array_id, node)
        if not any(self.index.copies.of(array_id).values()):
            self.index.copies.forget_array(array_id)

    def restore(self, older: Iterable[Holding]) -> None:
        """List again what was replaced by what was never sealed, and is neither deleted nor about to be."""
        self.replaced += self.index.restore(one for one in older if not self.is_going(one.array_id))

    def is_going(self, array_id: str) -> bool:
        """Whether an array is never to be current again: it is deleted, or its files go just now, or shall."""
        return array_id in self.erased or array_id in self.unwanted or array_id in self.under_way.deleting

    def want_no_more(self, holding: Holding, name: Name | None) -> None:
        """A file is to go, and its array never to be current again."""
        self.unwanted.setdefault(holding.array_id, {})[holding.node] = name

    def has_gone(self, holding: Holding) -> None:
        """An unwanted file is not there any more."""
        nodes = self.unwanted.get(holding.array_id, {})
        nodes.pop(holding.node, None)
        if not nodes:
            self.unwanted.pop(holding.array_id, None)
        self.index.no_file(holding.array_id, holding.node)
        self.note_gone(holding.node, [holding.array_id])

    def note_erased(self, array_id: str) -> None:
        """Whoever comes late with this array is refused."""
        self.erased.add(array_id)

    def note_ended(self, array_id: str, node: str) -> None:
        """Whoever is just copying it from there does not have it count as kept there."""
        self.ended.add((array_id, node))

    def note_secured(self, array_ids: Iterable[str]) -> None:
        """Others keep these too, as far as they can: what they replaced never stands again."""
        for array_id in array_ids:
            entry = self.index.current(array_id)
            if entry is not None and entry.superseded:
                self.secured.add(array_id)

    def may_be_shown(self, info: ArrayInfo) -> bool:
        """Whether anybody may have seen an array that is replacing another: others keep it too, or are not to."""
        return info.replicas == 1 or info.id in self.secured

    def note_gone(self, node: str, array_ids: Iterable[str]) -> None:
        """For the listing of that shelf that may be under way: it may have seen them."""
        if (gone := self.under_way.listing.get(node)) is not None:
            gone.update(array_ids)

    def note_back(self, node: str, array_id: str) -> None:
        """The listing of that shelf that may be under way is answered later than this file was sealed, or is too old.

        Else an array that had left the node before would be forgotten there.
        """
        if (gone := self.under_way.listing.get(node)) is not None:
            gone.discard(array_id)

    def is_deleted_since(self, node: str, info: ArrayInfo) -> bool:
        """Whether the key of an array was deleted, or what had replaced the array, while the node was listed."""
        deleted = self.under_way.deleted[node].get((info.store, info.key or ""))
        return deleted is not None and info.version <= deleted

    def is_wanted(self, info: ArrayInfo) -> bool:
        """Whether an array is current and stays so, or has no key and was not deleted."""
        if info.id in self.erased:
            return False
        entry = None if info.key is None else self.index.find(info.store, info.key)
        return info.key is None or (entry is not None and entry.info.id == info.id and not entry.doomed)

    # --- what must be true at every moment

    def validate(self) -> None:
        """Raises AssertionError unless the books say what they must, so that what must never happen does not.

        *The last replica is dropped*: what is listed is kept at its home (`Index.validate`), which has been listed and
        has not left, or has just died; and it is not unwanted. See `validate_ask`.

        *An array is shown that is not sealed*, or is deleted: what was deleted, or whose put came to nothing, is not
        listed, and has no copies. A draft is sealed as of its shelf's epoch, so only who has a keeper has one.

        *Bytes of another array are returned*: an array stands for one key, which is its own, or was overwritten there
        by another; it is not both (`Index.validate`).

        *A reader is blocked by a writer or keeper that died*: who lists a shelf says so in both books of that. How
        long each waits is no matter of the state.
        """
        index = self.index
        index.validate()
        for node in index.homes():
            assert node in self.epochs or not self.is_alive(node), f"{node} is a home, and was not listed, or has left"
        for array_id in self.unwanted:
            assert not index.lists(array_id), f"{array_id} is to go, and listed"
        for array_id in self.erased:
            assert not index.lists(array_id), f"{array_id} is deleted, and listed"
        for node in self.epochs:
            assert node in self.known, f"{node} has an epoch, and no keeper"
        assert self.under_way.listing.keys() == self.under_way.deleted.keys(), "what is being listed"
        for array_id in self.erased:
            assert not index.copies.of(array_id), f"{array_id} is deleted, and has copies"

    def validate_ask(self, ask: Ask) -> None:
        """Raises AssertionError if it would *drop the last replica* of an array that is listed."""
        for node, call in ask.calls.items():
            for array_id, _ in call.args[0] if call.method == "drop" else ():
                store_and_key = self.index.key_of(array_id)
                entry = None if store_and_key is None else self.index.find(*store_and_key)
                assert entry is None or entry.doomed or self.kept(array_id, node), (
                    f"node {node} is to drop {array_id}, which nobody else keeps"
                )
