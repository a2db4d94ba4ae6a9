"""The first read of the other node's array, by size: directly, through Ray, and by a connection that does no more."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
import ray

import outlive
from benchmarks.cluster import GIB, KIB, MIB
from benchmarks.line import Line, size, times_faster
from benchmarks.names import KEEPERS_GROWTH
from benchmarks.several import Raylets, Reader, raylets
from benchmarks.timing import OUTLIVE, RAY, Samples, alternate
from benchmarks.wire import TAKEN_BACK, wire
from outlive.cluster import actors

NAME = "remote"
ABOUT = "two raylets: first remote read by size, by the transfer port and through Ray, and what a connection can carry"
_SIZES = {"1 KiB": KIB, "64 KiB": 64 * KIB, "1 MiB": MIB, "16 MiB": 16 * MIB, "256 MiB": 256 * MIB}
_ASKED = {"1 KiB": 1.0, "1 MiB": 1.5, "256 MiB": 3.0}  # times as fast as `ray.get`
_FLAT = 5e6  # bytes that a keeper may gain
_TURNED_OFF = "OUTLIVE_TRANSFER"


def run(quick: bool) -> list[Line]:
    rounds = 3 if quick else 10
    memory = list[Line]()
    direct = _reads(rounds, then=lambda nodes, reader: memory.append(_memory(nodes, reader, quick)))
    by_ray = _reads(rounds, through_ray=True)
    limit = _limit(256 * MIB, rounds)
    lines = [_cold(1 if quick else 9)]
    for name in _SIZES:
        state = "warm: both stores wrote such arrays before; a new array each time"
        line = times_faster(NAME, f"first read of {name} of the other node", state, direct[name], _ASKED.get(name))
        if name == "256 MiB":
            line.note = f"a connection that does no more: {min(limit):.3f} to {max(limit):.3f} s"
        lines += [
            line,
            times_faster(NAME, f"the same through Ray: {name}", state, by_ray[name], note=f"{_TURNED_OFF}=ray"),
        ]
    what, state = "256 MiB by sendfile and recv_into alone", "two streams, on the loopback, no checksum"
    cold = f"cold: {state}, into tmpfs that is new, or was freed {TAKEN_BACK} s before"
    return [
        *lines,
        *memory,
        Line(NAME, what, f"warm: {state}, from tmpfs into recycled tmpfs", limit),
        Line(NAME, what, cold, _limit(256 * MIB, rounds, into_new=True)),
    ]


def _cold(clusters: int) -> Line:
    """The first read of all in a cluster. Each cluster is new, and who reads first alternates."""
    found: Samples = {RAY: [], OUTLIVE: []}
    for number in range(clusters):
        with raylets(2, GIB, 2 * GIB) as nodes:
            store = outlive.open()
            reader: Any = ray.remote(Reader).options(**nodes.on(1)).remote()
            samples = _alternate(store, reader, 256 * MIB, 1, order=1 if number % 2 else -1)
            for side, seconds in samples.items():
                found[side] += seconds
    state = f"cold: the first read of each of {clusters} new clusters" if clusters > 1 else "cold: one new cluster"
    return times_faster(NAME, "first read of 256 MiB of the other node", state, found, 2.0)


def _reads(
    rounds: int, *, through_ray: bool = False, then: Callable[[Raylets, Any], None] | None = None
) -> dict[str, Samples]:
    """By size. The first of each is left out: connections, arenas and segments are new then.

    `then` is done with the same nodes and reader.
    """
    before = os.environ.pop(_TURNED_OFF, None)
    if through_ray:
        os.environ[_TURNED_OFF] = "ray"
    try:
        with raylets(2, GIB, 2 * GIB) as nodes:
            store = outlive.open()
            reader: Any = ray.remote(Reader).options(**nodes.on(1)).remote()
            found = {}
            for name, nbytes in _SIZES.items():
                samples = _alternate(store, reader, nbytes, rounds + 2)
                found[name] = {side: some[2:] for side, some in samples.items()}
            if then is not None:
                then(nodes, reader)
            return found
    finally:
        os.environ.pop(_TURNED_OFF, None)
        if before is not None:
            os.environ[_TURNED_OFF] = before


def _alternate(store: outlive.Store, reader: Any, nbytes: int, rounds: int, order: int = 1) -> Samples:
    numbers = itertools.count()

    def array() -> Any:
        return np.full(nbytes // 8, float(next(numbers)))

    def with_ray() -> float:
        return float(ray.get(reader.ray_get.remote([ray.put(array())])))

    def with_outlive() -> float:
        handle = store.put(array())
        seconds = float(ray.get(reader.get.remote(handle)))
        store.delete(handle)  # both copies
        return seconds

    sides = {RAY: with_ray, OUTLIVE: with_outlive}
    return alternate({name: sides[name] for name in list(sides)[::order]}, rounds)


def _memory(nodes: Raylets, reader: Any, quick: bool) -> Line:
    """What the keepers of both nodes gain of memory of their own, which is not shared, as arrays pass between them."""
    store, array = outlive.open(), np.ones(256 * MIB // 8)
    keepers = [psutil.Process(ray.get(actors.keeper(nodes.id(i)).__ray_call__.remote(_pid))) for i in range(2)]
    rounds = 2 if quick else 16

    def own() -> list[float]:
        found = [keeper.memory_info() for keeper in keepers]
        return [float(one.rss - one.shared) for one in found]

    before = own()
    for _ in range(rounds):
        handle = store.put(array)
        ray.get(reader.get.remote(handle))
        store.delete(handle)
    after = own()
    growth = [later - sooner for later, sooner in zip(after, before, strict=True)]
    what = f"{KEEPERS_GROWTH} as {size(rounds * array.nbytes)} pass between two"
    line = Line(NAME, what, "warm: arrays of 256 MiB; RSS without shared pages; one of each node", growth, unit="B")
    line.asked, line.reached = f"flat: under {_FLAT / 1e6:g} MB", max(growth) < _FLAT
    line.note = f"{' and '.join(f'{one / 1e6:.0f} MB' for one in before)} before"
    return line


def _pid(_: Any) -> int:
    return os.getpid()


def _limit(nbytes: int, rounds: int, *, into_new: bool = False) -> list[float]:
    with wire(nbytes, 2) as connection:
        return [connection.receive(into_new=into_new) for _ in range(rounds + 1)][1:]
