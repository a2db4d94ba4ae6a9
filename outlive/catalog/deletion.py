"""Deletion: the files go first, then the key. So a catalog that starts at any moment learns the truth from the files.

Until the home's file is gone, everybody can read the array. If several nodes have copies, their names are forbidden
first, so that every reader asks the catalog.
"""

from __future__ import annotations

import contextlib
import logging
from collections import defaultdict
from collections.abc import Callable

from outlive.arrays.info import ArrayInfo
from outlive.catalog import asking, saving, shelves, successors
from outlive.catalog.index import Holding
from outlive.catalog.instructions import PATIENCE, Conversation, Start, Wait
from outlive.catalog.state import State
from outlive.errors import StoreUnavailable

Settle = Callable[[list[ArrayInfo]], Conversation[None]]
_log = logging.getLogger(__name__)


def _without(_: list[ArrayInfo]) -> Conversation[None]:
    yield from ()


def end(state: State, array_ids: list[str], settle: Settle = _without) -> Conversation[list[str]]:
    """Delete these arrays, with their keys and all their files; returns the ids of those that were there.

    The call names arrays and not keys, so a repeated call does not delete what was put under the key since.

    Parameters
    ----------
    settle
        Held before the last files of these arrays go. A dead node may have an earlier array of a key, and it must be
        known by then that this is not to come back: if the catalog dies next, no file says so any more.

    Raises
    ------
    StoreUnavailable
        A node that lives did not confirm.
    """
    ids = set(array_ids)
    yield from shelves.list_unlisted(state)
    yield Wait(lambda: all(info.id not in ids for _, info in state.index.all_unsettled()), PATIENCE)
    state.say_unsettled("an array that is to be deleted", lambda info: info.id in ids)
    successors.lose_beneath(state)
    gone = _end_lost(state, ids)
    # Meanwhile a put over another of them may come to nothing: then that is current again.
    while names := list(filter(None, map(state.index.key_of, array_ids))):
        by_store: dict[str, list[str]] = defaultdict(list)
        for store, key in names:
            by_store[store].append(key)
        for store, keys in by_store.items():
            gone += yield from _delete(state, store, keys, ids, settle)
    gone = list(dict.fromkeys([*gone, *_end_lost(state, ids)]))  # an array's last node may have died meanwhile
    if remaining := ids.difference(gone):  # an array that is being overwritten can be read until the new one is sealed
        old = state.index.superseded(remaining)
        for holding, _ in old:
            state.note_erased(holding.array_id)  # if the new array is never sealed, this one does not come back
        silent = yield from asking.drop_for_good(state, old)
        if silent:
            raise StoreUnavailable(
                f"node {', '.join(silent)} did not confirm that it deleted {', '.join(sorted(remaining))}: its keeper "
                "does not answer. Until it does, what is being overwritten can be read there; then it is deleted"
            )
        gone += dict.fromkeys(holding.array_id for holding, _ in old)
    if ids.difference(gone):
        state.say_unlisted("an array that is to be deleted")
    if state.index.lost.changed:
        yield from _save(state)
    return gone


def _end_lost(state: State, array_ids: set[str]) -> list[str]:
    """Delete those of these arrays that are lost; their ids. A later keeper may find them on a dead node's shelf."""
    infos = state.index.lost.remove_ids(array_ids)
    for info in infos:
        state.note_deleted(info)
    return [info.id for info in infos]


def _save(state: State) -> Conversation[None]:
    """Have the head remember what is lost no more, before anybody is told.

    If that fails, the next round does it. So it does if the head is silent for longer than the deletion may take.
    """
    over = list[bool]()
    yield Start(_save_beside(state, over))
    yield Wait(lambda: bool(over), PATIENCE)


def _save_beside(state: State, over: list[bool]) -> Conversation[None]:
    """Save; at the end, however it comes, `over` is not empty."""
    try:
        yield from saving.save(state)
    except StoreUnavailable as error:
        _log.warning("the head has not noted which arrays are lost no more: %s", error)
    finally:
        over.append(True)


def _delete(state: State, store: str, keys: list[str], only: set[str], settle: Settle) -> Conversation[list[str]]:
    doomed = yield from doom(state, store, keys, only)
    ids = {key: holdings[-1].array_id for key, holdings in doomed}
    remaining = {holding: key for key, holdings in doomed for holding in holdings}
    homes, gone, silent = {holdings[-1] for _, holdings in doomed}, dict[Holding, str](), list[str]()
    # An unlisted node may have a copy, which would come back once the node is listed. So it is asked to drop it too.
    for key, holdings in doomed:
        remaining |= {Holding(ids[key], node): key for node in sorted(state.unlisted) if node != holdings[-1].node}
    state.under_way.deleting.update(ids.values())  # a listing that comes meanwhile does not bring them back
    try:
        while remaining and not silent:
            silent = yield from _drop(state, store, remaining, set(ids.values()), homes, settle)
            gone |= remaining
            remaining = {one: key for key in ids for one in _files(state, store, key, ids[key]) if one not in gone}
    except BaseException:  # nobody says which nodes live, as the head is silent
        _finish_later(state, store, ids, gone | remaining)
        raise
    finally:
        state.under_way.deleting.difference_update(ids.values())
    if silent:
        _finish_later(state, store, ids, gone)
        raise StoreUnavailable(
            f"node {', '.join(silent)} did not confirm that it deleted its files of "
            f"{', '.join(map(repr, keys[:5]))}: its keeper does not answer. Until it does, the arrays can be read "
            "there; then they are deleted"
        )
    files: dict[str, list[Holding]] = defaultdict(list)
    for one, key in gone.items():
        files[key].append(one)
    for key, holdings in doomed:
        _unbind(state, store, key, holdings[-1], files[key])
    return list(ids.values())


