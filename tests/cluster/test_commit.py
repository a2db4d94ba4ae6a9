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
from outlive.cluster.catalog import Bound
from outlive.cluster.session import Session
from tests.conftest import ROOT


@pytest.fixture
def shelf(request: pytest.FixtureRequest) -> Iterator[Shelf]:
    Path(ROOT).mkdir(mode=0o700, exist_ok=True)
    shelf = Shelf(f"{ROOT}/{request.node.name[:60]}")
    yield shelf
    shelf.remove()


def session_with(shelf: Shelf, *answers: Callable[[list[ArrayInfo]], Bound]) -> tuple[Session, list[list[ArrayInfo]]]:
    """A session whose catalog gives these answers, one after the other; and what it is asked."""
    asked: list[list[ArrayInfo]] = []

    def bind(infos: list[ArrayInfo], node: str) -> Any:
        asked.append(infos)
        return answers[len(asked) - 1](infos)

    session = Session.__new__(Session)
    session.shelf, session.node = shelf, "n"
    session._catalog = SimpleNamespace(bind=SimpleNamespace(remote=bind))
    session.ask = lambda ref, timeout=None: ref  # type: ignore[method-assign, assignment]
    return session, asked


def test_an_array_is_sealed_once_it_is_listed(shelf: Shelf) -> None:
    session, asked = session_with(shelf, lambda _: Bound(shelf.ledger.epoch, 0))
    draft = shelf.draft_of(np.arange(3), key="k")
    session.commit([draft])
    assert asked == [[draft.info]]
    assert shelf.view(draft.info).tolist() == [0, 1, 2]


def test_a_slow_clock_is_told_and_stamps_again(shelf: Shelf) -> None:
    late = 4_000_000_000_000_000_000
    session, asked = session_with(shelf, lambda _: Bound(0, late), lambda _: Bound(shelf.ledger.epoch, 0))
    draft = shelf.draft_of(np.arange(3), key="k")
    session.commit([draft])
    assert len(asked) == 2
    assert draft.info.version > late
    assert shelf.info(draft.info.id).version == draft.info.version


def test_a_new_catalog_is_told_too(shelf: Shelf) -> None:
    def list_and_die(_: list[ArrayInfo]) -> Bound:
        epoch = shelf.ledger.epoch
        shelf.raise_epoch()
        return Bound(epoch, 0)

    session, asked = session_with(shelf, list_and_die, lambda _: Bound(shelf.ledger.epoch, 0))
    drafts = [shelf.draft_of(np.arange(3), key=key) for key in "ab"]
    session.commit(drafts)
    assert len(asked) == 2
    assert all(shelf.has(draft.info.id) for draft in drafts)


def test_what_a_reader_sealed_and_another_deleted_is_not_listed_again(shelf: Shelf) -> None:
    """It was stored, then deleted: listed again, its key would stand for a file that is not there."""

    def list_seal_delete_and_die(infos: list[ArrayInfo]) -> Bound:
        epoch = shelf.ledger.epoch
        assert shelf.finish(infos[0].id, epoch)
        shelf.raise_epoch()
        shelf.delete(infos[0].id)
        return Bound(epoch, 0)

    session, asked = session_with(shelf, list_seal_delete_and_die, lambda _: Bound(shelf.ledger.epoch, 0))
    drafts = [shelf.draft_of(np.arange(3), key=key) for key in "ab"]
    session.commit(drafts)
    assert asked[1:] == [[drafts[1].info]]
    assert shelf.has(drafts[1].info.id)
