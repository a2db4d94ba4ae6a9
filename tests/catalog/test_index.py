"""The index: which array of a key is current, and what may be dropped."""

from __future__ import annotations

import random
from itertools import permutations

import pytest

from outlive.arrays.info import ArrayInfo, new_version
from outlive.catalog.index import Holding, Index, Replacement
from outlive.catalog.losses import Lost


def info(version: int, key: str = "k", array_id: str | None = None) -> ArrayInfo:
    return ArrayInfo(array_id or f"{version:032x}", "s", key, "'|u1'", (0,), False, 64, 0, 300, version)


def held(version: int) -> Holding:
    return Holding(f"{version:032x}", "n")


@pytest.mark.parametrize("order", list(permutations([1, 2, 3])))
def test_the_highest_version_is_current_in_whatever_order_files_are_found(order: tuple[int, ...]) -> None:
    index = Index()
    for version in order:
        replacements = index.admit(info(version), "n")
    entry = index.find("s", "k")
    assert entry is not None
    assert entry.info.version == 3
    assert set(entry.superseded) == {held(1), held(2)}
    assert {(r.old, r.new) for r in replacements} == {(held(1), held(3)), (held(2), held(3))}
    [(key, holdings)] = index.doom("s", ["k"])
    assert (key, holdings[-1]) == ("k", held(3))  # the current one goes last: a crash before leaves the key as it is


def test_bind_is_all_or_none() -> None:
    index = Index()
    index.bind([info(5, "a")], "n")
    assert index.bind([info(3, "b"), info(4, "a", "f" * 32)], "n") == 5
    assert index.keys("s") == ["a"]
    assert index.bind([info(6, "b"), info(7, "a")], "n") == [Replacement(held(5), held(7), "s", "a")]


def test_what_replaces_a_lost_array_is_later_than_that() -> None:
    """The writer's clock may be behind. A catalog that starts anew drops what is earlier than what its key has lost."""
    index = Index()
    index.lost.add(Lost(info(5), "m", 0.0))
    assert index.bind([info(4, array_id="f" * 32)], "n") == 5
    assert index.bind([info(6, array_id="f" * 32)], "n") == []
    assert not index.lost


def test_bind_again() -> None:
    index = Index()
    assert index.bind([info(5)], "n") == []
    assert index.bind([info(5)], "n") == []
    assert index.count("s") == 1


def test_bind_again_after_another_put() -> None:
    """The writer restamps, as its answer was lost. Its array must not be dropped as one that it itself replaced."""
    index, array_id = Index(), "f" * 32
    index.bind([info(5, array_id=array_id)], "n")
    index.bind([info(6)], "n")
    assert index.bind([info(5, array_id=array_id)], "n") == 6
    replacements = index.bind([info(7, array_id=array_id)], "n")
    assert isinstance(replacements, list)
    assert all(replacement.old.array_id != array_id for replacement in replacements)


def test_a_deletion_does_not_end_a_key_that_was_bound_anew() -> None:
    index = Index()
    index.bind([info(5)], "n")
    assert index.doom("s", ["k", "other"]) == [("k", [held(5)])]
    assert index.keys("s") == []
    index.bind([info(6)], "n")
    assert index.keys("s") == ["k"]
    assert not index.unbind("s", "k", held(5).array_id)
    assert index.unbind("s", "k", held(6).array_id)
    assert (index.stores(), index.count("s"), index.lists(held(6).array_id)) == ([], 0, False)


def test_stores_are_apart() -> None:
    index = Index()
    index.bind([info(5)], "n")
    index.bind([info(4, array_id="f" * 32)._replace(store="other")], "n")
    assert index.stores() == ["other", "s"]
    entry = index.find("other", "k")
    assert entry is not None
    assert entry.info.version == 4


def test_keys_with_a_prefix_and_some_like_another() -> None:
    index = Index()
    for version, key in enumerate(["ct/1", "ct/2", "mr/1"], 1):
        index.bind([info(version, key)], "n")
    assert index.keys("s", "ct/") == ["ct/1", "ct/2"]
    assert index.keys("nowhere") == []
    assert index.some_keys("s", "mr/11", 2)[0] == "mr/1"
    assert len(index.some_keys("s", "mr/11", 2)) == 2


