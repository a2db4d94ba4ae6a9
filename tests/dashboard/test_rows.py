"""Rows of a cluster that is played in this process, by the library's own catalog and shelves. No Ray."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from outlive.arrays.layout import is_cached, is_copied
from outlive.arrays.marks import mode_of, times_of
from outlive.catalog.wire import unpack_found
from outlive.cluster.keeper import ShelfStats
from outlive.cluster.port import Call
from outlive.dashboard import array_rows, node_rows
from outlive.dashboard.in_ray import RaySource, _bounds
from outlive.errors import BadSetting, StoreUnavailable
from outlive.node import Autoscaler
from tests.conftest import ROOT
from tests.nodes.played import PlayedCluster, play


@pytest.fixture
def cluster(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedCluster]:
    Path(ROOT).mkdir(mode=0o700, exist_ok=True)
    for made in play(f"{ROOT}/{request.node.name}", 3):
        answers = _Answers(made)
        made.peers.instead |= {"stats": answers.stats, "kept": answers.kept}
        yield made


class _Answers:
    """Those of keepers that a played one lacks."""

    def __init__(self, cluster: PlayedCluster) -> None:
        self._shelves = cluster.shelves

    def stats(self, node: str, _: Call, __: Any) -> ShelfStats:
        shelf = self._shelves[node]
        stays = "1 arrays live here alone" if node == "b" else None
        used, budget = shelf.ledger.used, shelf.ledger.budget
        return ShelfStats(node, shelf.path, len(shelf.ids()), used, budget, 1, None, stays=stays)

    def kept(self, node: str, _: Call, __: Any) -> list[tuple[str, int, bool]]:
        shelf = self._shelves[node]
        modes = {info.id: (info.size, mode_of(shelf, info.id)) for info in shelf.scan()}
        return [(one, size, not is_copied(mode)) for one, (size, mode) in modes.items() if not is_cached(mode)]


def by_id(cluster: PlayedCluster) -> dict[str, dict[str, Any]]:
    rows, _ = node_rows.rows(cluster.peers)
    json.dumps(rows, allow_nan=False)
    return {row["id"]: row for row in rows}


def test_nodes_and_what_lives_only_there(cluster: PlayedCluster) -> None:
    cluster.put("b", "alone", 1)
    cluster.put("b", "twice", 2, replicas=2)
    rows = by_id(cluster)
    assert [row["role"] for row in rows.values()] == ["head", "stays", "stays"]
    assert (rows["b"]["arrays"], rows["b"]["alone"]) == (2, 1)
    assert rows["b"]["used"] > 0 and rows["b"]["budget"] == 64 << 20
    assert sum(row["alone"] for row in rows.values()) == 1
    assert not any(row["silent"] for row in rows.values())


def test_a_silent_keeper_is_a_row_that_says_so(cluster: PlayedCluster) -> None:
    cluster.put("c", "k", 1)
    cluster.frozen.add("c")
    rows = by_id(cluster)
    assert rows["c"]["silent"] and rows["c"]["keeper"]
    assert (rows["c"]["alone"], rows["c"]["alone_bytes"]) == (None, None)
    assert not rows["a"]["silent"]
    cluster.frozen.clear()
    assert by_id(cluster)["c"]["alone"] == 1


def test_why_a_node_cannot_go(cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster.peers, "autoscaler", lambda: Autoscaler({}, {}))
    monkeypatch.setattr(cluster.peers, "busy", lambda node: ["a task runs"] if node == "c" else [])
    rows = by_id(cluster)
    assert {node: (row["role"], row["because"]) for node, row in rows.items()} == {
        "a": ("head", []),
        "b": ("may go", ["1 arrays live here alone"]),
        "c": ("may go", ["a task runs"]),
    }
    every = cluster.peers.nodes()
    draining = [one._replace(draining_until=math.inf if one.id == "b" else None) for one in every]
    monkeypatch.setattr(cluster.peers, "nodes", lambda: draining)
    assert (by_id(cluster)["b"]["role"], by_id(cluster)["b"]["until"]) == ("draining", None)


def test_arrays_with_their_times(cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outlive.arrays.info._version", 0)  # another test may have set the clock forward
    info = cluster.put("b", "k", 7, replicas=2)
    [found] = unpack_found(cluster.peers.ask_catalog(Call.of("entries", info.store, "")))
    assert found is not None
    row = array_rows.row(found)
    assert (row["key"], row["id"], row["shape"], row["wanted"], row["replicas"]) == ("k", info.id, [5], 2, 2)
    assert row["ends"] is None and row["lost_at"] is None and abs(row["put_at"] - time.time()) < 600
    times = times_of(cluster.shelves["b"], info.id)
    assert times is not None
    assert times[0] >= row["put_at"] - 1 and times[1:] == (None, False)
    assert times_of(cluster.shelves["b"], "0" * 32) is None


def test_details_take_the_latest_read_of_all_copies(cluster: PlayedCluster) -> None:
    info = cluster.put("b", "k", 7, replicas=2)
    nodes = list(cluster.holders(info.id))
    source = RaySource(lambda: None, lambda: None)
    source._peers_ = cluster.peers
    cluster.peers.instead["times"] = lambda node, call, make: [(100.0 + nodes.index(node), None, False)]
    found = source.details([(info.id, node) for node in nodes])
    assert found == {info.id: {"read_at": 100.0 + len(nodes) - 1, "ends_at": None, "on_disk": False}}
    cluster.frozen.update(nodes)
    assert source.details([(info.id, node) for node in nodes]) == {}


def test_a_store_that_was_shut_down_is_forgotten(cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    source = RaySource(lambda: None, lambda: None)
    source._peers_ = cluster.peers
    is_there = True
    monkeypatch.setattr(source, "_has_store", lambda: is_there)

    def gone(*_: Any) -> Any:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(cluster.peers, "ask_catalog", gone)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            source.arrays("default")
    is_there = False
    with pytest.raises(StoreUnavailable):
        source.arrays("default")
    assert source.arrays("default") == {"stores": {}, "rows": [], "left_out": 0}


def test_bounds_of_the_page() -> None:
    assert _bounds({"workers": ["x"]}).max_idle == 0
    assert _bounds({"max_idle": 3, "max_memory": "1GiB"}).max_memory == 1 << 30
    for wrong in ({"max_idle": "3"}, {"max_idle": True}, {"min_idle": 2, "max_idle": 1}, {}, {"max_memory": "x"}):
        with pytest.raises(BadSetting):
            _bounds(wrong)
