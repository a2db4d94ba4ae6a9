"""Nodes that die: what they alone kept is lost, and that is written down, for catalogs and keepers to come."""

from __future__ import annotations

import json
import logging
from collections import defaultdict

from outlive.arrays.info import ArrayInfo
from outlive.catalog import asking, deletion, pages, replaced, replicas, shelves
from outlive.catalog.index import Holding
from outlive.catalog.instructions import Call, Conversation, Save, SearchShelves, Start, Wait
from outlive.catalog.losses import Lost
from outlive.catalog.state import State
from outlive.catalog.wire import Listed, unpack

_MOST_SETTLED = 1000  # as many dead nodes as the GCS remembers
_log = logging.getLogger(__name__)


def look_at_nodes(state: State) -> Conversation[None]:
    """All that is to be done again and again."""
    yield from look_for_dead(state)
    state.rounds += 1
    yield from _search(state)
    yield from replicas.multiply_few(state)
    yield from save(state)
    replaced.try_again(state)
    yield from replaced.clear(state)
    yield from deletion.finish_deletions(state)


def _search(state: State) -> Conversation[None]:
    """Have a keeper on each machine where an earlier cluster left a shelf."""
    new, state.unseen = state.unseen, set()
    state.seen |= new
    for node in sorted(node for node in new if node not in state.epochs):
        yield SearchShelves(node)


def look_for_dead(state: State) -> Conversation[None]:
    """Whoever asks where an array is waits until all is known of the dead nodes that had it."""
    under_way = state.under_way
    yield Wait(lambda: not under_way.losing)
    under_way.losing = True
    try:
        had = [node for node in sorted(state.dead) if node in state.epochs or state.index.copies.is_on(node)]
        for known in [state.nodes[node] for node in had]:
            yield from _lose(state, known.id, known.died_at or state.outside.time())
    finally:
        under_way.losing = False


def _lose(state: State, node: str, at: float) -> Conversation[None]:
    """A node is dead, and what it alone kept is lost."""
    index = state.index
    state.epochs.pop(node, None)
    state.note_shelf(node, has_one=False)
    state.known.discard(node)
    state.given_up.pop(node, None)
    by_node: dict[str, list[ArrayInfo]] = defaultdict(list)
    for info, others in index.endangered(node):
        for other in others:
            by_node[other].append(info)
    saved = yield from asking.keep(state, by_node)
    silent = (by_node.keys() & state.known) - {other for other, _ in saved}
    state.lost_keepers |= silent  # those that live say later what they have
    for other, info in saved:
        if state.is_wanted(info):
            index.copies.add(info, other, other)
    older = index.older_than_lost(node)
    for info in index.forget(node):
        index.lost.add(Lost(info, node, at))
    state.settled = [*state.settled, node][-_MOST_SETTLED:]
    if older:
        yield from _bring_back(state, [holding for info, holding in older if info.replicas > 1])
        yield from asking.drop_for_good(
            state, [(holding, asking.name_of(info)) for info, holding in older if info.replicas == 1]
        )
    yield from save(state)
    _log.warning("node %s is dead", node)


def _bring_back(state: State, holdings: list[Holding]) -> Conversation[None]:
    """What was being overwritten by arrays that went with their node before they had their replicas."""
    by_node: dict[str, list[str]] = defaultdict(list)
    for holding in holdings:
        by_node[holding.node].append(holding.array_id)
    kept = yield from asking.ask_known(state, "keep", by_node)
    back = {
        node: [array_id for array_id, is_kept in zip(by_node[node], some, strict=True) if is_kept]
        for node, some in kept.items()
    }
    described = yield from asking.ask({node: Call.of("describe", ids) for node, ids in back.items() if ids})
    for node, parts in described.items():
        infos = [info for packed in parts for info in unpack(packed) if not state.is_going(info.id)]
        for info in infos:
            state.index.lost.remove(info)
        stale = shelves.admit(state, node, [Listed(info, kept=True) for info in infos])
        if stale:
            yield Start(asking.drop_for_good(state, stale))


def save(state: State) -> Conversation[None]:
    """Have the head remember what is lost, and which nodes are settled: what changed of it."""
    under_way, lost = state.under_way, state.index.lost
    yield Wait(lambda: not under_way.saving)
    if not lost.changed and state.settled is state.saved_settled:
        return
    under_way.saving = True
    changed, numbers, settled = lost.take_changed(), lost.pages, state.settled
    try:
        for number, some in changed.items():
            yield Save(pages.page(number), pages.pack_lost(some))
        if changed:
            yield Save(pages.LOST, json.dumps(numbers).encode())
        if settled is not state.saved_settled:  # last: of a node that is settled, what is not lost is not wanted
            yield Save(pages.SETTLED, json.dumps(settled).encode())
            state.saved_settled = settled
    except BaseException:
        lost.changed_again(changed)
        raise
    finally:
        under_way.saving = False
