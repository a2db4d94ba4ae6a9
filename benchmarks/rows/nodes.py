"""Two nodes: the first read of what the other has, the second, some rows of it, and two replicas instead of one."""

from __future__ import annotations

import functools
import itertools
import statistics
from typing import Any

import numpy as np
import ray

import outlive
from benchmarks.calls import Watched
from benchmarks.cluster import GIB, MIB
from benchmarks.line import Line, size, times_as_fast
from benchmarks.several import Raylets, Reader, raylets
from benchmarks.timing import OUTLIVE, RAY, Samples, alternate, stopwatch
from benchmarks.wire import wire
from outlive.cluster import actors

NAME = "nodes"
ABOUT = (
    "two raylets: first remote read of 256 MiB, the second, a 1 % slice of 1 GiB, put(replicas=2); calls of the catalog"
)
AS_FAST = 1.25  # times the median of a local read
_STEP = 256 * MIB


def run(quick: bool) -> list[Line]:
    rounds = 4 if quick else 16
    with raylets(2, GIB, 4 * GIB) as nodes:
        store = outlive.open()
        reader: Any = _Reader.options(**nodes.on(1)).remote()
        return [
            *_reads(store, reader, rounds),
            _slice(store, reader, 256 * MIB if quick else GIB, 2 if quick else 5),
            _replicas(store, rounds),
            *_calls(store, reader, nodes),
        ]


