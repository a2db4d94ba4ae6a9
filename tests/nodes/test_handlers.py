"""Signal handlers that call outlive: they run in the thread that they interrupt, which may be in outlive just then."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import outlive
from outlive.cluster.port import Call
from outlive.errors import StoreUnavailable
from outlive.store import opening, session
from outlive.store.deleting import delete_array, delete_keys
from outlive.store.reading import by_handle
from tests.conftest import ROOT
from tests.nodes.played import PlayedCluster, play


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[PlayedCluster]:
    root = f"{ROOT}/handlers-{request.node.name[:80]}"
    Path(root).mkdir(mode=0o700, parents=True)
    yield from play(root, 2)


@pytest.mark.parametrize("when", ["has the lock", "just got it"])
def test_what_needs_the_keeper_is_not_asked_of_it_while_the_thread_has_its_lock(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """The keeper would wait for the lock, and the handler for the keeper."""
    here, there = cluster.put("a", "k", 1), cluster.put("b", "other", 2)
    asked = list[str]()
    for who in ("ask_keeper", "ask_catalog"):
        real = getattr(cluster.peers, who)

        def ask(*args: Any, real: Any = real) -> Any:
            asked.extend(one.method for one in args if isinstance(one, Call))
            return real(*args)

        monkeypatch.setattr(cluster.peers, who, ask)
    its, lock = cluster.session("a"), cluster.shelves["a"].ledger._lock

    its.connection = SimpleNamespace(stands=lambda: True)  # type: ignore[assignment]

    def handle() -> None:
        monkeypatch.setattr(lock, "_before", lambda: None)
        with pytest.raises(StoreUnavailable, match="signal handler"):
            delete_keys(its, "s", ["k"])
        with pytest.raises(StoreUnavailable, match="signal handler"):
            delete_array(its, here, None)
        assert int(by_handle(its, there, "b")[0]) == 2, "it comes without a copy here"

    if when == "just got it":
        monkeypatch.setattr(lock, "_before", handle)
    with lock.take():
        if when == "has the lock":
            handle()
    assert not {"end", "erase", "fetch"}.intersection(asked)
    assert delete_keys(its, "s", ["k"]) == []


def test_a_handler_in_the_first_use_makes_the_only_session(monkeypatch: pytest.MonkeyPatch) -> None:
    made = list[Any]()

    class Made(session.Session):
        def __init__(self, *_: Any) -> None:
            self.shelf: Any = self
            if not made:
                made.append(self)
                made.append(session.current())  # a handler comes here

        def stands(self) -> bool:
            return True

        def exists(self) -> bool:
            return True

    monkeypatch.setattr(session, "_session", None)
    monkeypatch.setattr(session, "Session", Made)
    monkeypatch.setattr(session, "_connected", lambda _: None)
    assert session.current() is made[1]
    assert session.current() is made[1]


def test_a_handler_does_not_connect_in_the_middle_of_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray would start a second cluster."""
    connects = list[str]()

    def join(address: str | None, **_: Any) -> None:
        connects.append(str(address))
        outlive.open("other")  # a handler comes here

    monkeypatch.setattr("outlive.ray_internals.joining.join", join)
    monkeypatch.setattr(opening, "is_connected", lambda: False)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="signal handler"):
            outlive.open(address="somewhere")
    assert connects == ["somewhere", "somewhere"]
