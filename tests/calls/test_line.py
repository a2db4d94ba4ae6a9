"""Calls by a line: what is answered, what is not, and what is left of it by forks, signals, and ends of connections."""

from __future__ import annotations

import errno
import math
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from outlive.arrays.lock import living
from outlive.calls import wire
from outlive.calls.line import Broken, Late, Line, NotMade, NotNow, Raised, Unreachable
from outlive.calls.server import Served, Server
from outlive.transfer import settings
from tests.calls.conftest import line_to
from tests.conftest import eventually, nothing_is_swallowed
from tests.transfer.test_settings import certificates


class Stuck(Exception):
    """Nobody is there."""


def ask(line: Line, method: str, *args: Any, patience: float = 60.0, every: float = math.inf) -> Any:
    def still_there() -> None:
        raise Stuck

    return line.call(method, args, time.monotonic() + patience, lambda: every, still_there)


class Catalog:
    """What is called: it notes what was done."""

    def __init__(self) -> None:
        self.done = list[Any]()
        self.gate, self.waiting = threading.Event(), 0

    def note(self, what: Any) -> Any:
        self.done.append(what)
        return what

    def wait(self, what: Any) -> Any:
        self.waiting += 1
        assert self.gate.wait(60)
        return self.note(what)

    def fail(self) -> None:
        raise ValueError("an error")

    def raises(self, what: str) -> None:
        raise ValueError(self.note(what))

    def strange(self) -> object:
        return object()

    def calls(self) -> dict[str, Served]:
        return {
            "note": Served(self.note),
            "wait": Served(self.wait, "slow"),
            "hold_up": Served(self.wait),
            "fail": Served(self.fail),
            "strange": Served(self.strange),
        }


@pytest.fixture
def catalog() -> Iterator[Catalog]:
    made = Catalog()
    yield made
    made.gate.set()


@pytest.fixture
def server(start_server: Callable[..., Server], catalog: Catalog) -> Server:
    return start_server(catalog.calls())


@pytest.fixture
def line(server: Server) -> Iterator[Line]:
    made = line_to(server)
    yield made
    made.close()


def test_what_is_asked_comes_back(line: Line) -> None:
    for value in (None, True, 7, -(1 << 40), 1.5, "ä\ud800", b"\0\xff", [1, [b"x", None]], {"a": 1}, "x" * 900_000):
        assert ask(line, "note", value) == value


def test_what_has_no_answer_here_is_asked_in_another_way(line: Line) -> None:
    for method in ("fail", "strange", "unknown"):
        with pytest.raises(NotMade):
            ask(line, method)
    with pytest.raises(NotMade):
        ask(line, "note", "x" * (1 << 20))  # too long
    with pytest.raises(NotMade):
        ask(line, "note", object())
    assert ask(line, "note", 1) == 1


def test_an_error_of_which_callers_are_told(start_server: Callable[..., Server], catalog: Catalog) -> None:
    """The call is made once. An error whose text is too long is met in another way."""

    def text(error: Exception) -> str:
        return str(error)

    line = line_to(start_server(catalog.calls() | {"raise": Served(catalog.raises, "slow")}, told=text))
    with pytest.raises(Raised, match="an error"):
        ask(line, "fail")
    with pytest.raises(Raised, match="what was asked"):
        ask(line, "raise", "what was asked")
    assert catalog.done == ["what was asked"]
    assert ask(line, "note", 1) == 1


def test_while_it_may_not_answer_nothing_is_made(start_server: Callable[..., Server], catalog: Catalog) -> None:
    may = [True]
    line = line_to(start_server(catalog.calls(), may_answer=lambda: may[0]))
    assert ask(line, "note", 1) == 1
    may[0] = False
    with pytest.raises(NotNow):
        ask(line, "note", 2)
    assert catalog.done == [1]


