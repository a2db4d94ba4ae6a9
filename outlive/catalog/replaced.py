"""Replaced arrays: their files go once the new array is sealed and has its replicas, and nobody holds the old one."""

from __future__ import annotations

import logging

from outlive.catalog import asking, keys, replicas
from outlive.catalog.index import Holding, Replacement
from outlive.catalog.instructions import Conversation, Start, Wait
from outlive.catalog.state import State

_log = logging.getLogger(__name__)


def drop(state: State) -> Conversation[None]:
    """Drop what was replaced, as soon as there is something. A node that does not answer holds up no other."""
    yield Wait(lambda: bool(state.replaced))
    for node in sort_out(state):
        if node not in state.under_way.dropping:
            state.under_way.dropping.add(node)
            yield Start(_drop_on(state, node))


def sort_out(state: State) -> list[str]:
    """Sort what was replaced by the home of the new array, which is asked whether it is sealed; returns these nodes."""
    batch, state.replaced = dict.fromkeys(state.replaced), []
    for replacement in batch:
        if not state.holds.put_off(replacement):
            new = replacement.new
            node = state.index.home(new.array_id) if state.index.lists(new.array_id) else new.node  # it may have moved
            state.to_drop.setdefault(node, []).append(replacement)
    return list(state.to_drop)


def _drop_on(state: State, node: str) -> Conversation[None]:
    """Drop what waits for this node, including what comes meanwhile."""
    try:
        while some := state.to_drop.pop(node, []):
            yield from _drop_or_again(state, node, some)
    finally:
        state.under_way.dropping.discard(node)


def _drop_or_again(state: State, node: str, some: list[Replacement]) -> Conversation[None]:
    try:
        yield from drop_where_sealed(state, node, some)
    except Exception:  # noqa: BLE001 - later replacements are to be dropped all the same
        _log.warning("arrays that were replaced on %s stay for now", node, exc_info=True)
        state.again += some


def drop_where_sealed(state: State, node: str, replacements: list[Replacement]) -> Conversation[None]:
    # A new array that is not listed any more was replaced or deleted, and whatever did so drops the old one too. Or it
    # was never sealed, and its shelf was listed since without it: then it must not be sealed now.
    replacements = [replacement for replacement in replacements if state.index.lists(replacement.new.array_id)]
    sealed = yield from asking.finish(state, node, [replacement.new.array_id for replacement in replacements])
    ready = [replacement for replacement, done in zip(replacements, sealed, strict=True) if done]
    for replacement in ready:
        yield from _make_safe(state, replacement)
    # Meanwhile a new array may have gone with its node, before it had replicas. Then the old one is brought back.
    gone = dict.fromkeys(replacement for replacement in ready if not state.kept(replacement.new.array_id))
    state.again += [replacement for replacement in gone if state.index.lists(replacement.new.array_id)]
    ready = [replacement for replacement in ready if replacement not in gone]
    # An old array that was not sealed when it was replaced may be current by now, with a later version.
    ready = [replacement for replacement in ready if not state.index.lists(replacement.old.array_id)]
    for replacement in ready:
        state.announced.was_sealed(replacement.new.array_id)
        state.beneath.pop((replacement.store, replacement.key), None)
    yield from asking.drop_for_good(state, [(replacement.old, None) for replacement in ready])
    for replacement, done in zip(replacements, sealed, strict=True):
        if not done and state.index.lists(replacement.new.array_id):
            state.again.append(replacement)  # the shelf has another epoch, or it was never put
            yield from keys.verify(state, replacement.new.array_id)


def _make_safe(state: State, replacement: Replacement) -> Conversation[None]:
    """Give the new array its replicas, as far as possible, before the old one goes."""
    entry = state.index.find(replacement.store, replacement.key)
    if entry is not None and entry.info.id == replacement.new.array_id and entry.info.replicas > 1:
        yield from replicas.secure(state, [entry.info.id])


def try_again(state: State) -> None:
    """Try again what was not sealed or could not be asked, and what readers held that did not come back."""
    state.replaced += state.again + state.holds.expire()
    state.again = []


def clear(state: State) -> Conversation[None]:
    """Ask again to drop unwanted arrays where a node did not confirm. No node waits for another."""
    for node in sorted({node for nodes in state.unwanted.values() for node in nodes} - state.under_way.clearing):
        state.under_way.clearing.add(node)
        yield Start(_clear_on(state, node))


def _clear_on(state: State, node: str) -> Conversation[None]:
    """Drop all unwanted arrays of a node. Others may be dropping some of them just now, which does no harm."""
    try:
        there = [(Holding(one, node), nodes[node]) for one, nodes in state.unwanted.items() if node in nodes]
        yield from asking.drop_for_good(state, there)
    finally:
        state.under_way.clearing.discard(node)
