"""Successors: arrays that were about to replace others as the last catalog ended. The shelves of the others name them.

Before a catalog lists an array that replaces another, it has the other's shelves forbid the name. At that moment only
the new array's node has it. If that node dies together with the catalog, the next catalog finds the old array alone. It
must not show it: to a process that put or read the new array, the key would go back.
"""

from __future__ import annotations

import logging

from outlive.catalog import asking
from outlive.catalog.index import Holding, Replacement
from outlive.catalog.instructions import Conversation, Start
from outlive.catalog.losses import Lost
from outlive.catalog.state import Name, State

_log = logging.getLogger(__name__)


def account(state: State) -> Conversation[None]:
    """Settle nodes that died before this catalog had heard from them: a successor there is lost, and so is its key.

    This waits until all living nodes have said what they have, as one of them may have the successor.
    """
    lose_beneath(state)
    if not (state.unheard or state.unlisted or state.under_way.listing):
        _forget_late(state)
    if not state.unheard or any(map(state.is_alive, state.unlisted)):
        return
    unheard, state.unheard = state.unheard, set()
    state.heard_of |= unheard
    stale = list[tuple[Holding, Name | None]]()
    for array_id, successors in state.late.items():
        later = [one for one in successors if one.home in unheard]
        files = _files(state, array_id)
        info = files[0].info if files else None
        if info is None or not later or max(later).version <= info.version:
            continue
        version, successor, home = max(later)
        stale += [(holding, asking.name_of(info)) for holding in files]
        name = info.store, info.key or ""
        lost = Lost(info._replace(id=successor, version=version), home, _died_at(state, home))
        if state.index.unbind(*name, array_id):
            state.index.lost.add(lost)
        else:  # a later put of the key is under way, or sealed already
            state.beneath[name] = lost
            if (entry := state.index.find(*name)) is not None:  # this is forgotten once that is sealed
                state.replaced.append(Replacement(files[0], Holding(entry.info.id, entry.node, entry.info), *name))
        _log.warning("array %s of key %r went with node %s: it had replaced %s", successor, info.key, home, array_id)
    yield from asking.drop_for_good(state, stale)


def _files(state: State, array_id: str) -> list[Holding]:
    """The files of an array that is current, or superseded: then the later put may still come to nothing."""
    entry = state.index.current(array_id)
    if entry is not None:
        return state.index.files(entry)
    return [holding for holding, _ in state.index.superseded({array_id})]


def lose_beneath(state: State) -> None:
    """Note the keys as lost whose puts under way came to nothing, or went with their nodes."""
    for name, lost in list(state.beneath.items()):
        if state.index.find(*name) is None:
            del state.beneath[name]
            if state.index.lost.of_key(*name) is None:
                state.index.lost.add(lost)


def _forget_late(state: State) -> None:
    """Forget successors, once all nodes have said what they have: each is listed by now, or its put came to nothing."""
    for array_id, successors in state.late.items():
        entry = state.index.current(array_id)
        if entry is None:
            continue
        for one in successors:
            if one.id in state.given_up.get(one.home, ()):
                for node in state.index.holders(array_id):
                    state.announced.cancel(one.id, (entry.info.store, entry.info.key or ""), node)
    state.forget_late()


def cancel(state: State) -> Conversation[None]:
    """Have nodes forget arrays whose puts came to nothing. No node waits for another."""
    under_way, cancelled = state.under_way.cancelling, state.announced.cancelled
    for node in sorted(cancelled.keys() - under_way):
        if not state.is_alive(node):
            cancelled.pop(node, None)
        elif state.has_keeper(node):
            under_way.add(node)
            yield Start(_cancel_on(state, node))


def _cancel_on(state: State, node: str) -> Conversation[None]:
    """Have one node forget them."""
    some = dict(state.announced.cancelled.get(node, {}))
    try:
        names = [(*name, array_id) for array_id, name in some.items()]
        told = yield from asking.ask_known(state, "forget_successors", {node: names})
        if node in told:
            state.announced.forgot(node, list(some))
    finally:
        state.under_way.cancelling.discard(node)


def _died_at(state: State, node: str) -> float:
    known = state.nodes.get(node)
    return (None if known is None else known.died_at) or state.outside.time()