@pytest.mark.parametrize("crew", [None, "slow", "at once"])
def test_an_answer_is_not_sent_if_the_server_may_not_answer_by_then(
    start_server: Callable[..., Server], crew: str | None
) -> None:
    """A process that is stopped in the middle of a call goes on after another has taken over."""
    may = [True]

    def find() -> str:
        may[0] = False
        return "out of date"

    served = Served(find, "slow", find) if crew == "at once" else Served(find, crew)
    line = line_to(start_server({"find": served}, may_answer=lambda: may[0]))
    with pytest.raises(NotNow):
        ask(line, "find")


def test_a_call_that_may_wait_is_made_at_once_if_it_does_not_have_to(start_server: Callable[..., Server]) -> None:
    may = [True]

    def at_once(what: str) -> str | None:
        if what == "fails":
            raise ValueError(what)
        return None if what == "waits" else f"{what}, by {threading.current_thread().name}"

    def by_crew(what: str) -> str:
        return f"{what}, by a crew"

    line = line_to(start_server({"find": Served(by_crew, "slow", at_once)}, may_answer=lambda: may[0]))
    assert ask(line, "find", "goes") == "goes, by calls"
    assert ask(line, "find", "waits") == "waits, by a crew"
    assert ask(line, "find", "fails") == "fails, by a crew"
    may[0] = False
    with pytest.raises(NotNow):
        ask(line, "find", "goes")


def test_what_waits_holds_up_nobody(line: Line, catalog: Catalog) -> None:
    with ThreadPoolExecutor(3) as pool:
        waits = [pool.submit(ask, line, "wait", number) for number in range(3)]  # one more than the crew has threads
        eventually(lambda: catalog.waiting == 2)
        assert [ask(line, "note", number) for number in range(100)] == list(range(100))
        catalog.gate.set()
        assert [one.result() for one in waits] == [0, 1, 2]


def test_a_hundred_threads(line: Line, catalog: Catalog) -> None:
    """Each has its own answers; those that find no connection free are told to ask in another way."""

    def work(number: int) -> int:
        made = 0
        for turn in range(20):
            try:
                assert ask(line, "note", [number, turn]) == [number, turn]
                made += 1
            except NotMade:
                continue
        return made

    with ThreadPoolExecutor(100) as pool:
        made = sum(pool.map(work, range(100)))
    assert 0 < made == len(catalog.done)
    assert sum(one.is_open for one in living(line._all)) <= 8


