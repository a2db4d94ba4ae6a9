"""Keepers that are stopped, or gone for good, on real nodes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import pytest
import ray

import outlive
from outlive.cluster import actors
from tests.conftest import eventually
from tests.nodes.raylets import Nodes, lives, several_nodes


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with several_nodes(3) as nodes:
        outlive.open("silent", memory="100MB", disk=0)
        yield nodes
        outlive.shutdown()


@contextlib.contextmanager
def stopped_keeper(nodes: Nodes, i: int) -> Iterator[None]:
    (keeper,) = nodes.processes(i, "ray::Keeper")
    keeper.suspend()
    try:
        yield
    finally:
        keeper.resume()


def put(key: str, value: float, replicas: int = 1) -> None:
    outlive.open("silent").put(np.full(10, value), key, replicas=replicas)


def get(key: str) -> float | None:
    array = outlive.open("silent").get(key)
    return None if array is None else float(array[0])


def delete(key: str) -> None:
    del outlive.open("silent")[key]


def test_a_stopped_keeper_holds_up_no_other_node(nodes: Nodes) -> None:
    nodes.on_node(0, put, "k", 1.0)
    nodes.on_node(0, put, "old", 1.0)
    nodes.on_node(1, put, "own", 1.0)
    assert [nodes.on_node(1, get, key) for key in ("k", "old", "own")] == [1.0] * 3
    with stopped_keeper(nodes, 1):
        nodes.on_node(0, put, "k", 2.0)
        assert [nodes.on_node(i, get, "k") for i in (0, 2)] == [2.0, 2.0]
        nodes.on_node(2, delete, "old")
        assert nodes.on_node(1, get, "own") == 1.0  # its own processes need no keeper
        assert nodes.kill_catalog()
        nodes.on_node(2, put, "own", 3.0)
        assert nodes.on_node(0, get, "never") is None
    for i in nodes:
        assert [nodes.on_node(i, get, key) for key in ("k", "old", "own")] == [2.0, None, 3.0]


def test_a_keeper_that_is_gone_for_good_is_started_anew(nodes: Nodes) -> None:
    nodes.on_node(0, put, "a", 1.0)
    nodes.on_node(2, put, "b", 1.0)
    assert nodes.on_node(2, get, "a") == 1.0
    (keeper,) = nodes.processes(2, "ray::Keeper")
    ray.kill(actors.keeper(nodes.id(2)), no_restart=True)
    eventually(lambda: not lives(keeper))  # until then it may answer, and nobody would meet its death
    nodes.on_node(0, put, "a", 2.0)
    nodes.on_node(0, put, "b", 2.0)
    assert [nodes.on_node(2, get, key) for key in ("a", "b")] == [2.0, 2.0]
    eventually(lambda: nodes.id(2) in actors.keeper_nodes())
    nodes.on_node(2, put, "c", 1.0)
    assert nodes.on_node(0, get, "c") == 1.0
