"""What a call costs by the number of nodes, and the catalog by the number of arrays."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
import psutil
import ray

import outlive
from benchmarks.cluster import KIB, MIB
from benchmarks.line import Line
from benchmarks.several import Raylets, raylets
from benchmarks.timing import stopwatch
from outlive.cluster import actors

NAME = "nodes-cost"
ABOUT = "1, 2, 4, 8 raylets: put by key, get by handle, first remote get; 10^3 to 10^5 arrays: catalog, restart"
_CALLS = 100


def run(quick: bool) -> list[Line]:
    with raylets(1, 80 * MIB, 900 * MIB) as nodes:
        store = outlive.open()
        lines = [line for power in ((3,) if quick else (3, 4, 5)) for line in _by_arrays(store, 10**power, power)]
        for count in (1, 2) if quick else (1, 2, 4, 8):
            while len(nodes) < count:
                nodes.add()
            lines += _by_nodes(store, nodes, count)
    return lines


def _by_arrays(store: outlive.Store, count: int, power: int) -> list[Line]:
    array = np.ones(KIB // 8)
    with stopwatch() as put:
        store.put_many({f"k{number}": array for number in range(count)})
    pid = ray.get(actors.catalog().__ray_call__.remote(lambda _: os.getpid()))
    memory = psutil.Process(pid).memory_full_info().uss
    with stopwatch() as restart:
        psutil.Process(pid).kill()
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.001)
        assert len(store) == count
    store.clear()
    state = "1 node, arrays of 1 KiB"
    return [
        Line(NAME, f"put_many of 10^{power}", state, [put.seconds]),
        Line(NAME, f"catalog's unique memory (USS) with 10^{power}", state, [float(memory)], unit="B"),
        Line(NAME, f"catalog killed until len() of 10^{power} is right", state, [restart.seconds]),
    ]


@ray.remote
class _Reader:
    def __init__(self) -> None:
        outlive.open()

    def read(self, handles: list[outlive.ArrayHandle]) -> list[float]:
        return [_seconds(handle.get) for handle in handles]


def _by_nodes(store: outlive.Store, nodes: Raylets, count: int) -> list[Line]:
    array = np.ones(KIB // 8)
    readers: list[Any] = [_Reader.options(**nodes.on(number)).remote() for number in range(count)]
    ray.get([reader.read.remote([]) for reader in readers])
    assert len(actors.keeper_nodes()) == count
    puts = [_seconds(lambda: store.put(array, f"n{number}")) for number in range(_CALLS)]  # noqa: B023
    handles = [store.handle(f"n{number}") for number in range(_CALLS)]
    kinds = {"put with a key": puts, "get by handle on its node": ray.get(readers[0].read.remote(handles))}
    if count > 1:
        kinds["first get by handle on another node"] = ray.get(readers[-1].read.remote(handles))
    store.clear()
    state = f"{_CALLS} arrays of 1 KiB"
    return [Line(NAME, f"{kind}, {count} node{'s' if count > 1 else ''}", state, some) for kind, some in kinds.items()]


def _seconds(call: Any) -> float:
    with stopwatch() as watch:
        call()
    return watch.seconds
