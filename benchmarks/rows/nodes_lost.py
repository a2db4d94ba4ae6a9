"""One of several nodes dies: how long until what it had is kept as often as before, and what had to be moved."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import ray

import outlive
from benchmarks.cluster import KIB, MIB
from benchmarks.line import Line
from benchmarks.several import Raylets, raylets
from benchmarks.timing import stopwatch
from outlive.cluster import actors

NAME = "nodes-lost"
ABOUT = (
    "8 raylets, 10,000 arrays with replicas=2, one node killed: seconds until all are on two nodes again, bytes moved"
)
_PATIENCE = 120.0  # seconds


def run(quick: bool) -> list[Line]:
    count, arrays = (3, 500) if quick else (8, 10_000)
    with raylets(count, 80 * MIB, 256 * MIB) as nodes:
        store = outlive.open()
        for number in range(1, count):
            nodes.run(number, _join)  # so that starting keepers is not measured
        array = np.ones(KIB // 8)
        keyed = {f"k{number}": array for number in range(arrays)}
        with stopwatch() as plain:
            store.put_many({f"plain/{key}": array for key in keyed})
        with stopwatch() as put:
            handles = store.put_many(keyed, replicas=2)
        noticed, full, moved, nbytes = _lose(nodes)
        for handle in list(handles.values())[:: max(1, arrays // 50)]:
            assert handle.durability == (2, 2)
            assert (handle.get() == array).all()
    state = f"{count} nodes, arrays of 1 KiB, Ray's own settings"
    what = f"{arrays:,} arrays with replicas=2, a node with copies of {moved:,} of them killed"
    rate = f"{moved / (full - noticed):.0f} arrays/s"
    return [
        Line(NAME, f"put_many of {arrays:,} arrays, replicas=2", state, [put.seconds], note=_rate(arrays, put.seconds)),
        Line(NAME, f"put_many of {arrays:,} arrays", state, [plain.seconds], note=_rate(arrays, plain.seconds)),
        Line(NAME, f"{what}: until Ray says so", state, [noticed]),
        Line(NAME, f"{what}: from then on, until all are on two nodes", state, [full - noticed], note=rate),
        Line(NAME, f"{what}: in all", state, [full]),
        Line(NAME, f"{what}: bytes moved", state, [float(nbytes)], unit="B"),
    ]


def _rate(count: int, seconds: float) -> str:
    return f"{seconds / count * 1e6:.0f} us each"


def _join() -> None:
    outlive.open()


def _lose(nodes: Raylets) -> tuple[float, float, int, int]:
    """Kill the node with the most copies, apart from the head.

    Returns seconds until Ray has noticed, until all is replicated again, and what was lost and copied.
    """
    catalog = actors.catalog()
    calls = [catalog.__ray_call__.remote(_sizes_on, nodes.id(i)) for i in range(len(nodes))]
    on_each: list[list[int]] = ray.get(calls)
    number = max(range(1, len(nodes)), key=lambda i: len(on_each[i]))
    node, sizes = nodes.id(number), on_each[number]
    begin = time.monotonic()
    nodes.kill(number)
    _wait(lambda: node not in {one["NodeID"] for one in ray.nodes() if one["Alive"]})
    noticed = time.monotonic() - begin
    _wait(lambda: ray.get(actors.catalog().__ray_call__.remote(_is_whole, node)))
    return noticed, time.monotonic() - begin, len(sizes), sum(sizes)


def _sizes_on(catalog: Any, node: str) -> list[int]:
    """The sizes of the files of which this node has one of several."""
    return list(catalog.driver.look(lambda state: [info.size for info, _ in state.index.copies.on_node(node)]))


def _is_whole(catalog: Any, without: str) -> bool:
    return bool(catalog.driver.look(lambda state: without not in state.epochs and not state.index.copies.lacking))


def _wait(condition: Any) -> None:
    end = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {_PATIENCE:.0f} s: {condition}")
        time.sleep(0.05)
