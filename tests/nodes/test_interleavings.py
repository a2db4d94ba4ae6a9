"""What happens between the steps of a put, a deletion and a fetch, when others take steps of their own."""

from __future__ import annotations

import json
import secrets
import shutil
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ray.exceptions import RayTaskError

import outlive
from outlive.arrays.ended import Why
from outlive.arrays.info import ArrayInfo
from outlive.arrays.lifetimes import TTL, Lifetime
from outlive.arrays.live import _live, live_view
from outlive.arrays.marks import evict
from outlive.arrays.put_options import PutOptions
from outlive.arrays.reader import Reader
from outlive.arrays.tend.fsck import check_arrays, check_shelf, clear_orphans
from outlive.arrays.writer import Writer
from outlive.catalog import losing, shelves
from outlive.catalog.losses import Lost
from outlive.catalog.wire import Found, Listed, Located, pack, pack_found, pack_request
from outlive.cluster import listing, ray_errors, transfer
from outlive.cluster.ending import end
from outlive.cluster.evacuation import Evacuation
from outlive.cluster.fetches import Fetches
from outlive.cluster.lines import WHERE
from outlive.cluster.port import Call, NoAnswer
from outlive.errors import StoreFull, StoreUnavailable
from outlive.store import private, reading
from outlive.store.check import check as check_cluster
from outlive.store.commit import commit
from outlive.store.deadlines import touch
from outlive.store.reading import by_handle
from outlive.store.replicas import FewerReplicas, replicate
from tests.conftest import ROOT, eventually
from tests.nodes.played import PlayedCluster, play


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[PlayedCluster]:
    root = f"{ROOT}/played-{request.node.name[:60]}-{secrets.token_hex(4)}"
    Path(root).mkdir(mode=0o700, parents=True)
    yield from play(root, 3)


def test_the_cluster_that_is_played_works(cluster: PlayedCluster) -> None:
    info = cluster.put("a", "k", 1)
    assert [cluster.get(node, "k") for node in cluster.all] == [1, 1, 1]
    assert cluster.holders(info.id) == {"a": True, "b": False, "c": False}
    cluster.put("b", "k", 2)
    assert [cluster.get(node, "k") for node in cluster.all] == [2, 2, 2]
    cluster.catalog.drop_replaced()
    assert cluster.holders(info.id) == {}
    assert cluster.catalog.end([cluster.put("c", "k", 3).id])
    assert [cluster.get(node, "k") for node in cluster.all] == [None] * 3
    two = cluster.put("b", "two", 4, replicas=2)
    assert sum(cluster.holders(two.id).values()) == 2


def test_what_is_deleted_while_it_is_overwritten_is_not_read_afterwards(cluster: PlayedCluster) -> None:
    old = cluster.put("a", "k", 1)
    draft = cluster.draft("a", "k", 2)
    cluster.catalog.bind(pack_request([draft.info], "a", 0))  # listed, not sealed: the name leads to the old one yet
    assert cluster.get("a", "k") == 1
    cluster.catalog.end([old.id])
    assert cluster.get("a", "k") == 2


def test_until_the_last_file_is_deleted_everyone_reads_it(cluster: PlayedCluster) -> None:
    info = cluster.put("a", "k", 1)
    catalog = cluster.catalog
    catalog.doom("k", info.id)  # here the catalog may be killed
    assert [cluster.get(node, "k") for node in cluster.all] == [1, 1, 1]
    assert cluster.get("c", "k") == 1
    cluster.restart_catalog()
    assert [cluster.get(node, "k") for node in cluster.all] == [1, 1, 1]


def test_until_the_last_copy_is_deleted_everyone_reads_it(cluster: PlayedCluster) -> None:
    info = cluster.put("a", "k", 1)
    assert cluster.get("b", "k") == 1
    cluster.catalog.doom("k", info.id)
    assert [cluster.get(node, "k") for node in cluster.all] == [1, 1, 1]
    cluster.shelves["a"].delete(info.id, ("s", "k"))
    assert [cluster.get(node, "k") for node in cluster.all] == [1, 1, 1]  # a new catalog would keep the copy
    cluster.shelves["b"].delete(info.id, ("s", "k"))
    assert [cluster.get(node, "k") for node in cluster.all] == [None] * 3
    cluster.restart_catalog()
    assert [cluster.get(node, "k") for node in cluster.all] == [None] * 3


