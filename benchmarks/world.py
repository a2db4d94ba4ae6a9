"""`python -m benchmarks.world --nodes N... --arrays N...`: what operations and ticks ask, in a cluster that is played.

Catalog, keepers, shelves and `Store` are the real ones. Between them is the port of `outlive.testing.simulation`, so
that messages can be counted, and a thousand nodes fit into one process. Arrays that are only there to be many have no
files: the catalog lists them, and nobody reads them.

A process of its own, as the simulation takes the place of clock and threads. It prints one `Counted` a line, as JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from ray._private.serialization import SerializationContext  # noqa: TID251 - bytes as Ray sends them

import outlive
from outlive.arrays.info import ArrayInfo
from outlive.arrays.shelf import Shelf
from outlive.catalog import keys, losing, replaced, shelves
from outlive.catalog.asking import list_nodes
from outlive.node import Autoscaler, Node
from outlive.testing.simulation import stage
from outlive.testing.simulation.actors import PlayedCatalog, PlayedKeeper
from outlive.testing.simulation.clients import PlayedSession
from outlive.testing.simulation.cluster import Cluster
from outlive.testing.simulation.network import Actor, Message, Network
from outlive.testing.simulation.peers import CATALOG, PlayedPeers, keeper_name
from outlive.testing.simulation.plan import HEAD, Manners, Plan
from outlive.testing.simulation.scheduler import Future, Process
from outlive.testing.simulation.world import a_folder, empty_shelf

STORE = "s"
NODE_BYTES = 564  # of `GcsNodeInfo`, as measured with Ray 2.60: what the head sends of each node
_AT_A_TIME = 500  # arrays that are listed together, to have many
_TIMES, _TICKS = 12, 30  # that an operation is done; seconds of which a tick's share is told
_IDLE_FILES = 10_000  # on the shelf of the keeper whose ticks are counted: names of one file
_LONGEST = 1e9  # seconds that anything may take


class Counted(NamedTuple):
    """What something took, each time that it was done."""

    what: str
    nodes: int
    arrays: int
    calls: list[float]  # of actors
    sent: list[float]  # bytes of these calls and their answers
    head_calls: list[float]
    head_sent: list[float]
    seconds: list[float]  # of the catalog's CPU
    asked: dict[str, float]  # the calls of the median time, by name


class Tally:
    """What is counted, since it was last taken."""

    def __init__(self) -> None:
        self._serializer = SerializationContext(None)
        self._who = ""
        self._since = time.thread_time()
        self.begin()

    def begin(self) -> None:
        self.sent, self.head_sent = 0, 0
        self.asked: dict[str, int] = defaultdict(int)
        self.head: dict[str, int] = defaultdict(int)
        self.seconds: dict[str, float] = defaultdict(float)
        self._since = time.thread_time()

    def runs(self, who: str) -> None:
        """From now on it is this one's time."""
        now = time.thread_time()
        self.seconds[self._who] += now - self._since
        self._who, self._since = who, now

    def message(self, *values: Any) -> None:
        """Arguments or an answer, which travel."""
        with self._nobodys_time():
            self.sent += sum(self._serializer.serialize(value).total_bytes for value in values)

    def asks_head(self, what: str, sent: int) -> None:
        with self._nobodys_time():
            self.head[what] += 1
            self.head_sent += sent

    @contextlib.contextmanager
    def _nobodys_time(self) -> Iterator[None]:
        who = self._who
        self.runs("")
        try:
            yield
        finally:
            self.runs(who)


class _Messages(Network):
    """The network, which counts."""

    tally: Tally
    open = 0  # calls that are not answered

    def call(self, actor: Actor, method: str, args: tuple[Any, ...], **options: Any) -> Message:
        self.tally.asked[f"{actor.name.partition('-')[0]}.{method}"] += 1
        self.tally.message(*args)
        self.open += 1
        return super().call(actor, method, args, **options)

    def answer(self, message: Message, value: Any, error: BaseException | None) -> None:
        self.open -= 1
        if error is None and message.parts is None:
            self.tally.message(value)
        super().answer(message, value, error)

    def answer_part(self, message: Message, value: Any) -> None:
        self.tally.message(value)
        super().answer_part(message, value)


