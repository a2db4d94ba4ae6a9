"""Shelves: what is on them becomes known, is compared with the keys, and is known no more."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
from collections.abc import Iterable
from typing import Any

from outlive.arrays.defect import Defect
from outlive.arrays.info import ArrayInfo
from outlive.catalog import asking, pages, successors
from outlive.catalog.index import Entry, Holding
from outlive.catalog.instructions import (
    Call,
    Conversation,
    FindKeeper,
    ListKeepers,
    Save,
    Start,
    TakeGone,
    Together,
    Wait,
)
from outlive.catalog.state import Name, State
from outlive.catalog.wire import Listed, unpack_listed
from outlive.errors import StoreUnavailable

Cached = list[tuple[str, ArrayInfo]]  # nodes, and what each of them has cached
_LISTINGS_IN_PARTS = 3  # that are begun, before a shelf is listed in one call
_log = logging.getLogger(__name__)


def begin(state: State) -> Conversation[None]:
    """List all shelves, as a catalog starts. Nodes that do not answer are admitted later: see `mend`.

    Also those of nodes that have no keeper, as it was gone for good when the last catalog ended: one is started.
    """
    yield from asking.list_nodes(state)
    keepers = yield ListKeepers()
    living = {node.id for node in state.nodes.values() if node.alive}
    state.unheard = state.shelves - living - set(state.losses_known)
    nodes = sorted((state.shelves & living).union(keepers))
    cached = yield Together([_list_if_it_answers(state, node) for node in nodes], "list")
    yield from _admit_cached(state, [one for some in cached for one in some])
    yield from successors.account(state)


def _list_if_it_answers(state: State, node: str) -> Conversation[Cached]:
    try:
        return (yield from _list(state, node))
    except StoreUnavailable as error:
        if state.is_alive(node):
            _log.warning("%s; what it has is not known yet", error)
        state.unlisted.add(node)  # also one that died just now: see `mend`
        return []


def join(state: State, node: str) -> Conversation[None]:
    """List what is on a node's shelf, and nothing else for that node. A keeper is started if it has none.

    If its keeper had left, that is no reason to keep arrays there again: see `State.left`.

    Raises
    ------
    StoreUnavailable
        The node is dead, or nobody there answers.
    """
    cached = yield from _list(state, node)
    yield from _admit_cached(state, cached)


def welcome(state: State, node: str) -> Conversation[None]:
    """A keeper has adopted arrays there."""
    yield from join(state, node)
    state.left.discard(node)


def know(state: State, node: str, stale: int | None = None) -> Conversation[None]:
    """List a node's shelf, if that was not done yet, or its epoch is the one that turned out to be `stale`."""
    if node not in state.epochs or state.epochs[node] == stale:
        yield from join(state, node)


def _list(state: State, node: str) -> Conversation[Cached]:
    """Returns what is to be looked at once all that others keep is known."""
    listing = state.under_way.listing
    yield Wait(lambda: node not in listing)  # or the older picture could be the last
    listing[node], state.under_way.deleted[node], leavings = set(), {}, state.leavings[node]
    try:
        if not state.is_alive(node):
            raise StoreUnavailable(f"node {node} is dead")
        state.note_shelf(node, has_one=True)
        yield from _write_down(state)  # before anything is put there that the next catalog has to know of
        yield FindKeeper(node)
        state.known.add(node)
        epoch, listed, given_up = yield from _ask_what_is_on(state, node)
        if state.leavings[node] != leavings:
            raise StoreUnavailable(f"the keeper of node {node} left while its shelf was listed")
        state.given_up[node] = given_up
        listed = [one for one in listed if one.info.id not in listing[node]]
        old = {one.info.id: one.info for one in listed if state.is_deleted_since(node, one.info)}
        listed = [one for one in listed if one.info.id not in old]
        cached: Cached = state.index.copies.cached_of_kept(node)
        state.epochs[node] = epoch
        state.known.add(node)  # again: an earlier keeper's call may have come meanwhile, which says that it left
        state.unlisted.discard(node)
        state.late.update((one.info.id, one.successors) for one in listed if one.late)
        doomed = state.index.doomed_at(node)
        older = state.index.relist(node)
        stale = admit(state, node, listed)
        state.restore(older)
        state.index.doom_again(doomed)
    finally:
        del listing[node], state.under_way.deleted[node]
    yield from asking.drop_for_good(state, [(Holding(info.id, node), asking.name_of(info)) for info in old.values()])
    if stale:
        yield Start(asking.drop_for_good(state, stale))
    return cached + [(node, one.info) for one in listed if not one.kept]


