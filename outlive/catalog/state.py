"""State: all that the catalog knows, as plain data, and what must be true of it at every moment."""

from __future__ import annotations

import math
import random
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from outlive.arrays.info import ArrayInfo
from outlive.catalog import pages
from outlive.catalog.announced import Announced
from outlive.catalog.graves import Graves
from outlive.catalog.holds import Holds
from outlive.catalog.index import Holding, Index, Replacement
from outlive.catalog.instructions import Ask
from outlive.catalog.latest import Latest
from outlive.catalog.losses import Lost
from outlive.catalog.questions import Questions
from outlive.catalog.sources import Sources
from outlive.catalog.wire import Successor
from outlive.errors import StoreUnavailable
from outlive.node import Node

_MOST_OVER = 10_000  # arrays
_MOST_DROPPED = 10_000  # arrays: those that were replaced in the last two seconds, if it is busiest
_MOST_DELETED = 100_000  # keys
_OVER_FOR = 600.0  # seconds: a clock may have been put right by then
Name = tuple[str, str]  # store and key


class Outside(NamedTuple):
    """The parts of the world that a decision needs and that are no data: clocks and random numbers."""

    now: Callable[[], float]  # seconds that only go forward
    time: Callable[[], float]  # seconds since 1970
    chance: random.Random


class UnderWay:
    """Work of conversations that is under way. A conversation that would do the same work waits until it is done."""

    def __init__(self) -> None:
        self.listing: dict[str, set[str]] = {}  # nodes that are being listed: ids of what was dropped there meanwhile
        self.deleted: dict[str, dict[tuple[str, str], int]] = {}  # the same nodes: keys deleted meanwhile, the version
        self.kept: dict[str, set[str]] = {}  # the same nodes: ids of what was found to be kept there meanwhile
        self.copying: set[str] = set()  # arrays that are being copied one by one
        self.in_bulk: set[str] = set()  # arrays that are being copied together
        self.cancelling: set[str] = set()  # nodes that are told which puts came to nothing
        self.dropping: set[str] = set()  # homes of new arrays for which replaced arrays are being dropped
        self.clearing: set[str] = set()  # nodes on which unwanted arrays are being dropped
        self.deleting: set[str] = set()  # arrays with a key that are being deleted
        self.finishing: set[str] = set()  # of `unfinished`, those that are tried again just now
        self.losing: set[str] = set()  # dead nodes that are being settled
        self.bringing_back: set[str] = set()  # lost arrays that nobody was shown: what they replaced is brought back
        self.lacking = Questions()  # whether nodes lack arrays
        self.keeping = Questions()  # whether nodes keep arrays, from now on
        self.saving = False  # losses are being saved
        self.saving_shelves = False  # the list of nodes with shelves is being saved
        self.foreseeing = False  # a version is being saved
        self.not_foreseen = False  # the head has refused to save it
        self.bulk = False  # arrays are being copied together


