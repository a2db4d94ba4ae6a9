"""Replicas of many small arrays: made together, and correct."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import ray

import outlive
from outlive.cluster import actors
from outlive.cluster.port import Call
from tests.nodes.raylets import Nodes


def _join() -> None:
    outlive.open()


def test_many_small_arrays_get_their_replicas_together(start_nodes: Callable[..., Nodes]) -> None:
    nodes = start_nodes(3)
    store = outlive.open()
    for number in (1, 2):
        nodes.on_node(number, _join)
    arrays = {f"k{number}": np.full(number, float(number)) for number in range(700)}
    catalog = actors.catalog()

    def count(catalog: object) -> None:
        """Count from now on the arrays that nodes are asked to copy one by one."""
        peers = catalog.driver.peers  # type: ignore[attr-defined]
        ask, peers.one_by_one = peers.ask, 0

        def counting(calls: dict[str, Call], *patience: float) -> object:
            peers.one_by_one += sum(call.method == "fetch" for call in calls.values())
            return ask(calls, *patience)

        peers.ask = counting

    ray.get(catalog.__ray_call__.remote(count))
    handles = store.put_many(arrays, replicas=2)
    assert ray.get(catalog.__ray_call__.remote(lambda catalog: catalog.driver.peers.one_by_one)) == 0
    assert {handle.durability for handle in handles.values()} == {(2, 2)}
    where = {node for handle in handles.values() for node in handle.location}
    assert where == {nodes.id(0), nodes.id(1), nodes.id(2)}  # each portion to another node
    store.delete(*list(arrays)[:350])
    assert store.check() == []

    def total(handles: list[outlive.ArrayHandle]) -> float:
        return float(sum(handle.get().sum() for handle in handles))

    left = list(handles.values())[350:]
    expected = sum(float(array.sum()) for array in list(arrays.values())[350:])
    for number in (1, 2):
        assert nodes.on_node(number, total, left) == expected
