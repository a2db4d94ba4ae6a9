"""What a keeper or a writer says may come late, or once more. Meanwhile the shelf may have changed."""

from __future__ import annotations

from typing import Any

import pytest

from outlive.catalog import deletion, keys, losing, reconciling, replicas, shelves
from outlive.catalog.index import Holding
from outlive.catalog.instructions import Ask
from outlive.catalog.state import State
from outlive.catalog.wire import Listed
from outlive.errors import StoreUnavailable
from tests.catalog.talking import Talk, World, info, listing

ONE = info(1, None)


def has(*ids: str) -> dict[str, object]:
    """What a keeper answers whose shelf has these arrays."""
    return {
        "holds": lambda asked: [one in ids for one in asked],
        "holds_from_now": lambda asked: (2, [one in ids for one in asked]),
        "keep": lambda asked: [one in ids for one in asked],
        "lacks": lambda asked: [one not in ids for one in asked],
        "drop": lambda asked: [one in ids for one, _ in asked],
    }


def world_of(**nodes: tuple[str, ...]) -> World:
    """Nodes, each with the arrays that its shelf has. All are listed, and nothing on them is known."""
    answers = {(node, method): one for node, ids in nodes.items() for method, one in has(*ids).items()}
    world = World(nodes, answers)
    world.know()
    return world


def until_given_up(world: World, joining: Talk, node: str) -> None:
    """Go on until what is given up on a shelf that is being listed is asked for: its parts are known by then."""
    while not isinstance(joining.instruction, Ask) or joining.calls[node][0] != "given_up":
        joining.answer(world.carry_out(joining.instruction))


def kept(state: State) -> list[str]:
    return sorted(node for node, is_kept in state.index.holders(ONE.id).items() if is_kept)


# --- a writer wants replicas, or a keeper to leave


@pytest.mark.parametrize("call", ["replicate", "evacuate"])
def test_where_an_array_was_put_it_is_believed_to_be_only_if_it_is_there(call: str) -> None:
    """It was evacuated to b meanwhile. Else c and b could leave at the same time, and drop the last two replicas."""
    world = world_of(a=(), b=(ONE.id,), c=(ONE.id,))
    state = world.state
    replicas.join_copy(state, ONE, "b", "b", kept=True)
    replicas.join_copy(state, ONE, "b", "c", kept=True)
    if call == "replicate":
        world.run(replicas.replicate(state, [ONE], "a", 1))
    else:
        assert world.run(replicas.evacuate(state, [ONE], "a", 1, anywhere=True)) == [True]
    assert kept(state) == ["b", "c"]
    assert replicas.leave(state, [ONE], "c") == [True]
    assert replicas.leave(state, [ONE], "b") == [False]


@pytest.mark.parametrize("call", ["replicate", "evacuate"])
def test_a_shelf_that_was_removed_gets_no_keeper_because_of_a_late_call(call: str) -> None:
    world = world_of(a=(), b=(ONE.id,))
    state = world.state
    replicas.join_copy(state, ONE, "b", "b", kept=True)
    shelves.leave(state, "a", 3)
    if call == "replicate":
        world.run(replicas.replicate(state, [ONE], "a", 2))
    else:
        world.run(replicas.evacuate(state, [ONE], "a", 2, anywhere=True))
    assert "a" not in state.epochs and world.methods("a") == []
    assert kept(state) == ["b"]


# --- a keeper was granted that it leaves


@pytest.mark.parametrize("there", [False, True])
def test_that_a_copy_is_kept_is_no_news_once_its_node_may_drop_it(there: bool) -> None:
    """The word was said before, and comes late. If it is a new one, the keeper says it again, under the new epoch."""
    world = world_of(a=(ONE.id,) if there else (), b=(ONE.id,), c=(ONE.id,))
    state = world.state
    for node in "abc":
        replicas.join_copy(state, ONE, "b", node, kept=True)
    assert replicas.leave(state, [ONE], "a") == [True]
    assert replicas.join_at_once(state, [ONE], "b", "a", True, 1) is None
    assert world.run(replicas.join_copies(state, [ONE], "b", "a", kept=True, epoch=1)) == [2]
    assert kept(state) == ["b", "c"]
    assert replicas.leave(state, [ONE], "c") == [True]
    assert replicas.leave(state, [ONE], "b") == [False]
    assert replicas.join_at_once(state, [ONE], "b", "a", True, 2) == [2]
    assert kept(state) == ["a", "b"]


