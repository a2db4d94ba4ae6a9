"""The catalog's line, without Ray: what goes by it, what goes through Ray, and that nothing is made late."""

from __future__ import annotations

import contextlib
import json
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from outlive.calls.line import Line, Unreachable
from outlive.cluster import answering, lines
from outlive.cluster.answering import Answering, succeed
from outlive.cluster.lines import CALLED, THROUGH_RAY, WHERE, CatalogLine
from outlive.cluster.links import SECRET
from outlive.cluster.port import Call, Left, NoAnswer, in_group
from outlive.errors import InvalidKey, StoreUnavailable
from outlive.node import Node
from outlive.store.nodes import _refused
from tests.conftest import ROOT, eventually
from tests.nodes.played import play_connected


class Head:
    """What the head remembers, and the port of the catalog that runs there."""

    def __init__(self) -> None:
        self.remembered: dict[str, bytes] = {}
        self.is_silent = False
        self.slept = list[float]()

    def load(self, key: str) -> bytes | None:
        if self.is_silent:
            raise StoreUnavailable("the head is silent")
        return self.remembered.get(key)

    def save(self, key: str, value: bytes) -> None:
        self.remembered[key] = value

    def save_first(self, key: str, value: bytes) -> bytes:
        return self.remembered.setdefault(key, value)

    def nodes(self) -> list[Node]:
        return [Node("head", "127.0.0.1", "head", True, True, None, None, None, 0, None)]

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        time.sleep(min(seconds, 0.01))


class Catalog:
    """What is asked."""

    def __init__(self) -> None:
        self.asked = list[Any]()
        self.raises: Exception | None = None
        self.gate, self.is_replaced = threading.Event(), threading.Event()
        self.answering: Answering | None = None

    def find(self, *args: Any) -> bytes:
        self.asked.append(["find", *args])
        return b"found"

    @in_group("slow")
    def locate(self, *args: Any) -> bytes:
        self.asked.append(["locate", *args])
        if self.raises is not None:
            raise self.raises
        assert self.gate.wait(60)
        return b"located"

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name not in CALLED:
            raise AttributeError(name)
        return lambda *args: self.asked.append([name, *args])


class Cluster:
    """A head, its catalog, and those that ask by Ray."""

    def __init__(self) -> None:
        self.head = Head()
        self.by_ray = list[str]()
        self.raises: Exception | None = None
        self.started = list[Answering]()

    def start(self) -> Catalog:
        made = self.begin(succeed(self.head))  # type: ignore[arg-type]
        assert made.answering is not None
        eventually(made.answering.may_answer, 10)
        self.catalog = made
        return made

    def begin(self, turn: int) -> Catalog:
        """Start a catalog that has a turn."""
        made = Catalog()
        made.answering = Answering(made, self.head, turn, made.is_replaced.set)  # type: ignore[arg-type]
        self.started.append(made.answering)
        return made

    def line(self) -> CatalogLine:
        made = CatalogLine(self.head.load, self.ask)
        assert made.ask(Call.of("find"), None) is THROUGH_RAY  # the first of a process
        return made

    def ask(self, call: Call, patience: float | None) -> Any:
        self.by_ray.append(call.method)
        if self.raises is not None:
            raise self.raises
        if call.method == "cut" and self.catalog.answering is not None:
            self.catalog.answering.cut(*call.args)
        if call.method == "serves":
            return self.catalog.answering is not None and self.catalog.answering.serves(*call.args)
        return None


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    made = Cluster()
    yield made
    for one in made.started:
        one.close()


def test_what_goes_by_it(cluster: Cluster) -> None:
    catalog, line = cluster.start(), cluster.line()
    assert line.ask(Call.of("find", "store", ["a"]), None) == b"found"
    assert line.ask(Call.of("bind", b"request"), 5.0) is None
    assert catalog.asked == [["find", "store", ["a"]], ["bind", b"request"]]
    assert line.why_not is None
    assert cluster.by_ray == []