@ray.remote
class _Reader(Reader):
    """A program on the other node."""

    def __init__(self) -> None:
        super().__init__()
        self._local = outlive.open().put(np.ones(_STEP // 8))

    def get_local(self) -> float:
        return self.get(self._local)  # type: ignore[no-any-return]

    def rows(self, handle: outlive.ArrayHandle, begin: int, end: int) -> float:
        with stopwatch() as watch:
            array = handle[begin:end]
        assert len(array) == end - begin
        return watch.seconds


def _reads(store: outlive.Store, reader: Any, rounds: int) -> list[Line]:
    numbers = itertools.count()
    again: Samples = {"second": [], "local": []}

    def with_ray() -> float:
        refs = [ray.put(np.full(_STEP // 8, float(next(numbers))))]
        return float(ray.get(reader.ray_get.remote(refs)))

    def with_outlive() -> float:
        handle = store.put(np.full(_STEP // 8, float(next(numbers))))
        seconds = float(ray.get(reader.get.remote(handle)))
        sides = {
            "second": lambda: float(ray.get(reader.get.remote(handle))),
            "local": lambda: float(ray.get(reader.get_local.remote())),
        }
        for name, some in alternate(sides, 5).items():
            again[name] += some
        store.delete(handle)  # both copies
        return seconds

    samples = alternate({RAY: with_ray, OUTLIVE: with_outlive}, rounds)
    first = {name: some[:1] for name, some in samples.items()}
    later = {name: some[1:] for name, some in samples.items()}
    factor = statistics.median(again["second"]) / statistics.median(again["local"])
    state = "warm: both stores wrote such arrays before; a new array each time"
    lines = [
        Line(NAME, "first read of 256 MiB of the other node", "cold: new stores", first[OUTLIVE], first[RAY]),
        Line(
            NAME, "first read of 256 MiB of the other node", state, later[OUTLIVE], later[RAY], asked=times_as_fast(3)
        ),
        Line(NAME, "read of 256 MiB put on this node", "warm: read before, not mapped", again["local"]),
        Line(
            NAME,
            "second read of 256 MiB of the other node",
            "warm: read before, not mapped",
            again["second"],
            asked=f"as fast as a local one (at most {AS_FAST:g} times)",
            reached=factor <= AS_FAST,
            note=f"{factor:.2f} times the median of a local one",
        ),
    ]
    lines[1].reached = (lines[1].ratio or 0) >= 3
    return lines


def _slice(store: outlive.Store, reader: Any, nbytes: int, rounds: int) -> Line:
    """One per cent of the rows against all of them. The whole is not there when the rows are read."""
    rows = 10_000
    whole: list[float] = []
    part: list[float] = []
    for number in range(rounds):
        handle = store.put(np.full((rows, nbytes // rows // 8), float(number)))
        part += [ray.get(reader.rows.remote(handle, begin, begin + rows // 100)) for begin in (4000, 7000, 2000)]
        whole.append(ray.get(reader.rows.remote(handle, 0, rows)))
        store.delete(handle)
    factor = statistics.median(whole) / statistics.median(part)
    return Line(
        NAME,
        f"a slice of a handle: 1 % of the rows of {size(nbytes)} of the other node",
        "cold: nothing of it is on this node",
        part,
        whole,
        asked="20 times as fast as the whole",
        reached=factor >= 20,
        note=f"Ray's column is outlive's whole array: {factor:.0f} times",
        compared=False,
    )


def _replicas(store: outlive.Store, rounds: int) -> Line:
    def put(number: int, replicas: int) -> float:
        array = np.full(_STEP // 8, float(number))
        with stopwatch() as watch:
            handle = store.put(array, replicas=replicas)
        assert replicas == 1 or handle.durability == (replicas, replicas)
        store.delete(handle)
        return watch.seconds

    numbers = itertools.count()
    sides = {"plain": lambda: put(next(numbers), 1), "twice": lambda: put(next(numbers), 2)}
    samples = alternate(sides, rounds)
    plain, twice = samples["plain"][1:], samples["twice"][1:]
    with wire(_STEP, 2) as connection:
        ways = {"sent": connection.receive, "written": functools.partial(connection.receive, while_written=True)}
        bare = alternate(ways, rounds)
    sent, written = bare["sent"][1:], bare["written"][1:]
    share, most, together = (statistics.median(plain) / statistics.median(some) for some in (twice, sent, written))
    return Line(
        NAME,
        "put(replicas=2), 256 MiB",
        "warm: both nodes wrote such arrays before",
        twice,
        plain,
        asked="0.4 of the throughput of a plain put",
        reached=share >= 0.4,
        note=f"Ray's column is outlive's plain put: {share:.2f} of its throughput. "
        f"To send the bytes, and no more, takes {statistics.median(sent):.3f} s here: {most:.2f}. "
        f"To write them, and to send at once what is written, takes {statistics.median(written):.3f} s: {together:.2f}",
        compared=False,
    )


def _calls(store: outlive.Store, reader: Any, nodes: Raylets, count: int = 100) -> list[Line]:
    """How often the catalog is called, by programs and keepers alike."""
    watched = Watched([reader, *(actors.keeper(nodes.id(number)) for number in range(len(nodes)))])
    array = np.ones(100)
    handles = [store.put(array) for _ in range(count)]
    keyed = {f"calls/{number}": array for number in range(count)}

    def read_all(some: list[outlive.ArrayHandle]) -> None:
        for handle in some:
            handle.get()

    work = {
        "put, no key": lambda: [store.put(array) for _ in range(count)],
        "put with a key": lambda: [store.put(array, key) for key in keyed],
        "get by handle, on its node": lambda: read_all(handles),
        "get by key, on its node": lambda: [store[key] for key in keyed],
        "first get by handle, from the other node": lambda: ray.get([reader.get.remote(handle) for handle in handles]),
        "second get by handle, from the other node": lambda: ray.get([reader.get.remote(handle) for handle in handles]),
        "put_many(replicas=2), for each of 100 arrays": lambda: store.put_many(keyed, replicas=2),
    }
    asked = {
        "get by handle, on its node": 0.0,
        "get by key, on its node": 0.0,
        "second get by handle, from the other node": 0.0,
    }
    lines = []
    for name, do in work.items():
        do()
        calls = watched.taken()
        each = sum(calls.values()) / count
        line = Line(NAME, f"calls of the catalog: {name}", f"counted over {count}", [each], unit="calls")
        line.note = ", ".join(f"{method} {number / count:g}" for method, number in sorted(calls.items()))
        if name in asked:
            line.asked, line.reached = "none", each == asked[name]
        lines.append(line)
    store.clear()
    return lines
