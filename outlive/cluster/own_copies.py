"""Own copies: a reader copies a small array of another node by itself, as its node's keeper would.

Two processes more would have to wake if the keeper did, which takes about as long as the copy. If several processes
copy the same array at a time, the first of the copies is sealed. Whatever goes wrong, the keeper is asked: it tries in
all other ways, and says why it failed.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from outlive.arrays.layout import CACHED, kind_of
from outlive.arrays.lifetimes import SCOPE, TTL
from outlive.arrays.limits import is_of_handler
from outlive.cluster import direct
from outlive.cluster.fetches import Fetches
from outlive.cluster.transfer import Source, Unreachable, directly
from outlive.errors import CorruptArray, OutliveError, StoreFull
from outlive.transfer.channel import Lost

if TYPE_CHECKING:
    from outlive.arrays.draft import Draft
    from outlive.arrays.info import ArrayInfo
    from outlive.arrays.shelf import Shelf
    from outlive.cluster.links import Links
    from outlive.cluster.port import Peers

SMALL = (1 << 20) + (64 << 10)  # bytes of a segment: 1 MiB of data, and what is around it
_log = logging.getLogger(__name__)


class OwnCopies:
    """The copies that this process makes on its node's shelf. Any thread may make some."""

    def __init__(self, shelf: Shelf, node: str, peers: Peers, links: Links) -> None:
        self._shelf, self._node, self._peers, self._links = shelf, node, peers, links
        self._fetches = Fetches(shelf, node, peers)
        self._under_way: dict[str, object] = {}  # by array, which of the threads copies it
        self._copied_from = set[str]()  # the nodes from which an array was wanted before

    def make(self, info: ArrayInfo, node: str | None, epoch: int) -> bool:
        """Copy an array from this node; whether it is here now. If not, the keeper is to be asked.

        Parameters
        ----------
        epoch
            See `Keeper.fetch`.
        """
        if node is None or not self._is_for_this_process(info, node):
            return False
        ours = object()
        if self._under_way.setdefault(info.id, ours) is not ours:  # a draft of it has its name already
            return False
        try:
            return self._make(info, node, epoch)
        except (OutliveError, OSError, Unreachable) as error:  # the system may allow this process less than the keeper
            if is_of_handler(error):
                raise
            _log.debug("array %s is left to the keeper: %s", info.id, error)
            return False
        finally:
            self._under_way.pop(info.id, None)

    def make_many(self, infos: Sequence[ArrayInfo], node: str, epoch: int) -> int:
        """Copy small arrays from this node, many at a time; how many. The others are left to `make`, or the keeper."""
        ours = object()
        try:
            wanted = [
                info
                for info in infos
                if self._is_plain(info, node) and self._under_way.setdefault(info.id, ours) is ours
            ]
            if len(wanted) < 2 or self._shelf.ledger.mine:
                return 0
            self._copied_from.add(node)
            return self._make_many(wanted, node, epoch)
        except (OutliveError, OSError, Unreachable) as error:
            if is_of_handler(error):
                raise
            _log.debug("%d arrays are copied one by one: %s", len(infos), error)
            return 0
        finally:
            for info in infos:
                if self._under_way.get(info.id) is ours:
                    self._under_way.pop(info.id, None)

    def _make_many(self, wanted: Sequence[ArrayInfo], node: str, epoch: int) -> int:
        link = self._links.to(node)
        if link is None:
            return 0
        began, has_room = self._shelf.ledger.epoch, True
        drafts: list[Draft] = []
        try:
            for info, sent in zip(wanted, direct.each(link, [info.id for info in wanted], epoch), strict=True):
                if sent is not None and has_room and not self._shelf.has(info.id):
                    with contextlib.suppress(CorruptArray):
                        try:
                            drafts.append(direct.written(self._shelf, sent.info, sent.data, CACHED))
                        except StoreFull:
                            has_room = False
        except Lost as error:  # the arrays that came before are whole
            self._links.lost(node, link, error)
        except BaseException:
            for draft in drafts:
                draft.discard()
            raise
        return len(self._fetches.take_in_many(drafts, node, began)) if drafts else 0

    def _make(self, info: ArrayInfo, node: str, epoch: int) -> bool:
        began = self._shelf.ledger.epoch
        act = functools.partial(direct.copy, self._shelf, kept=False, size=info.size)
        draft = directly(Source(self._peers, node, 0, epoch, self._links), info.id, act)
        if draft is None:
            return False
        if self._shelf.has(info.id):  # it has come meanwhile, and may be deleted from now on: see `Shelf.delete`
            draft.discard()
        else:
            self._fetches.take_in(draft, node, began)
        return True

    def _is_plain(self, info: ArrayInfo, node: str) -> bool:
        """Whether an array is small, and copied without more questions to its node."""
        return info.size <= SMALL and node != self._node and not kind_of(info.id) & (SCOPE | TTL)

    def _is_for_this_process(self, info: ArrayInfo, node: str) -> bool:
        """Whether this process is to copy an array from this node, and not its keeper.

        The keeper copies the first from each node: a process that reads no more of them looks for no way there. It also
        copies arrays with a time to live or a scope, of which it has to ask that node more.
        """
        if not self._is_plain(info, node):
            return False
        if node not in self._copied_from:
            self._copied_from.add(node)
            return False
        # a signal handler may have interrupted a call that has the lock, which the keeper needs: see `ask_keeper`
        return not self._shelf.ledger.mine