def test_more_connections_than_descriptors_allow(
    start_server: Callable[..., Server], catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process of the server has others to open."""
    monkeypatch.setattr("outlive.calls.server.resource.getrlimit", lambda _: (6, 6))
    there = start_server(catalog.calls(), crews={"slow": 3})
    lines = [line_to(there) for _ in range(4)]
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(ask, line, "wait", number) for number, line in enumerate(lines[:3])]
        eventually(lambda: catalog.waiting == 3)
        with pytest.raises(Unreachable, match="too many connections"):
            ask(lines[3], "note", 3)
        assert (there.counts.full, there.counts.refused) == (1, 0)
        catalog.gate.set()
        assert sorted(one.result() for one in waiting) == [0, 1, 2]
    assert ask(lines[3], "note", 3) == 3  # the others are idle


def test_where_there_are_too_many_connections_the_longest_idle_ends(
    start_server: Callable[..., Server], catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outlive.calls.server.resource.getrlimit", lambda _: (6, 6))
    there = start_server(catalog.calls())
    lines = [line_to(there) for _ in range(5)]

    def ask_all(some: list[Line]) -> None:
        for number, line in enumerate(some):
            assert ask(line, "note", number) == number
            eventually(lambda: len(there._connections) == len(there._door._inside) <= 3)

    ask_all(lines)
    ask_all([lines[2], lines[0]])  # the fourth has asked for nothing for longest
    eventually(lambda: [one.is_good() for line in lines for one in line._idle] == [True, False, True, False, True])
    ask_all(lines + lines)
    assert there.counts.full == 0


def test_a_connection_whose_request_nobody_has_read_does_not_end(server: Server, catalog: Catalog) -> None:
    """Its process would have to ask whether the call was made."""
    first, second, third = (line_to(server) for _ in range(3))
    for line in (first, second):
        assert ask(line, "note", 1) == 1
    (kept,) = first._idle
    assert kept.channel is not None
    with ThreadPoolExecutor(1) as pool:
        holds_up = pool.submit(ask, third, "hold_up", 2)
        eventually(lambda: catalog.waiting == 1)
        kept.channel.give(wire.request(7, "note", [7]), time.monotonic() + 60)
        assert select.select([server._of_line[kept.name].fd], [], [], 60)[0]
        server._post(server._end_longest_idle)
        catalog.gate.set()
        assert holds_up.result() == 2
    answer = kept._receive(kept.channel, 7, time.monotonic() + 60)
    assert answer is not None and wire.value(answer.body) == 7
    eventually(lambda: not second._idle[0].is_good())
    assert first._idle[0].is_good()


@pytest.mark.parametrize("options", [{"secret": b"another"}, {"there": "its former"}])
def test_who_is_refused_is_counted_and_ends_no_connection(
    start_server: Callable[..., Server], catalog: Catalog, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    monkeypatch.setattr("outlive.calls.server.resource.getrlimit", lambda _: (2, 2))
    there = start_server(catalog.calls())
    line = line_to(there)
    assert ask(line, "note", 1) == 1
    for number in range(3):
        with pytest.raises(Unreachable):
            ask(line_to(there, **options), "note", 2)
        eventually(lambda number=number: (there.counts.refused, there._door.unproven) == (number + 1, 0))
    assert there.counts.full == 0
    assert line._idle[0].is_good()


@pytest.mark.parametrize("queued", [True, False])
def test_a_system_without_more_threads(
    server: Server, line: Line, catalog: Catalog, monkeypatch: pytest.MonkeyPatch, queued: bool
) -> None:
    """The call is asked in another way, and not made here, even if a thread of the crew finds it queued later."""
    crew, real, late = server._crews["slow"], server._crews["slow"].submit, list[Callable[[], Any]]()

    def submit(*args: Any) -> Any:
        if queued:
            late.append(lambda: real(*args))
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(crew, "submit", submit)
    with pytest.raises(NotMade):
        ask(line, "wait", 1)
    (name,) = server._of_line
    assert [made().result() for made in late] == [None] * queued
    assert server.cut(name, 60)
    assert (catalog.waiting, catalog.done) == (0, [])


def test_a_connection_that_the_system_does_not_watch_ends_alone(
    server: Server, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user may have only so many descriptors watched (epoll(7), max_user_watches)."""
    assert ask(line, "note", 1) == 1

    def refused(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(server._selector, "register", refused)
        with pytest.raises(Unreachable):
            ask(line_to(server), "note", 2)
    assert ask(line, "note", 3) == 3
    other = line_to(server)  # which keeps its connection for as long as it is there
    assert ask(other, "note", 4) == 4
    eventually(lambda: len(server._door._inside) == 2)


def test_a_call_that_waited_until_nothing_may_be_answered(
    start_server: Callable[..., Server], catalog: Catalog
) -> None:
    may = [True]
    line = line_to(start_server(catalog.calls(), crews={"slow": 1}, may_answer=lambda: may[0]))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, line, "wait", 1)
        eventually(lambda: catalog.waiting == 1)
        second = pool.submit(ask, line, "wait", 2)
        eventually(lambda: sum(one.is_open for one in living(line._all)) == 2 and not line._idle)
        assert ask(line, "note", 3) == 3  # the second is queued by now
        may[0] = False
        catalog.gate.set()
        for one in (first, second):
            with pytest.raises(NotNow):
                one.result()
    assert catalog.done == [3, 1]


# --- ends


def test_no_answer_in_time(line: Line, catalog: Catalog) -> None:
    with pytest.raises(Late):
        ask(line, "wait", 1, patience=0.05)
    with pytest.raises(Stuck):
        ask(line, "wait", 2, every=0.05)
    assert ask(line, "note", 3) == 3


def test_a_call_that_has_begun_is_waited_for_before_it_is_repeated(
    server: Server, line: Line, catalog: Catalog
) -> None:
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(ask, line, "wait", 1)
        eventually(lambda: catalog.waiting == 1)
        (name,) = server._of_line
        assert not server.cut(name, 0.05)
        with pytest.raises(Broken) as broken:
            waits.result()
    assert broken.value.name == name
    catalog.gate.set()
    assert server.cut(name, 60)
    assert catalog.done == [1]


def test_a_call_that_has_not_begun_never_will(server: Server, line: Line, catalog: Catalog) -> None:
    """It waits behind one that holds up all, as the process may be stopped between receiving a call and making it."""
    others = line_to(server)
    ask(line, "note", 0)
    (name,) = server._of_line
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, others, "hold_up", 1)
        eventually(lambda: catalog.waiting == 1)
        with pytest.raises(Late):
            ask(line, "note", 2, patience=0.05)
        cut = pool.submit(server.cut, name, 60)
        catalog.gate.set()
        assert cut.result()
        done = list(catalog.done)
        assert first.result() == 1
    assert ask(others, "note", 3) == 3
    assert catalog.done == [*done, 3] or catalog.done == [0, 1, 3]