def test_a_keeper_that_may_drop_a_copy_and_does_not_answer_does_not_keep_it() -> None:
    world = world_of(a=(), b=(ONE.id,))
    state = world.state
    for node in "ab":
        replicas.join_copy(state, ONE, "b", node, kept=True)
    assert replicas.leave(state, [ONE], "a") == [True]
    del world.answers["a", "holds_from_now"]
    with pytest.raises(StoreUnavailable, match="node a"):
        world.run(replicas.join_copies(state, [ONE], "b", "a", kept=True, epoch=1))
    assert kept(state) == ["b"]


@pytest.mark.parametrize("then", ["it is listed", "it says what it has dropped", "it leaves", "it dies"])
def test_what_a_node_was_granted_is_forgotten_with_the_epoch(then: str) -> None:
    world = world_of(a=(), b=(ONE.id,))
    state = world.state
    for node in "ab":
        replicas.join_copy(state, ONE, "b", node, kept=True)
    assert replicas.leave(state, [ONE], "a") == [True]
    assert state.granted == {"a": {ONE.id}}
    if then == "it is listed":
        world.answers["a", "listing_part"] = listing(2)
        world.run(shelves.join(state, "a"))
    elif then == "it says what it has dropped":
        world.run(reconciling.forget_absent(state, "a", [ONE.id]))
    elif then == "it leaves":
        shelves.leave(state, "a", 1)
    else:
        world.kill("a")
        world.run(losing.look_for_dead(state))
    assert state.granted == {}


# --- a keeper says that an array has ended


def test_an_array_that_a_node_has_again_has_not_ended_there() -> None:
    """Else who deletes it would not ask that node, where it could be read for ever."""
    world = world_of(a=(), b=(ONE.id,))
    state = world.state
    replicas.join_copy(state, ONE, "b", "b", kept=True)
    world.run(replicas.ended(state, [ONE.id], "b"))
    assert state.index.holders(ONE.id) == {"b": True}
    assert world.run(deletion.erase(state, ONE, "b"))
    assert "drop" in world.methods("b")


def test_an_array_that_comes_while_a_node_says_that_it_has_ended_has_not() -> None:
    world = world_of(a=(ONE.id,), b=())
    state = world.state
    replicas.join_copy(state, ONE, "a", "a", kept=True)
    ending = Talk(world, replicas.ended(state, [ONE.id], "b"))
    replicas.join_copy(state, ONE, "a", "b", kept=False)
    ending.answer({"b": [True]})  # it said so before the copy came
    assert ending.over
    assert state.index.holders(ONE.id) == {"a": True, "b": False}


def test_an_array_whose_node_does_not_say_that_it_has_ended_may_be_there() -> None:
    world = world_of(a=(ONE.id,), b=())
    del world.answers["a", "lacks"]
    replicas.join_copy(world.state, ONE, "a", "a", kept=True)
    world.run(replicas.ended(world.state, [ONE.id], "a"))
    assert kept(world.state) == ["a"]


@pytest.mark.parametrize("again", [False, True])
def test_what_has_ended_on_a_node_and_is_there_again_may_not_be_dropped_there(again: bool) -> None:
    world = world_of(a=(ONE.id,) if again else ())
    state = world.state
    world.answers["a", "lacks"] = [True]  # it said so before
    world.run(replicas.ended(state, [ONE.id], "a"))
    world.answers["a", "listing_part"] = listing(2, *([Listed(ONE, kept=True)] if again else []))
    world.run(shelves.join(state, "a"))
    state.index.copies.forget_array(ONE.id)  # a listing names only those that shall have copies
    assert replicas.leave(state, [ONE], "a") == [not again]


# --- a copy is cached beside a listing


