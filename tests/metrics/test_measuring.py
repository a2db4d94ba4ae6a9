"""What a keeper and the catalog measure: on real shelves, without Ray."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from outlive.arrays.reader import Reader
from outlive.arrays.shelf import Shelf
from outlive.arrays.tally import FELL_BACK
from outlive.arrays.writer import Writer
from outlive.cluster import measuring
from outlive.cluster.keeper import ShelfStats
from outlive.cluster.measuring import CatalogMeasures, ShelfMeasures
from outlive.metrics import table, workers
from outlive.metrics.table import Value
from outlive.ray_internals.processes import WorkerStats
from tests.nodes.played import PlayedCluster

NODE = "ab" * 28


class Kept:
    """A `Watch` that keeps what it is told."""

    def __init__(self) -> None:
        self.found: list[Value] = [Value(table.WORKERS, 3, {"node": "abababab", "state": "idle"})]

    def export(self, values) -> None:
        self.values = list(values)

    def workers(self, node) -> list[Value] | None:
        assert node == NODE
        return self.found


def of(values, metric, **labels) -> float:
    (found,) = [one.value for one in values if one.metric is metric and labels.items() <= one.labels.items()]
    return found


@pytest.fixture
def shelf(tmp_path) -> Shelf:
    (tmp_path / "root").mkdir(mode=0o700)
    return Shelf(str(tmp_path / "root" / "shelf"), 16 << 20)


def stats(shelf: Shelf, **others) -> ShelfStats:
    ledger = shelf.ledger
    known = {"arrays": len(shelf.ids()), "used": ledger.used, "budget": ledger.budget, **others}
    return ShelfStats(node=NODE, path=shelf.path, keeper_pid=1, on_disk=None, **known)


def test_a_shelf_in_each_state(shelf):
    writer, reader, kept = Writer(shelf), Reader(shelf), Kept()
    measures = ShelfMeasures(shelf, NODE, lambda: stats(shelf, refused=2), kept)
    stays, viewed, goes = (writer.put(np.zeros(1 << 17)) for _ in range(3))
    view = reader.view(viewed)
    Shelf(shelf.path).tally.add(FELL_BACK, 3)  # by some process
    for info in (viewed, goes):
        shelf.delete(info.id)
    measures.tell()
    size = -(-stays.size // 4096) * 4096
    for state, arrays in {"memory": 1, "pool": 1, "mapped": 1, "disk": 0}.items():
        assert of(kept.values, table.SHELF, state=state) == size * arrays, state
        assert of(kept.values, table.ARRAYS, state=state) == arrays, state
    assert of(kept.values, table.PUTS) == 3
    assert of(kept.values, table.REFUSED, reason="proof") == 2
    assert of(kept.values, table.FALLBACKS) == 3
    assert {one.labels.get("node") for one in kept.values} == {"abababab"}
    del view
    measures.tell()
    assert of(kept.values, table.SHELF, state="mapped") == 0
    assert of(kept.values, table.PUTS) == 0  # of counters, only what came since
    assert of(kept.values, table.REFUSED, reason="proof") == 0


def test_a_look_at_many_deleted_arrays_is_not_repeated_soon(shelf, monkeypatch):
    looks = []
    monkeypatch.setattr(measuring, "_LONG", -1.0)
    monkeypatch.setattr(measuring, "_REST", 1e9)
    look = measuring._Deleted
    monkeypatch.setattr(measuring, "_Deleted", lambda tier: looks.append(tier) or look(tier))
    measures = ShelfMeasures(shelf, NODE, lambda: stats(shelf), Kept())
    measures.tell()
    measures.tell()
    assert len(looks) == 2  # at memory and disk, once


def test_a_server_that_was_started_again_counts_anew(shelf):
    refused, kept = [5], Kept()
    measures = ShelfMeasures(shelf, NODE, lambda: stats(shelf, refused=refused[0]), kept)
    measures.tell()
    refused[0] = 2
    measures.tell()
    assert of(kept.values, table.REFUSED, reason="proof") == 2


def test_workers_are_told_until_the_next_look(shelf):
    kept = Kept()
    measures = ShelfMeasures(shelf, NODE, lambda: stats(shelf), kept)
    measures.tell()
    assert table.WORKERS not in [one.metric for one in kept.values]
    measures.look_at_workers()
    for _ in range(2):
        measures.tell()
        assert of(kept.values, table.WORKERS, state="idle") == 3
    kept.found = None  # the raylet does not answer
    measures.look_at_workers()
    measures.tell()
    assert table.WORKERS not in [one.metric for one in kept.values]


def test_a_shelf_above_its_budget_is_a_broken_promise_unless_that_was_lowered(shelf):
    kept = Kept()
    measures = ShelfMeasures(shelf, NODE, lambda: stats(shelf), kept)
    Writer(shelf).put(np.zeros(1 << 17))

    def violated(reason: str = "budget") -> float:
        measures.tell()
        return of(kept.values, table.VIOLATED, reason=reason)

    assert violated() == 0
    shelf.ledger.budget = 1 << 19
    assert violated() == 0
    shelf.ledger.budget = 16 << 20
    assert violated() == 0
    with shelf.ledger.locked():
        shelf.ledger.used = 17 << 20
    assert [violated(), violated()] == [1, 1]
    shelf.ledger.used = -1
    assert violated("sum") == 1


@pytest.fixture
def cluster(tmp_path) -> PlayedCluster:
    (tmp_path / "root").mkdir(mode=0o700)
    cluster = PlayedCluster(str(tmp_path / "root"), 2)
    cluster.restart_catalog()
    return cluster


def test_the_catalog(cluster):
    kept = Kept()
    catalog = cluster.catalog
    measures = CatalogMeasures(catalog.driver, kept, lambda: (2, 1))
    catalog.totals()
    catalog.count("default")
    measures.tell()
    assert of(kept.values, table.CALLS, kind="step") >= 1
    assert of(kept.values, table.CALLS, kind="talk") >= 1
    assert of(kept.values, table.LONGEST_CALL, kind="step") > 0
    assert of(kept.values, table.REFUSED, reason="proof", node=table.HEAD) == 2
    assert of(kept.values, table.REFUSED, reason="full", node=table.HEAD) == 1
    for metric in (table.LOST, table.KEYS, table.CALLS_UNDER_WAY):
        assert of(kept.values, metric) == 0
    for reason in ("replica", "catalog"):
        assert of(kept.values, table.VIOLATED, reason=reason) == 0
    measures.tell()
    assert of(kept.values, table.CALLS, kind="step") == 0


def test_a_contradiction_is_counted_and_the_catalog_goes_on(cluster, monkeypatch):
    kept = Kept()
    measures = CatalogMeasures(cluster.catalog.driver, kept, cluster.catalog.refusals)
    monkeypatch.setattr(measuring, "_VALIDATED_EVERY", 0.0)
    cluster.catalog.state.unwanted["ghost"] = {}
    monkeypatch.setattr(cluster.catalog.state.index, "lists", lambda array_id: array_id == "ghost")
    measures.tell()
    assert of(kept.values, table.VIOLATED, reason="catalog") == 1


def test_idle_workers_by_what_keeps_them():
    """Real processes, of which one has a worker's title."""
    program = "import sys; print(flush=True); sys.stdin.read()"
    command, pipe = ["ray::IDLE", "-c", program], subprocess.PIPE
    with subprocess.Popen(command, executable=sys.executable, stdin=pipe, stdout=pipe) as process:
        process.stdout.readline()  # it runs, and has its memory
        idle = SimpleNamespace(kind="WORKER", actor=None, running=0, owned=0, in_scope=0, pending=0, pid=process.pid)

        def worker(**others) -> WorkerStats:
            return SimpleNamespace(**{**vars(idle), **others})

        found = [
            worker(),
            worker(owned=1, in_scope=3),
            worker(in_scope=1),
            worker(pending=1),
            worker(running=1),
            worker(actor="a"),
            worker(pid=1),  # it is another's
        ]
        values = workers.values(NODE, found)
        process.communicate()
    assert {state: of(values, table.WORKERS, state=state) for state in workers.STATES} == {
        "running": 1,
        "idle": 5,
        "actor": 1,
    }
    assert [of(values, table.IDLE, reason=reason) for reason in workers.REASONS] == [1, 1, 1, 2]
    assert of(values, table.IDLE_BYTES, reason="owns") > 1 << 20