def test_a_call_of_a_crew_that_has_not_begun_never_will(server: Server, line: Line, catalog: Catalog) -> None:
    others = line_to(server)
    with ThreadPoolExecutor(3) as pool:
        busy = [pool.submit(ask, others, "wait", number) for number in range(2)]
        eventually(lambda: catalog.waiting == 2)
        before = set(server._of_line)
        queued = pool.submit(ask, line, "wait", "queued")
        (name,) = eventually(lambda: set(server._of_line) - before)
        eventually(lambda: server._of_line[name].under_way)
        assert not server.cut(name, 0.05)  # a thread of the crew has to come by it
        with pytest.raises(Broken):
            queued.result()
        catalog.gate.set()
        assert server.cut(name, 60)
        assert sorted(one.result() for one in busy) == [0, 1]
    assert sorted(catalog.done) == [0, 1]


def test_a_server_that_ends(server: Server, line: Line, catalog: Catalog) -> None:
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(ask, line, "wait", 1)
        eventually(lambda: catalog.waiting == 1)
        server.close()
        with pytest.raises(Broken):
            waits.result()
    with pytest.raises(Unreachable):
        ask(line, "note", 2)
    assert catalog.done == []


def test_another_server_at_the_same_port(start_server: Callable[..., Server], catalog: Catalog) -> None:
    first = start_server(catalog.calls())
    line = line_to(first, there="its former")
    with pytest.raises(Unreachable, match="another node"):
        ask(line, "note", 1)


def test_idle_connections_end(server: Server, line: Line) -> None:
    assert ask(line, "note", 1) == 1
    server._post(lambda: server._end_idle(math.inf))
    eventually(lambda: not server._of_line)
    assert ask(line, "note", 2) == 2  # by another


def test_a_connection_that_nobody_reads_holds_up_nobody(server: Server, line: Line, catalog: Catalog) -> None:
    """Its answers fill what the kernel takes, and then the server hears it no more."""
    ask(line, "note", 0)
    (connection,) = line._idle
    assert connection.channel is not None
    raw = connection.channel.socket
    raw.settimeout(0.2)
    frame = wire.request(9, "note", ["x" * 500_000])
    with pytest.raises(TimeoutError):
        raw.sendall(frame * 100)
    (there,) = server._of_line.values()
    assert len(there.out) <= 4 << 20
    assert ask(line_to(server), "note", 1) == 1


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl makes certificates here")
def test_tls(start_server: Callable[..., Server], catalog: Catalog, tmp_path: Path) -> None:
    ours, theirs = (settings.tls(certificates(tmp_path, name)) for name in ("ours", "theirs"))
    there = start_server(catalog.calls(), tls=ours)
    line = line_to(there, tls=ours)
    for value in (1, "x" * 900_000, b"y" * 100_000, 2):
        assert ask(line, "note", value) == value
    with pytest.raises(Late):
        ask(line, "wait", 3, patience=0.05)
    for stranger in (theirs, None):
        with pytest.raises(Unreachable):
            ask(line_to(there, tls=stranger), "note", 4)
    with pytest.raises(Unreachable):
        ask(line_to(start_server(catalog.calls()), tls=ours), "note", 5)
    assert ask(line, "note", 6) == 6


