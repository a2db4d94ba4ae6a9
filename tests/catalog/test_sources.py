"""Many nodes copy one large array at the same moment: from whom each gets it, and which have to wait."""

from __future__ import annotations

import itertools

import pytest

from outlive.catalog import keys, locating, losing, replicas, shelves, sources
from outlive.catalog.instructions import WhoIsLate
from outlive.catalog.sources import Sources
from outlive.catalog.wire import Located
from tests.catalog.talking import Talk, World, info, listing

BIG = info(1, size=256 << 20)


def world_of(nodes: str) -> World:
    world = World(nodes)
    keys.bind(world.know(), [BIG], "a", 0)
    return world


def ask(world: World, asker: str) -> Located:
    return world.run(locating.locate(world.state, BIG, "a", asker, copies=True))


def join(world: World, node: str) -> None:
    assert replicas.join_copy(world.state, BIG, "a", node, kept=False)


def test_a_node_sends_a_large_array_to_few_at_a_time_and_then_these_do() -> None:
    world = world_of("abcde")
    assert ask(world, "b") == ask(world, "c") == Located(["a"])
    assert ask(world, "b") == Located(["a"]), "it failed, and is tried again"
    assert ask(world, "d") == Located(["a"], busy=True)
    join(world, "b")
    assert ask(world, "d").nodes[0] == "b", "nobody gets it from there"
    join(world, "c")
    assert not ask(world, "e").busy
    join(world, "d")
    join(world, "e")
    assert len(world.state.sources) == 0


def test_of_those_that_ask_at_the_same_moment_no_more_are_sent_it() -> None:
    """Each is answered after the catalog has looked who is late, and others ask meanwhile."""
    world = world_of("abcd")
    talks = [Talk(world, locating.locate(world.state, BIG, "a", asker, copies=True)) for asker in "bcd"]
    assert all(isinstance(talk.instruction, WhoIsLate) for talk in talks)
    for talk in talks:
        talk.answer(set())
    assert [talk.value.busy for talk in talks] == [False, False, True]


@pytest.mark.parametrize("count", [8, 26])
def test_the_copies_are_multiplied_each_time(count: int) -> None:
    nodes = "abcdefghijklmnopqrstuvwxyz"[:count]
    world, missing, turns = world_of(nodes), list(nodes[1:]), 0
    while missing:
        told = [node for node in missing if not ask(world, node).busy]
        for node in told:
            join(world, node)
        missing = [node for node in missing if node not in told]
        turns += 1
    needed = next(n for n in itertools.count() if (1 + sources.MOST) ** n >= count)
    assert turns == needed


def test_nobody_waits_for_long_for_one_that_is_stopped() -> None:
    world = world_of("abcd")
    assert not ask(world, "b").busy
    assert not ask(world, "c").busy
    assert ask(world, "d").busy
    world.clock = 60.0
    assert not ask(world, "d").busy


def test_who_only_asks_where_an_array_is_takes_nobodys_place() -> None:
    world = world_of("abcdef")
    for asker in "bcdef":
        assert world.run(locating.locate(world.state, BIG, "a", asker)) == Located(["a"])
    assert len(world.state.sources) == 0


def test_a_node_does_not_get_an_array_from_itself() -> None:
    """It has dropped its copy, and the catalog does not know yet."""
    world = world_of("ab")
    world.state.index.copies.add(BIG, "a", "b", kept=False)
    assert ask(world, "b").nodes == ["a", "b"]
    assert world.state.sources.busy(BIG.id) == {"a": 1}


def test_what_has_taken_too_long_is_forgotten() -> None:
    clock = [0.0]
    some = Sources(lambda: clock[0])
    some.begin(BIG.id, "b", "a", BIG.size)
    some.end(BIG.id, "c")
    some.end(info(2).id, "b")
    assert len(some) == 1
    clock[0] = 60.0
    some.forget_old()
    assert len(some) == 0


@pytest.mark.parametrize("then", ["dies", "is listed", "has left", "is late"])
def test_nobody_waits_for_a_node_that_gets_an_array_no_more(then: str) -> None:
    """Of 10 GiB, that would be for a minute and a half."""
    world = world_of("abcd")
    state = world.state
    state.index.copies.add(BIG, "a", "a")
    assert not ask(world, "b").busy
    assert not ask(world, "c").busy
    assert ask(world, "d").busy
    if then == "dies":
        world.kill("b")
        world.run(losing.look_for_dead(state))
    elif then == "is listed":  # its keeper was killed
        world.answers["b", "listing_part"] = listing(2)
        world.run(shelves.join(state, "b"))
    elif then == "has left":
        shelves.leave(state, "b", 1)
    else:
        world.late.add("b")
    assert not ask(world, "d").busy
