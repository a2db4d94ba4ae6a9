"""Two keepers' memory while 4 GiB pass from one to the other: a played cluster, whose transfer server is a real one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from outlive.arrays.writer import Writer
from outlive.store.reading import by_handle
from tests.conftest import ROOT
from tests.nodes.played import PlayedCluster, play_connected

MIB = 1 << 20
SIZE = 64 * MIB
PASSED = 4 << 30  # bytes


@pytest.fixture
def cluster() -> Iterator[PlayedCluster]:
    yield from play_connected(f"{ROOT}/keepers-memory", 2)


def own_memory() -> int:
    """Bytes of this process's memory that are not of a file: arrays are."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon:"))


def test_the_memory_of_both_keepers_is_flat_while_4_gib_pass(cluster: PlayedCluster) -> None:
    shelves, writer, session = cluster.shelves, Writer(cluster.shelves["a"]), cluster.session("b")
    for shelf in shelves.values():
        shelf.ledger.budget = 4 * SIZE
    array, sizes = np.ones(SIZE // 8), list[int]()
    for number in range(2 + PASSED // SIZE):
        array[-1] = number
        info = writer.put(array, store="s")
        assert by_handle(session, info, "a")[-1] == number
        sizes.append(own_memory())
        for shelf in shelves.values():
            shelf.delete(info.id)
    serving = cluster.keepers["a"].serving
    assert serving is not None and serving.counts.sent >= PASSED
    assert max(sizes[2:]) - sizes[1] < 16 * MIB, [size // MIB for size in sizes]
