"""Evacuation: a keeper has other nodes keep its shelf's arrays, and leaves, so that its node may go.

An autoscaler does not remove a node that has an actor. So a keeper is on a node only while the node has arrays that no
other node keeps. When only the keeper keeps the node busy, or the node drains, other nodes are made to keep its arrays.
Then the shelf is removed, and the keeper leaves. Without an autoscaler this happens only when the node drains.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from outlive.arrays.info import ArrayInfo
from outlive.arrays.layout import LEAVING, is_cached, is_copied, is_leaving
from outlive.arrays.marks import drop_if_leaving, mark, mode_of
from outlive.arrays.tend.unsummed import Pace
from outlive.catalog.wire import pack
from outlive.cluster import rate
from outlive.cluster.port import Call, Peers
from outlive.errors import CorruptArray
from outlive.node import Autoscaler, Node
from outlive.units import format_size, parse_duration

if TYPE_CHECKING:
    from outlive.arrays.shelf import Shelf

AFTER = "OUTLIVE_EVACUATE_AFTER"
DEFAULT_AFTER = 30.0  # seconds. Autoscalers wait 60 s or 5 minutes
_STEP_BYTES, _STEP_ARRAYS = 256 << 20, 256  # the most that is moved at a time
_LOOK_AGAIN = 10.0  # seconds until arrays that could not be moved are tried again
_ASK_AFTER = 80.0  # the most seconds between two questions to the autoscaler
_STAYS_EMPTY = 3.0  # seconds after somebody has emptied the node, until it takes replicas again
_NODES_A_SECOND = 100  # the most nodes of which each keeper asks the GCS, as each asks for all nodes
_log = logging.getLogger(__name__)


class Kept(NamedTuple):
    """An array that this shelf keeps."""

    id: str
    nbytes: int  # the size of its file
    alone: bool  # no other shelf has a copy, as far as this one knows


class Evacuation:
    """The evacuation of one shelf, by the keeper that tends it.

    Parameters
    ----------
    adopts
        Whether the shelf of a dead node on this machine is still to be adopted: nobody else would do it.
    """

    def __init__(self, shelf: Shelf, node: str, peers: Peers, adopts: Callable[[], bool] = lambda: False) -> None:
        self._shelf, self._node, self._peers, self._adopts = shelf, node, peers, adopts
        self._after = parse_duration(os.environ.get(AFTER) or DEFAULT_AFTER, AFTER)
        self._rate = rate.background()
        self._rests_until = -math.inf
        self._on_head = False
        self._idle_since: float | None = None
        self._tried_at = self._asked_at = self._look_at = -math.inf
        self._scaler: Autoscaler | None = None
        self._leaving_now, self._emptied_at = set[object](), -math.inf  # calls that have arrays leave
        self._ask_after = _LOOK_AGAIN / 2  # seconds; doubled each time that the answer is the same
        self.stays: str | None = None
        """Why the node cannot go, if only its arrays keep it."""
        self.leaving = False
        """Whether nothing is kept here, and the shelf is being removed."""
        self.left = False
        """Whether the shelf is removed, and the keeper ends within a second."""
        self._settled = False

    def consider(self) -> None:
        """Leave the node, if it is time to. Called each second; after the keeper has left, this does not return."""
        if self.left:
            self._peers.leave()
        if not self._settled and not self.leaving:
            self.settle(self._peers.sleep)
            self._settled = True
        if self._on_head or self.left:
            return
        here = self._peers.node(self._node)
        self._on_head = here is not None and here.is_head
        if here is None or here.is_head:
            return
        if here.draining_until is not None:
            self._leave_with_everything(anywhere=True)
        elif here.occupied or (scaler := self._autoscaler()) is None:
            self._idle_since, self.stays = None, None
        elif self._peers.now() >= self._look_at:
            self._leave_if_idle(here, scaler)

    def _leave_if_idle(self, here: Node, scaler: Autoscaler) -> None:
        """Leave, if the autoscaler would remove this node and nothing but its arrays has used it for a while."""
        every = self._peers.nodes()
        self._look_at = self._peers.now() + len(every) / _NODES_A_SECOND
        if stays(here, every, scaler) or self._peers.busy(self._node):
            self._idle_since, self.stays = None, None
        elif self._idle_since is None:
            self._idle_since = self._peers.now()
        elif self._peers.now() > self._idle_since + self._after:
            self._leave_with_everything(anywhere=False)

    def _autoscaler(self) -> Autoscaler | None:
        """The autoscaler, as it was up to `_ASK_AFTER` ago: its answer grows with the nodes, and seldom changes."""
        now = self._peers.now()
        if now > self._asked_at + self._ask_after:
            before, self._asked_at = self._scaler, now
            self._scaler = self._peers.autoscaler()
            self._ask_after = min(2 * self._ask_after, _ASK_AFTER) if self._scaler == before else _LOOK_AGAIN
        return self._scaler

    def _leave_with_everything(self, *, anywhere: bool) -> None:
        if self._peers.now() < self._tried_at + _LOOK_AGAIN and self.stays:
            return
        if not anywhere and self._peers.now() < self._rests_until:
            return
        self._tried_at = self._peers.now()
        with self._without_replicas():
            self._move_everything(anywhere=anywhere)

    def _move_everything(self, *, anywhere: bool) -> None:
        moved = 0
        for step in steps(self.kept(), int(min(_STEP_BYTES, self._rate))):
            gone = self.evacuate([one.id for one in step], anywhere=anywhere)
            moved += sum(one.nbytes for one, is_gone in zip(step, gone, strict=True) if is_gone)
            if not anywhere and moved >= self._rate:  # a node that drains has no time for that
                self._rests_until = self._tried_at + moved / self._rate
                return
        if kept := self.kept():
            size = format_size(sum(one.nbytes for one in kept))
            self.stays = f"{len(kept)} arrays ({size}) live here alone: no other node has room for them"
        elif (away := self._shelf.away()) is not None:  # they live here alone, for all that is known
            self.stays = f"{away} If they are gone for good, run `outlive check`"
        else:
            self.leave()

    def kept(self) -> list[Kept]:
        """The arrays that this shelf keeps. Those that no other has come first, then small ones: many are safe soon."""
        if self.leaving:
            return []
        found = []
        for info in self._shelf.scan():
            mode = mode_of(self._shelf, info.id)
            if mode and not is_cached(mode):
                found.append(Kept(info.id, info.size, not is_copied(mode)))
        return sorted(found, key=lambda one: (not one.alone, one.nbytes))

    @property
    def takes_replicas(self) -> bool:
        """Whether replicas may be made here: not while arrays leave, which lack a copy then, nor just after.

        Nor between two portions of them, unless the node is used again: what has left would come back at the rate at
        which it leaves.
        """
        rests_until = -math.inf if self._idle_since is None else self._rests_until
        return not self._leaving_now and self._peers.now() >= max(self._emptied_at, rests_until) + _STAYS_EMPTY

    @contextlib.contextmanager
    def _without_replicas(self) -> Iterator[None]:
        call = object()
        self._leaving_now.add(call)
        try:
            yield
        finally:
            self._leaving_now.discard(call)

    def empty(self, array_ids: list[str]) -> list[bool]:
        """`evacuate` for somebody who empties the node, portion by portion: no replicas are made here meanwhile."""
        with self._without_replicas():
            try:
                return self.evacuate(array_ids, anywhere=True) if array_ids else []
            finally:
                self._emptied_at = self._peers.now()

    def evacuate(self, array_ids: list[str], *, anywhere: bool) -> list[bool]:
        """Have other nodes keep these arrays, and drop here what they keep; whether each is gone from here.

        None goes as long as the catalog has to be told of adopted arrays: it would take these for deleted ones.
        """
        if self._adopted_is_untold:
            return [not self._shelf.has(array_id) for array_id in array_ids]
        infos = [info for info in map(self._info, array_ids) if info is not None]
        safe: list[bool] = self._ask("evacuate", pack(infos), self._node, self._shelf.ledger.epoch, anywhere)
        safe_infos = [info for info, elsewhere in zip(infos, safe, strict=True) if elsewhere]
        for info in safe_infos:  # another node that leaves may remove this mark again, to have the array kept here
            mark(self._shelf, info.id, add=LEAVING)
        with self._shelf.ledger.locked():  # from here on no reader on this node finds them by name
            for info in safe_infos:
                if info.key is not None:
                    self._shelf.names.forbid(info.store, info.key, info.version + 1)
        may_leave: list[bool] = self._ask("leave", pack(safe_infos), self._node)
        for info, may_go in zip(safe_infos, may_leave, strict=True):
            if not may_go:
                mark(self._shelf, info.id, remove=LEAVING)
            elif not drop_if_leaving(self._shelf, info.id) and not self._stay(info):
                self._shelf.delete(info.id)
        gone = [
            info.id
            for info, may_go in zip(safe_infos, may_leave, strict=True)
            if may_go and not self._shelf.has(info.id)
        ]
        if gone:
            self._ask("dropped", gone, self._node)
        return [not self._shelf.has(array_id) for array_id in array_ids]

    @property
    def _adopted_is_untold(self) -> bool:
        return bool(self._shelf.ledger.adopted)

    def _stay(self, info: ArrayInfo) -> bool:
        """Tell the catalog that an array is kept here after all; False if it was deleted or replaced."""
        while True:
            epoch = self._shelf.ledger.epoch
            answer = self._ask("join_copy", pack([info]), self._node, self._node, True, epoch)
            if answer in {0, epoch}:
                return bool(answer)
            # the shelf was listed since, and the array may have had the mark then

    def _ask(self, method: str, *args: Any) -> Any:
        """Ask the catalog, without a limit of time: this keeper has to learn what the catalog granted."""
        return self._peers.ask_catalog(Call(method, args), math.inf)

    def settle(self, rest: Callable[[float], object] = lambda _: None) -> None:
        """Settle arrays that an earlier keeper was about to drop. The catalog may take them for gone.

        Each is kept here after all, unless it was deleted or replaced: then it is dropped.

        Parameters
        ----------
        rest
            Waits for so many seconds, between two steps of the work.
        """
        pace = Pace(rest)
        for array_id in self._shelf.ids():
            if is_leaving(mode_of(self._shelf, array_id)) and (info := self._info(array_id)) is not None:
                mark(self._shelf, array_id, remove=LEAVING)
                if not self._stay(info):
                    self._shelf.delete(array_id, None if info.key is None else (info.store, info.key))
            pace.step()

    def _info(self, array_id: str) -> ArrayInfo | None:
        try:
            return self._shelf.info(array_id)
        except (FileNotFoundError, CorruptArray):  # a damaged one cannot be copied, and keeps no other from it
            return None

    def leave(self) -> str | None:
        """Remove the shelf if nothing is kept here; returns why not otherwise. `consider` then ends the keeper.

        Only the keeper ends itself: a program that comes back may have started another under its name.
        """
        if self.leaving:
            return None
        if self._adopts():
            return "the arrays of a node that died on this machine are still to be adopted"
        try:
            if not self._shelf.leave(self._nothing_kept):
                return self._shelf.away() or "arrays are being put there"
        except BaseException:
            self.leaving = False
            raise
        try:
            self._peers.ask_catalog(Call.of("left", self._node, self._shelf.ledger.epoch))
        finally:
            self.left = True
        _log.info("nothing is kept on node %s any more: its keeper leaves", self._node)
        return None

    def _nothing_kept(self) -> bool:
        """Whether nothing is kept here. Called under the ledger's lock, before the shelf is removed."""
        self.leaving = not self.kept() and self._shelf.away() is None
        return self.leaving


def stays(node: Node, every: list[Node], scaler: Autoscaler) -> bool:
    """Whether an autoscaler never removes this node: it leaves the head, and `min_workers` nodes of each type."""

    def type_of(one: Node) -> str:
        return scaler.types.get(one.ip) or scaler.types.get(one.id) or one.node_type or ""

    of_its_type = sum(one.alive and not one.is_head and type_of(one) == type_of(node) for one in every)
    return node.is_head or of_its_type <= scaler.min_workers.get(type_of(node), 0)


def steps(kept: list[Kept], step: int = _STEP_BYTES) -> list[list[Kept]]:
    """Divide arrays into portions of up to `step` bytes, or of one array.

    Each portion that was moved stays moved, if a later one fails.
    """
    found: list[list[Kept]] = []
    room = 0
    for one in kept:
        if not found or one.nbytes > room or len(found[-1]) >= _STEP_ARRAYS:
            found.append([])
            room = step
        found[-1].append(one)
        room -= one.nbytes
    return found
