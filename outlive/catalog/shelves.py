"""Shelves: how the catalog learns what is on them, and forgets it."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from outlive.arrays.info import ArrayInfo
from outlive.catalog import asking, pages, saving, successors
from outlive.catalog.index import Holding
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

Cached = list[tuple[str, ArrayInfo]]  # cached copies: a node, and an array that it has cached
_LISTINGS_IN_PARTS = 3  # how often a shelf is listed in parts, before it is listed in one call
_log = logging.getLogger(__name__)


def begin(state: State) -> Conversation[None]:
    """List all shelves, as a catalog starts. Shelves of nodes that do not answer are listed later: see `mend`.

    A node that has a shelf and no keeper gets one: its keeper was gone for good when the last catalog ended.
    """
    before = state.foreseen
    yield from asking.list_nodes(state)
    keepers = yield ListKeepers()
    living = {node.id for node in state.nodes.values() if node.alive}
    state.unheard = state.shelves - living - set(state.losses_known)
    state.graves.strays |= state.unheard
    nodes = sorted((state.shelves & living).union(keepers))
    cached = yield Together([_list_if_it_answers(state, node) for node in nodes], "list")
    yield from _admit_cached(state, [one for some in cached for one in some])
    if state.graves.strays or state.unlisted:
        state.exceeded = max(before, state.now_ns())
    yield from successors.account(state)


def _list_if_it_answers(state: State, node: str) -> Conversation[Cached]:
    try:
        return (yield from _list(state, node))
    except StoreUnavailable as error:
        if state.is_alive(node):
            _log.warning("%s; what it has is not known yet", error)
        state.unlisted.add(node)  # including a node that died just now: see `mend`
        return []


def join(state: State, node: str) -> Conversation[None]:
    """List a node's shelf. A keeper is started if the node has none.

    A node whose keeper had left stays in `State.left`: a listing is no reason to keep arrays there again.

    Raises
    ------
    StoreUnavailable
        The node is dead, or nobody there answers.
    """
    cached = yield from _list(state, node)
    yield from _admit_cached(state, cached)


def welcome(state: State, node: str) -> Conversation[None]:
    """List a node's shelf, as its keeper has adopted arrays: the node takes part again."""
    yield from join(state, node)
    state.left.discard(node)


def know(state: State, node: str, epoch: int | None = None) -> Conversation[None]:
    """List a node's shelf, unless it is listed under this epoch or a later one. See `is_listed`."""
    if not is_listed(state, node, epoch) and node in state.under_way.listing:
        yield Wait(lambda: node not in state.under_way.listing)
        epoch = epoch or None  # that was the first listing
    if not is_listed(state, node, epoch):
        yield from join(state, node)


def is_listed(state: State, node: str, epoch: int | None = None) -> bool:
    """Whether a node's shelf is listed, under this epoch of its ledger or a later one. 0: nobody has listed it yet."""
    return node in state.epochs and (epoch is None or 0 < epoch <= state.epochs[node])


def is_removed(state: State, node: str, epoch: int) -> bool:
    """Whether a shelf that had this epoch was removed as its keeper left, and the node is not listed since."""
    return node not in state.epochs and 0 < epoch <= state.removed.get(node, 0)


