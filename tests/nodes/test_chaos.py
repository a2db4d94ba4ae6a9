"""Workers, keepers, catalog and nodes are killed at random: no array whose put returned is lost."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import outlive
from tests.nodes.conftest import needs_several_nodes
from tests.nodes.keeping import lost, promised, writer
from tests.nodes.raylets import Nodes
from tests.nodes.torment import Torment


@pytest.mark.parametrize(
    ("count", "replicas", "per_node", "default"),
    [
        pytest.param(1, 1, 4, 8, id="one node"),
        pytest.param(*(3, 2, 2, 20), id="three nodes that are killed too", marks=needs_several_nodes),
    ],
)
def test_no_array_is_lost(
    start_nodes: Callable[..., Nodes],
    histories: Path,
    seconds: Callable[[float], float],
    count: int,
    replicas: int,
    per_node: int,
    default: float,
    only_long: Callable[[], None],
) -> None:
    if count == 1:  # what has several nodes is hit by the same
        only_long()
    nodes = start_nodes(count)
    store = outlive.open("chaos", memory="100MiB", disk="4GiB")
    torment = Torment(nodes, store, writer, histories, replicas=replicas, per_node=per_node)
    try:
        torment.run(seconds(default))
    except Exception as error:
        raise AssertionError(f"{error}\nwhat clients did, and the kills, are kept in {histories}") from error
    arrays = promised(histories.glob("client-*.jsonl"))
    assert len(arrays) > 20
    for i in nodes:
        wrong = nodes.on_node(i, lost, store, arrays)
        assert wrong == [], f"seen from node {i}, {len(wrong)} of {len(arrays)}; all is kept in {histories}"
    assert [finding for finding in store.check() if not finding.mended] == []
    assert store.check() == []
    shutil.rmtree(histories)
