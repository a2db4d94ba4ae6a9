"""What the catalog decides, and what it asks of whom before."""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import pytest

from outlive.arrays.info import ArrayInfo
from outlive.catalog import (
    asking,
    deletion,
    keys,
    locating,
    losing,
    pages,
    reconciling,
    replaced,
    replicas,
    saving,
    shelves,
    targets,
)
from outlive.catalog.index import Holding, Replacement
from outlive.catalog.instructions import (
    PATIENCE,
    Ask,
    Call,
    ListKeepers,
    ListNodes,
    Save,
    Start,
    Together,
    Wait,
    WhoIsLate,
)
from outlive.catalog.losses import Lost
from outlive.catalog.state import State
from outlive.catalog.targets import Rooms
from outlive.catalog.wire import Bound, Listed, Located, Successor, pack, unpack
from outlive.errors import StoreUnavailable
from tests.catalog.talking import Talk, World, info, listing, node


def put(state: State, one: ArrayInfo, home: str, *cached: str) -> ArrayInfo:
    """Listed, and cached elsewhere."""
    bound = keys.bind(state, [one], home, 0)
    assert bound.epoch and not bound.behind
    for other in cached:
        state.index.copies.add(one, home, other, kept=False)
    state.validate()
    return one


def keeps(*ids: str) -> Any:
    """A keeper's answer to what begins with a list of ids."""
    return lambda asked, *_: [one in ids for one in asked]


def drops(asked: list[tuple[str, Any]]) -> list[bool]:
    return [True] * len(asked)


# --- keys


def test_a_put_asks_nobody_that_replaces_nothing_elsewhere() -> None:
    state = World().know()
    assert keys.bind(state, [info(1)], "a", 0) == Bound(1)
    assert keys.bind(state, [info(2)], "a", 0) == Bound(1)
    assert keys.bind(state, [info(1, "other")], "a", 1) == Bound(0, elsewhere=True)  # the shelf refused that epoch
    assert [(one.old.array_id, one.new.array_id) for one in state.replaced] == [(info(1).id, info(2).id)]


def test_a_node_that_is_not_known_is_listed_first() -> None:
    world = World(answers={("a", "listing_part"): listing(7, Listed(info(1), kept=True))})
    state = world.state
    assert keys.bind(state, [info(2)], "a", 0) == Bound(0, elsewhere=True)
    assert world.run(keys.replace(state, [info(2)], "a", 0)) == Bound(7)
    assert [one.old.array_id for one in state.replaced] == [info(1).id]


def test_names_go_first_where_others_have_copies() -> None:
    world = World(answers={(name, "forbid"): None for name in "bc"})
    state = world.know()
    put(state, info(1), "a", "b")
    talk = Talk(world, keys.replace(state, [info(2)], "a", 0))
    assert talk.calls == {"b": ("forbid", ([("s", "k", 2, (2, info(2).id, "a"))],))}
    state.index.copies.add(info(1), "a", "c", kept=False)  # meanwhile
    talk.answer({"b": None})
    assert talk.calls.keys() == {"c"} or talk.calls.keys() == {"b", "c"}
    assert state.index.find("s", "k").info == info(1)  # type: ignore[union-attr]
    talk.answer({"b": None, "c": None})
    assert talk.value == Bound(1)
    assert state.index.find("s", "k").info == info(2)  # type: ignore[union-attr]


@pytest.mark.parametrize("dies", [False, True])
def test_who_does_not_confirm_that_a_name_is_gone_hinders_a_put_unless_dead(dies: bool) -> None:
    world = World()
    state = world.know()
    put(state, info(1), "a", "b")
    talk = Talk(world, keys.replace(state, [info(2)], "a", 0))
    if dies:
        world.kill("b")
        talk.answer({})
        world.finish(talk)
        assert talk.value == Bound(1)
        return
    talk.answer({})
    with pytest.raises(StoreUnavailable, match="node b may have a copy of what is replaced"):
        talk.answer(list(world.nodes.values()))
    assert state.index.find("s", "k").info == info(1)  # type: ignore[union-attr]


def silent_with_what_nobody_keeps(**answers: Any) -> World:
    """Node `b` has cached an array whose home is gone, is listed, and does not answer when it is asked to keep it."""
    said = {("b", method): answer for method, answer in answers.items()}
    world = World(answers={("b", "listing_part"): listing(7, Listed(info(1), kept=False)), **said})
    world.run(shelves.begin(world.state))
    assert "keep" in world.methods("b")
    assert world.state.index.find("s", "k") is None
    return world


def test_who_may_have_the_only_copy_of_a_key_has_to_confirm_that_its_name_is_gone() -> None:
    """Readers there find it by its key."""
    world = silent_with_what_nobody_keeps()
    with pytest.raises(StoreUnavailable, match="node b may have a copy of what is replaced"):
        world.run(keys.replace(world.state, [info(2)], "a", 1))
    assert keys.bind(world.state, [info(2)], "a", 0) == Bound(0, elsewhere=True)
    world.answers["b", "forbid"] = None
    assert world.run(keys.replace(world.state, [info(2)], "a", 0)) == Bound(1)
    world.asked.clear()
    assert keys.bind(world.state, [info(3)], "a", 0) == Bound(1)  # its name is gone for good


def test_a_put_while_a_node_is_asked_to_keep_the_only_copy_of_a_key() -> None:
    world = World(answers={("b", "listing_part"): listing(7, Listed(info(1), kept=False)), ("b", "forbid"): None})
    state = world.know("a", "c")
    talk = Talk(world, shelves.join(state, "b"))
    while not isinstance(talk.instruction, Ask) or talk.calls.get("b", ("",))[0] != "keep":
        talk.answer(world.carry_out(talk.instruction))
    assert keys.bind(state, [info(2)], "a", 0) == Bound(0, elsewhere=True)
    assert world.run(keys.replace(state, [info(2)], "a", 0)) == Bound(1)
    assert "forbid" in world.methods("b")
    world.answers["b", "drop"] = drops
    talk.answer({"b": [True]})
    world.finish(talk)
    assert state.index.find("s", "k").info == info(2)  # type: ignore[union-attr]


def test_nothing_is_added_over_what_a_node_may_have_alone_nor_is_that_missing() -> None:
    world = silent_with_what_nobody_keeps()
    with pytest.raises(StoreUnavailable, match="node b, which has not yet told the catalog that it keeps it"):
        world.run(keys.add(world.state, [info(2)], "a", 0))
    with pytest.raises(StoreUnavailable, match="node b, which has not yet told the catalog that it keeps it"):
        world.run(deletion.end(world.state, [info(1).id]))
    with pytest.raises(StoreUnavailable, match="node b, which has not yet told the catalog that it keeps it"):
        keys.find(world.state, "s", ["other", "k"])
    assert keys.find(world.state, "s", ["other"]) == [None]
    for listing_of_keys in (keys.list_keys(world.state, "s", ""), keys.names(world.state, "s", "k", "/", ["'|u1'"])):
        with pytest.raises(StoreUnavailable, match="node b, which has not yet told the catalog that it keeps it"):
            world.run(listing_of_keys)
    assert world.run(keys.list_keys(world.state, "s", "other")) == []
    world.answers["b", "keep"] = keeps(info(1).id)
    world.run(shelves.mend(world.state))
    assert world.run(keys.add(world.state, [info(2)], "a", 0)) is None
    assert world.state.index.find("s", "k").info == info(1)  # type: ignore[union-attr]


def test_what_a_node_may_have_alone_is_not_put_under_what_is_earlier() -> None:
    """Its listing would show the later one again, and the earlier put would be gone that was said to be done."""
    world = silent_with_what_nobody_keeps(forbid=None)
    assert world.run(keys.replace(world.state, [info(1)._replace(id="f" * 32)], "a", 0)) == Bound(0, 1)
    assert keys.bind(world.state, [info(1)._replace(id="f" * 32)], "b", 0) == Bound(0, 1)
    assert "forbid" not in world.methods("b")
    assert keys.bind(world.state, [info(2)], "b", 0) == Bound(7)


def test_what_a_node_may_have_alone_counts_as_neither_deleted_nor_lost() -> None:
    world = silent_with_what_nobody_keeps()
    state = world.state
    assert replicas.leave(state, [info(1)], "b") == [False]
    state.index.lost.add(Lost(info(1), "c", 1.0))
    for conversation in (deletion.end(state, [info(1).id]), keys.list_keys(state, "s", "")):
        with pytest.raises(StoreUnavailable, match="node b, which has not yet told the catalog that it keeps it"):
            world.run(conversation)
    with pytest.raises(StoreUnavailable, match="node b, which has not yet told the catalog that it keeps it"):
        keys.find(state, "s", ["k"])


def test_a_node_is_asked_again_though_another_question_failed_meanwhile() -> None:
    """The head does not say which keepers there are: the listing ends there."""
    keyless, keyed = Listed(info(1, None), kept=False), Listed(info(2), kept=False)
    world = World(answers={("b", "listing_part"): listing(7, keyless, keyed)})
    state = world.know("a", "c")
    talk = Talk(world, shelves.join(state, "b"))
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        while True:
            fails = isinstance(talk.instruction, ListKeepers)
            talk.answer(ZeroDivisionError() if fails else world.carry_out(talk.instruction))
    assert state.lost_keepers == {"b"}


def test_what_a_node_lacks_after_all_hinders_nobody() -> None:
    world = silent_with_what_nobody_keeps(keep=keeps(), lacks=keeps(info(1).id))
    assert keys.bind(world.state, [info(2)], "a", 0) == Bound(1)
    assert "forbid" not in world.methods("b")


def test_a_node_that_did_not_say_whether_it_keeps_the_only_copy_is_asked_again() -> None:
    world = silent_with_what_nobody_keeps()
    world.answers["b", "keep"] = keeps(info(1).id)
    world.run(shelves.mend(world.state))
    assert world.state.index.find("s", "k").node == "b"  # type: ignore[union-attr]
    assert keys.bind(world.state, [info(2)], "b", 0) == Bound(7)


def test_a_keeper_that_leaves_while_names_go_is_no_home() -> None:
    world = World(answers={("b", "forbid"): None})
    state = world.know()
    put(state, info(1), "b")
    talk = Talk(world, keys.replace(state, [info(2)], "a", 0))
    shelves.leave(state, "a", 1)
    talk.answer({"b": None})
    assert talk.value == Bound(0, elsewhere=True)  # to be asked again
    assert state.index.at_home("a") == []


def test_what_is_added_replaces_nothing() -> None:
    world = World()
    state = world.know()
    assert world.run(keys.add(state, [info(1)], "a", 0)) == Bound(1)
    assert world.run(keys.add(state, [info(1)], "a", 0)) == Bound(1)  # Ray repeats a call whose answer was lost
    assert world.run(keys.add(state, [info(2)], "b", 0)) is None
    assert world.run(keys.add(state, [info(3, "other"), info(4)], "a", 0)) is None
    assert state.index.find("s", "other") is None
    state.index.doom("s", ["k"])  # it can be read until its file is gone
    assert world.run(keys.add(state, [info(2)], "b", 0)) is None


def test_nothing_is_added_over_what_is_lost_or_may_be_elsewhere() -> None:
    world = World()
    state = world.know("a")
    state.index.lost.add(Lost(info(1), "b", 1.0))
    assert world.run(keys.add(state, [info(2)], "a", 0)) is None
    state.unlisted.add("c")
    world.answers.pop(("c", "listing_part"))
    with pytest.raises(StoreUnavailable, match="may be on node c"):
        world.run(keys.add(state, [info(3, "other")], "a", 0))
    assert state.index.find("s", "other") is None


def test_a_shelf_is_listed_before_anything_is_added_to_it() -> None:
    world = World(answers={("a", "listing_part"): listing(7, Listed(info(1), kept=True))})
    assert world.run(keys.add(world.state, [info(2)], "a", 0)) is None
    assert world.run(keys.add(world.state, [info(2, "other")], "a", 0)) == Bound(7)


def test_names_are_what_comes_next_in_keys() -> None:
    world = World()
    state = world.know()
    for number, key in enumerate(("a", "a/b", "a/c/0", "a/c/1", "ab", "a//"), start=1):
        put(state, info(number, key), "a")
    put(state, info(9, "a/number")._replace(dtype="'<f8'"), "a")
    put(state, info(10, "a/image")._replace(shape=(2, 2)), "a")
    put(state, info(11, "a/frame")._replace(codec="pandas.frame"), "a")

    def names(prefix: str, separator: str = "") -> list[str]:
        return world.run(keys.names(state, "s", prefix, separator, ["'|u1'"]))

    assert names("a/", "/") == ["", "b", "c"]
    assert names("a/") == ["/", "b", "c/0", "c/1"]
    assert names("", "/") == ["a", "ab"]
    assert names("b") == [] == world.run(keys.names(state, "t", "", "", ["'|u1'"]))
    assert world.run(keys.names(state, "s", "a/", "/", ["'<f8'"])) == ["number"]


def test_a_put_that_was_taken_back_lists_nothing_later() -> None:
    state = World().know()
    put(state, info(1), "a")
    put(state, info(2), "a")
    keys.take_off(state, [info(2).id])
    assert state.index.find("s", "k").info == info(1)  # type: ignore[union-attr]
    assert keys.bind(state, [info(2)], "a", 0) == Bound(0)


def test_a_reader_is_told_that_a_node_may_know_better() -> None:
    state = World().know("a")
    put(state, info(1), "a")
    state.unlisted.add("b")
    assert [one and one.info for one in keys.find(state, "s", ["k"])] == [info(1)]
    with pytest.raises(StoreUnavailable, match="may be on node b"):
        keys.find(state, "s", ["k", "never"])
    state.late[info(1).id] = []
    with pytest.raises(StoreUnavailable, match="may be on node b"):
        keys.find(state, "s", ["k"])


@pytest.mark.parametrize(
    ("finish", "unsealed", "never_put", "there"),
    [(True, None, None, True), (False, True, None, True), (False, False, True, True), (False, False, False, False)],
)
def test_what_is_not_found_where_it_is_listed(
    finish: bool, unsealed: bool | None, never_put: bool | None, there: bool
) -> None:
    answers = {("b", "finish"): [finish], ("b", "unsealed"): [unsealed], ("b", "never_put"): [never_put]}
    world = World(answers=answers)
    state = world.know()
    put(state, info(1), "b")
    assert world.run(keys.verify(state, info(1).id)) is there
    assert state.index.lists(info(1).id) == (finish or not there)


