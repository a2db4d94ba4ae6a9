"""Reconciling: the keys are compared with what a shelf really has, and differences are repaired."""

from __future__ import annotations

from outlive.arrays.defect import Defect
from outlive.arrays.info import ArrayInfo
from outlive.catalog import asking, shelves
from outlive.catalog.index import Entry
from outlive.catalog.instructions import Call, Conversation
from outlive.catalog.state import State
from outlive.catalog.wire import Listed


def reconcile(state: State, node: str, present: list[ArrayInfo]) -> Conversation[list[Defect]]:
    """Compare the keys with the arrays found on a shelf, and repair what differs. Returns the defects."""
    index, ids = state.index, {info.id for info in present}
    missing = [entry for _, _, entry in index.at_home(node) if not entry.doomed and entry.info.id not in ids]
    stray = [info for info in present if not _is_known(state, info.id, node)]
    copies = [info.id for info, _ in index.copies.on_node(node) if info.id not in ids and index.lists(info.id)]
    absent = [array_id for array_id in copies if index.home(array_id) != node]
    yield from forget_absent(state, node, absent)
    # If a file is still there and its key is not, no deletion is under way: a deletion removes the file first.
    asked = [entry.info.id for entry in missing] + [info.id for info in stray]
    there = yield from asking.finish(state, node, asked)
    unsealed = [entry for entry, is_there in zip(missing, there, strict=False) if not is_there]
    findings = yield from _find_missing(state, node, unsealed)
    stray = [info for info, is_there in zip(stray, there[len(missing) :], strict=True) if is_there]
    kept = yield from asking.keep(state, {node: stray} if stray else {})  # a cached one would be evicted
    stale = shelves.admit(state, node, [Listed(info, kept=True) for _, info in kept])
    findings += [_stray(state, info) for _, info in kept]
    yield from asking.drop_for_good(state, stale)
    return [finding for finding in findings if finding is not None]


def _is_known(state: State, array_id: str, node: str) -> bool:
    """Whether an array on a node is listed; or overwritten: then it goes soon, unless somebody reads it."""
    older = {holding.node for holding, _ in state.index.superseded({array_id})}
    return state.index.lists(array_id) or node in older


def _find_missing(state: State, node: str, unsealed: list[Entry]) -> Conversation[list[Defect | None]]:
    """Mend the keys, of these, whose arrays do not come any more: their home has neither a file nor a draft of them.

    That an array was not sealed under the epoch that the catalog knew is not enough. If the shelf had a later one, the
    draft is still there, and its writer, or a reader, may seal it under that one at any moment. A node that dies, or
    that does not answer, is no reason to remove a key either: see `losing`.
    """
    ids = [entry.info.id for entry in unsealed]
    gone = (yield from asking.lack(state, {node: ids})) if ids else []
    return [_missing(state, node, entry) for entry in unsealed if (node, entry.info.id) in gone]


def _missing(state: State, node: str, entry: Entry) -> Defect | None:
    """Mend a key whose array is not at its home. None: it is being deleted, or it or its key has moved."""
    info, key = entry.info, entry.info.key or ""
    if state.index.find(info.store, key) is not entry or entry.node != node or entry.doomed:
        return None
    if state.kept(info.id, node):
        state.not_there(node, info.id)
        return Defect("missing", key, f"its array {info.id} is gone there; others keep it", True)
    state.index.unbind(info.store, key, info.id)
    state.restore(entry.superseded)
    return Defect("missing", key, f"its array {info.id} is lost; key removed", True)


def _stray(state: State, info: ArrayInfo) -> Defect:
    """The defect of an array that was listed under no key, as it was mended."""
    current = state.index.lists(info.id)
    what = ("unlisted", "listed again") if current else ("superseded", "dropped: a later put replaced it")
    return Defect(what[0], info.key or "", what[1], True)


def forget_absent(state: State, node: str, array_ids: list[str]) -> Conversation[None]:
    """Forget copies that a report of a shelf did not have. Replicas among them are made again, elsewhere.

    The report may be older than a copy that is being sealed. So the shelf is asked again, and gets a new epoch first:
    a copy that is not there then has to be joined again before it is sealed. If the shelf is listed before its answer
    comes, the answer may be older than a copy too, and the shelf is asked once more.
    """
    while array_ids and state.has_keeper(node):
        answers = yield from asking.ask({node: Call.of("holds_from_now", array_ids)})
        if node not in answers:
            return
        epoch, there = answers[node]
        absent = [array_id for array_id, is_there in zip(array_ids, there, strict=True) if not is_there]
        if node not in state.epochs:  # it has left, or is being listed for the first time
            state.note_gone(node, absent)
            return
        if epoch >= state.epochs[node]:
            state.begin_epoch(node, epoch, state.granted.get(node, set()).difference(array_ids))
            for array_id in absent:
                state.not_there(node, array_id)
            return