class _Port(PlayedPeers):
    """The port, which counts what is asked of the head."""

    _tally: Tally
    scales = False  # an autoscaler runs

    def nodes(self) -> list[Node]:
        found = super().nodes()
        self._tally.asks_head("nodes", NODE_BYTES * len(found))
        return found

    def node(self, node: str) -> Node | None:
        self._tally.asks_head("node", NODE_BYTES)
        return super().node(node)

    def keeper_nodes(self) -> list[str]:
        found = super().keeper_nodes()
        self._tally.asks_head("keeper_nodes", sum(map(len, found)))
        return found

    def find_keeper(self, node: str, *, start: bool = False) -> None:
        self._tally.asks_head("find_keeper", len(node))
        super().find_keeper(node, start=start)

    def load(self, key: str) -> bytes | None:
        found = super().load(key)
        self._tally.asks_head("load", len(key) + len(found or b""))
        return found

    def save(self, key: str, value: bytes) -> None:
        self._tally.asks_head("save", len(key) + len(value))
        super().save(key, value)

    def jobs_that_ended(self, numbers: set[int]) -> set[int]:
        self._tally.asks_head("jobs", 0)
        return super().jobs_that_ended(numbers)

    def autoscaler(self) -> Autoscaler | None:
        self._tally.asks_head("autoscaler", 0)
        return super().autoscaler()


class _Catalog(PlayedCatalog):
    """Its rounds are made when it is told to."""

    def go_on(self) -> None:
        self.driver.every(0.0, replaced.drop)

    def tick(self) -> None:
        for work in (list_nodes, losing.look_at_nodes, shelves.mend):
            self.driver.run(work)


class _Keeper(PlayedKeeper):
    """The same."""

    def go_on(self) -> None:
        pass

    def tick(self) -> None:
        self._make_rounds()
        self._tell_of_adopted()
        self._unsummed.compute(older_than=1e9)
        self._tending.balance()
        self._evacuation.consider()

    def take_over(self, cluster: str) -> Shelf:
        self._tenure: Any = _NothingAdopted()
        return super().take_over(cluster)


class _NothingAdopted:
    adopted = 0