# --- deletion


def test_the_home_drops_last_and_then_the_key_goes() -> None:
    world = World(answers={(name, method): drops for name in "abc" for method in ("drop", "forbid")})
    state = world.know()
    put(state, info(1), "a", "b", "c")
    assert world.run(deletion.end(state, [info(1).id])) == [info(1).id]
    assert [(name, method) for name, method, _ in world.asked] == [
        *((name, "forbid") for name in "abc"),
        ("b", "drop"),
        ("c", "drop"),
        ("a", "drop"),
    ]
    assert len(state.index) == 0


def test_a_deletion_that_nobody_confirms_is_finished_later() -> None:
    world = World(answers={("a", "drop"): drops})
    state = world.know()
    put(state, info(1), "a", "b")
    with pytest.raises(StoreUnavailable, match="node b did not confirm that it deleted its files of 'k'"):
        world.run(deletion.end(state, [info(1).id]))
    assert "drop" not in world.methods("a")  # a new catalog would keep b's copy
    assert state.index.find("s", "k") is not None and state.index.count("s") == 0
    world.answers["b", "drop"] = drops
    world.run(deletion.finish_deletions(state))
    assert len(state.index) == 0 and not state.unfinished


@pytest.mark.parametrize("when", ["at once", "later"])
def test_a_deletion_during_which_the_head_is_silent_is_finished_later(when: str) -> None:
    world = World(answers={("a", "drop"): drops})
    state = world.know()
    put(state, info(1), "b")
    if when == "later":
        with pytest.raises(StoreUnavailable, match="node b did not confirm"):
            world.run(deletion.end(state, [info(1).id]))
        [again] = [one.conversation for one in deletion.finish_deletions(state)]
    else:
        again = deletion.end(state, [info(1).id])
    talk = Talk(world, again)
    assert talk.calls.keys() == {"b"}
    talk.answer({})
    assert isinstance(talk.instruction, ListNodes)
    with pytest.raises(StoreUnavailable, match="the head") if when == "at once" else contextlib.nullcontext():
        talk.answer(StoreUnavailable("the head does not answer"))
    assert Talk(world, keys.list_keys(state, "s", "")).over  # nobody waits for that
    world.answers["b", "drop"] = drops
    world.run(deletion.finish_deletions(state))
    assert len(state.index) == 0 and not state.unfinished


def test_no_round_waits_for_deletions_that_a_node_does_not_confirm_nor_does_another_node() -> None:
    world = World()
    state = world.know()
    infos = {
        name: [put(state, info(i, f"{name}{i}"), name) for i in at] for name, at in {"b": (1, 2), "c": (3, 4)}.items()
    }
    for some in infos.values():
        with pytest.raises(StoreUnavailable, match="did not confirm"):
            world.run(deletion.end(state, [one.id for one in some]))
    begun = [one.conversation for one in deletion.finish_deletions(state) if isinstance(one, Start)]
    of_b, of_c = (Talk(world, conversation) for conversation in begun)
    assert of_b.calls.keys() == {"b"} and of_c.calls.keys() == {"c"}
    assert not list(deletion.finish_deletions(state))  # they are under way
    assert Talk(world, keys.list_keys(state, "s", "")).over  # who lists keys does not wait meanwhile
    of_c.answer({"c": [True, True]})
    assert of_c.over and state.unfinished == {one.id for one in infos["b"]}
    of_b.answer({})
    of_b.answer(list(world.nodes.values()))
    assert of_b.over and len(list(deletion.finish_deletions(state))) == 1


def test_an_array_without_a_key_goes_from_a_node_that_was_silent_as_it_was_deleted() -> None:
    """Nobody else knows of that copy any more, so it would stay there for ever."""
    one = info(1, None)
    world = World("ab", {("a", "drop"): drops, ("a", "holds"): keeps()})
    state = world.know()
    state.index.copies.add(one, "a", "b")
    for _ in range(2):  # whoever deletes it again is not told that it was not there
        with pytest.raises(StoreUnavailable, match="node b did not confirm"):
            world.run(deletion.erase(state, one, "a"))
    world.answers["b", "drop"] = drops
    world.asked.clear()
    world.run(losing.look_at_nodes(state))
    assert ("b", "drop", ([(one.id, None)],)) in world.asked and not state.unwanted
    assert not world.run(deletion.erase(state, one, "a"))


def test_a_copy_that_comes_while_an_array_is_touched_is_touched_too() -> None:
    """Its keeper would end the array on all nodes, as the copy still has the earlier time."""
    one = info(1, replicas=2)
    world = World()
    state = world.know()
    put(state, one, "a")
    talk = Talk(world, locating.touch(state, one, 5, "a"))
    assert talk.calls == {"a": ("touch", (one.id, 5))}
    state.note_kept(one, "b")
    talk.answer({"a": True})
    assert talk.calls == {"b": ("touch", (one.id, 5))}
    talk.answer({"b": True})
    assert talk.value is True


@pytest.mark.parametrize("dies", [False, True])
def test_who_keeps_an_array_and_does_not_hear_that_it_is_touched_is_named(dies: bool) -> None:
    one = info(1, replicas=2)
    world = World(answers={("a", "touch"): True})
    state = world.know()
    put(state, one, "a")
    state.note_kept(one, "b")
    talk = Talk(world, locating.touch(state, one, 5, "a"))
    if dies:
        world.kill("b")
        talk.answer({"a": True})
        assert talk.value is True
        return
    talk.answer({"a": True})
    with pytest.raises(StoreUnavailable, match="node b keeps array 'k' too"):
        talk.answer(list(world.nodes.values()))


def test_what_is_current_again_while_others_are_deleted_with_it_is_deleted_too() -> None:
    one, over, other = info(1), info(2), info(3, "other")
    world = World(answers={(name, "drop"): drops for name in "ab"})
    state = world.know()
    put(state, one, "a")
    put(state, other, "b")
    put(state, over, "a")  # not sealed yet
    ending = Talk(world, deletion.end(state, [one.id, other.id]))
    assert ending.calls.keys() == {"b"}
    keys.take_off(state, [over.id])
    assert state.index.lists(one.id)
    world.finish(ending)
    assert sorted(ending.value) == [one.id, other.id]
    assert len(state.index) == 0
    assert ("a", "drop", ([(one.id, ("s", "k"))],)) in world.asked


@pytest.mark.parametrize("who", [shelves.list_unlisted, shelves.mend])
def test_no_shelf_is_listed_only_after_a_silent_node(who: Any) -> None:
    """Each would be waited for in turn: a put or a deletion over many silent nodes, for as many times 20 s."""
    world = World(answers={("c", "listing_part"): listing(7)})
    state = world.know("a")
    state.unlisted.update("bc")
    conversation = who(state)
    instruction = next(conversation)
    while not isinstance(instruction, Together):
        instruction = conversation.send(world.carry_out(instruction))
    of_b, of_c = (Talk(world, one) for one in instruction.conversations)
    while not isinstance(of_b.instruction, Ask):
        of_b.answer(world.carry_out(of_b.instruction))  # b does not answer yet
    world.finish(of_c)
    assert state.epochs["c"] == 7 and state.unlisted == {"b"}


def test_no_book_remembers_nodes_that_ray_has_forgotten() -> None:
    world = World("ab")
    state = world.know()
    world.run(losing.look_at_nodes(state))
    shelves.leave(state, "b", 1)
    assert "b" in state.seen & state.left & state.removed.keys() & state.leavings.keys()
    world.kill("b")
    del world.nodes["b"]
    world.run(asking.list_nodes(state))
    assert "b" not in state.seen | state.left | state.removed.keys() | state.leavings.keys()


def test_a_dead_node_has_no_shelf_once_a_later_round_has_written_down_what_it_took() -> None:
    world = World("ab")
    state = world.know()
    put(state, info(1), "b")
    world.kill("b")
    talk = Talk(world, losing.look_for_dead(state))
    assert isinstance(talk.instruction, Save)
    with pytest.raises(StoreUnavailable):
        talk.answer(StoreUnavailable("the head does not answer"))
    assert "b" in state.shelves
    world.run(losing.look_at_nodes(state))
    assert world.saved["settled"] == b'["b"]' and "b" not in state.shelves


def test_what_is_deleted_or_overwritten_while_a_shelf_is_checked_is_no_defect() -> None:
    world = World(answers={("a", "drop"): drops, ("a", "finish"): keeps(info(1).id), ("a", "keep"): keeps(info(1).id)})
    state = world.know()
    put(state, info(1), "a")
    put(state, info(2), "a")  # somebody holds the former
    put(state, info(3, "other"), "a")  # after the shelf was looked through
    checking = Talk(world, reconciling.reconcile(state, "a", [info(1), info(2)]))
    ending = Talk(world, deletion.end(state, [info(3).id]))
    assert checking.calls == {"a": ("finish", ([info(3).id], 1))}
    checking.answer({"a": [False]})  # it is gone already
    world.finish(checking)
    assert checking.value == []
    ending.answer({"a": [True]})
    assert ending.value == [info(3).id]


def test_whoever_lists_keys_waits_for_deletions() -> None:
    world = World(answers={("a", "drop"): drops})
    state = world.know()
    put(state, info(1), "a")
    deleting = Talk(world, deletion.end(state, [info(1).id]))
    listing = Talk(world, keys.list_keys(state, "s", ""))
    assert isinstance(listing.instruction, Wait)
    assert Talk(world, keys.list_keys(state, "s", "other")).value == []
    deleting.answer({"a": [True]})
    listing.go_on()
    assert listing.value == []


@pytest.mark.parametrize("known", [False, True])
def test_what_is_deleted_while_its_shelf_is_listed_does_not_come_back(known: bool) -> None:
    world = World(answers={("a", "drop"): drops})
    state = world.know(*"bc")
    if known:
        state = world.know()
        put(state, info(1), "a")
    else:
        state.index.copies.add(info(1, None), "a", "a")
    joining = Talk(world, shelves.join(state, "a"))
    while not isinstance(joining.instruction, Ask):
        joining.answer(world.carry_out(joining.instruction))
    one = info(1, "k" if known else None)
    world.answers["a", "holds"] = keeps(one.id)
    world.run(deletion.end(state, [one.id]) if known else deletion.erase(state, one, "a"))
    joining.answer({"a": listing(2, Listed(one, kept=True))})
    world.finish(joining)
    assert len(state.index) == 0 and state.index.holders(one.id) == {}


@pytest.mark.parametrize("ended", ["before it is sealed", "before it counts"])
def test_what_has_ended_at_its_home_while_it_was_copied_does_not_count_there(ended: str) -> None:
    """Else the only replica could be dropped, as another would be thought to be there."""
    world, one = World(answers={("b", "lacks"): [True]}), info(1, None)
    state = world.know()

    def join(*, kept: bool) -> list[int]:
        return world.run(replicas.join_copies(state, [one], "b", "a", kept=kept, epoch=1))

    if ended == "before it counts":
        assert join(kept=False) == [1]
    world.run(replicas.ended(state, [one.id], "b"))
    if ended == "before it is sealed":
        assert join(kept=False) == [0]
    else:
        assert join(kept=True) == [1]
        assert state.index.holders(one.id) == {"a": True}
        assert replicas.leave(state, [one], "a") == [False]


def test_where_a_handle_leads_a_keeper_is_started_if_there_is_none() -> None:
    """Its keeper died for good before this catalog heard of it: nobody else knows of the array."""
    one = info(1, None)
    world = World(answers={("b", "listing_part"): listing(2), ("b", "given_up"): [], ("b", "holds"): keeps(one.id)})
    state = world.know("a")
    state.nodes = dict(world.nodes)
    world.keeperless = {"b"}
    assert world.run(locating.locate(state, one, "b", "a")) == Located(["b"])


# --- shelves


def test_a_shelf_is_listed_by_one_at_a_time() -> None:
    world = World()
    state = world.know()
    first, second = (Talk(world, shelves.join(state, "b")) for _ in range(2))
    first.answer(None)  # its keeper was found
    assert isinstance(second.instruction, Wait) and not second.instruction.until()
    first.answer({"b": listing(2, Listed(info(1), kept=True))})
    first.answer({"b": []})  # no put has come to nothing there
    assert first.over
    second.go_on()
    second.answer(None)
    second.answer({"b": listing(3, Listed(info(2), kept=True))})
    second.answer({"b": []})
    assert state.epochs["b"] == 3
    assert [entry.info for entry in state.index.all_entries()] == [info(2)]


def test_an_array_without_a_key_that_is_put_while_its_shelf_is_listed_gets_its_replicas() -> None:
    """That listing does not have it, and must not make the catalog forget it."""
    world, one = World(answers={("a", "room"): None}), info(1, None, replicas=2)
    state = world.know()
    joining = Talk(world, shelves.join(state, "b"))
    joining.answer(None)  # its keeper was found, and answers, before the array is put
    replicating = Talk(world, replicas.replicate(state, [one], "b", 1))
    joining.answer({"b": listing(2)})
    joining.answer({"b": []})
    assert joining.over
    replicating.go_on()
    replicating.answer({"b": [True]})
    assert state.index.holders(one.id) == {"b": True}
    assert [lacking.id for lacking, _ in state.index.copies.too_few()] == [one.id]


def test_a_draft_is_not_listed_as_of_an_epoch_that_a_listing_under_way_has_raised() -> None:
    """That listing does not have it: sealed as of its epoch, it would be an array that no catalog lists."""
    world = World()
    state = world.know()
    joining = Talk(world, shelves.join(state, "b"))
    joining.answer(None)  # its keeper was found, and answers: the epoch is 2 from here on
    draft = put(state, info(1), "b")
    asking = Talk(world, keys.listed(state, [draft.id], "b", 2))
    assert isinstance(asking.instruction, Wait) and not asking.instruction.until()
    joining.answer({"b": listing(2)})
    joining.answer({"b": []})
    asking.go_on()
    asking.answer(None)
    asking.answer({"b": listing(3)})
    asking.answer({"b": []})
    assert asking.over and asking.value is None
    assert Talk(world, keys.listed(state, [draft.id], "b", 3)).value == set()


