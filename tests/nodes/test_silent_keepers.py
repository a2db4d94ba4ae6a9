"""Keepers that are gone for good, or stopped: what others do meanwhile, and what is known of their shelves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from outlive.arrays.info import ArrayInfo
from outlive.arrays.layout import COPIED
from outlive.arrays.marks import evict, mark
from outlive.arrays.put_options import PutOptions
from outlive.arrays.writer import Writer
from outlive.catalog import deletion, replaced, replicas, shelves
from outlive.catalog.pages import saved_as_lost
from outlive.catalog.wire import pack, unpack_found
from outlive.cluster.catalog import Catalog
from outlive.cluster.evacuation import Evacuation
from outlive.cluster.port import Call
from outlive.errors import ArrayNotFound, OutliveError, StoreUnavailable
from outlive.store.reading import by_handle
from tests.conftest import ROOT, eventually
from tests.nodes.played import PlayedCluster, play


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[PlayedCluster]:
    root = f"{ROOT}/silent-{request.node.name[:80]}"
    Path(root).mkdir(mode=0o700, parents=True)
    yield from play(root, 3)


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
    cluster.catalog.mend()
    assert cluster.shelves["b"].ledger.epoch > epoch
    assert not cluster.peers.take_gone()
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
    catalog.mend()
    assert cluster.get("c", "there") == 1
    cluster.put("a", "there", 2)
    assert [cluster.get(node, "there") for node in cluster.all] == [2, 2, 2]


def test_a_node_that_does_not_answer_and_dies_is_waited_for_by_nobody(cluster: PlayedCluster) -> None:
    cluster.put("b", "there", 1)
    cluster.frozen.add("b")
    catalog = cluster.restart_catalog()
    cluster.kill("b")
    catalog.mend()
    assert not catalog.state.unlisted
    assert cluster.get("c", "there") is None
    cluster.put("a", "there", 2)
    assert [cluster.get(node, "there") for node in ("a", "c")] == [2, 2]


# --- arrays without a key


def _put(cluster: PlayedCluster, node: str, replicas: int = 2) -> ArrayInfo:
    """Without a key, on a node where nothing was put by key, as if its keeper had come after the catalog."""
    draft = Writer(cluster.shelves[node]).draft_of(np.full(5, 1), store="s", options=PutOptions(replicas=replicas))
    draft.seal()
    mark(cluster.shelves[node], draft.info.id, add=COPIED)
    cluster.catalog.replicate(pack([draft.info]), node, cluster.shelves[node].ledger.epoch)
    return draft.info


def test_replicas_of_arrays_without_a_key_are_made_again(cluster: PlayedCluster) -> None:
    catalog = cluster.restart_catalog(seen="a")
    info = _put(cluster, "b")
    assert len(cluster.holders(info.id)) == 2
    cluster.kill("b")
    catalog.multiply()
    assert sorted(cluster.holders(info.id)) == ["a", "c"]


def test_an_array_without_a_key_whose_nodes_all_died_is_lost(cluster: PlayedCluster) -> None:
    cluster.restart_catalog(seen="")
    info = _put(cluster, "b")
    for node in list(cluster.holders(info.id)):
        cluster.kill(node)
    assert [one.info.id for one in cluster.catalog.index.lost] == [info.id]


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
    assert [one.id for one in cluster.catalog.driver.run(replicas.too_few)] == [stays.id]
    assert cluster.catalog.index.holders(info.id) == {}
    assert not cluster.catalog.index.lost


# --- what is lost


def test_what_is_lost_is_written_down_once_and_only_what_changed(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    save = cluster.peers.save
    monkeypatch.setattr(cluster.peers, "save", lambda key, value: (written.append(key), save(key, value)))
    for i in range(1000):
        cluster.put("b", f"k{i}", i)
    cluster.kill("b")
    assert len(cluster.catalog.index.lost) == 1000
    assert {lost.info.key for lost in saved_as_lost(cluster.peers.load)} == {f"k{i}" for i in range(1000)}
    written.clear()
    cluster.catalog.save()
    assert not written
    cluster.put("a", "k7", 7)
    cluster.catalog.save()
    assert len(written) == 2  # a page, and which pages there are
    assert {lost.info.key for lost in saved_as_lost(cluster.peers.load)} == {f"k{i}" for i in range(1000) if i != 7}


def test_what_could_not_be_written_down_is_tried_again(cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.put("b", "k", 1)

    def refuse(*_: object) -> None:
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(cluster.peers, "save", refuse)
        with pytest.raises(ConnectionError):
            cluster.kill("b")
    cluster.catalog.save()
    assert [lost.info.key for lost in saved_as_lost(cluster.peers.load)] == ["k"]


@pytest.mark.parametrize("ends", ["well", "with an error"])
def test_what_was_replaced_meanwhile_is_dropped_by_who_drops_there(cluster: PlayedCluster, ends: str) -> None:
    """One for each node, whatever comes of it."""
    catalog, asked = cluster.catalog, list[list[str]]()
    old = cluster.put("a", "k", 1)

    def replace_again(node: str, call: Call, make: Callable[[], Any]) -> Any:
        asked.append(call.args[0])
        if len(asked) == 1:
            cluster.put("a", "k", 3)
            eventually(lambda: not catalog.state.replaced)
            if ends == "with an error":
                raise RuntimeError
        return make()

    cluster.peers.instead["finish"] = replace_again
    catalog.driver.every(0.0, replaced.drop)
    cluster.put("a", "k", 2)
    eventually(lambda: len(asked) == 2 and not catalog.state.under_way.dropping)
    assert len(cluster.shelves["a"].ids()) == 1
    assert len(catalog.state.again) == (ends != "well")
    assert not cluster.shelves["a"].has(old.id)


def test_what_was_replaced_is_dropped_although_another_node_does_not_answer(cluster: PlayedCluster) -> None:
    old = [cluster.put(node, f"k{node}", 1) for node in cluster.all]
    for node in cluster.all:
        cluster.put(node, f"k{node}", 2)
    cluster.frozen.add("b")
    cluster.catalog.driver.every(0.0, replaced.drop)
    eventually(lambda: not cluster.shelves["a"].has(old[0].id) and not cluster.shelves["c"].has(old[2].id))
    eventually(lambda: cluster.catalog.state.again)  # that of the silent node
    assert cluster.shelves["b"].has(old[1].id)


# --- nodes that were left


@pytest.mark.parametrize("many", [False, True])
def test_a_node_that_was_left_is_no_target_because_somebody_reads_there(cluster: PlayedCluster, many: bool) -> None:
    info, catalog = cluster.put("a", "k", 1), cluster.catalog
    catalog.left("b", cluster.shelves["b"].ledger.epoch)
    cluster.shelves["b"].ledger.epoch = 0  # a new shelf
    if many:
        assert catalog.join_copies(pack([info]), "a", "b", False, 0) == [cluster.shelves["b"].ledger.epoch]
    else:
        assert catalog.join_copy(pack([info]), "a", "b", False, 0) == cluster.shelves["b"].ledger.epoch
    assert cluster.get("b", "k") == 1
    two = cluster.put("a", "two", 2, replicas=2)
    assert list(cluster.holders(two.id)) == ["a", "c"]
    cluster.put("b", "k", 3)  # it is needed there again
    three = cluster.put("a", "three", 3, replicas=3)
    assert list(cluster.holders(three.id)) == ["a", "b", "c"]


def test_who_lists_keys_takes_no_thread_of_the_readers() -> None:
    """They wait for deletions, and these for a node that is silent; there are but a few threads for each group."""

    def groups(*methods: str) -> set[str]:
        return {getattr(getattr(Catalog, method), "group", "") for method in methods}

    listing = groups("keys", "entries", "count")
    assert listing.isdisjoint(groups("find", "hold", "locate", "join_copy", "verify", "bind", "replace", "end"))


def unkeyed(cluster: PlayedCluster, node: str) -> ArrayInfo:
    return Writer(cluster.shelves[node]).put(np.full(5, 1), store="s")


def evict_all(cluster: PlayedCluster, info: ArrayInfo) -> None:
    for shelf in cluster.shelves.values():
        evict(shelf, info.id)


def test_no_copy_is_dropped_for_one_that_is_only_cached(cluster: PlayedCluster) -> None:
    """Whatever the catalog believes: who shall keep it instead says that it does."""
    info = unkeyed(cluster, "a")
    assert by_handle(cluster.session("b"), info, "a")[0] == 1
    cluster.catalog.index.copies.add(info, "b", "b", kept=True)
    assert Evacuation(cluster.shelves["a"], "a", cluster.peers).evacuate([info.id], anywhere=True) == [True]
    evict_all(cluster, info)
    assert by_handle(cluster.session("c"), info, "a")[0] == 1


def test_an_idle_node_is_evacuated_at_the_rate_that_was_set(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that drains does not wait. An array for which there is no room keeps no other waiting."""
    shelf, now = cluster.shelves["b"], [0.0]
    infos = [Writer(shelf).put(np.full(100_000, 1, "u1"), store="s") for _ in range(5)]
    monkeypatch.setenv("OUTLIVE_BACKGROUND_RATE", "150 kB")
    monkeypatch.setattr(cluster.peers, "now", lambda: now[0])
    evacuation = Evacuation(shelf, "b", cluster.peers)
    monkeypatch.setattr(evacuation, "leave", lambda: None)
    left = []
    for _ in range(8):
        evacuation._leave_with_everything(anywhere=False)
        left.append(len(shelf.ids()))
        now[0] += 0.5
    assert left == [3, 3, 3, 1, 1, 1, 0, 0]  # 200 kB take 1.34 s
    assert all(cluster.shelves["a"].has(info.id) for info in infos)
    more = [Writer(shelf).put(np.full(100_000, 1, "u1"), store="s") for _ in range(5)]
    evacuation._leave_with_everything(anywhere=True)
    assert not any(shelf.has(info.id) for info in more)


