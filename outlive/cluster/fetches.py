"""Fetches: a keeper copies arrays from other nodes. Each copy is made once, even if many readers wait for it."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from outlive.arrays.info import ArrayInfo
from outlive.arrays.layout import kind_of, number_of
from outlive.arrays.lifetimes import SCOPE, join_scope, scope_path
from outlive.arrays.marks import evict, keep
from outlive.arrays.shelf import StaleEpoch
from outlive.catalog.wire import Located, pack, unpack
from outlive.cluster.port import Call, Peers
from outlive.cluster.small_copies import drafts_of, receive_small
from outlive.cluster.transfer import ChunkSize, NotThere, Source, Unreachable, copy, from_nodes
from outlive.errors import StoreUnavailable

if TYPE_CHECKING:
    from outlive.arrays.draft import Draft
    from outlive.arrays.shelf import Shelf
    from outlive.cluster.links import Links

_LARGE = 64 << 20  # bytes: the catalog divides those who copy an array of this size among the nodes that have it
_PAUSE, _LONGEST_PAUSE = 0.02, 0.3  # seconds until one that has to wait asks again
_PATIENCE = 60.0  # seconds until it waits no longer
_MOST_LISTINGS = 5  # how often this shelf may be listed while one array is copied


class Fetches:
    """The fetches of the keeper that tends `shelf` on `node`."""

    def __init__(self, shelf: Shelf, node: str, peers: Peers) -> None:
        self._shelf, self._node, self._peers = shelf, node, peers
        self._under_way: dict[str, Future[bytes | None]] = {}
        self._unsaid = dict[str, ArrayInfo]()  # copies that are marked as kept, of which the catalog may not have heard
        self._lock = threading.Lock()
        self.chunk_size = ChunkSize(peers, node)
        """Returns the size of the chunks that this node sends and receives, in bytes, at most."""
        self.links: Links | None = None
        """The links to other nodes' transfer servers; None if everything goes through Ray."""

    def fetch(self, packed: bytes, hint: str | None, *, kept: bool, epoch: int) -> bytes | None:
        """See `Keeper.fetch`."""
        (info,) = unpack(packed)
        with self._lock:
            running = self._under_way.get(info.id)
            if running is None:
                ours = self._under_way[info.id] = Future[bytes | None]()
        if running is not None:
            answer = running.result()
            return self._fetch(info, hint, kept=True, epoch=epoch) if kept and answer is None else answer
        try:
            answer = self._fetch(info, hint, kept=kept, epoch=epoch)
            ours.set_result(answer)
            return answer
        except BaseException as error:
            ours.set_exception(error)
            raise
        finally:
            with self._lock:
                del self._under_way[info.id]

    def fetch_many(self, packed: bytes, node: str) -> None:
        """See `Keeper.fetch_many`. Arrays that another call is fetching already are left to that call."""
        with self._lock:
            ours = {info.id: info for info in unpack(packed) if info.id not in self._under_way}
            waited = {array_id: Future[bytes | None]() for array_id in ours}
            self._under_way.update(waited)
        try:
            there = [info for info in ours.values() if self._shelf.has(info.id)]
            self._keep_many(there, node)
            here = {info.id for info in there}
            wanted = [array_id for array_id in ours if array_id not in here]
            if wanted:
                self._copy_many(wanted, node)
        finally:
            with self._lock:
                for array_id in ours:
                    del self._under_way[array_id]
            for future in waited.values():
                future.set_result(None)  # a call that waits then looks whether the array is here, and else fetches it

    def _copy_many(self, array_ids: list[str], node: str) -> None:
        began = self._shelf.ledger.epoch
        for parcel in receive_small(self._source(node, step=self.chunk_size() // 4), array_ids):
            self._keep_many(self.take_in_many(drafts_of(self._shelf, parcel), node, began), node)

    def take_in_many(self, drafts: list[Draft], node: str, began: int) -> list[ArrayInfo]:
        """`take_in` for many copies, of which the catalog is told in one call; those that are sealed now.

        Others are copied alone, later, if they are there still: nothing of them stays.
        """
        try:
            self._join_scopes([draft.info for draft in drafts], node)
            # The catalog knows of the copies before anyone can read them: see `_seal`.
            infos = [draft.info for draft in drafts]
            epochs = self._join_many(infos, node, self._shelf.ledger.epoch, kept=False)
            sealed = []
            for draft, epoch in zip(drafts, epochs, strict=True):
                with contextlib.suppress(StaleEpoch):  # listed anew since
                    if epoch and (draft.info.key is not None or epoch == began):  # see `_see_that_it_is_there`
                        draft.listed_in = epoch
                        self._shelf.seal_copy(draft)
                        sealed.append(draft.info)
            with contextlib.suppress(Unreachable):  # it has died, say: then they are not touched there either
                self._live_longer(sealed, node)
        finally:
            unsealed = [draft for draft in drafts if not draft.settled]
            for draft in unsealed:
                draft.discard()
        if unsealed:
            unkeyed = [draft.info.id for draft in unsealed if draft.info.key is None]
            self._ask("ended", unkeyed, self._node)
        return sealed

    def _live_longer(self, infos: list[ArrayInfo], node: str) -> None:
        """Let copies live as long as the arrays: they may have been touched before the catalog knew of the copies.

        Raises
        ------
        Unreachable
        """
        mortal = [info.id for info in infos if info.ttl]
        if not mortal:
            return
        try:
            deadlines = self._peers.ask_keeper(node, Call.of("deadlines_ns", mortal))
        except StoreUnavailable as error:
            raise Unreachable(f"{mortal[0]}: {error}") from None
        for array_id, deadline in zip(mortal, deadlines, strict=True):
            if deadline:
                self._shelf.set_deadline(array_id, deadline)

    def _keep_many(self, infos: list[ArrayInfo], home: str) -> None:
        """`_keep` for many arrays."""
        kept = [info for info in infos if keep(self._shelf, info.id)]
        self._unsaid.update((info.id, info) for info in kept)
        epoch = self._shelf.ledger.epoch
        for info, answer in zip(kept, self._join_many(kept, home, epoch, kept=True), strict=True):
            if answer in {0, epoch}:
                self._unsaid.pop(info.id, None)
            else:
                self._keep(info, home)

    def _join_many(self, infos: list[ArrayInfo], home: str, epoch: int, *, kept: bool) -> list[int]:
        if not infos:
            return []
        answer: list[int] = self._ask("join_copies", pack(infos), home, self._node, kept, epoch)
        return answer

    def _fetch(self, info: ArrayInfo, hint: str | None, *, kept: bool, epoch: int) -> bytes | None:
        if self._shelf.has(info.id) and (not kept or self._keep(info, hint)):
            return None
        # Of a large array others may have copies by now: then the catalog divides the readers among them.
        divided = info.size >= _LARGE and not kept
        hinted = [] if hint is None or hint == self._node or divided else [hint]
        located = from_nodes(
            hinted,
            lambda: self._locate(info, hint, divided=divided),
            lambda node: self._copy(info, node, kept=kept, epoch=epoch),
            lambda node: self._peers.find_keeper(node, start=True),
        )
        if located is None or (self._shelf.has(info.id) and (not kept or self._keep(info, hint))):
            return None
        return json.dumps(located).encode()

    def _locate(self, info: ArrayInfo, hint: str | None, *, divided: bool) -> Located:
        pause, until = _PAUSE, self._peers.now() + _PATIENCE
        while True:
            located = Located(*json.loads(self._ask("locate", pack([info]), hint, self._node, divided)))
            if not located.busy or self._peers.now() > until:
                break
            self._peers.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        return located._replace(nodes=[node for node in located.nodes if node != self._node])

    def _copy(self, info: ArrayInfo, node: str, *, kept: bool, epoch: int) -> None:
        """Copy an array from this node.

        Raises
        ------
        NotThere
            The node does not have it, or nobody wants it any more.
        Unreachable, CorruptArray, StoreFull
        """
        began = self._shelf.ledger.epoch
        source = self._source(node, epoch, self.chunk_size())
        draft = copy(self._shelf, source, info.id, kept=kept, size=info.size)
        self.take_in(draft, node, began)
        if kept and not self._keep(draft.info, node):
            raise NotThere(f"{info.id} was replaced or deleted")

    def take_in(self, draft: Draft, node: str, began: int) -> None:
        """Tell the catalog of a complete copy from this node, and seal it. Otherwise nothing of it stays.

        Parameters
        ----------
        began
            This shelf's epoch before the copy was begun.

        Raises
        ------
        NotThere, Unreachable, StoreUnavailable
        """
        try:
            self._join_scopes([draft.info], node)
            self._seal(draft, node, began)
            self._live_longer([draft.info], node)
        except BaseException:
            if draft.settled:
                evict(self._shelf, draft.info.id)
            else:
                draft.discard()
            raise

    def _join_scopes(self, infos: list[ArrayInfo], node: str) -> None:
        """Note the scopes of arrays that come from a node. An array of an unknown scope would end at once.

        Raises
        ------
        Unreachable
        """
        for number in {number_of(info.id) for info in infos if kind_of(info.id) & SCOPE}:
            if os.path.lexists(scope_path(self._shelf.scopes, number)):
                continue
            try:
                home: str | None = self._peers.ask_keeper(node, Call.of("node_of_scope", number))
            except StoreUnavailable as error:
                raise Unreachable(f"a scope of node {node}: {error}") from None
            if home is not None and home != self._node:
                join_scope(self._shelf.scopes, number, home)

    def _seal(self, draft: Draft, node: str, began: int) -> None:
        """Tell the catalog of a copy, and then seal it. So the array is not replaced before this node is asked.

        Parameters
        ----------
        began
            This shelf's epoch before the copy was begun.

        Raises
        ------
        NotThere
            The array was replaced or deleted. Or this shelf was listed anew each time: the caller then reads the array
            without a copy here.
        """
        for _ in range(_MOST_LISTINGS):
            draft.listed_in = self._join(draft.info, node, self._shelf.ledger.epoch, kept=False)
            if not draft.listed_in:
                raise NotThere(f"{draft.info.id} was replaced or deleted")
            if draft.info.key is None and draft.listed_in != began:
                self._see_that_it_is_there(draft.info.id, node)
            with contextlib.suppress(StaleEpoch):
                self._shelf.seal_copy(draft)
                return
        raise NotThere(f"the shelf of {self._node} was listed {_MOST_LISTINGS} times while {draft.info.id} came")

    def _see_that_it_is_there(self, array_id: str, node: str) -> None:
        """Check that a node still has an array without a key. A catalog that is gone by now may have deleted it.

        Only that catalog would have refused the copy. Its successor knows of the copy from now on.

        Raises
        ------
        NotThere, Unreachable
        """
        try:
            (there,) = self._peers.ask_keeper(node, Call.of("holds", [array_id]))
        except StoreUnavailable as error:
            raise Unreachable(f"{array_id}: {error}") from None
        if not there:
            for one in (self._node, node):
                self._ask("ended", [array_id], one)
            raise NotThere(f"{array_id} was deleted")

    def _keep(self, info: ArrayInfo, home: str | None) -> bool:
        """Make the copy on this shelf a replica; whether it is one then. It has to be sealed already."""
        for _ in range(_MOST_LISTINGS):
            if not keep(self._shelf, info.id):
                return False
            self._unsaid[info.id] = info
            epoch = self._shelf.ledger.epoch
            answer = self._join(info, home or self._node, epoch, kept=True)
            if answer in {0, epoch}:
                self._unsaid.pop(info.id, None)
                return answer != 0
        return False

    def say_again(self) -> None:
        """Tell the catalog again of copies that this shelf keeps, where it did not answer.

        The call may have come late, under an epoch that the catalog passes over. The copy stays marked as kept: the
        catalog may have heard of it all the same. Raises StoreUnavailable.
        """
        for array_id, info in list(self._unsaid.items()):
            with self._lock:
                is_under_way = array_id in self._under_way
            if not is_under_way:
                self._unsaid.pop(array_id, None)
                self._keep(info, self._node)

    def _join(self, info: ArrayInfo, home: str, epoch: int, *, kept: bool) -> int:
        return int(self._ask("join_copy", pack([info]), home, self._node, kept, epoch))

    def _source(self, node: str, epoch: int = 0, step: int = 0) -> Source:
        return Source(self._peers, node, step, epoch, self.links)

    def _ask(self, method: str, *args: Any) -> Any:
        """The catalog's answer. Raises StoreUnavailable if it is stopped."""
        return self._peers.ask_catalog(Call(method, args))
