"""Successors: what an array was about to be replaced by, as the shelves say that were told, when a catalog starts.

A catalog has the other shelves forbid the name of an array before it lists the one that replaces it, and that one is
nowhere else yet. If its node dies with the catalog, the next one finds the former array alone. It cannot be shown: who
put or read the later one would see it go back.
"""

from __future__ import annotations

import logging

from outlive.catalog import asking
from outlive.catalog.index import Holding
from outlive.catalog.instructions import Conversation
from outlive.catalog.losses import Lost
from outlive.catalog.state import Name, State

_log = logging.getLogger(__name__)


def account(state: State) -> Conversation[None]:
    """Nodes that died before this catalog had heard of them: what had a successor there is lost with that.

    Once all others have said what they have: one of them may have the successor.
    """
    if not state.unheard or any(map(state.is_alive, state.unlisted)):
        return
    unheard, state.unheard = state.unheard, set()
    state.heard_of |= unheard
    stale = list[tuple[Holding, Name | None]]()
    for array_id, successors in state.late.items():
        entry = state.index.current(array_id)
        later = [one for one in successors if one.home in unheard]
        if entry is None or not later or max(later).version <= entry.info.version:
            continue
        info, (version, successor, home) = entry.info, max(later)
        stale += [(holding, asking.name_of(info)) for holding in state.index.files(entry)]
        state.index.unbind(info.store, info.key or "", array_id)
        lost = info._replace(id=successor, version=version)
        state.index.lost.add(Lost(lost, home, _died_at(state, home)))
        _log.warning("array %s of key %r went with node %s: it had replaced %s", successor, info.key, home, array_id)
    yield from asking.drop_for_good(state, stale)


def _died_at(state: State, node: str) -> float:
    known = state.nodes.get(node)
    return (None if known is None else known.died_at) or state.outside.time()
