"""zarr over outlive, against zarr's own stores in the same run: LocalStore on /dev/shm, and MemoryStore."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import tempfile
import time
from typing import Any

import numpy as np

import outlive
from benchmarks.cluster import MIB
from benchmarks.line import Line, times_faster
from benchmarks.timing import OUTLIVE, RAY, Samples, alternate

NAME = "zarr"
ABOUT = "chunks of zarr, written and read, against zarr's LocalStore on /dev/shm and its MemoryStore"
_LOCAL, _MEMORY = "LocalStore on /dev/shm", "MemoryStore"
_CHUNKS = 4  # that are written in turn
_CHUNKS_OF_ARRAY = 64


def run(store: outlive.Store, quick: bool) -> list[Line]:
    if not importlib.util.find_spec("zarr"):
        return []
    from zarr.storage import LocalStore, MemoryStore

    from outlive.zarr import OutliveStore

    folder = tempfile.mkdtemp(dir="/dev/shm", prefix="outlive-bench-zarr-")
    ours = OutliveStore(store, path="benchmark")
    try:
        stores = {OUTLIVE: ours, _LOCAL: LocalStore(folder), _MEMORY: MemoryStore()}
        lines = []
        for size, rounds in ((1, 20 if quick else 200), (64, 3 if quick else 20)):
            lines += _size(stores, size, rounds)
        return lines + _whole_array(stores, 3 if quick else 20)
    finally:
        asyncio.run(ours.clear())
        shutil.rmtree(folder)


def _size(stores: dict[str, Any], mib: int, rounds: int) -> list[Line]:
    from zarr.core.buffer import cpu, default_buffer_prototype

    value = cpu.Buffer.from_array_like(np.random.default_rng(7).integers(0, 255, mib * MIB, np.uint8))
    prototype = default_buffer_prototype()
    loop = asyncio.new_event_loop()

    def timed(what: Any) -> float:
        begin = time.perf_counter()
        found = loop.run_until_complete(what)
        seconds = time.perf_counter() - begin
        assert found is None or len(found) == len(value)
        return seconds

    def taking_turns(make: Any) -> Samples:
        counts = dict.fromkeys(stores, 0)

        def side(name: str) -> Any:
            def once() -> float:
                counts[name] += 1
                return timed(make(stores[name], f"{mib}/{counts[name] % _CHUNKS}"))

            return once

        return alternate({name: side(name) for name in stores}, rounds)

    def put(store: Any, key: str) -> Any:
        return store.set(key, value)

    def get(store: Any, key: str) -> Any:
        return store.get(key, prototype)

    for _ in range(2):
        taking_turns(put)  # all keys are there, and memory is warm
    found = {"write": taking_turns(put), "read": taking_turns(get)}
    loop.close()
    return [line for what in found for line in _lines(what, f"a chunk of {mib} MiB", found[what])]


def _whole_array(stores: dict[str, Any], rounds: int) -> list[Line]:
    """An array of many chunks, as programs use zarr: it writes and reads several of them at once."""
    import zarr

    data = np.random.default_rng(7).integers(0, 255, _CHUNKS_OF_ARRAY * MIB, np.uint8)
    arrays = {
        name: zarr.create_array(
            store, name="array", shape=data.shape, chunks=(MIB,), dtype=data.dtype, compressors=None
        )
        for name, store in stores.items()
    }

    def write(name: str) -> Any:
        def once() -> float:
            begin = time.perf_counter()
            arrays[name][:] = data
            return time.perf_counter() - begin

        return once

    def read(name: str) -> Any:
        def once() -> float:
            begin = time.perf_counter()
            found = arrays[name][:]
            seconds = time.perf_counter() - begin
            assert found.nbytes == data.nbytes
            return seconds

        return once

    whole = f"an array of {_CHUNKS_OF_ARRAY} chunks of 1 MiB"
    for _ in range(2):
        alternate({name: write(name) for name in stores}, 1)
    written, gotten = (alternate({name: side(name) for name in stores}, rounds) for side in (write, read))
    return _lines("write", whole, written) + _lines("read", whole, gotten, least=None)


def _lines(what: str, of: str, samples: Samples, least: float | None = 3) -> list[Line]:
    """Each of zarr's stores beside ours. A read has to be `least` times as fast as one of files, a write as fast."""
    return [
        times_faster(
            NAME,
            f"{what} {of}, beside zarr's {other}",
            "warm: its key was written before",
            {RAY: samples[other], OUTLIVE: samples[OUTLIVE]},
            asked=(least if what == "read" else 1) if other == _LOCAL else None,
        )
        for other in (_LOCAL, _MEMORY)
    ]