def test_a_shelf_that_could_not_be_listed_may_be_listed_again() -> None:
    world = World()
    state = world.know("a", "c")
    talk = Talk(world, shelves.join(state, "b"))
    talk.answer(None)  # it is written down
    talk.answer(None)  # its keeper was found
    with pytest.raises(StoreUnavailable, match="nobody on node b says"):
        talk.answer({})
    assert not state.under_way.listing
    world.run(shelves.join(state, "b"))
    assert state.epochs["b"] == 1


def test_what_is_earlier_than_what_was_lost_is_dropped() -> None:
    world = World(answers={("b", "drop"): drops})
    state = world.know()
    put(state, info(2), "c")
    world.kill("c")
    world.run(losing.look_for_dead(state))
    world.answers["b", "listing_part"] = listing(2, Listed(info(1), kept=True))
    world.run(shelves.join(state, "b"))
    assert ("b", "drop", ([(info(1).id, ("s", "k"))],)) in world.asked
    assert state.index.lost.of_key("s", "k") is not None


@pytest.mark.parametrize("kept_elsewhere", [False, True])
def test_a_cached_copy_that_nobody_keeps_is_kept(kept_elsewhere: bool) -> None:
    world = World(answers={("b", "keep"): keeps(info(1).id)})
    state = world.know("a", "c")
    if kept_elsewhere:
        put(state, info(1), "a")
    world.answers["b", "listing_part"] = listing(2, Listed(info(1), kept=False))
    world.run(shelves.join(state, "b"))
    expected = {"a": True, "b": False} if kept_elsewhere else {"b": True}
    assert state.index.holders(info(1).id) == expected


@pytest.mark.parametrize("then", ["finish", "lacks"])
def test_a_report_that_is_older_than_a_move_removes_no_key(then: str) -> None:
    """While the shelf is asked whether an array is there after all, its home moves."""
    world = World()
    state = world.know()
    put(state, info(1, replicas=2), "a")
    state.index.copies.add(info(1, replicas=2), "a", "b")
    talk = Talk(world, reconciling.reconcile(state, "a", []))
    while "finish" not in [method for method, _ in talk.calls.values()]:
        talk.answer({})
    if then == "finish":
        assert replicas.leave(state, [info(1, replicas=2)], "a") == [True]
    talk.answer({"a": [False]})
    assert talk.calls == {"a": ("lacks", ([info(1).id],))}
    if then == "lacks":
        assert replicas.leave(state, [info(1, replicas=2)], "a") == [True]
    talk.answer({"a": [True]})
    assert talk.value == []
    assert state.index.holders(info(1).id) == {"b": True}


@pytest.mark.parametrize("replicated", [False, True])
def test_what_is_gone_from_a_shelf_is_lost_unless_others_keep_it(replicated: bool) -> None:
    world = World(answers={("a", "finish"): [False], ("a", "lacks"): [True]})
    state = world.know()
    one = put(state, info(1, replicas=2), "a")
    if replicated:
        state.index.copies.add(one, "a", "b")
    [finding] = world.run(reconciling.reconcile(state, "a", []))
    assert finding.problem == "missing"
    assert state.index.holders(one.id) == ({"b": True} if replicated else {})


# --- replicas


@pytest.mark.parametrize("epoch", [1, 2])
@pytest.mark.parametrize("kept", [False, True])
def test_a_copy_on_a_shelf_that_was_removed_is_not_noted(kept: bool, epoch: int) -> None:
    """The call comes late. It is no reason to start a keeper on a node that may be about to go."""
    world = World()
    state = world.know()
    put(state, info(1, replicas=2), "a")
    state.epochs["b"] = 2
    shelves.leave(state, "b", 2)
    joining = Talk(world, replicas.join_copies(state, [info(1)], "a", "b", kept=kept, epoch=epoch))
    assert joining.over and joining.value == [0]
    assert replicas.join_at_once(state, [info(1)], "a", "b", kept, epoch) is None
    assert state.index.holders(info(1).id) == {"a": True}
    assert "b" not in state.epochs


@pytest.mark.parametrize("at_once", [False, True])
def test_a_copy_that_was_kept_under_an_earlier_epoch_is_not_noted(at_once: bool) -> None:
    """The shelf was listed since, or removed and made anew. The keeper asks again, if it has the copy still."""
    world, one = World(), info(1, replicas=2)
    state = world.know()
    put(state, one, "a")
    state.epochs["b"] = 3

    def join(epoch: int) -> list[int] | None:
        if at_once:
            return replicas.join_at_once(state, [one], "a", "b", True, epoch)
        return world.run(replicas.join_copies(state, [one], "a", "b", kept=True, epoch=epoch))

    assert join(2) == [3]
    assert state.index.holders(one.id) == {"a": True}
    assert join(3) == [3]
    assert state.index.holders(one.id) == {"a": True, "b": True}
    state.epochs["b"] = 4
    state.index.doom("s", ["k"])
    assert join(3) == [0], "it is being deleted: the keeper does not ask again"


@pytest.mark.parametrize("epoch", [0, 2])
def test_a_copy_that_is_joined_while_its_shelf_is_listed_waits_for_that_listing(epoch: int) -> None:
    """Several that come at once would otherwise have the shelf listed one after the other, each under a new epoch."""
    world, one = World(answers={("b", "listing_part"): listing(2)}), info(1)
    state = world.know()
    put(state, one, "a")
    listed = Talk(world, shelves.join(state, "b"))
    joining = Talk(world, replicas.join_copies(state, [one], "a", "b", kept=False, epoch=epoch))
    assert isinstance(joining.instruction, Wait)
    world.finish(listed)
    joining.go_on()
    assert joining.over and joining.value == [2]


@pytest.mark.parametrize("key", ["k", None])
@pytest.mark.parametrize("marked_by", ["the keeper", "the catalog"])
def test_a_copy_that_is_kept_while_its_shelf_is_listed_counts_as_kept(marked_by: str, key: str | None) -> None:
    """The listing passed it by before it was marked."""
    one = info(1, key, replicas=2)
    world = World(answers={("b", "keep"): lambda asked: [True] * len(asked)})
    state = world.know()
    if key is None:
        state.note_kept(one, "a")
    else:
        put(state, one, "a")
    world.run(replicas.join_copies(state, [one], "a", "b", kept=False, epoch=1))
    listed = Talk(world, shelves.join(state, "b"))
    while not isinstance(listed.instruction, Ask):
        listed.answer(world.carry_out(listed.instruction))
    listed.answer({"b": listing(2, Listed(one, kept=False))})
    if marked_by == "the keeper":
        assert world.run(replicas.join_copies(state, [one], "a", "b", kept=True, epoch=1)) == [1]
    else:
        assert world.run(replicas.multiply(state, one)) == ["a", "b"]
    listed.answer({"b": []})
    world.finish(listed)
    assert state.index.holders(one.id) == {"a": True, "b": True}


@pytest.mark.parametrize("since", ["it has left", "it has left, and is back", "it has dropped something"])
def test_that_a_keeper_keeps_a_copy_is_no_news_of_its_shelf_as_it_is_since(since: str) -> None:
    """Nor of another shelf there."""
    world, one = World(), info(1, replicas=2)
    state = world.know("a", "b")
    put(state, one, "a")
    world.run(replicas.join_copies(state, [one], "a", "b", kept=False, epoch=1))
    keeping = Talk(world, asking.keep(state, {"b": [one]}))
    if since == "it has dropped something":
        assert replicas.leave(state, [one], "b") == [True]
        world.answers["b", "holds_from_now"] = lambda asked: (2, [False] * len(asked))
        world.run(reconciling.forget_absent(state, "b", [one.id]))
    else:
        shelves.leave(state, "b", 1)
    if since == "it has left, and is back":
        world.run(shelves.join(state, "b"))
    keeping.answer({"b": [True]})
    assert keeping.over and keeping.value == []


@pytest.mark.parametrize("many", [False, True])
def test_a_node_that_was_left_is_no_target_because_somebody_reads_there(many: bool) -> None:
    world = World()
    state = world.know()
    put(state, info(1), "a")
    shelves.leave(state, "b", 1)
    some = [info(1), info(2)] if many else [info(1)]
    assert world.run(replicas.join_copies(state, some, "a", "b", kept=False, epoch=0)) == [1, 0][: len(some)]
    assert state.left == {"b"}
    assert Talk(world, replicas.multiply(state, info(1)._replace(replicas=3))).instruction.nodes == ["c"]  # type: ignore[attr-defined]
    keys.bind(state, [info(3, "another")], "b", 0)
    assert not state.left


@pytest.mark.parametrize("key", ["k", None])
@pytest.mark.parametrize("kept", [False, True])
def test_a_copy_is_noted_at_once_if_no_shelf_has_to_be_listed(key: str | None, kept: bool) -> None:
    world, one = World(), info(1, key)
    state, other = world.know(), World().know()
    for each in (state, other):
        if key is not None:
            put(each, one, "a")
    noted = replicas.join_at_once(state, [one], "a", "b", kept, 1)
    assert noted == World().run(replicas.join_copies(other, [one], "a", "b", kept=kept, epoch=1)) == [1]
    assert state.index.holders(one.id) == other.index.holders(one.id)
    assert replicas.join_at_once(state, [one], "a", "b", kept, 2) is None  # the shelf has a later epoch
    deleted = info(2, None)
    state.note_erased(deleted.id)
    assert replicas.join_at_once(state, [deleted], "a", "b", kept, 1) == [0]
    unlisted = World().know("a")
    assert replicas.join_at_once(unlisted, [one], "a", "b", kept, 1) is None
    homeless = World().know("b")
    assert (replicas.join_at_once(homeless, [one], "a", "b", kept, 1) is None) == (key is None)


def test_copies_of_one_array_are_made_by_one_at_a_time() -> None:
    world = World(nodes="ab")
    state, two = world.know(), info(1, replicas=2)
    put(state, two, "a")
    first, second = (Talk(world, replicas.multiply(state, two)) for _ in range(2))
    assert isinstance(second.instruction, Wait)
    first.answer(set())  # nobody is late
    first.answer({"b": 1 << 20})
    assert first.calls == {"b": ("fetch", (pack([two]), "a", True))}
    world.run(replicas.join_copies(state, [two], "a", "b", kept=True, epoch=1))
    first.answer({"b": None})
    assert first.value == ["a", "b"]
    second.go_on()
    world.finish(second)
    assert second.value == ["a", "b"] and world.methods("b").count("fetch") == 0


def test_all_targets_copy_an_array_at_once() -> None:
    """One that has it cached need not; and one that is dead keeps no other waiting."""
    world = World(nodes="abcd")
    state, wanted = world.know(), info(1, replicas=4)
    put(state, wanted, "a")
    world.run(replicas.join_copies(state, [wanted], "a", "d", kept=False, epoch=1))
    talk = Talk(world, replicas.multiply(state, wanted))
    talk.answer(set())  # nobody is late
    talk.answer(dict.fromkeys("bcd", 1 << 20))
    assert talk.calls == {"d": ("keep", ([wanted.id],))}
    talk.answer({"d": [True]})
    assert talk.calls == dict.fromkeys("bc", ("fetch", (pack([wanted]), "a", True)))
    world.run(replicas.join_copies(state, [wanted], "a", "c", kept=True, epoch=1))
    talk.answer({"c": None})
    world.finish(talk)
    assert sorted(talk.value) == ["a", "c", "d"]


def test_what_lacks_copies_is_copied_at_the_rate_that_was_set() -> None:
    """However many are lacking, and although there is no room for some of them."""
    world = World(nodes="ab")
    state = world.know()

    def fetch(packed: bytes, home: str, _: bool) -> None:
        for one in unpack(packed):
            replicas.join_copy(state, one, home, "b", kept=True)

    world.answers["b", "fetch"] = fetch
    for number in range(1, 6):
        put(state, info(number, f"{number}", replicas=2, size=1000), "a")
    put(state, info(9, "large", replicas=2, size=1 << 40), "a")
    state.rate = 2000.0
    lacking = []
    for _ in range(60):
        world.run(replicas.multiply_few(state))
        lacking.append(state.index.copies.lacking)
        world.clock += 0.25
    assert lacking[-1] == 1  # the large one
    made = [before - after for before, after in zip([6, *lacking], lacking, strict=False)]
    assert max(sum(made[i : i + 4]) for i in range(60)) <= 4  # of any second: what was left of one, and the next
    assert sum(made) == 5 and max(made) <= 2
    state.rate = math.inf
    world.answers["b", "room"] = 1 << 41
    world.run(replicas.multiply_few(state))
    assert not state.index.copies.lacking


def test_those_that_leave_at_once_are_told_one_after_the_other() -> None:
    world = World()
    state, two = world.know(), info(1, replicas=2)
    put(state, two, "a")
    state.index.copies.add(two, "a", "b")
    assert replicas.leave(state, [two], "a") == [True]
    assert replicas.leave(state, [two], "b") == [False]
    state.validate()
    assert state.index.home(two.id) == "b"


def test_a_leave_that_is_said_again_is_granted_again_although_the_array_was_replaced_meanwhile() -> None:
    """Its answer was lost. The books have no file on that node any more, so nobody would ever drop it there."""
    world = World()
    state, one, two = world.know(), info(1), info(2)
    put(state, one, "a")
    state.index.copies.add(one, "a", "b")
    assert replicas.leave(state, [one], "a") == [True]
    put(state, two, "b")
    assert state.index.is_superseded(one.id)
    assert replicas.leave(state, [one], "b") == [False]  # it may be current again, and b alone has it
    state.unlisted.add("a")
    assert replicas.leave(state, [one], "a") == [False]  # the books may lack what it has
    state.unlisted.discard("a")
    assert replicas.leave(state, [one], "a") == [True]


def test_nobody_drops_an_array_for_a_catalog_that_does_not_know_it() -> None:
    state = World().know("a")
    assert replicas.leave(state, [info(1)], "a") == [True]  # deleted meanwhile
    assert replicas.leave(state, [info(1)], "b") == [False]  # not heard of yet
    state.unlisted.add("a")
    assert replicas.leave(state, [info(1)], "a") == [False]


