"""Reading, outcome by outcome: here, elsewhere, gone, moved. Without Ray: the cluster is played in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from outlive.arrays.live import forget
from outlive.errors import ArrayLost, ArrayNotFound, StoreFull, StoreUnavailable
from outlive.store import reading
from outlive.store.reading import by_handle
from tests.conftest import ROOT
from tests.nodes.played import PlayedCluster, play


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[PlayedCluster]:
    Path(ROOT).mkdir(mode=0o700, exist_ok=True)
    yield from play(f"{ROOT}/{request.node.name[:60]}", 3)


def refuse(*_: Any, **__: Any) -> bytes:
    raise StoreFull("no room")


def say_that_it_came(*_: Any, **__: Any) -> None:
    """And it went as soon as it came: others needed the room."""


@pytest.mark.parametrize("fetch", [refuse, say_that_it_came])
def test_where_no_copy_can_stay_its_bytes_are_read(cluster: PlayedCluster, fetch: Any) -> None:
    info = cluster.put("a", "k", 1)
    cluster.peers.instead["fetch"] = fetch
    array = by_handle(cluster.session("b"), info, "a")
    assert array.tolist() == [1] * 5 and not array.flags.writeable
    assert cluster.get("b", "k") == 1
    [array] = reading.read_many(cluster.session("b"), "s", ["k"])
    assert array is not None and array.tolist() == [1] * 5
    assert cluster.holders(info.id) == {"a": True}


def test_what_is_replaced_while_its_copy_comes_is_read_as_it_was_or_as_it_is(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.put("a", "k", 1)
    fetches = cluster.keepers["b"].fetches
    join = fetches._join

    def replace_first(*args: Any, **options: Any) -> int:
        monkeypatch.setattr(fetches, "_join", join)
        cluster.put("c", "k", 2)
        return int(join(*args, **options))

    monkeypatch.setattr(fetches, "_join", replace_first)
    assert cluster.get("b", "k") in {1, 2}
    assert cluster.get("b", "k") == 2  # the put has returned before this read began


def test_a_file_that_somebody_removed_is_lost_by_key_and_by_handle(cluster: PlayedCluster) -> None:
    info = cluster.put("a", "k", 1)
    forget(info.id)
    Path(cluster.shelves["a"].mem, info.id).unlink()
    for node in "ab":
        with pytest.raises(ArrayLost, match=f"segment {info.id} is gone"):
            cluster.get(node, "k")
        with pytest.raises(ArrayLost, match=f"segment {info.id} is gone"):
            by_handle(cluster.session(node), info, "a")


def test_what_went_with_its_node_says_so(cluster: PlayedCluster) -> None:
    info, twice = cluster.put("b", "k", 1), cluster.put("b", "twice", 1, replicas=2)
    last = next(node for node in cluster.holders(twice.id) if node != "b")
    reader = next(node for node in "ac" if node != last)
    forget(info.id)
    forget(twice.id)
    cluster.kill("b")
    cluster.kill(last)
    with pytest.raises(ArrayLost, match="with node b, the only node that held a copy"):
        cluster.get(reader, "k")
    with pytest.raises(ArrayLost, match="put it with replicas=2 to have it survive"):
        by_handle(cluster.session(reader), info, "b")
    with pytest.raises(ArrayLost, match=rf"node {last}, the last \(replicas=2\) that held a copy"):
        cluster.get(reader, "twice")


def test_a_key_that_moves_each_time_it_is_looked_at_ends_in_an_error(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = cluster.put("a", "k", 1)
    monkeypatch.setattr(reading, "_reach", lambda *_, **__: reading.Gone())
    monkeypatch.setattr(reading, "_why", lambda *_: reading.Moved())
    with pytest.raises(StoreUnavailable, match="'k' changed 20 times"):
        cluster.get("b", "k")
    cluster.put("a", "k", 2)
    cluster.catalog.drop_replaced()
    assert cluster.holders(info.id) == {}  # nothing is held any more


def test_a_handle_of_what_was_replaced_is_of_nothing_else(cluster: PlayedCluster) -> None:
    info = cluster.put("a", "k", 1)
    cluster.put("a", "k", 2)
    cluster.catalog.drop_replaced()
    forget(info.id)
    with pytest.raises(ArrayNotFound, match="overwritten by a later put"):
        by_handle(cluster.session("b"), info, "a")


def test_a_put_that_comes_to_nothing_while_it_is_asked_for_is_not_what_the_key_stands_for(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = cluster.put("a", "k", 1)
    session = cluster.session("b")
    [old] = reading.find(session, "s", ["k"])
    assert old is not None
    never_put = old._replace(info=before._replace(id="f" * 32, version=before.version + 1), replacing=True)
    answers = iter([[never_put], [old], [old]])
    monkeypatch.setattr(reading, "find", lambda *_: next(answers))
    found = reading.info(session, "s", "k")
    assert found is not None and found.info == before
