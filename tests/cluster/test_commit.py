"""A put with a key, step by step, while catalogs come and go. Without Ray: the catalog is played by the test."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from outlive.arrays.info import ArrayInfo
from outlive.arrays.live import forget
from outlive.arrays.reader import Reader
from outlive.arrays.shelf import Shelf
from outlive.arrays.writer import Writer
from outlive.catalog.wire import Bound, pack_bound, unpack, unpack_request
from outlive.errors import StoreFull, StoreUnavailable
from outlive.store import reading
from outlive.store.commit import commit
from tests.conftest import ROOT
from tests.nodes.played import PlayedCatalog, PlayedCluster, PlayedSession, play


@pytest.fixture
def shelf(request: pytest.FixtureRequest) -> Iterator[Shelf]:
    Path(ROOT).mkdir(mode=0o700, exist_ok=True)
    shelf = Shelf(f"{ROOT}/{request.node.name[:60]}")
    shelf.raise_epoch()  # as a catalog does that lists it
    yield shelf
    shelf.remove()


class ScriptedCatalog:
    """Gives these answers, one after the other, and keeps what it is asked."""

    def __init__(self, *answers: Callable[[list[ArrayInfo]], Bound]) -> None:
        self.answers = answers
        self.asked: list[list[ArrayInfo]] = []
        self.stale: list[int] = []
        self.unbound: list[ArrayInfo] = []

    def bind(self, request: bytes) -> bytes:
        infos, _, stale = unpack_request(request)
        self.asked.append(infos)
        self.stale.append(stale)
        return pack_bound(self.answers[min(len(self.asked), len(self.answers)) - 1](infos))

    def unbind(self, packed: bytes, _node: str) -> None:
        self.unbound += unpack(packed)


def session_with(shelf: Shelf, *answers: Callable[[list[ArrayInfo]], Bound]) -> tuple[Any, ScriptedCatalog]:
    catalog = ScriptedCatalog(*answers)

    def ask_catalog(method: str, *args: Any) -> Any:
        return getattr(catalog, method)(*args)

    return SimpleNamespace(shelf=shelf, node="n", ask_catalog=ask_catalog), catalog


def test_an_array_is_sealed_once_it_is_listed(shelf: Shelf) -> None:
    session, catalog = session_with(shelf, lambda _: Bound(shelf.ledger.epoch, 0))
    draft = Writer(shelf).draft_of(np.arange(3), key="k")
    commit(session, [draft])
    assert catalog.asked == [[draft.info]]
    assert Reader(shelf).view(draft.info).tolist() == [0, 1, 2]


def test_a_slow_clock_is_told_and_stamps_again(shelf: Shelf) -> None:
    late = 4_000_000_000_000_000_000
    session, catalog = session_with(shelf, lambda _: Bound(0, late), lambda _: Bound(shelf.ledger.epoch, 0))
    draft = Writer(shelf).draft_of(np.arange(3), key="k")
    commit(session, [draft])
    assert len(catalog.asked) == 2
    assert draft.info.version > late
    assert shelf.info(draft.info.id).version == draft.info.version


def test_a_new_catalog_is_told_too(shelf: Shelf) -> None:
    def list_and_die(_: list[ArrayInfo]) -> Bound:
        epoch = shelf.ledger.epoch
        shelf.raise_epoch()
        return Bound(epoch, 0)

    session, catalog = session_with(shelf, list_and_die, lambda _: Bound(shelf.ledger.epoch, 0))
    drafts = [Writer(shelf).draft_of(np.arange(3), key=key) for key in "ab"]
    commit(session, drafts)
    assert len(catalog.asked) == 2
    assert all(shelf.has(draft.info.id) for draft in drafts)


def test_what_a_reader_sealed_and_another_deleted_is_not_listed_again(shelf: Shelf) -> None:
    """It was stored, then deleted: listed again, its key would stand for a file that is not there."""

    def list_seal_delete_and_die(infos: list[ArrayInfo]) -> Bound:
        epoch = shelf.ledger.epoch
        assert shelf.finish(infos[0].id, epoch)
        shelf.raise_epoch()
        shelf.delete(infos[0].id)
        return Bound(epoch, 0)

    session, catalog = session_with(shelf, list_seal_delete_and_die, lambda _: Bound(shelf.ledger.epoch, 0))
    drafts = [Writer(shelf).draft_of(np.arange(3), key=key) for key in "ab"]
    commit(session, drafts)
    assert catalog.asked[1:] == [[drafts[1].info]]
    assert shelf.has(drafts[1].info.id)


def test_a_repeated_call_lists_what_was_deleted_meanwhile_and_takes_it_back(shelf: Shelf) -> None:
    """Ray repeats a call whose answer was lost with a catalog. A reader had sealed the array, another deleted it."""

    def answer_of_the_repeated_call(infos: list[ArrayInfo]) -> Bound:
        assert shelf.finish(infos[0].id, shelf.ledger.epoch)
        shelf.delete(infos[0].id)
        return Bound(shelf.raise_epoch(), 0)

    session, catalog = session_with(shelf, answer_of_the_repeated_call)
    drafts = [Writer(shelf).draft_of(np.arange(3), key=key) for key in "ab"]
    commit(session, drafts)
    assert catalog.unbound == [drafts[0].info]
    assert Reader(shelf).named("default", "a") is None
    assert shelf.has(drafts[1].info.id)


def test_a_repeated_call_finds_what_was_overwritten_meanwhile(shelf: Shelf) -> None:
    def seal_and_say_behind(infos: list[ArrayInfo]) -> Bound:
        assert shelf.finish(infos[0].id, shelf.ledger.epoch)
        return Bound(0, infos[0].version + 1)

    session, catalog = session_with(shelf, seal_and_say_behind)
    draft = Writer(shelf).draft_of(np.arange(3), key="k")
    commit(session, [draft])
    assert len(catalog.asked) == 1
    assert shelf.info(draft.info.id) == draft.info


def test_a_catalog_that_knows_another_shelf_is_told_and_the_put_ends(shelf: Shelf) -> None:
    session, catalog = session_with(shelf, lambda _: Bound(12345, 0))
    with pytest.raises(StoreUnavailable, match="catalog was replaced"):
        commit(session, [Writer(shelf).draft_of(np.arange(3), key="k")])
    assert catalog.stale[:3] == [0, 12345, 12345]


# --- the last step fails


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[PlayedCluster]:
    """One node, `a`, with the catalog itself."""
    Path(ROOT).mkdir(mode=0o700, exist_ok=True)
    yield from play(f"{ROOT}/{request.node.name[:60]}", 1)


@pytest.fixture
def local_session(cluster: PlayedCluster) -> tuple[PlayedSession, PlayedCatalog]:
    return cluster.session("a"), cluster.catalog


def read(session: Any, key: str) -> Any:
    array = reading.read(session, "default", key)
    return None if array is None else array.tolist()


def failing(monkeypatch: pytest.MonkeyPatch, number: int, after: int = 0) -> None:
    """All renames into mem/ fail but the first few, whoever seals."""
    rename, calls = os.rename, []

    def fail(source: str, target: str) -> None:
        if os.path.basename(os.path.dirname(target)) == "mem":
            calls.append(target)
            if len(calls) > after:
                raise OSError(number, os.strerror(number), target)
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail)


def drafts_left(shelf: Shelf) -> list[str]:
    return [name for writer in os.listdir(shelf.new) for name in os.listdir(f"{shelf.new}/{writer}")]


@pytest.mark.parametrize(
    ("number", "kind", "message"),
    [(errno.ENOSPC, StoreFull, "no room for .* No space left"), (errno.EIO, StoreUnavailable, "Input/output error")],
)
@pytest.mark.parametrize("count", [3, 100_000])
def test_an_array_that_cannot_be_sealed_was_never_put(
    local_session: Any,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    kind: type[Exception],
    message: str,
    count: int,
) -> None:
    session, catalog = local_session
    shelf = session.shelf
    commit(session, [old := Writer(shelf).draft_of(np.arange(count), key="k")])
    assert read(session, "k")[-1] == count - 1
    with monkeypatch.context() as patch:
        failing(patch, number)
        for key in ("k", "new"):
            with pytest.raises(kind, match=message):
                commit(session, [Writer(shelf).draft_of(np.zeros(count), key=key)])
            forget(old.info.id)
            assert read(session, "k")[-1] == count - 1  # what had the key before
            assert read(session, "new") is None
        catalog.drop_replaced()
    catalog.drop_replaced()
    assert drafts_left(shelf) == []
    assert shelf.ids() == [old.info.id]
    forget(old.info.id)
    assert read(session, "k")[-1] == count - 1
    assert catalog.count("default") == 1
    assert shelf.recount() == 0
    for key in ("k", "new"):
        commit(session, [Writer(shelf).draft_of(np.ones(count), key=key)])
        catalog.drop_replaced()
        assert read(session, key)[-1] == 1
    assert len(shelf.ids()) == 2


def test_what_another_sealed_meanwhile_was_put(local_session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    session, catalog = local_session
    shelf = session.shelf
    commit(session, [Writer(shelf).draft_of(np.arange(3), key="k")])
    draft, seal_many = Writer(shelf).draft_of(np.ones(3), key="k"), shelf.seal_many

    def fail_once(*arguments: Any) -> Any:
        with monkeypatch.context() as patch:
            failing(patch, errno.ENOSPC)
            with pytest.raises(OSError, match="No space"):
                seal_many(*arguments)
        catalog.drop_replaced()  # another process, where it works: the array from before is gone
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shelf, "seal_many", fail_once)
    commit(session, [draft])
    assert read(session, "k") == [1, 1, 1]
    assert shelf.ids() == [draft.info.id]


def test_of_many_the_error_says_which_were_put(local_session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    session, catalog = local_session
    shelf = session.shelf
    for key in "abc":
        commit(session, [Writer(shelf).draft_of(np.zeros(3), key=key)])
    with monkeypatch.context() as patch:
        failing(patch, errno.ENOSPC, after=1)
        with pytest.raises(StoreFull, match="already stored, and cannot be taken back: 'a'"):
            commit(session, [Writer(shelf).draft_of(np.ones(3), key=key) for key in "abc"])
    catalog.drop_replaced()
    assert [read(session, key)[0] for key in "abc"] == [1, 0, 0]
    assert len(shelf.ids()) == 3
    assert drafts_left(shelf) == []


def test_a_catalog_that_does_not_answer_then(local_session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    session, catalog = local_session
    shelf = session.shelf

    def gone(*_: object) -> None:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(catalog, "take_off", gone)
    with monkeypatch.context() as patch:
        failing(patch, errno.ENOSPC)
        with pytest.raises(StoreFull, match="it forgets 'k' when somebody reads"):
            commit(session, [Writer(shelf).draft_of(np.zeros(3), key="k")])
    assert catalog.count("default") == 1


def test_a_later_stamp_that_cannot_be_written(local_session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    session, catalog = local_session
    shelf = session.shelf
    commit(session, [Writer(shelf).draft_of(np.zeros(3), key="k")])
    draft = Writer(shelf).draft_of(np.ones(3), key="k", version=1)

    def refuse(*_: object) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(draft, "restamp", refuse)
    with pytest.raises(StoreFull, match="quota"):
        commit(session, [draft])
    assert drafts_left(shelf) == []
    assert read(session, "k") == [0, 0, 0]
    assert catalog.count("default") == 1