def _finish_later(state: State, store: str, ids: dict[str, str], asked: dict[Holding, str]) -> None:
    """Note that the arrays of these keys are still to be deleted. These files may be gone, or not."""
    state.unfinished.update(ids.values())
    for one, key in asked.items():
        if not state.index.lists(one.array_id):  # replaced meanwhile, perhaps by a put that came to nothing
            state.want_no_more(one, (store, key))


def _drop(
    state: State, store: str, files: dict[Holding, str], array_ids: set[str], homes: set[Holding], settle: Settle
) -> Conversation[list[str]]:
    """Drop these arrays' files, and those that they superseded. Returns the nodes that did not confirm.

    The homes are asked last: where a name could not be forbidden, everybody reads the array until its home drops it.
    """
    silent = list[str]()
    older = {holding for holding in files if holding.array_id not in array_ids}
    for holding in older:
        state.want_no_more(holding, (store, files[holding]))
    for some in ([one for one in files if one not in homes], [one for one in files if one in homes]):
        if not silent:
            if not homes.isdisjoint(some):
                yield from settle([one.info for one in some if one in homes and one.info is not None])
            silent = yield from asking.drop(state, [(holding, (store, files[holding])) for holding in some])
            for holding in older.intersection(some):
                if holding.node not in silent:
                    state.has_gone(holding)
    return silent


def _files(state: State, store: str, key: str, array_id: str) -> list[Holding]:
    """The files that go with an array. A listing may have found more of them, also since the key was put again."""
    entry = state.index.find(store, key)
    if entry is not None and entry.info.id == array_id:
        return state.index.files(entry)
    return [holding for holding, _ in state.index.superseded({array_id})]


def _unbind(state: State, store: str, key: str, array: Holding, gone: list[Holding]) -> None:
    """Forget a key: all files of its array, and of the arrays that this had replaced, are gone."""
    state.beneath.pop((store, key), None)
    if array.info is not None:
        state.note_deleted(array.info)
    state.index.unbind(store, key, array.array_id)  # unless the key was put again meanwhile
    for holding in gone:
        state.has_gone(holding)
    for node in state.under_way.listing:  # including a node that is listed for the first time
        state.note_gone(node, [holding.array_id for holding in gone])
        if array.info is not None:
            state.under_way.deleted[node][store, key] = array.info.version


def doom(state: State, store: str, keys: list[str], only: set[str]) -> Conversation[list[tuple[str, list[Holding]]]]:
    """Begin to delete. Where several nodes have copies, their names are forbidden first."""
    done: set[tuple[str, str]] = set()
    while True:
        entries = (state.index.find(store, key) for key in keys)
        listed = [entry.info for entry in entries if entry is not None and entry.info.id in only]
        where = {info.id: {*state.index.holders(info.id), *state.unlisted} for info in listed}
        spread = [info for info in listed if len(where[info.id]) > 1]
        remaining = [(node, info) for info in spread for node in where[info.id] if (node, info.id) not in done]
        if not remaining:
            return state.index.doom(store, [info.key or "" for info in listed])
        yield from asking.forbid(state, [(node, info._replace(version=info.version + 1)) for node, info in remaining])
        done |= {(node, info.id) for node, info in remaining}


def finish_deletions(state: State, settling: Callable[[], Settle] = lambda: _without) -> Conversation[None]:
    """Try again the deletions that a node did not confirm. No round waits for them, and no node for another."""
    by_nodes: dict[frozenset[str], list[str]] = defaultdict(list)
    for array_id in sorted(state.unfinished - state.under_way.finishing):
        entry = state.index.current(array_id)
        nodes = frozenset[str]() if entry is None else frozenset(file.node for file in state.index.files(entry))
        by_nodes[nodes].append(array_id)
    for array_ids in by_nodes.values():
        state.under_way.finishing.update(array_ids)
        yield Start(_finish(state, array_ids, settling()), "finish")


def _finish(state: State, array_ids: list[str], settle: Settle) -> Conversation[None]:
    """Finish deletions. Until each is confirmed it stays noted as unfinished: so nobody who lists keys waits for it."""
    try:
        with contextlib.suppress(StoreUnavailable):
            yield from end(state, array_ids, settle)
            state.unfinished.difference_update(array_ids)
    finally:
        state.under_way.finishing.difference_update(array_ids)


def erase(state: State, info: ArrayInfo, hint: str | None) -> Conversation[bool]:
    """Delete an array without a key, on every node; False if no node had it.

    Parameters
    ----------
    hint
        The node where it was put, if the caller knows.

    Raises
    ------
    StoreUnavailable
        A node that lives did not confirm. It is asked again each second.
    """
    there = [*state.index.holders(info.id), *state.unwanted.get(info.id, ())]
    state.note_erased(info.id)
    state.index.copies.forget_array(info.id)
    lost = state.index.lost.remove(info)
    if not there:
        mute = set[str]()
        there = yield from shelves.ask_who_has(state, info.id, hint, mute)
        if not there and lost is None:
            state.say_silent(info.id, mute)
    # An unlisted node may have a copy, which would come back once a later catalog lists the node.
    # A keeper that is slow may have it still, although it was told that it may drop it: readers there find it.
    nodes = dict.fromkeys([*there, *sorted(state.unlisted), *state.about_to_drop(info.id)])
    silent = yield from asking.drop_for_good(state, [(Holding(info.id, node), None) for node in nodes])
    if silent:
        raise StoreUnavailable(
            f"node {', '.join(silent)} did not confirm that it deleted array {info.id}: its keeper is silent. "
            "Until it does, the array can be read there; then it is deleted"
        )
    return bool(there) or lost is not None
