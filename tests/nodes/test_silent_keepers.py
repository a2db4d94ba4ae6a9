"""Keepers that are gone for good, or stopped: what others do meanwhile, and what is known of their shelves."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from outlive.arrays.info import ArrayInfo
from outlive.arrays.marks import COPIED, evict, mark
from outlive.cluster import holders
from outlive.cluster.catalog import Catalog
from outlive.cluster.evacuation import Evacuation
from outlive.cluster.per_node import PerNode
from outlive.cluster.wire import pack, unpack_found
from outlive.errors import ArrayNotFound, OutliveError, StoreUnavailable
from outlive.lookup import by_handle
from tests.conftest import ROOT, eventually
from tests.nodes.played import PlayedCluster, play


@pytest.fixture
def cluster(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedCluster]:
    root = f"{ROOT}/silent-{request.node.name[:80]}"
    Path(root).mkdir(mode=0o700, parents=True)
    yield from play(root, 3, monkeypatch)


def test_a_keeper_that_took_another_s_place_is_asked(cluster: PlayedCluster) -> None:
    cluster.put("a", "k", 1)
    gone = cluster.put("a", "gone", 1)
    own = cluster.put("b", "own", 1)
    assert [cluster.get("b", key) for key in ("k", "gone", "own")] == [1, 1, 1]
    cluster.replace_keeper("b")
    cluster.put("a", "k", 2)
    assert [cluster.get(node, "k") for node in cluster.all] == [2, 2, 2]
    assert cluster.catalog.end([gone.id, own.id]) == [gone.id, own.id]
    assert cluster.holders(gone.id) == cluster.holders(own.id) == {}
    cluster.restart_catalog()
    assert [cluster.get(node, "gone") for node in cluster.all] == [None] * 3


def test_a_shelf_whose_keeper_was_gone_is_listed_again(cluster: PlayedCluster) -> None:
    cluster.put("b", "k", 1)
    cluster.put("a", "k2", 1)
    assert cluster.get("b", "k2") == 1
    epoch = cluster.shelves["b"].ledger.epoch
    cluster.replace_keeper("b")
    cluster.put("a", "k2", 2)
    cluster.catalog._mend()
    assert cluster.shelves["b"].ledger.epoch > epoch
    assert not cluster.catalog._peers.gone
    assert [cluster.get(node, "k") for node in cluster.all] == [1, 1, 1]


@pytest.mark.parametrize("restarted", [False, True])
def test_a_keeper_that_is_stopped_is_no_hindrance(cluster: PlayedCluster, restarted: bool) -> None:
    cluster.put("a", "k", 1)
    cluster.put("b", "own", 1)
    old = cluster.put("a", "old", 1)
    assert [cluster.get("b", key) for key in ("k", "old")] == [1, 1]
    cluster.stopped.add("b")
    if restarted:
        cluster.restart_catalog()
    cluster.put("c", "k", 2)
    cluster.put("c", "own", 2)
    assert cluster.catalog.end([old.id]) == [old.id]
    for nodes in ("ac", cluster.all):
        assert [cluster.get(node, "k") for node in nodes] == [2] * len(nodes)
        assert [cluster.get(node, "own") for node in nodes] == [2] * len(nodes)
        assert [cluster.get(node, "old") for node in nodes] == [None] * len(nodes)
        assert [cluster.get(node, "never") for node in nodes] == [None] * len(nodes)
        cluster.stopped.clear()


def test_no_put_replaces_what_a_node_that_does_not_answer_may_still_read(cluster: PlayedCluster) -> None:
    cluster.put("a", "k", 1)
    assert cluster.get("b", "k") == 1
    cluster.frozen.add("b")
    with pytest.raises(StoreUnavailable, match="node.* b.* may have a copy"):
        cluster.put("a", "k", 2)
    assert [cluster.get(node, "k") for node in ("a", "c")] == [1, 1]
    assert cluster.put("a", "other", 3)
    cluster.frozen.clear()
    cluster.put("a", "k", 4)
    assert [cluster.get(node, "k") for node in cluster.all] == [4, 4, 4]


def test_a_catalog_starts_without_those_that_do_not_answer(cluster: PlayedCluster) -> None:
    cluster.put("a", "k", 1)
    there = cluster.put("b", "there", 1)
    cluster.frozen.add("b")
    catalog = cluster.restart_catalog()
    assert cluster.get("c", "k") == 1
    with pytest.raises(OutliveError, match="may be on node b, which has not yet told"):
        cluster.get("c", "there")
    with pytest.raises(OutliveError, match="may be on node b, which has not yet told"):
        catalog.locate(pack([there]), None, "c")
    with pytest.raises(OutliveError, match="may be on node b, which has not yet told"):
        catalog.end([there.id])
    with pytest.raises(StoreUnavailable, match="node.* b.* may have a copy"):
        cluster.put("a", "there", 2)
    cluster.frozen.clear()
    catalog._mend()
    assert cluster.get("c", "there") == 1
    cluster.put("a", "there", 2)
    assert [cluster.get(node, "there") for node in cluster.all] == [2, 2, 2]


def test_a_node_that_does_not_answer_and_dies_is_waited_for_by_nobody(cluster: PlayedCluster) -> None:
    cluster.put("b", "there", 1)
    cluster.frozen.add("b")
    catalog = cluster.restart_catalog()
    cluster.kill("b")
    catalog._mend()
    assert not catalog._unlisted
    assert cluster.get("c", "there") is None
    cluster.put("a", "there", 2)
    assert [cluster.get(node, "there") for node in ("a", "c")] == [2, 2]


# --- arrays without a key


def _put(cluster: PlayedCluster, node: str, replicas: int = 2) -> ArrayInfo:
    """Without a key, on a node where nothing was put by key, as if its keeper had come after the catalog."""
    draft = cluster.shelves[node].draft_of(np.full(5, 1), store="s", replicas=replicas)
    draft.seal()
    mark(cluster.shelves[node], draft.info.id, add=COPIED)
    cluster.catalog.replicate(pack([draft.info]), node)
    return draft.info


def test_replicas_of_arrays_without_a_key_are_made_again(cluster: PlayedCluster) -> None:
    catalog = cluster.restart_catalog(seen="a")
    info = _put(cluster, "b")
    assert len(cluster.holders(info.id)) == 2
    cluster.kill("b")
    catalog._multiply()
    assert sorted(cluster.holders(info.id)) == ["a", "c"]


def test_an_array_without_a_key_whose_nodes_all_died_is_lost(cluster: PlayedCluster) -> None:
    cluster.restart_catalog(seen="")
    info = _put(cluster, "b")
    for node in list(cluster.holders(info.id)):
        cluster.kill(node)
    assert [one.info.id for one in cluster.catalog._index.lost.values()] == [info.id]


@pytest.mark.parametrize("told", [True, False])
def test_an_array_that_ended_is_not_wanted_any_more(cluster: PlayedCluster, told: bool) -> None:
    info, stays = _put(cluster, "b"), _put(cluster, "b")
    there = list(cluster.holders(info.id))
    for node in there:
        cluster.shelves[node].delete(info.id)
        if told:
            cluster.catalog.ended([info.id], node)
    other = next(node for node in there if node != "a")
    cluster.kill(other)
    assert [one.id for one in cluster.catalog._few()] == [stays.id]
    assert cluster.catalog._index.holders(info.id) == {}
    assert not cluster.catalog._index.lost


# --- what is lost


def test_what_is_lost_is_written_down_once_and_only_what_changed(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: dict[str, bytes] = {}
    written: list[str] = []

    def put(key: str, value: bytes) -> None:
        kept[key] = value
        written.append(key)

    monkeypatch.setattr(holders, "kv", SimpleNamespace(get=kept.get, put=put))
    for i in range(1000):
        cluster.put("b", f"k{i}", i)
    cluster.kill("b")
    assert len(cluster.catalog._index.lost) == 1000
    assert {found.info.key for found in holders._saved_as_lost()} == {f"k{i}" for i in range(1000)}
    written.clear()
    cluster.catalog._save_lost()
    assert not written
    cluster.put("a", "k7", 7)
    cluster.catalog._save_lost()
    assert len(written) == 2  # a page, and which pages there are
    assert {found.info.key for found in holders._saved_as_lost()} == {f"k{i}" for i in range(1000) if i != 7}


def test_what_could_not_be_written_down_is_tried_again(cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.put("b", "k", 1)
    kept: dict[str, bytes] = {}

    def refuse(*_: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(holders, "kv", SimpleNamespace(get=kept.get, put=refuse))
    with pytest.raises(ConnectionError):
        cluster.kill("b")
    monkeypatch.setattr(holders, "kv", SimpleNamespace(get=kept.get, put=kept.__setitem__))
    cluster.catalog._save_lost()
    assert [found.info.key for found in holders._saved_as_lost()] == ["k"]


def test_who_owes_an_answer_is_asked_but_not_waited_for_again(cluster: PlayedCluster) -> None:
    asked: list[str] = []
    peers = cluster.catalog._peers
    ask_shelf = peers._ask_shelf
    peers._ask_shelf = lambda node, method, args: (asked.append(node), ask_shelf(node, method, args))[1]
    cluster.frozen.add("b")
    call = cluster.catalog._keepers["b"].holds.remote
    for _ in range(3):
        assert peers.answers({"b": call(["id"])}, 0.05) == {}
    assert asked == ["b"]  # one process there waits already
    assert peers.is_late("b")
    cluster.frozen.clear()
    assert peers.answers({"b": call(["id"])}, 0.05) == {"b": [False]}


def test_a_long_list_is_asked_about_in_slices(cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a deadline of its own. A keeper that stops in between is replaced by another process of its node."""
    monkeypatch.setattr("outlive.cluster.peers.AT_A_TIME", 2)
    for key in "abcde":
        cluster.put("b", key, 1)
    ids = [info.id for info in cluster.shelves["b"].scan()]
    asked, stops = list[int](), list[bool]()
    keeper, peers = cluster.keepers["b"], cluster.catalog._peers
    real = keeper._target.holds

    def holds(some: list[str]) -> list[bool]:
        asked.append(len(some))
        if stops:
            cluster.stopped.add("b")
        return list(real(some))

    monkeypatch.setattr(keeper._target, "holds", holds)
    for _ in range(2):
        found = peers.answers({"b": cluster.catalog._keepers["b"].holds.remote([*ids, "0" * 32])})
        assert found == {"b": [True] * 5 + [False]}
        stops.append(True)
    assert set(asked) == {2}
    monkeypatch.setattr(keeper._target, "holds", real)
    cluster.stopped.clear()
    assert cluster.catalog.end(ids) == ids
    assert list(cluster.shelves["b"].ids()) == []


