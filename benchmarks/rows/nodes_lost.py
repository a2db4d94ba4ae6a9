"""One of several nodes dies: how long until what it had is kept as often as before, and what had to be moved."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import ray

import outlive
from benchmarks.cluster import GIB, KIB, MIB
from benchmarks.line import Line, size
from benchmarks.names import COPIED_AGAIN
from benchmarks.several import Raylets, raylets
from benchmarks.timing import stopwatch
from benchmarks.wire import wire
from outlive.cluster import actors

NAME = "nodes-lost"
ABOUT = (
    "8 raylets, 10,000 arrays with replicas=2, one node killed: seconds until all are on two nodes again, bytes moved;"
    " 1 GiB of a lost node, copied again"
)
_PATIENCE = 120.0  # seconds
_LARGE = 64 * MIB  # bytes of an array of which a copy is lost


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
        _copied_again(256 * MIB if quick else GIB, 1 if quick else 5),
    ]


def _copied_again(nbytes: int, rounds: int) -> Line:
    """All that a lost node had is copied to a new one, beside a connection that carries as much and does no more."""
    taken = []
    with raylets(2, 80 * MIB, 2 * nbytes + GIB) as nodes:
        store = outlive.open()
        nodes.run(1, _join)
        handles = [store.put(np.full(_LARGE // 8, float(number)), replicas=2) for number in range(nbytes // _LARGE)]
        for _ in range(rounds):
            nodes.add()
            nodes.run(2, _join)
            node = nodes.kill(1)
            _wait(lambda: _in_catalog(_knows, node), pause=0.01)  # noqa: B023
            begin = time.monotonic()
            _wait(lambda: _in_catalog(_is_whole, node), pause=0.01)  # noqa: B023
            taken.append(time.monotonic() - begin)
            assert all(handle.durability == (2, 2) for handle in handles)
    with wire(nbytes, 2) as connection:
        bare = [connection.receive(into_new=True) for _ in range(rounds + 1)][1:]
    state = (
        f"cold: 2 nodes, arrays of {size(_LARGE)}, the node that gets them is new; beside a connection of two streams"
    )
    again, most = (nbytes / statistics.median(seconds) / 1e6 for seconds in (taken, bare))
    note = f"{again:.0f} MB/s; the bare connection {most:.0f} MB/s"
    return Line(NAME, f"{size(nbytes)} of {COPIED_AGAIN}", state, taken, bare, note=note, compared=False)


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
    _wait(lambda: _in_catalog(_is_whole, node))
    return noticed, time.monotonic() - begin, len(sizes), sum(sizes)


def _sizes_on(catalog: Any, node: str) -> list[int]:
    """The sizes of the files of which this node has one of several."""
    return list(catalog.driver.look(lambda state: [info.size for info, _ in state.index.copies.on_node(node)]))


def _is_whole(catalog: Any, without: str) -> bool:
    return bool(catalog.driver.look(lambda state: without not in state.epochs and not state.index.copies.lacking))


def _knows(catalog: Any, node: str) -> bool:
    """Whether the catalog knows that the node is lost."""
    return bool(catalog.driver.look(lambda state: node not in state.epochs))


def _in_catalog(look: Any, node: str) -> Any:
    return ray.get(actors.catalog().__ray_call__.remote(look, node))


def _wait(condition: Any, pause: float = 0.05) -> None:
    end = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {_PATIENCE:.0f} s: {condition}")
        time.sleep(pause)