@pytest.mark.parametrize("where", ["there", "elsewhere"])
def test_a_cached_copy_is_known_at_every_moment_although_a_listing_leads_to_questions(where: str) -> None:
    """While nodes are asked about others on that shelf, somebody may overwrite the array: that node has to be asked."""
    keyed, lost = info(2), info(3, None)
    world = world_of(a=(keyed.id,), b=(keyed.id, lost.id))
    state = world.state
    keys.bind(state, [keyed], "a", 0)
    state.index.copies.add(keyed, "a", "b", kept=False)
    again = "b" if where == "there" else "a"
    cached = [Listed(one, kept=False) for one in ((keyed, lost) if where == "there" else (lost,))]
    kept_there = [] if where == "there" else [Listed(keyed, kept=True)]
    world.answers[again, "listing_part"] = listing(2, *cached, *kept_there)
    joining = Talk(world, shelves.join(state, again))
    asked = 0
    while not joining.over:
        if isinstance(joining.instruction, Ask) and again not in state.under_way.listing:
            asked += 1
            assert state.index.holders(keyed.id) == {"a": True, "b": False}
        joining.answer(world.carry_out(joining.instruction))
    assert asked
    assert state.index.holders(keyed.id) == {"a": True, "b": False}


def test_a_cached_copy_of_an_array_that_is_deleted_while_others_are_asked_goes() -> None:
    world = world_of(a=(ONE.id,), b=(ONE.id,))
    state = world.state
    world.answers["b", "listing_part"] = listing(2, Listed(ONE, kept=False))
    joining = Talk(world, shelves.join(state, "b"))
    while not joining.over:
        asked: dict[str, Any] = joining.calls if isinstance(joining.instruction, Ask) else {}
        answer = world.carry_out(joining.instruction)
        if asked.get("a", ("",))[0] == "keep":
            state.note_erased(ONE.id)
        joining.answer(answer)
    assert ONE.id in state.erased
    assert state.index.holders(ONE.id) == {}
    assert world.methods("b")[-1] == "drop"


# --- a node has not said yet what it has


@pytest.mark.parametrize("silent", ["unlisted", "unheard"])
def test_no_list_omits_what_a_silent_node_may_have(silent: str) -> None:
    world = world_of(a=(), b=())
    state = world.state
    keys.bind(state, [info(2)], "a", 0)
    assert world.run(keys.list_keys(state, "s", "")) == ["k"]
    getattr(state, silent).add("b")
    for ask in (
        lambda: world.run(keys.list_keys(state, "s", "")),
        lambda: world.run(keys.names(state, "s", "", "/", ["'|u1'"])),
        lambda: world.run(keys.count(state, "s")),
        lambda: world.run(keys.entries(state, "s", "")),
        lambda: keys.ids(state, "s"),
    ):
        with pytest.raises(StoreUnavailable, match="an array of store 's' may be on node b"):
            ask()


def test_that_an_array_has_ended_is_said_twice_at_the_same_moment() -> None:
    """The second call is answered first. A copy that came meanwhile is known all the same."""
    world = world_of(a=(ONE.id,), b=())
    state = world.state
    replicas.join_copy(state, ONE, "a", "a", kept=True)
    first, second = (Talk(world, replicas.ended(state, [ONE.id], "b")) for _ in range(2))
    second.answer({"b": [True]})
    replicas.join_copy(state, ONE, "a", "b", kept=False)
    first.answer({"b": [True]})  # it said so before the copy came
    assert first.over
    assert state.index.holders(ONE.id) == {"a": True, "b": False}


@pytest.mark.parametrize("how", ["it says so", "it is asked"])
def test_what_ends_while_its_shelf_is_listed_is_not_listed(how: str) -> None:
    """Else the two other nodes could leave at the same time, and drop the last two replicas."""
    world, one = world_of(a=(), b=(ONE.id,), c=(ONE.id,), d=()), ONE._replace(replicas=4)
    state = world.state
    for node in "abc":
        replicas.join_copy(state, one, "b", node, kept=True)
    joining = Talk(world, shelves.join(state, "a"))
    world.answers["a", "listing_part"] = listing(2, Listed(one, kept=True))
    until_given_up(world, joining, "a")
    if how == "it says so":
        world.run(replicas.ended(state, [one.id], "a", over=True))
    else:
        world.run(replicas.too_few(state))
    while not joining.over:
        joining.answer(world.carry_out(joining.instruction))
    assert kept(state) == ["b", "c"]