def test_work_for_one_node_holds_up_no_other() -> None:
    stopped, done = threading.Event(), list[tuple[str, list[int]]]()

    def work(node: str, items: list[int]) -> None:
        if node == "b":
            assert stopped.wait(60)
        done.append((node, items))

    drops = PerNode(work)
    drops.add("b", [1])
    eventually(lambda: "b" not in drops._waiting)
    drops.add("b", [2])
    drops.add("b", [3])
    drops.add("a", [4])
    eventually(lambda: done == [("a", [4])])
    stopped.set()
    eventually(lambda: done[1:] == [("b", [1]), ("b", [2, 3])])
    eventually(lambda: not drops._busy)


def test_what_was_replaced_is_dropped_although_another_node_does_not_answer(cluster: PlayedCluster) -> None:
    old = [cluster.put(node, f"k{node}", 1) for node in cluster.all]
    for node in cluster.all:
        cluster.put(node, f"k{node}", 2)
    cluster.frozen.add("b")
    threading.Thread(target=cluster.catalog._drop_replaced, daemon=True).start()
    eventually(lambda: not cluster.shelves["a"].has(old[0].id) and not cluster.shelves["c"].has(old[2].id))
    assert cluster.shelves["b"].has(old[1].id)


def test_who_lists_keys_takes_no_thread_of_the_readers() -> None:
    """They wait for deletions, and these for a node that is silent; there are but a few threads for each group."""

    def groups(*methods: str) -> set[str]:
        return {getattr(getattr(Catalog, method), "__ray_concurrency_group__", "") for method in methods}

    listing = groups("keys", "entries", "count")
    assert listing.isdisjoint(groups("find", "hold", "locate", "join_copy", "verify", "bind", "replace", "end"))