def _list(state: State, node: str) -> Conversation[Cached]:
    """List a shelf. Returns the cached copies that cannot be admitted yet, as nobody is known to keep their arrays."""
    listing = state.under_way.listing
    yield Wait(lambda: node not in listing)  # or the older listing could be admitted last
    leavings = state.leavings[node]
    _begin_listing(state, node)
    try:
        if not state.is_alive(node):
            raise StoreUnavailable(f"node {node} is dead")
        state.note_shelf(node, has_one=True)
        yield from _save(state)  # first, so that the next catalog knows of all that is put on this shelf
        yield FindKeeper(node)
        state.known.add(node)
        epoch, listed, given_up = yield from _ask_what_is_on(state, node)
        if state.leavings[node] != leavings:
            raise StoreUnavailable(f"the keeper of node {node} left while its shelf was listed")
        state.given_up[node] = given_up
        # Of a key that was deleted meanwhile nobody may have dropped what is here: this node may have adopted it.
        old = {one.info.id: one.info for one in listed if state.is_deleted_since(node, one.info)}
        gone, kept = listing[node] | old.keys(), state.under_way.kept[node]
        listed = [one._replace(kept=one.kept or one.info.id in kept) for one in listed if one.info.id not in gone]
        cached: Cached = state.index.copies.cached_of_kept(node)
        state.begin_epoch(node, epoch, listing[node])  # of which it was told while it was listed
        state.sources.forget(node)  # what an earlier keeper copied came to nothing
        state.removed.pop(node, None)
        state.known.add(node)  # again, as a call `leave` of an earlier keeper may have come meanwhile
        state.unlisted.discard(node)
        for one in listed:
            if one.late:
                state.note_late(one.info.id, one.successors)
        doomed = state.index.doomed_at(node)
        older = state.index.relist(node)
        stale = admit(state, node, listed)
        state.restore(older)
        state.index.doom_again(doomed)
        # In this step: whoever replaces an array asks the nodes that are known to have copies, and no others.
        unkept = _admit_at_once(state, cached + [(node, one.info) for one in listed if not one.kept])
        for other, info in unkept:
            if info.key is not None:
                state.index.note_unsettled(info, other)
    finally:
        del listing[node], state.under_way.deleted[node], state.under_way.kept[node]
        if node not in state.epochs:  # the listing failed
            state.granted.pop(node, None)
    yield from asking.drop_for_good(state, [(Holding(info.id, node), asking.name_of(info)) for info in old.values()])
    if stale:
        yield Start(asking.drop_for_good(state, stale))
    return unkept


def _begin_listing(state: State, node: str) -> None:
    """Note from now on what the listing may not have: it is being made."""
    under_way = state.under_way
    under_way.listing[node], under_way.deleted[node], under_way.kept[node] = set(), {}, set()


def _save(state: State) -> Conversation[None]:
    """Have the head remember which nodes have shelves. If that fails, `mend` tries again."""
    under_way = state.under_way
    yield Wait(lambda: not under_way.saving_shelves)
    if not state.unsaved_shelves:
        return
    under_way.saving_shelves = True
    changed, state.unsaved_shelves = state.unsaved_shelves, set()
    try:
        yield Save(pages.SHELVES, json.dumps(sorted(state.shelves)).encode())
        changed = set()
    except Exception:  # noqa: BLE001 - whatever it is, the shelf can be listed all the same
        _log.warning("the head has not noted which nodes have shelves", exc_info=True)
    finally:
        state.unsaved_shelves |= changed
        under_way.saving_shelves = False


def _ask_what_is_on(state: State, node: str) -> Conversation[tuple[int, list[Listed], set[str]]]:
    """List a shelf: its epoch, its arrays, and the puts that had come to nothing there by then.

    The shelf is listed in parts, and the keeper answers others in between. All parts have to be of one epoch: an array
    that is sealed under a later one may be among those that were passed by. Then the listing begins anew. If others
    go on raising the epoch, this would never end, so after some attempts the shelf is listed in one call.
    """
    for i in range(2 * _LISTINGS_IN_PARTS):
        _begin_listing(state, node)
        known = state.epochs.get(node)
        epoch, listed = yield from (_in_parts(node) if i < _LISTINGS_IN_PARTS else _at_once(node))
        if epoch > max(state.foreseen, state.now_ns()):  # as versions of puts there may be, whose clock it is by
            yield from saving.foresee(state, epoch)
        given_up = yield from asking.ask({node: Call.of("given_up")})
        # If somebody else has raised the epoch, arrays were sealed under it that this listing may not have.
        if listed is not None and state.epochs.get(node) == known:
            return epoch, listed, set(given_up.get(node, ()))
    raise StoreUnavailable(f"the shelf of node {node} has another epoch each time that it is listed; try again")


def _in_parts(node: str) -> Conversation[tuple[int, list[Listed] | None]]:
    """Epoch and arrays of a shelf; None instead of the arrays if the epoch has changed in between."""
    began, packed, after = yield from _answer_of(node, Call.of("listing_part", None))
    epoch, listed = began, unpack_listed(packed)
    while after is not None and epoch == began:
        epoch, packed, after = yield from _answer_of(node, Call.of("listing_part", after))
        listed += unpack_listed(packed)
    return epoch, listed if epoch == began else None


def _at_once(node: str) -> Conversation[tuple[int, list[Listed] | None]]:
    """Epoch and arrays of a shelf, by one call."""
    epoch, packed = yield from _answer_of(node, Call.of("listing"))
    return epoch, unpack_listed(packed)