def test_versions_only_grow() -> None:
    versions = [new_version() for _ in range(1000)]
    assert versions == sorted(set(versions))
    assert new_version(after=versions[-1] + 10**15) == versions[-1] + 10**15 + 1
    assert new_version() > versions[-1] + 10**15


# --- copies on other nodes


def replicated(version: int, replicas: int = 2, key: str | None = "k") -> ArrayInfo:
    return info(version)._replace(replicas=replicas, key=key)


def test_holders() -> None:
    index = Index()
    one = info(1)
    index.bind([one], "a")
    assert index.holders(one.id) == {"a": True}
    index.copies.add(one, "a", "b", kept=False)
    assert index.holders(one.id) == {"a": True, "b": False}
    index.copies.add(one, "a", "b")
    index.copies.add(one, "a", "b", kept=False)  # what is kept stays kept
    assert index.holders(one.id) == {"a": True, "b": True}
    [(_, holdings)] = index.doom("s", ["k"])
    assert holdings == [Holding(one.id, "b"), Holding(one.id, "a")]  # home comes last
    index.unbind("s", "k", one.id)
    assert index.holders(one.id) == {}


def test_an_overwrite_drops_every_copy() -> None:
    index = Index()
    index.bind([info(1)], "a")
    index.copies.add(info(1), "a", "b", kept=False)
    replacements = index.bind([info(2)], "c")
    assert isinstance(replacements, list)
    assert {replacement.old.node for replacement in replacements} == {"a", "b"}
    assert index.holders(info(1).id) == {}
    assert {holding.node for holding, _ in index.superseded({info(1).id})} == {"a", "b"}
    assert index.superseded({info(2).id}) == []
    for replacement in replacements:
        index.no_file(replacement.old.array_id, replacement.old.node)
    assert index.superseded({info(1).id}) == []


def test_too_few() -> None:
    index = Index()
    one = replicated(1)
    index.bind([one], "a")
    assert index.copies.too_few() == [(one, ["a"])]
    index.copies.add(one, "a", "b", kept=False)
    assert index.copies.too_few() == [(one, ["a"])]  # a cached copy does not count
    index.copies.add(one, "a", "b")
    assert index.copies.too_few() == []
    index.forget("a")
    assert index.copies.too_few() == [(one, ["b"])]


def test_a_node_is_forgotten() -> None:
    index = Index()
    alone, both = info(1, "alone"), replicated(2, key="both")
    unkeyed, cached = replicated(3, key=None), info(4, "cached")
    for keyed in (alone, both, cached):
        index.bind([keyed], "a")
    index.copies.add(both, "a", "b")
    index.copies.add(unkeyed, "a", "a")
    index.copies.add(cached, "a", "b", kept=False)
    assert {(one.id, *others) for one, others in index.endangered("a", lambda _: True)} == {(cached.id, "b")}
    assert {entry.info.id for _, _, entry in index.at_home("a")} == {alone.id, both.id, cached.id}
    assert {one.id for one in index.forget("a")} == {alone.id, unkeyed.id, cached.id}
    entry = index.find("s", "both")
    assert entry is not None and entry.node == "b"
    assert index.holders(both.id) == {"b": True}
    assert index.find("s", "alone") is None and index.find("s", "cached") is None


def test_what_is_promoted_before_a_node_is_forgotten_is_not_lost() -> None:
    index = Index()
    one = info(1)
    index.bind([one], "a")
    index.copies.add(one, "a", "b", kept=False)
    [(found, others)] = index.endangered("a", lambda _: True)
    index.copies.add(found, others[0], others[0])
    assert index.forget("a") == []
    assert index.endangered("b", lambda _: True) == []
    entry = index.find("s", "k")
    assert entry is not None and entry.node == "b"


def test_move_home() -> None:
    index = Index()
    one = replicated(1)
    index.bind([one], "a")
    index.copies.add(one, "a", "b")
    index.move_home(one.id, "c", "b")  # it is not its home
    entry = index.find("s", "k")
    assert entry is not None and entry.node == "a"
    index.move_home(one.id, "a", "b")
    index.copies.remove(one.id, "a")
    assert entry.node == "b" and index.holders(one.id) == {"b": True}
    index.move_home("f" * 32, "a", "b")  # nobody's


