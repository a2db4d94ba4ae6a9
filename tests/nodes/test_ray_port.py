"""Ray's port, without Ray: actors that are stopped, or gone for good, and long lists."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, GetTimeoutError, RayTaskError, RpcError

from outlive.arrays.info import ArrayInfo
from outlive.catalog.wire import pack
from outlive.cluster import actors, links, ray_port, starters
from outlive.cluster.port import BY_LIST, Call
from outlive.cluster.ray_port import RayPeers
from outlive.cluster.shelf_calls import ShelfCalls
from outlive.cluster.short_calls import ShortCalls
from outlive.errors import OutliveError, StoreUnavailable
from outlive.node import Node


class Actor:
    """A keeper that has some arrays. A call is made at once; its error comes with its answer."""

    def __init__(self, has: set[str]) -> None:
        self.has, self.stopped, self.dead = has, False, False
        self.asked: list[int] = []
        self.stops_after = -1

    def holds(self, array_ids: list[str]) -> list[bool]:
        self.asked.append(len(array_ids))
        return [one in self.has for one in array_ids]

    def forbid(self, names: list[tuple[str, str, int]]) -> None:
        self.asked.append(len(names))

    def room(self) -> int:
        return 7

    def fetch(self, *_: Any) -> bytes:
        return b"through Ray"

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


class Ray:
    """Of one node, `b`."""

    def __init__(self) -> None:
        self.actor = Actor({"0", "1", "2", "3", "4"})
        self.frozen = False
        self.in_stead: list[str] = []

    def handle(self, node: str) -> Any:
        actor = self.actor

        class Handle:
            def __eq__(self, other: object) -> bool:
                return getattr(other, "of", None) is actor

            __hash__ = object.__hash__
            of = actor

            def __getattr__(_, name: str) -> Any:  # noqa: N805
                return SimpleNamespace(remote=lambda *args: self._call(actor, name, args))

        return Handle()

    def _call(self, actor: Actor, name: str, args: tuple[Any, ...]) -> Callable[[], Any]:
        if actor.stopped or self.frozen or len(actor.asked) == actor.stops_after:
            actor.stopped = not self.frozen
            return _never
        if actor.dead:
            return lambda: _raise(ActorDiedError())
        return _answered(actor, name, args)

    def ask_shelf(self, cluster: str, node: str, method: str, args: tuple[Any, ...]) -> Callable[[], Any]:
        self.in_stead.append(method)
        return _never if self.frozen else _answered(self.actor, method, args)


def _answered(actor: Actor, name: str, args: tuple[Any, ...]) -> Callable[[], Any]:
    try:
        value = getattr(actor, name)(*args)
    except OutliveError as error:
        raised = RayTaskError("method", "Traceback", error, proctitle="", pid=1, ip="ip").as_instanceof_cause()
        return lambda: _raise(raised)
    return lambda: value


def _raise(error: Exception) -> None:
    raise error


def _never() -> Any:
    """The answer of a process that is stopped."""
    raise AssertionError


def _wait(refs: list[Any], num_returns: int = 1, timeout: float = 0) -> tuple[list[Any], list[Any]]:
    return [ref for ref in refs if ref is not _never], [ref for ref in refs if ref is _never]


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Ray:
    ray = Ray()
    monkeypatch.setattr(ray_port, "ray", SimpleNamespace(get=lambda ref, timeout=None: ref(), wait=_wait))
    monkeypatch.setattr(ray_port, "Connection", lambda: SimpleNamespace(cluster="played"))
    monkeypatch.setattr(ray_port, "_GRACE", 0)
    monkeypatch.setattr(starters, "ask_shelf", ray.ask_shelf)
    monkeypatch.setattr(actors, "keeper", ray.handle)
    return ray


def test_who_owes_an_answer_is_asked_but_not_waited_for_again(ray: Ray) -> None:
    peers = RayPeers()
    ray.frozen = True
    for _ in range(3):
        assert peers.ask({"b": Call.of("holds", ["id"])}, 0.05) == {}
    assert ray.in_stead == ["holds"]  # one process there waits already
    assert not peers.is_late("a")
    assert peers.is_late("b")


def test_a_keeper_that_is_stopped_does_not_say_how_much_room_it_has(ray: Ray) -> None:
    peers = RayPeers()
    ray.actor.stopped = True
    assert peers.ask({"b": Call.of("room")}, 0.05) == {}
    assert ray.in_stead == []  # that needs more than files
    ray.actor.stopped = False
    assert RayPeers().ask({"b": Call.of("room")}, 0.05) == {"b": 7}


@pytest.mark.parametrize("stops_after", [-1, 0, 1, 2])
def test_a_long_list_is_asked_about_in_slices(ray: Ray, monkeypatch: pytest.MonkeyPatch, stops_after: int) -> None:
    """Each has a deadline of its own. A keeper that stops in between is replaced by another process of its node."""
    monkeypatch.setattr(ray_port, "AT_A_TIME", 2)
    ray.actor.stops_after = stops_after
    assert RayPeers().ask({"b": Call.of("holds", ["0", "1", "2", "3", "4", "no"])}) == {"b": [True] * 5 + [False]}
    assert set(ray.actor.asked) == {2}
    assert RayPeers().ask({"b": Call.of("forbid", [("s", "k", 1)] * 3)}) == {"b": None}


def test_every_call_about_many_arrays_may_be_made_in_slices() -> None:
    known = set[str]()
    for name, method in vars(ShelfCalls).items():
        types = list(getattr(method, "__annotations__", {}).values())
        if len(types) > 1 and types[0].startswith("list["):
            known |= {name} if types[-1] == "None" or types[-1].startswith("list[") else set()
    assert known == BY_LIST


def test_a_keeper_that_took_another_s_place_is_asked(ray: Ray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_port, "AT_A_TIME", 2)
    peers = RayPeers()
    assert peers.ask({"b": Call.of("holds", ["0"])}) == {"b": [True]}
    ray.actor.dead = True
    ray.actor = Actor({"0", "2"})
    assert peers.ask({"b": Call.of("holds", ["0", "1", "2"])}) == {"b": [True, False, True]}
    assert peers.take_gone() == {"b"}
    assert peers.take_gone() == set()


def test_another_process_answers_for_a_keeper_that_is_gone_for_good(ray: Ray) -> None:
    ray.actor.dead = True
    peers = RayPeers()
    assert peers.ask({"b": Call.of("holds", ["0"])}) == {"b": [True]}
    assert ray.in_stead == ["holds"]
    assert peers.ask({"b": Call.of("room")}) == {}


@pytest.mark.parametrize("answers", [True, False])
def test_a_small_array_is_copied_by_a_port_from_the_second_one_on(
    ray: Ray, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    by_port = list[Any]()

    def make(_: ShortCalls, calls: dict[str, Call]) -> dict[str, Any]:
        by_port.append(calls)
        return dict.fromkeys(calls) if answers else {}

    monkeypatch.setattr(ShortCalls, "make", make)
    small = ArrayInfo("1" * 32, "s", None, "'<f8'", (1,), False, 4096, 8, 8192, 1)
    peers, call = RayPeers(), Call.of("fetch", pack([small]), "a", False, 0)
    assert [peers.ask_keeper("b", call) for _ in range(3)] == [
        b"through Ray",
        *([None if answers else b"through Ray"] * 2),
    ]
    assert by_port == [{"b": call}] * 2
    large = Call.of("fetch", pack([small._replace(size=1 << 30)]), "a", False, 0)
    assert peers.ask_keeper("b", large) == b"through Ray"
    assert len(by_port) == 2


# --- one node


@pytest.mark.parametrize("alone", [True, False])
def test_who_asks_for_one_node_is_not_sent_all_each_time(monkeypatch: pytest.MonkeyPatch, alone: bool) -> None:
    every = [Node(f"n{number}", "", "", number == 0, True, None, None, None, 0, None) for number in range(1000)]
    listed: list[int] = []
    monkeypatch.setattr(ray_port, "nodes", lambda: listed.append(1) or every)
    monkeypatch.setattr(ray_port, "ray_node", lambda node: next(one for one in every if one.id == node))
    monkeypatch.setattr(ray_port, "can_ask_for_one", lambda: alone)
    monkeypatch.setattr(ray_port.time, "monotonic", lambda: 100.0)
    peers = RayPeers()
    assert [peers.node("n7") for _ in range(5)] == [every[7]] * 5
    assert len(listed) == (0 if alone else 1)


@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize("error", [RpcError("failed to connect to all addresses"), GetTimeoutError("timed out")])
def test_a_head_that_does_not_answer_is_told_by_an_error_of_our_own(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def silent(*_: Any, **__: Any) -> Any:
        raise error

    peers = RayPeers()
    peers.find_keeper("b")
    for module, name in [
        (ray_port.kv, "get"), (ray_port.kv, "put"), (ray_port.kv, "put_first"), (actors, "find"),
        (actors, "list_named_actors"), (ray_port, "jobs_that_ended"),
    ]:  # fmt: skip
        monkeypatch.setattr(module, name, silent)
    monkeypatch.setattr(actors, "keeper", silent)
    asks: list[Callable[[], Any]] = [
        lambda: peers.load("k"), lambda: peers.save("k", b""), lambda: peers.save_first("k", b""),
        lambda: peers.find_keeper("c", start=True), lambda: peers.ask_keeper("c", Call.of("room")), peers.keeper_nodes,
        lambda: peers.ask_catalog(Call.of("ping")), lambda: peers.jobs_that_ended({1}),
    ]  # fmt: skip
    for ask in asks:
        with pytest.raises(StoreUnavailable, match=f"the GCS did not answer .{error}"):
            ask()
    assert peers.ask(dict.fromkeys("bc", Call.of("holds", ["0"]))) == {"b": [True]}


def test_there_is_no_link_while_the_head_does_not_answer(monkeypatch: pytest.MonkeyPatch, ray: Ray) -> None:
    ray.actor.about = lambda: {"transfer": ["127.0.0.1", 7070]}  # type: ignore[attr-defined]
    monkeypatch.setattr(ray_port.kv, "get", lambda _: _raise(RpcError("failed to connect to all addresses")))
    here = links.Links(RayPeers(), "a")
    assert here.to("b") is None
    assert "failed to connect" in here.through_ray()[0][1]
