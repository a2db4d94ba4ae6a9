"""Keys: which array each stands for, and how that changes.

A put with a key has three steps: the writer completes a draft; the catalog lists it, and from then on readers find it;
the writer seals it, unless a reader does so before. The array that was replaced is dropped after that: see `replaced`.

If other nodes have copies of the old array, their names are forbidden before the new one is listed. Until the last name
is gone everybody reads the old array, and then everybody asks the catalog.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from outlive.arrays.info import ArrayInfo
from outlive.catalog import asking, replicas, shelves
from outlive.catalog.index import Entry
from outlive.catalog.instructions import PATIENCE, Conversation, Wait
from outlive.catalog.state import State
from outlive.catalog.wire import Bound, Found
from outlive.errors import StoreUnavailable

# --- written


def bind(state: State, infos: list[ArrayInfo], node: str, stale: int) -> Bound:
    """List complete drafts on a node under their keys: all, or none. A repeated call does no harm.

    Parameters
    ----------
    stale
        The epoch of an earlier answer that the shelf refused; 0 at first. The node is then listed again: this catalog
        has started since, or another shelf is in the old one's place.
    """
    state.left.discard(node)  # somebody uses the node again
    unlisted = state.epochs.get(node, stale) == stale  # `replace` lists the shelf, which may take a while
    if unlisted or _named_elsewhere(state, infos, node):
        return Bound(0, elsewhere=True)
    return _bind(state, infos, node)


def replace(state: State, infos: list[ArrayInfo], node: str, stale: int) -> Conversation[Bound]:
    """`bind`, where other nodes may have copies of the arrays that are replaced: their names are forbidden first."""
    if state.epochs.get(node, stale) == stale:
        yield from shelves.join(state, node)
    yield from shelves.list_unlisted(state)
    state.left.discard(node)
    done: set[tuple[str, str, ArrayInfo]] = set()
    while remaining := _named_elsewhere(state, infos, node) - done:
        if behind := _behind(state, infos):  # else what is later would be forbidden, or forgotten
            return Bound(0, behind)
        for other, _, info in remaining:
            if info.replicas == 1:
                state.announced.add(info.id, (info.store, info.key or ""), other)
        silent = yield from asking.forbid(state, [(other, info) for other, _, info in remaining], node)
        if silent:
            raise StoreUnavailable(
                f"node {', '.join(silent)} may have a copy of what is replaced, and did not confirm that nobody there "
                "reads it by its key any more: nobody there answers, or its file system is full. Nothing was "
                "changed; try again, or `outlive drain` that node"
            )
        for other, _, info in remaining:
            state.index.settle(info, other)
        done |= remaining
    return _bind(state, infos, node)


def add(state: State, infos: list[ArrayInfo], node: str, stale: int) -> Conversation[Bound | None]:
    """`replace`, but only of nothing. None if one of the keys stands for another array, lost or not: nothing is listed.

    Of several writers that add one key, on whatever nodes, one succeeds.
    """
    if state.epochs.get(node, stale) == stale:
        yield from shelves.join(state, node)
    yield from shelves.list_unlisted(state)
    state.left.discard(node)
    yield Wait(lambda: not any(map(state.index.unsettled_beside, infos)), PATIENCE)
    state.say_unlisted("an array of this key")
    beside = {one.id for info in infos for one in state.index.unsettled_beside(info).values()}
    state.say_unsettled("an array of this key", lambda one: one.id in beside)
    for info in infos:
        entry, name = state.index.find(info.store, info.key or ""), (info.store, info.key or "")
        if (entry is not None and entry.info.id != info.id) or (entry is None and state.lost_of(*name) is not None):
            return None
    return _bind(state, infos, node)  # nothing has come in between


def _bind(state: State, infos: list[ArrayInfo], node: str) -> Bound:
    # The writer has given up an array; or one was replaced before it was sealed, and its file is being dropped.
    given_up = state.given_up.get(node, ())
    for info in infos:
        if info.id in given_up or state.is_going(info.id):
            return Bound(0)
    if node not in state.epochs:  # its keeper has left meanwhile
        return Bound(0, elsewhere=True)
    if behind := _behind(state, infos):
        return Bound(0, behind)
    lost = [(info, one) for info in infos if (one := state.lost_of(info.store, info.key or "")) is not None]
    answer = state.index.bind(infos, node)
    if isinstance(answer, int):
        return Bound(0, answer)
    state.replaced += answer
    state.latest = max(state.latest, max((info.version for info in infos), default=0))
    for info, one in lost:
        state.put_over_lost(info, node, one)
    return Bound(state.epochs[node])


def _behind(state: State, infos: Iterable[ArrayInfo]) -> int:
    """The version that these arrays have to exceed, as something later was deleted or may be there; else 0."""
    behind = state.deleted_after(infos)
    for info in infos:
        if info.version <= state.exceeded and not state.index.lists(info.id):
            behind = max(behind, state.exceeded)
        for one in state.index.unsettled_beside(info).values():
            if one.version >= info.version:
                behind = max(behind, one.version)
    return behind


def _named_elsewhere(state: State, infos: Iterable[ArrayInfo], node: str) -> set[tuple[str, str, ArrayInfo]]:
    """Where else readers may find by name what these arrays replace: node, id of the old array, and the new array."""
    found = set[tuple[str, str, ArrayInfo]]()
    unlisted = state.unlisted - {node}
    for info in infos:
        if unlisted:  # they may have any array
            found |= {(other, "", info) for other in unlisted}
        entry = state.index.find(info.store, info.key or "")
        if entry is not None and entry.info.id != info.id:
            found |= {(other, entry.info.id, info) for other in state.index.holders(entry.info.id) if other != node}
        if unsettled := state.index.unsettled_beside(info):
            found |= {(other, one.id, info) for other, one in unsettled.items() if other != node}
    return found


def unbind(state: State, infos: Iterable[ArrayInfo], node: str) -> None:
    """Forget keys that a repeated call listed after their arrays were deleted on a node.

    The arrays that they replaced have their keys again. An array that another node has stays: it was sealed, and is
    gone from its node because that was evacuated.
    """
    for info in infos:
        if not state.index.holders(info.id).keys() - {node}:
            state.restore(state.index.take_off(info.id))


def take_off(state: State, array_ids: Iterable[str]) -> None:
    """Forget listed arrays whose puts came to nothing. The arrays that they would have replaced are current again.

    If the call that lists them comes after this one, it lists nothing.
    """
    for array_id in array_ids:
        state.note_erased(array_id)
        state.come_to_nothing(array_id)


def verify(state: State, array_id: str) -> Conversation[bool]:
    """Check an array that somebody did not find where it is listed. False: it is gone, and nobody deleted it.

    A draft is sealed. An array whose put came to nothing is taken off the list. If the array has another home by the
    time that the former one answers, the answer says nothing, and the caller looks again.
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
        # A keeper that was stopped has raised the shelf's epoch late. Listed anew, the shelf has a known epoch, and
        # the writer, who has to ask again, can seal the draft.
        yield from shelves.join(state, node)
        return True
    never_put = yield from asking.ask_known(state, "never_put", {node: [array_id]})
    came_to_nothing = never_put == {node: [True]} and is_still_at(node)
    if came_to_nothing:
        state.come_to_nothing(array_id)
    if came_to_nothing or not is_still_at(node):
        return True
    # If the shelf had a later epoch when it was asked first, the draft was still there, and may be sealed since.
    sealed_since = yield from asking.holding_nodes(state, array_id, [node])
    return bool(sealed_since) or not is_still_at(node)


