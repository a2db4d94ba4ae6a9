"""Datasets of stored arrays on a real Ray."""

from __future__ import annotations

import doctest
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

pytest.importorskip("pyarrow")
pytest.importorskip("pandas")

import outlive
import outlive.data
from outlive.data import OutliveSink
from tests.nodes.raylets import Nodes, several_nodes

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's
LARGE = np.arange(1 << 20, dtype="f8")  # 8 MiB


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """Three nodes. The arrays of two of them are read."""
    with several_nodes(3, cpus=1) as made:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        yield made


@pytest.fixture
def store(nodes: Nodes, request: pytest.FixtureRequest) -> Iterator[outlive.Store]:
    store = outlive.open(request.node.name)
    yield store
    store.clear()


def put_there(store: outlive.Store, keys: list[str]) -> list[outlive.ArrayHandle]:
    return list(store.put_many({key: np.arange(1 << 20, dtype="f8") for key in keys}).values())


def seen(row: dict[str, Any]) -> dict[str, Any]:
    """What a task sees: on which node it is, and whether it copies the array."""
    array = row["data"].get()
    here = ray.get_runtime_context().get_node_id()
    return {"key": row["data"].key, "node": here, "sum": array.sum(), "view": not array.flags.owndata}


def through_ray(dataset: ray.data.Dataset) -> int:
    """The bytes of the blocks that a dataset has in Ray's object store once it is computed."""
    return sum(bundle.size_bytes() for bundle in dataset.iter_internal_ref_bundles())


def test_each_array_is_read_on_its_node(nodes: Nodes, store: outlive.Store) -> None:
    where = {nodes.id(i): nodes.on_node(i, put_there, store, [f"{i}/0", f"{i}/1"]) for i in (1, 2)}
    handles = [handle for few in where.values() for handle in few]
    rows = outlive.data.read(handles, near=lambda part: part.map(seen)).take_all()
    assert sorted((row["key"], row["node"]) for row in rows) == sorted(
        (handle.key, node) for node, few in where.items() for handle in few
    )
    assert {row["sum"] for row in rows} == {LARGE.sum()} and all(row["view"] for row in rows)
    assert [len(handle.location) for handle in handles] == [1] * 4  # no array was copied
    later = outlive.data.read(handles).map(seen).take_all()  # anywhere, and right
    assert {row["sum"] for row in later} == {LARGE.sum()}


def test_no_array_goes_through_rays_object_store(nodes: Nodes, store: outlive.Store) -> None:
    handles = nodes.on_node(1, put_there, store, ["a", "b"])
    read = outlive.data.read(handles).materialize()
    assert read.num_blocks() == 2 and through_ray(read) < 16 << 10
    same = outlive.data.read(handles).map_batches(lambda batch: batch).materialize()
    assert [row["data"] for row in same.take_all()] == handles and through_ray(same) < 16 << 10
    copied = outlive.data.read(handles).map_batches(outlive.data.arrays).materialize()
    assert through_ray(copied) >= 2 * LARGE.nbytes
    assert all((row["data"] == LARGE).all() for row in copied.iter_rows())


def test_few_tasks_read_many_handles(nodes: Nodes, store: outlive.Store) -> None:
    handles = store.put_many([np.full(3, i) for i in range(6)])
    dataset = outlive.data.read(handles, column="x", override_num_blocks=2)
    assert dataset.materialize().num_blocks() == 2
    assert [row["x"] for row in dataset.take_all()] == handles
    assert outlive.data.read([]).take_all() == []


def test_a_sink_and_back(nodes: Nodes, store: outlive.Store) -> None:
    shapes = [(3,), (0, 2), (2, 3), (), (4,)]
    rows = ray.data.from_items([{"i": i} for i in range(len(shapes))], override_num_blocks=3)
    made = rows.map(lambda row: {"name": f"k/{row['i']}", "data": np.full(shapes[row["i"]], row["i"], "i2")})
    sink = OutliveSink(store, key="name")
    made.write_datasink(sink)
    assert sorted(handle.key or "" for handle in sink.handles) == sorted(store) == [f"k/{i}" for i in range(5)]
    for i, shape in enumerate(shapes[:3]):
        array = store[f"k/{i}"]
        assert (array.dtype, array.shape, set(array.ravel().tolist()) - {i}) == (np.dtype("i2"), shape, set())
    copy = OutliveSink(store, key=lambda row: "copy/" + row["data"].key)
    outlive.data.read(sink.handles).write_datasink(copy)
    assert all((store[f"copy/k/{i}"] == store[f"k/{i}"]).all() for i in range(5))


def test_a_write_task_whose_worker_is_killed(nodes: Nodes, store: outlive.Store, tmp_path: Path) -> None:
    """Ray repeats it: it has stored its arrays, and dies before it says so."""
    once = str(tmp_path / "once")

    class Killed(OutliveSink):
        def write(self, blocks: Any, ctx: Any) -> Any:
            handles = super().write(blocks, ctx)
            if not os.path.exists(once):
                with open(once, "w") as file:
                    file.write(" ".join(handle.id for handle in handles))
                os.kill(os.getpid(), signal.SIGKILL)
            return handles

    rows = ray.data.from_items([{"name": f"k/{i}", "data": np.full(3, i)} for i in range(4)], override_num_blocks=2)
    sink = Killed(store, key="name")
    rows.write_datasink(sink)
    first = Path(once).read_text().split()
    assert first and not {handle.id for handle in sink.handles} & set(first)
    assert sorted(store) == [f"k/{i}" for i in range(4)]
    assert {handle.id for handle, _ in store.entries()} == {handle.id for handle in sink.handles}
    assert [store[f"k/{i}"].tolist() for i in range(4)] == [[i] * 3 for i in range(4)]


def test_what_a_task_refuses(nodes: Nodes, store: outlive.Store) -> None:
    rows = ray.data.from_items([{"name": "a", "data": "text"}])
    sink = OutliveSink(store, key="name")
    with pytest.raises(Exception, match="column 'data' has a str, and arrays are stored"):
        rows.write_datasink(sink)
    assert list(store) == [] == sink.handles


@pytest.mark.parametrize("module", ["reading", "sink", "tensors"])
def test_docstrings(nodes: Nodes, module: str) -> None:
    names = {"outlive": outlive, "np": np, "ray": ray, "read": outlive.data.read, "arrays": outlive.data.arrays}
    names["OutliveSink"] = OutliveSink
    result = doctest.testmod(
        __import__(f"outlive.data.{module}", fromlist=["_"]), extraglobs=names, optionflags=doctest.ELLIPSIS
    )
    assert result.attempted and not result.failed
    for name in ("scans", "images"):
        outlive.open(name).clear()
