"""A read of many keys copies small arrays of each node together: on a cluster that is played, with real servers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from outlive.arrays.info import ArrayInfo
from outlive.arrays.put_options import PutOptions
from outlive.arrays.shelf import StaleEpoch
from outlive.arrays.tally import COPIED, FELL_BACK, MISSED
from outlive.arrays.writer import Writer
from outlive.catalog.wire import unpack
from outlive.cluster import direct, fetches, own_copies
from outlive.errors import CorruptArray, StoreFull
from outlive.store import reading
from outlive.store.commit import commit
from outlive.transfer import client
from outlive.transfer.server import Gone
from tests.conftest import ROOT
from tests.nodes.played import PlayedCluster, PlayedSession, play_connected, reader_on_b

COUNT = 150
KEYS = [f"k{number}" for number in range(COUNT)]


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[PlayedCluster]:
    yield from play_connected(f"{ROOT}/together-{request.node.name[:80]}", 3)


class Asked:
    """What was asked of others since this was made: exchanges with servers, calls of the catalog and of keepers."""

    def __init__(self, cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch) -> None:
        self.exchanges, self.calls, self.fetched = 0, list[str](), list[ArrayInfo]()
        begin, ask = client.Link._begin, cluster.peers.ask_catalog

        def note_exchange(*args: Any) -> Any:
            self.exchanges += 1
            return begin(*args)

        def note_call(call: Any, *args: Any) -> Any:
            self.calls.append(call.method)
            return ask(call, *args)

        def note_fetch(_: str, call: Any, make: Any) -> Any:
            self.fetched += unpack(call.args[0])
            return make()

        monkeypatch.setattr(client.Link, "_begin", note_exchange)
        monkeypatch.setattr(cluster.peers, "ask_catalog", note_call)
        cluster.peers.instead["fetch"] = note_fetch


@pytest.fixture
def session(cluster: PlayedCluster) -> PlayedSession:
    return reader_on_b(cluster)


@pytest.fixture
def infos(cluster: PlayedCluster, session: PlayedSession) -> list[ArrayInfo]:
    """Of arrays on node `a`, each of which has its number five times."""
    return [cluster.put("a", key, number) for number, key in enumerate(KEYS)]


@pytest.fixture
def asked(cluster: PlayedCluster, infos: list[ArrayInfo], monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(cluster, monkeypatch)


def get(session: PlayedSession, keys: list[str] = KEYS) -> list[int | None]:
    return [
        None if array is None else int(array[0]) for array in reading.read_many(session, "s", keys)
    ]  # as `Store.get_many`


def test_many_small_arrays_take_few_round_trips(
    cluster: PlayedCluster, session: PlayedSession, infos: list[ArrayInfo], asked: Asked
) -> None:
    before = session.shelf.tally.totals()
    assert get(session) == list(range(COUNT))
    assert asked.exchanges == -(-COUNT // 64)
    assert asked.calls.count("join_copies") == 1
    assert set(asked.calls) == {"hold", "join_copies", "release"} and len(asked.calls) == 3
    assert not asked.fetched
    for info in infos:
        assert cluster.holders(info.id) == {"a": True, "b": False}
    grown = [now - then for now, then in zip(session.shelf.tally.totals(), before, strict=True)]
    assert (grown[COPIED], grown[MISSED], grown[FELL_BACK]) == (COUNT, COUNT, 0)
    assert get(session) == list(range(COUNT))  # by their names here
    assert len(asked.calls) == 3
    assert [cluster.put("a", key, -1).id for key in KEYS[:3]] != []
    assert get(session, KEYS[:4]) == [-1, -1, -1, 3]  # the catalog knew of the copies


def test_they_come_from_each_node_in_the_order_of_the_keys(
    cluster: PlayedCluster, session: PlayedSession, asked: Asked
) -> None:
    large = np.arange(1 << 18)
    for node, key, array in (("c", "large", large), ("b", "here", np.full(5, 7))):
        draft = Writer(cluster.shelves[node]).draft_of(array, key=key, store="s", options=PutOptions())
        commit(cluster.session(node), [draft])
    for number in range(20):
        cluster.put("c", f"c{number}", 1000 + number)
    mixed = [*itertools.chain(*zip(KEYS[:20], (f"c{number}" for number in range(20)), strict=True))]
    asked.exchanges = 0
    found = get(session, [*mixed, "here", "none", "large"])
    assert found == [
        *itertools.chain(*((number, 1000 + number) for number in range(20))),
        7,
        None,
        0,
    ]
    assert asked.calls.count("join_copies") == 2
    assert [info.key for info in asked.fetched] == ["large"]


def test_large_numbers_come_in_parts(
    cluster: PlayedCluster, session: PlayedSession, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that those that came first are read before others take their room."""
    monkeypatch.setattr(reading, "_TOGETHER", 40)
    assert get(session) == list(range(COUNT))
    assert asked.calls.count("join_copies") == 4
    monkeypatch.setattr(reading, "_TOGETHER_BYTES", 1)
    for key in KEYS[:3]:
        cluster.put("a", key, 5)
    assert get(session, KEYS[:3]) == [5, 5, 5]
    assert asked.calls.count("join_copies") == 4  # one by one


