"""No operation, and no tick, goes through a book of the catalog: it looks up what it names."""

from __future__ import annotations

from typing import Any

import pytest

from outlive.arrays.info import ArrayInfo
from outlive.catalog import deletion, keys, locating, losing, replaced, replicas, shelves
from outlive.catalog.latest import Latest
from outlive.catalog.losses import Lost
from outlive.catalog.state import State
from tests.catalog.talking import World, info

OTHERS = 50  # arrays, of which the operations that are tried have nothing to say


def _refuse(*_: object) -> Any:
    raise AssertionError("a book is gone through")


class Book(Latest[Any]):
    """One in which things can be looked up, put and taken out, and nothing else."""

    __iter__ = __reversed__ = keys = items = values = copy = __or__ = __ror__ = _refuse


class Set(set[Any]):
    """The same."""

    __iter__ = copy = __or__ = __ror__ = __and__ = __rand__ = __sub__ = __rsub__ = _refuse
    union = intersection = difference = issubset = issuperset = _refuse


@pytest.fixture
def world() -> World:
    """Three nodes, and many arrays, with books that refuse to be gone through."""
    world = World(nodes="abc")
    state = world.know()
    for node in "abc":
        for method in ("finish", "drop", "holds", "keep"):
            world.answers[node, method] = lambda asked, *_: [True] * len(asked)
        world.answers[node, "forbid"] = None
        world.answers[node, "touch"] = True
        world.answers[node, "why_ended"] = None
    for number in range(100, 100 + OTHERS):
        put(state, info(number, f"other{number}"))
        state.index.copies.add(info(number, f"other{number}"), "a", "b", kept=False)
        state.index.lost.add(Lost(info(1000 + number, f"lost{number}"), "x", 1.0))
        keys.hold(state, "s", [f"other{number}"])
    state.index.lost.take_changed()
    close(state)
    return world


def put(state: State, one: ArrayInfo) -> None:
    assert keys.bind(state, [one], "a", 0).epoch


def close(state: State) -> None:
    """From here on its books may not be gone through."""
    index, under_way = state.index, state.under_way
    state.validate = lambda: None  # type: ignore[method-assign] # that goes through all
    for of, name in (
        (state, "erased"),
        (state, "epochs"),
        (state, "_nodes"),
        (index, "_listed"),
        (index.lost, "_lost"),
        (index.lost, "_names"),
        (index.copies, "_nodes"),
        (index.copies, "_infos"),
        (index.copies, "_on"),
    ):
        setattr(of, name, Book(dict(getattr(of, name)).items()))
    index._stores["s"] = Book(index._stores["s"].items())
    for name in ("dropped", "deleting"):
        setattr(under_way, name, Set(range(OTHERS)))
    state.known, state.shelves = Set(state.known), Set(state.shelves)
    state.given_up["a"] = Set(range(OTHERS))


def drop_replaced(world: World) -> None:
    for node in replaced.sort_out(world.state):
        world.run(replaced.drop_where_sealed(world.state, node, world.state.to_drop.pop(node)))


def test_a_key_is_put_found_overwritten_and_deleted(world: World) -> None:
    state = world.state
    put(state, info(1))
    assert keys.find(state, "s", ["k"])[0] is not None
    number, _ = keys.hold(state, "s", ["k"])
    keys.release(state, number)
    put(state, info(2))
    drop_replaced(world)
    assert not state.again
    assert world.run(deletion.end(state, [info(2).id])) == [info(2).id]
    assert keys.find(state, "s", ["k"]) == [None]


def test_a_put_is_taken_back(world: World) -> None:
    put(world.state, info(1))
    put(world.state, info(2))
    keys.take_off(world.state, [info(2).id])
    assert world.state.index.lists(info(1).id)


def test_replicas_are_made_and_copies_looked_for(world: World) -> None:
    state, one, unkeyed = world.state, info(1, replicas=2), info(3, None)
    put(state, one)
    for node in "bc":
        world.answers[node, "fetch"] = lambda packed, home, kept, node=node: world.run(
            replicas.join_copies(state, [one], home, node, kept=True, epoch=1)
        )
    assert world.run(replicas.replicate(state, [one], "a", 1)) == [2]
    assert len(world.run(locating.locate(state, one, "a", "c")).nodes) == 2
    assert world.run(locating.touch(state, one, 1, "a"))
    world.answers["a", "holds"] = lambda asked: [False] * len(asked)
    assert not world.run(locating.locate(state, unkeyed, "a", "c")).nodes
    assert not world.run(deletion.erase(state, unkeyed, "a"))
    assert [name for name, method, _ in world.asked if method in {"holds", "why_ended"}] == ["a"] * 3


def test_rounds_go_through_nothing(world: World) -> None:
    world.run(losing.look_at_nodes(world.state))
    world.run(shelves.mend(world.state))
    assert keys.hold(world.state, "s", ["other100"])


def test_who_counts_keys_waits_for_deletions_one_by_one(world: World) -> None:
    state = world.state
    put(state, info(1))
    assert world.run(keys.count(state, "s")) == OTHERS + 1
