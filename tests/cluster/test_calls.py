"""Keyed puts by the catalog's own port: they go that way, and go on through Ray while the catalog starts again."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
import ray

import outlive
from outlive.catalog.wire import unpack_found
from outlive.cluster.port import Call
from outlive.cluster.ray_port import RayPeers
from outlive.store import session
from outlive.testing.history import History
from tests.cluster.conftest import actor_pids
from tests.conftest import eventually
from tests.nodes.consistency import client


def why_not() -> str | None:
    peers = session.current().peers
    assert isinstance(peers, RayPeers)
    return peers._line.why_not


def test_puts_go_on_while_keeper_and_catalog_are_killed(store: outlive.Store, tmp_path: Path) -> None:
    run = ray.remote(num_cpus=0.5, max_retries=0)(client)
    clients = [run.remote(store, f"client-{number}", number, number, str(tmp_path), {}) for number in (1, 2)]

    def written() -> int:
        return sum(file.stat().st_size for file in tmp_path.glob("client-*.jsonl"))

    for _ in range(2):
        for name in ("Keeper", "Catalog"):
            eventually(lambda: store.put(np.ones(3), key="here").key and why_not() is None)  # by the port (again)
            before, pid = written(), eventually(lambda name=name: actor_pids().get(name))
            os.kill(pid, signal.SIGKILL)
            eventually(lambda name=name, pid=pid: actor_pids().get(name) not in (None, pid))
            eventually(lambda before=before: written() > before + 1000)
    (tmp_path / "stop").touch()
    ray.get(clients)
    history = History.load(tmp_path.glob("client-*.jsonl"))
    assert {one.kind for one in history.operations if one.outcome == "done"} == {"put", "get", "delete"}
    assert history.check() == []
    assert [finding for finding in store.check() if not finding.mended] == []


def test_the_way_back(store: outlive.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put(np.ones(3), key="a")
    monkeypatch.setenv("OUTLIVE_CALLS", "ray")
    peers, call = RayPeers(), Call.of("find", store.name, ["a"])
    answers = [unpack_found(peers.ask_catalog(call, None)) for _ in range(3)]
    assert [one[0].info.key for one in answers if one[0] is not None] == ["a"] * 3
    assert peers._line.why_not == "OUTLIVE_CALLS=ray"


def test_a_catalog_that_is_stopped_holds_up_keyed_puts_alone(store: outlive.Store) -> None:
    """Each is done once it goes on, whichever way it went."""
    store.put(np.ones(3), key="a")
    eventually(lambda: store.put(np.ones(3), key="a").key and why_not() is None)
    pid = actor_pids()["Catalog"]
    os.kill(pid, signal.SIGSTOP)
    try:
        eventually(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
        with ThreadPoolExecutor(12) as pool:  # more than there are connections
            puts = [pool.submit(store.put, np.full(3, number), key=f"k{number}") for number in range(12)]
            unkeyed = store.put(np.full(3, 7))
            assert unkeyed.get()[0] == 7
            assert store["a"][0] == 1
            os.kill(pid, signal.SIGCONT)
            assert [put.result().get()[0] for put in puts] == list(range(12))
    finally:
        os.kill(pid, signal.SIGCONT)
    assert sorted(store) == sorted(["a", *(f"k{number}" for number in range(12))])
