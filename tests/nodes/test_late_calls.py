"""Calls that come late: after their callers gave up or died, after the catalog was replaced, after a keeper left."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from outlive.arrays.ended import Why
from outlive.arrays.layout import CACHED, LEAVING
from outlive.arrays.lifetimes import TTL, Lifetime
from outlive.arrays.marks import mark
from outlive.arrays.put_options import PutOptions
from outlive.arrays.shelf import Shelf
from outlive.arrays.tend.fsck import clear_orphans
from outlive.arrays.writer import Writer
from outlive.catalog.holds import Holds
from outlive.catalog.wire import pack, pack_request
from outlive.cluster import evacuation, transfer
from outlive.cluster.evacuation import Evacuation
from outlive.cluster.fetches import Fetches
from outlive.cluster.port import Call, NoAnswer, Nobody
from outlive.cluster.tending import Tending
from outlive.errors import ArrayNotFound, StoreUnavailable
from outlive.store.commit import commit
from outlive.store.reading import by_handle
from tests.conftest import ROOT
from tests.nodes.played import PlayedCluster, play


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[PlayedCluster]:
    root = f"{ROOT}/late-{request.node.name[:80]}"
    Path(root).mkdir(mode=0o700, parents=True)
    yield from play(root, 3)


# --- copies


def erase_and_restart(cluster: PlayedCluster, info: Any) -> None:
    cluster.catalog.erase(pack([info]), "a")
    cluster.restart_catalog()


def test_a_copy_on_its_way_ends_with_its_array_whichever_catalog_deleted_it(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The catalog that is told of the copy has not heard of the deletion."""
    info, seal = Writer(cluster.shelves["a"]).put(np.full(5, 1), store="s"), Fetches._seal

    def delete_first(*args: Any) -> None:
        monkeypatch.setattr(Fetches, "_seal", seal)
        erase_and_restart(cluster, info)
        seal(*args)

    monkeypatch.setattr(Fetches, "_seal", delete_first)
    with pytest.raises(ArrayNotFound):
        by_handle(cluster.session("b"), info, "a")
    assert cluster.holders(info.id) == {}
    for node in "abc":
        with pytest.raises(ArrayNotFound):
            by_handle(cluster.session(node), info, "a")


