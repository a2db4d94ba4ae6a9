"""Scopes whose arrays are on several nodes: they end together, however the scope ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import numpy as np
import pytest
import ray

import outlive
from tests.conftest import eventually
from tests.nodes.raylets import Nodes, several_nodes


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with several_nodes(2) as nodes:
        outlive.open("scopes")
        yield nodes
        outlive.shutdown()


def put_there(store: outlive.Store, number: int) -> outlive.ArrayHandle:
    store[f"key {number}"] = np.full(10, number)
    return store.put(np.full(10, number))


def is_gone(handle: outlive.ArrayHandle) -> bool:
    try:
        handle.get()
    except outlive.ArrayNotFound as error:
        return "the scope it was put in ended" in str(error)
    return False


def test_what_tasks_put_on_another_node_lives_as_long_as_the_block(nodes: Nodes) -> None:
    store = outlive.open("scopes")
    with store.scope() as tmp:
        handles = [nodes.on_node(i, put_there, tmp, i) for i in nodes]
        keeper = ray.get_actor(f"keeper-{nodes.id(1)}", namespace="outlive")
        for _ in range(3):  # rounds of the other node's keeper, which looks for what has ended
            rounds = ray.get(keeper.rounds.remote())
            eventually(lambda rounds=rounds: ray.get(keeper.rounds.remote()) > rounds + 1)
        assert [int(handle.get()[0]) for handle in handles] == [0, 1]
        assert sorted(store) == ["key 0", "key 1"]
    assert list(store) == []
    assert all(map(is_gone, handles))


def test_the_scope_s_process_dies(nodes: Nodes) -> None:
    @ray.remote(max_retries=0, num_cpus=0)
    def hold(where: list[str]) -> None:
        import time

        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        @ray.remote(num_cpus=0)
        def put(tmp: outlive.Store) -> None:
            tmp["held"] = np.ones(3)

        with outlive.open("held").scope() as tmp:
            ray.get(put.options(scheduling_strategy=NodeAffinitySchedulingStrategy(where[1], soft=False)).remote(tmp))
            outlive.open("pids")["pid"] = np.array(os.getpid())
            while True:
                time.sleep(1)

    strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(nodes.id(0), soft=False)
    task = hold.options(scheduling_strategy=strategy).remote([nodes.id(i) for i in nodes])
    eventually(lambda: "pid" in outlive.open("pids"))
    store = outlive.open("held")
    assert store["held"].sum() == 3
    os.kill(int(outlive.open("pids")["pid"]), signal.SIGKILL)
    ray.wait([task])
    eventually(lambda: "held" not in store)
