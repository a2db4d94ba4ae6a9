"""A store saved by the nodes of one cluster, and loaded by those of another with another number of nodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import outlive
from outlive.store import loading
from tests.nodes.raylets import several_nodes

COUNT, SIZE = 3, 500_000


def fill(node: int) -> None:
    outlive.open().put_many({f"{node}/{i}": np.full(SIZE, 10 * node + i) for i in range(COUNT)})


def test_a_store_goes_to_another_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with several_nodes(3) as nodes:
        for node in nodes:
            nodes.on_node(node, fill, node)
        saved = outlive.open().save(tmp_path)
        assert (saved.arrays, saved.sent, saved.nbytes) == (9, 9, 9 * SIZE * 8)
        assert outlive.open().save(tmp_path).sent == 0
    monkeypatch.setattr(loading, "_FEW", 0)
    with several_nodes(2) as other:
        assert outlive.load(tmp_path).arrays == 9
        store = outlive.open()
        assert {key: int(store[key][-1]) for key in store} == {
            f"{n}/{i}": 10 * n + i for n in range(3) for i in range(COUNT)
        }
        assert {node for _, node in store.entries()} == {other.id(node) for node in other}