class World(Cluster):
    """A cluster of so many nodes, each with its keeper, and none of which does anything unasked.

    Parameters
    ----------
    folder
        An empty one, for the shelves.
    """

    def __init__(self, nodes: int, folder: str) -> None:
        names = (HEAD, *(f"n{number:055d}" for number in range(1, nodes)))  # as long as Ray's
        super().__init__(Plan(1, names, (), ()), {name: empty_shelf(f"{folder}/{name}") for name in names}, {})
        self.tally = Tally()
        self.network = _Messages(self.scheduler, Manners(), self.say, self._oddity)
        self.network.tally = self.tally
        self.names, self.arrays = list(names), 0
        self.scheduler._resumed = self._resumed
        self.scheduler.at = self._at  # type: ignore[method-assign]
        self._settled = 0
        for machine in self.machines.values():
            self.start_keeper(machine)
        self._go_on(lambda: all(actor.target is not None for actor in self.network.actors.values()))
        self.start_catalog()
        self._go_on(lambda: self.catalog is not None and self._is_quiet())

    def _resumed(self, process: Process) -> None:
        stage.resumed(process)
        self.tally.runs(process.name.partition(".")[0])

    def _at(self, moment: float, work: Callable[[], object]) -> None:
        def by_nobody() -> None:
            self.tally.runs("")
            work()

        type(self.scheduler).at(self.scheduler, moment, by_nobody)

    def _port(self, process: Process) -> _Port:
        port = _Port(self, process)
        port._tally = self.tally
        return port

    def _a_catalog(self, process: Process) -> PlayedCatalog:
        return _Catalog(self, process, self._port(process))

    def _a_keeper(self, process: Process) -> PlayedKeeper:
        shelf = Shelf(process.node.path, 64 << 20)
        self.shelves.append(shelf)
        return _Keeper(self, process, self._port(process), shelf)

    def _go_on(self, until: Callable[[], bool]) -> None:
        self.scheduler.steps = 0
        self.scheduler.run(until, _LONGEST)
        for task, error in self.scheduler.errors:
            raise RuntimeError(f"{task} failed") from error
        assert not self.violations, self.violations

    def _is_quiet(self) -> bool:
        """Nothing is under way, nor about to be."""
        catalog = self.catalog
        if catalog is None or self.network.open:
            return False
        state = catalog.state
        return not (state.replaced or state.to_drop or state.under_way.dropping or state.under_way.copying)

    def do(self, process: Process, work: Callable[[], Any]) -> Any:
        """Have a process do something, and all that it leads to; what it returns."""
        future = Future(self.scheduler)

        def works() -> None:
            try:
                future.set(work())
            except Exception as error:
                future.set(error=error)

        self.tally.runs("")
        process.spawn("works", works)
        self._go_on(lambda: future.done and self._is_quiet())
        self.tally.runs("")
        if future.error is not None:
            raise future.error
        return future.value

    def client(self, node: str) -> Process:
        """A program on a node, whose session has begun."""
        machine = self.machines[node]
        machine.processes_started += 1
        process = Process(self.scheduler, f"client-{node}.{machine.processes_started}", machine)
        machine.processes.append(process)

        def begin() -> None:
            session = PlayedSession(self, process)
            session.peers = self._port(process)
            del session._chunks  # which asks the head, as it does outside a simulation
            stage.join(process, session)

        self.do(process, begin)
        return process

    def list_more(self, arrays: int) -> None:
        """Have the catalog list so many arrays in all, with keys, evenly on all nodes. They have no files."""
        catalog = self.catalog
        assert catalog is not None
        while self.arrays < arrays:
            node = self.names[self.arrays // _AT_A_TIME % len(self.names)]
            some = range(self.arrays, min(self.arrays + _AT_A_TIME, arrays))
            keys.bind(catalog.state, [_info(number) for number in some], node, 0)
            self.arrays = some.stop

    def count(self, what: str, process: Process, work: Callable[[int], Any], times: int) -> Counted:
        """Do something several times, and tell what it took."""
        seen: list[dict[str, float]] = []
        rows: dict[str, list[float]] = defaultdict(list)
        for number in range(times):
            self.tally.begin()
            self.do(process, lambda: work(number))  # noqa: B023
            tally = self.tally
            rows["calls"].append(sum(tally.asked.values()))
            rows["sent"].append(tally.sent)
            rows["head_calls"].append(sum(tally.head.values()))
            rows["head_sent"].append(tally.head_sent)
            rows["seconds"].append(tally.seconds[CATALOG])
            seen.append({**tally.asked, **{f"head.{name}": count for name, count in tally.head.items()}})
        middle = sorted(range(times), key=lambda i: rows["calls"][i])[times // 2]
        return Counted(what, len(self.names), self.arrays, **rows, asked=seen[middle])


def _info(number: int) -> ArrayInfo:
    array_id, key = f"{number + 1:022x}{0:010x}", f"ct/{number:07d}/denoised"
    return ArrayInfo(array_id, STORE, key, "'<f8'", (128,), False, 128, 1024, 4096, number + 1)


def operations(world: World, times: int) -> Iterator[Counted]:
    """Each by a program on the last node; whoever reads from afar is on the head, if that is another."""
    writer = world.client(world.names[-1])
    far = world.client(world.names[0]) if len(world.names) > 1 else writer
    store, array, at = outlive.Store(STORE), np.ones(128), f"{world.arrays}"

    def here(what: str, work: Callable[[int], Any]) -> Counted:
        return world.count(what, writer, work, times)

    def afar(what: str, work: Callable[[int], Any]) -> Counted:
        return world.count(what, far, work, times)

    def put(number: int, **options: Any) -> outlive.ArrayHandle:
        return store.put(array, f"{at}/{options.get('replicas', 1)}/{number}", **options)

    mortal = world.do(writer, lambda: [store.put(array, f"{at}/ttl/{i}", ttl=3600) for i in range(times)])
    unkeyed = world.do(writer, lambda: [store.put(array) for _ in range(2 * times)])
    yield here("put with a key", put)
    yield here("overwrite", put)
    yield here("put(replicas=2)", lambda i: put(i, replicas=2))
    yield here("overwrite(replicas=2)", lambda i: put(i, replicas=2))
    yield here("delete(replicas=2)", lambda i: store.delete(f"{at}/2/{i}"))
    yield afar("find", lambda i: store.handle(f"{at}/1/{i}"))
    yield afar("locate", lambda i: mortal[i].location)
    yield here("touch", lambda i: mortal[i].touch())
    if far is not writer:
        yield afar("first get elsewhere, by key", lambda i: store.get(f"{at}/1/{i}"))
        yield afar("first get elsewhere, by handle", lambda i: unkeyed[i].get())
        world.do(far, lambda: [handle.get() for handle in mortal])
        yield here("touch with a copy elsewhere", lambda i: mortal[i].touch())
        yield here("overwrite with a copy elsewhere", put)
    yield here("delete", lambda i: store.delete(f"{at}/1/{i}"))
    yield afar("get(key) of nothing", lambda i: store.get(f"{at}/none/{i}"))
    yield afar("KeyError", lambda i: _is_absent(store.__getitem__, f"{at}/none/{i}"))
    world.do(writer, lambda: store.delete(*unkeyed))
    yield afar("get() of a deleted handle", lambda i: _is_absent(unkeyed[times + i].get))
    world.do(writer, lambda: store.delete(*mortal))


def _is_absent(read: Callable[..., Any], *args: Any) -> None:
    try:
        read(*args)
    except outlive.ArrayNotFound:
        return
    raise AssertionError


def ticks(world: World, times: int) -> Iterator[Counted]:
    """What is done each second, of the catalog and of a keeper, while nobody does anything."""
    catalog, actor = world.catalog, world.network.actors[keeper_name(world.names[-1])]
    assert isinstance(catalog, _Catalog)
    _have_files(actor.machine.path, min(world.arrays // len(world.names), _IDLE_FILES))

    def tick(work: Callable[[], None]) -> None:
        world.scheduler.sleep(1.0)
        work()

    process = world.network.actors[CATALOG].process
    yield world.count("tick of the catalog", process, lambda _: tick(catalog.tick), times)
    yield world.count("tick of a keeper", actor.process, lambda _: tick(actor.target.tick), times)


def _have_files(path: str, count: int) -> None:
    """Arrays that are there and not read."""
    first = f"{path}/mem/{1:022x}{0:010x}"
    if not os.path.exists(first):
        with open(first, "wb") as file:
            file.truncate(4096)
    for number in range(len(os.listdir(f"{path}/mem")), count):
        with contextlib.suppress(FileExistsError):
            os.link(first, f"{path}/mem/{number + 1:022x}{0:010x}")


def counted(nodes: int, arrays: list[int], times: int, ticks_each: int) -> Iterator[Counted]:
    """All of it, in a cluster of so many nodes, with each of these numbers of arrays, from few to many."""
    with a_folder() as folder:
        world = World(nodes, folder)
        try:
            for number in arrays:
                world.list_more(number)
                yield from operations(world, times)
                yield from ticks(world, ticks_each)
        finally:
            world.close()


def main() -> None:
    """Print what is counted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="+", required=True)
    parser.add_argument("--arrays", type=int, nargs="+", required=True, help="from few to many")
    parser.add_argument("--times", type=int, default=_TIMES, help="that each operation is done")
    parser.add_argument("--ticks", type=int, default=_TICKS, help="of a second each")
    options = parser.parse_args()
    os.environ["OUTLIVE_VALIDATE"] = ""
    stage.set_up()
    gc.disable()
    for nodes in options.nodes:
        gc.collect()
        gc.freeze()
        for one in counted(nodes, options.arrays, options.times, options.ticks):
            print(json.dumps(one), flush=True)


if __name__ == "__main__":
    main()
