"""Copies that readers make by themselves: what becomes of them if a process dies, forks or fails in the middle."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from outlive.arrays import draft
from outlive.arrays.shelf import Shelf
from outlive.arrays.writer import Writer
from outlive.catalog.wire import pack
from outlive.cluster.port import NoAnswer
from outlive.cluster.tending import Tending
from outlive.errors import ArrayLost
from outlive.store import reading
from outlive.store.reading import by_handle
from tests.conftest import ROOT
from tests.nodes.played import PlayedCluster, play_connected, put, reader_on_b


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[PlayedCluster]:
    yield from play_connected(f"{ROOT}/own-{request.node.name[:80]}", 3)


def in_child(act: Any) -> int:
    """Do `act` in a forked child; the status with which it ends."""
    pid = os.fork()
    if not pid:
        try:
            act()
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("step", [(os, "fchmod"), (draft, "write_all"), (draft.Draft, "complete")])
def test_a_reader_killed_while_it_writes_a_copy_leaves_none(cluster: PlayedCluster, step: tuple[Any, str]) -> None:
    """Otherwise the keeper would seal it as if it were put. The catalog would not know, and not ask for it later."""
    copies, info, shelf = reader_on_b(cluster).own_copies, cluster.put("a", "k", 1), cluster.shelves["b"]
    assert copies is not None

    def read() -> None:
        setattr(*step, lambda *_: os._exit(9))
        copies.make(info, "a", 0)

    assert in_child(read) == 9
    assert shelf.has_draft(info.id)
    Tending(shelf, "b", cluster.peers).clear_orphans()
    assert cluster.holders(info.id) == {"a": True}
    assert not shelf.has_draft(info.id)
    cluster.put("a", "k", 2)
    assert cluster.get("b", "k") == 2


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("key", ["k", None])
@pytest.mark.parametrize("late", [True, False])
def test_a_copy_whose_source_dies_before_it_is_sealed(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch, own: bool, key: str | None, late: bool
) -> None:
    """The catalog forgets the array. If the copy could be sealed then, its node would not be asked by a later put."""
    session = reader_on_b(cluster)
    if not own:
        session.own_copies = None
    info = cluster.put("c", "k", 1) if key else Writer(cluster.shelves["c"]).put(np.full(5, 1), store="s")
    by_handle(session, put(cluster, np.zeros(1), "c"), "c")
    seal = Shelf.seal_copy

    def kill_first(self: Shelf, draft: Any) -> None:
        monkeypatch.setattr(Shelf, "seal_copy", seal)

        def seal_meanwhile(_: str, __: Any, make: Any) -> Any:
            answer = make()
            if late and not draft.settled:
                seal(self, draft)  # after the catalog has asked for it in vain
            return answer

        cluster.peers.instead["keep"] = seal_meanwhile
        cluster.kill("c")
        if not draft.settled:
            seal(self, draft)

    monkeypatch.setattr(Shelf, "seal_copy", kill_first)
    if late:
        found = reading.read(session, "s", "k") if key else by_handle(session, info, "c")
        assert found is not None and found[0] == 1
        assert cluster.holders(info.id) == {"b": True}
        assert not list(cluster.catalog.index.lost)
    else:
        with pytest.raises(ArrayLost):
            reading.read(session, "s", "k") if key else by_handle(session, info, "c")
        assert cluster.holders(info.id) == {}
    if key:
        cluster.put("a", "k", 2)
        assert {cluster.get(node, "k") for node in "ab"} == {2}


@pytest.mark.parametrize("silent_to", [["holds_from_now"], ["keep", "holds_from_now"]])
def test_a_copy_whose_source_dies_while_its_keeper_is_silent(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch, silent_to: list[str]
) -> None:
    """The reader can seal it all the same. So its node is asked before the key is put again."""
    session = reader_on_b(cluster)
    cluster.put("c", "k", 1)
    by_handle(session, put(cluster, np.zeros(1), "c"), "c")
    seal = Shelf.seal_copy

    def silent(*_: Any) -> Any:
        raise NoAnswer("it is stopped")

    def kill_first(self: Shelf, draft: Any) -> None:
        monkeypatch.setattr(Shelf, "seal_copy", seal)
        cluster.peers.instead.update(dict.fromkeys(silent_to, silent))
        cluster.kill("c")
        cluster.peers.instead.clear()
        seal(self, draft)

    monkeypatch.setattr(Shelf, "seal_copy", kill_first)
    with contextlib.suppress(ArrayLost):
        reading.read(session, "s", "k")
    cluster.put("a", "k", 2)
    assert {cluster.get(node, "k") for node in "ab"} == {2}


@pytest.mark.parametrize("size", [5, 20_000])
@pytest.mark.parametrize("error", [errno.EIO, errno.EACCES])
def test_an_error_of_the_system_is_left_to_the_keeper(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch, error: int, size: int
) -> None:
    """The system may allow a reader less than its keeper."""
    session, info, staging = reader_on_b(cluster), put(cluster, np.arange(size)), Shelf.staging

    def fails_here(self: Shelf) -> str:
        if self is session.shelf:
            raise OSError(error, os.strerror(error))
        return staging(self)

    monkeypatch.setattr(Shelf, "staging", fails_here)
    assert by_handle(session, info, "a")[-1] == size - 1


@pytest.mark.parametrize("step", [(draft, "write_all"), (Shelf, "staging"), (Shelf, "seal_copy")])
def test_a_signal_handlers_error_reaches_the_caller(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch, step: tuple[Any, str]
) -> None:
    """It may be a TimeoutError, which is an OSError: the caller wants to wait no longer."""
    session, info, shelf = reader_on_b(cluster), put(cluster, np.arange(5)), cluster.shelves["b"]

    real, times = getattr(*step), itertools.count()

    def raised(*args: Any) -> Any:
        if next(times) == 0:
            raise TimeoutError("of a signal handler")
        return real(*args)

    with monkeypatch.context() as patched:
        patched.setattr(*step, raised)
        with pytest.raises(TimeoutError, match="handler"):
            by_handle(session, info, "a")
    assert not shelf.has_draft(info.id)
    assert shelf.recount() == 0
    assert by_handle(session, info, "a")[-1] == 4


def test_a_child_forked_in_a_copy_seals_none_over_another(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal handler forks, and the child goes on; another process has made the same copy meanwhile."""
    session, info = reader_on_b(cluster), put(cluster, np.arange(5))
    shelf, seal = cluster.shelves["b"], Shelf.seal_copy
    children = []

    def fork_first(self: Shelf, draft: Any) -> None:
        monkeypatch.setattr(Shelf, "seal_copy", seal)
        cluster.keepers["b"].fetch(pack([info]), "a")
        children.append(in_child(lambda: seal(self, draft)))
        seal(self, draft)

    monkeypatch.setattr(Shelf, "seal_copy", fork_first)
    by_handle(session, info, "a")
    used = shelf.ledger.used
    assert shelf.recount() == 0, (used, shelf.ledger.used)
    assert children == [0]