def _write_down(state: State) -> Conversation[None]:
    """Have the head remember which nodes have shelves. If it cannot, it is tried again: see `mend`."""
    under_way = state.under_way
    yield Wait(lambda: not under_way.saving_shelves)
    if not state.unsaved_shelves:
        return
    under_way.saving_shelves = True
    changed, state.unsaved_shelves = state.unsaved_shelves, set()
    try:
        yield Save(pages.SHELVES, json.dumps(sorted(state.shelves)).encode())
        changed = set()
    except Exception:  # noqa: BLE001 - of whatever kind: a shelf can be listed all the same
        _log.warning("the head has not noted which nodes have shelves", exc_info=True)
    finally:
        state.unsaved_shelves |= changed
        under_way.saving_shelves = False


def _ask_what_is_on(state: State, node: str) -> Conversation[tuple[int, list[Listed], set[str]]]:
    """The epoch of a listing of a node's shelf, what it lists, and which puts had come to nothing there by then.

    In parts, between which the keeper answers others. They have to be of one epoch: who seals an array as of a
    later one may have done so behind the parts that were listed. Begun anew each time, it would never end beside
    others who raise the epoch; so at last all is listed in one call.
    """
    for i in range(2 * _LISTINGS_IN_PARTS):
        # What is deleted from now on may be listed all the same.
        state.under_way.listing[node], state.under_way.deleted[node] = set(), {}
        known = state.epochs.get(node)
        epoch, listed = yield from (_in_parts(node) if i < _LISTINGS_IN_PARTS else _at_once(node))
        given_up = yield from asking.ask({node: Call.of("given_up")})
        # Else somebody has raised it to a later one, and arrays were sealed as of that, which this may not have.
        if listed is not None and state.epochs.get(node) == known:
            return epoch, listed, set(given_up.get(node, ()))
    raise StoreUnavailable(f"the shelf of node {node} has another epoch each time that it is listed; try again")


def _in_parts(node: str) -> Conversation[tuple[int, list[Listed] | None]]:
    """None instead of what is listed: the epoch has changed in between."""
    began, packed, after = yield from _answer_of(node, Call.of("listing_part", None))
    epoch, listed = began, unpack_listed(packed)
    while after is not None and epoch == began:
        epoch, packed, after = yield from _answer_of(node, Call.of("listing_part", after))
        listed += unpack_listed(packed)
    return epoch, listed if epoch == began else None


def _at_once(node: str) -> Conversation[tuple[int, list[Listed] | None]]:
    epoch, packed = yield from _answer_of(node, Call.of("listing"))
    return epoch, unpack_listed(packed)


def _answer_of(node: str, call: Call) -> Conversation[Any]:
    answers = yield from asking.ask({node: call})
    if node not in answers:
        raise StoreUnavailable(f"nobody on node {node} says what its shelf has, neither its keeper nor another")
    return answers[node]


def admit(state: State, node: str, listed: Iterable[Listed]) -> list[tuple[Holding, Name | None]]:
    """What a keeper told of its shelf. Returns what is to be dropped there: it was deleted, or is earlier than lost."""
    stale = list[tuple[Holding, Name | None]]()
    for info, kept, *_ in listed:
        lost = state.index.lost.of(info)
        is_older = lost is not None and lost.info.version > info.version
        if info.id in state.erased or info.id in state.unwanted or is_older:
            stale.append((Holding(info.id, node), asking.name_of(info)))
        elif info.key is not None and kept:
            state.replaced += state.index.admit(info, node)
        elif kept:
            state.index.lost.remove(info)
            state.index.copies.add(info, node, node)
        if info.id in state.under_way.deleting:
            state.index.doom_again([info.id])
    return stale