@pytest.mark.parametrize("how", ["gone", "damaged", "full", "stale", "refused", "lost", "another"])
def test_what_does_not_come_together_comes_alone(
    cluster: PlayedCluster,
    session: PlayedSession,
    infos: list[ArrayInfo],
    asked: Asked,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    """From the tenth on, or the tenth alone."""
    tenth, first = infos[10], [True]
    written, server = direct.written, cluster.keepers["a"].serving._server  # type: ignore[union-attr]
    opened, seal = server._opened, session.shelf.seal_copy  # type: ignore[union-attr]

    def once(found: ArrayInfo | str) -> bool:
        is_it = first[0] and (found if isinstance(found, str) else found.id) == tenth.id
        first[0] = first[0] and not is_it
        return is_it

    def open_it(request: Any) -> Any:
        if once(request.array_id):
            if how == "lost":
                raise ValueError("damaged")
            raise Gone(request.array_id)
        return opened(request)

    def write_it(shelf: Any, info: ArrayInfo, *rest: Any) -> Any:
        if once(info):
            raise CorruptArray("damaged") if how == "damaged" else StoreFull("full")
        return written(shelf, info, *rest)

    def seal_it(draft: Any) -> None:
        if once(draft.info):
            raise StaleEpoch
        seal(draft)

    if how in ("gone", "lost"):
        monkeypatch.setattr(server, "_opened", open_it)
    elif how in ("damaged", "full"):
        monkeypatch.setattr(direct, "written", write_it)
    elif how == "stale":
        monkeypatch.setattr(session.shelf, "seal_copy", seal_it)
    elif how == "refused":
        monkeypatch.setattr(fetches.Fetches, "_join_many", lambda self, infos, *_, **__: [0] * len(infos))
    else:
        assert session.own_copies is not None
        session.own_copies._under_way[tenth.id] = object()  # another thread copies it
    assert get(session) == list(range(COUNT))
    shelf = cluster.shelves["b"]
    assert all(shelf.has(info.id) for info in infos)
    assert not any(session.shelf.has_draft(info.id) for info in infos)
    assert asked.exchanges >= 3 or how == "lost"  # then the rest comes through Ray, for a while


def test_an_interrupt_leaves_no_draft(
    cluster: PlayedCluster,
    session: PlayedSession,
    infos: list[ArrayInfo],
    asked: Asked,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written, used = direct.written, session.shelf.ledger.used

    def interrupted(shelf: Any, info: ArrayInfo, *rest: Any) -> Any:
        if info.id == infos[100].id:
            raise KeyboardInterrupt
        return written(shelf, info, *rest)

    monkeypatch.setattr(direct, "written", interrupted)
    with pytest.raises(KeyboardInterrupt):
        get(session)
    assert session.shelf.ledger.used == used
    assert not any(session.shelf.has_draft(info.id) for info in infos)
    assert session.own_copies is not None and not session.own_copies._under_way
    monkeypatch.undo()
    assert get(session) == list(range(COUNT))


def test_arrays_that_end_by_themselves_are_left_to_the_keeper(
    cluster: PlayedCluster, session: PlayedSession, asked: Asked
) -> None:
    assert session.own_copies is not None
    ending = [cluster.put("a", f"e{number}", number)._replace(id=f"{number:022x}0400000000") for number in range(3)]
    assert session.own_copies.make_many(ending, "a", 0) == 0
    assert session.own_copies.make_many(ending, "b", 0) == 0
    assert own_copies.TTL & 0x04 or own_copies.SCOPE & 0x04
    assert asked.exchanges == 0
