"""One array is created on one node, and tasks of another fill parts of it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import outlive
from tests.conftest import eventually
from tests.nodes.raylets import Nodes, several_nodes

MIB = 1 << 20


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with several_nodes(2) as nodes:
        outlive.open()
        yield nodes


def write(creation: Any, index: Any, value: Any) -> str:
    """Also what the error is, if there is one."""
    try:
        creation[index] = value
    except outlive.OutliveError as error:
        return f"{type(error).__name__}: {error}"
    return ""


class Owner:
    """Creates an array on its node, and holds the block open until it is killed."""

    def begin(self, store: outlive.Store) -> Any:
        self.blocks = contextlib.ExitStack()
        creation = store.create((4, 1000), "i4", "of another")
        self.blocks.enter_context(creation)  # type: ignore[arg-type]
        return creation


def test_parts_from_another_node(nodes: Nodes) -> None:
    store = outlive.open("from another node")
    rows, columns = 12, MIB
    expected = np.arange(rows * columns, dtype="i4").reshape(rows, columns)
    creation = store.create((rows, columns), "i4", "k")
    with creation as out:
        out[:] = 0
        assert nodes.on_node(1, write, creation, slice(0, 6), expected[:6]) == ""  # in several pieces
        assert nodes.on_node(0, write, creation, slice(6, 8), expected[6:8]) == ""
        nodes.kill_keeper(0)
        assert nodes.on_node(1, write, creation, (slice(8, None), slice(None, None, -1)), expected[8:, ::-1]) == ""
        assert nodes.on_node(1, write, creation, (slice(None), 5), 7) == ""
        with pytest.raises(TypeError, match="float64 does not go into"):
            nodes.on_node(1, write, creation, 0, np.zeros(columns))
        parts = nodes.on_node(1, lambda parts: parts, creation)  # a task passes it on
        parts[0, 0] = 9
    expected[:, 5], expected[0, 0] = 7, 9
    assert np.array_equal(store["k"], expected)
    for i in nodes:
        said = nodes.on_node(i, write, creation, 0, 1)
        assert said.startswith("CreationEnded: array 'k' is stored already"), said
        said = nodes.on_node(i, write, creation, slice(3, 3), 1)
        assert said.startswith("CreationEnded"), said
    assert np.array_equal(store["k"], expected)
    assert [one.problem for one in store.check()] == []


def test_the_node_of_the_creation_dies(nodes: Nodes) -> None:
    import ray
    from ray import cloudpickle
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as `start_on_node` does

    store, i = outlive.open("of a dead node"), nodes.add_node()
    where = NodeAffinitySchedulingStrategy(nodes.id(i), soft=False)
    owner: Any = ray.remote(num_cpus=0, scheduling_strategy=where)(Owner).remote()
    creation = ray.get(owner.begin.remote(store), timeout=120)
    assert write(creation, 0, np.arange(1000, dtype="i4")) == ""
    ray.kill(owner)  # the keeper discards what it was creating
    eventually(lambda: write(creation, 0, 1).startswith("CreationEnded: array 'of another' is not being created"))
    nodes.kill_node(i)
    eventually(lambda: write(creation, 0, 1).endswith("is dead. Create it again"))
    assert "of another" not in store
