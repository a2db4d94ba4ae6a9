"""What the other tests of several nodes stand on: every node is one of its own, and dies when told to."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import psutil
import ray

import outlive
from tests.conftest import ROOT, eventually
from tests.nodes.conftest import REPLICATED
from tests.nodes.raylets import several_nodes


def whereabouts() -> tuple[str, str, int]:
    return ray.get_runtime_context().get_node_id(), os.environ["OUTLIVE_ROOT"], os.getpid()


def put_there(store: outlive.Store, number: int) -> str:
    store.put(np.full(10, number))
    return outlive.store.session.current().shelf.path


def test_nodes_start_and_die_and_leave_nothing():
    with several_nodes(2) as nodes:
        store = outlive.open("raylets")
        store["k"] = np.ones(5)
        assert list(nodes) == [0, 1]
        for i in nodes:
            node_id, root, pid = nodes.on_node(i, whereabouts)
            assert (node_id, root) == (nodes.id(i), ROOT)
            assert pid in {process.pid for process in nodes.processes(i, "ray::")}
        shelves = {i: nodes.on_node(i, put_there, store, i) for i in nodes}
        assert {i: Path(path).name for i, path in shelves.items()} == {i: nodes.id(i) for i in nodes}

        for i in nodes:
            (before,) = nodes.processes(i, "ray::Keeper")
            assert nodes.kill_keeper(i)
            eventually(lambda i=i, before=before: nodes.processes(i, "ray::Keeper") not in ([], [before]))
        assert nodes.kill_catalog()
        assert eventually(lambda: store["k"].sum() == 5)

        doomed = nodes.processes(1, "ray::")
        assert doomed
        gone = nodes.kill_node(1)
        assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in doomed)
        assert not Path(shelves[1]).exists()
        assert list(nodes) == [0] and len(nodes) == 1
        assert nodes.add_node() == 2
        assert nodes.id(2) != gone
        if REPLICATED:
            assert nodes.on_node(2, put_there, store, 2) != shelves[1]
        alive = [process for i in nodes for process in nodes.processes(i, "ray::")]
        cluster = Path(ROOT, nodes.cluster)
        assert cluster.exists()
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in alive)
    assert not cluster.exists()
    assert not ray.is_initialized()