def test_an_array_without_a_key_that_a_listing_has_made_unknown_stays_on_its_node() -> None:
    """A listing names only those that shall have copies. One ends while the node is being emptied."""
    one = info(1, None)

    def forget(*_: Any) -> int:
        state.index.copies.forget_array(one.id)
        return 0

    world = World(answers={("a", "keep"): keeps(one.id), **{(name, "room"): forget for name in "bc"}})
    state = world.know()
    assert world.run(replicas.evacuate(state, [one], "a", 1, anywhere=True)) == [False]
    assert world.methods("b") + world.methods("c") == ["room", "room"]
    assert replicas.leave(state, [one], "a") == [False]
    state.note_erased(one.id)
    assert replicas.leave(state, [one], "a") == [True]  # deleted meanwhile
    assert world.run(replicas.evacuate(state, [one], "a", 1, anywhere=True)) == [True]


def test_what_counts_as_lost_stays_on_a_node_that_has_adopted_it_and_is_not_listed_since() -> None:
    world, one = World(), info(1)
    state = world.know("a")
    state.index.lost.add(Lost(one, "b", 1.0))
    assert world.run(replicas.evacuate(state, [one], "a", 1, anywhere=True)) == [False]
    assert replicas.leave(state, [one], "a") == [False]
    assert replicas.leave(state, [info(2)], "a") == [True]  # another array of that key, which was deleted


def adopted_by(world: World, node: str, *listed: Listed) -> State:
    """A keeper of this node has adopted arrays, and says so."""
    world.answers[node, "listing_part"], world.answers[node, "drop"] = listing(9, *listed), drops
    world.run(shelves.welcome(world.state, node))
    world.state.validate()
    return world.state


def test_an_array_that_was_deleted_while_its_dead_nodes_shelf_was_adopted_does_not_come_back() -> None:
    """Its new keeper has asked before the deletion what is lost, and tells the catalog after it what it has."""
    world, one = World(), info(1)
    state = world.know()
    put(state, one, "b")
    world.kill("b")
    world.run(losing.look_at_nodes(state))
    assert pages.saved_as_lost(world.saved.get)[0].info == one
    assert world.run(deletion.end(state, [one.id])) == [one.id]
    assert not pages.saved_as_lost(world.saved.get)  # from here on no keeper adopts it
    adopted_by(world, "c", Listed(one, kept=True))
    assert state.index.find("s", "k") is None
    assert ("c", "drop", ([(one.id, ("s", "k"))],)) in world.asked
    assert keys.bind(state, [info(1)], "a", 0) == Bound(0)  # nor if it is put by a call that comes late
    behind = info(1)._replace(id="9" * 32)
    assert keys.bind(state, [behind], "a", 0) == Bound(0, 1)  # a writer whose clock is behind


def test_an_array_that_was_deleted_while_its_adopter_was_listed_is_dropped_there() -> None:
    """Nobody else drops it: the deletion knew of the dead node's file alone."""
    world, one = World(answers={("c", "drop"): drops}), info(1)
    state = world.know("a", "b")
    put(state, one, "b")
    welcoming = Talk(world, shelves.welcome(state, "c"))
    while not isinstance(welcoming.instruction, Ask):
        welcoming.answer(world.carry_out(welcoming.instruction))
    world.kill("b")
    assert world.run(deletion.end(state, [one.id])) == [one.id]
    welcoming.answer({"c": listing(9, Listed(one, kept=True))})
    world.finish(welcoming)
    assert state.index.find("s", "k") is None
    assert ("c", "drop", ([(one.id, ("s", "k"))],)) in world.asked


def test_an_array_that_was_overwritten_meanwhile_does_not_come_back_once_the_later_one_is_deleted() -> None:
    world, one, two = World(answers={("a", "drop"): drops}), info(1), info(2)
    state = world.know()
    put(state, one, "b")
    world.kill("b")
    world.run(losing.look_at_nodes(state))
    put(state, two, "a")
    assert world.run(deletion.end(state, [two.id])) == [two.id]
    adopted_by(world, "c", Listed(one, kept=True))
    assert state.index.find("s", "k") is None
    put(state, info(3), "a")
    adopted_by(world, "c", Listed(one, kept=True))
    assert state.index.find("s", "k").info == info(3)  # type: ignore[union-attr]


@pytest.mark.parametrize("overwritten", [False, True])
def test_the_head_knows_what_a_dead_node_took_before_a_deletion_beside_its_shelf_returns(overwritten: bool) -> None:
    """If the catalog dies then, and the shelf is adopted, nobody knows of the deletion."""
    world, one, two = World(answers={("a", "drop"): drops, ("a", "finish"): keeps(info(2).id)}), info(1), info(2)
    state = world.know()
    put(state, one, "b")
    world.kill("b")
    assert pages.wanted_of("b", world.saved.get)(one)
    if overwritten:
        world.run(replaced.drop_where_sealed(state, "a", state.index.bind([two], "a")))  # type: ignore[arg-type]
    last = two if overwritten else one
    assert world.run(losing.end(state, [last.id])) == [last.id]
    assert not pages.wanted_of("b", world.saved.get)(one)
    world.saved.clear()
    assert world.run(losing.end(state, [last.id])) == []
    assert not world.saved  # once is enough


def test_the_last_file_goes_only_once_the_head_knows_that_a_dead_node_is_settled() -> None:
    """If the catalog dies as it is dropped, no file says that the dead node's array was overwritten."""

    def drops_later_ones(asked: list[tuple[str, Any]]) -> list[bool]:
        known.append(not pages.wanted_of("b", world.saved.get)(one))
        return drops(asked)

    known = list[bool]()
    world, one, two = World(answers={("a", "drop"): drops_later_ones}), info(1), info(2)
    state = world.know()
    put(state, one, "b")
    state.index.bind([two], "a")
    world.kill("b")
    assert world.run(losing.end(state, [two.id])) == [two.id]
    assert known == [True]


@pytest.mark.parametrize("lost", [False, True])
def test_what_is_deleted_beside_a_node_that_died_unheard_does_not_come_back_with_the_next_catalog(lost: bool) -> None:
    """Nobody knows what it had: the same array, say, or an earlier one of its key."""

    def next_catalog() -> State:
        then = World()
        then.kill("b")
        then.state.remember(dict(world.saved).get)
        return then.state

    def drops_later_ones(asked: list[tuple[str, Any]]) -> list[bool]:
        states.append(next_catalog())
        return drops(asked)

    states = list[State]()
    world, one, two = World(answers={("a", "drop"): drops_later_ones}), info(1), info(2)
    state = world.know("a", "c")
    state.shelves.add("b")
    world.kill("b")
    world.answers["a", "listing_part"] = listing(1, Listed(two, kept=True))
    world.run(shelves.begin(state))
    if lost:
        world.kill("a")
    assert world.run(losing.end(state, [two.id])) == [two.id]
    states.append(next_catalog())
    assert [then.deleted_after([one]) > 0 for then in states] == [True] * len(states)
    assert [then.deleted_after([two]) > 0 for then in states] == [False, True][
        lost:
    ]  # it stands until its file is gone
    assert not states[-1].deleted_after([info(3)])
    del world.nodes["b"]  # Ray has forgotten it
    world.run(losing.look_at_nodes(state))
    world.run(asking.list_nodes(state))
    for _ in range(2):
        world.run(losing.look_at_nodes(state))
    assert not next_catalog().deleted and not next_catalog().graves.strays


def test_a_deletion_waits_until_it_is_saved_that_a_dead_node_is_settled_but_not_for_ever() -> None:
    world, one, two = World(answers={("a", "drop"): drops}), info(1), info(2, "other")
    state = world.know()
    put(state, one, "b")
    put(state, two, "a")
    world.kill("b")
    settling = Talk(world, losing.look_for_dead(state))
    assert isinstance(settling.instruction, Save)  # the head is silent
    deleting = Talk(world, losing.end(state, [two.id]))
    while not isinstance(deleting.instruction, Start) and not deleting.over:
        deleting.answer(world.carry_out(deleting.instruction))
    beside = Talk(world, deleting.instruction.conversation)
    deleting.answer(None)
    assert isinstance(deleting.instruction, Wait)
    assert deleting.instruction.patience == PATIENCE
    assert not any(method == "drop" for _, method, _ in world.asked)
    world.finish(settling)
    beside.go_on()
    world.finish(beside)
    deleting.go_on()
    world.finish(deleting)
    assert deleting.value == [two.id]
    assert pages.wanted_of("b", world.saved.get)(one)
    assert not pages.wanted_of("b", world.saved.get)(two)


@pytest.mark.parametrize("busy", ["with another save", "with this one"])
def test_a_deletion_of_what_is_lost_waits_until_that_is_saved_but_not_for_ever(busy: str) -> None:
    world, one = World(), info(1)
    state = world.know()
    put(state, one, "b")
    world.kill("b")
    world.run(losing.look_at_nodes(state))
    state.under_way.saving = busy == "with another save"
    deleting = Talk(world, deletion.end(state, [one.id]))
    assert isinstance(deleting.instruction, Start)
    beside = Talk(world, deleting.instruction.conversation)
    assert isinstance(beside.instruction, Wait if busy == "with another save" else Save)
    deleting.answer(None)
    assert isinstance(deleting.instruction, Wait) and deleting.instruction.patience == PATIENCE
    deleting.answer(False)  # the head is silent for so long
    assert deleting.value == [one.id]
    state.under_way.saving = busy == "with this one"
    world.finish(beside)
    assert not pages.saved_as_lost(world.saved.get) and not state.under_way.saving


def test_copies_go_where_they_are_cached_then_to_the_head_then_where_room_is() -> None:
    world = World(nodes="abcdef", answers={("d", "room"): 5000, ("e", "room"): 100})
    state = world.know()
    put(state, info(1), "b", "f")
    world.nodes["c"] = node("c", draining=True)
    state.nodes = dict(world.nodes)
    assert world.run(targets.find(state, info(1), Rooms(), set(), missing=1)) == ["f", "a", "d"]


def test_many_small_arrays_travel_together() -> None:
    world = World(nodes="ab")
    state = world.know()
    some = [info(number, f"k{number}", replicas=2) for number in range(1, 11)]
    for one in some:
        put(state, one, "a")

    def fetch_many(packed: bytes, home: str) -> None:
        world.run(replicas.join_copies(state, some, home, "b", kept=True, epoch=1))

    world.answers["b", "fetch_many"] = fetch_many
    assert world.run(replicas.replicate(state, some, "a", 1)) == [2] * 10
    assert world.methods("b").count("fetch_many") == 1 and "fetch" not in world.methods("b")
    assert not state.under_way.bulk and not state.under_way.in_bulk


# --- what was replaced


def test_what_is_held_stays_until_it_is_released() -> None:
    world = World(answers={("a", "finish"): keeps(info(2).id), ("a", "drop"): drops})
    state = world.know()
    put(state, info(1), "a")
    number, _ = keys.hold(state, "s", ["k"])
    put(state, info(2), "a")
    assert replaced.sort_out(state) == []
    keys.release(state, number)
    assert replaced.sort_out(state) == ["a"]
    world.run(replaced.drop_where_sealed(state, "a", state.to_drop.pop("a")))
    assert ("a", "drop", ([(info(1).id, None)],)) in world.asked
    assert not state.index.find("s", "k").superseded  # type: ignore[union-attr]


def test_a_reader_that_does_not_come_back_holds_nothing_for_ever() -> None:
    world = World()
    state = world.know()
    put(state, info(1), "a")
    keys.hold(state, "s", ["k"])
    put(state, info(2), "a")
    assert replaced.sort_out(state) == []
    world.clock = 61.0
    replaced.try_again(state)
    assert replaced.sort_out(state) == ["a"]


@pytest.mark.parametrize("answer", [None, [False]])
def test_nothing_is_dropped_before_what_replaced_it_is_sealed(answer: list[bool] | None) -> None:
    world = World(answers={} if answer is None else {("a", "finish"): answer})
    state = world.know()
    put(state, info(1), "a")
    put(state, info(2), "a")
    replaced.sort_out(state)
    world.run(replaced._drop_or_again(state, "a", state.to_drop.pop("a")))
    assert "drop" not in world.methods("a")
    assert set(state.again) == {Replacement(Holding(info(1).id, "a"), Holding(info(2).id, "a"), "s", "k")}


def test_an_epoch_that_is_raised_as_it_is_sealed_leaves_no_old_file_for_ever() -> None:
    """Somebody has the shelf say once more what it has, between two lines of who drops what was replaced."""
    world = World(answers={("a", "drop"): drops, ("a", "finish"): lambda ids, epoch: [epoch == 2] * len(ids)})
    state = world.know()
    put(state, info(1), "a")
    put(state, info(2), "a")
    replaced.sort_out(state)
    dropping = Talk(world, replaced.drop_where_sealed(state, "a", state.to_drop.pop("a")))
    state.epochs["a"] = 2
    dropping.answer({"a": [False]})  # as of epoch 1
    world.finish(dropping)
    replaced.try_again(state)
    replaced.sort_out(state)
    world.run(replaced.drop_where_sealed(state, "a", state.to_drop.pop("a")))
    assert ("a", "drop", ([(info(1).id, None)],)) in world.asked
    assert not state.again


def test_what_was_replaced_by_what_was_replaced_is_dropped_with_that() -> None:
    world = World(answers={("a", "finish"): keeps(info(3).id), ("a", "drop"): drops})
    state = world.know()
    for version in (1, 2, 3):
        put(state, info(version), "a")
    replaced.sort_out(state)
    world.run(replaced.drop_where_sealed(state, "a", state.to_drop.pop("a")))
    [(_, _, (dropped,))] = [one for one in world.asked if one[1] == "drop"]
    assert dropped == [(info(1).id, None), (info(2).id, None)]
    assert not state.again


# --- nodes that die