def listed(state: State, array_ids: list[str], node: str, epoch: int) -> Conversation[set[str] | None]:
    """The drafts, of these on a node's shelf, that are listed and may be sealed under `epoch`, which the shelf has.

    None if the catalog knows another epoch of the shelf, as while a listing is on its way: that may not have a draft,
    which then must not be sealed. The shelf is listed before this returns; ask again.
    """
    if state.epochs.get(node) != epoch:
        yield from shelves.join(state, node)
        return None
    return set(filter(state.index.lists, array_ids))


# --- read


def find(state: State, store: str, keys: Sequence[str]) -> list[Found | None]:
    """The array of each key. Raises StoreUnavailable if an unlisted node may have a later one."""
    found = [_found(state, state.index.find(store, key)) or _found_lost(state, store, key) for key in keys]
    if (state.unlisted or state.unheard) and any(
        one is None or one.lost_at or one.info.id in state.late for one in found
    ):
        state.say_unlisted("an array of this key")
    for key, one in zip(keys, found, strict=True):
        later = 0 if one is None or one.lost_at else one.info.version + 1
        if any(other.version >= later for other in state.index.unsettled(store, key).values()):
            state.say_unsettled("an array of this key", lambda info: (info.store, info.key) == (store, key))  # noqa: B023
    return found


