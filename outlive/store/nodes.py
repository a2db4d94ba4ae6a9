"""The nodes of the cluster, with the arrays of each, and draining a node."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

from outlive import progress as progress_bar
from outlive.cluster.evacuation import Kept, stays, steps
from outlive.cluster.port import PATIENCE, NoAnswer, Nobody
from outlive.errors import StoreUnavailable
from outlive.node import Node
from outlive.store import session
from outlive.store.gateway import in_cluster
from outlive.units import count

if TYPE_CHECKING:
    from outlive.cluster.keeper import ShelfStats
    from outlive.store.session import Session

WHY_SOME_STAY = "no other node has room for them or answers, or they came meanwhile"
_ROUNDS_IN_VAIN = 5  # how often a node's arrays are asked to leave, if they do not become fewer
_TRY_AGAIN = 1.0  # seconds until they are asked again

Role = Literal["head", "stays", "may go", "draining", "lost"]


class NodeRow(NamedTuple):
    """A node of the cluster and what its shelf holds."""

    id: str
    host: str
    ip: str
    role: Role
    """`stays`: nothing removes it when idle, or it is one of the autoscaler's `min_workers`. `may go`: an autoscaler
    may remove it. `draining`: it leaves soon. `lost`: it is gone, and was the last to hold an array."""
    arrays: int
    nbytes: int
    only_arrays: int
    """The number of arrays that are on no other node; for a lost node, the number of arrays that were lost."""
    only_bytes: int
    stays_because: tuple[str, ...] = ()
    """Why it cannot go now, in plain words; empty if it can, or is gone."""
    until: float | None = None
    """The Unix time of a draining node's end (`math.inf` without a deadline), or of a lost node's loss."""
    through_ray: str | None = None
    """Why arrays, or calls of the catalog, go through Ray and not by a port, in plain words. None: they do not."""
    refused: str | None = None
    """How many connections its ports refused, in plain words: those of its keeper, and on the head of the catalog. They
    count since that began. None: none.
    """


class Drained(NamedTuple):
    """The result of `outlive.drain`."""

    arrays: int
    """How many were copied elsewhere."""
    nbytes: int
    stayed: str | None
    """Why some of its arrays still live nowhere else; None if all do."""


@in_cluster()
def nodes() -> list[NodeRow]:
    """Each node of the cluster: its role, what it holds, what lives nowhere else, and why it cannot go.

    Raises
    ------
    StoreUnavailable
        This process is not connected to a Ray cluster.
    """
    return _rows(session.current())


@in_cluster()
def drain(node: str, progress: Callable[[int, int], None] | None = None) -> Drained:
    """Have other nodes keep the arrays of this one, so that it may go. Programs may go on meanwhile.

    Parameters
    ----------
    node
        Its id, as in `nodes()`.
    progress
        Called now and then with the bytes moved so far and the bytes in all. By default a person who watches sees a
        bar after two seconds; see docs/logging.md.

    Returns
    -------
    Drained
        Its `stayed` says why something could not leave, if so.

    Raises
    ------
    StoreUnavailable
        No such node is alive.
    """
    current = session.current()
    if progress is not None:
        return _drain(current, node, progress)
    with progress_bar.of("draining") as bar:
        return _drain(current, node, bar.update)


def _rows(session: Session) -> list[NodeRow]:
    """Every node that is alive or was the last to hold an array: the head first."""
    every, scaler = session.peers.nodes(), session.peers.autoscaler()
    with_keeper = set(session.peers.keeper_nodes())
    rows = []
    for node in sorted((node for node in every if node.alive), key=lambda node: (not node.is_head, node.id)):
        kept, shelf = (_kept(session, node.id), _shelf(session, node.id)) if node.id in with_keeper else ([], None)
        alone = [one for one in kept if one.alone]
        may_go = scaler is not None and not stays(node, every, scaler)
        role: Role = "head" if node.is_head else "draining" if node.draining_until is not None else "stays"
        reasons = []
        if role == "stays" and may_go:
            role = "may go"
            reasons = session.peers.busy(node.id)
            if shelf is not None and shelf.stays:
                reasons.append(shelf.stays)
        elif role == "stays" and scaler is not None:
            reasons = ["min_workers"]
        sizes = [one.nbytes for one in kept], [one.nbytes for one in alone]
        counts = len(kept), sum(sizes[0]), len(alone), sum(sizes[1])
        by_ray = None if shelf is None else _through_ray(shelf, {one.id for one in every if one.alive})
        refused = [] if shelf is None else _refused("its keeper", shelf.refused, shelf.full)
        if node.is_head:
            refused += _refused("the catalog", *session.ask_catalog("refusals"))
        said = by_ray, "; ".join(refused) or None
        rows.append(NodeRow(node.id, node.host, node.ip, role, *counts, tuple(reasons), node.draining_until, *said))
    return rows + _lost_rows(session, every)


def _shelf(session: Session, node: str) -> ShelfStats | None:
    try:
        stats: ShelfStats = session.ask_node(node, "stats", patience=PATIENCE)
    except Nobody:  # it left
        return None
    return stats


def _through_ray(shelf: ShelfStats, living: set[str]) -> str | None:
    found = [f"from {node[:8]} through Ray: {why}" for node, why in shelf.through_ray if node in living]
    if shelf.no_server is not None:
        found.insert(0, f"to other nodes through Ray: {shelf.no_server}")
    if shelf.calls_through_ray is not None:
        found.append(f"asks the catalog through Ray: {shelf.calls_through_ray}")
    return "; ".join(found) or None


def _refused(by: str, without_proof: int, too_many: int) -> list[str]:
    """In plain words, how many connections one port refused."""
    counts = {"without the cluster's secret": without_proof, "too many": too_many}
    return [f"{by} refused {count(number, 'connection')} ({why})" for why, number in counts.items() if number]


def _kept(session: Session, node: str) -> list[Kept]:
    """The arrays that a node keeps, and which of them no other node keeps, as the catalog has it."""
    try:
        kept = _kept_there(session, node)
    except Nobody:  # it left
        return []
    shared = [one.id for one in kept if not one.alone]
    alone = dict(zip(shared, session.ask_catalog("alone", shared, node), strict=True))
    return [one._replace(alone=alone.get(one.id, True)) for one in kept]


def _lost_rows(session: Session, every: list[Node]) -> list[NodeRow]:
    known = {node.id: node for node in every}
    rows = []
    for node, (number, size, at) in session.ask_catalog("lost_nodes").items():
        was = known.get(node)
        host, ip = (was.host, was.ip) if was is not None else ("", "")
        rows.append(NodeRow(node, host, ip, "lost", number, size, number, size, (), at))
    return rows


def _drain(session: Session, node: str, progress: Callable[[int, int], None] | None = None) -> Drained:
    """Have other nodes keep all that this one keeps, then let its keeper leave.

    Raises
    ------
    StoreUnavailable
        No such node is alive.
    """
    here = next((one for one in session.peers.nodes() if one.id == node and one.alive), None)
    if here is None:
        raise StoreUnavailable(f"no node {node} is alive; `outlive nodes` lists them")
    session.peers.find_keeper(node, start=True)  # a node without a keeper may still have a shelf
    session.ask_node(node, "evacuate", [])  # from here on no replicas are made there
    kept, in_vain = _kept_there(session, node), 0
    sizes, fewest = dict[str, int](), math.inf  # bytes of each array that was seen there
    while kept and in_vain < _ROUNDS_IN_VAIN:
        if in_vain:
            session.peers.sleep(_TRY_AGAIN)
        sizes.update((one.id, one.nbytes) for one in kept)
        total, staying = sum(sizes.values()), sum(one.nbytes for one in kept)
        with contextlib.suppress(Nobody):  # a keeper leaves by itself if its node drains: see `_still_there`
            for step in steps(kept):
                gone = session.ask_node(node, "evacuate", [one.id for one in step])
                staying -= sum(one.nbytes for one, is_gone in zip(step, gone, strict=True) if is_gone)
                if progress is not None:
                    progress(total - staying, total)
        kept = _still_there(session, node, kept)  # also what was put meanwhile
        in_vain = in_vain + 1 if len(kept) >= fewest else 0
        fewest = min(fewest, len(kept))
    moved = sizes.keys() - {one.id for one in kept}
    size = sum(sizes[array_id] for array_id in moved)
    if kept:
        stayed: str | None = f"{len(kept)} of {count(len(kept) + len(moved), 'array')} stay: {WHY_SOME_STAY}"
    else:
        stayed = None if here.is_head else _leave(session, node)  # there is no cluster without the head
    return Drained(len(moved), size, stayed)


def _still_there(session: Session, node: str, before: list[Kept]) -> list[Kept]:
    """The arrays that a node keeps. If its keeper is gone: those from before that no other node keeps."""
    try:
        return _kept_there(session, node)
    except Nobody:
        alone = session.ask_catalog("alone", [one.id for one in before], node)
        return [one for one, is_alone in zip(before, alone, strict=True) if is_alone]


def _kept_there(session: Session, node: str) -> list[Kept]:
    return [Kept(*one) for one in session.ask_node(node, "kept")]


def _leave(session: Session, node: str) -> str | None:
    """Have a keeper leave, and wait until it is gone; or say why it stays."""
    try:
        stays: str | None = session.ask_node(node, "leave")
    except Nobody:  # it left before its answer was sent
        return None
    if stays is None:
        with contextlib.suppress(NoAnswer):
            session.ask_node(node, "about", patience=PATIENCE)  # a keeper that leaves ends without an answer
    return stays