def test_what_a_dead_node_alone_kept_is_lost_and_the_rest_is_not() -> None:
    world = World(answers={("b", "keep"): keeps(info(2).id)})
    state = world.know()
    put(state, info(1, "alone"), "c")
    put(state, info(2, "cached"), "c", "b")
    put(state, info(3, "both", replicas=2), "c")
    state.index.copies.add(info(3, "both", replicas=2), "c", "a")
    world.kill("c")
    world.run(losing.look_for_dead(state))
    assert {entry.info.key: entry.node for entry in state.index.all_entries()} == {"cached": "b", "both": "a"}
    assert [lost.info.key for lost in state.index.lost] == ["alone"]
    saved = pages.saved_as_lost(world.saved.get)
    assert [(lost.info, lost.node) for lost in saved] == [(info(1, "alone"), "c")]
    assert json.loads(world.saved[pages.LOSSES_KNOWN]) == ["c"]
    assert pages.wanted_of("c", world.saved.get)(info(1, "alone"))
    assert not pages.wanted_of("c", world.saved.get)(info(2, "cached"))


def test_what_is_deleted_while_it_is_rescued_stays_deleted() -> None:
    world = World(answers={("b", "drop"): drops, ("b", "forbid"): None})
    state = world.know()
    put(state, info(1), "c", "b")
    world.kill("c")
    losing_it = Talk(world, losing.look_for_dead(state))
    assert losing_it.calls == {"b": ("keep", ([info(1).id],))}
    state.index.unbind("s", "k", info(1).id)  # the end of a deletion
    losing_it.answer({"b": [True]})
    world.finish(losing_it)
    assert state.index.holders(info(1).id) == {}
    assert len(state.index.lost) == 0


def test_what_could_not_be_written_down_is_written_down_later() -> None:
    world = World()
    state = world.know()
    put(state, info(1), "c")
    world.kill("c")
    talk = Talk(world, losing.look_for_dead(state))
    assert isinstance(talk.instruction, Save)
    with pytest.raises(ConnectionError):
        talk.answer(ConnectionError())
    assert not state.under_way.losing and not state.under_way.saving
    world.run(saving.save(state))
    assert [lost.info for lost in pages.saved_as_lost(world.saved.get)] == [info(1)]
    world.saved.clear()
    world.run(saving.save(state))
    assert not world.saved  # once is enough


def test_whoever_asks_where_an_array_is_waits_for_what_is_being_lost() -> None:
    world = World()
    state = world.know()
    put(state, info(1), "c", "b")
    world.kill("c")
    first = Talk(world, losing.look_for_dead(state))
    asking = Talk(world, locating.locate(state, info(1), "c", "a"))
    assert isinstance(asking.instruction, Wait) and not asking.instruction.until()
    first.answer({})  # b has dropped its cached copy
    world.finish(first)
    asking.go_on()
    world.finish(asking)
    assert asking.value == Located([], "c", 1000.0)


def test_machines_are_searched_once_for_what_an_earlier_cluster_left() -> None:
    world = World()
    state = world.know("a")
    for _ in range(2):
        world.run(losing.look_at_nodes(state))
    assert world.searched == ["b", "c"] and state.rounds == 2


def test_a_machine_with_a_shelf_to_adopt_is_searched_until_its_node_is_listed() -> None:
    """The keeper that was started there may have ended for good before anybody heard of it."""
    world = World()
    state = world.know("a")
    world.run(losing.look_at_nodes(state))
    losing.found_shelf(state, "b")
    for world.clock, searched in (19.0, ["b", "c"]), (21.0, ["b", "c", "b"]), (100.0, ["b", "c", "b"]):
        world.run(losing.look_at_nodes(state))  # by the last of these, nothing was found any more
        assert world.searched == searched
    for name in "bc":
        losing.found_shelf(state, name)
    state.epochs["b"] = 1
    state.known.add("b")
    world.kill("c")
    world.clock = 200.0
    world.run(losing.look_at_nodes(state))
    assert world.searched == ["b", "c", "b"]


# --- what must be true at every moment


def test_a_last_replica_that_is_to_be_dropped_is_noticed() -> None:
    world = World()
    state = world.know()
    put(state, info(1), "a", "b")
    ask = Ask({"a": Call.of("drop", [(info(1).id, None)])})
    with pytest.raises(AssertionError, match="nobody else keeps"):
        state.validate_ask(ask)
    state.validate_ask(Ask({"b": Call.of("drop", [(info(1).id, None)])}))
    state.index.doom("s", ["k"])
    state.validate_ask(ask)


def test_books_that_differ_are_noticed() -> None:
    state = World().know()
    put(state, info(1), "a", "b")
    state.index.find("s", "k").node = "b"  # type: ignore[union-attr]
    with pytest.raises(AssertionError, match="not kept at its home b"):
        state.validate()


# --- calls that come late, and writers that overtake each other


def restamped(one: ArrayInfo, version: int) -> ArrayInfo:
    return one._replace(version=version)


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_was_replaced_before_it_was_sealed_and_is_current_again_is_not_dropped(when: str) -> None:
    """Its shelf had a new epoch as it was to be sealed, so its writer asked again, with a later version."""
    world = World(answers={("a", "finish"): keeps(info(2).id, info(1).id), ("a", "drop"): drops})
    state = world.know()
    put(state, info(1), "a")
    put(state, info(2), "a")
    replaced.sort_out(state)
    later = restamped(info(1), 3)
    if when == "before":
        put(state, later, "a")
        world.run(replaced.drop_where_sealed(state, "a", state.to_drop.pop("a")))
        assert ("a", "drop", ([],)) not in world.asked and not [one for one in world.asked if one[1] == "drop"]
        return
    talk = Talk(world, replaced.drop_where_sealed(state, "a", state.to_drop.pop("a")))
    talk.answer({"a": [True]})
    assert talk.calls == {"a": ("drop", ([(info(1).id, None)],))}
    assert keys.bind(state, [later], "a", 1) == Bound(0, elsewhere=True)
    assert world.run(keys.replace(state, [later], "a", 0)) == Bound(0)  # its file goes just now
    talk.answer({"a": [True]})
    assert talk.over and not state.unwanted
    assert state.index.find("s", "k").info == info(2)  # type: ignore[union-attr]


def test_a_repeated_call_whose_array_is_gone_gives_back_what_it_replaced() -> None:
    state = World().know()
    put(state, info(1), "a")
    put(state, info(2), "a")
    keys.unbind(state, [info(2)], "a")
    assert state.index.find("s", "k").info == info(1)  # type: ignore[union-attr]
    keys.unbind(state, [info(1)], "a")
    assert state.index.find("s", "k") is None


def test_a_repeated_call_whose_array_is_gone_before_it_had_its_replicas_is_taken_back() -> None:
    state = World().know()
    one = put(state, info(1, replicas=2), "a")
    keys.unbind(state, [one], "a")
    assert state.index.find("s", "k") is None and not state.index.copies.of(one.id)


def test_what_was_sealed_for_its_writer_and_has_left_the_node_since_stays_listed() -> None:
    """The writer was stopped before it sealed its draft, and finds that it is gone: but not that nobody has it."""
    state, one = World().know(), info(1)
    put(state, one, "c")
    state.index.copies.add(one, "c", "a")
    assert replicas.leave(state, [one], "c") == [True]
    keys.unbind(state, [one], "c")
    assert state.index.holders(one.id) == {"a": True} and state.index.current(one.id) is not None


def test_a_keeper_that_left_and_says_so_late_takes_nothing_from_the_next_one() -> None:
    state = World().know()
    state.epochs["b"] = 7  # of the shelf that is there now
    put(state, info(1), "b")
    shelves.leave(state, "b", 6)
    assert state.kept(info(1).id) == ["b"] and "b" in state.keepers() and "b" not in state.left
    shelves.leave(state, "b", 7)
    assert state.kept(info(1).id) == [] and "b" in state.left


def test_what_a_listing_took_from_the_catalog_is_not_sealed_for_its_writer() -> None:
    """It was bound while its shelf was listed, and not sealed: its writer finds another epoch, and asks again."""
    world = World(answers={("b", "drop"): drops})
    state = world.know()
    put(state, info(1), "a")
    talk = Talk(world, shelves.join(state, "b"))
    while not isinstance(talk.instruction, Ask):
        talk.answer(world.carry_out(talk.instruction))
    state.replaced += state.index.bind([info(2)], "b")  # type: ignore[operator]
    talk.answer({"b": listing(9)})
    talk.answer({"b": []})
    assert state.index.find("s", "k").info == info(1)  # type: ignore[union-attr]
    assert replaced.sort_out(state) == ["b"]
    world.run(replaced.drop_where_sealed(state, "b", state.to_drop.pop("b")))
    assert not [method for _, method, _ in world.asked if method in {"finish", "drop"}]


# --- answers that come late, and what is found twice


def test_what_a_shelf_did_not_have_before_it_was_listed_again_is_not_forgotten() -> None:
    """The answer is slow: meanwhile the node has fetched a copy, and is listed with it."""
    world = World(answers={("b", "listing_part"): listing(9)})
    state = world.know()
    put(state, info(1), "a")
    talk = Talk(world, reconciling.forget_absent(state, "b", [info(1).id]))
    world.run(shelves.join(state, "b"))
    state.index.copies.add(info(1), "a", "b", kept=False)
    talk.answer({"b": (5, [False])})
    assert talk.calls == {"b": ("holds_from_now", ([info(1).id],))}
    talk.answer({"b": (10, [True])})
    assert talk.over and state.index.holders(info(1).id) == {"a": True, "b": False}


def test_what_is_taken_back_during_its_deletion_gives_nothing_back() -> None:
    """The deletion has dropped what it replaced, and then its draft: so its writer does not find that."""
    world = World(answers={("a", "drop"): drops})
    state = world.know()
    put(state, info(1), "a")
    put(state, info(2), "a")
    talk = Talk(world, deletion.end(state, [info(2).id]))
    while not talk.over:
        keys.unbind(state, [info(2)], "a")
        talk.answer(world.carry_out(talk.instruction))
    assert state.index.find("s", "k") is None


def test_an_older_array_that_is_found_twice_is_dropped_once() -> None:
    """A check finds it on its shelf while it waits to be dropped."""
    world = World(answers={("a", "drop"): drops, ("a", "finish"): lambda ids, _: [True] * len(ids)})
    state = world.know()
    put(state, info(1), "a")
    put(state, info(2), "a")
    world.run(reconciling.reconcile(state, "a", [info(1), info(2)]))
    for name in replaced.sort_out(state):
        world.run(replaced.drop_where_sealed(state, name, state.to_drop.pop(name)))
    entry = state.index.find("s", "k")
    assert entry is not None and entry.info == info(2) and not entry.superseded


def test_a_copy_that_left_a_node_and_came_back_while_that_was_listed_is_known() -> None:
    world = World()
    state = world.know()
    put(state, info(1, replicas=2), "a", "b")
    joining = Talk(world, shelves.join(state, "b"))
    while not isinstance(joining.instruction, Ask):
        joining.answer(world.carry_out(joining.instruction))
    state.not_there("b", info(1).id)
    assert world.run(replicas.join_copies(state, [info(1)], "a", "b", kept=True, epoch=1)) == [1]
    joining.answer({"b": listing(2, Listed(info(1, replicas=2), kept=True))})
    world.finish(joining)
    assert state.index.holders(info(1).id) == {"a": True, "b": True}


def test_what_was_deleted_does_not_come_back_as_what_was_to_replace_it_comes_to_nothing() -> None:
    world = World(answers={("a", "drop"): drops})
    state = world.know()
    put(state, info(1), "a")
    put(state, info(2), "a")
    assert world.run(deletion.end(state, [info(1).id])) == [info(1).id]
    keys.take_off(state, [info(2).id])
    assert state.index.find("s", "k") is None


# --- which nodes have shelves


def test_a_shelf_whose_keeper_is_gone_for_good_is_listed_by_the_next_catalog() -> None:
    world = World("abc", {("b", "listing_part"): listing(3, Listed(info(1), kept=True))})
    world.state.nodes = dict(world.nodes)
    world.run(shelves.join(world.state, "b"))
    world.run(shelves.join(world.state, "c"))
    assert json.loads(world.saved[pages.SHELVES]) == ["b", "c"]
    shelves.leave(world.state, "c", 1)
    world.run(shelves.mend(world.state))
    assert json.loads(world.saved[pages.SHELVES]) == ["b"]
    later = World("abc", world.answers)
    later.state.remember(world.saved.get)
    later.keeperless = {"b", "c"}
    later.run(shelves.begin(later.state))
    assert later.state.index.find("s", "k").info == info(1)  # type: ignore[union-attr]
    assert later.methods("c") == [], "nobody starts a keeper where none is needed"


def test_nothing_is_put_on_a_shelf_before_it_is_written_down_that_it_is_there() -> None:
    world = World("a")
    world.state.nodes = dict(world.nodes)
    talk = Talk(world, keys.replace(world.state, [info(1)], "a", 0))
    assert isinstance(talk.instruction, Save) and talk.instruction.key == pages.SHELVES
    assert keys.bind(world.state, [info(1)], "a", 0).elsewhere
    talk.answer(OSError("the head does not answer"))
    world.finish(talk)
    assert talk.value.epoch == 1, "a put does not fail for it"
    world.run(shelves.mend(world.state))
    assert json.loads(world.saved[pages.SHELVES]) == ["a"], "it is tried again"


def test_what_left_its_home_while_that_was_asked_is_not_taken_off() -> None:
    world = World()
    state = world.know()
    one = put(state, info(1, replicas=2), "a")
    state.index.copies.add(one, "a", "b")
    talk = Talk(world, keys.verify(state, one.id))
    assert talk.calls == {"a": ("finish", ([one.id], 1))}
    state.not_there("a", one.id)  # evacuated, just then
    answers = {"finish": [False], "unsealed": [False], "never_put": [True]}
    while not talk.over:
        talk.answer({name: answers[method] for name, (method, _) in talk.calls.items()})
    assert talk.value is True and state.index.home(one.id) == "b"


def test_what_is_found_cached_and_no_key_stands_for_is_kept_before_it_is_listed() -> None:
    """Else it could be evicted, as the only copy of what is listed."""
    world = World(answers={("a", method): keeps(info(1).id) for method in ("finish", "keep")})
    state = world.know()
    [finding] = world.run(reconciling.reconcile(state, "a", [info(1)]))
    assert finding.problem == "unlisted" and state.kept(info(1).id) == ["a"]
    assert world.methods("a") == ["finish", "keep"]


