"""Readers on many nodes want one large array at the same moment: some wait until others can send it too."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from outlive.arrays.writer import Writer
from outlive.catalog import sources
from outlive.catalog.wire import pack
from outlive.cluster import fetches
from outlive.cluster.port import Call
from tests.conftest import ROOT
from tests.nodes.played import PlayedCluster, play

_LONG = 60.0  # seconds


@pytest.fixture
def cluster(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedCluster]:
    monkeypatch.setattr(fetches, "_LARGE", 0)
    monkeypatch.setattr(sources, "_AT_LEAST", 10 * _LONG)  # no copy is given up here, however busy the machine is
    root = f"{ROOT}/many-readers-{request.node.name[:60]}"
    Path(root).mkdir(mode=0o700, parents=True)
    yield from play(root, 6)


@pytest.mark.parametrize("key", ["k", None])
def test_a_node_sends_to_few_at_a_time(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    info = Writer(cluster.shelves["a"]).put(np.full(5, 1), store="s") if key is None else cluster.put("a", key, 1)
    sending, go_on, waits = list[str](), threading.Event(), threading.Semaphore(0)
    most, lock = 0, threading.Lock()

    def send(node: str, _: Call, make: Callable[[], Any]) -> Iterator[Any]:
        nonlocal most
        parts = make()
        with lock:
            sending.append(node)
            most = max(most, sending.count(node))
        assert go_on.wait(_LONG)
        with lock:  # before it is sent: who has it tells the catalog, and the next may come at once
            sending.remove(node)
        yield from parts

    def pause(_: float) -> None:
        waits.release()
        go_on.wait(_LONG)

    cluster.peers.instead["send"] = send
    monkeypatch.setattr(cluster.peers, "sleep", pause)
    readers = [
        threading.Thread(target=cluster.keepers[node].fetch, args=(pack([info]), "a"), daemon=True) for node in "bcdef"
    ]
    for reader in readers:
        reader.start()
    for _ in range(len(readers) - sources.MOST):
        assert waits.acquire(timeout=_LONG)
    go_on.set()
    for reader in readers:
        reader.join(_LONG)
    assert most <= sources.MOST
    assert cluster.holders(info.id) == cluster.catalog.index.holders(info.id)
    assert set(cluster.holders(info.id)) == set("abcdef")
    assert len(cluster.catalog.state.sources) == 0


def test_a_replica_waits_for_no_reader(cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    info = cluster.put("a", "k", 1)
    for node in "bcd":
        cluster.catalog.state.sources.begin(info.id, node, "a", info.size)
    monkeypatch.setattr(cluster.peers, "sleep", lambda _: pytest.fail("it waits"))
    assert cluster.keepers["e"].fetch(pack([info]), "a", True) is None
    assert cluster.holders(info.id) == {"a": True, "e": True}


def test_nobody_waits_for_ever(cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalog says time and again that its node is busy."""
    info = cluster.put("a", "k", 1)
    clock = [0.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds
        for node in "bc":
            cluster.catalog.state.sources.begin(info.id, node, "a", info.size)

    sleep(0)
    monkeypatch.setattr(cluster.peers, "sleep", sleep)
    monkeypatch.setattr(cluster.peers, "now", lambda: clock[0])
    assert cluster.keepers["e"].fetch(pack([info]), "a") is None
    assert cluster.holders(info.id) == {"a": True, "e": False}