@pytest.mark.parametrize("first", ["b", "c"])
def test_who_has_a_copy_cached_is_not_taken_for_its_keeper(cluster: PlayedCluster, first: str) -> None:
    """A new catalog hears of the copies, and not yet of the node that keeps the array."""
    info = unkeyed(cluster, "a")
    for node in "bc":
        assert by_handle(cluster.session(node), info, "a")[0] == 1
    cluster.frozen.add("a")
    catalog = cluster.restart_catalog(seen="a" + first)
    for node in "bc":
        catalog.driver.run(shelves.know, node)
    cluster.frozen.clear()
    catalog.mend()
    for node, kept in catalog.index.holders(info.id).items():
        assert kept == cluster.holders(info.id)[node], node


def test_a_copy_of_a_copy_whose_node_is_not_listed_yet(cluster: PlayedCluster) -> None:
    info = unkeyed(cluster, "a")
    assert by_handle(cluster.session("b"), info, "a")[0] == 1
    catalog = cluster.restart_catalog(seen="c")
    assert by_handle(cluster.session("c"), info, "b")[0] == 1
    for node, kept in catalog.index.holders(info.id).items():
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
    cluster.catalog.mend()
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
    catalog.state.erased.clear()
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
    assert catalog.state.unlisted == {"c"}
    cluster.frozen.clear()
    new = cluster.put("b", "k", 2)
    assert catalog.end([new.id])
    if restarted:
        catalog = cluster.restart_catalog()
    catalog.mend()
    assert [cluster.get(node, "k") for node in "abc"] == [None] * 3