# --- files that are to go, whoever is slow


def test_what_a_deletion_drops_is_not_listed_again_by_an_answer_that_was_on_its_way() -> None:
    world = World(answers={("a", "drop"): drops})
    state = world.know()
    put(state, info(1), "a")
    put(state, info(2), "a")  # not sealed yet
    ending = Talk(world, deletion.end(state, [info(2).id]))
    listed = Talk(world, shelves.join(state, "a"))
    listed.answer(None)  # its keeper was found
    listed.answer({"a": listing(2, Listed(info(1), kept=True))})  # just before it was dropped
    listed.answer({"a": []})
    world.finish(listed)
    while not ending.over:
        ending.answer({name: drops(args[0]) for name, (_, args) in ending.calls.items()})
    assert ending.value == [info(2).id]
    assert state.index.find("s", "k") is None, "nobody would ever delete it"


def test_what_a_listing_finds_of_a_key_that_is_deleted_goes_with_it() -> None:
    world = World(answers={("c", "listing_part"): listing(1, Listed(info(1), kept=True)), ("c", "given_up"): []})
    state = world.know("a", "b")
    put(state, info(2), "a")
    ending = Talk(world, deletion.end(state, [info(2).id]))
    assert ending.calls == {"a": ("drop", ([(info(2).id, ("s", "k"))],))}
    state.nodes = dict(world.nodes)
    world.run(shelves.join(state, "c"))
    ending.answer({"a": [True]})
    assert ending.calls == {"c": ("drop", ([(info(1).id, ("s", "k"))],))}
    ending.answer({"c": [True]})
    assert ending.over and len(state.index) == 0


def _unconfirmed() -> tuple[World, State]:
    """An array on b has replaced one on a, which did not confirm that it dropped that."""
    world = World(answers={("b", "finish"): keeps(info(2).id), ("a", "forbid"): None})
    state = world.know()
    put(state, info(1), "a")
    world.run(keys.replace(state, [info(2)], "b", 0))
    replaced.sort_out(state)
    world.run(replaced.drop_where_sealed(state, "b", state.to_drop.pop("b")))
    return world, state


def test_what_nobody_confirmed_is_dropped_once_its_node_answers_although_what_replaced_it_is_lost() -> None:
    world, state = _unconfirmed()
    world.kill("b")
    world.run(losing.look_for_dead(state))
    world.answers["a", "drop"] = drops
    world.asked.clear()
    world.run(losing.look_at_nodes(state))
    assert world.asked == [("a", "drop", ([(info(1).id, ("s", "k"))],))]
    assert not state.unwanted
    asked = len(world.asked)
    world.run(losing.look_at_nodes(state))
    assert len(world.asked) == asked


def test_what_is_not_confirmed_to_be_dropped_is_not_current_again() -> None:
    world, state = _unconfirmed()
    keys.take_off(state, [info(2).id])
    assert state.index.find("s", "k") is None
    assert shelves.admit(state, "a", [Listed(info(1), kept=True)]) == [(Holding(info(1).id, "a"), ("s", "k"))]
    world.answers |= {("a", method): keeps(info(1).id) for method in ("finish", "keep")} | {("a", "drop"): drops}
    [finding] = world.run(reconciling.reconcile(state, "a", [info(1)]))
    assert finding.problem == "superseded" and state.index.find("s", "k") is None and not state.unwanted


def test_a_deletion_of_what_is_being_overwritten_fails_if_its_node_is_silent() -> None:
    world = World(answers={("a", "forbid"): None})
    state = world.know()
    put(state, info(1), "a")
    world.run(keys.replace(state, [info(2)], "b", 0))  # not sealed yet: everybody reads the former
    with pytest.raises(StoreUnavailable, match="node a did not confirm that it deleted"):
        world.run(deletion.end(state, [info(1).id]))


def test_a_copy_that_two_listings_find_cached_is_not_dropped_by_the_second() -> None:
    """Nobody keeps it by then: the first has had it kept."""
    world = World(answers={("b", "given_up"): [], ("c", "given_up"): []})
    state = world.know()
    put(state, info(1, "m"), "c", "a")
    put(state, info(2, "k"), "b", "a")  # somebody has removed the files on b and c
    second = Talk(world, shelves.join(state, "c"))
    while not (isinstance(second.instruction, Ask) and second.calls == {"a": ("keep", ([info(1).id],))}):
        second.answer(world.carry_out(second.instruction))
    world.answers["a", "keep"] = keeps(info(1).id, info(2).id)
    world.run(shelves.join(state, "b"))
    second.answer({"a": [True]})
    assert second.over and state.kept(info(1).id) == state.kept(info(2).id) == ["a"]


def test_who_keeps_an_array_is_known_again_if_its_listing_was_older_than_a_copy_of_it() -> None:
    """The array was put there and copied from there, while its node was listed."""
    one = info(1, None)
    world = World("ab", {("b", "keep"): keeps(one.id), ("a", "given_up"): [], ("b", "given_up"): []})
    state = world.know()
    for name in "ab":
        world.answers[name, "holds"] = lambda ids: [True] * len(ids)
    state.index.copies.add(one, "b", "a", kept=False)
    world.run(shelves.join(state, "b"))
    assert state.index.holders(one.id) == {"a": False, "b": True}


def test_a_version_that_is_raised_after_it_was_listed_counts() -> None:
    """A writer of several keys restamps all, if one is behind. Else a later catalog would order them otherwise."""
    world = World()
    state = world.know()
    put(state, info(1), "a")
    put(state, restamped(info(1), 5), "a")
    entry = state.index.find("s", "k")
    assert entry is not None and entry.info.version == 5
    assert keys.bind(state, [info(3)], "a", 0).behind == 5


def _begun(*cached: ArrayInfo, on_b: tuple[ArrayInfo, ...] = ()) -> World:
    """A catalog has started; a has these cached."""
    listed = [Listed(one, kept=False) for one in cached]
    world = World(
        "ab",
        {
            ("a", "listing_part"): listing(1, *listed),
            ("b", "listing_part"): listing(1, *(Listed(one, kept=True) for one in on_b)),
            ("a", "given_up"): [],
            ("b", "given_up"): [],
            ("a", "keep"): lambda ids: [True] * len(ids),
            ("b", "finish"): keeps(*(one.id for one in on_b)),
            ("a", "finish"): keeps(*(one.id for one in cached)),
            ("b", "drop"): drops,
        },
    )
    world.run(shelves.begin(world.state))
    return world


def test_a_cached_copy_that_is_later_than_all_that_is_kept_is_kept() -> None:
    """Its home has died with the last catalog, before what it had replaced was dropped."""
    state = _begun(info(2), on_b=(info(1),)).state
    entry = state.index.find("s", "k")
    assert entry is not None and entry.info == info(2) and state.kept(info(2).id) == ["a"]


def test_a_cached_copy_goes_only_once_what_replaced_its_array_is_sealed() -> None:
    world = _begun(info(1))
    state = world.state
    assert state.kept(info(1).id) == ["a"]
    put(state, info(2), "a")  # not sealed
    world.run(shelves._admit_cached(state, [("b", info(1))]))  # an older listing of b is looked at
    keys.take_off(state, [info(2).id])
    assert state.index.holders(info(1).id) == {"a": True, "b": False}
    assert "drop" not in world.methods("b")


@pytest.mark.parametrize("leaves", [False, True])
def test_who_says_what_it_has_not_is_not_thereby_listed(leaves: bool) -> None:
    """Else a put there could be acknowledged that is earlier than what the shelf has of its key."""
    world = World()
    state = world.know("a")
    state.known.add("b")
    state.unlisted.add("b")  # it did not answer as this catalog started
    if leaves:
        state.epochs["b"] = 1
    talk = Talk(world, reconciling.forget_absent(state, "b", [info(1).id]))
    if leaves:
        shelves.leave(state, "b", 1)
    talk.answer({"b": (7, [False])})
    assert talk.over and "b" not in state.epochs
    assert keys.bind(state, [info(2)], "b", 0).elsewhere, "its shelf is listed first"


def test_what_left_a_node_while_that_is_listed_for_the_first_time_is_not_listed_there() -> None:
    world = World()
    state = world.know("a")
    state.nodes = dict(world.nodes)
    listed = Talk(world, shelves.join(state, "b"))
    while not (isinstance(listed.instruction, Ask) and listed.calls["b"][0] == "given_up"):
        answer = {"b": listing(6, Listed(info(1), kept=True))} if isinstance(listed.instruction, Ask) else None
        listed.answer(answer)
    told = Talk(world, reconciling.forget_absent(state, "b", [info(1).id]))
    told.answer({"b": (7, [False])})
    listed.answer({"b": []})
    assert listed.over and state.index.find("s", "k") is None


def test_whoever_asks_for_what_a_living_node_keeps_does_not_wait_for_what_a_dead_one_had() -> None:
    world = World()
    state = world.know()
    put(state, info(1, "lost"), "c", "b")
    put(state, info(2, "kept"), "a", "c")
    world.kill("c")
    first = Talk(world, losing.look_for_dead(state))
    assert first.calls == {"b": ("keep", ([info(1, "lost").id],))}  # b is stopped
    assert world.run(locating.locate(state, info(2, "kept"), "c", "b")) == Located(["a"])


def test_what_is_fetched_while_its_home_is_settled_is_kept_there() -> None:
    world = World()
    state = world.know()
    put(state, info(1), "c", "b")
    world.kill("c")
    settling = Talk(world, losing.look_for_dead(state))
    assert settling.calls == {"b": ("keep", ([info(1).id],))}
    assert world.run(replicas.join_copies(state, [info(1)], "b", "a", kept=False, epoch=1)) == [1]
    settling.answer({"b": [False]})  # it was evicted just then
    assert settling.calls == {"a": ("keep", ([info(1).id],))}
    settling.answer({"a": [True]})
    assert state.kept(info(1).id) == ["a"] and len(state.index.lost) == 0


def test_two_nodes_that_die_at_once_lose_nothing_that_another_has_cached() -> None:
    world = World("abcd", {("a", "keep"): keeps(info(1, replicas=2).id)})
    state = world.know()
    one = put(state, info(1, replicas=2), "c", "a")
    state.index.copies.add(one, "c", "d")
    world.kill("c")
    world.kill("d")
    talks = [Talk(world, losing._settle(state, name)) for name in "cd"]
    for talk in talks:
        world.finish(talk)
    assert state.kept(one.id) == ["a"] and len(state.index.lost) == 0


def test_a_deletion_that_fails_beside_a_put_that_comes_to_nothing_is_finished_later() -> None:
    world = World()
    state = world.know()
    put(state, info(1), "a")
    ending = Talk(world, deletion.end(state, [info(1).id]))
    put(state, info(2), "a")
    keys.take_off(state, [info(2).id])
    assert state.index.find("s", "k") is None, "what is being deleted does not come back"
    ending.answer({})  # a is silent
    nodes = world.carry_out(ending.instruction)
    with pytest.raises(StoreUnavailable):
        ending.answer(nodes)
    world.answers["a", "drop"] = drops
    world.asked.clear()
    world.run(losing.look_at_nodes(state))
    assert ("a", "drop", ([(info(1).id, ("s", "k"))],)) in world.asked
    assert not state.unwanted and not state.unfinished


@pytest.mark.parametrize("found", ["beside a cached copy", "copied", "emptied", "rescued"])
def test_an_array_without_a_key_that_is_found_again_does_not_count_as_lost(found: str) -> None:
    one = info(1, None)
    world = World("abcd", {("a", "keep"): keeps(one.id), ("a", "holds"): keeps(one.id)})
    state = world.know("a")
    state.index.lost.add(Lost(one, "d", 1.0))
    world.kill("d")
    if found == "beside a cached copy":
        world.answers["b", "listing_part"] = listing(2, Listed(one, kept=False))
        world.run(shelves.join(state, "b"))
    elif found == "copied":
        assert world.run(replicas.join_copies(state, [one], "a", "b", kept=True, epoch=1)) == [1]
    elif found == "emptied":
        world.run(replicas.evacuate(state, [one], "a", 1, anywhere=False))
    else:
        world.know("a", "b")
        state.index.copies.add(one, "b", "a", kept=False)
        world.kill("b")
        world.run(losing.look_for_dead(state))
    assert "a" in state.kept(one.id)
    assert not len(state.index.lost)


# --- what went with its node and the catalog


def _after_both(successor: ArrayInfo, *, settled: bool = False) -> World:
    """A catalog that starts. One before it had b's name forbidden for what was put on c, and had written that down."""
    listed = Listed(info(1), True, True, [Successor(successor.version, successor.id, "c")])
    answers = {("b", "listing_part"): listing(3, listed), ("b", "given_up"): [], ("a", "given_up"): []}
    world = World("abc", {**answers, ("b", "drop"): drops, ("c", "given_up"): []})
    world.saved |= {pages.SHELVES: b'["a", "b", "c"]', pages.LOSSES_KNOWN: b'["c"]' if settled else b"[]"}
    world.state.remember(world.saved.get)
    return world


def test_what_was_replaced_on_a_node_that_died_with_the_catalog_is_not_shown_again() -> None:
    world = _after_both(info(2))
    world.kill("c")
    world.run(shelves.begin(world.state))
    [found] = keys.find(world.state, "s", ["k"])
    assert found is not None and found.lost_at and (found.info.id, found.nodes) == (info(2).id, ["c"])
    assert ("b", "drop", ([(info(1).id, ("s", "k"))],)) in world.asked
    world.run(losing.look_at_nodes(world.state))
    assert [lost.info.version for lost in pages.saved_as_lost(world.saved.get)] == [2]
    world.run(shelves.mend(world.state))
    assert json.loads(world.saved[pages.SHELVES]) == ["a", "b"]
    assert json.loads(world.saved[pages.LOSSES_KNOWN]) == [], "what else is on its shelf is wanted back"


def test_what_was_to_be_replaced_stands_if_the_home_of_what_was_to_replace_it_does_not_have_that() -> None:
    world = _after_both(info(2))
    world.run(shelves.begin(world.state))
    [found] = keys.find(world.state, "s", ["k"])
    assert found is not None and found.info == info(1) and not found.lost_at


