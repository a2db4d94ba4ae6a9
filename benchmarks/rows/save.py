"""`store.save` to object storage, against the client that it uses itself (obstore), to one server in the same run."""

from __future__ import annotations

import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

import outlive
from benchmarks.cluster import MIB
from benchmarks.line import Line, hardest, times_faster
from benchmarks.timing import OUTLIVE, RAY, Samples, alternate
from tests.archive.servers import BUCKET, SeaweedFS

NAME = "save"
ABOUT = "store.save to SeaweedFS on this machine, against obstore's own puts of the same bytes"
_ARRAYS, _MIB = 16, 16
_PREFIX = "save/"
_AT_ONCE = 8  # puts of the client
_WHAT = f"save {_ARRAYS} arrays of {_MIB} MiB to a server of S3 on this machine"
_SIDES = {"obstore in parts": {}, "obstore in one piece each": {"use_multipart": False}}
"""The ways in which the client alone puts: by default in parts at the same time, and as small files go."""


def run(store: outlive.Store, quick: bool) -> list[Line]:
    if not SeaweedFS.is_installed():
        return []
    random = np.random.default_rng(7)
    arrays = {f"{_PREFIX}{number:02}": random.integers(0, 255, _MIB * MIB, np.uint8) for number in range(_ARRAYS)}
    store.put_many(arrays)
    server = SeaweedFS()
    try:
        samples = _measured(store, arrays, server, rounds=2 if quick else 9)
    finally:
        server.kill()
        store.delete(*arrays)
    lines = [_line(name, {OUTLIVE: samples[OUTLIVE], RAY: samples[name]}) for name in _SIDES]
    return hardest(lines, 0.8)


def _measured(store: outlive.Store, arrays: dict[str, Any], server: SeaweedFS, rounds: int) -> Samples:
    from obstore.store import S3Store

    names = map(str, itertools.count())
    client = S3Store(BUCKET, **server.options, client_options={"allow_http": True, "timeout": "300s"})

    def save() -> float:
        begin = time.perf_counter()
        saved = store.save(f"s3://{BUCKET}/{next(names)}", prefix=_PREFIX, options=server.options)
        seconds = time.perf_counter() - begin
        assert saved.sent == len(arrays)
        return seconds

    def client_alone(how: dict[str, Any]) -> Any:
        def side() -> float:
            folder = next(names)
            begin = time.perf_counter()
            with ThreadPoolExecutor(_AT_ONCE) as threads:
                for put in [threads.submit(client.put, f"{folder}/{key}", array.data, **how)
                            for key, array in arrays.items()]:  # fmt: skip
                    put.result()
            return time.perf_counter() - begin

        return side

    sides = {OUTLIVE: save} | {name: client_alone(how) for name, how in _SIDES.items()}
    alternate(sides, 1)  # the server's first volumes, and imports
    return alternate(sides, rounds)


def _line(name: str, samples: Samples) -> Line:
    note = f"the other column is {name}, {_AT_ONCE} at a time: no manifest, no checksum of its own, nothing to resume"
    return times_faster(NAME, f"{_WHAT}, beside {name}", "warm", samples, note=note)