def _answer_of(node: str, call: Call) -> Conversation[Any]:
    answers = yield from asking.ask({node: call})
    if node not in answers:
        raise StoreUnavailable(f"nobody on node {node} says what its shelf has, neither its keeper nor another")
    return answers[node]


def admit(state: State, node: str, listed: Iterable[Listed]) -> list[tuple[Holding, Name | None]]:
    """Admit arrays that a keeper listed. Returns those to drop there: deleted, or earlier than the key's lost array."""
    stale = list[tuple[Holding, Name | None]]()
    for info, kept, *_ in listed:
        lost = state.index.lost.of(info)
        is_older = lost is not None and lost.info.version > info.version
        if info.id in state.erased or info.id in state.unwanted or is_older or state.deleted_after([info]):
            stale.append((Holding(info.id, node), asking.name_of(info)))
        elif info.key is not None and kept:
            state.replaced += state.index.admit(info, node)
            state.note_back(node, info.id)
        elif kept:
            state.note_kept(info, node)
        if info.id in state.under_way.deleting:
            state.index.doom_again([info.id])
    return stale


def _admit_at_once(state: State, cached: Cached) -> Cached:
    """Admit cached copies of arrays that are known to be kept, or to be replaced; returns the others."""
    unkept = Cached()
    for node, info in cached:
        if node not in state.known or state.index.holders(info.id).get(node):  # it has left, or keeps it, since
            state.index.settle(info, node)
            continue
        keeping = [other for other, kept in state.index.holders(info.id).items() if kept and other != node]
        current = None if info.key is None else state.index.find(info.store, info.key)
        if keeping:
            state.index.copies.add(info, keeping[0], node, kept=False)
            state.index.settle(info, node)
        elif current is not None and current.info.version > info.version:  # the current array may not be sealed yet
            state.replaced += state.index.restore([Holding(info.id, node, info, kept=False)])
            state.index.settle(info, node)
        else:
            unkept.append((node, info))
    return unkept


def _admit_cached(state: State, cached: Cached) -> Conversation[None]:
    """Admit cached copies, once all that is kept is known. A copy of an array that nobody keeps is kept from now on.

    A node that does not say whether it keeps one is listed again: see `mend`.
    """
    try:
        yield from _admit_unkept(state, _admit_at_once(state, cached))
    finally:
        state.lost_keepers |= {node for node, info in cached if state.index.unsettled(info.store, info.key).get(node)}


def _admit_unkept(state: State, cached: Cached) -> Conversation[None]:
    unsure = {info.id for _, info in cached if info.key is None and not any(state.index.holders(info.id).values())}
    have = yield from _who_have(state, sorted(unsure))
    alone = Cached()
    for node, info in cached:
        if not _admit_at_once(state, [(node, info)]):  # more is known by now
            continue
        holders = list[str]()
        if info.key is None:  # the node that keeps it may never have told of it
            if info.id not in have:  # the keeper that kept it has gone since
                have[info.id] = yield from ask_who_has(state, info.id, None)
            holders = yield from _who_keeps(state, info, have[info.id], node)
        current = None if info.key is None else state.index.find(info.store, info.key)
        if holders and state.is_wanted(info):
            state.index.copies.add(info, holders[0], node, kept=False)
        elif current is None or current.info.id != info.id:  # nobody keeps it by now
            alone.append((node, info))
    while alone:  # of several nodes that have one array, one is asked: it is known to be kept then
        by_node, others, ids = defaultdict[str, list[ArrayInfo]](list), Cached(), set[str]()
        for node, info in alone:
            if info.id in ids:
                others.append((node, info))
            else:
                ids.add(info.id)
                by_node[node].append(info)
        yield from _keep_from_now(state, by_node)
        alone = _admit_at_once(state, others)


def _keep_from_now(state: State, by_node: dict[str, list[ArrayInfo]]) -> Conversation[None]:
    """Have nodes keep what they have cached of arrays that nobody keeps."""
    kept = yield from asking.keep(state, by_node)
    for node, info in kept:
        stale = admit(state, node, [Listed(info, kept=True)])
        state.index.settle(info, node)
        if stale:
            yield Start(asking.drop_for_good(state, stale))
    others = {
        node: {info.id: info for info in some if info.key is not None and (node, info) not in kept}
        for node, some in by_node.items()
    }
    asked = {node: list(some) for node, some in others.items() if some}
    for node, array_id in (yield from asking.lack(state, asked)) if asked else ():
        state.index.settle(others[node][array_id], node)