def test_what_may_have_been_replaced_is_remembered_until_all_have_said_what_they_have() -> None:
    world = _after_both(info(2))
    said = world.answers.pop(("c", "listing_part"))
    world.run(shelves.begin(world.state))
    world.run(shelves.mend(world.state))
    assert info(1).id in world.state.late
    world.answers["c", "listing_part"] = said
    world.run(shelves.mend(world.state))
    world.run(shelves.mend(world.state))
    assert not world.state.late
    [found] = keys.find(world.state, "s", ["k"])
    assert found is not None and found.info == info(1) and not found.lost_at


def test_nodes_forget_what_was_to_replace_an_array_if_that_comes_to_nothing() -> None:
    """Else the next catalog would take the array for outdated, if the other's node died with this one."""
    world = World("abc", {("b", "forbid"): None, ("b", "forget_successors"): None})
    state = world.know()
    put(state, info(1), "b")
    state.index.copies.add(info(1), "b", "c", kept=False)
    with pytest.raises(StoreUnavailable, match="node c"):
        world.run(keys.replace(state, [info(2)], "a", 0))
    world.run(losing.look_at_nodes(state))
    assert "forget_successors" not in world.methods("b"), "its writer may ask again"
    keys.take_off(state, [info(2).id])
    for _ in range(2):
        world.run(losing.look_at_nodes(state))
    asked = ("b", "forget_successors", ([("s", "k", info(2).id)],))
    assert world.asked.count(asked) == 1
    assert world.methods("c").count("forget_successors") == 2, "it may have been told, and does not answer"
    world.answers["c", "forget_successors"] = None
    world.run(losing.look_at_nodes(state))
    assert not state.announced.cancelled


def test_nodes_forget_what_came_to_nothing_of_an_earlier_catalog() -> None:
    world = _after_both(info(2))
    del world.answers["a", "listing_part"]  # so the others may be in doubt
    world.answers["b", "forget_successors"] = None
    world.run(shelves.begin(world.state))
    keys.take_off(world.state, [info(2).id])
    world.run(losing.look_at_nodes(world.state))
    assert ("b", "forget_successors", ([("s", "k", info(2).id)],)) in world.asked


def test_nodes_forget_what_had_come_to_nothing_before_its_node_was_listed() -> None:
    world = _after_both(info(2))
    world.answers |= {("c", "given_up"): [info(2).id], ("b", "forget_successors"): None}
    world.run(shelves.begin(world.state))
    world.run(losing.look_at_nodes(world.state))
    assert ("b", "forget_successors", ([("s", "k", info(2).id)],)) in world.asked


@pytest.mark.parametrize(("stands", "deleted"), [(True, False), (False, False), (False, True)])
def test_what_was_replaced_on_a_dead_node_does_not_come_back_if_a_later_put_comes_to_nothing(
    stands: bool, deleted: bool
) -> None:
    world = _after_both(info(2))
    del world.answers["c", "listing_part"]  # it died just now, and Ray does not say so yet
    state = world.state
    world.run(shelves.begin(state))
    state.exceeded = 0  # versions are small here
    state.unlisted.discard("c")  # it confirmed that nobody there reads it by name
    assert keys.bind(state, [info(3)], "b", 0).epoch
    state.unlisted.add("c")
    world.kill("c")
    world.run(shelves.mend(state))
    assert ("b", "drop", ([(info(1).id, ("s", "k"))],)) in world.asked
    [found] = keys.find(state, "s", ["k"])
    assert found is not None and found.info == info(3)
    if stands:
        world.answers["b", "finish"] = keeps(info(3).id)
        for name in replaced.sort_out(state):
            world.run(replaced.drop_where_sealed(state, name, state.to_drop.pop(name)))
        assert not state.beneath
        return
    keys.take_off(state, [info(3).id])
    if deleted:
        [found] = keys.find(state, "s", ["k"])
        assert found is not None and found.lost_at
        assert world.run(deletion.end(state, [found.info.id])) == [info(2).id]
        assert keys.find(state, "s", ["k"]) == [None]
        return
    for _ in range(2):
        [found] = keys.find(state, "s", ["k"])
        assert found is not None and found.lost_at and (found.info.id, found.nodes) == (info(2).id, ["c"])
        world.run(shelves.mend(state))
    assert [lost.info.id for lost in state.index.lost] == [info(2).id]


@pytest.mark.parametrize("stands", [True, False])
def test_a_key_that_is_lost_stays_lost_if_the_put_that_replaces_it_comes_to_nothing(stands: bool) -> None:
    world, one, two = World(answers={("a", "finish"): keeps(info(2).id)}), info(1), info(2)
    state = world.know()
    put(state, one, "b")
    world.kill("b")
    world.run(losing.look_for_dead(state))
    put(state, two, "a")
    if stands:
        for name in replaced.sort_out(state):
            world.run(replaced.drop_where_sealed(state, name, state.to_drop.pop(name)))
        assert not state.beneath and not state.unwanted
        return
    world.run(shelves.join(state, "a"))  # its draft was not sealed, and the shelf has another epoch
    for _ in range(2):
        [found] = keys.find(state, "s", ["k"])
        assert found is not None and found.lost_at and (found.info.id, found.nodes) == (one.id, ["b"])
        put(state, two, "a")  # its writer asks again
        keys.take_off(state, [two.id])
        two = info(3)
    world.run(shelves.mend(state))
    assert [lost.info.id for lost in state.index.lost] == [one.id]
    assert not state.beneath


def test_what_replaced_it_is_not_noted_for_ever_if_a_still_later_put_stands_already() -> None:
    world = _after_both(info(2))
    del world.answers["c", "listing_part"]
    state = world.state
    world.run(shelves.begin(state))
    state.exceeded = 0  # versions are small here
    state.unlisted.discard("c")
    assert keys.bind(state, [info(3)], "b", 0).epoch
    state.unlisted.add("c")
    world.answers["b", "finish"] = keeps(info(3).id)
    (name,) = replaced.sort_out(state)
    dropping = Talk(world, replaced.drop_where_sealed(state, name, state.to_drop.pop(name)))
    while dropping.calls["b"][0] != "drop":
        dropping.answer(world.carry_out(dropping.instruction))
    world.kill("c")
    world.run(shelves.mend(state))
    world.finish(dropping)
    for name in replaced.sort_out(state):
        world.run(replaced.drop_where_sealed(state, name, state.to_drop.pop(name)))
    assert not state.beneath
    assert [one and one.info for one in keys.find(state, "s", ["k"])] == [info(3)]


def test_puts_exceed_what_a_node_may_have_that_died_before_this_catalog_heard_of_it() -> None:
    """Its shelf may be adopted, and a writer's clock may be behind."""
    world = World("ab")
    state = world.know("a")
    state.remember(world.saved.get)
    world.answers["b", "listing_part"] = listing(10**15)  # its clock is ahead of the head's
    world.run(shelves.join(state, "b"))
    noted = state.foreseen
    assert noted > 10**15 and pages.versions(world.saved.get) == noted
    world.run(losing.look_at_nodes(state))
    assert pages.versions(world.saved.get) == noted  # that is long enough
    put(state, info(noted - 1), "b")
    world.run(losing.look_at_nodes(state))
    later = state.foreseen
    assert later > noted and pages.versions(world.saved.get) == later
    for dies in (False, True):
        then = World("ab")
        then.saved = world.saved
        if dies:
            then.kill("b")
        then.state.remember(world.saved.get)
        then.run(shelves.begin(then.state))
        one = info(7, "other")
        assert keys.bind(then.state, [one], "a", 0) == (Bound(0, later) if dies else Bound(1))
        assert keys.bind(then.state, [one._replace(version=later + 1)], "a", 0).epoch


def test_what_replaced_it_and_is_cached_elsewhere_is_shown() -> None:
    world = _after_both(info(2))
    world.answers["a", "listing_part"] = listing(1, Listed(info(2), kept=False))
    world.answers["a", "keep"] = keeps(info(2).id)
    world.kill("c")
    world.run(shelves.begin(world.state))
    [found] = keys.find(world.state, "s", ["k"])
    assert found is not None and found.info == info(2) and found.nodes[0] == "a" and not found.lost_at


def test_what_a_catalog_has_settled_is_not_lost_by_the_next() -> None:
    world = _after_both(info(2), settled=True)
    world.kill("c")
    world.run(shelves.begin(world.state))
    [found] = keys.find(world.state, "s", ["k"])
    assert found is not None and found.info == info(1)


def test_nobody_is_shown_what_was_replaced_on_a_node_of_which_it_is_not_known_whether_it_lives() -> None:
    world = _after_both(info(2))
    del world.answers["c", "listing_part"]  # it died just now, and Ray does not say so yet
    world.run(shelves.begin(world.state))
    with pytest.raises(StoreUnavailable, match="node c"):
        keys.find(world.state, "s", ["k"])
    world.kill("c")
    with pytest.raises(StoreUnavailable, match="node c"):
        keys.find(world.state, "s", ["k"])
    world.run(shelves.mend(world.state))
    [found] = keys.find(world.state, "s", ["k"])
    assert found is not None and found.lost_at and found.info.id == info(2).id


def test_a_dead_node_has_a_shelf_until_it_is_written_down_what_it_took() -> None:
    """Else a catalog that starts in between knows neither, and may show what was replaced there."""
    world = World()
    state = world.know()
    put(state, info(1), "c")
    world.kill("c")
    losing_it = Talk(world, losing.look_for_dead(state))
    while not isinstance(losing_it.instruction, Save):
        losing_it.answer(world.carry_out(losing_it.instruction))
    world.run(shelves.mend(state))
    assert json.loads(world.saved.get(pages.SHELVES, b'["c"]')).count("c") == 1
    world.finish(losing_it)
    world.run(shelves.mend(state))
    assert json.loads(world.saved[pages.SHELVES]) == ["a", "b"]


def test_what_is_lost_while_others_are_written_down_is_not_taken_for_written_down() -> None:
    world = World()
    state = world.know()
    state.index.lost.add(Lost(info(1), "b", 1.0))
    looking = Talk(world, losing.look_at_nodes(state))
    while not isinstance(looking.instruction, Save):
        looking.answer(world.carry_out(looking.instruction))
    state.index.lost.add(Lost(info(2, "other"), "c", 1.0))  # as `successors.account` does
    state.heard_of.add("c")
    world.finish(looking)
    assert "c" in state.shelves
    world.run(losing.look_at_nodes(state))
    assert "c" not in state.shelves and not state.heard_of


# --- what shall have replicas is shown once it has them


def test_what_shall_have_replicas_and_replaces_something_is_secured_before_it_is_shown() -> None:
    world = World(answers={("a", "forbid"): None, ("b", "finish"): keeps(info(2, replicas=2).id)})
    state = world.know()
    put(state, info(1), "a")
    one = info(2, replicas=2)
    world.run(keys.replace(state, [one], "b", 0))
    [found] = keys.find(state, "s", ["k"])
    assert found is not None and found.alone
    world.answers["a", "fetch"] = lambda *_: (
        world.run(replicas.join_copies(state, [one], "b", "a", kept=True, epoch=1)) and None
    )
    world.answers["c", "fetch"] = lambda *_: (
        world.run(replicas.join_copies(state, [one], "b", "c", kept=True, epoch=1)) and None
    )
    world.run(replicas.secure(state, [one.id]))
    [found] = keys.find(state, "s", ["k"])
    assert found is not None and not found.alone and len(state.kept(one.id)) == 2


def test_what_shall_have_replicas_is_listed_for_others_once_it_has_them() -> None:
    new = info(2, replicas=2)
    world = World("ab", {("a", "forbid"): None, ("b", "finish"): keeps(new.id)})
    state = world.know()
    put(state, info(1), "a")
    world.run(keys.replace(state, [new], "b", 0))
    world.answers["a", "fetch"] = lambda *_: (
        world.run(replicas.join_copies(state, [new], "b", "a", kept=True, epoch=1)) and None
    )
    [found] = world.run(keys.entries(state, "s", ""))
    assert not found.alone and sorted(found.nodes) == ["a", "b"]


def test_whoever_lists_arrays_waits_for_all_silent_nodes_at_once() -> None:
    world = World()
    state = world.know()
    for number, home in enumerate("bc"):
        put(state, info(10 * number + 1, f"k{number}"), home)
        put(state, info(10 * number + 2, f"k{number}"), home)
    talk = Talk(world, keys.entries(state, "s", ""))
    assert {name: method for name, (method, _) in talk.calls.items()} == {"b": "finish", "c": "finish"}
    talk.answer({"c": [True]})
    assert talk.over and len(talk.value) == 2


def test_who_reads_an_array_does_not_wait_for_copies_of_others() -> None:
    """Their targets may be silent: that takes 20 s, and few copies are made at a time."""
    one = info(2, replicas=2)
    world = World("ab", {("a", "forbid"): None, ("b", "finish"): keeps(one.id)})
    state = world.know()
    world.answers["a", "fetch"] = lambda *_: (
        world.run(replicas.join_copies(state, [one], "b", "a", kept=True, epoch=1)) and None
    )
    put(state, info(1), "a")
    world.run(keys.replace(state, [one], "b", 0))
    state.under_way.bulk, state.under_way.in_bulk = True, {info(7).id}
    reading = Talk(world, replicas.secure(state, [one.id]))
    while not reading.over:
        assert not isinstance(reading.instruction, Wait | Together)
        reading.answer(world.carry_out(reading.instruction))
    assert len(state.kept(one.id)) == 2
    state.under_way.in_bulk = {one.id}
    assert isinstance(Talk(world, replicas.secure(state, [one.id])).instruction, Wait), "it is being copied"


