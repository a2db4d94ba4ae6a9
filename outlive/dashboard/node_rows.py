"""Nodes as rows of the page: all keepers are asked at the same time. One that does not answer has a row that says so.

`outlive.nodes` asks one after the other, and waits for each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from outlive.cluster.evacuation import Kept, stays
from outlive.cluster.port import Call

if TYPE_CHECKING:
    from outlive.cluster.keeper import ShelfStats
    from outlive.cluster.port import Peers
    from outlive.node import Autoscaler, Node

PATIENCE = 3.0  # seconds for the keepers to answer


def rows(peers: Peers) -> tuple[list[dict[str, Any]], bool]:
    """A row of each node that is alive or was the last to hold an array, the head first; whether one scales.

    Raises
    ------
    StoreUnavailable
        The GCS does not answer.
    """
    every, scaler = peers.nodes(), peers.autoscaler()
    alive = sorted((node for node in every if node.alive), key=lambda node: (not node.is_head, node.host, node.id))
    keepers = set(peers.keeper_nodes()) & {node.id for node in alive}
    shelves = peers.ask({node: Call.of("stats") for node in keepers}, PATIENCE)
    kept = _kept(peers, peers.ask({node: Call.of("kept") for node in shelves}, PATIENCE))
    found = [
        {
            **_row(node, every, scaler, peers),
            **_shelf(shelves.get(node.id), kept.get(node.id)),
            "keeper": node.id in keepers,
            "silent": node.id in keepers and node.id not in shelves,
        }
        for node in alive
    ]
    for row in found:
        if row["role"] == "may go" and (stay := row.pop("stays")):
            row["because"].append(stay)
        row.pop("stays", None)
    return found, scaler is not None


def plain(node_id: str, name: str, ip: str, *, head: bool) -> dict[str, Any]:
    """The row of a node in a cluster without a store."""
    about: dict[str, Any] = {
        "id": node_id,
        "host": name,
        "ip": ip,
        "role": "head" if head else "stays",
        "because": [],
        "until": None,
    }
    row = {**about, **_shelf(None, None), "keeper": False, "silent": False}
    row.pop("stays")
    return row


def lost(node_id: str, where: tuple[str, str], count: int, nbytes: int, at: float) -> dict[str, Any]:
    """The row of a node that is gone, and was the last to hold an array."""
    row = plain(node_id, *where, head=False)
    return {
        **row,
        "role": "lost",
        "arrays": count,
        "nbytes": nbytes,
        "alone": count,
        "alone_bytes": nbytes,
        "until": at,
    }


def _row(node: Node, every: list[Node], scaler: Autoscaler | None, peers: Peers) -> dict[str, Any]:
    """The part of a row that needs no keeper: the roles are those of `outlive nodes`."""
    role, because = "stays", list[str]()
    if node.is_head:
        role = "head"
    elif node.draining_until is not None:
        role = "draining"
    elif scaler is not None and stays(node, every, scaler):
        because = ["min_workers"]
    elif scaler is not None:
        role, because = "may go", peers.busy(node.id)
    until = node.draining_until
    end = None if until is None or math.isinf(until) else until  # JSON knows no infinity
    return {"id": node.id, "host": node.host, "ip": node.ip, "role": role, "because": because, "until": end}


def _shelf(shelf: ShelfStats | None, kept: list[Kept] | None) -> dict[str, Any]:
    alone = None if kept is None else [one for one in kept if one.alone]
    return {
        "arrays": 0 if shelf is None else shelf.arrays,
        "nbytes": 0 if shelf is None else shelf.used + shelf.disk_used,
        "alone": None if alone is None else len(alone),
        "alone_bytes": None if alone is None else sum(one.nbytes for one in alone),
        "used": 0 if shelf is None else shelf.used,
        "budget": 0 if shelf is None else shelf.budget,
        "disk_used": 0 if shelf is None else shelf.disk_used,
        "disk_budget": 0 if shelf is None else shelf.disk_budget,
        "spilled": 0 if shelf is None else shelf.spilled,
        "path": None if shelf is None else shelf.path,
        "on_disk": None if shelf is None else shelf.on_disk,
        "stays": None if shelf is None else shelf.stays,
    }


def _kept(peers: Peers, answers: Mapping[str, Any]) -> dict[str, list[Kept]]:
    """By node the arrays that it keeps, and which of them no other node keeps, as the catalog has it."""
    found = {}
    for node, answer in answers.items():
        kept = [Kept(*one) for one in answer]
        if shared := [one.id for one in kept if not one.alone]:
            alone = dict(zip(shared, peers.ask_catalog(Call.of("alone", shared, node)), strict=True))
            kept = [one._replace(alone=alone.get(one.id, True)) for one in kept]
        found[node] = kept
    return found