def _who_have(state: State, array_ids: list[str]) -> Conversation[dict[str, list[str]]]:
    """`ask_who_has` for many arrays: each node is asked once about all."""
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
    """Have one of these nodes, other than `node`, keep the array that they have; that node, or none."""
    for other in having:
        if other != node and (yield from asking.keep(state, {other: [info]})):
            if state.is_wanted(info):  # its copies may be known, and not that this node keeps it
                state.note_kept(info, other)
            return [other]
    return []


def ask_who_has(
    state: State, array_id: str, hint: str | None, silent: set[str] | None = None
) -> Conversation[list[str]]:
    """Ask nodes for an array without a key that the catalog does not know: first the node where it was put, then all.

    If that node does not have it, the others are asked only while some are unlisted: the catalog knows of all copies
    that listed nodes have.

    Parameters
    ----------
    hint
        The node where it was put, if the caller knows.
    silent
        A set to which the nodes are added that live and may have the array, but do not answer.
    """
    if hint in state.nodes and state.is_alive(hint) and hint not in state.known and hint not in state.left:
        with contextlib.suppress(StoreUnavailable):  # its keeper started after this catalog, or is gone for good
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
                silent.clear()  # it answered, and the catalog would know of copies on the others
    unknown = yield from _join_unknown(state)
    return (yield from asking.holding_nodes(state, array_id, unknown))


def _join_unknown(state: State) -> Conversation[list[str]]:
    """List the shelves of keepers that started after this catalog and that it has not heard of; their nodes."""
    unknown: list[str] = yield from asking.unknown_keepers(state)
    for node in unknown:
        try:
            yield from join(state, node)
        except StoreUnavailable as error:
            _log.debug("%s", error)
    return unknown


# --- gone, and back


def leave(state: State, node: str, epoch: int) -> None:
    """Note that a keeper has left its node, on which nothing was kept any more.

    Parameters
    ----------
    epoch
        The last epoch of the shelf that it removed. If a later one is known, this call comes late: the node has another
        shelf by now, with new arrays.
    """
    if state.epochs.get(node, 0) > epoch:
        return
    state.left.add(node)
    state.removed[node] = epoch
    state.note_shelf(node, has_one=False)
    state.leavings[node] += 1
    state.given_up.pop(node, None)
    state.end_epoch(node)
    state.known.discard(node)
    state.unlisted.discard(node)
    state.restore(state.index.relist(node))  # what a put there was to replace that came to nothing


def list_unlisted(state: State) -> Conversation[None]:
    """List the shelves that are not listed yet, before a key is replaced or deleted.

    Such a shelf may have an earlier array of the key, which would come back if the shelf were listed after a deletion.
    A node that still does not answer has to confirm the change. For a node that is being listed just now, see
    `State.is_deleted_since`. All are asked at once: each may be silent.
    """
    nodes = sorted(state.unlisted - state.under_way.listing.keys())
    if nodes:
        yield Together([_join_if_it_answers(state, node) for node in nodes], "list")


def _join_if_it_answers(state: State, node: str) -> Conversation[None]:
    if node in state.unlisted and node not in state.under_way.listing:  # else others have come first
        with contextlib.suppress(StoreUnavailable):
            yield from join(state, node)


def mend(state: State) -> Conversation[None]:
    """List again the shelves of keepers that were gone for good, or that did not answer before."""
    yield from _save(state)
    gone = yield TakeGone()
    state.lost_keepers |= gone
    state.note_unheard()
    yield from successors.account(state)
    nodes = sorted(state.lost_keepers | state.unlisted)
    state.lost_keepers.difference_update(nodes)
    if nodes:  # no node waits for another
        yield Together([_mend_one(state, node) for node in nodes], "list")


def _mend_one(state: State, node: str) -> Conversation[None]:
    if state.is_alive(node) and (node in state.epochs or node in state.unlisted):  # else it has left
        leavings = state.leavings[node]
        try:
            yield from join(state, node)
        except StoreUnavailable as error:
            if state.leavings[node] == leavings:
                _log.warning("the shelf of node %s cannot be listed, and is tried again: %s", node, error)
                state.unlisted.add(node)