def test_a_copy_that_comes_while_its_node_is_asked_whether_it_has_ended_is_known() -> None:
    """Its node may drop it, does, and fetches it again: all while its answer is on its way."""
    world, one = world_of(a=(ONE.id,), b=(ONE.id,), c=()), ONE._replace(replicas=3)
    state = world.state
    for name in "ab":
        replicas.join_copy(state, one, "a", name, kept=True)
    looking = Talk(world, replicas.too_few(state))
    assert looking.calls.keys() == {"a", "b"}
    assert replicas.leave(state, [one], "b") == [True]
    replicas.join_copy(state, one, "a", "b", kept=False)
    (method, _), no = looking.calls["b"], {"holds": False, "lacks": True}
    looking.answer({"b": [no[method]]})
    while not looking.over:
        looking.answer(world.carry_out(looking.instruction))
    assert state.index.holders(one.id) == {"a": True, "b": False}


def test_that_a_node_keeps_a_copy_is_no_news_once_it_may_drop_it() -> None:
    """It was asked before, and its answer comes late."""
    world = world_of(a=(), b=(ONE.id,), c=(ONE.id,))
    state = world.state
    for name in "bc":
        replicas.join_copy(state, ONE, "b", name, kept=True)
    asking = Talk(world, replicas.replicate(state, [ONE], "a", 1))
    assert asking.calls == {"a": ("keep", ([ONE.id],))}
    assert replicas.join_at_once(state, [ONE], "b", "a", True, 1) == [1]
    assert replicas.leave(state, [ONE], "a") == [True]
    asking.answer({"a": [True]})
    assert kept(state) == ["b", "c"]


def test_a_copy_that_comes_again_while_its_shelf_is_listed_waits_for_the_listing() -> None:
    """Which may have it, and passes over it: as far as the catalog knew, it was gone."""
    world = world_of(a=(ONE.id,), b=(ONE.id,))
    state = world.state
    for node in "ab":
        replicas.join_copy(state, ONE, "a", node, kept=True)
    joining = Talk(world, shelves.join(state, "b"))
    world.answers["b", "listing_part"] = listing(2, Listed(ONE, kept=False))
    until_given_up(world, joining, "b")
    assert replicas.leave(state, [ONE], "b") == [True]
    assert replicas.join_at_once(state, [ONE], "a", "b", False, 1) is None
    coming = Talk(world, replicas.join_copies(state, [ONE], "a", "b", kept=False, epoch=1))
    assert not coming.over
    while not joining.over:
        joining.answer(world.carry_out(joining.instruction))
    coming.go_on()
    assert coming.value == [2]
    assert state.index.holders(ONE.id) == {"a": True, "b": False}


# --- a node says that an array is not sealed


KEYED = info(1)


@pytest.mark.parametrize("sealed_by", ["its writer", "nobody yet"])
def test_what_could_not_be_sealed_under_an_earlier_epoch_is_not_missing(sealed_by: str) -> None:
    """Beside a check the shelf gets another epoch, and the writer asks again. The key would go, and the file stay."""
    world = world_of(a=(), b=())
    state = world.state
    world.answers["a", "lacks"] = [False]  # as a draft, or sealed
    assert keys.bind(state, [KEYED], "a", 0).epoch == 1
    checking = Talk(world, reconciling.reconcile(state, "a", []))
    assert checking.calls == {"a": ("finish", ([KEYED.id], 1))}
    world.run(reconciling.forget_absent(state, "a", [ONE.id]))
    assert state.epochs["a"] == 2
    if sealed_by == "its writer":
        assert keys.bind(state, [KEYED], "a", 1).epoch == 2
    checking.answer({"a": [False]})  # by then the shelf had another epoch than this was asked under
    world.finish(checking)
    assert checking.value == [] and state.index.lists(KEYED.id)