@pytest.mark.parametrize(
    ("name", "value"), [("OUTLIVE_CALLS", "ray"), ("OUTLIVE_TRANSFER", "ray"), ("OUTLIVE_CALLS", "wrong")]
)
def test_it_can_be_turned_off(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    cluster.start()
    monkeypatch.setenv(name, value)
    line = cluster.line()
    assert line.ask(Call.of("find"), None) is THROUGH_RAY
    assert name in (line.why_not or "")


def test_a_catalog_without_a_server(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTLIVE_TRANSFER_PORT", "7070")  # as for a firewall
    cluster.begin(0)
    eventually(lambda: WHERE in cluster.head.remembered)
    line = cluster.line()
    assert line.ask(Call.of("find"), None) is THROUGH_RAY
    assert line.why_not == "OUTLIVE_TRANSFER_PORT is set, and OUTLIVE_CALLS_PORT is not"


def test_what_the_catalog_raises(cluster: Cluster) -> None:
    """An error that took the catalog long does not take as long once more."""
    catalog, line = cluster.start(), cluster.line()
    catalog.raises = StoreUnavailable("node n may have it")
    with pytest.raises(StoreUnavailable, match="node n may have it") as caught:
        line.ask(Call.of("locate"), None)
    assert type(caught.value) is StoreUnavailable
    catalog.raises = NoAnswer("the head is silent")  # the catalog itself has answered
    with pytest.raises(StoreUnavailable, match="the head is silent") as caught:
        line.ask(Call.of("locate"), None)
    assert type(caught.value) is StoreUnavailable
    assert len(catalog.asked) == 2
    for other in (ValueError("x"), InvalidKey("x")):
        catalog.raises = other
        assert line.ask(Call.of("locate"), None) is THROUGH_RAY
    assert cluster.by_ray == []


def test_a_progress_bar_is_drawn_meanwhile(cluster: Cluster) -> None:
    catalog, drawn = cluster.start(), list[None]()

    def draw() -> None:
        drawn.append(None)
        if len(drawn) > 3:
            catalog.gate.set()

    line = CatalogLine(cluster.head.load, cluster.ask, lambda longest: min(longest, 0.01), draw)
    assert line.ask(Call.of("find"), None) is THROUGH_RAY  # the first of a process
    assert line.ask(Call.of("locate"), None) == b"located"
    assert len(drawn) > 3
    assert cluster.by_ray == []


def test_a_port_that_a_firewall_drops(cluster: Cluster) -> None:
    """Nobody answers there, not even the kernel. It is tried now and then, and calls go through Ray."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, contextlib.ExitStack() as stack:
        for _ in range(3):  # the kernel takes so many, and is silent to others
            taken = stack.enter_context(socket.socket())
            taken.setblocking(False)
            taken.connect_ex(full.getsockname())
        cluster.head.remembered[WHERE] = json.dumps([*full.getsockname(), "catalog-x", 0]).encode()
        cluster.head.remembered[SECRET] = b"s" * 32
        line = cluster.line()
        assert line.ask(Call.of("find"), None) is THROUGH_RAY
        before = line._way
        assert "too long" in before.why
        assert line.look() == before.why
        assert line._way is before


def test_a_keeper_that_has_asked_nothing_knows_whether_the_port_is_reached(cluster: Cluster) -> None:
    cluster.start()
    line = CatalogLine(cluster.head.load, cluster.ask)
    assert line.why_not == "nothing was asked yet"
    assert line.look() is None
    cluster.head.remembered[WHERE] = json.dumps(["the port is in use", 0]).encode()
    assert CatalogLine(cluster.head.load, cluster.ask).look() == "the port is in use"
    assert cluster.by_ray == []


def test_a_head_that_cannot_be_asked(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "_SOON", 0.01)
    catalog, line = cluster.start(), cluster.line()
    cluster.head.is_silent = True
    assert line.ask(Call.of("find"), None) is THROUGH_RAY
    eventually(lambda: not catalog.answering.may_answer(), 20)  # type: ignore[union-attr]
    cluster.head.is_silent = False
    eventually(lambda: line.ask(Call.of("find"), None) == b"found", 20)


def test_a_catalog_that_is_replaced_answers_no_more(cluster: Cluster) -> None:
    """Ray took it for dead, and it goes on: it answers until its lease is over, and its successor waits for that."""
    former, line = cluster.start(), cluster.line()
    assert line.ask(Call.of("find", 1), None) == b"found"
    cluster.head.slept.clear()
    latter = cluster.start()
    assert answering._LEASE / 1e9 in cluster.head.slept
    eventually(lambda: not former.answering.may_answer(), 20)  # type: ignore[union-attr]
    made = len(former.asked)
    eventually(lambda: line.ask(Call.of("find", 2), None) == b"found", 20)
    assert latter.asked == [["find", 2]]
    assert len(former.asked) == made
    assert former.is_replaced.wait(20)  # and then its process ends
    assert not latter.is_replaced.is_set()


def test_a_successor_that_comes_just_as_a_catalog_is_ready_waits_for_it(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes its turn once the catalog has seen that nobody has it."""
    turn, load, came = succeed(cluster.head), cluster.head.load, list[bool]()  # type: ignore[arg-type]

    def load_before_it_comes(key: str) -> bytes | None:
        found = load(key)
        if key == answering._turn(turn + 1) and not came:
            came.append(True)
            succeed(cluster.head)  # type: ignore[arg-type]
        return found

    monkeypatch.setattr(cluster.head, "load", load_before_it_comes)
    cluster.begin(turn)
    eventually(lambda: bool(came))
    eventually(lambda: answering._LEASE / 1e9 in cluster.head.slept)


def test_a_catalog_that_gets_ready_late_answers_nobody(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray took it for dead while it listed the shelves. By the time that it is ready, another answers."""
    monkeypatch.setattr(lines, "_SOON", 0.01)
    late = succeed(cluster.head)  # type: ignore[arg-type]
    latter, line = cluster.start(), cluster.line()
    assert line.ask(Call.of("find", 1), None) == b"found"
    former = cluster.begin(late)
    assert former.answering is not None
    where, told = cluster.head.remembered[WHERE], former.answering._told
    cluster.head.remembered[WHERE] = told  # it stopped before it said where it is, and after it had looked
    eventually(lambda: cluster.head.remembered[WHERE] == where)
    assert not former.answering.may_answer()
    assert line.ask(Call.of("find", 2), None) == b"found"
    eventually(lambda: cluster.line().ask(Call.of("find", 3), None) == b"found", 20)
    assert former.asked == []
    assert [one[1] for one in latter.asked] == [1, 2, 3]


def test_a_successor_waits_for_a_catalog_whose_address_an_older_one_replaced(cluster: Cluster) -> None:
    """The older one was stopped, and said its own late. It is dead by now, and the one in between may go on."""
    older = cluster.start()
    between = cluster.start()
    assert older.answering is not None and between.answering is not None
    eventually(between.answering.may_answer, 20)
    between.answering._closed = True  # it is stopped: it does not look any more, and its lease lasts
    older.answering.close()
    cluster.head.remembered[WHERE] = older.answering._told
    eventually(lambda: answering._is_gone(older.answering._told))  # type: ignore[union-attr]
    cluster.head.slept.clear()
    succeed(cluster.head)  # type: ignore[arg-type]
    assert answering._LEASE / 1e9 in cluster.head.slept


def test_an_older_catalog_does_not_replace_the_address_of_a_later_one(cluster: Cluster) -> None:
    older = succeed(cluster.head)  # type: ignore[arg-type]
    cluster.start()
    eventually(lambda: WHERE in cluster.head.remembered)
    where = cluster.head.remembered[WHERE]
    late = cluster.begin(older)
    assert late.is_replaced.wait(20)
    assert cluster.head.remembered[WHERE] == where


def test_a_head_that_is_silent_as_a_catalog_starts(cluster: Cluster) -> None:
    """It waits for the head: a former catalog may go on meanwhile, and knows of no other."""
    former = cluster.start()
    cluster.head.is_silent = True
    turns = list[int]()
    starts = threading.Thread(target=lambda: turns.append(succeed(cluster.head)))  # type: ignore[arg-type]
    starts.start()
    eventually(lambda: cluster.head.slept.count(answering._RENEWED) > 3)
    assert turns == []
    cluster.head.is_silent = False
    starts.join(60)
    assert turns == [1]
    eventually(lambda: not former.answering.may_answer(), 20)  # type: ignore[union-attr]


def test_a_catalog_that_goes_on_without_the_head_is_left(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not know that another has started, and its connections stay."""
    monkeypatch.setattr(lines, "_SOON", 0.01)
    former, line = cluster.start(), cluster.line()
    assert line.ask(Call.of("find", 1), None) == b"found"
    former.answering._closed = True  # type: ignore[union-attr]
    eventually(lambda: not former.answering.may_answer(), 20)  # type: ignore[union-attr]
    latter = cluster.start()
    eventually(lambda: line.ask(Call.of("find", 2), None) == b"found", 20)
    assert not former.is_replaced.is_set()
    assert ["find", 2] in latter.asked
    assert former.asked == [["find", 1]]


def test_a_catalog_that_may_not_answer_for_days(cluster: Cluster) -> None:
    """It is asked now and then, however often that was in vain."""
    catalog, line = cluster.start(), cluster.line()
    assert line.ask(Call.of("find", 1), None) == b"found"
    catalog.answering._server._may_answer = lambda: False  # type: ignore[union-attr]
    for turn in [*range(8), 10**6]:
        line._refused = turn
        line._way = line._way._replace(until=0.0)
        assert line.ask(Call.of("find", 2), None) is THROUGH_RAY
        assert line._way.until <= time.monotonic() + lines._LATER
        assert (line._way.again is None) == (turn + 1 >= lines._REFUSALS)
    catalog.answering._server._may_answer = lambda: True  # type: ignore[union-attr]
    line._way = line._way._replace(until=0.0)
    assert line.ask(Call.of("find", 3), None) == b"found"
    assert [one[1] for one in catalog.asked] == [1, 3]


def test_a_catalog_that_died_is_not_waited_for(cluster: Cluster) -> None:
    first = cluster.start()
    assert first.answering is not None
    assert first.answering._server is not None
    first.answering._server.close()
    cluster.head.slept.clear()
    cluster.start()
    assert answering._LEASE / 1e9 not in cluster.head.slept


def test_a_call_whose_connection_breaks_goes_through_ray_once_it_is_cut(cluster: Cluster) -> None:
    catalog, line = cluster.start(), cluster.line()
    answers = list[Any]()
    caller = threading.Thread(target=lambda: answers.append(line.ask(Call.of("locate", 1), None)))
    caller.start()
    eventually(lambda: catalog.asked)
    (there,) = catalog.answering._server._of_line.values()  # type: ignore[union-attr]
    there.channel.abort()
    eventually(lambda: cluster.by_ray == ["cut"])
    assert answers == []  # it has begun, and is waited for
    catalog.gate.set()
    caller.join(60)
    assert answers == [THROUGH_RAY]
    assert line.why_not is not None
    assert line.ask(Call.of("find"), None) is THROUGH_RAY  # for a second
    line._way = line._way._replace(until=0.0)
    assert line.ask(Call.of("find"), None) == b"found"


def test_a_store_that_was_shut_down(cluster: Cluster) -> None:
    """What Ray says of a catalog that is gone is what is raised."""
    catalog, line = cluster.start(), cluster.line()
    assert line.ask(Call.of("find"), None) == b"found"
    cluster.raises = Left("the store was shut down")
    caught = list[Exception]()

    def call() -> None:
        try:
            line.ask(Call.of("locate"), None)
        except Left as error:
            caught.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    eventually(lambda: len(catalog.asked) == 2)
    catalog.gate.set()
    catalog.answering._server.close()  # type: ignore[union-attr]
    caller.join(60)
    assert len(caught) == 1 or cluster.by_ray == []  # the answer may have been faster


def test_a_catalog_that_is_silent(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog, line = cluster.start(), cluster.line()
    with pytest.raises(NoAnswer, match="did not answer within 0 s"):
        line.ask(Call.of("locate"), 0.05)
    monkeypatch.setattr(lines, "PATIENCE", 0.05)
    cluster.raises = NoAnswer("it is stopped")
    with pytest.raises(NoAnswer, match="it is stopped"):
        line.ask(Call.of("locate"), None)
    assert cluster.by_ray == ["serves"]
    cluster.raises = None
    catalog.gate.set()
    assert line.ask(Call.of("locate"), None) == b"located"


def test_a_catalog_that_is_stopped_for_good_and_replaced(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connections stay, and it never answers. The next one is asked, whichever address the head remembers.

    The next one may have no server, and the head may have been silent as it wanted to say so. Or the former one was
    stopped while it said its own address once more.
    """
    monkeypatch.setattr(lines, "PATIENCE", 0.05)
    former, line = cluster.start(), cluster.line()
    answers = list[Any]()
    caller = threading.Thread(target=lambda: answers.append(line.ask(Call.of("locate", 1), None)), daemon=True)
    caller.start()
    eventually(lambda: cluster.by_ray.count("serves") >= 2)
    assert answers == []
    where = cluster.head.remembered[WHERE]
    cluster.catalog = Catalog()  # this one is asked by Ray from now on
    former.answering._closed = True  # type: ignore[union-attr]
    eventually(lambda: not caller.is_alive(), 20)
    assert answers == [THROUGH_RAY]
    assert cluster.by_ray[-1] == "cut"
    assert cluster.head.remembered[WHERE] == where
    former.gate.set()


def test_nothing_that_strangers_leave_there_is_taken_for_an_address(cluster: Cluster) -> None:
    strange: list[Any] = [["127.0.0.1", 1, "catalog-x"], "none", [1, 2, 3, "x"], {}]
    for value in (*map(json.dumps, strange), "", "{", "\0"):
        cluster.head.remembered |= {WHERE: value.encode(), answering._TURNS: value.encode()}
        assert cluster.line().ask(Call.of("find"), math.inf) is THROUGH_RAY
    assert [succeed(cluster.head) for _ in range(3)] == [0, 1, 2]  # type: ignore[arg-type]


def test_the_catalog_says_whom_its_port_refused() -> None:
    for cluster in play_connected(f"{ROOT}/lines-refused", 1):
        catalog = cluster.catalog
        assert catalog.refusals() == (0, 0)
        catalog.answer()
        assert catalog._answering is not None
        try:
            where = lines.address(cluster.peers.load(WHERE))
            assert where is not None
            host, port, name = where
            stranger = Line((host, port), here="", there=name, secret=b"another")
            with pytest.raises(Unreachable):
                stranger.call("find", ["s", []], time.monotonic() + 60, lambda: 1.0, lambda: None)
            eventually(lambda catalog=catalog: catalog.refusals() == (1, 0))
        finally:
            catalog._answering.close()


def test_refusals_in_plain_words() -> None:
    assert _refused("the catalog", 0, 0) == []
    assert _refused("the catalog", 1, 1200) == [
        "the catalog refused 1 connection (without the cluster's secret)",
        "the catalog refused 1,200 connections (too many)",
    ]