def test_a_key_is_listed_as_long_as_its_array_is_read(cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever lists keys while one is being deleted gets the list once the deletion is over."""
    info, other = cluster.put("a", "k", 1), cluster.put("a", "other", 1)
    catalog, go_on, found = cluster.catalog, threading.Event(), list[Any]()

    def late(node: str, call: Call, make: Callable[[], Any]) -> Any:
        assert go_on.wait(60)
        return make()

    cluster.peers.instead["drop"] = late
    deleting = threading.Thread(target=catalog.end, args=([info.id],))
    deleting.start()
    eventually(lambda: catalog.index.doomed("s"))
    assert catalog.keys("s", "other") == ["other"]  # nothing is deleted there
    listing = [
        threading.Thread(target=lambda ask=ask: found.append(ask()))
        for ask in (lambda: catalog.keys("s", ""), lambda: catalog.count("s"))
    ]
    for thread in listing:
        thread.start()
    eventually(lambda: catalog.driver.waiting == len(listing))
    assert cluster.get("a", "k") == cluster.get("b", "k") == 1
    assert found == []
    go_on.set()
    for thread in (deleting, *listing):
        thread.join(60)
    assert sorted(found, key=str) == [1, ["other"]]
    assert cluster.get("b", "k") is None
    assert catalog.end([other.id]) == [other.id]
    assert catalog.count("s") == 0


def test_a_key_whose_deletion_nobody_confirms_is_waited_for_by_nobody(cluster: PlayedCluster) -> None:
    info = cluster.put("b", "k", 1)
    cluster.frozen.add("b")
    with pytest.raises(StoreUnavailable, match="did not confirm"):
        cluster.catalog.end([info.id])
    assert cluster.catalog.keys("s", "") == []
    cluster.frozen.clear()
    cluster.catalog.finish_deletions()
    assert cluster.catalog.count("s") == 0
    assert cluster.holders(info.id) == {}


def test_a_live_view_of_a_deleted_array_answers_no_read(cluster: PlayedCluster) -> None:
    info = cluster.put("a", "k", 1, count=50_000)
    view = Reader(cluster.shelves["a"]).view(info)
    cluster.catalog.doom("k", info.id)
    cluster.shelves["a"].delete(info.id, ("s", "k"))
    _live[info.id] = weakref.ref(view.base)
    assert live_view(info.id) is not None  # as in a process that did not delete it itself
    assert cluster.get("a", "k") is None
    assert cluster.get("b", "k") is None


def test_deleting_what_is_listed_and_not_yet_sealed(cluster: PlayedCluster) -> None:
    cluster.put("a", "k", 1)
    draft = cluster.draft("a", "k", 2)
    cluster.catalog.bind(pack_request([draft.info], "a", 0))
    cluster.catalog.doom("k", draft.info.id)
    assert [cluster.get(node, "k") for node in "bac"] == [
        2,
        2,
        2,
    ]


def test_a_deletion_whose_array_was_never_sealed_deletes_what_that_would_have_replaced(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The put came to nothing between the look at the key and the call: the former array stands again."""
    cluster.put("b", "k", 1)
    draft = cluster.draft("a", "k", 2)
    cluster.catalog.replace(pack_request([draft.info], "a", 0))
    real = cluster.catalog.end

    def take_back_first(array_ids: list[str]) -> list[str]:
        if array_ids == [draft.info.id]:
            draft.discard()
            cluster.catalog.reconcile("a", pack([]))
        return real(array_ids)

    monkeypatch.setattr(cluster.catalog, "end", take_back_first)
    monkeypatch.setattr(outlive.Store, "_session", lambda _: cluster.session("c"))
    outlive.Store("s").delete("k")
    assert [cluster.get(node, "k") for node in "abc"] == [None] * 3
    with pytest.raises(outlive.ArrayNotFound):
        outlive.Store("s").delete("k")


def test_a_node_that_dies_while_it_is_asked_for_an_array_is_named(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.put("b", "k", 1)
    session, verify = cluster.session("a"), cluster.catalog.verify

    def dies_first(array_id: str) -> bool:
        cluster.dead.add("b")
        return verify(array_id)

    def nothing(*_: Any, **__: Any) -> bytes:
        return json.dumps(Located([])).encode()  # b's file was removed

    monkeypatch.setattr(cluster.keepers["a"], "fetch", nothing)
    monkeypatch.setattr(cluster.catalog, "verify", dies_first)
    with pytest.raises(outlive.ArrayLost, match="with node b, the only node"):
        reading.read(session, "s", "k")


def test_a_second_deletion_does_not_end_before_the_first(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = cluster.put("a", "k", 1)
    cluster.catalog.doom("k", info.id)  # and its keeper restarts, which takes a while
    assert cluster.get("a", "k") == 1
    monkeypatch.setattr(outlive.Store, "_session", lambda _: cluster.session("b"))
    outlive.Store("s").delete("k")
    assert cluster.get("a", "k") is None


def test_an_array_that_is_lost_while_it_is_deleted_is_deleted(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = cluster.put("b", "k", 1)

    def die(node: str, call: Call, make: Callable[[], Any]) -> Any:
        cluster.kill("b")
        raise NoAnswer(node)

    cluster.peers.instead["drop"] = die
    cluster.catalog.end([info.id])
    assert cluster.get("a", "k") is None
    assert not cluster.catalog.index.lost


def test_one_node_that_dies_does_not_take_a_replicated_array_that_it_overwrote(cluster: PlayedCluster) -> None:
    """Its put has not returned: its array had no second replica yet."""
    cluster.put("b", "k", 1, replicas=2)
    draft = cluster.draft("c", "k", 2, replicas=2)
    commit(cluster.session("c"), [draft])
    cluster.kill("c")
    assert [cluster.get(node, "k") for node in "ab"] == [1, 1]
    assert not cluster.catalog.index.lost
    cluster.restart_catalog()
    assert [cluster.get(node, "k") for node in "ab"] == [1, 1]
    cluster.catalog.multiply()
    assert sorted(cluster.catalog.kept_on(cluster.catalog.index.find("s", "k").info.id)) == ["a", "b"]


def test_what_a_replicated_array_overwrote_goes_once_that_has_its_replicas(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = cluster.put("b", "k", 1, replicas=2)
    draft = cluster.draft("c", "k", 2, replicas=2)
    commit(cluster.session("c"), [draft])

    def check_and_drop(node: str, call: Call, make: Callable[[], Any]) -> Any:
        assert sum(cluster.holders(draft.info.id).values()) == 2
        return make()

    cluster.peers.instead["drop"] = check_and_drop
    cluster.catalog.drop_replaced()
    assert cluster.holders(old.id) == {}
    assert [cluster.get(node, "k") for node in "abc"] == [2, 2, 2]


def test_what_a_lost_array_had_overwritten_never_comes_back(cluster: PlayedCluster) -> None:
    old = cluster.put("b", "k", 1)
    cluster.put("c", "k", 2)  # and its node dies before the old one's file is gone
    assert cluster.holders(old.id) == {"b": True}
    cluster.kill("c")
    lost = list(cluster.catalog.index.lost)
    assert cluster.holders(old.id) == {}
    cluster.put("b", "other", 1)
    for info in (old,):  # nor if a keeper comes that still has it
        cluster.catalog.driver.step(shelves.admit, "b", [Listed(info, kept=True)])
    assert list(cluster.catalog.index.lost) == lost and len(lost) == 1
    with pytest.raises(outlive.ArrayLost):
        cluster.get("a", "k")
    cluster.put("a", "k", 3)
    assert [cluster.get(node, "k") for node in "ab"] == [3, 3]


def test_a_node_that_only_reads_sees_overwrites_and_deletions(cluster: PlayedCluster) -> None:
    cluster.restart_catalog(seen="a")  # the other keepers started after the catalog
    for value in (1, 2):
        info = cluster.put("a", "k", value)
        assert [cluster.get(node, "k") for node in "abc" * 2] == [value] * 6
        cluster.catalog.drop_replaced()
        assert sorted(cluster.shelves["c"].ids()) == [info.id]
    cluster.catalog.end([info.id])
    assert [cluster.get(node, "k") for node in "abc" * 2] == [None] * 6
    assert cluster.shelves["b"].ids() == cluster.shelves["c"].ids() == []


def test_a_put_waits_for_the_replicas_that_somebody_else_makes(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = cluster.draft("c", "k", 2, replicas=2)
    commit(cluster.session("c"), [draft])
    catalog = cluster.catalog
    counts: list[list[int]] = []
    replicate = threading.Thread(target=lambda: counts.append(catalog.replicate(pack([draft.info]), "c", 1)))

    def slow(node: str, call: Call, make: Callable[[], Any]) -> Any:
        if not counts and not replicate.is_alive():
            replicate.start()  # the put's, while the catalog's rounds copy it
            eventually(lambda: catalog.driver.waiting)
        return make()

    cluster.peers.instead["room"] = slow
    catalog.multiply()
    replicate.join()
    assert counts == [[2]]


def test_the_last_replica_stays_whoever_wants_to_drop_it(cluster: PlayedCluster) -> None:
    """Two nodes that have the only two replicas evacuate at the same time, and evict, while a third dies."""
    infos = [cluster.put("a", f"k{i}", i, replicas=2 if i % 2 else 1) for i in range(20)]
    for i in range(20):
        cluster.get("b", f"k{i}")
    barrier = threading.Barrier(3)
    kept_at_all_times: list[bool] = []

    def evacuate(node: str) -> None:
        shelf = cluster.shelves[node]
        barrier.wait()
        for info in infos:
            if not shelf.has(info.id):
                continue
            Evacuation(shelf, node, cluster.peers).evacuate([info.id], anywhere=True)
            evict(shelf, info.id)
            # It may go from one node to the other while we look at them in turn: twice at most, as each evacuates once.
            kept_at_all_times.append(any(any(cluster.holders(info.id).values()) for _ in range(3)))

    def die() -> None:
        barrier.wait()
        cluster.kill("c")

    threads = [threading.Thread(target=evacuate, args=(node,)) for node in "ab"] + [threading.Thread(target=die)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept_at_all_times and all(kept_at_all_times)
    assert [cluster.get("a", f"k{i}") for i in range(20)] == list(range(20))


def test_an_array_that_could_not_replace_another_nodes_leaves_that_in_place(cluster: PlayedCluster) -> None:
    cluster.put("b", "k", 1)
    draft = cluster.draft("a", "k", 2)
    cluster.catalog.replace(pack_request([draft.info], "a", 0))
    draft.discard()  # its file system refused to seal it; see `store.commit`
    cluster.catalog.reconcile("a", pack([]))
    assert [cluster.get(node, "k") for node in "abc"] == [1, 1, 1]
    cluster.catalog.drop_replaced()
    assert [cluster.get(node, "k") for node in "abc"] == [1, 1, 1]


def test_a_touch_while_it_is_copied_counts_for_the_copy(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = Writer(cluster.shelves["a"]).put(
        np.full(5, 1), store="s", options=PutOptions(lifetime=Lifetime(TTL, 0, 100.0))
    )
    join = Fetches._join

    def touch_first(self: Fetches, *args: Any, **options: Any) -> bool:
        touch(cluster.session("a"), info, "a")
        return join(self, *args, **options)

    monkeypatch.setattr(Fetches, "_join", touch_first)
    by_handle(cluster.session("b"), info, "a")
    assert cluster.shelves["b"].deadline(info) == cluster.shelves["a"].deadline(info)


def test_a_touch_while_many_are_copied_counts_for_the_copies(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = Writer(cluster.shelves["a"]).put(
        np.full(5, 1), store="s", options=PutOptions(lifetime=Lifetime(TTL, 0, 100.0))
    )
    join = Fetches._join_many

    def touch_first(self: Fetches, *args: Any, **options: Any) -> list[int]:
        if not cluster.holders(info.id).keys() - {"a"}:
            touch(cluster.session("a"), info, "a")
        return join(self, *args, **options)

    monkeypatch.setattr(Fetches, "_join_many", touch_first)
    cluster.keepers["b"].fetch_many(pack([info]), "a")
    assert cluster.shelves["b"].deadline(info) == cluster.shelves["a"].deadline(info)


def test_an_array_without_a_key_that_is_deleted_while_it_is_copied_stays_deleted(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = Writer(cluster.shelves["a"]).put(np.full(5, 1), store="s")
    monkeypatch.setattr(outlive.Store, "_session", lambda _: cluster.session("a"))
    real = transfer.mark

    def delete_first(*args: Any, **options: Any) -> bool:
        outlive.Store("s").delete(outlive.ArrayHandle(info, "a"))
        return real(*args, **options)

    monkeypatch.setattr(transfer, "mark", delete_first)
    with pytest.raises(outlive.ArrayNotFound):
        by_handle(cluster.session("b"), info, "a")
    assert cluster.holders(info.id) == {}


def test_what_replaced_an_array_that_was_looked_for_and_is_being_deleted_is_read(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.put("a", "k", 1)
    bring = reading._bring

    def replace_and_begin_to_delete(*args: Any, **options: Any) -> Any:
        monkeypatch.setattr(reading, "_bring", bring)
        info = cluster.put("a", "k", 2)
        cluster.catalog.drop_replaced()
        cluster.catalog.doom("k", info.id)
        return bring(*args, **options)

    monkeypatch.setattr(reading, "_bring", replace_and_begin_to_delete)
    assert cluster.get("b", "k") == 2  # else it would read nothing, and another 2 afterwards
    assert cluster.get("c", "k") == 2


def test_no_room_is_looked_for_where_no_node_is_left(cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    four = cluster.put("a", "four", 1, replicas=4)
    three = cluster.put("a", "three", 1, replicas=3)
    assert cluster.holders(four.id) == cluster.holders(three.id) == {"a": True, "b": True, "c": True}
    cluster.kill("b")
    looked: list[str] = []
    cluster.peers.instead["room"] = lambda node, call, make: looked.append(node) or make()
    cluster.catalog.multiply()  # every second, of thousands of arrays
    assert looked == []
    assert cluster.holders(four.id) == {"a": True, "c": True}


def test_what_is_given_back_to_a_node_that_is_about_to_drop_it_stays(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two nodes hand each other their arrays: the first has been told that it may drop its own, and has not yet."""
    info = cluster.put("a", "k", 1)
    leave = cluster.catalog.leave

    def evacuate_the_other(packed: bytes, node: str) -> list[bool]:
        answer = leave(packed, node)
        monkeypatch.setattr(cluster.catalog, "leave", leave)
        cluster.kill("c")  # else it would be the one
        Evacuation(cluster.shelves["b"], "b", cluster.peers).evacuate([info.id], anywhere=True)
        return answer

    assert cluster.get("b", "k") == 1
    monkeypatch.setattr(cluster.catalog, "leave", evacuate_the_other)
    Evacuation(cluster.shelves["a"], "a", cluster.peers).evacuate([info.id], anywhere=True)
    assert any(cluster.holders(info.id).values())
    assert [cluster.get(node, "k") for node in "ab"] == [1, 1]
    assert cluster.catalog.kept_on(info.id) == [node for node, kept in cluster.holders(info.id).items() if kept]


# --- what the catalog knows of a shelf is never older than what is read there


def what_is_on(cluster: PlayedCluster, node: str) -> tuple[str, bytes]:
    """What `check` tells the catalog of a shelf."""
    return node, pack(info for info in cluster.shelves[node].scan() if info.key is not None)


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_check_beside_reads_forgets_no_copy(cluster: PlayedCluster, replicas: int) -> None:
    report = what_is_on(cluster, "b")
    cluster.put("a", "k", 1, replicas=replicas)
    assert [cluster.get(node, "k") for node in "abc"] == [1, 1, 1]
    cluster.catalog.reconcile(*report)
    cluster.put("a", "k", 2)
    cluster.catalog.drop_replaced()
    assert [cluster.get(node, "k") for node in "abc"] == [2, 2, 2]
    cluster.catalog.end([cluster.catalog.index.find("s", "k").info.id])
    assert [cluster.get(node, "k") for node in "abc"] == [None] * 3


def test_a_check_forgets_a_copy_that_is_gone(cluster: PlayedCluster) -> None:
    info = cluster.put("a", "k", 1)
    assert cluster.get("b", "k") == 1
    evict(cluster.shelves["b"], info.id)
    cluster.catalog.reconcile(*what_is_on(cluster, "b"))
    assert list(cluster.catalog.index.holders(info.id)) == ["a"]


@pytest.mark.parametrize("listed_by", ["a new catalog", "the same catalog"])
@pytest.mark.parametrize("replicas", [1, 3])
def test_a_copy_is_not_sealed_behind_a_listing(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch, listed_by: str, replicas: int
) -> None:
    shelf = cluster.shelves["b"]
    seal_copy = shelf.seal_copy

    def list_first(*args: Any) -> None:
        monkeypatch.setattr(shelf, "seal_copy", seal_copy)
        if listed_by == "a new catalog":
            cluster.restart_catalog()
        else:
            cluster.catalog.welcome("b")
        seal_copy(*args)

    if replicas == 1:
        cluster.put("a", "k", 1)
    monkeypatch.setattr(shelf, "seal_copy", list_first)
    if replicas > 1:
        cluster.put("a", "k", 1, replicas=replicas)
    assert cluster.get("b", "k") == 1
    cluster.put("a", "k", 2)
    cluster.catalog.drop_replaced()
    assert [cluster.get(node, "k") for node in "abc"] == [2, 2, 2]


def test_what_is_deleted_while_a_shelf_is_listed_does_not_come_back(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    info, kept = cluster.put("b", "k", 1), cluster.put("b", "other", 2)
    keeper = cluster.keepers["b"]
    listing = keeper.listing_part

    def delete_then_answer(after: str | None) -> tuple[int, bytes, str | None]:
        monkeypatch.setattr(keeper, "listing_part", listing)
        answer = listing(after)
        cluster.catalog.end([info.id])
        return answer

    monkeypatch.setattr(keeper, "listing_part", delete_then_answer)
    cluster.catalog.welcome("b")
    assert cluster.catalog.keys("s", "") == ["other"]
    assert [cluster.get(node, "k") for node in "abc"] == [None] * 3
    assert [cluster.get(node, "other") for node in "abc"] == [2] * 3
    assert cluster.catalog.kept_on(kept.id) == ["b"]


def test_a_copy_that_is_deleted_while_a_silent_node_is_listed_does_not_come_back(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = cluster.put("a", "k", 1, replicas=2)
    (other,) = [node for node in cluster.holders(info.id) if node != "a"]
    cluster.frozen.add(other)
    catalog = cluster.restart_catalog()
    cluster.frozen.clear()
    keeper = cluster.keepers[other]
    listing = keeper.listing_part

    def answer_after_deletion(after: str | None) -> tuple[int, bytes, str | None]:
        monkeypatch.setattr(keeper, "listing_part", listing)
        answer = listing(after)
        catalog.end([info.id])
        return answer

    monkeypatch.setattr(keeper, "listing_part", answer_after_deletion)
    catalog.mend()
    assert catalog.keys("s", "") == []
    assert [cluster.get(node, "k") for node in "abc"] == [None] * 3


@pytest.mark.parametrize("times", [0, 1, 5])
def test_a_listing_in_parts_is_of_one_epoch(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """What is sealed as of a later epoch, in between, is listed too, and what is deleted is not."""
    monkeypatch.setattr(listing, "AT_A_TIME", 2)
    infos = [cluster.put("b", f"k{number}", number) for number in range(7)]
    keeper, left = cluster.keepers["b"], [times]
    part, asked = keeper.listing_part, list[str | None]()

    def change_then_answer(after: str | None) -> tuple[int, bytes, str | None]:
        asked.append(after)
        answer = part(after)
        if after is not None and left[0]:
            left[0] -= 1
            draft = cluster.draft("b", f"late{left[0]}", 100)
            draft.seal(cluster.shelves["b"].raise_epoch())
            cluster.catalog.end([infos.pop().id])
        return answer

    monkeypatch.setattr(keeper, "listing_part", change_then_answer)
    cluster.catalog.welcome("b")
    late = [f"late{number}" for number in range(times)]
    assert cluster.catalog.keys("s", "") == sorted([*(info.key or "" for info in infos), *late])
    assert asked.count(None) == {0: 1, 1: 2, 5: 3}[times]  # then, in one call


def test_a_part_that_another_process_lists(cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keeper is stopped after the first part: what answers in its stead has not listed that."""
    monkeypatch.setattr(listing, "AT_A_TIME", 2)
    infos = [cluster.put("b", f"k{number}", number) for number in range(7)]
    keeper = cluster.keepers["b"]
    part = keeper.listing_part

    def answer(after: str | None) -> tuple[int, bytes, str | None]:
        return part(after) if after is None else listing.Listing(cluster.shelves["b"]).part(after)

    monkeypatch.setattr(keeper, "listing_part", answer)
    cluster.catalog.welcome("b")
    assert cluster.catalog.keys("s", "") == [info.key for info in infos]


def test_a_listing_does_not_take_what_an_unsealed_array_would_replace(cluster: PlayedCluster) -> None:
    old = cluster.put("b", "k", 1)
    assert cluster.get("c", "k") == 1
    draft = cluster.draft("a", "k", 2)
    cluster.catalog.replace(pack_request([draft.info], "a", 0))
    cluster.catalog.welcome("a")  # and the writer has died
    assert [cluster.get(node, "k") for node in "abc"] == [1, 1, 1]
    assert dict(cluster.catalog.index.holders(old.id)) == cluster.holders(old.id)


# --- a node that does not do what it is asked


def refuse(*_: object) -> None:
    raise outlive.StoreFull("no room")


def test_a_put_fails_that_could_not_forbid_the_old_name(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = cluster.put("a", "k", 1)
    assert cluster.get("b", "k") == 1
    keeper = cluster.keepers["b"]
    with monkeypatch.context() as patch:
        patch.setattr(keeper, "forbid", refuse)
        with pytest.raises(outlive.StoreUnavailable, match="node b .*Nothing was changed"):
            cluster.put("a", "k", 2)
        assert [cluster.get(node, "k") for node in "abc"] == [1, 1, 1]
        assert cluster.holders(old.id) == {"a": True, "b": False, "c": False}
    cluster.put("a", "k", 2)
    assert [cluster.get(node, "k") for node in "abc"] == [2, 2, 2]


@pytest.mark.parametrize("home", ["a", "b"])
def test_a_deletion_needs_no_room(cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    info = cluster.put(home, "k", 1)
    assert [cluster.get(node, "k") for node in "abc"] == [1, 1, 1]
    monkeypatch.setattr(cluster.keepers["b"], "forbid", refuse)
    cluster.catalog.end([info.id])
    assert [cluster.get(node, "k") for node in "abc"] == [None] * 3
    assert cluster.holders(info.id) == {}


def test_a_deletion_that_a_node_does_not_confirm_says_so_and_goes_on(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = cluster.put("b", "k", 1)
    with monkeypatch.context() as patch:
        patch.setattr(cluster.keepers["b"], "drop", refuse)
        with pytest.raises(outlive.StoreUnavailable, match="node b did not confirm"):
            cluster.catalog.end([info.id])
        cluster.catalog.finish_deletions()
        assert cluster.get("b", "k") == 1
    cluster.catalog.finish_deletions()
    assert [cluster.get(node, "k") for node in "abc"] == [None] * 3
    assert cluster.holders(info.id) == {}


# --- puts that come to nothing


@pytest.mark.parametrize("heard", [False, True])
@pytest.mark.parametrize("when", ["before it is listed", "after it is listed", "later"])
def test_an_interrupted_put_leaves_nothing(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch, when: str, heard: bool
) -> None:
    old = cluster.put("b", "k", 1)
    catalog, session = cluster.catalog, cluster.session("a")
    late: list[bytes] = []

    def interrupted(request: bytes) -> bytes:
        if when == "after it is listed":
            catalog.replace(request)
        late.append(request)
        raise KeyboardInterrupt

    shelf = cluster.shelves["a"]
    drafts = [cluster.draft("a", key, 2) for key in ("k", "new")]
    with monkeypatch.context() as patch:
        patch.setattr(catalog, "bind", interrupted)
        if not heard:
            patch.setattr(catalog, "take_off", refuse)
        with pytest.raises(KeyboardInterrupt):
            commit(session, drafts)
    assert shelf.ledger.batches == 0 and shelf.ledger.used == 0 and shelf.recount() == 0
    if when == "later":
        catalog.replace(late[0])  # a call that was given up, and reaches the catalog all the same
    if heard:
        assert catalog.keys("s", "") == ["k"]
    assert [cluster.get(node, "k") for node in "abc"] == [1, 1, 1]
    assert [cluster.get(node, "new") for node in "abc"] == [None] * 3
    catalog.drop_replaced()
    assert cluster.holders(old.id)["b"]
    cluster.put("a", "k", 3)
    assert [cluster.get(node, "k") for node in "abc"] == [3, 3, 3]


def test_a_batch_that_is_interrupted_once_a_reader_saw_it_is_whole(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = cluster.session("a")
    catalog, shelf = cluster.catalog, cluster.shelves["a"]
    bind = catalog.bind

    def read_and_interrupt(request: bytes) -> bytes:
        bind(request)
        assert cluster.get("c", "x") == 2
        raise KeyboardInterrupt

    monkeypatch.setattr(catalog, "bind", read_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        commit(session, [cluster.draft("a", key, 2) for key in ("w", "x", "y")])
    assert [cluster.get("b", key) for key in ("w", "x", "y")] == [2, 2, 2]
    assert shelf.ledger.batches == 0


def test_a_batch_that_is_interrupted_as_it_is_sealed_is_whole_though_the_catalog_was_replaced_meanwhile(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ("w", "x", "y")
    for key in keys:
        cluster.put("a", key, 1)
    session, shelf = cluster.session("a"), cluster.shelves["a"]
    drafts = [cluster.draft("a", key, 2) for key in keys]
    point, pointed = shelf.names.point, list[str]()

    def restart(request: bytes) -> bytes:
        return cluster.restart_catalog().bind(request)

    def interrupt_at_second(info: ArrayInfo, has: Callable[[str], bool]) -> None:
        pointed.append(info.id)
        if len(pointed) == 2:
            raise KeyboardInterrupt
        point(info, has)

    monkeypatch.setattr(cluster.catalog, "bind", restart)
    monkeypatch.setattr(shelf.names, "point", interrupt_at_second)
    with pytest.raises(KeyboardInterrupt):
        commit(session, drafts)
    assert [cluster.get("b", key) for key in keys] in ([1, 1, 1], [2, 2, 2])
    assert shelf.ledger.batches == 0


def test_a_put_that_failed_takes_nothing_with_its_node(cluster: PlayedCluster) -> None:
    """Its node dies with the catalog, soon after."""
    old = cluster.put("b", "k", 1)
    assert cluster.get("c", "k") == 1  # it has a copy
    cluster.frozen.add("c")
    with pytest.raises(StoreUnavailable, match="node c"):
        commit(cluster.session("a"), [cluster.draft("a", "k", 2)])
    cluster.frozen.discard("c")
    shelf = cluster.shelves["b"]
    assert shelf.names.successors(old)
    cluster.catalog.driver.run(losing.look_at_nodes)
    eventually(lambda: not shelf.names.successors(old))
    assert shelf.names.knows_later(old), "what was forbidden stays so"
    cluster.catalog.save()
    cluster.dead.add("a")
    cluster.restart_catalog()
    assert [cluster.get(node, "k") for node in "bc"] == [1, 1]


# --- readers see one order


def test_a_handle_is_of_what_every_node_reads(cluster: PlayedCluster) -> None:
    cluster.put("a", "k", 1)
    draft = cluster.draft("a", "k", 2)
    cluster.catalog.bind(pack_request([draft.info], "a", 0))
    assert cluster.get("a", "k") == 1  # the writer is stopped here
    found = reading.info(cluster.session("b"), "s", "k")
    assert found is not None and found.info.id == draft.info.id
    assert cluster.get("a", "k") == 2


@pytest.mark.parametrize("whole", [True, False])
def test_what_goes_before_others_keep_it_is_not_shown(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    """The reader's node has no room for a copy: nothing of the new array is left."""
    old = cluster.put("a", "k", 1)
    draft = cluster.draft("c", "k", 2, replicas=2)
    commit(cluster.session("c"), [draft])  # its put makes the replicas next
    session, secure = cluster.session("b"), cluster.catalog.secure

    def full(*_: Any) -> None:
        raise StoreFull("no room")

    def dies_first(array_ids: list[str]) -> None:
        cluster.kill("c")
        secure(array_ids)

    monkeypatch.setattr(reading, "fetch", full)
    monkeypatch.setattr(cluster.catalog, "secure", dies_first)
    if whole:
        array = reading.read(session, "s", "k")
        assert array is not None and array[0] == 1
    else:
        found = reading.info(session, "s", "k")
        assert found is not None and found.info.id == old.id


def read_many(cluster: PlayedCluster, node: str, keys: list[str]) -> list[int | None]:
    arrays = reading.read_many(cluster.session(node), "s", keys)
    return [None if array is None else int(array[0]) for array in arrays]


def put_many(cluster: PlayedCluster, node: str, keys: list[str], value: int) -> None:
    commit(cluster.session(node), [cluster.draft(node, key, value) for key in keys])
    cluster.catalog.drop_replaced()


@pytest.mark.parametrize("count", [2, 10])
@pytest.mark.parametrize("node", ["a", "b"])
def test_of_a_batch_that_comes_between_all_is_read_or_nothing(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch, node: str, count: int
) -> None:
    keys = [f"k{i}" for i in range(count)]
    put_many(cluster, "a", keys, 1)
    named, value = Reader.named, [1]

    def put_between(reader: Reader, store: str, key: str) -> Any:
        found = named(reader, store, key)
        if key != keys[-1]:  # after each array that is read
            value[0] += 1
            put_many(cluster, "a", keys, value[0])
        return found

    for known in (False, True):
        if known:
            assert len(set(read_many(cluster, node, keys))) == 1
        with monkeypatch.context() as patch:
            patch.setattr(Reader, "named", put_between)
            found = read_many(cluster, node, keys)
        assert len(set(found)) == 1 and found[0] == value[0]


def test_a_batch_is_read_whose_arrays_are_replaced_while_they_are_fetched(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, value = [f"k{i}" for i in range(5)], [1]
    put_many(cluster, "a", keys, 1)
    bring = reading._bring

    def put_first(*args: Any, **options: Any) -> Any:
        value[0] += 1
        put_many(cluster, "a", keys, value[0])
        return bring(*args, **options)

    monkeypatch.setattr(reading, "_bring", put_first)
    for _ in range(3):
        before = value[0]
        assert read_many(cluster, "b", keys) == [before] * 5
    assert cluster.get("b", "k0") is not None  # one key that is replaced each time it is looked for
    assert cluster.shelves["a"].recount() == 0
    cluster.catalog.drop_replaced()
    assert len(cluster.shelves["a"].ids()) == 5  # nothing is held any more


def test_a_dead_writers_call_that_comes_late_takes_no_key(cluster: PlayedCluster) -> None:
    cluster.put("b", "k", 1)
    draft = cluster.draft("a", "k", 2)
    draft.settled = True  # nobody else discards it
    shelf, catalog = cluster.shelves["a"], cluster.catalog
    assert shelf._staging is not None
    shelf._staging.close()  # its writer is dead
    shelf._staging = None
    assert [one.problem for one in clear_orphans(shelf, lambda ids: catalog.listed(ids, "a", shelf.ledger.epoch))] == [
        "abandoned"
    ]
    catalog.replace(pack_request([draft.info], "a", 0))
    assert [cluster.get(node, "k") for node in "abc"] == [1, 1, 1]


@pytest.mark.parametrize("again", [False, True])
def test_a_copy_whose_keeper_died_is_not_sealed_behind_the_catalogs_back(cluster: PlayedCluster, again: bool) -> None:
    """The catalog lists the array, and does not know of the copy: nobody would tell this node that it is replaced."""
    info = cluster.put("a", "k", 1)
    shelf, catalog = cluster.shelves["b"], cluster.catalog
    draft = transfer.copy(shelf, transfer.Source(cluster.peers, "a", 1 << 20), info.id, kept=False)
    draft.settled = True  # its keeper is killed here: nobody else discards it
    assert shelf._staging is not None
    shelf._staging.close()
    shelf._staging = None
    if again:
        assert cluster.get("b", "k") == 1  # the keeper that started anew has another copy
    problems = [one.problem for one in clear_orphans(shelf, lambda ids: catalog.listed(ids, "b", shelf.ledger.epoch))]
    assert problems == ["abandoned"] and shelf.has(info.id) == again
    assert not shelf.ended.find(info.id) and shelf.recount() == 0
    cluster.put("a", "k", 2)
    assert [cluster.get(node, "k") for node in "abc"] == [2, 2, 2]


def test_a_copy_that_two_keepers_make_is_counted_once(cluster: PlayedCluster) -> None:
    info = cluster.put("a", "k", 1)
    shelf = cluster.shelves["b"]
    twice = [outlive.arrays.shelf.Shelf(shelf.path), shelf]
    drafts = [transfer.copy(one, transfer.Source(cluster.peers, "a", 1 << 20), info.id, kept=False) for one in twice]
    for draft in drafts:
        draft.listed_in = shelf.ledger.epoch
        draft.shelf.seal_copy(draft)
    assert shelf.recount() == 0 and shelf.has(info.id)


def test_a_node_that_has_an_array_no_more_says_so_through_ray() -> None:
    """It is no failure: who asked goes on with another node."""
    error = RayTaskError("send", "Traceback", transfer.NotThere("id"), proctitle="", pid=1, ip="ip")
    assert isinstance(ray_errors.told(error.as_instanceof_cause()), transfer.NotThere)


@pytest.mark.parametrize("key", ["k", None])
def test_a_deletion_asks_a_node_that_has_not_said_yet_what_it_has(cluster: PlayedCluster, key: str | None) -> None:
    """Its copy would come back otherwise, once it is listed."""
    info = cluster.put("a", "k", 1) if key else Writer(cluster.shelves["a"]).put(np.full(5, 1), store="s")
    assert by_handle(cluster.session("b"), info, "a")[0] == 1
    cluster.frozen.add("b")
    catalog = cluster.restart_catalog()

    def delete() -> None:
        if key:
            catalog.end([info.id])
        else:
            catalog.erase(pack([info]), "a")

    with pytest.raises(outlive.errors.StoreUnavailable, match="did not confirm"):
        delete()
    cluster.frozen.clear()
    delete()
    catalog = cluster.restart_catalog()
    assert cluster.holders(info.id) == {}
    assert cluster.get("a", "k") is None


def test_a_call_of_touch_that_comes_late_takes_no_time_from_an_array(cluster: PlayedCluster) -> None:
    """A keeper that was stopped makes it, after another process of its node made later ones."""
    info = Writer(cluster.shelves["a"]).put(np.full(5, 1), options=PutOptions(lifetime=Lifetime(TTL, 60.0)))
    early = cluster.keepers["a"].deadline_ns(info.id)
    cluster.keepers["a"].touch(info.id, early + 50 * 10**9)
    assert cluster.keepers["a"].touch(info.id, early + 10 * 10**9)
    assert cluster.keepers["a"].deadline_ns(info.id) == early + 50 * 10**9


def test_no_copy_is_dropped_for_a_catalog_that_does_not_know_it(cluster: PlayedCluster) -> None:
    """Two nodes that leave at once would drop both, if the catalog started anew and has heard of neither."""
    info = cluster.put("b", "k", 1)
    assert cluster.catalog.evacuate(pack([info]), "b", 1, True) == [True]
    keepers = [node for node, kept in cluster.holders(info.id).items() if kept]
    assert len(keepers) == 2
    cluster.frozen.update(keepers)
    catalog = cluster.restart_catalog()
    assert [catalog.leave(pack([info]), node) for node in keepers] == [[False], [False]]
    cluster.frozen.clear()
    catalog.mend()
    assert [catalog.leave(pack([info]), node) for node in keepers] == [[True], [False]]


def test_what_a_catalog_notes_while_its_successor_waits_for_it_is_known_to_that(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on until its lease is over, and says until then that an array is lost."""
    cluster.put("b", "k", 1)

    def goes_on(_: float) -> None:
        cluster.kill("b")
        cluster.catalog.save()
        with pytest.raises(outlive.ArrayLost):
            cluster.get("c", "k")

    monkeypatch.setattr(cluster.peers, "sleep", goes_on)
    cluster.peers.save(WHERE, json.dumps(["the turn before has another address", 7]).encode())
    cluster.restart_catalog()
    assert not cluster.lives("b")
    with pytest.raises(outlive.ArrayLost):
        cluster.get("c", "k")


@pytest.mark.parametrize("node", ["a", "b"])
def test_an_epoch_that_is_raised_late_loses_no_array(cluster: PlayedCluster, node: str) -> None:
    """A keeper that was stopped makes a call that another process of its node has made in its stead."""
    cluster.put("a", "k", 1)
    draft = cluster.draft("a", "k", 2)
    cluster.catalog.bind(pack_request([draft.info], "a", 0))
    cluster.keepers["a"].holds_from_now([])
    assert cluster.get(node, "k") == 1
    commit(cluster.session("a"), [draft])
    assert cluster.get(node, "k") == 2


@pytest.mark.parametrize("node", ["b", "c"])
def test_what_was_replaced_is_not_read_while_the_node_that_replaced_it_is_silent(
    cluster: PlayedCluster, node: str
) -> None:
    cluster.put("b", "k", 1)
    cluster.put("b", "other", 1)
    cluster.put("a", "k", 2)  # its put has returned, and what it replaced is not dropped yet
    cluster.frozen.add("a")
    catalog = cluster.restart_catalog()
    with pytest.raises(outlive.errors.StoreUnavailable, match="may be on node a"):
        cluster.get(node, "k")
    assert cluster.get(node, "other") == 1
    cluster.frozen.clear()
    catalog.mend()
    assert cluster.get(node, "k") == 2


def test_a_node_whose_disk_was_cleared_is_listed(cluster: PlayedCluster) -> None:
    """Else nobody there could put by key, or read what others have, until its keeper has made the folders again."""
    info, shelf = cluster.put("b", "k", 1), cluster.shelves["b"]
    shelf.spill_to(f"{ROOT}/played-disk")
    assert shelf.disk is not None
    shutil.rmtree(shelf.disk.path)
    cluster.restart_catalog()
    assert cluster.catalog.find("s", ["k"]) == pack_found([Found(info, ["b"], epoch=shelf.ledger.epoch)])
    cluster.put("b", "k", 2)
    assert [cluster.get(node, "k") for node in cluster.all] == [2, 2, 2]


def test_fewer_replicas_are_warned_of_once(cluster: PlayedCluster) -> None:
    """As long as it is the same that is to be said: a node may have a copy less, for it did not answer in time."""
    infos = [cluster.put("a", f"k{i}", 1) for i in range(3)]
    kept = [2, 2, 1]
    cluster.catalog.replicate = lambda *_: [kept.pop(0)]  # type: ignore[method-assign]
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("default")
        for info in infos:
            replicate(cluster.session("a"), [info._replace(replicas=3)])
        cluster.catalog.replicate = lambda *_: [3]  # type: ignore[method-assign]
        replicate(cluster.session("a"), [infos[0]._replace(replicas=3)])
    assert [str(one.message).partition(":")[0] for one in warned] == [
        "replicas=3, but only 2 so far",
        "replicas=3, but only 1 so far",
    ]
    assert {(one.category, one.filename) for one in warned} == {(FewerReplicas, __file__)}


def test_a_check_asks_keepers_in_steps_while_arrays_come_and_go(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of its calls is about a whole shelf. What came or went in between is no finding."""
    steps, infos = list[int](), [cluster.put("b", f"k{i}", i) for i in range(25)]
    session = cluster.session("a")

    def described(node: str, call: Call, make: Callable[[], Any]) -> Any:
        steps.append(len(call.args[0]))
        found = make()
        if len(steps) == 1:
            cluster.put("b", "new", 1)
            cluster.catalog.end([infos[0].id])
            cluster.put("b", "k1", 7)
            cluster.catalog.drop_replaced()
        return found

    cluster.peers.instead["describe"] = described
    found = {"check_shelf": check_shelf(cluster.shelves["b"])}
    monkeypatch.setattr(session, "ask_each", lambda method: [("b", found[method])], raising=False)
    real = session.ask_node
    monkeypatch.setattr(
        session,
        "ask_node",
        lambda node, method, ids: (
            check_arrays(cluster.shelves[node], ids) if method == "check_arrays" else real(node, method, ids)
        ),
    )
    monkeypatch.setattr("outlive.store.check._STEP_ARRAYS", 10)
    assert check_cluster(session) == []
    assert steps == [10, 10, 5]
    assert cluster.catalog.count("s") == 25
    assert [cluster.get("c", key) for key in ("k0", "k1", "k2", "new")] == [None, 7, 2, 1]


# --- a process that still looks at what it read


def look_at(cluster: PlayedCluster, node: str, info: ArrayInfo) -> Any:
    """As a process of a node does that has read a key twice, and keeps what it read."""
    session = cluster.session(node)
    for _ in range(2):
        view = reading.read(session, "s", info.key or "")
    assert view is not None
    assert cluster.shelves[node].names.remembered("s", info.key or "") == info
    return view


def forget_nothing(info: ArrayInfo, view: Any) -> None:
    """What another process deletes, this one does not hear of."""
    _live[info.id] = weakref.ref(view.base)


@pytest.mark.parametrize("then", ["overwritten", "deleted"])
@pytest.mark.parametrize("forgotten_by", ["a new catalog", "a check"])
@pytest.mark.parametrize("gone", ["evicted", "at its deadline"])
def test_who_looks_at_a_copy_that_was_evicted_reads_what_comes_after(
    cluster: PlayedCluster, then: str, forgotten_by: str, gone: str
) -> None:
    """Nobody asks a node any more on which no copy is."""
    info, shelf = cluster.put("a", "k", 1), cluster.shelves["b"]
    view = look_at(cluster, "b", info)
    if gone == "evicted":
        assert evict(shelf, info.id)
    else:
        end(shelf, lambda ids: None, [info.id], Why.TTL)
    forget_nothing(info, view)
    if forgotten_by == "a new catalog":
        cluster.restart_catalog()
    else:
        cluster.catalog.reconcile(*what_is_on(cluster, "b"))
    if then == "overwritten":
        cluster.put("a", "k", 2)
    else:
        cluster.catalog.end([info.id])
    assert cluster.get("b", "k") == (2 if then == "overwritten" else None)


def test_who_looks_at_what_a_lost_array_had_replaced_learns_that_it_is_lost(cluster: PlayedCluster) -> None:
    old = cluster.put("b", "k", 1)
    view = look_at(cluster, "b", old)
    cluster.put("c", "k", 2)
    cluster.kill("c")
    forget_nothing(old, view)
    with pytest.raises(outlive.ArrayLost):
        cluster.get("b", "k")


def test_who_looks_at_an_old_array_of_a_node_that_was_silent_reads_what_is_there(cluster: PlayedCluster) -> None:
    """Its node is listed when what replaced the array has been lost: it is dropped."""
    old = cluster.put("b", "k", 1)
    view = look_at(cluster, "b", old)
    catalog = cluster.catalog
    catalog.index.unbind("s", "k", old.id)
    catalog.index.lost.add(Lost(old._replace(id="0" * 32, version=old.version + 1), "c", 1.0))
    catalog.driver.run(shelves.join, "b")
    eventually(lambda: not cluster.shelves["b"].has(old.id))
    forget_nothing(old, view)
    assert not cluster.shelves["b"].has(old.id)
    with pytest.raises(outlive.ArrayLost):
        cluster.get("b", "k")


def test_a_copy_that_was_evicted_leaves_no_way_back_to_what_it_had_replaced(cluster: PlayedCluster) -> None:
    """That is still on the node, as the one that replaced it is silent; and so it is when a catalog starts."""
    cluster.put("b", "k", 1)
    new = cluster.put("c", "k", 2)
    assert cluster.get("b", "k") == 2
    assert evict(cluster.shelves["b"], new.id)
    cluster.frozen.add("c")
    cluster.restart_catalog()
    for node in "ab":
        with pytest.raises(StoreUnavailable, match="may be on node c"):
            cluster.get(node, "k")


@pytest.mark.parametrize("count", [10, 100_000])
def test_a_private_array_of_one_that_is_deleted_before_it_is_mapped_again(cluster: PlayedCluster, count: int) -> None:
    shelf, reader = cluster.shelves["a"], Reader(cluster.shelves["a"])
    sessions: Any = [lambda: SimpleNamespace(reader=reader)]
    info = Writer(shelf).put(np.asfortranarray(np.ones((2, count))))
    view = reader.view(info)
    kept = private.private(info, view, sessions=sessions)
    shelf.delete(info.id)
    gone = private.private(info, view, sessions=sessions)
    for number, array in enumerate([kept, gone]):
        assert array.flags.f_contiguous and array.sum() == 2 * count
        array *= number
    assert view.sum() == 2 * count and not view.flags.writeable