class State:
    """All that the catalog knows. Each method is one step, or changes nothing."""

    def __init__(self, outside: Outside) -> None:
        self.outside = outside
        self.index = Index()
        self.holds = Holds(outside.now, outside.chance.getrandbits(62))
        self.under_way = UnderWay()
        self.sources = Sources(outside.now)
        # nodes
        self._nodes: dict[str, Node] = {}
        self.staying: list[str] = []  # sorted: the nodes that live and are not draining
        self.dead: list[str] = []
        self.head = ""
        self.unseen: set[str] = set()  # living nodes whose machines are to be searched for shelves to adopt
        self.seen: set[str] = set()  # nodes whose machines were searched
        self.unadopted: dict[str, float] = {}  # nodes whose machines had such a shelf, and when that was found
        self.losses_known: list[str] = []  # dead nodes that are settled; each change makes a new list
        self.saved_losses_known = self.losses_known  # the list that was saved last
        self.rate = math.inf  # bytes a second: how fast arrays that lack copies are copied, unless somebody waits
        self.rests_until = 0.0  # by `outside.now`: the moment from which on the next of them may be copied
        self.rounds = 0  # how many rounds `losing.look_at_nodes` has made
        # shelves
        self.epochs: dict[str, int] = {}  # by node: the epoch of its last listing
        self.granted: dict[str, set[str]] = {}  # by node: the arrays that it may drop, as told in this epoch
        self.known: set[str] = set()  # nodes whose keepers were found
        self.unlisted: set[str] = set()  # nodes with a keeper that have not said yet what is on their shelves
        self.left: set[str] = set()  # nodes that get no new replicas, until the next put with a key comes from there
        self.lost_keepers: set[str] = set()  # nodes whose keepers were gone for good: they are to be listed again
        self.shelves: set[str] = set()  # nodes that have a shelf, or may have one, for the next catalog to list
        self.unsaved_shelves: set[str] = set()  # nodes that came to `shelves`, or went, since that was saved
        self.unheard: set[str] = set()  # nodes that had a shelf, and died before they said what was on it
        self.heard_of: set[str] = set()  # dead nodes whose losses are known and to be saved
        self.leavings = Counter[str]()  # by node: how often its keeper has left
        self.removed: dict[str, int] = {}  # by node whose keeper left: the last epoch of the shelf that it removed
        # arrays
        self.secured = Latest[str]()  # arrays whose replicas were made, as far as possible: they may be shown
        self.late: dict[str, Sequence[Successor]] = {}  # arrays that were about to be replaced or deleted
        self.late_by: dict[str, dict[str, None]] = {}  # the same by successor
        self.announced = Announced()
        self.beneath: dict[Name, Lost] = {}  # the array that a key has lost, if the put under way comes to nothing
        self.erased = Latest[str]()  # arrays without a key that were deleted, and puts taken back; for late calls
        self.latest = 0  # the latest version that was put since this catalog began
        self.foreseen = 0  # the head remembers that arrays may have versions up to this one
        self.exceeded = 0  # a version that each put has to exceed, as an array may be there of which nobody has told
        self.deleted = OrderedDict[Name, int]()  # by key: the latest deleted version; for shelves that come late
        self.graves = Graves()  # of these, what the next catalog has to know
        self.dropped = Latest[str]()  # replaced arrays whose files are gone: a writer may not have sealed its draft yet
        self.dropped.most = _MOST_DROPPED
        self.ended = Latest[tuple[str, str]]()  # arrays without a key that ended, and on which node; for late calls
        # id -> nodes by whose clocks its lifetime is over, and when each said so; those that said so last
        self.over = OrderedDict[str, dict[str, float]]()
        self.given_up: dict[str, set[str]] = {}  # by node: puts that had been taken back when it was listed
        self.unfinished: set[str] = set()  # arrays whose deletion a node did not confirm
        self.replaced: list[Replacement] = []  # to be sorted into `to_drop`
        self.to_drop: dict[str, list[Replacement]] = {}  # by the home of the new array
        self.again: list[Replacement] = []  # not confirmed: to be tried in the next round
        self.unwanted: dict[str, dict[str, Name | None]] = {}  # never to be current again: nodes to drop it, its name

    def remember(self, load: pages.Load) -> None:
        """Load what an earlier catalog saved."""
        self.losses_known = self.saved_losses_known = pages.losses_known(load)
        self.shelves = pages.shelves(load)
        self.foreseen = pages.versions(load)
        self.graves.strays, self.graves.saved_strays = pages.strays(load), pages.strays(load)
        for name, version in pages.graves(load):
            self.deleted[name] = version
            self.graves.add(name, version)
        self.graves.take_changed()
        self.graves.saved_pages = self.graves.pages
        for lost in pages.saved_as_lost(load):
            self.index.lost.add(lost)
        self.index.lost.take_changed()

    def now_ns(self) -> int:
        """The time of day, as in versions."""
        return int(self.outside.time() * 1e9)

    # --- nodes

    @property
    def nodes(self) -> dict[str, Node]:
        """All nodes by id, as Ray listed them last."""
        return self._nodes

    @nodes.setter
    def nodes(self, nodes: dict[str, Node]) -> None:
        """Take a new list of nodes, and sort it once for all later questions.

        A dead node that Ray has forgotten is forgotten here too: an autoscaler adds and removes nodes without end.
        """
        for node in self._nodes.keys() - nodes.keys():
            if not self._nodes[node].alive:
                self.seen.discard(node)
                self.left.discard(node)
                self.removed.pop(node, None)
                self.leavings.pop(node, None)
        self._nodes = nodes
        living = [node for node in nodes.values() if node.alive]
        self.staying = sorted(node.id for node in living if node.draining_until is None)
        self.dead = [node.id for node in nodes.values() if not node.alive]
        self.head = next((node.id for node in living if node.is_head), "")
        self.unseen = {node.id for node in living if node.id not in self.seen}

    def is_alive(self, node: str) -> bool:
        return node not in self._nodes or self._nodes[node].alive  # an unknown node has come since the last list

    def take_unadopted(self, seconds: float) -> set[str]:
        """The living nodes whose machines were found so long ago to have a shelf to adopt. They are forgotten here."""
        since = self.outside.now() - seconds
        found = {node for node, at in self.unadopted.items() if at <= since}
        for node in found:
            del self.unadopted[node]
        return set(filter(self.is_alive, found))

    def has_keeper(self, node: str) -> bool:
        """Whether a node lives and its keeper is known."""
        return node in self.known and self.is_alive(node)

    def keepers(self) -> list[str]:
        """All nodes that live and whose keepers are known."""
        return sorted(filter(self.is_alive, self.known))

    def say_unlisted(self, what: str) -> None:
        """Raises StoreUnavailable if a node has not said yet what it has, or died before it said so."""
        if unlisted := sorted(self.unlisted | self.unheard):
            raise StoreUnavailable(
                f"{what} may be on node {', '.join(unlisted)}, which has not yet told the catalog what it has: its "
                "keeper does not answer. Try again"
            )

    def say_unsettled(self, what: str, concerns: Callable[[ArrayInfo], bool]) -> None:
        """Raises StoreUnavailable if a node has not said yet whether it keeps what nobody else does, of such arrays."""
        if nodes := sorted({node for node, info in self.index.all_unsettled() if concerns(info)}):
            raise StoreUnavailable(
                f"{what} may be on node {', '.join(nodes)}, which has not yet told the catalog that it keeps it: its "
                "keeper does not answer. Try again"
            )

    def say_silent(self, array_id: str, silent: Iterable[str]) -> None:
        """Raises StoreUnavailable if nodes did not say whether they have an array."""
        if nodes := ", ".join(sorted(silent)):
            raise StoreUnavailable(
                f"array {array_id} may be on node {nodes}, which does not answer: its keeper is silent. Try again"
            )

    def begin_epoch(self, node: str, epoch: int, granted: Iterable[str]) -> None:
        """Note a shelf's epoch. Words of its keeper under an earlier epoch do not count any more.

        Parameters
        ----------
        granted
            The arrays that the node may drop, as it may have been told since the shelf has that epoch.
        """
        self.epochs[node] = epoch
        still = self.granted.pop(node, set()).intersection(granted)
        if still:
            self.granted[node] = still

    def end_epoch(self, node: str) -> None:
        """Note that a node has no shelf any more."""
        self.epochs.pop(node, None)
        self.granted.pop(node, None)
        self.sources.forget(node)

    def grant(self, node: str, array_id: str) -> None:
        """Note that a node may drop an array. That its keeper keeps it may have been said before, and comes late."""
        if node in self.epochs or node in self.under_way.listing:  # else the call comes late: the node has left
            self.granted.setdefault(node, set()).add(array_id)
        self.under_way.keeping.pass_over(node, [array_id])

    def about_to_drop(self, array_id: str) -> list[str]:
        """The nodes that may have an array still, although each was told that it may drop it."""
        return [node for node, granted in self.granted.items() if array_id in granted]

    def may_drop(self, node: str, infos: Iterable[ArrayInfo]) -> list[str]:
        """The arrays, of these, of which that was noted under the shelf's present epoch."""
        granted = self.granted.get(node, ())
        return [info.id for info in infos if info.id in granted]

    def note_shelf(self, node: str, *, has_one: bool) -> None:
        """Note whether a node has a shelf, for the next catalog."""
        if has_one != (node in self.shelves):
            (self.shelves.add if has_one else self.shelves.discard)(node)
            self.unsaved_shelves.add(node)

    # --- arrays

    def kept(self, array_id: str, leaving: str = "") -> list[str]:
        """The living nodes that keep an array, except the one that is `leaving`."""
        holders = self.index.holders(array_id).items()
        return [node for node, kept in holders if kept and node != leaving and self.is_alive(node)]

    def note_kept(self, info: ArrayInfo, node: str) -> None:
        """Note that a node keeps an array. If it has no key, it does not count as lost any more."""
        if info.key is None:
            self.index.lost.remove(info)
        self.index.copies.add(info, node, node)
        self.note_there(info.id, node)
        self.note_back(node, info.id)

    def not_there(self, node: str, array_id: str) -> None:
        """Note that an array's file is not on a node's shelf, or soon will not be."""
        if staying := self.kept(array_id, node):
            self.index.move_home(array_id, node, staying[0])
        self.index.copies.remove(array_id, node)
        self.index.no_file(array_id, node)
        self.note_gone(node, [array_id])

    def restore(self, older: Iterable[Holding]) -> None:
        """List again the files that an array superseded which was never sealed.

        Those that are to go anyway are dropped in the next round: nobody else may know of them any more.
        """
        stay = list[Holding]()
        for one in older:
            is_over = one.info is not None and (bool(self.deleted_after([one.info])) or self.is_outdated(one.info))
            if self.index.lists(one.array_id) or not (self.is_going(one.array_id) or is_over):
                stay.append(one)
            else:
                self.want_no_more(one, None if one.info is None else (one.info.store, one.info.key or ""))
        self.replaced += self.index.restore(stay)
        known = self.index.lists, self.index.is_superseded
        self.lost_keepers |= {one.node for one in stay if not any(knows(one.array_id) for knows in known)}

    def is_outdated(self, info: ArrayInfo) -> bool:
        """Whether a later array of the key is lost, although a put over that is under way, or came to nothing."""
        lost = self.beneath.get((info.store, info.key or ""))
        return lost is not None and lost.info.version > info.version

    def lost_of(self, store: str, key: str) -> Lost | None:
        """The array that a key has lost, or had lost before the put that is under way."""
        return self.index.lost.of_key(store, key) or self.beneath.get((store, key))

    def put_over_lost(self, info: ArrayInfo, node: str, lost: Lost) -> None:
        """Note what a key had lost until it is known that the array which replaces it is sealed."""
        if lost.info.id != info.id:
            name = info.store, info.key or ""
            self.beneath[name] = lost
            self.replaced.append(Replacement(Holding(lost.info.id, lost.node), Holding(info.id, node, info), *name))

    def come_to_nothing(self, array_id: str) -> None:
        """Unlist an array that is never sealed, and have other nodes forget that it was to replace theirs."""
        self.restore(self.index.take_off(array_id))
        self.announced.came_to_nothing(array_id)
        for older in self.late_by.get(array_id, ()):  # a former catalog told them
            entry = self.index.current(older)
            if entry is not None:
                for node in self.index.holders(older):
                    self.announced.cancel(array_id, (entry.info.store, entry.info.key or ""), node)

    def note_late(self, array_id: str, successors: Sequence[Successor]) -> None:
        """Note that a former catalog was about to have an array replaced by these, or deleted."""
        self.late[array_id] = successors
        for one in successors:
            self.late_by.setdefault(one.id, {})[array_id] = None

    def forget_late(self) -> None:
        self.late.clear()
        self.late_by.clear()

    def is_going(self, array_id: str) -> bool:
        """Whether an array must never be current again: it is deleted, or its files go, or are gone."""
        gone = array_id in self.erased or array_id in self.dropped
        return gone or array_id in self.unwanted or array_id in self.under_way.deleting

    def want_no_more(self, holding: Holding, name: Name | None) -> None:
        """Note that a file is to go, and that its array must never be current again."""
        self.unwanted.setdefault(holding.array_id, {})[holding.node] = name

    def has_gone(self, holding: Holding) -> None:
        """Note that an unwanted file is gone."""
        nodes = self.unwanted.get(holding.array_id, {})
        nodes.pop(holding.node, None)
        if not nodes:
            self.unwanted.pop(holding.array_id, None)
        self.dropped.add(holding.array_id)
        self.index.no_file(holding.array_id, holding.node)
        self.note_gone(holding.node, [holding.array_id])

    def note_erased(self, array_id: str) -> None:
        """Refuse an array from now on, even if a late call lists it."""
        self.erased.add(array_id)

    def note_deleted(self, info: ArrayInfo) -> None:
        """Refuse an array from now on, and earlier ones of its key: a dead node's shelf with them may be adopted."""
        if info.key is None:
            self.note_erased(info.id)
            return
        self._note_deleted((info.store, info.key), info.version)

    def note_earlier_deleted(self, info: ArrayInfo) -> None:
        """Refuse arrays of a key from now on that are earlier than this one, which is about to be deleted."""
        if info.key is not None:
            self._note_deleted((info.store, info.key), info.version - 1)

    def _note_deleted(self, name: Name, version: int) -> None:
        self.deleted[name] = max(version, self.deleted.pop(name, 0))
        while len(self.deleted) > _MOST_DELETED:
            self.deleted.popitem(last=False)
        if self.graves.strays:
            self.graves.add(name, self.deleted[name])

    def note_unheard(self) -> None:
        """Note nodes that died before they said what is on their shelves."""
        dead = {node for node in self.unlisted if not self.is_alive(node)}
        self.unlisted -= dead
        unheard = {node for node in dead if node not in self.epochs}
        self.unheard |= unheard
        if unheard - self.graves.strays:  # they confirmed a deletion, perhaps, and died then
            for name, version in self.deleted.items():
                self.graves.add(name, version)
        self.graves.strays |= unheard

    def deleted_after(self, infos: Iterable[ArrayInfo]) -> int:
        """The version of what was deleted, if one of these is no later; else 0. Their puts must exceed it."""
        found = 0
        for info in infos:
            version = self.deleted.get((info.store, info.key or ""), 0)
            if version >= info.version:
                found = max(found, version)
        return found

    def note_over(self, array_id: str, node: str) -> None:
        """Note that an array's lifetime is over by a node's clock: a copy would end there at once, and be made anew."""
        self.over.setdefault(array_id, {})[node] = self.outside.now()
        self.over.move_to_end(array_id)
        while len(self.over) > _MOST_OVER:
            self.over.popitem(last=False)

    def forget_over(self) -> None:
        """Forget what was noted so long ago that it says little, as a rule of arrays that have ended everywhere."""
        since = self.outside.now() - _OVER_FOR
        while self.over and max(next(iter(self.over.values())).values()) < since:
            self.over.popitem(last=False)

    def may_last_on(self, array_id: str, node: str) -> bool:
        """Whether no such thing was noted lately."""
        said = self.over.get(array_id, {}).get(node)
        return said is None or said < self.outside.now() - _OVER_FOR

    def note_longer(self, array_id: str) -> None:
        """Note that an array is to live longer."""
        self.over.pop(array_id, None)

    def note_ended(self, array_id: str, node: str) -> None:
        """Note that an array has ended on a node. It does not count as kept there for a copy that comes later."""
        self.ended.add((array_id, node))

    def note_there(self, array_id: str, node: str) -> None:
        """Note that an array is on a node, or comes: it has not ended there, even if the node says so meanwhile."""
        self.ended.pop((array_id, node), None)
        self.under_way.lacking.pass_over(node, [array_id])

    def note_secured(self, array_ids: Iterable[str]) -> None:
        """Note that arrays have their replicas, as far as possible: the arrays that they replaced never come back.

        One that no living node keeps has gone with its node before it had any: nobody was shown it.
        """
        for array_id in array_ids:
            entry = self.index.current(array_id)
            if entry is not None and entry.superseded and self.kept(array_id):
                self.secured.add(array_id)

    def may_be_shown(self, info: ArrayInfo) -> bool:
        """Whether readers may be shown an array that is replacing another: it needs no replicas, or has them."""
        return info.replicas == 1 or info.id in self.secured

    def note_gone(self, node: str, array_ids: Iterable[str]) -> None:
        """Tell a listing of the node's shelf that may be under way that these arrays are gone: it may have them.

        And if the node has answered already that it keeps one of them, that does not count.
        """
        array_ids = list(array_ids)
        self.under_way.keeping.pass_over(node, array_ids)
        if (gone := self.under_way.listing.get(node)) is not None:
            gone.update(array_ids)
            self.under_way.kept[node].difference_update(gone)

    def is_gone_from(self, node: str, infos: Iterable[ArrayInfo]) -> bool:
        """Whether one of these arrays is gone from the node's shelf since that is being listed."""
        gone = self.under_way.listing.get(node, ())
        return any(info.id in gone for info in infos)

    def note_back(self, node: str, array_id: str) -> None:
        """Tell a listing of the node's shelf that may be under way that an array is kept there.

        The listing may have it as cached, and it may have been there again only after `note_gone`.
        """
        if (gone := self.under_way.listing.get(node)) is not None:
            gone.discard(array_id)
            self.under_way.kept[node].add(array_id)

    def is_deleted_since(self, node: str, info: ArrayInfo) -> bool:
        """Whether an array, or a later one of its key, was deleted while the node was being listed."""
        deleted = self.under_way.deleted[node].get((info.store, info.key or ""))
        return deleted is not None and info.version <= deleted

    def is_wanted(self, info: ArrayInfo) -> bool:
        """Whether an array is current and not being deleted; of an array without a key, whether it was not deleted."""
        if info.id in self.erased:
            return False
        entry = None if info.key is None else self.index.find(info.store, info.key)
        return info.key is None or (entry is not None and entry.info.id == info.id and not entry.doomed)

    # --- what must be true at every moment

    def validate(self) -> None:
        """Raises AssertionError unless the state rules out the following.

        *The last replica is dropped*. A listed array is kept at its home (`Index.validate`). The home is listed and has
        not left, or has just died. The array is not unwanted. See `validate_ask`.

        *An array is shown that is not sealed, or is deleted*. An array that was deleted, or whose put came to nothing,
        is not listed and has no copies. A draft is sealed under its shelf's epoch, and a node with an epoch has a
        keeper.

        *Bytes of another array are returned*. An array is either current under its own key, or superseded there
        (`Index.validate`).

        *A reader is blocked by a writer or keeper that died*. All books of shelves that are being listed name the same
        nodes. How long anybody waits is not in the state.
        """
        index = self.index
        index.validate()
        for node in index.homes():
            assert node in self.epochs or not self.is_alive(node), f"{node} is a home, and was not listed, or has left"
        for array_id in self.unwanted:
            assert not index.lists(array_id), f"{array_id} is to go, and listed"
        for array_id in (*self.erased, *self.dropped):
            assert not index.lists(array_id), f"{array_id} is deleted, and listed"
        for node in self.epochs:
            assert node in self.known, f"{node} has an epoch, and no keeper"
        under_way = self.under_way
        assert under_way.listing.keys() == under_way.deleted.keys() == under_way.kept.keys(), "what is being listed"
        assert not self.removed.keys() & self.epochs.keys(), "a shelf that was removed is listed"
        listed = self.epochs.keys() | under_way.listing.keys()
        assert self.granted.keys() <= listed, "a node without an epoch may drop arrays in it"
        for array_id in self.erased:
            assert not index.copies.of(array_id), f"{array_id} is deleted, and has copies"

    def validate_ask(self, ask: Ask) -> None:
        """Raises AssertionError if the calls would *drop the last replica* of a listed array."""
        for node, call in ask.calls.items():
            for array_id, _ in call.args[0] if call.method == "drop" else ():
                entry = self.index.current(array_id)
                assert entry is None or entry.doomed or self.kept(array_id, node), (
                    f"node {node} is to drop {array_id}, which nobody else keeps"
                )