def _admit_cached(state: State, cached: Cached) -> Conversation[None]:
    """Cached copies on shelves, once those that are kept are known; one that nobody keeps is kept from now on."""
    unsure = {info.id for _, info in cached if info.key is None and not any(state.index.holders(info.id).values())}
    have = yield from _who_have(state, sorted(unsure))
    for node, info in cached:
        if node not in state.known or state.index.holders(info.id).get(node):  # it has left, or keeps it, since
            continue
        holders = [other for other, kept in state.index.holders(info.id).items() if kept and other != node]
        if not holders and info.key is None:  # one that was put there and never asked for again is not listed
            if info.id not in have:  # its keeper has gone since
                have[info.id] = yield from ask_who_has(state, info.id, None)
            holders = yield from _who_keeps(state, info, have[info.id], node)
        current = None if info.key is None else state.index.find(info.store, info.key)
        if holders:
            state.index.copies.add(info, holders[0], node, kept=False)
        elif current is not None and current.info.version > info.version:  # which may not be sealed yet
            state.replaced += state.index.restore([Holding(info.id, node, info, kept=False)])
        elif current is None or current.info.id != info.id:  # else it is kept there by now
            kept = yield from asking.keep(state, {node: [info]})
            for _ in kept:
                stale = admit(state, node, [Listed(info, kept=True)])
                if stale:
                    yield Start(asking.drop_for_good(state, stale))


def _who_have(state: State, array_ids: list[str]) -> Conversation[dict[str, list[str]]]:
    """As `ask_who_has`, of many: each node is asked once about all."""
    found: dict[str, list[str]] = {array_id: [] for array_id in array_ids}
    for is_known in (True, False):
        remaining = [array_id for array_id in array_ids if not found[array_id]]
        if remaining:
            nodes = state.keepers() if is_known else (yield from _join_unknown(state))
            answers = yield from asking.ask_known(state, "holds", dict.fromkeys(nodes, remaining))
            for node in sorted(answers):
                for array_id in itertools.compress(remaining, answers[node]):
                    found[array_id].append(node)
    return found


def _who_keeps(state: State, info: ArrayInfo, having: list[str], node: str) -> Conversation[list[str]]:
    """One of the nodes other than this that have an array; it may have had it cached, and keeps it from now on."""
    for other in having:
        if other != node and (yield from asking.keep(state, {other: [info]})):
            return [other]
    return []


def ask_who_has(
    state: State, array_id: str, hint: str | None, silent: set[str] | None = None
) -> Conversation[list[str]]:
    """Of an array without a key, which is listed nowhere: first the node where it was put, then all.

    If that node says no, no other is asked, but for those that have not told yet what they have: an array that was
    copied is known here, and so is one that another node keeps since.

    Parameters
    ----------
    silent
        Takes the nodes that live and may have it, but do not say.
    """
    if hint in state.nodes and state.is_alive(hint) and hint not in state.known and hint not in state.left:
        with contextlib.suppress(StoreUnavailable):  # its keeper came after this catalog, or died for good
            yield from know(state, hint)
    hinted = [hint] if hint is not None and state.has_keeper(hint) else []
    for alone in (True, False):
        some = hinted if alone else state.keepers()
        has = yield from asking.have(state, array_id, some)
        if found := sorted(node for node, is_there in has.items() if is_there):
            return found
        if alone and has and not state.unlisted:
            return []
        if silent is not None:
            silent.clear()
            silent.update((yield from asking.silent(state, set(some).difference(has))))
            if hint in some and hint not in silent:
                silent.clear()  # copies on other nodes would be known
    unknown = yield from _join_unknown(state)
    return (yield from asking.holding_nodes(state, array_id, unknown))


def _join_unknown(state: State) -> Conversation[list[str]]:
    """List the shelves of keepers that came after this catalog, and of which it has not heard; their nodes."""
    unknown: list[str] = yield from asking.unknown_keepers(state)
    for node in unknown:
        try:
            yield from join(state, node)
        except StoreUnavailable as error:
            _log.debug("%s", error)
    return unknown


# --- compared with what is there


def reconcile(state: State, node: str, present: list[ArrayInfo]) -> Conversation[list[Defect]]:
    """Compare the keys with the arrays found on a shelf, and mend what differs."""
    index, ids = state.index, {info.id for info in present}
    missing = [entry for _, _, entry in index.at_home(node) if not entry.doomed and entry.info.id not in ids]
    stray = [info for info in present if not index.lists(info.id)]
    copies = [info.id for info, _ in index.copies.on_node(node) if info.id not in ids and index.lists(info.id)]
    absent = [array_id for array_id in copies if index.home(array_id) != node]
    yield from forget_absent(state, node, absent)
    # A file that is there after its key was not is no deletion under way: those take the file first.
    asked = [entry.info.id for entry in missing] + [info.id for info in stray]
    there = yield from asking.finish(state, node, asked)
    findings = [_missing(state, node, entry) for entry, is_there in zip(missing, there, strict=False) if not is_there]
    stray = [info for info, is_there in zip(stray, there[len(missing) :], strict=True) if is_there]
    kept = yield from asking.keep(state, {node: stray} if stray else {})  # one may be cached, and would be evicted
    stale = admit(state, node, [Listed(info, kept=True) for _, info in kept])
    findings += [_stray(state, info) for _, info in kept]
    yield from asking.drop_for_good(state, stale)
    return [finding for finding in findings if finding is not None]


