"""What the head remembers of deletions beside nodes that died before a catalog had heard from them."""

from __future__ import annotations

from typing import Any

import pytest

from outlive.catalog import keys, losing, saving, shelves
from outlive.catalog.instructions import Save, Start, Wait
from outlive.catalog.saving import _MOST_AHEAD
from outlive.errors import StoreUnavailable
from tests.catalog.talking import Talk, World, info, listing
from tests.catalog.test_conversations import drops, put


class Refusing(World):
    """The head refuses to save anything, as long as `refuses`."""

    refuses = True

    def carry_out(self, instruction: Any) -> Any:
        if isinstance(instruction, Save) and self.refuses:
            raise StoreUnavailable("the head refuses")
        return super().carry_out(instruction)


def beside_a_stray(world: World) -> World:
    """The world, in which b died before the catalog had heard from it, and a is listed."""
    state = world.know("a", "c")
    world.kill("b")
    state.graves.strays = {"b"}
    state.graves.saved_strays = {"b"}
    return world


def next_catalog(world: World, *dead: str) -> World:
    after = World("abc")
    for one in dead:
        after.kill(one)
    after.saved = world.saved
    after.state.remember(world.saved.get)
    return after


def test_each_catalog_that_knows_a_stray_has_puts_exceed_what_is_there() -> None:
    world = World("ab")
    state = world.know("a")
    state.remember(world.saved.get)
    world.run(shelves.join(state, "b"))
    put(state, info(5 * 10**18), "b")
    world.run(losing.look_at_nodes(state))
    for _ in range(3):
        world = next_catalog(world, "b", "c")
        state = world.state
        world.run(shelves.begin(state))
        for _ in range(2):
            world.run(shelves.mend(state))
            world.run(losing.look_at_nodes(state))
        assert state.graves.strays == {"b"}
        assert keys.bind(state, [info(7, "other")], "a", 0).behind


@pytest.mark.parametrize("when", ["before", "during", "after"])
def test_a_node_that_dies_as_a_key_is_deleted(when: str) -> None:
    """Whether it has confirmed the deletion or not: it may have adopted another array of the key before."""
    one, two = info(1), info(2)
    world = World(answers={("a", "drop"): drops, ("c", "drop"): drops, ("c", "forbid"): None})
    state = world.know("a", "b")
    world.answers.pop(("c", "listing_part"))
    put(state, two, "a")
    state.shelves.add("c")
    state.unlisted.add("c")

    def dropping(asked: Any) -> Any:
        if when == "during":
            world.kill("c")
        return drops(asked)

    world.answers["a", "drop"] = dropping
    if when == "before":
        world.kill("c")
    assert world.run(losing.end(state, [two.id])) == [two.id]
    if when == "after":
        world.kill("c")
    world.run(shelves.mend(state))
    world.run(losing.look_at_nodes(state))
    assert next_catalog(world, "c").state.deleted_after([one])


def test_a_deletion_that_is_repeated_waits_for_the_head_too() -> None:
    world = beside_a_stray(World(answers={("a", "drop"): drops}))
    state, two = world.state, info(2)
    put(state, two, "a")
    first = Talk(world, losing.end(state, [two.id]))
    first.until(Start, world.carry_out)
    settling = Talk(world, first.instruction.conversation)
    settling.until(Save, world.carry_out)
    first.answer(None)
    assert isinstance(first.instruction, Wait)
    second = Talk(world, losing.end(state, [two.id]))
    second.until(Start, world.carry_out)
    assert not second.over
    assert not [method for _, method, _ in world.asked if method == "drop"]


def test_a_head_that_refuses_is_asked_again_before_the_last_file_goes() -> None:
    world = Refusing(answers={("a", "drop"): drops})
    beside_a_stray(world)
    state, two = world.state, info(2)
    put(state, two, "a")
    talk = Talk(world, losing.end(state, [two.id]))
    talk.until(Start, world.carry_out)
    settling = Talk(world, talk.instruction.conversation)
    for _ in range(3):
        settling.until(Save, world.carry_out)
        settling.answer(StoreUnavailable("the head refuses"))
        assert isinstance(settling.instruction, Wait)
    assert not [method for _, method, _ in world.asked if method == "drop"]
    world.refuses = False
    while not settling.over:
        settling.answer(world.carry_out(settling.instruction))
    assert next_catalog(world).state.deleted_after([info(1)])


def test_a_deletion_has_the_head_write_two_pages() -> None:
    world = beside_a_stray(World(answers={("a", "drop"): drops}))
    state, written = world.state, list[str]()

    class Noted(dict[str, bytes]):
        def __setitem__(self, key: str, value: bytes) -> None:
            written.append(key)
            super().__setitem__(key, value)

    world.saved = Noted(world.saved)
    for number in range(2_000):
        state.graves.add(("s", f"scan/{number}"), 10**18)
    world.run(saving.save(state))
    written.clear()
    put(state, info(2), "a")
    world.run(losing.end(state, [info(2).id]))
    assert len(written) == 2  # before its last file goes, and after


def test_a_damaged_shelf_is_no_reason_to_put_all_else_far_ahead() -> None:
    world = World("ab")
    state = world.know("a")
    world.answers["b", "listing_part"] = listing(2**63 - 1)
    world.run(shelves.join(state, "b"))
    assert state.foreseen < state.now_ns() + 2 * _MOST_AHEAD
