"""Arrays on other nodes: where they are, how a copy comes here, and how their bytes are read without one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from outlive import progress
from outlive.arrays.info import ArrayInfo
from outlive.catalog.wire import Located, pack
from outlive.cluster import transfer
from outlive.cluster.port import NoAnswer
from outlive.errors import StoreFull, StoreUnavailable
from outlive.units import format_size

if TYPE_CHECKING:
    from outlive.store.session import Session

WORTH_A_PART = 1 << 20  # bytes: a smaller array, or value, is moved whole


def locate(session: Session, info: ArrayInfo, hint: str | None) -> Located:
    """The nodes that have an array, this one first if it is one of them."""
    answer = session.ask_catalog("locate", pack([info]), _known(session, hint), session.node)
    located = Located(*json.loads(answer))
    here = [session.node] if session.shelf.has(info.id) else []
    return located._replace(nodes=here + [node for node in located.nodes if node != session.node])


def fetch(session: Session, info: ArrayInfo, hint: str | None, epoch: int = 0) -> Located | None:
    """Copy an array to this node's shelf; None if it is there now. Otherwise the catalog's answer: where it is, or
    why it is nowhere.

    Parameters
    ----------
    hint
        The node to look at first.
    epoch
        The epoch under which a node that has it as a draft may seal it: the catalog's, which has listed it.

    Raises
    ------
    StoreFull
        There is no room for it here, or the shelf is being removed.
    CorruptArray
        The bytes changed on the way.
    """
    if session.own_copies is not None and session.own_copies.make(info, hint, epoch):
        return None
    try:
        with progress.of(f"copying {format_size(info.nbytes)} from another node"):
            answer = session.ask_keeper("fetch", pack([info]), _known(session, hint), False, epoch)
    except StoreUnavailable as error:
        if session.stands() and isinstance(error, NoAnswer):  # else the keeper raised it about its own shelf
            raise
        raise StoreFull("the keeper is leaving this node: its shelf takes no copies") from error
    return None if answer is None else Located(*json.loads(answer))


def _known(session: Session, hint: str | None) -> str | None:
    """The hint; None in a local store, which has no other node: the handle may be of another machine's."""
    return hint if session.place is None else None


def rows(
    session: Session, info: ArrayInfo, hint: str | None, begin: int, end: int, epoch: int = 0
) -> bytearray | Located:
    """Bytes `begin` to `end` of an array's data, from another node, and nothing else; or why no node has it.

    Raises
    ------
    CorruptArray
    StoreUnavailable
        No node that has it answers.
    """
    data = bytearray(end - begin)

    def use(node: str) -> None:
        source = transfer.Source(session.peers, node, session.chunk_size, epoch, session.links)
        transfer.rows(source, info, begin, end, memoryview(data))

    def start(node: str) -> None:
        session.peers.find_keeper(node, start=True)

    return transfer.from_nodes([], lambda: locate(session, info, hint), use, start) or data