def _missing(state: State, node: str, entry: Entry) -> Defect | None:
    """The array of a key is not at its home. None: that is not its home any more, or it is not the key's."""
    info, key = entry.info, entry.info.key or ""
    if state.index.find(info.store, key) is not entry or entry.node != node:
        return None
    if state.kept(info.id, node):
        state.not_there(node, info.id)
        return Defect("missing", key, f"its array {info.id} is gone there; others keep it", True)
    state.index.unbind(info.store, key, info.id)
    state.restore(entry.superseded)
    return Defect("missing", key, f"its array {info.id} is lost; key removed", True)


def _stray(state: State, info: ArrayInfo) -> Defect:
    """An array that no key stood for."""
    current = state.index.lists(info.id)
    what = ("unlisted", "listed again") if current else ("superseded", "dropped: a later put replaced it")
    return Defect(what[0], info.key or "", what[1], True)


def forget_absent(state: State, node: str, array_ids: list[str]) -> Conversation[None]:
    """Copies that a report of a shelf did not have: others are made, if they count.

    The report may be older than the copy, which is not sealed yet. So the shelf gets a new epoch before it says
    once more what it has: a copy that is not there then is added anew before it is sealed. If it was listed again
    before its answer came, that may be older than a copy too: it is asked once more.
    """
    while array_ids and state.has_keeper(node):
        answers = yield from asking.ask({node: Call.of("holds_from_now", array_ids)})
        if node not in answers:
            return
        epoch, there = answers[node]
        absent = [array_id for array_id, is_there in zip(array_ids, there, strict=True) if not is_there]
        if node not in state.epochs:  # it has left, or is listed for the first time: it has more than this
            state.note_gone(node, absent)
            return
        if epoch >= state.epochs[node]:
            state.epochs[node] = epoch
            for array_id in absent:
                state.not_there(node, array_id)
            return


# --- gone, and back


def leave(state: State, node: str, epoch: int) -> None:
    """A keeper has left its node, with nothing on it that is kept.

    Parameters
    ----------
    epoch
        The last of the shelf that it removed. If a later one is known, there is another shelf by now, and others have
        put arrays there: the call comes too late, as of a keeper that gave up waiting for it.
    """
    if state.epochs.get(node, 0) > epoch:
        return
    state.left.add(node)
    state.note_shelf(node, has_one=False)
    state.leavings[node] += 1
    state.given_up.pop(node, None)
    state.epochs.pop(node, None)
    state.known.discard(node)
    state.unlisted.discard(node)
    state.index.forget(node)


def list_unlisted(state: State) -> Conversation[None]:
    """List those shelves now, before something is replaced or deleted: they may have an earlier array of its key.

    Else that would be back once they are listed, if its key were deleted by then. Those that still do not answer have
    to confirm whatever is done; of one that is being listed just now, see `State.is_deleted_since`.
    """
    for node in sorted(state.unlisted):
        if node not in state.under_way.listing:
            with contextlib.suppress(StoreUnavailable):
                yield from join(state, node)


def mend(state: State) -> Conversation[None]:
    """List the shelves again whose keepers were gone for good, or did not answer before."""
    yield from _write_down(state)
    gone = yield TakeGone()
    state.lost_keepers |= gone
    dead = {node for node in state.unlisted if not state.is_alive(node)}
    state.unlisted -= dead
    state.unheard.update(node for node in dead if node not in state.epochs)
    yield from successors.account(state)
    for node in sorted(state.lost_keepers | state.unlisted):
        state.lost_keepers.discard(node)
        if state.is_alive(node) and (node in state.epochs or node in state.unlisted):  # else it has left
            leavings = state.leavings[node]
            try:
                yield from join(state, node)
            except StoreUnavailable as error:
                if state.leavings[node] == leavings:
                    _log.warning("the shelf of node %s cannot be listed, and is tried again: %s", node, error)
                    state.unlisted.add(node)
