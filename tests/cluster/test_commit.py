"""A put with a key, step by step, while catalogs come and go. Without Ray: the catalog is played by the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from outlive.arrays.info import ArrayInfo
from outlive.arrays.shelf import Shelf
from outlive.cluster.commit import commit
from outlive.cluster.wire import Bound, pack_bound, unpack, unpack_request
from outlive.errors import StoreUnavailable
from tests.conftest import ROOT


@pytest.fixture
def shelf(request: pytest.FixtureRequest) -> Iterator[Shelf]:
    Path(ROOT).mkdir(mode=0o700, exist_ok=True)
    shelf = Shelf(f"{ROOT}/{request.node.name[:60]}")
    yield shelf
    shelf.remove()


class PlayedCatalog:
    """Gives these answers, one after the other, and keeps what it is asked."""

    def __init__(self, *answers: Callable[[list[ArrayInfo]], Bound]) -> None:
        self.answers = answers
        self.asked: list[list[ArrayInfo]] = []
        self.stale: list[int] = []
        self.unbound: list[ArrayInfo] = []
        self.bind, self.unbind = SimpleNamespace(remote=self._bind), SimpleNamespace(remote=self._unbind)

    def _bind(self, request: bytes) -> bytes:
        infos, _, stale = unpack_request(request)
        self.asked.append(infos)
        self.stale.append(stale)
        return pack_bound(self.answers[min(len(self.asked), len(self.answers)) - 1](infos))

    def _unbind(self, packed: bytes) -> None:
        self.unbound += unpack(packed)


def session_with(shelf: Shelf, *answers: Callable[[list[ArrayInfo]], Bound]) -> tuple[Any, PlayedCatalog]:
    catalog = PlayedCatalog(*answers)
    return SimpleNamespace(shelf=shelf, node="n", catalog=catalog, ask=lambda ref, timeout=None: ref), catalog


def test_an_array_is_sealed_once_it_is_listed(shelf: Shelf) -> None:
    session, catalog = session_with(shelf, lambda _: Bound(shelf.ledger.epoch, 0))
    draft = shelf.draft_of(np.arange(3), key="k")
    commit(session, [draft])
    assert catalog.asked == [[draft.info]]
    assert shelf.view(draft.info).tolist() == [0, 1, 2]


def test_a_slow_clock_is_told_and_stamps_again(shelf: Shelf) -> None:
    late = 4_000_000_000_000_000_000
    session, catalog = session_with(shelf, lambda _: Bound(0, late), lambda _: Bound(shelf.ledger.epoch, 0))
    draft = shelf.draft_of(np.arange(3), key="k")
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
    drafts = [shelf.draft_of(np.arange(3), key=key) for key in "ab"]
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
    drafts = [shelf.draft_of(np.arange(3), key=key) for key in "ab"]
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
    drafts = [shelf.draft_of(np.arange(3), key=key) for key in "ab"]
    commit(session, drafts)
    assert catalog.unbound == [drafts[0].info]
    assert shelf.named("default", "a") is None
    assert shelf.has(drafts[1].info.id)


def test_a_repeated_call_finds_what_was_overwritten_meanwhile(shelf: Shelf) -> None:
    def seal_and_say_behind(infos: list[ArrayInfo]) -> Bound:
        assert shelf.finish(infos[0].id, shelf.ledger.epoch)
        return Bound(0, infos[0].version + 1)

    session, catalog = session_with(shelf, seal_and_say_behind)
    draft = shelf.draft_of(np.arange(3), key="k")
    commit(session, [draft])
    assert len(catalog.asked) == 1
    assert shelf.info(draft.info.id) == draft.info


def test_a_catalog_that_knows_another_shelf_is_told_and_the_put_ends(shelf: Shelf) -> None:
    session, catalog = session_with(shelf, lambda _: Bound(12345, 0))
    with pytest.raises(StoreUnavailable, match="catalog was replaced"):
        commit(session, [shelf.draft_of(np.arange(3), key="k")])
    assert catalog.stale[:3] == [0, 12345, 12345]
