"""`python -m benchmarks.peers`: put, get and get + sum of 1 KiB and 64 MiB, in outlive, Ray and other array stores.

One process; all take turns; medians. A get makes an array of what is stored and no more; `get + sum` reads all of it.
Both are the first read of an array. A peer that is not installed (benchmarks/README.md tells how) is left out, and said
so.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import ray
from rich.console import Console
from rich.table import Table

import outlive
from benchmarks import machine, report
from benchmarks.cluster import GIB, KIB, MIB, cluster
from benchmarks.timing import stopwatch

T = TypeVar("T")
_HOW = "*get* and *get + sum* each read an array of their own for the first time."
SIZES = {"1 KiB": (KIB, 300), "64 MiB": (64 * MIB, 12)}  # bytes, and how many operations


class Peer(NamedTuple):
    """A place for arrays: each call stores, reads or frees one array under a key."""

    name: str
    put: Callable[[str, Any], Any]
    get: Callable[[str], Any]
    delete: Callable[[str], Any]


def main() -> int:
    console = Console() if sys.stdout.isatty() else Console(width=160)
    folder = tempfile.mkdtemp(prefix="outlive-peers-", dir="/dev/shm")
    try:
        with cluster(2 * GIB) as store, contextlib.ExitStack() as stack:
            peers = [peer for make in PEERS if (peer := _started(make, stack, store, folder, console))]
            machine.quiet()
            measured_at = datetime.now(timezone.utc).isoformat(timespec="seconds")
            samples = {size: _measure(peers, nbytes, count) for size, (nbytes, count) in SIZES.items()}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _show(samples, console)
    path = report.new_path("peers")
    result = {**machine.facts(), "measured_at": measured_at, "state": "warm", "reads": _HOW, "seconds": samples}
    path.write_text(json.dumps(result) + "\n", encoding="utf-8")
    console.print(f"raw timings: {path}", highlight=False, soft_wrap=True)
    return 0


def _started(make: Any, stack: contextlib.ExitStack, store: Any, folder: str, console: Console) -> Peer | None:
    try:
        peer: Peer = stack.enter_context(make(store, folder))
    except (ImportError, FileNotFoundError) as error:
        console.print(f"[dim]left out: {make.__name__} ({error})[/dim]", highlight=False)
        return None
    return peer


def _measure(peers: list[Peer], nbytes: int, count: int) -> dict[str, dict[str, list[float]]]:
    array = np.random.default_rng(5).random(nbytes // 8)
    seconds: dict[str, dict[str, list[float]]] = {peer.name: {} for peer in peers}
    total = array.sum()
    for number in range(count + 2):
        order = peers if number % 2 else peers[::-1]
        for peer in order:
            for name, read in _READS.items():  # each is the first read of an array of its own
                key = f"{name}{number}"
                with stopwatch() as put:
                    peer.put(key, array)
                with stopwatch() as reading:
                    found = read(peer.get(key))
                assert found.sum() == total, f"{peer.name} gave other bytes than were put"
                del found
                peer.delete(key)
                if number >= 2:  # the first ones warm up
                    seconds[peer.name].setdefault("put", []).append(put.seconds)
                    seconds[peer.name].setdefault(name, []).append(reading.seconds)
    return seconds


_READS: dict[str, Callable[[Any], Any]] = {"get": lambda found: found, "get + sum": lambda found: found.sum()}


def _show(samples: dict[str, dict[str, dict[str, list[float]]]], console: Console) -> None:
    table = Table(title="median of each; the fewer the better")
    names = list(next(iter(samples.values())))
    for column in ("", *names):
        table.add_column(column, justify="right" if column else "left")
    for size, by_peer in samples.items():
        for what in ("put", *_READS):
            medians = (statistics.median(by_peer[name][what]) for name in names)
            table.add_row(f"{what}, {size}", *(report.number(median, "s") for median in medians))
    console.print(table)


# --- the peers


@contextlib.contextmanager
def of_outlive(store: outlive.Store, _: str) -> Iterator[Peer]:
    handles: dict[str, Any] = {}

    def put(key: str, array: Any) -> None:
        handles[key] = store.put(array)

    yield Peer("outlive", put, lambda key: handles[key].get(), lambda key: store.delete(handles.pop(key)))


@contextlib.contextmanager
def of_ray(_: outlive.Store, __: str) -> Iterator[Peer]:
    refs: dict[str, Any] = {}

    def put(key: str, array: Any) -> None:
        refs[key] = ray.put(array)

    yield Peer("Ray", put, lambda key: ray.get(refs[key]), refs.pop)


@contextlib.contextmanager
def of_shared_memory(_: outlive.Store, __: str) -> Iterator[Peer]:
    blocks: dict[str, Any] = {}

    def put(key: str, array: Any) -> None:
        block = blocks[key] = shared_memory.SharedMemory(create=True, size=array.nbytes)
        np.ndarray(array.shape, array.dtype, block.buf)[:] = array

    class Opened(np.ndarray[Any, Any]):
        block: Any

    def get(key: str) -> Any:
        block = shared_memory.SharedMemory(blocks[key].name)
        view = np.ndarray(block.size // 8, np.float64, block.buf).view(Opened)
        view.block = block  # must outlive the view
        return view

    def delete(key: str) -> None:
        block = blocks.pop(key)
        block.unlink()
        with contextlib.suppress(BufferError):
            block.close()

    yield Peer("shared_memory", put, get, delete)


@contextlib.contextmanager
def of_lmdb(_: outlive.Store, folder: str) -> Iterator[Peer]:
    import lmdb

    with lmdb.open(f"{folder}/lmdb", map_size=GIB, sync=False, metasync=False) as base:

        def put(key: str, array: Any) -> None:
            with base.begin(write=True) as transaction:
                transaction.put(key.encode(), array.data.cast("B"))

        def get(key: str) -> Any:
            with base.begin(buffers=False) as transaction:  # a copy: a view would end with the transaction
                return np.frombuffer(transaction.get(key.encode()))

        def delete(key: str) -> None:
            with base.begin(write=True) as transaction:
                transaction.delete(key.encode())

        yield Peer("LMDB", put, get, delete)


@contextlib.contextmanager
def of_redis(_: outlive.Store, folder: str) -> Iterator[Peer]:
    import redis

    port = _free_port()
    client = redis.Redis(port=port)
    arguments = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder]
    with _server(["redis-server", *arguments], client.ping):
        yield Peer(
            "Redis",
            lambda key, array: client.set(key, array.data.cast("B")),
            lambda key: np.frombuffer(client.get(key)),
            client.delete,
        )


@contextlib.contextmanager
def of_vineyard(_: outlive.Store, folder: str) -> Iterator[Peer]:
    import vineyard

    program = Path(vineyard.__file__).parent / "bdist" / "vineyardd"
    arguments = ["--meta", "local", "--size", "1Gi", "--socket", f"{folder}/vineyard", "--norpc"]
    objects: dict[str, Any] = {}
    with _server([program, *arguments], lambda: vineyard.connect(f"{folder}/vineyard")) as client:

        def put(key: str, array: Any) -> None:
            objects[key] = client.put(array)

        yield Peer("Vineyard", put, lambda key: client.get(objects[key]), lambda key: client.delete(objects.pop(key)))


@contextlib.contextmanager
def of_mooncake(_: outlive.Store, __: str) -> Iterator[Peer]:
    import mooncake.store

    port = _free_port()
    program = Path(mooncake.__path__[0], "mooncake_master")
    arguments = [f"--rpc_port={port}", f"--metrics_port={_free_port()}", "--rpc_address=127.0.0.1"]
    with _server([program, *arguments], lambda: socket.create_connection(("127.0.0.1", port)).close()):
        store = mooncake.store.MooncakeDistributedStore()
        _succeeded(store.setup("127.0.0.1", "P2PHANDSHAKE", GIB, GIB, "tcp", "", f"127.0.0.1:{port}"))
        try:
            yield Peer(
                "Mooncake",
                lambda key, array: _succeeded(store.put(key, array.data.cast("B"))),
                lambda key: np.frombuffer(store.get_buffer(key)),
                lambda key: _succeeded(store.remove(key, True)),  # although it was read a moment ago
            )
        finally:
            store.close()


@contextlib.contextmanager
def of_diskcache(_: outlive.Store, folder: str) -> Iterator[Peer]:
    import diskcache

    with diskcache.Cache(f"{folder}/diskcache", size_limit=GIB) as cache:
        yield Peer("diskcache", cache.set, cache.get, cache.delete)


@contextlib.contextmanager
def of_joblib(_: outlive.Store, folder: str) -> Iterator[Peer]:
    import joblib

    def path(key: str) -> Path:
        return Path(folder, f"{key}.joblib")

    yield Peer(
        "joblib memmap",
        lambda key, array: joblib.dump(array, path(key)),
        lambda key: joblib.load(path(key), mmap_mode="r"),
        lambda key: path(key).unlink(),
    )


PEERS = (of_outlive, of_ray, of_shared_memory, of_lmdb, of_redis, of_vineyard, of_mooncake, of_diskcache, of_joblib)


# --- their servers


@contextlib.contextmanager
def _server(command: list[Any], connect: Callable[[], T]) -> Iterator[T]:
    """Run a server; what `connect` gives once the server answers."""
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                connection = connect()
                break
            except Exception:
                if server.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        yield connection
    finally:
        server.terminate()
        server.wait()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def _succeeded(code: int) -> None:
    assert code == 0, f"Mooncake answered {code}"


if __name__ == "__main__":
    sys.exit(main())
