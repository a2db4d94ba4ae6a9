"""`outlive drain`: a node's arrays are kept elsewhere, its keeper leaves, and nothing goes back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import ray

import outlive
from outlive.store import session
from outlive.store.session import Session
from tests.conftest import eventually
from tests.nodes.raylets import Nodes, several_nodes


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with several_nodes(2) as nodes:
        outlive.open("drain")
        yield nodes
        outlive.shutdown()


def put_there(store: outlive.Store) -> list[outlive.ArrayHandle]:
    return [
        store.put(np.full(1 << 18, 1.0), "alone"),
        store.put(np.full(3, 2.0), lifetime="detached"),
        store.put(np.full(3, 3.0), "twice", replicas=2),
    ]


def catalog_goes_on(rounds: int) -> None:
    catalog = ray.get_actor("catalog", namespace="outlive")
    before = ray.get(catalog.rounds.remote())
    eventually(lambda: ray.get(catalog.rounds.remote()) > before + rounds)


def row(node: str) -> outlive.store.nodes.NodeRow:
    return next(row for row in outlive.nodes() if row.id == node)


def test_everything_is_elsewhere_and_nothing_goes_back(nodes: Nodes) -> None:
    store, node = outlive.open("drain"), nodes.id(1)
    handles = nodes.on_node(1, put_there, store)
    assert (row(node).role, row(node).arrays, row(node).only_arrays) == ("stays", 3, 2)
    moved: list[tuple[int, int]] = []
    drained = outlive.drain(node, progress=lambda done, total: moved.append((done, total)))
    assert (drained.arrays, drained.stayed) == (3, None)
    assert moved[-1][0] == moved[-1][1] == drained.nbytes
    assert [handle.location for handle in handles] == [[nodes.id(0)]] * 3
    catalog_goes_on(3)  # it copies again what is kept on too few nodes, but not to one that was left
    assert handles[2].durability == (1, 2)
    eventually(lambda: not nodes.processes(1, "ray::Keeper"))
    assert [float(handle.get()[0]) for handle in handles] == [1, 2, 3]


def test_what_has_left_does_not_come_back_while_the_node_is_being_drained(nodes: Nodes) -> None:
    store, node = outlive.open("drain"), nodes.id(1)
    handle = nodes.on_node(1, lambda store: store.put(np.ones(9), "both", replicas=2), store)
    assert handle.durability == (2, 2)
    assert session.current().ask_node(node, "evacuate", [handle.id]) == [True]
    catalog_goes_on(1)
    assert (handle.durability, handle.location) == ((1, 2), [nodes.id(0)])
    assert outlive.drain(node).stayed is None


def test_what_could_not_leave_at_first_is_tried_again(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    store, node = outlive.open("drain"), nodes.id(1)
    handle = nodes.on_node(1, lambda store: store.put(np.ones(9), "late"), store)
    refused, ask = [], Session.ask_node

    def ask_node(self: Session, node: str, method: str, *args: Any, **options: Any) -> Any:
        if method == "evacuate" and args[0] and not refused:  # as if no other node had answered in time
            refused.append(args)
            return [False] * len(args[0])
        return ask(self, node, method, *args, **options)

    monkeypatch.setattr(Session, "ask_node", ask_node)
    seen: list[tuple[int, int]] = []
    drained = outlive.drain(node, progress=lambda done, total: seen.append((done, total)))
    assert refused
    assert (drained.arrays, drained.stayed) == (1, None)
    assert seen[0][0] == 0
    assert seen[-1] == (drained.nbytes, drained.nbytes)
    assert handle.location == [nodes.id(0)]


def test_who_comes_back_to_a_drained_node_finds_all_and_can_put(nodes: Nodes) -> None:
    def read_and_put(store: outlive.Store) -> tuple[float, str]:
        return float(store["alone"].sum()), store.put(np.ones(5), "new").location[0]

    assert nodes.on_node(1, read_and_put, outlive.open("drain")) == (1 << 18, nodes.id(1))
    assert outlive.open("drain")["new"].sum() == 5


def test_a_node_that_is_not_there(nodes: Nodes) -> None:
    with pytest.raises(outlive.StoreUnavailable, match="no node 00ff is alive"):
        outlive.drain("00ff")


def test_the_head_is_emptied_and_stays(nodes: Nodes) -> None:
    store = outlive.open("drain")
    nodes.on_node(1, lambda: outlive.open("drain").put(np.ones(2), "here"))
    store["on the head"] = np.ones(7)
    assert outlive.drain(nodes.id(0)).stayed is None
    assert store.handle("on the head").location == [nodes.id(1)]
    assert row(nodes.id(0)).role == "head"
    assert store["on the head"].sum() == 7