def unkeyed(cluster: PlayedCluster, node: str, replicas: int = 1) -> ArrayInfo:
    return cluster.shelves[node].put(np.full(5, 1), store="s", replicas=replicas)


def evict_all(cluster: PlayedCluster, info: ArrayInfo) -> None:
    for shelf in cluster.shelves.values():
        evict(shelf, info.id)


def test_no_copy_is_dropped_for_one_that_is_only_cached(cluster: PlayedCluster) -> None:
    """Whatever the catalog believes: who shall keep it instead says that it does."""
    info = unkeyed(cluster, "a")
    assert by_handle(cluster.session("b"), info, "a")[0] == 1
    cluster.catalog._index.copies.add(info, "b", "b", kept=True)
    assert Evacuation(cluster.shelves["a"], "a").evacuate([info.id], anywhere=True) == [True]
    evict_all(cluster, info)
    assert by_handle(cluster.session("c"), info, "a")[0] == 1


@pytest.mark.parametrize("first", ["b", "c"])
def test_who_has_a_copy_cached_is_not_taken_for_its_keeper(cluster: PlayedCluster, first: str) -> None:
    """A new catalog hears of the copies, and not yet of the node that keeps the array."""
    info = unkeyed(cluster, "a")
    for node in "bc":
        assert by_handle(cluster.session(node), info, "a")[0] == 1
    cluster.frozen.add("a")
    catalog = cluster.restart_catalog(seen="a" + first)
    for node in "bc":
        catalog._know(node)
    cluster.frozen.clear()
    catalog._mend()
    for node, kept in catalog._index.holders(info.id).items():
        assert kept == cluster.holders(info.id)[node], node


