"""What is asked of nodes for one array does not depend on how many nodes there are."""

from __future__ import annotations

from collections import Counter

import pytest

from outlive.arrays.info import ArrayInfo
from outlive.catalog import deletion, keys, replicas, shelves
from outlive.catalog.index import Holding, Index
from outlive.catalog.wire import Listed, unpack
from tests.catalog.talking import World, info, listing

FEW, MANY = 20, 300


def world_of(count: int, **room: int) -> World:
    """The head `a`, and others. Each copies what it is asked to."""
    names = ["a", *(f"n{number}" for number in range(1, count))]
    world = World(nodes=names)
    world.know()
    for name in names:
        size = room.get(name, room.get("others", 1 << 30))
        world.answers[name, "room"] = size
        world.answers[name, "fetch"] = lambda packed, home, kept, name=name: copied(world, packed, home, name)
    return world


def copied(world: World, packed: bytes, home: str, name: str) -> None:
    world.run(replicas.join_copies(world.state, unpack(packed), home, name, kept=True, epoch=1))


def put(world: World, one: ArrayInfo) -> int:
    assert keys.bind(world.state, [one], "a", 0).epoch
    (kept,) = world.run(replicas.replicate(world.state, [one], "a", 1))
    return kept


def asked(world: World) -> Counter[str]:
    methods = Counter(method for _, method, _ in world.asked)
    world.asked.clear()
    return methods


@pytest.mark.parametrize("count", [2, 3])
def test_a_replica_asks_as_many_nodes_whatever_the_cluster(count: int) -> None:
    made: list[Counter[str]] = []
    for nodes in (FEW, MANY):
        world = world_of(nodes)
        assert put(world, info(1, replicas=count)) == count
        made.append(asked(world))
    assert made[0] == made[1]
    assert made[0]["fetch"] == count - 1


def test_a_replica_finds_the_one_node_that_has_room() -> None:
    world = world_of(MANY, n217=1 << 20, others=100)
    assert put(world, info(1, replicas=2)) == 2
    assert world.state.kept(info(1).id) == ["a", "n217"]
    assert asked(world)["room"] <= MANY


def test_where_no_node_has_room_each_is_asked_once_a_round() -> None:
    world = world_of(MANY, others=100)
    assert all(put(world, info(number, f"k{number}", replicas=2)) == 1 for number in range(1, 21))
    asked(world)
    world.run(replicas.multiply_few(world.state))
    assert asked(world)["room"] <= MANY


def test_enough_replicas_are_not_looked_for_again() -> None:
    world = world_of(FEW)
    put(world, info(1, replicas=2))
    asked(world)
    world.run(replicas.multiply(world.state, info(1, replicas=2)))
    assert not asked(world)


def test_a_catalog_that_starts_asks_each_node_once_about_copies_that_nobody_keeps() -> None:
    copies = [info(number, None) for number in range(1, 31)]
    names = ["a", *(f"n{number}" for number in range(1, FEW))]
    world = World(nodes=names)
    for name in names:
        world.answers[name, "holds"] = lambda ids, name=name: [name == "n5"] * len(ids)
        world.answers[name, "keep"] = lambda ids: [True] * len(ids)
    world.answers["n5", "listing_part"] = listing(1, *(Listed(one, kept=False) for one in copies))
    world.run(shelves.begin(world.state))
    assert asked(world)["holds"] == FEW
    assert all(world.state.kept(one.id) == ["n5"] for one in copies)


@pytest.mark.parametrize("what", ["overwritten", "deleted"])
def test_each_node_is_told_of_what_it_has_and_of_no_other_array(what: str) -> None:
    names = ["a", *(f"n{number}" for number in range(1, FEW))]
    world = World(nodes=names)
    state = world.know()
    for name in names:
        world.answers[name, "forbid"] = None
        world.answers[name, "drop"] = lambda some: [True] * len(some)
    old = [info(number, f"k{number}") for number in range(1, FEW)]
    for one, name in zip(old, names[1:], strict=True):
        assert keys.bind(state, [one], "a", 0).epoch
        state.index.copies.add(one, "a", name, kept=False)
    if what == "overwritten":
        new = [info(100 + number, one.key) for number, one in enumerate(old)]
        assert world.run(keys.replace(state, new, "a", 0)).epoch
    else:
        assert len(world.run(deletion.end(state, [one.id for one in old]))) == len(old)
    told = {name: len(args[0]) for name, method, args in world.asked if method == "forbid" and name != "a"}
    assert told == dict.fromkeys(names[1:], 1)


class Key(str):
    """A key that counts how often it is compared with others."""

    __slots__ = ()
    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Key.compared += 1
        return str.__eq__(self, other)


def test_many_keys_are_deleted_in_as_many_steps() -> None:
    steps = []
    for count in (100, 400):
        world = World(nodes="a")
        state = world.know()
        world.answers["a", "drop"] = lambda some: [True] * len(some)
        some = [info(number, Key(f"k{number}")) for number in range(1, count + 1)]
        assert keys.bind(state, some, "a", 0).epoch
        state.validate = lambda: None  # type: ignore[method-assign] # that goes through all
        Key.compared = 0
        assert len(world.run(deletion.end(state, [one.id for one in some]))) == count
        steps.append(Key.compared)
    assert steps[1] <= 5 * (steps[0] + 100)


def test_many_arrays_that_are_overwritten_are_dropped_in_as_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node is slow to drop them, and their key is overwritten all the time."""
    compared, steps = 0, []
    is_same = Holding.__eq__

    def counted(one: Holding, other: object) -> bool:
        nonlocal compared
        compared += 1
        return bool(is_same(one, other))

    monkeypatch.setattr(Holding, "__eq__", counted)
    for count in (100, 400):
        index = Index()
        for number in range(1, count + 1):
            index.bind([info(number)], "a")
        compared = 0
        index.bind([info(count + 1)], "a")
        for number in range(1, count + 1):
            index.no_file(info(number).id, "a")
        index.validate()
        entry = index.find("s", "k")
        assert entry is not None and not entry.superseded
        steps.append(compared)
    assert steps[1] <= 5 * (steps[0] + 100)
