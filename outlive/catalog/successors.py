"""Successors: arrays that were about to replace others as the last catalog ended. The shelves of the others name them.

Before a catalog lists an array that replaces another, it has the other's shelves forbid the name. At that moment only
the new array's node has it. If that node dies together with the catalog, the next catalog finds the old array alone. It
must not show it: to a process that put or read the new array, the key would go back.
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
    """Settle nodes that died before this catalog had heard from them: a successor there is lost, and so is its key.

    This waits until all living nodes have said what they have, as one of them may have the successor.
    """
    if not (state.unheard or state.unlisted or state.under_way.listing):
        state.late.clear()  # all have said what they have: a successor that is anywhere is listed
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