def hold(state: State, store: str, keys: list[str]) -> tuple[int, list[Found | None]]:
    """The arrays of these keys at one moment, and the number of a hold on them.

    For a minute, or until `release`, the files of these arrays stay even if they are replaced, so that the caller can
    read them. A deletion does not wait.
    """
    found = find(state, store, keys)
    return state.holds.begin(one.info.id for one in found if one is not None), found


def release(state: State, number: int) -> None:
    """End a hold."""
    state.replaced += state.holds.end(number)


def _found(state: State, entry: Entry | None) -> Found | None:
    if entry is None:
        return None
    others = [node for node in state.index.holders(entry.info.id) if node != entry.node]
    epoch, replacing = state.epochs.get(entry.node, 0), bool(entry.superseded)
    alone = replacing and not state.may_be_shown(entry.info)
    return Found(entry.info, [entry.node, *others], entry.doomed, epoch, replacing=replacing, alone=alone)


def _found_lost(state: State, store: str, key: str) -> Found | None:
    lost = state.lost_of(store, key)
    return None if lost is None else Found(lost.info, [lost.node], lost_at=lost.at)


# --- listed and counted


def list_keys(state: State, store: str, prefix: str) -> Conversation[list[str]]:
    """The keys of a store, sorted."""
    yield from wait_for_deletions(state, store, prefix)
    return sorted(state.index.keys(store, prefix))


def names(state: State, store: str, prefix: str, separator: str, dtypes: list[str]) -> Conversation[list[str]]:
    """The keys of a store that begin with `prefix`: the rest up to the next `separator` ("": all), sorted, each once.

    It names only arrays of one dimension and of one of these dtypes.
    """
    yield from wait_for_deletions(state, store, prefix)
    found = set[str]()
    for entry in state.index.entries(store, prefix):
        info = entry.info
        if info.dtype in dtypes and len(info.shape) == 1 and not info.codec:
            rest = (info.key or "")[len(prefix) :]
            found.add(rest.split(separator, 1)[0] if separator else rest)
    return sorted(found)


def count(state: State, store: str) -> Conversation[int]:
    """The number of keys in a store."""
    yield from wait_for_deletions(state, store)
    return state.index.count(store)


def entries(state: State, store: str, prefix: str) -> Conversation[list[Found]]:
    """All listed arrays of a store, sorted by key.

    An array that replaces one which can still be read is sealed first, and gets its replicas first.
    So no later call shows the older one.
    """
    yield from wait_for_deletions(state, store, prefix)
    by_node: dict[str, list[str]] = defaultdict(list)
    for entry in state.index.entries(store, prefix):
        if entry.superseded:
            by_node[entry.node].append(entry.info.id)
    sealed = yield from asking.finish_each(state, by_node)
    alone = [one.info.id for entry in map(state.index.current, sealed) if (one := _found(state, entry)) and one.alone]
    if alone:
        yield from replicas.secure(state, alone)
    found = [one for entry in state.index.entries(store, prefix) if (one := _found(state, entry)) is not None]
    return sorted(found, key=lambda one: one.info.key or "")


def wait_for_deletions(state: State, store: str, prefix: str = "") -> Conversation[None]:
    """Wait for deletions that are under way. Until its file is gone an array can be read, so no list may omit it.

    Raises
    ------
    StoreUnavailable
        A node has not said yet what it has: no list may omit that either.
    """
    index, remaining = state.index, list(state.index.doomed(store, prefix))

    def over() -> bool:
        """Called after every step of any conversation, so it looks at one deletion that is not over, and not at all."""
        while remaining and (remaining[-1] in state.unfinished or not index.is_doomed(remaining[-1])):
            remaining.pop()
        return not remaining

    yield Wait(over, PATIENCE)
    state.say_unlisted(f"an array of store {store!r}")
    state.say_unsettled(
        f"an array of store {store!r}", lambda one: one.store == store and (one.key or "").startswith(prefix)
    )


def ids(state: State, store: str) -> list[str]:
    """The ids of all arrays of a store that have a key, including those that are lost. Raises StoreUnavailable."""
    state.say_unlisted(f"an array of store {store!r}")
    state.say_unsettled(f"an array of store {store!r}", lambda one: one.store == store)
    lost = [one.info.id for one in state.index.lost.of_store(store) if one.info.key]
    return [entry.info.id for entry in state.index.entries(store)] + lost


def totals(state: State) -> dict[str, tuple[int, int]]:
    """The number of keys of each store, and the bytes of their arrays."""
    infos = {store: [entry.info for entry in state.index.entries(store)] for store in state.index.stores()}
    return {store: (len(found), sum(info.nbytes for info in found)) for store, found in infos.items()}