def test_a_copy_of_a_copy_whose_node_is_not_listed_yet(cluster: PlayedCluster) -> None:
    info = unkeyed(cluster, "a")
    assert by_handle(cluster.session("b"), info, "a")[0] == 1
    catalog = cluster.restart_catalog(seen="c")
    assert by_handle(cluster.session("c"), info, "b")[0] == 1
    for node, kept in catalog._index.holders(info.id).items():
        assert kept == cluster.holders(info.id)[node], node


@pytest.mark.parametrize("key", ["k", None])
def test_the_last_copy_of_a_dead_nodes_array_may_be_on_a_node_that_is_silent(
    cluster: PlayedCluster, key: str | None
) -> None:
    info = unkeyed(cluster, "c") if key is None else cluster.put("c", key, 1)
    assert by_handle(cluster.session("b"), info, "c")[0] == 1
    cluster.frozen.add("b")
    cluster.kill("c")
    cluster.frozen.clear()
    cluster.catalog._mend()
    assert by_handle(cluster.session("a"), info, "c")[0] == 1
    assert unpack_found(cluster.catalog.lost("s")) == []
    evict_all(cluster, info)
    assert by_handle(cluster.session("a"), info, "c")[0] == 1


@pytest.mark.parametrize("hint", ["c", None])
def test_an_array_of_a_silent_node_is_not_said_to_be_deleted(cluster: PlayedCluster, hint: str | None) -> None:
    """It has no key, so that nobody but its node knows of it."""
    info = unkeyed(cluster, "c")
    there = unkeyed(cluster, "b")
    cluster.shelves["b"].delete(there.id)
    cluster.frozen.add("c")
    catalog = cluster.catalog
    for ask in (
        lambda: catalog.locate(pack([info]), hint, "a"),
        lambda: catalog.erase(pack([info]), hint),
        lambda: catalog.touch(pack([info]), 1, hint),
    ):
        with pytest.raises(StoreUnavailable, match=f"{info.id} may be on node c"):
            ask()
    with pytest.raises(ArrayNotFound):
        by_handle(cluster.session("a"), there, "b")  # its node says so
    cluster.frozen.clear()
    catalog._erased.clear()
    assert by_handle(cluster.session("a"), info, "c")[0] == 1
    assert catalog.erase(pack([info]), hint)


@pytest.mark.parametrize("restarted", [False, True])
def test_what_was_replaced_on_a_node_that_was_not_listed_does_not_come_back(
    cluster: PlayedCluster, restarted: bool
) -> None:
    """When that node is listed, the array that replaced it is deleted, too."""
    cluster.put("c", "k", 1)
    cluster.frozen.add("c")
    catalog = cluster.restart_catalog()
    assert catalog._unlisted == {"c"}
    cluster.frozen.clear()
    new = cluster.put("b", "k", 2)
    assert catalog.end([new.id])
    if restarted:
        catalog = cluster.restart_catalog()
    catalog._mend()
    assert [cluster.get(node, "k") for node in "abc"] == [None] * 3


def test_what_was_replaced_while_its_node_was_listed_does_not_come_back(cluster: PlayedCluster) -> None:
    cluster.put("c", "k", 1)
    kept = cluster.put("c", "other", 1)
    cluster.frozen.add("c")
    catalog, target = cluster.restart_catalog(), cluster.keepers["c"]._target
    cluster.frozen.clear()
    part, done = target.listing_part, list[str]()

    def answer_after_both(after: str | None = None) -> tuple[int, bytes, str | None]:
        found: tuple[int, bytes, str | None] = part(after)
        if not done:
            done.append("")
            catalog.end([cluster.put("b", "k", 2).id])
        return found

    target.listing_part = answer_after_both
    catalog._mend()
    for _ in range(2):
        assert [cluster.get(node, "k") for node in "abc"] == [None] * 3
        assert cluster.shelves["c"].ids() == [kept.id]
        cluster.restart_catalog()


def test_what_was_replaced_goes_although_what_replaced_it_was_evacuated(cluster: PlayedCluster) -> None:
    old = cluster.put("b", "k", 1)
    new = cluster.put("c", "k", 2)
    assert Evacuation(cluster.shelves["c"], "c").evacuate([new.id], anywhere=True) == [True]
    for _ in range(2):
        cluster.catalog.drop_replaced()
        cluster.catalog._finish_deletions()
        cluster.catalog._look_again()
    assert cluster.holders(old.id) == {}
    assert cluster.get("b", "k") == 2