def test_a_copy_whose_catalog_was_replaced_meanwhile_is_made(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    info, seal = Writer(cluster.shelves["a"]).put(np.full(5, 1), store="s"), Fetches._seal

    def restart_first(*args: Any) -> None:
        monkeypatch.setattr(Fetches, "_seal", seal)
        cluster.restart_catalog()
        seal(*args)

    monkeypatch.setattr(Fetches, "_seal", restart_first)
    assert by_handle(cluster.session("b"), info, "a")[0] == 1
    assert cluster.holders(info.id) == {"a": True, "b": False}


def test_many_copies_on_their_way_end_with_their_arrays(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf, join_many = cluster.shelves["a"], Fetches._join_many
    options = PutOptions(replicas=2)
    deleted, other = (Writer(shelf).put(np.full(5, number), store="s", options=options) for number in range(2))

    def delete_first(*args: Any, kept: bool) -> list[int]:
        if not kept:
            erase_and_restart(cluster, deleted)
        return join_many(*args, kept=kept)

    monkeypatch.setattr(Fetches, "_join_many", delete_first)
    Fetches(cluster.shelves["b"], "b", cluster.peers).fetch_many(pack([deleted, other]), "a")
    assert cluster.holders(deleted.id) == {}


@pytest.mark.parametrize("there", ["nothing", "a new shelf", "a cached copy"])
def test_a_keepers_late_word_says_nothing_of_the_next_shelf(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch, there: str
) -> None:
    """The keeper has left since: the word comes late, or once more."""
    catalog, shelf, ask, said = cluster.catalog, cluster.shelves["b"], cluster.peers.ask_catalog, list[Call]()

    def note(call: Call, *args: Any) -> Any:
        if call.method in {"join_copy", "join_copies"}:
            said.append(call)
        return ask(call, *args)

    monkeypatch.setattr(cluster.peers, "ask_catalog", note)
    info = cluster.put("a", "k", 1, replicas=2)
    late = [call for call in said if call.args[3]]
    assert late and cluster.holders(info.id) == {"a": True, "b": True}
    assert catalog.leave(pack([info]), "b") == [True]
    shelf.delete(info.id)
    catalog.dropped([info.id], "b")
    catalog.left("b", shelf.ledger.epoch)
    shelf.ledger.epoch = 0  # the shelf is removed
    if there == "a new shelf":
        catalog.welcome("b")
    elif there == "a cached copy":
        assert by_handle(cluster.session("b"), info, "a")[0] == 1
    for call in late:
        ask(call)
    assert [node for node, kept in catalog.index.holders(info.id).items() if kept] == ["a"]
    assert ("b" in catalog.state.epochs) == (there != "nothing"), "a late word is no reason to start a keeper"
    assert catalog.leave(pack([info]), "a") == [False]


@pytest.mark.parametrize("how", ["one", "many", "here already", "many here already", "settled"])
def test_a_keeper_whose_word_comes_after_a_new_epoch_says_it_again(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    info, catalog, keeper, shelf = cluster.put("a", "k", 1), cluster.catalog, cluster.keepers["b"], cluster.shelves["b"]
    if how not in {"one", "many"}:
        assert cluster.get("b", "k") == 1
    if how == "settled":
        mark(shelf, info.id, add=LEAVING, remove=CACHED)
    ask, said = cluster.peers.ask_catalog, list[str]()

    def raise_epoch_first(call: Call, *args: Any) -> Any:
        if call.method in {"join_copy", "join_copies"} and call.args[3]:
            if not said:
                catalog.dropped(["0" * 32], "b")  # no listing, which could have the copy
            said.append(call.method)
        return ask(call, *args)

    monkeypatch.setattr(cluster.peers, "ask_catalog", raise_epoch_first)
    if how == "settled":
        Evacuation(shelf, "b", cluster.peers).settle()
    elif "many" in how:
        keeper.fetch_many(pack([info]), "a")
    else:
        assert keeper.fetch(pack([info]), "a", True) is None
    assert len(said) == 2
    assert cluster.holders(info.id) == catalog.index.holders(info.id) == {"a": True, "b": True}


def test_an_array_without_a_key_that_is_there_again_goes_when_it_is_deleted(cluster: PlayedCluster) -> None:
    """That it had ended on b was said before it was read there again, and comes late."""
    info = Writer(cluster.shelves["a"]).put(np.full(5, 1), store="s")
    assert by_handle(cluster.session("b"), info, "a")[0] == 1
    cluster.catalog.ended([info.id], "b")
    assert cluster.catalog.index.holders(info.id) == {"a": True, "b": False}
    assert cluster.catalog.erase(pack([info]), "a")
    assert cluster.holders(info.id) == {}


@pytest.mark.parametrize("lives", [False, True])
def test_an_array_that_lives_longer_where_it_is_cached_does_not_end(cluster: PlayedCluster, lives: bool) -> None:
    """Somebody touched it, and the node that kept it did not answer: there its time is over."""
    options = PutOptions(Lifetime(TTL, 0, 60.0))
    info = Writer(cluster.shelves["a"]).put(np.full(5, 1), store="s", options=options)
    assert by_handle(cluster.session("b"), info, "a")[0] == 1
    cluster.frozen.add("a")
    assert cluster.catalog.touch(pack([info]), time.time_ns() + 3600 * 10**9, "a")
    cluster.frozen.discard("a")
    cluster.shelves["a"].delete(info.id)
    if not lives:
        cluster.shelves["b"].delete(info.id)
    cluster.catalog.ended([info.id], "a", True)
    assert cluster.catalog.index.holders(info.id) == ({"b": True} if lives else {})
    if lives:
        assert by_handle(cluster.session("c"), info, "a")[0] == 1
        assert cluster.catalog.erase(pack([info]), "a")
        assert cluster.holders(info.id) == {}


def test_a_late_wish_for_replicas_does_not_name_a_node_that_the_array_has_left(cluster: PlayedCluster) -> None:
    info = Writer(cluster.shelves["a"]).put(np.full(5, 1), store="s", options=PutOptions(replicas=2))
    epoch = cluster.shelves["a"].ledger.epoch
    assert cluster.catalog.replicate(pack([info]), "a", epoch) == [2]
    (other,) = cluster.holders(info.id).keys() - {"a"}
    (third,) = {"b", "c"} - {other}
    assert Evacuation(cluster.shelves["a"], "a", cluster.peers).evacuate([info.id], anywhere=True) == [True]
    cluster.catalog.replicate(pack([info]), "a", epoch)
    assert cluster.catalog.index.holders(info.id).items() >= {other: True, third: True}.items()
    assert cluster.holders(info.id) == cluster.catalog.index.holders(info.id)


@pytest.mark.parametrize("how", ["one", "many"])
@pytest.mark.parametrize("then", ["it is there", "it was deleted"])
def test_a_keeper_that_was_not_answered_says_again_what_it_keeps(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch, how: str, then: str
) -> None:
    """Its first word comes after the shelf has got another epoch, and is passed over."""
    info, catalog, keeper = cluster.put("a", "k", 1), cluster.catalog, cluster.keepers["b"]
    ask, late = cluster.peers.ask_catalog, list[Call]()

    def give_up(call: Call, *args: Any) -> Any:
        if call.method in {"join_copy", "join_copies"} and call.args[3]:
            late.append(call)
            raise NoAnswer("the catalog did not answer")
        return ask(call, *args)

    monkeypatch.setattr(cluster.peers, "ask_catalog", give_up)
    with pytest.raises(StoreUnavailable):
        keeper.fetch(pack([info]), "a", True) if how == "one" else keeper.fetch_many(pack([info]), "a")
    monkeypatch.setattr(cluster.peers, "ask_catalog", ask)
    catalog.dropped(["0" * 32], "b")
    for call in late:
        ask(call)
    assert catalog.index.holders(info.id) == {"a": True, "b": False}
    if then == "it was deleted":
        assert catalog.end([info.id])
    keeper.fetches.say_again()
    expected = {} if then == "it was deleted" else {"a": True, "b": True}
    assert cluster.holders(info.id) == catalog.index.holders(info.id) == expected
    monkeypatch.setattr(cluster.peers, "ask_catalog", lambda *_: pytest.fail("it was said"))
    keeper.fetches.say_again()


@pytest.mark.parametrize("kept", [False, True])
def test_a_copy_that_a_dead_keeper_left_is_no_array(cluster: PlayedCluster, kept: bool) -> None:
    """It is complete, and its key stands for the array: but whoever replaces that does not know of the copy."""
    info, shelf, catalog = cluster.put("a", "k", 1), cluster.shelves["b"], cluster.catalog
    source = transfer.Source(cluster.peers, "a", 1 << 20)
    transfer.copy(shelf, source, info.id, kept=kept).settled = True  # nobody else discards it
    die(shelf)
    assert [one.problem for one in clear_orphans(shelf, lambda ids: catalog.listed(ids, "b", shelf.ledger.epoch))] == [
        "abandoned"
    ]
    assert not shelf.has(info.id)
    assert shelf.ended.given_up() == []  # it was put, elsewhere
    cluster.put("a", "k", 2)
    catalog.drop_replaced()
    assert [cluster.get(node, "k") for node in "abc"] == [2, 2, 2]
    assert catalog.end([catalog.index.find("s", "k").info.id])
    assert [cluster.get(node, "k") for node in "abc"] == [None] * 3


def die(shelf: Shelf) -> None:
    """As who writes on this shelf does, between two steps."""
    assert shelf._staging is not None
    shelf._staging.close()
    shelf._staging = None


# --- puts that came to nothing


@pytest.mark.parametrize("call", ["bind", "replace"])
def test_a_put_that_was_taken_back_is_not_listed_by_a_catalog_that_started_since(
    cluster: PlayedCluster, call: str
) -> None:
    draft, shelf = cluster.draft("a", "k", 1), cluster.shelves["a"]
    shelf.ended.add([draft.info], Why.NOT_PUT, 0)
    draft.discard()
    catalog = cluster.restart_catalog()
    getattr(catalog, call)(pack_request([draft.info], "a", 0))
    assert catalog.keys("s", "") == []
    assert catalog.count("s") == 0


def test_a_dead_writers_call_that_comes_late_is_not_listed(cluster: PlayedCluster) -> None:
    draft, shelf = cluster.draft("a", "k", 1), cluster.shelves["a"]
    draft.settled = True  # nobody else discards it
    die(shelf)
    Tending(shelf, "a", cluster.peers).clear_orphans()
    cluster.catalog.bind(pack_request([draft.info], "a", 0))
    assert cluster.catalog.keys("s", "") == []


@pytest.mark.parametrize("at", ["lock", "exists", "ended", "discard", "batch"])
@pytest.mark.parametrize("count", [1, 3])
def test_a_second_interrupt_leaks_nothing(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch, at: str, count: int
) -> None:
    """It comes while what the first one left is taken back: the next put does it."""
    cluster.put("a", "k0", 1)
    shelf, bind = cluster.shelves["a"], cluster.catalog.bind
    where = {
        "lock": (shelf.ledger, "locked"),
        "exists": (type(cluster.draft("a", "x", 1)), "exists"),
        "ended": (shelf.ended, "add"),
        "discard": (shelf, "delete_draft"),
        "batch": (shelf.ledger, "set_batches"),
    }[at]

    def interrupt_once(*args: Any) -> Any:
        monkeypatch.setattr(*where, real)
        raise KeyboardInterrupt

    def list_and_interrupt(request: bytes) -> bytes:
        bind(request)
        monkeypatch.setattr(*where, interrupt_once)
        raise KeyboardInterrupt

    real = getattr(*where)
    monkeypatch.setattr(cluster.catalog, "bind", list_and_interrupt)
    drafts = [cluster.draft("a", f"k{i}", 2) for i in range(count)]
    ids = [draft.info.id for draft in drafts]
    with pytest.raises(KeyboardInterrupt):
        commit(cluster.session("a"), drafts)
    monkeypatch.setattr(cluster.catalog, "bind", bind)
    drafts.clear()
    gc.collect()
    Writer(cluster.shelves["a"]).put(np.full(3, 1))
    assert not any(map(shelf.has_draft, ids))
    assert not any(map(shelf.has, ids))
    assert shelf.ledger.batches == 0
    assert shelf.recount() == 0
    assert [cluster.get(node, "k0") for node in "abc"] == [1, 1, 1]
    assert [cluster.get("b", f"k{i}") for i in range(1, count)] == [None] * (count - 1)
    assert cluster.catalog.keys("s", "") == ["k0"]


# --- a node that is left


@pytest.mark.parametrize("listing", ["is answered", "is not answered"])
def test_a_keeper_that_left_while_its_shelf_was_listed_is_not_started_again(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch, listing: str
) -> None:
    """It would hold its node, which is to go, for as long as nobody drains it once more."""
    catalog, started = cluster.catalog, list[str]()

    def leave(node: str, call: Call, make: Callable[[], Any]) -> Any:
        found = make()
        if node == "b":
            catalog.left("b", cluster.shelves["b"].ledger.epoch)
            if listing == "is not answered":
                raise StoreUnavailable("it leaves")
        return found

    def find(node: str, *, start: bool = False) -> None:
        if node in catalog.state.left:
            if not start:
                raise Nobody(node)
            started.append(node)

    cluster.peers.instead["listing_part"] = cluster.peers.instead["listing"] = leave
    monkeypatch.setattr(cluster.peers, "find_keeper", find)
    cluster.peers._gone.add("b")
    for _ in range(3):
        catalog.mend()
    assert started == []
    assert "b" not in catalog.state.epochs
    assert "b" in catalog.state.left
    assert cluster.get("a", "no such key") is None


def test_a_reader_of_an_earlier_catalog_releases_nothing_of_others() -> None:
    earlier, later = Holds(lambda: 0.0, first=1), Holds(lambda: 0.0, first=1 << 32)
    number = earlier.begin(["0" * 32])
    held = later.begin(["1" * 32])
    later.end(number)
    assert held in later._holds


def test_what_was_given_up_is_remembered_by_the_shelf(cluster: PlayedCluster) -> None:
    shelf: Shelf = cluster.shelves["a"]
    drafts = [cluster.draft("a", f"k{i}", i) for i in range(3)]
    shelf.ended.add([drafts[0].info], Why.TTL, 0)
    shelf.ended.add([drafts[1].info, drafts[2].info], Why.NOT_PUT, 0)
    assert shelf.ended.given_up() == [drafts[1].info.id, drafts[2].info.id]


class Killed(BaseException):
    """The keeper was, at this step."""


@pytest.mark.parametrize("then", ["deleted", "overwritten", "kept"])
@pytest.mark.parametrize("key", ["k", None])
def test_a_keeper_that_died_as_it_was_about_to_drop_an_array(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch, then: str, key: str | None
) -> None:
    """The catalog takes the copy for gone, and asks that node no more; the next keeper tells of it, or drops it."""
    shelf = cluster.shelves["b"]
    info = Writer(shelf).put(np.full(5, 1), store="s") if key is None else cluster.put("b", key, 1)

    def die_first(*_: object) -> bool:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(evacuation, "drop_if_leaving", die_first)
        with pytest.raises(Killed):
            Evacuation(shelf, "b", cluster.peers).evacuate([info.id], anywhere=True)
    assert shelf.has(info.id)
    if then == "deleted":
        assert cluster.catalog.erase(pack([info]), "b") if key is None else cluster.catalog.end([info.id])
    elif then == "overwritten" and key is not None:
        cluster.put("a", key, 2)
        cluster.catalog.drop_replaced()
    Evacuation(shelf, "b", cluster.peers).settle()
    cluster.restart_catalog()
    if then == "kept":
        assert sorted(cluster.catalog.kept_on(info.id)) == ["a", "b"]
        assert [by_handle(cluster.session(node), info, "b")[0] for node in "abc"] == [1, 1, 1]
    elif then == "deleted" or key is not None:
        assert not shelf.has(info.id)
        if key is not None:
            assert [cluster.get(node, key) for node in "abc"] == [2 if then == "overwritten" else None] * 3