@pytest.mark.parametrize("count", [1, 10])
def test_what_ended_by_a_clock_that_is_ahead_is_not_copied_there_again(count: int) -> None:
    """It would end there at once, and be copied again, until the other clocks say the same."""
    world = World("ab")
    state = world.know()
    some = [info(number, None, replicas=2)._replace(ttl=60.0) for number in range(1, count + 1)]
    for one in some:
        state.index.copies.add(one, "a", "a")
        state.index.copies.add(one, "a", "b")
    world.answers |= {("a", "holds"): lambda ids: [True] * len(ids), ("b", "fetch"): None, ("b", "fetch_many"): None}
    world.answers["b", "lacks"] = lambda ids: [True] * len(ids)
    world.run(replicas.ended(state, [one.id for one in some], "b", over=True))
    world.run(replicas.multiply_few(state))
    assert not {"fetch", "fetch_many"}.intersection(world.methods("b"))
    world.answers["a", "touch"] = True
    assert world.run(locating.touch(state, some[0], 1, "a"))
    world.run(replicas.multiply_few(state))
    assert "fetch" in world.methods("b"), "it lives longer"
    world.run(replicas.ended(state, [some[0].id], "b"))  # it did not get there
    world.asked.clear()
    world.run(replicas.multiply_few(state))
    assert "fetch" in world.methods("b")
    if count > 1:
        assert len(state.over) == count - 1
        world.clock = 1000.0  # that clock was put right, or they have ended everywhere
        world.asked.clear()
        world.run(losing.look_at_nodes(state))
        assert {"fetch", "fetch_many"}.intersection(world.methods("b"))
        assert not state.over


@pytest.mark.parametrize("shown", [False, True])
def test_what_nobody_was_shown_is_taken_back_if_its_node_dies(shown: bool) -> None:
    old, new = info(1), info(2, replicas=2)
    world = World("ab", {("a", "forbid"): None, ("a", "keep"): keeps(old.id), ("a", "describe"): [pack([old])]})
    state = world.know()
    put(state, old, "a")
    world.run(keys.replace(state, [new], "b", 0))
    if shown:
        world.run(replicas.secure(state, [new.id]))  # a has no room, so it is alone all the same
        world.answers["a", "drop"] = drops
    world.kill("b")
    world.run(losing.look_for_dead(state))
    [found] = keys.find(state, "s", ["k"])
    assert found is not None
    assert (found.info.id, bool(found.lost_at)) == ((new.id, True) if shown else (old.id, False))


@pytest.mark.parametrize("settled", [False, True])
def test_what_was_replaced_is_not_dropped_if_the_node_of_the_new_one_dies_while_that_gets_its_replicas(
    settled: bool,
) -> None:
    """Nobody was shown the new array, and its put did not return: so the old one stands, whoever asks first."""
    old, new = info(1), info(2, replicas=2)
    world = World("abc", {("a", "forbid"): None, ("a", "keep"): keeps(old.id), ("a", "describe"): [pack([old])]})
    world.answers["a", "drop"] = drops
    state = world.know()
    put(state, old, "a")
    world.run(keys.replace(state, [new], "c", 0))
    dropping = Talk(world, replaced.drop_where_sealed(state, "c", state.replaced))
    dropping.answer({"c": [True]})
    assert isinstance(dropping.instruction, WhoIsLate)  # of those that are to be asked for their room
    world.kill("c")  # those who list nodes notice it before the next round does
    losing_it = Talk(world, losing.look_for_dead(state)) if settled else None
    if losing_it is not None:
        assert losing_it.calls == {"a": ("keep", ([old.id],))}  # the old array is being brought back
    world.finish(dropping)
    assert "drop" not in world.methods("a")
    while losing_it is not None and not losing_it.over:
        losing_it.answer(world.carry_out(losing_it.instruction))
    world.run(losing.look_for_dead(state))
    [found] = keys.find(state, "s", ["k"])
    assert found is not None and found.info.id == old.id and not found.lost_at


def test_what_was_shown_between_the_former_and_the_last_decides_too() -> None:
    """It has fewer replicas than it was to have: its put returned all the same."""
    old, middle, last = info(1), info(2, replicas=2), info(3, replicas=2)
    world = World("ab", {("a", "forbid"): None, ("a", "keep"): keeps(old.id), ("a", "describe"): [pack([old])]})
    world.answers["a", "room"] = 0
    state = world.know()
    put(state, old, "a")
    world.run(keys.replace(state, [middle], "b", 0))
    assert world.run(replicas.replicate(state, [middle], "b", 1)) == [1]
    put(state, last, "b")  # somebody holds the first, so it is there still
    world.kill("b")
    world.answers["a", "drop"] = drops
    world.run(losing.look_for_dead(state))
    [found] = keys.find(state, "s", ["k"])
    assert found is not None and found.info.id == last.id and found.lost_at


def test_what_nobody_was_shown_is_taken_back_although_the_node_that_has_the_former_is_silent() -> None:
    old, new = info(1), info(2, replicas=2)
    world = World("ab", {("a", "forbid"): None})
    state = world.know()
    put(state, old, "a")
    world.run(keys.replace(state, [new], "b", 0))
    world.kill("b")
    world.run(losing.look_for_dead(state))
    world.answers |= {("a", "listing_part"): listing(2, Listed(old, kept=True)), ("a", "given_up"): []}
    world.run(shelves.join(state, "a"))  # it answers again
    [found] = keys.find(state, "s", ["k"])
    assert found is not None and (found.info.id, found.lost_at, found.nodes) == (old.id, 0.0, ["a"])
    assert "drop" not in world.methods("a")


@pytest.mark.parametrize("has_it", [True, False])
def test_what_was_to_be_replaced_is_not_dropped_by_a_catalog_that_starts_as_it_is_brought_back(has_it: bool) -> None:
    old, new = info(1), info(2, replicas=2)
    world = World("abc", {("a", "forbid"): None, ("a", "describe"): [pack([old])], ("c", "forbid"): None})
    state = world.know()
    put(state, old, "a")
    world.run(keys.replace(state, [new], "b", 0))
    world.kill("b")
    losing_it = Talk(world, losing.look_for_dead(state))
    assert losing_it.calls == {"a": ("keep", ([old.id],))}
    world.run(saving.save(state))  # for others, and then this catalog dies
    following = World("abc", {("a", "listing_part"): listing(2, Listed(old, kept=True)), ("a", "drop"): drops})
    following.kill("b")
    following.state.remember(world.saved.get)
    following.run(shelves.begin(following.state))
    assert "drop" not in following.methods("a")
    [found] = keys.find(following.state, "s", ["k"])
    assert found is not None and found.info.id == old.id and not found.lost_at

    losing_it.answer({"a": [has_it]})  # it goes on
    world.finish(losing_it)
    [there] = keys.find(state, "s", ["k"])
    assert there is not None and (there.info.id, bool(there.lost_at)) == ((old.id, False) if has_it else (new.id, True))
    assert {one.info.id for one in pages.saved_as_lost(world.saved.get)} == (set() if has_it else {new.id})


@pytest.mark.parametrize("silent", [True, False])
def test_what_is_lost_while_the_former_is_taken_back_stays_lost(silent: bool) -> None:
    old, new, later = info(1), info(2, replicas=2), info(3)
    world = World("abc", {("a", "forbid"): None, ("a", "describe"): [pack([old])], ("a", "drop"): drops})
    state = world.know()
    put(state, old, "a")
    world.run(keys.replace(state, [new], "b", 0))
    world.kill("b")
    losing_it = Talk(world, losing.look_for_dead(state))
    assert losing_it.calls == {"a": ("keep", ([old.id],))}
    put(state, later, "c")
    world.kill("c")
    world.run(losing._settle(state, "c"))
    losing_it.answer({} if silent else {"a": [True]})
    world.finish(losing_it)
    [found] = keys.find(state, "s", ["k"])
    assert found is not None and found.info.id == later.id and found.lost_at


@pytest.mark.parametrize("ends", ["while the deletion is under way", "later"])
def test_what_is_found_of_a_deleted_array_goes_although_the_key_was_put_again_for_nothing(ends: str) -> None:
    """The array's node is dead. Another has adopted its file before the deletion is over, and a put came since."""
    world, one, two = World("abcd", {("b", "forbid"): None, ("c", "forbid"): None}), info(1), info(2)
    state = world.know()
    put(state, one, "b")
    ending = Talk(world, deletion.end(state, [one.id]))
    adopted_by(world, "c", Listed(one, kept=True))
    world.run(keys.replace(state, [two], "d", 0))
    if ends == "later":
        del world.answers["c", "drop"]  # the keeper of c is silent
    else:
        keys.take_off(state, [two.id])
    ending.answer({"b": [True]})
    while not ending.over:
        try:
            ending.answer(world.carry_out(ending.instruction))
        except StoreUnavailable:
            break
    world.answers["b", "drop"] = world.answers["c", "drop"] = drops
    if ends == "later":
        keys.take_off(state, [two.id])
    world.run(losing.look_at_nodes(state))
    assert ("c", "drop", ([(one.id, ("s", "k"))],)) in world.asked
    assert state.index.find("s", "k") is None and not state.unwanted and not state.unfinished


def test_what_is_found_of_a_deleted_array_goes_although_the_put_over_it_is_lost() -> None:
    world, one, two = World("abcd", {("b", "forbid"): None, ("c", "forbid"): None}), info(1), info(2, replicas=2)
    world.answers |= {("c", "keep"): keeps(one.id), ("c", "describe"): [pack([one])]}
    state = world.know()
    put(state, one, "b")
    ending = Talk(world, deletion.end(state, [one.id]))
    adopted_by(world, "c", Listed(one, kept=True))
    world.run(keys.replace(state, [two], "d", 0))
    world.kill("d")
    world.run(losing.look_for_dead(state))
    ending.answer({"b": [True]})
    world.finish(ending)
    assert ("c", "drop", ([(one.id, ("s", "k"))],)) in world.asked
    assert state.index.find("s", "k") is None and not state.unwanted


def test_what_was_to_be_replaced_by_a_node_whose_keeper_has_left_stands() -> None:
    """The draft went with the shelf, and its writer asks again or is dead."""
    world, one, two = World(answers={("a", "forbid"): None}), info(1), info(2)
    state = world.know()
    put(state, one, "a")
    world.run(keys.replace(state, [two], "b", 0))
    shelves.leave(state, "b", 1)
    state.validate()
    [found] = keys.find(state, "s", ["k"])
    assert found is not None and found.info == one


@pytest.mark.parametrize("silent", ["keep", "describe"])
def test_a_node_that_does_not_say_what_it_has_of_the_former_is_listed_again(silent: str) -> None:
    old, new = info(1), info(2, replicas=2)
    world = World("abc", {("a", "forbid"): None, ("c", "forbid"): None, ("a", "keep"): keeps(old.id)})
    world.answers |= {("c", "keep"): keeps(old.id)} if silent == "describe" else {("a", "describe"): [pack([old])]}
    state = world.know()
    put(state, old, "a", "c")
    world.run(keys.replace(state, [new], "b", 0))
    world.kill("b")
    world.run(losing.look_for_dead(state))
    [found] = keys.find(state, "s", ["k"])
    assert found is not None and found.info == old and not found.lost_at
    world.answers |= {(name, "given_up"): [] for name in "ac"}
    world.answers["a", "listing_part"] = listing(2, Listed(old, kept=True))
    world.answers["c", "listing_part"] = listing(2, Listed(old, kept=False))
    world.run(shelves.mend(state))
    assert state.index.holders(old.id) == {"a": True, "c": False}


def _overwritten_twice(*, held: bool, cached: str = "") -> tuple[World, State]:
    """The second array of a key is sealed on b, and the third listed on a. Somebody holds the first, on c."""
    world = World(answers={(name, method): None for name in "bc" for method in ("forbid", "drop")})
    state = world.know()
    if held:
        put(state, info(1), "c")
    world.run(keys.replace(state, [info(2)], "b", 0))
    for other in cached:
        state.index.copies.add(info(2), "b", other, kept=False)
    world.run(keys.replace(state, [info(3)], "a", 0))
    return world, state


@pytest.mark.parametrize("held", [False, True])
def test_what_was_overwritten_for_nothing_is_lost_with_its_node(held: bool) -> None:
    world, state = _overwritten_twice(held=held)
    world.kill("b")
    world.run(losing.look_for_dead(state))
    [found] = keys.find(state, "s", ["k"])
    assert found is not None and found.info == info(3)
    keys.take_off(state, [info(3).id])
    [found] = keys.find(state, "s", ["k"])
    assert found is not None and found.info == info(2) and found.lost_at and found.nodes == ["b"]
    world.answers["c", "drop"] = drops
    world.run(losing.look_at_nodes(state))
    world.run(shelves.mend(state))
    assert held == (("c", "drop", ([(info(1).id, ("s", "k"))],)) in world.asked)
    assert not state.beneath and not state.unwanted
    assert [one.info for one in state.index.lost] == [info(2)]


def test_what_was_overwritten_and_is_lost_with_its_node_is_forgotten_once_the_later_array_is_sealed() -> None:
    world, state = _overwritten_twice(held=False)
    world.kill("b")
    world.run(losing.look_for_dead(state))
    world.answers |= {("a", "finish"): lambda ids, _: [True] * len(ids), ("a", "drop"): drops}
    for name in replaced.sort_out(state):
        world.run(replaced.drop_where_sealed(state, name, state.to_drop.pop(name)))
    assert not state.beneath
    assert world.run(deletion.end(state, [info(3).id])) == [info(3).id]
    assert keys.find(state, "s", ["k"]) == [None]


def test_what_was_overwritten_for_nothing_is_kept_where_it_is_cached_if_its_node_dies() -> None:
    world, state = _overwritten_twice(held=False, cached="c")
    world.answers["c", "keep"] = keeps(info(2).id)
    world.kill("b")
    world.run(losing.look_for_dead(state))
    keys.take_off(state, [info(3).id])
    [found] = keys.find(state, "s", ["k"])
    assert found is not None and (found.info, found.nodes, found.lost_at) == (info(2), ["c"], 0.0)


def test_what_was_overwritten_for_nothing_and_is_cached_alone_is_listed_again() -> None:
    """The node that kept it has removed it, and the other has not told."""
    world, state = _overwritten_twice(held=False, cached="c")
    state.index.no_file(info(2).id, "b")
    keys.take_off(state, [info(3).id])
    world.answers |= {("c", "listing_part"): listing(2, Listed(info(2), kept=False)), ("c", "given_up"): []}
    world.answers["c", "keep"] = keeps(info(2).id)
    world.run(shelves.mend(state))
    [found] = keys.find(state, "s", ["k"])
    assert found is not None and (found.info, found.nodes) == (info(2), ["c"])
