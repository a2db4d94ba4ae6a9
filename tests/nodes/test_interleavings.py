"""What happens between the steps of a put, a deletion and a fetch, when others take steps of their own."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import outlive
from outlive.arrays.views import _live, live_view
from outlive.cluster.commit import commit
from outlive.cluster.wire import Listed, pack_request
from tests.conftest import ROOT
from tests.nodes.played import PlayedCluster, play


@pytest.fixture
def cluster(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedCluster]:
    root = f"{ROOT}/played-{request.node.name[:80]}"
    Path(root).mkdir(mode=0o700, parents=True)
    yield from play(root, 3, monkeypatch)


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
    catalog._doom("s", ["k"], {info.id})  # here the catalog may be killed
    assert [cluster.get(node, "k") for node in cluster.all] == [1, 1, 1]
    assert cluster.get("c", "k") == 1
    cluster.restart_catalog()
    assert [cluster.get(node, "k") for node in cluster.all] == [1, 1, 1]


def test_until_the_last_copy_is_deleted_everyone_reads_it(cluster: PlayedCluster) -> None:
    info = cluster.put("a", "k", 1)
    assert cluster.get("b", "k") == 1
    cluster.catalog._doom("s", ["k"], {info.id})
    assert [cluster.get(node, "k") for node in cluster.all] == [1, 1, 1]
    cluster.shelves["a"].delete(info.id, ("s", "k"))
    assert [cluster.get(node, "k") for node in cluster.all] == [1, 1, 1]  # a new catalog would keep the copy
    cluster.shelves["b"].delete(info.id, ("s", "k"))
    assert [cluster.get(node, "k") for node in cluster.all] == [None] * 3
    cluster.restart_catalog()
    assert [cluster.get(node, "k") for node in cluster.all] == [None] * 3


def test_a_live_view_of_a_deleted_array_answers_no_read(cluster: PlayedCluster) -> None:
    info = cluster.put("a", "k", 1, count=50_000)
    view = cluster.shelves["a"].view(info)
    cluster.catalog._doom("s", ["k"], {info.id})
    cluster.shelves["a"].delete(info.id, ("s", "k"))
    _live[info.id] = weakref.ref(view.base)
    assert live_view(info.id) is not None  # as in a process that did not delete it itself
    assert cluster.get("a", "k") is None
    assert cluster.get("b", "k") is None


def test_deleting_what_is_listed_and_not_yet_sealed(cluster: PlayedCluster) -> None:
    cluster.put("a", "k", 1)
    draft = cluster.draft("a", "k", 2)
    cluster.catalog.bind(pack_request([draft.info], "a", 0))
    cluster.catalog._doom("s", ["k"], {draft.info.id})
    assert [cluster.get(node, "k") for node in "bac"] == [
        2,
        2,
        2,
    ]


def test_a_second_deletion_does_not_end_before_the_first(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = cluster.put("a", "k", 1)
    cluster.catalog._doom("s", ["k"], {info.id})  # and its keeper restarts, which takes a while
    assert cluster.get("a", "k") == 1
    monkeypatch.setattr(outlive.Store, "_session", lambda _: cluster.session("b"))
    outlive.Store("s").delete("k")
    assert cluster.get("a", "k") is None


def test_an_array_that_is_lost_while_it_is_deleted_is_deleted(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = cluster.put("b", "k", 1)
    drop = cluster.catalog._drop

    def die_and_drop(holdings: list[Any]) -> None:
        cluster.kill("b")
        drop(holdings)

    monkeypatch.setattr(cluster.catalog, "_drop", die_and_drop)
    cluster.catalog.end([info.id])
    assert cluster.get("a", "k") is None
    assert not cluster.catalog._index.lost


def test_one_node_that_dies_does_not_take_a_replicated_array_that_it_overwrote(cluster: PlayedCluster) -> None:
    """Its put has not returned: its array had no second replica yet."""
    cluster.put("b", "k", 1, replicas=2)
    draft = cluster.draft("c", "k", 2, replicas=2)
    commit(cluster.session("c"), [draft])
    cluster.catalog._copying.add(draft.info.id)  # it is being copied
    cluster.catalog.drop_replaced()
    cluster.kill("c")
    assert [cluster.get(node, "k") for node in "ab"] == [1, 1]
    assert not cluster.catalog._index.lost
    cluster.restart_catalog()
    assert [cluster.get(node, "k") for node in "ab"] == [1, 1]
    cluster.catalog._multiply()
    assert sorted(cluster.catalog.kept_on(cluster.catalog._index.find("s", "k").info.id)) == ["a", "b"]


def test_what_was_overwritten_by_a_replicated_array_is_dropped_in_the_end(cluster: PlayedCluster) -> None:
    old = cluster.put("b", "k", 1, replicas=2)
    cluster.put("c", "k", 2, replicas=2)
    cluster.catalog.drop_replaced()
    assert cluster.holders(old.id) == {}
    assert [cluster.get(node, "k") for node in "abc"] == [2, 2, 2]


def test_what_a_lost_array_had_overwritten_never_comes_back(cluster: PlayedCluster) -> None:
    old = cluster.put("b", "k", 1)
    cluster.put("c", "k", 2)  # and its node dies before the old one's file is gone
    assert cluster.holders(old.id) == {"b": True}
    cluster.kill("c")
    lost = dict(cluster.catalog._index.lost)
    assert cluster.holders(old.id) == {}
    cluster.put("b", "other", 1)
    for info in (old,):  # nor if a keeper comes that still has it
        with cluster.catalog._lock:
            cluster.catalog._admit("b", [Listed(info, kept=True)])
    assert cluster.catalog._index.lost == lost and len(lost) == 1
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