def is_alone_by_wish(one: ArrayInfo) -> bool:
    return one.replicas == 1


def test_what_a_lost_array_had_overwritten() -> None:
    index = Index()
    index.bind([info(1)], "a")
    index.copies.add(info(1), "a", "b", kept=False)
    index.bind([info(2)], "c")
    older = index.older_than_lost("c", is_alone_by_wish)
    assert {(one.id, holding) for one, holding in older} == {
        (info(2).id, Holding(info(1).id, node)) for node in ("a", "b")
    }
    index.copies.add(info(2), "c", "a")
    assert index.older_than_lost("c", is_alone_by_wish) == []  # it is not lost


def test_what_was_read_between_an_older_array_and_a_lost_one_decides_too() -> None:
    """A put with one replica has returned: what it replaced does not come back, whatever replaced it in turn."""
    index = Index()
    first, second, third = replicated(1), info(2), replicated(3)
    index.bind([first], "a")
    index.bind([second], "c")
    index.bind([third], "c")
    assert index.older_than_lost("c", is_alone_by_wish) == [(second, Holding(first.id, "a"))]
    index = Index()
    index.bind([first], "a")
    index.bind([third], "c")
    assert index.older_than_lost("c", is_alone_by_wish) == [(third, Holding(first.id, "a"))]


def test_putting_again_takes_it_off_the_lost() -> None:
    index = Index()
    index.bind([info(1)], "a")
    for gone in index.forget("a"):
        index.lost.add(Lost(gone, "a", 1.0))
    assert [lost.info.key for lost in index.lost] == ["k"]
    index.bind([info(2)], "b")
    assert not index.lost


@pytest.mark.parametrize("seed", range(20))
def test_what_is_kept_by_node_is_what_the_entries_say(seed: int) -> None:
    chance, index = random.Random(seed), Index()
    nodes, ids = "abc", range(1, 9)
    infos = {i: info(i)._replace(key=f"k{i % 3}" if i % 4 else None, replicas=1 + i % 3) for i in ids}
    for _ in range(200):
        one, node, other = infos[chance.choice(ids)], chance.choice(nodes), chance.choice(nodes)
        what = chance.randrange(6)
        if what == 0 and one.key is not None:
            index.admit(one, node)
        elif what == 1 and (one.key is None or index.lists(one.id)):
            index.copies.add(one, node, other, kept=chance.random() < 0.5)
        elif what == 2:
            index.copies.remove(one.id, node)
        elif what == 3:
            index.move_home(one.id, node, other)
        elif what == 4 and one.key is not None:
            index.unbind(one.store, one.key, one.id)
        elif what == 5 and chance.random() < 0.3:
            index.forget(node)
        entries = list(index.all_entries())
        for place in nodes:
            at_home = {entry.info.id for _, _, entry in index.at_home(place)}
            assert at_home == {entry.info.id for entry in entries if entry.node == place}
            on_node = {(one.id, kept) for one, kept in index.copies.on_node(place)}
            there = {(i.id, kept) for i in index.copies for at, kept in index.copies.of(i.id).items() if at == place}
            assert on_node == there
            cached = {(other, one.id) for other, one in index.copies.cached_of_kept(place)}
            assert cached == {
                (other, i.id)
                for i in index.copies
                for other, kept in index.copies.of(i.id).items()
                if not kept and index.copies.of(i.id).get(place)
            }
        replacing = {entry.info.id for _, _, entry in index.replacing()}
        assert replacing == {entry.info.id for entry in entries if entry.superseded}
        few = {one.id for one, _ in index.copies.too_few()}
        assert few == {i.id for i in index.copies if 0 < sum(index.copies.of(i.id).values()) < i.replicas}


def test_an_older_array_that_is_found_ends_no_deletion() -> None:
    index = Index()
    index.bind([info(2)], "n")
    index.doom("s", ["k"])
    index.admit(info(1), "m")  # on a shelf that is listed meanwhile
    index.validate()
    assert index.count("s") == 0
    index.admit(info(3), "m")
    index.validate()
    assert index.count("s") == 1
