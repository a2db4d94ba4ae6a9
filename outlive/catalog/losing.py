"""Losing: the arrays that only a dead node kept are lost. This is saved for catalogs and keepers that come later."""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections import defaultdict
from dataclasses import replace

from outlive.arrays.info import ArrayInfo
from outlive.catalog import asking, deletion, overwritten, reconciling, replaced, replicas, saving, shelves, successors
from outlive.catalog.index import Holding
from outlive.catalog.instructions import PATIENCE, Call, Conversation, SearchShelves, Start, Wait
from outlive.catalog.losses import Lost
from outlive.catalog.state import State
from outlive.catalog.wire import Listed, unpack
from outlive.errors import StoreUnavailable

_MOST_KNOWN = 1000  # dead nodes: as many as the GCS remembers
_SEARCH_AGAIN = 20.0  # seconds
_TRY_AGAIN = 1.0  # seconds until a head that refused is asked again
_log = logging.getLogger(__name__)


def look_at_nodes(state: State) -> Conversation[None]:
    """A round: all that the catalog does once a second."""
    yield from look_for_dead(state)
    state.rounds += 1
    yield from _search(state)
    state.forget_over()
    state.graves.forget_strays(state.nodes.__contains__)
    state.sources.forget_old()
    yield from replicas.multiply_few(state)
    heard_of = set(state.heard_of)
    yield from saving.save(state)
    for node in sorted(heard_of):  # what these nodes took with them is saved by now
        state.note_shelf(node, has_one=False)
    state.heard_of -= heard_of
    replaced.try_again(state)
    yield from replaced.clear(state)
    yield from successors.cancel(state)
    yield from deletion.finish_deletions(state, lambda: _settling(state))
    yield from saving.foresee_in_time(state)


def _search(state: State) -> Conversation[None]:
    """Have a keeper started on each new node whose machine has a shelf of an earlier cluster.

    That keeper may end for good before the catalog hears of it: for want of room, say. So where there was such a shelf,
    the machine is searched again, until its node's own shelf is listed, or nothing is to be adopted there any more.
    """
    new, state.unseen = state.unseen, set()
    state.seen |= new
    again = state.take_unadopted(_SEARCH_AGAIN)
    for node in sorted(node for node in new | again if node not in state.epochs):
        yield SearchShelves(node)


def found_shelf(state: State, node: str) -> None:
    """Note that a node's machine had a shelf to adopt as it was searched."""
    state.unadopted[node] = state.outside.now()


def look_for_dead(state: State) -> Conversation[None]:
    """Settle all dead nodes that had something."""
    for node in [node for node in sorted(state.dead) if _had_something(state, node)]:
        yield from _settle(state, node)


def end(state: State, array_ids: list[str]) -> Conversation[list[str]]:
    """Delete arrays: see `deletion.end`. Before this returns, dead nodes are settled, and the head remembers that.

    Otherwise a keeper that comes later would adopt what a dead node's shelf still has, and a later catalog, which does
    not know of the deletion, would list it. The last files go after that: the catalog may die before this returns. If
    somebody is silent meanwhile, the deletion waits for 20 s at most.
    """
    settle = _settling(state)
    gone = yield from deletion.end(state, array_ids, settle)
    yield from settle([])
    return gone


def _settling(state: State) -> deletion.Settle:
    """A conversation that settles all dead nodes, and has the head remember what is deleted that strays may have.

    It waits for 20 s at most. Once somebody was silent for so long, it waits no more.
    """
    is_silent = False

    def settle(infos: list[ArrayInfo]) -> Conversation[None]:
        nonlocal is_silent
        state.note_unheard()
        if state.graves.strays:
            for info in infos:
                state.note_earlier_deleted(info)
        graves = state.graves
        unsaved = graves.changed or (graves.strays and state.under_way.saving)  # another deletion may wait for the head
        if not is_silent and (unsaved or not state.shelves.isdisjoint(state.dead)):
            over = list[bool]()
            yield Start(_settle_all(state, over))
            is_silent = not (yield Wait(lambda: bool(over), PATIENCE))

    return settle


def _settle_all(state: State, over: list[bool]) -> Conversation[None]:
    """Settle all dead nodes, and save that; `over` is not empty then. A head that refuses is asked again for 20 s."""
    until = state.outside.now() + PATIENCE
    while not over and state.outside.now() < until:
        with contextlib.suppress(StoreUnavailable):
            yield from look_for_dead(state)
            yield from saving.save(state)  # a round may have settled them, and may not have saved it yet
            over.append(True)
            return
        yield Wait(lambda: False, _TRY_AGAIN)


def settle(state: State, array_id: str) -> Conversation[None]:
    """Settle the dead nodes that kept an array, if no living node keeps it. Readers of other arrays do not wait."""
    while not state.kept(array_id):
        dead = [node for node in state.index.holders(array_id) if not state.is_alive(node)]
        if not dead:
            return
        yield from _settle(state, dead[0])


def _had_something(state: State, node: str) -> bool:
    return node in state.epochs or state.index.copies.is_on(node) or bool(state.index.at_home(node))


def _settle(state: State, node: str) -> Conversation[None]:
    """Decide, once, which arrays of a dead node are lost."""
    losing = state.under_way.losing
    yield Wait(lambda: node not in losing)
    if _had_something(state, node):
        losing.add(node)
        try:
            yield from _lose(state, node, state.nodes[node].died_at or state.outside.time())
        finally:
            losing.discard(node)