def test_a_program_that_ends_leaves_no_connection_to_warn_of(server: Server) -> None:
    program = (
        "import math, sys, time; from outlive.calls.line import Line\n"
        f"line = Line(('{server.host}', {server.port}), here='h', there='there', secret=b's' * 32)\n"
        "print(line.call('note', [1], time.monotonic() + 60, lambda: math.inf, lambda: None))\n"
    )
    ran = subprocess.run([sys.executable, "-X", "dev", "-c", program], capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("1\n", "")


# --- forks and signals


class Interrupt(Exception):
    """Of a test."""


@contextmanager
def interrupts(error: type[Exception]) -> Iterator[None]:
    def handler(number: int, frame: object) -> None:
        raise error("of a test")

    before = signal.signal(signal.SIGALRM, handler)
    try:
        with nothing_is_swallowed():
            yield
    except error:
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("error", [Interrupt, TimeoutError])
def test_a_signal_handler_that_raises_anywhere(server: Server, line: Line, error: type[Exception]) -> None:
    """What it raises ends the call, and the next one has its own answer."""
    chance = random.Random(1)
    for turn in range(100):
        with interrupts(error):
            signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-6, 3e-4))
            while True:
                ask(line, "note", turn)
        assert ask(line, "note", -turn) == -turn
    eventually(lambda: len(server._of_line) <= 8)


def test_a_signal_handler_that_calls(line: Line) -> None:
    got, chance = list[Any](), random.Random(1)

    def handler(number: int, frame: object) -> None:
        got.append(ask(line, "note", "inner"))

    ask(line, "note", 0)  # while one connects, no thread of this process may, the server's neither: see `no_fork`
    before = signal.signal(signal.SIGALRM, handler)
    try:
        for turn in range(30):
            signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-6, 3e-4))
            while len(got) <= turn:
                assert ask(line, "note", turn) == turn
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert set(got) == {"inner"}


def test_a_forked_child_has_connections_of_its_own(server: Server, line: Line) -> None:
    assert ask(line, "note", "parent") == "parent"
    (parents,) = server._of_line
    child = os.fork()
    if child == 0:
        code = 1
        try:
            assert not line._idle[0].is_good()
            assert ask(line, "note", "child") == "child"
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    eventually(lambda: list(server._of_line) == [parents])
    assert ask(line, "note", "still") == "still"
    assert list(server._of_line) == [parents]


def test_a_server_that_is_stopped_harms_nobody(catalog: Catalog) -> None:
    """A process of its own, which is stopped: calls are late, and end when it is killed."""
    here, there = socket.socketpair()
    child = os.fork()
    if child == 0:
        try:
            made = Server("127.0.0.1", (0,), name="there", secret=b"s" * 32, calls=catalog.calls(), crews={"slow": 1})
            there.sendall(made.port.to_bytes(4, "little"))
            signal.pause()
        finally:
            os._exit(0)
    try:
        line = Line(("127.0.0.1", int.from_bytes(here.recv(4), "little")), here="here", there="there", secret=b"s" * 32)
        assert ask(line, "note", 1) == 1
        os.kill(child, signal.SIGSTOP)
        os.waitpid(child, os.WUNTRACED)  # until all of its threads are stopped
        with pytest.raises(Late):
            ask(line, "note", 2, patience=0.05)
        os.kill(child, signal.SIGCONT)
        assert ask(line, "note", 3) == 3
        with ThreadPoolExecutor(1) as pool:
            waits = pool.submit(ask, line, "wait", 4)
            eventually(lambda: not line._idle)
            os.kill(child, signal.SIGKILL)
            with pytest.raises(Broken):
                waits.result()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        here.close()
        there.close()