def test_what_a_node_is_asked_to_seal_while_its_shelf_gets_another_epoch_is_not_missing() -> None:
    """The catalog does not know that epoch: the keeper has started anew, or its answer is on its way."""
    world = world_of(a=())
    world.answers |= {("a", "finish"): [False], ("a", "lacks"): [False]}
    keys.bind(world.state, [KEYED], "a", 0)
    assert world.run(reconciling.reconcile(world.state, "a", [])) == []
    assert world.state.index.lists(KEYED.id)


@pytest.mark.parametrize("when", ["before it is asked first", "in between"])
def test_what_a_node_took_along_while_its_shelf_was_checked_is_lost(when: str) -> None:
    """Its key is not just removed: who reads it is told on which node it was lost, and when."""
    world = world_of(a=(), b=())
    state = world.state
    keys.bind(state, [KEYED], "b", 0)
    checking = Talk(world, reconciling.reconcile(state, "b", []))
    if when == "in between":
        checking.answer({"b": [False]})
    world.kill("b")
    checking.answer({})
    world.finish(checking)
    assert checking.value == [] and state.index.lists(KEYED.id)
    world.run(losing.look_for_dead(state))
    assert state.index.lost.of(KEYED) is not None


def test_what_is_sealed_after_its_node_was_asked_first_is_there() -> None:
    """Its shelf had an epoch that the catalog did not know. Else a reader would be told that the file is gone."""
    world = world_of(a=())
    keys.bind(world.state, [KEYED], "a", 0)
    looking = Talk(world, keys.verify(world.state, KEYED.id))
    assert looking.calls == {"a": ("finish", ([KEYED.id], 1))}
    looking.answer({"a": [False]})
    world.answers |= {("a", "unsealed"): [False], ("a", "never_put"): [False], ("a", "holds"): [True]}
    world.finish(looking)
    assert looking.value is True and world.state.index.lists(KEYED.id)


def test_what_is_listed_is_sealed_even_if_its_shelf_gets_another_epoch_meanwhile() -> None:
    """Else the list would show an array whose key still leads readers to the former one."""
    world = world_of(a=(), b=())
    state, new = world.state, info(2)
    keys.bind(state, [KEYED], "a", 0)
    keys.bind(state, [new], "a", 0)
    listing_all = Talk(world, keys.entries(state, "s", ""))
    assert listing_all.calls == {"a": ("finish", ([new.id], 1))}
    world.run(reconciling.forget_absent(state, "a", [ONE.id]))
    listing_all.answer({"a": [False]})
    assert listing_all.calls == {"a": ("finish", ([new.id], 2))}
    listing_all.answer({"a": [True]})
    assert [one.info for one in listing_all.value] == [new]


@pytest.mark.parametrize("then", ["it is not sealed", "it comes to nothing", "its node is listed without it"])
def test_what_is_not_sealed_is_not_asked_for_without_end(then: str) -> None:
    world = world_of(a=(), b=())
    state, new = world.state, info(2)
    keys.bind(state, [KEYED], "a", 0)
    keys.bind(state, [new], "a", 0)
    listing_all = Talk(world, keys.entries(state, "s", ""))
    if then == "it comes to nothing":
        keys.take_off(state, [new.id])
    elif then == "its node is listed without it":
        world.answers |= {("a", "listing_part"): listing(2, Listed(KEYED, kept=True)), ("a", "given_up"): []}
        world.run(shelves.join(state, "a"))
    listing_all.answer({"a": [False]})
    assert listing_all.over
    assert [one.info for one in listing_all.value] == [new if then == "it is not sealed" else KEYED]


def test_a_draft_that_was_replaced_and_dropped_is_not_listed_again() -> None:
    """Its writer may ask again, as the shelf has another epoch by now. Only so many are remembered."""
    world = World()
    state = world.know()
    state.dropped.most = 2
    dropped = [info(version) for version in (1, 2, 3)]
    for one in dropped:
        state.want_no_more(Holding(one.id, "a"), None)
        state.has_gone(Holding(one.id, "a"))
    assert not any(keys.bind(state, [one], "a", 0).epoch for one in dropped[1:])
    assert keys.bind(state, dropped[:1], "a", 0).epoch
