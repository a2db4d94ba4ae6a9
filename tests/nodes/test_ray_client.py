"""A program that is on no node of the cluster, connected by `ray.init("ray://...")`."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import ray

import outlive
from outlive import progress
from outlive.store import gateway
from outlive.store import nodes as nodes_room
from outlive.store.handle import ArrayHandle
from outlive.testing.conformance import ValueStoreTests
from tests import turns
from tests.conftest import eventually
from tests.little_ray import with_environments
from tests.nodes.raylets import QUICK, Nodes
from tests.ports import free_ports, wait_for_client_server

MIB = 1 << 20


class Outside(Nodes):
    """Two nodes, to which this process is connected from outside."""

    def __init__(self) -> None:
        super().__init__(cpus=2, memory=100 * MIB)
        self.port = free_ports(1)[0]
        self.address = f"ray://127.0.0.1:{self.port}"

    def start(self, count: int) -> None:
        self.add_node(include_dashboard=False, _system_config=QUICK, ray_client_server_port=self.port)
        for _ in range(1, count):
            self.add_node()
        wait_for_client_server(self._nodes[0], self.port)
        ray.init(self.address, log_to_driver=False, logging_level="ERROR")
        self.cluster = self.on_node(0, cluster_name)
        self._look()

    @property
    def home(self) -> str:
        """The node that Ray Client's server is connected to: of those on one machine, any."""
        return ray.get_runtime_context().get_node_id()

    @property
    def away(self) -> int:
        """The number of the other node."""
        return next(i for i in self if self.id(i) != self.home)

    def gateways(self) -> set[int]:
        return {process.pid for i in self for process in self.processes(i, "ray::OutliveGateway")}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a Python program that is another Ray Client."""
        return subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, timeout=120, check=False,
            stdin=subprocess.DEVNULL, env={**os.environ, "RAY_ADDRESS": self.address},
        )  # fmt: skip


def cluster_name() -> str:
    from outlive.ray_internals import Connection

    return Connection().cluster


@pytest.fixture(scope="module")
def nodes() -> Iterator[Outside]:
    with turns.ray_client_server(), with_environments():
        nodes = Outside()
        try:
            nodes.start(2)
            yield nodes
        finally:
            nodes.close()


@pytest.fixture
def store(nodes: Outside, request: pytest.FixtureRequest) -> Iterator[outlive.Store]:
    store = outlive.open(request.node.name)
    yield store
    store.clear()


class TestConformance(ValueStoreTests):
    """What every store promises. A copy over Ray Client takes some 10 ms, and that test makes thousands."""

    test_threads = None  # type: ignore[assignment]

    @pytest.fixture
    def store(self, nodes: Outside, request: pytest.FixtureRequest) -> Iterator[outlive.Store]:
        store = outlive.open(request.node.name[:200])
        yield store
        store.clear()


def test_every_method_that_asks_for_the_session_is_run_in_the_cluster() -> None:
    """Or is one of those that have another way for a Ray Client."""
    other_ways = {"create", "scope", "_session", "_at_once", "_options", "_repr_html_"}
    functions = {**vars(outlive.Store), **vars(outlive.ArrayHandle), **vars(nodes_room)}
    for name, value in functions.items():
        function = value.fget if isinstance(value, property) else value
        if not inspect.isfunction(function) or name in other_ways:
            continue
        asks = {"session", "_session"} & set(inspect.unwrap(function).__code__.co_names)
        assert bool(asks) == hasattr(function, "__wrapped__"), name


def test_handles(store: outlive.Store, nodes: Outside) -> None:
    array = np.arange(4 * MIB // 8).reshape(-1, 64)
    handle = store.put(array)
    assert handle.lifetime == "job"
    assert (handle.get() == array).all() and not handle.get().flags.writeable
    assert np.asarray(handle).sum() == array.sum()
    for own in (handle.get(mode="c"), np.from_dlpack(handle)):
        own += 1
        assert (own == array + 1).all() and (handle.get() == array).all()
    assert (handle[10:20] == array[10:20]).all() and not handle[:, ::2].flags.writeable
    assert handle[3, 4] == array[3, 4]
    assert handle.location == [nodes.home]
    assert handle.durability == (1, 1)
    handle.pin()
    handle.unpin()
    with pytest.raises(ValueError, match="without ttl="):
        handle.touch()
    living = store.put(array, ttl="1h")
    living.touch()
    assert living.ends_at() is not None and handle.ends_at() is None
    assert nodes.on_node(nodes.away, lambda given: int(given.get().sum()), handle) == array.sum()
    store.delete(handle)
    with pytest.raises(outlive.ArrayNotFound, match="deleted") as caught:
        handle.get()
    assert isinstance(caught.value, KeyError) and caught.value.__cause__ is None


def make_far(name: str) -> ArrayHandle:
    return outlive.open(name).put(np.arange(8 * MIB).reshape(-1, MIB), lifetime="detached")


def test_rows_of_an_array_on_another_node(store: outlive.Store, nodes: Outside) -> None:
    """They alone come: the array stays where it is."""
    handle = nodes.on_node(nodes.away, make_far, store.name)
    assert (handle[2:4, :5] == np.arange(8 * MIB).reshape(-1, MIB)[2:4, :5]).all()
    away = nodes.id(nodes.away)
    assert handle.location == [away]
    task = ray.remote(num_cpus=0)(where).options(scheduling_strategy=store.strategy(handle))
    assert ray.get(task.remote()) == away
    store.delete(handle)


def where() -> str:
    return ray.get_runtime_context().get_node_id()


def test_more_than_ray_client_sends_at_once(store: outlive.Store) -> None:
    array = np.random.default_rng(0).integers(0, 256, 140 * MIB, np.uint8)
    store["big"] = array
    assert np.array_equal(store["big"], array)


@pytest.mark.filterwarnings("ignore::outlive.FewerReplicas")  # a keeper may take long to answer, on a busy machine
def test_create(store: outlive.Store) -> None:
    creation = store.create((2, 3), "int16", "mask", order="F", replicas=2)
    with pytest.raises(ValueError, match="not being created yet"):
        creation[0] = 1
    with creation as out:
        assert out.flags.f_contiguous
        creation[0] = out[1] = 7
        with pytest.raises(TypeError, match="does not go into"):
            creation[0] = np.ones(3)
        with pytest.raises(outlive.StoreUnavailable, match="call create.* in a task"):
            pickle.dumps(creation)
    with pytest.raises(outlive.CreationEnded):
        creation[0] = 1
    assert (store["mask"] == 7).all() and creation.handle.key == "mask"
    eventually(lambda: creation.handle.durability == (2, 2))
    out[:] = 8
    assert (store["mask"] == 7).all()
    with pytest.raises(ZeroDivisionError), store.create(3, key="none") as out:
        1 / 0  # noqa: B018
    assert "none" not in store
    with pytest.raises(outlive.UnsupportedArray):
        store.create(3, object)


def test_scopes(store: outlive.Store, nodes: Outside) -> None:
    with store.scope() as tmp:
        tmp["partial"] = np.ones(3)
        handle = tmp.put(np.ones(3))
        nodes.on_node(nodes.away, lambda given: given.put(np.ones(3), "by a task"), tmp)
        assert handle.lifetime == "scope" and set(store) == {"partial", "by a task"}
    assert set(store) == set()
    with pytest.raises(outlive.ArrayNotFound, match="scope"):
        handle.get()


def test_coroutines(store: outlive.Store) -> None:
    async def program() -> list[float]:
        await asyncio.gather(*(store.aput(np.full(9, i), f"{i}") for i in range(20)))
        return [float(array[0]) for array in await asyncio.gather(*(store.aget(f"{i}") for i in range(20)))]

    assert asyncio.run(program()) == list(range(20))


def test_the_whole_store(store: outlive.Store, nodes: Outside) -> None:
    store["k"] = np.ones(1000)
    said: list[tuple[int, int]] = []
    assert store.check(progress=lambda *now: said.append(now)) == []
    assert said and said[-1][0] == said[-1][1] > 0
    stats = store.stats()
    assert (stats.arrays, stats.nbytes) == (1, 8000) and nodes.home in {shelf.node for shelf in stats.shelves}
    [(handle, node)] = store.entries()
    assert handle == store.handle("k") and node == nodes.home
    assert store.lost() == [] and store.spilled() == set()
    assert list(store.keys("k")) == ["k"] and len(store.keys("l")) == 0
    rows = {row.id: row for row in outlive.nodes()}
    assert rows[nodes.id(0)].role == "head" and set(rows) == {nodes.id(0), nodes.id(1)}
    assert outlive.drain(nodes.id(nodes.away)).stayed is None
    with pytest.raises(outlive.StoreUnavailable, match="no node"):
        outlive.drain("nope")
    assert outlive.NumpyStore(np.arange(3), "n", store=store.name).retrieve().tolist() == [0, 1, 2]
    assert sorted(store.get_many(key for key in ("k", "n"))) == ["k", "n"]


def test_saving_and_loading(store: outlive.Store, nodes: Outside, tmp_path: Path) -> None:
    """The folder is the cluster's, which is this machine here."""
    store["k"], store["tree"] = np.arange(1000), {"a": [np.ones(3), "x"]}
    nodes.on_node(nodes.away, lambda given: given.put(np.ones(3), "away"), store)
    said: list[tuple[int, int]] = []
    saved = store.save(tmp_path / "a", progress=lambda *now: said.append(now))
    assert (saved.arrays, saved.sent, saved.url) == (3, 3, f"{tmp_path}/a")
    assert said and said[-1][0] == said[-1][1] == saved.nbytes
    assert store.save(tmp_path / "a").sent == 0
    with shown() as bar:
        store.clear()
        assert outlive.load(tmp_path / "a", store=store.name).arrays == 3
    assert bar[-1][0] == bar[-1][1] > 0, "a person who watches sees it here: a worker draws none"
    assert store["k"].sum() == sum(range(1000)) and store["tree"]["a"][1] == "x"
    done = nodes.run("-m", "outlive", "load", f"{tmp_path}/a", "--store", store.name, "--json")
    assert (done.returncode, json.loads(done.stdout)["kept"]) == (0, 3), done.stderr
    mirror = store.mirror(tmp_path / "m", every="1h")
    assert mirror.save().failed is None
    mirror.stop(save=False)
    for call in (store.save, store.load, lambda url: store.mirror(url, every="1h")):
        with pytest.raises(ValueError, match="relative path, and a Ray Client"):
            call("backup")
    with pytest.raises(outlive.ArchiveNotFound, match="nothing was saved"):
        store.load(tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        store.save(tmp_path / "file")


@contextlib.contextmanager
def shown() -> Iterator[list[tuple[int, int]]]:
    """What the bars of this process show."""
    said: list[tuple[int, int]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress.Bar, "update", lambda _, *now: said.append(now))
        yield said


def test_what_is_refused(store: outlive.Store) -> None:
    default = object()
    assert store.get("none", default) is default
    with pytest.raises(outlive.UnsupportedArray, match="ray.get"):
        store.put(ray.put(1))  # type: ignore[arg-type]
    with pytest.raises(outlive.InvalidKeyType):
        store.put(np.ones(3), 5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="lifetime"):
        store.put(np.ones(3), lifetime="week")  # type: ignore[arg-type]
    with pytest.raises(outlive.StoreFull, match="budget"):
        outlive.open(store.name, memory="1MiB", disk=0).put(np.ones(MIB))
    outlive.open(store.name, memory="1GiB", disk="1GiB")


def test_a_gateway_that_is_killed(store: outlive.Store, nodes: Outside) -> None:
    """A call may fail, and says so; those after it go on, and what was stored is there."""
    store["k"] = np.ones(3)
    before = nodes.gateways()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    said: list[str] = []

    def works() -> bool:
        try:
            return store["k"].sum() == 3
        except outlive.StoreUnavailable as error:
            said.append(str(error))
            return False

    eventually(works)
    assert all("Try again" in text for text in said)
    assert nodes.gateways() - before


PROGRAM = """
import numpy as np, outlive, os, pickle
store = outlive.open("left")
store["kept"] = np.ones(3)
with store.scope() as tmp:
    print(pickle.dumps((store.put(np.ones(3)), tmp.put(np.ones(3)))).hex(), flush=True)
    import ray
    ray.shutdown()
    os._exit(0)
"""


def test_what_a_program_leaves(nodes: Outside) -> None:
    """Its own arrays end with it, as Ray's job does; those with a key stay."""
    done = nodes.run("-c", PROGRAM)
    assert done.returncode == 0, done.stderr
    handles = pickle.loads(bytes.fromhex(done.stdout.split()[-1]))

    def ended() -> list[str]:
        said = []
        for handle in handles:
            try:
                handle.get()
            except outlive.ArrayNotFound as error:
                said.append(str(error))
        return said if len(said) == 2 else []

    by_job, by_scope = eventually(ended)
    assert "the job that put it ended" in by_job
    assert "scope" in by_scope
    assert outlive.open("left")["kept"].sum() == 3


ELSEWHERE = """
import ray, outlive
ray.init(runtime_env={{"env_vars": {{"PYTHONPATH": {path!r}}}}})
outlive.open()
"""


def test_outlive_is_not_in_the_cluster(nodes: Outside, tmp_path: Path) -> None:
    (tmp_path / "outlive.py").write_text("raise ModuleNotFoundError(\"No module named 'outlive'\")")
    done = nodes.run("-c", ELSEWHERE.format(path=str(tmp_path)))
    assert done.returncode == 1
    error = "outlive.errors.StoreUnavailable: the cluster cannot import outlive (No module named"
    # after the traceback, threads of Ray Client may still say that their channel is closed
    (said,) = (line for line in done.stderr.splitlines() if line.startswith(error))
    assert f"install outlive {outlive.__version__} on its nodes" in said and "runtime_env" in said


def test_another_version_is_in_the_cluster(nodes: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    here = outlive.__version__
    monkeypatch.setattr(outlive, "__version__", "99.0")
    monkeypatch.setattr(gateway, "_current", None)
    with pytest.raises(outlive.StoreUnavailable, match=f"the cluster has outlive {here}.*install outlive 99.0"):
        outlive.open()


def test_commands(nodes: Outside, store: outlive.Store) -> None:
    store["ct/7"] = np.ones((3, 4))
    done = nodes.run("-m", "outlive", "info", "ct/7", "--store", store.name)
    assert (done.returncode, done.stderr) == (0, "")
    assert "(3, 4)" in done.stdout and "on another node" in done.stdout


def test_disconnected(nodes: Outside) -> None:
    """The last: it ends the connection. A handle needs none for an array of this machine, as the client's is here."""
    store = outlive.open("later")
    store["k"] = np.ones(3)
    handle = store.handle("k")
    ray.shutdown()
    assert handle.get().sum() == 3
    for call in (lambda: store["k"], handle.pin, lambda: list(store), outlive.nodes):
        with pytest.raises(outlive.StoreUnavailable, match="not connected"):
            call()
    with pytest.raises(outlive.StoreUnavailable, match="not connected"):
        gateway.call(len, "")
    ray.init(nodes.address, log_to_driver=False, logging_level="ERROR")
    assert (handle.get() == 1).all() and store["k"].sum() == 3