def _lose(state: State, node: str, at: float) -> Conversation[None]:
    """Forget a dead node. The arrays that it alone kept are lost."""
    index = state.index
    state.end_epoch(node)
    state.known.discard(node)
    state.given_up.pop(node, None)
    yield from _save_cached(state, node)
    older = index.older_than_lost(node, state.may_be_shown)
    overwritten.lose(state, node, at)
    for info in index.forget(node):
        index.lost.add(Lost(info, node, at))
    state.losses_known = [*state.losses_known, node][-_MOST_KNOWN:]
    state.heard_of.add(node)  # what it took is to be saved: below, or if that fails, in a later round
    if older:
        shown = {info.id for info, _ in older if state.may_be_shown(info)}
        unshown = {info.id: info for info, _ in older if info.id not in shown}
        state.under_way.bringing_back.update(unshown)
        try:
            yield from _bring_back(state, [holding for info, holding in older if info.id not in shown])
        finally:
            state.under_way.bringing_back.difference_update(unshown)
            for lost in filter(None, map(index.lost.of, unshown.values())):
                index.lost.add(lost)  # again, as it may not have been saved before
        yield from asking.drop_for_good(
            state, [(holding, asking.name_of(info)) for info, holding in older if info.id in shown]
        )
    yield from saving.save(state)
    state.heard_of.discard(node)
    state.note_shelf(node, has_one=False)  # after `save`: a later catalog has to know the shelf, or what was lost
    _log.warning("node %s is dead", node)


def _save_cached(state: State, node: str) -> Conversation[None]:
    """Have nodes keep what they have cached of arrays that no living node keeps, even copies that come meanwhile.

    A copy that is joined and not sealed yet cannot be kept. Once its array is forgotten, nobody asks its node when the
    key is put again. So its shelf gets a new epoch, and the copy has to be joined again before it is sealed.
    """
    asked, denied = set[tuple[str, str]](), set[tuple[str, str]]()
    while True:
        while by_node := _cached_elsewhere(state, node, asked):
            asked |= _pairs(by_node)
            saved = yield from asking.keep(state, by_node)
            silent = (by_node.keys() & state.known) - {other for other, _ in saved}
            state.lost_keepers |= silent  # if they live, their shelves are listed again
            for other, info in saved:
                if state.is_wanted(info):
                    state.note_kept(info, other)
                else:
                    overwritten.keep(state, info, other)
        if not (unkept := _cached_elsewhere(state, node, denied)):
            return
        denied |= _pairs(unkept)
        epochs = dict(state.epochs)
        for other, infos in sorted(unkept.items()):
            yield from reconciling.forget_absent(state, other, [info.id for info in infos])
        answered = {other for other in unkept if state.epochs.get(other) != epochs.get(other)}
        asked -= {one for one in _pairs(unkept) if one[0] in answered}  # a copy that is there was sealed meanwhile
        # a copy on any other node may be sealed yet: no key is put before that node was listed again, or asked
        state.unlisted |= {*(yield from asking.silent(state, unkept.keys() - answered))}


def _pairs(by_node: dict[str, list[ArrayInfo]]) -> set[tuple[str, str]]:
    return {(other, info.id) for other, infos in by_node.items() for info in infos}


def _cached_elsewhere(state: State, node: str, asked: set[tuple[str, str]]) -> dict[str, list[ArrayInfo]]:
    by_node: dict[str, list[ArrayInfo]] = defaultdict(list)
    endangered = state.index.endangered(node, state.is_alive)
    for info, others in itertools.chain(endangered, overwritten.cached_elsewhere(state, node)):
        for other in others:
            if (other, info.id) not in asked:
                by_node[other].append(info)
    return by_node


def _bring_back(state: State, holdings: list[Holding]) -> Conversation[None]:
    """Bring back arrays that were being overwritten by arrays which their node took along before they had replicas."""
    by_node: dict[str, list[str]] = defaultdict(list)
    lost = {holding.array_id: state.index.lost.of(holding.info) for holding in holdings if holding.info is not None}

    def may_stand(info: ArrayInfo | None) -> bool:
        """Whether no later array of its key was lost meanwhile."""
        if info is None or state.is_outdated(info):
            return False
        return state.index.lost.of(info) in (None, lost.get(info.id))

    for holding in holdings:
        by_node[holding.node].append(holding.array_id)
    kept = yield from asking.ask_known(state, "keep", by_node)
    back = {
        node: [array_id for array_id, is_kept in zip(by_node[node], some, strict=True) if is_kept]
        for node, some in kept.items()
    }
    described = yield from asking.ask({node: Call.of("describe", ids) for node, ids in back.items() if ids})
    # A node that does not answer still has its array. Unless it is restored here, it would be dropped later, as it is
    # earlier than the lost one. Of what is not restored, its next listing tells.
    maybe = [one for one in holdings if one.node not in kept or one.array_id in back[one.node]]
    silent = [one for one in maybe if one.node not in described]
    there = [one for one in silent if (one.kept or one.node in kept) and one.node in state.epochs]
    state.restore([replace(one, kept=True) for one in there if may_stand(one.info)])
    state.lost_keepers |= {one.node for one in silent}
    for node, parts in described.items():
        infos = [info for packed in parts for info in unpack(packed)]
        for info in infos:
            if may_stand(info) and not state.is_going(info.id):
                state.index.lost.remove(info)
        stale = shelves.admit(state, node, [Listed(info, kept=True) for info in infos])
        if stale:
            yield Start(asking.drop_for_good(state, stale))
