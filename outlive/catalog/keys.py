"""Keys: what each stands for, and how that changes.

A put with a key goes: the writer completes a draft -> it is listed, from which moment readers find it -> the writer
seals it, or a reader that is faster does. What the array replaces is dropped once it is sealed: see `replaced`.

Where other nodes have copies of what is replaced, their names go first (`forbid`): until the last of them is gone
everyone still reads the old array, then everyone asks the catalog.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable

from outlive.arrays.info import ArrayInfo
from outlive.catalog import asking, shelves
from outlive.catalog.index import Entry
from outlive.catalog.instructions import PATIENCE, Conversation, Wait
from outlive.catalog.state import State
from outlive.catalog.wire import Bound, Found
from outlive.errors import StoreUnavailable

# --- written


def bind(state: State, infos: list[ArrayInfo], node: str, stale: int) -> Bound:
    """List complete drafts on a node under their keys: all, or none. Asking again does no harm.

    Parameters
    ----------
    stale
        The epoch that a former answer gave, and that the shelf refused; 0 at first. List the node again then: another
        catalog has started since, and it is this one, or there is another shelf in the old one's place.
    """
    state.left.discard(node)  # somebody came back to it
    unknown = state.epochs.get(node, stale) == stale  # to list its shelf may take a while
    if unknown or _named_elsewhere(state, infos, node):
        return Bound(0, elsewhere=True)
    return _bind(state, infos, node)


def replace(state: State, infos: list[ArrayInfo], node: str, stale: int) -> Conversation[Bound]:
    """`bind`, where other nodes have copies of what is replaced: their names go first."""
    if state.epochs.get(node, stale) == stale:
        yield from shelves.join(state, node)
    yield from shelves.list_unlisted(state)
    state.left.discard(node)
    done: set[tuple[str, str, ArrayInfo]] = set()
    while remaining := _named_elsewhere(state, infos, node) - done:
        silent = yield from asking.forbid(state, [(other, info) for other, _, info in remaining], node)
        if silent:
            raise StoreUnavailable(
                f"node {', '.join(silent)} may have a copy of what is replaced, and did not confirm that nobody there "
                "reads it by its key any more: nobody there answers, or its file system is full. Nothing was "
                "changed; try again, or `outlive drain` that node"
            )
        done |= remaining
    return _bind(state, infos, node)


def _bind(state: State, infos: list[ArrayInfo], node: str) -> Bound:
    # Its writer has given up; or it was replaced before it was sealed, and its file goes just now.
    given_up = state.given_up.get(node, ())
    if any(info.id in given_up or state.is_going(info.id) for info in infos):
        return Bound(0)
    if node not in state.epochs:  # its keeper has left meanwhile
        return Bound(0, elsewhere=True)
    answer = state.index.bind(infos, node)
    if isinstance(answer, int):
        return Bound(0, answer)
    state.replaced += answer
    return Bound(state.epochs[node])


def _named_elsewhere(state: State, infos: Iterable[ArrayInfo], node: str) -> set[tuple[str, str, ArrayInfo]]:
    """Nodes other than this whose readers may find by name what these arrays replace: its id, and what replaces it."""
    found = set[tuple[str, str, ArrayInfo]]()
    for info in infos:
        found |= {(other, "", info) for other in state.unlisted if other != node}  # it may have any of them
        entry = state.index.find(info.store, info.key or "")
        if entry is not None and entry.info.id != info.id:
            found |= {(other, entry.info.id, info) for other in state.index.holders(entry.info.id) if other != node}
    return found


def unbind(state: State, infos: Iterable[ArrayInfo], node: str) -> None:
    """Forget keys that were listed by a call that was repeated, and whose arrays had been deleted meanwhile on a node.

    What that call made them replace has its key again. One that others have was sealed, and not deleted: it is gone
    from where it was put because that node was evacuated.
    """
    for info in infos:
        if not state.index.holders(info.id).keys() - {node}:
            state.restore(state.index.take_off(info.id))


def take_off(state: State, array_ids: Iterable[str]) -> None:
    """Forget arrays that were listed, and whose puts came to nothing. What they would have replaced is back.

    If the call that lists them comes later than this one, it lists nothing.
    """
    for array_id in array_ids:
        state.note_erased(array_id)
        state.restore(state.index.take_off(array_id))


def verify(state: State, array_id: str) -> Conversation[bool]:
    """Somebody did not find an array where it is listed. False: it is gone, and nobody deleted it.

    It is sealed, if that is due. It is not listed any more, if its put came to nothing. If its home has changed while
    the former one was asked, that says nothing: whoever did not find it looks again.
    """

    def is_still_at(node: str) -> bool:
        entry = state.index.current(array_id)
        return entry is not None and entry.node == node and not entry.doomed

    entry = state.index.current(array_id)
    if entry is None:
        return True
    node = entry.node
    sealed = yield from asking.finish(state, node, [array_id])
    if sealed == [True] or not is_still_at(node):
        return True
    unsealed = yield from asking.ask_known(state, "unsealed", {node: [array_id]})
    if unsealed == {node: [True]} and is_still_at(node):
        # The shelf's epoch is not the one that is known here: a keeper that was stopped has raised it late. Its
        # writer has to ask again, so it is listed then.
        yield from shelves.join(state, node)
        return True
    never_put = yield from asking.ask_known(state, "never_put", {node: [array_id]})
    came_to_nothing = never_put == {node: [True]} and is_still_at(node)
    if came_to_nothing:
        state.restore(state.index.take_off(array_id))
    return came_to_nothing or not is_still_at(node)


def listed(state: State, array_ids: list[str], node: str, epoch: int) -> Conversation[set[str] | None]:
    """Which of these drafts on a node's shelf are listed, to be sealed as of `epoch`, which that shelf has.

    None if the shelf has another epoch, as one whose listing is on its way: once that has come, a draft that it does
    not have is not listed any more, and was not to be sealed. It is listed again then; ask again.
    """
    if state.epochs.get(node) != epoch:
        yield from shelves.join(state, node)
        return None
    return set(filter(state.index.lists, array_ids))


# --- read


def find(state: State, store: str, keys: Iterable[str]) -> list[Found | None]:
    """What each key stands for. Raises StoreUnavailable if a node that has not said what it has may know better."""
    found = [_found(state, state.index.find(store, key)) or _found_lost(state, store, key) for key in keys]
    if (state.unlisted or state.unheard) and any(
        one is None or one.lost_at or one.info.id in state.late for one in found
    ):
        state.say_unlisted("an array of this key")
    return found


def hold(state: State, store: str, keys: list[str]) -> tuple[int, list[Found | None]]:
    """What keys stand for at one moment, and the number of a hold on that.

    For a minute, or until `release`, what replaces these arrays leaves them where they are, for whoever reads them
    by what this says. A deletion does not wait.
    """
    found = find(state, store, keys)
    return state.holds.begin(one.info.id for one in found if one is not None), found


def release(state: State, number: int) -> None:
    """What was held may go."""
    state.replaced += state.holds.end(number)


def _found(state: State, entry: Entry | None) -> Found | None:
    if entry is None:
        return None
    others = [node for node in state.index.holders(entry.info.id) if node != entry.node]
    epoch, replacing = state.epochs.get(entry.node, 0), bool(entry.superseded)
    alone = replacing and not state.may_be_shown(entry.info)
    return Found(entry.info, [entry.node, *others], entry.doomed, epoch, replacing=replacing, alone=alone)


def _found_lost(state: State, store: str, key: str) -> Found | None:
    lost = state.index.lost.of_key(store, key)
    return None if lost is None else Found(lost.info, [lost.node], lost_at=lost.at)


# --- listed and counted


def list_keys(state: State, store: str, prefix: str) -> Conversation[list[str]]:
    yield from wait_for_deletions(state, store, prefix)
    return sorted(state.index.keys(store, prefix))


def count(state: State, store: str) -> Conversation[int]:
    yield from wait_for_deletions(state, store)
    return state.index.count(store)


def entries(state: State, store: str, prefix: str) -> Conversation[list[Found]]:
    """All that is listed, sorted by key.

    Where an older array can still be read, the new one is sealed first: no two calls show them in another order.
    """
    yield from wait_for_deletions(state, store, prefix)
    by_node: dict[str, list[str]] = defaultdict(list)
    for entry in state.index.entries(store, prefix):
        if entry.superseded:
            by_node[entry.node].append(entry.info.id)
    for node, ids in by_node.items():
        with contextlib.suppress(StoreUnavailable):
            yield from asking.finish(state, node, ids)
    found = [one for entry in state.index.entries(store, prefix) if (one := _found(state, entry)) is not None]
    return sorted(found, key=lambda one: one.info.key or "")


def wait_for_deletions(state: State, store: str, prefix: str = "") -> Conversation[None]:
    """Those that are under way: until its file is gone, an array can be read, and so is not to be missed here."""
    index, remaining = state.index, list(state.index.doomed(store, prefix))

    def over() -> bool:
        """Asked after each step that anybody makes: it looks at one that is not over, and not at all."""
        while remaining and (remaining[-1] in state.unfinished or not index.is_doomed(remaining[-1])):
            remaining.pop()
        return not remaining

    yield Wait(over, PATIENCE)


def ids(state: State, store: str) -> list[str]:
    """The arrays that have a key, and those with a key that are lost."""
    lost = [one.info.id for one in state.index.lost.of_store(store) if one.info.key]
    return [entry.info.id for entry in state.index.entries(store)] + lost


def totals(state: State) -> dict[str, tuple[int, int]]:
    """For each store: how many keys, and the bytes of their arrays."""
    infos = {store: [entry.info for entry in state.index.entries(store)] for store in state.index.stores()}
    return {store: (len(found), sum(info.nbytes for info in found)) for store, found in infos.items()}
