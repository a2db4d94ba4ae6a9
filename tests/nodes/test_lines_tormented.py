"""The catalog's port under torment, without Ray: catalogs are killed, stopped, and replaced while they go on.

As with the real catalog, what is listed is sealed by its writer, or by whoever reads it, under the epoch of the catalog
that listed it. Histories of reads and writes are linearizable if no catalog answers after its successor has begun. And
no catalog is called late: after its caller has gone on.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Client, Listener
from pathlib import Path
from typing import Any

import pytest

from outlive.arrays.lock import living
from outlive.calls.line import Line
from outlive.cluster import answering, lines
from outlive.cluster.answering import Answering, succeed
from outlive.cluster.lines import CALLED, THROUGH_RAY, CatalogLine
from outlive.cluster.port import Call, in_group
from outlive.errors import StoreUnavailable
from outlive.node import Node
from outlive.testing.history import History, Recorder
from tests.conftest import eventually
from tests.forking import exit_code, forked, kill

KEYS = ["a", "b", "c"]


class Head:
    """What the head remembers: files of a folder. It is silent to catalog `asker` once there is a file that says so."""

    def __init__(self, folder: Path, asker: int = -1) -> None:
        self.folder, self._silent = folder, folder / f"silent-{asker}"

    def load(self, key: str) -> bytes | None:
        if self._silent.exists():
            raise StoreUnavailable("the head is silent")
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / key).read_bytes()
        return None

    def save(self, key: str, value: bytes) -> None:
        os.replace(self._written(value), self.folder / key)

    def save_first(self, key: str, value: bytes) -> bytes:
        with contextlib.suppress(FileExistsError):
            os.link(self._written(value), self.folder / key)
        return (self.folder / key).read_bytes()

    def _written(self, value: bytes) -> Path:
        path = self.folder / f"new-{os.urandom(8).hex()}"
        path.write_bytes(value)
        return path

    def nodes(self) -> list[Node]:
        return [Node("head", "127.0.0.1", "head", True, True, None, None, None, 0, None)]

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class Shelf:
    """What is sealed, and the epoch: a file, which is replaced under a lock."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self) -> dict[str, Any]:
        with contextlib.suppress(FileNotFoundError):
            return dict(json.loads((self._folder / "shelf").read_text()))
        return {"epoch": 0}

    @contextlib.contextmanager
    def changed(self) -> Iterator[dict[str, Any]]:
        with open(self._folder / "lock", "a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            shelf = self.read()
            yield shelf
            Head(self._folder).save("shelf", json.dumps(shelf).encode())

    def seal(self, key: str, version: int, value: int | None, epoch: int) -> bool:
        """Whether it is sealed, or a later one is. False: another catalog has listed the shelf since."""
        if order(self.read().get(key)) >= (version, value is None):
            return True
        with self.changed() as shelf:
            if shelf["epoch"] == epoch and order(shelf.get(key)) < (version, value is None):
                shelf[key] = [version, value]
            return bool(shelf["epoch"] == epoch)


def order(entry: list[Any] | None) -> tuple[int, bool]:
    """A deletion, which has no value, comes right behind the version that it deletes."""
    return (0, False) if entry is None else (entry[0], entry[1] is None)


class Catalog:
    """Lists what is put and deleted. It begins with what is sealed.

    Parameters
    ----------
    over
        The last operation of each client that is over.
    """

    def __init__(self, folder: Path, head: Head, number: int, delay: float, over: Any) -> None:
        turn = succeed(head)  # type: ignore[arg-type]
        self.folder, self.shelf, self._over, self._lock = folder, Shelf(folder), over, threading.Lock()
        with self.shelf.changed() as shelf:
            shelf["epoch"] += 1
            self.epoch = shelf["epoch"]
            self.listed = {key: shelf[key] for key in KEYS if key in shelf}
        (folder / f"listed-{number}").touch()
        time.sleep(delay)
        self.answering = Answering(self, head, turn)  # type: ignore[arg-type]

    def bind(self, who: int, operation: int, key: str, version: int, value: int | None) -> int:
        with self._lock:
            if self._over[who] >= operation and self.shelf.read()["epoch"] == self.epoch:
                (self.folder / f"late-{who}-{operation}").touch()
            if order(self.listed.get(key)) < (version, value is None):
                self.listed[key] = [version, value]
            return self.epoch

    @in_group("change")
    def replace(self, *request: Any) -> int:
        time.sleep(random.uniform(0, 0.02))
        return self.bind(*request)

    def find(self, key: str) -> Any:
        with self._lock:
            return [*self.listed.get(key, [0, None]), self.epoch]

    def serves(self, name: str) -> bool:
        return self.answering.serves(name)

    def cut(self, line: bytes) -> None:
        self.answering.cut(line)

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name not in CALLED:
            raise AttributeError(name)
        return lambda *_: None


def run_catalog(folder: Path, number: int, delay: float, over: Any) -> None:
    """The process of a catalog, and what stands for Ray: a socket for each catalog."""
    listener = Listener(str(folder / f"ray-{number}"), backlog=100)
    made = Catalog(folder, Head(folder, number), number, delay, over)
    while True:
        with contextlib.suppress(OSError, EOFError):
            threading.Thread(target=answer, args=(made, listener.accept()), daemon=True).start()


def answer(catalog: Catalog, connection: Any) -> None:
    with contextlib.suppress(OSError, EOFError), connection:
        method, args = connection.recv()
        try:
            connection.send([True, getattr(catalog, method)(*args)])
        except StoreUnavailable as error:
            connection.send([False, str(error)])


class Asking:
    """Calls the catalog by its port, and through what stands for Ray: it repeats calls if the catalog is replaced."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.line = CatalogLine(Head(folder).load, self.by_ray)

    def by_ray(self, call: Call, _: float | None) -> Any:
        while True:
            now = (self._folder / "now").read_text()
            with contextlib.suppress(OSError, EOFError), Client(str(self._folder / f"ray-{now}")) as connection:
                connection.send([call.method, call.args])
                while not connection.poll(0.05):
                    if (self._folder / "now").read_text() != now:
                        raise EOFError
                done, answer = connection.recv()
                if not done:
                    raise StoreUnavailable(answer)
                return answer
            time.sleep(0.01)

    def __call__(self, method: str, *args: Any) -> Any:
        while True:
            with contextlib.suppress(StoreUnavailable):  # a call that has begun takes long
                found = self.line.ask(Call.of(method, *args), None)
                return self.by_ray(Call.of(method, *args), None) if found is THROUGH_RAY else found


def run_client(folder: Path, number: int, ported: Any, over: Any) -> None:
    by_port = Line.call

    def counted(*args: Any) -> Any:
        found = by_port(*args)
        ported[number] += 1
        return found

    Line.call = counted  # type: ignore[method-assign]
    asking = Asking(folder)
    threads = [threading.Thread(target=work, args=(asking, folder, number * 2 + one, over)) for one in range(2)]
    for thread in threads:
        thread.start()
    chance = random.Random(number)
    while any(thread.is_alive() for thread in threads):
        time.sleep(chance.uniform(0, 0.1))
        line = asking.line._way.line
        for one in [] if line is None or number % 2 else living(line._all):
            if one.channel is not None:  # the connection breaks, and the call that has it may be under way
                one.channel.abort()
    os._exit(0)


def work(ask: Asking, folder: Path, who: int, over: Any) -> None:
    chance, shelf, operation = random.Random(who), Shelf(folder), 0
    recorder, value = Recorder(folder / f"client-{who}.jsonl", f"client-{who}"), who * 10**6

    def change(key: str, version: int, to: int | None) -> None:
        nonlocal operation
        operation += 1
        while not shelf.seal(
            key, version, to, ask(chance.choice(["bind", "replace"]), who, operation, key, version, to)
        ):
            pass
        over[who] = operation

    def find(key: str) -> Any:
        """Version and value. An array that is found may be read, whoever has replaced it since."""
        while True:
            found = ask("find", key)
            if shelf.seal(key, *found):
                return found[:2]

    while not (folder / "stop").exists():
        kind, key = chance.choices(["put", "get", "delete"], [5, 6, 2])[0], chance.choice(KEYS)
        if kind == "put":
            value += 1
            number = recorder.invoke("put", key, value)
            change(key, time.monotonic_ns(), value)
            recorder.respond(number)
        elif kind == "get":
            number = recorder.invoke("get", key)
            recorder.respond(number, find(key)[1])
        else:
            number = recorder.invoke("delete", key)
            version, there = find(key)
            if there is not None:
                change(key, version, None)
            recorder.respond(number)
        time.sleep(chance.uniform(0, 0.002))


@pytest.fixture
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """All comes sooner than else: what is looked at again, and what is over."""
    monkeypatch.setattr(answering, "_LEASE", 1_000_000_000)
    monkeypatch.setattr(answering, "_RENEWED", 0.1)
    monkeypatch.setattr(lines, "_SOON", 0.02)
    monkeypatch.setattr(lines, "_LATER", 0.1)
    monkeypatch.setattr(lines, "PATIENCE", 0.3)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.usefixtures("_soon")
def test_no_call_is_late_and_histories_are_linearizable(tmp_path: Path, seconds: Callable[[float], float]) -> None:
    seed = int(os.environ.get("OUTLIVE_SEED", time.time_ns() % 10**6))
    chance, catalogs = random.Random(seed), list[int]()
    ported, over = (memoryview(mmap.mmap(-1, 64)).cast("q") for _ in range(2))  # calls by the port; see `Catalog`

    def start(delay: float = 0.0) -> int:
        number = len(catalogs)
        made = forked(lambda: run_catalog(tmp_path, number, delay, over))
        catalogs.append(made)
        eventually(lambda: (tmp_path / f"ray-{number}").exists())
        Head(tmp_path).save("now", str(number).encode())
        # One that is stopped before has the shelf's lock. One that lists the shelf after its successor, and then makes
        # the calls that have come to it through Ray, would count as late: that has nothing to do with ports.
        eventually(lambda: (tmp_path / f"listed-{number}").exists())
        return made

    now = start()
    clients = [forked(lambda one=one: run_client(tmp_path, one, ported, over)) for one in range(4)]
    end, stopped, done = time.monotonic() + seconds(5), list[int](), set[str]()
    try:
        while time.monotonic() < end or len(done) < 5:
            before = sum(over)
            eventually(lambda before=before: sum(over) > before + 20)
            done.add(what := chance.choice(["kill", "stop", "replace", "late", "silent"]))
            if what == "late":  # it is replaced while it gets ready
                os.kill(now, signal.SIGKILL)
                start(0.5)
                now = start()
            elif what == "silent":  # and it goes on
                (tmp_path / f"silent-{catalogs.index(now)}").touch()
                now = start()
            elif what == "stop":
                os.kill(now, signal.SIGSTOP)
                time.sleep(chance.uniform(0.0, 0.5))
                os.kill(now, signal.SIGCONT)
            else:
                os.kill(now, signal.SIGKILL if what == "kill" else signal.SIGSTOP)
                stopped += [now] * (what == "replace")
                now = start()
            for one in [one for one in stopped if chance.random() < 0.5]:
                os.kill(one, signal.SIGCONT)
                stopped.remove(one)
        (tmp_path / "stop").touch()
        while clients:
            assert exit_code(clients.pop(), 120) == 0
    finally:
        for process in [*catalogs, *clients]:
            kill(process)
    assert sum(ported) > 0
    assert sorted(tmp_path.glob("late-*")) == [], f"OUTLIVE_SEED={seed}"
    history = History.load(tmp_path.glob("client-*.jsonl"))
    assert {one.kind for one in history.operations if one.outcome == "done"} == {"put", "get", "delete"}
    assert history.check() == [], f"OUTLIVE_SEED={seed}"