def test_what_was_replaced_while_its_node_was_listed_does_not_come_back(cluster: PlayedCluster) -> None:
    cluster.put("c", "k", 1)
    kept = cluster.put("c", "other", 1)
    cluster.frozen.add("c")
    catalog, done = cluster.restart_catalog(), list[str]()
    cluster.frozen.clear()

    def after_both(node: str, call: Call, answer: Callable[[], Any]) -> Any:
        found = answer()
        if not done:
            done.append(node)
            catalog.end([cluster.put("b", "k", 2).id])
        return found

    cluster.peers.instead["listing_part"] = after_both
    catalog.mend()
    for _ in range(2):
        assert [cluster.get(node, "k") for node in "abc"] == [None] * 3
        assert cluster.shelves["c"].ids() == [kept.id]
        cluster.restart_catalog()


def test_what_was_replaced_goes_although_what_replaced_it_was_evacuated(cluster: PlayedCluster) -> None:
    old = cluster.put("b", "k", 1)
    new = cluster.put("c", "k", 2)
    assert Evacuation(cluster.shelves["c"], "c", cluster.peers).evacuate([new.id], anywhere=True) == [True]
    for _ in range(2):
        cluster.catalog.drop_replaced()
        cluster.catalog.driver.run(deletion.finish_deletions)
        cluster.catalog.driver.step(replaced.try_again)
    assert cluster.holders(old.id) == {}
    assert cluster.get("b", "k") == 2
