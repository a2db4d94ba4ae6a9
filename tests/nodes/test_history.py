"""What many clients read and wrote, while keepers, catalog, clients and nodes were killed, is linearizable."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import outlive
from outlive.testing.history import History
from tests.conftest import eventually
from tests.nodes.conftest import needs_several_nodes
from tests.nodes.consistency import client, read_all
from tests.nodes.raylets import Nodes
from tests.nodes.torment import Torment

_ROUND = 60  # seconds: a history of a few hundred thousand operations


@pytest.mark.parametrize(
    ("count", "replicas", "per_node"),
    [
        pytest.param(1, 1, 5, id="one node"),
        pytest.param(3, 1, 2, id="three nodes", marks=needs_several_nodes),
        pytest.param(3, 2, 2, id="three nodes that are killed too", marks=needs_several_nodes),
    ],
)
def test_linearizable(
    start_nodes: Callable[..., Nodes],
    histories: Path,
    seconds: Callable[[float], float],
    count: int,
    replicas: int,
    per_node: int,
    only_long: Callable[[], None],
) -> None:
    if count == 1:  # what has several nodes is hit by the same
        only_long()
    nodes = start_nodes(count)
    left, number = seconds(8), 0
    while left > 0:
        number += 1
        folder = histories / str(number)
        folder.mkdir()
        store = outlive.open(f"history {number}", memory="500MiB")
        torment = Torment(nodes, store, client, folder, replicas=replicas, per_node=per_node)
        try:
            torment.run(min(left, _ROUND))
            for i in nodes:
                nodes.on_node(i, read_all, store, f"client-last-{i}", str(folder))
        except Exception as error:
            raise AssertionError(f"{error}\nwhat clients did, and the kills, are kept in {folder}") from error
        judge(folder)
        findings = store.check()
        assert [finding for finding in findings if not finding.mended] == []
        assert eventually(lambda store=store: store.check() == [])
        store.clear()
        shutil.rmtree(folder)
        left -= _ROUND


def judge(folder: Path) -> None:
    history = History.load(folder.glob("client-*.jsonl"))
    done = [operation for operation in history.operations if operation.outcome == "done"]
    assert {operation.kind for operation in done} == {"put", "get", "delete"}
    violations = history.check()
    if violations:
        history.save(folder / "history.jsonl")
        told = "\n\n".join(map(str, violations))
        pytest.fail(f"{told}\n\nkept in {folder}: history.jsonl, and the kills", pytrace=False)
