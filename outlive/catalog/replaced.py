"""What was replaced: its files go, once the new array is sealed and where it shall be, and nobody holds the old one."""

from __future__ import annotations

import logging

from outlive.catalog import asking, keys, replicas
from outlive.catalog.index import Holding, Replacement
from outlive.catalog.instructions import Conversation, Start, Wait
from outlive.catalog.state import State

_log = logging.getLogger(__name__)


def drop(state: State) -> Conversation[None]:
    """As soon as there is something. A node that does not answer holds up no other."""
    yield Wait(lambda: bool(state.replaced))
    for node in sort_out(state):
        if node not in state.under_way.dropping:
            state.under_way.dropping.add(node)
            yield Start(_drop_on(state, node))


def sort_out(state: State) -> list[str]:
    """Sort what was replaced by the nodes that are asked whether the new arrays are sealed; returns these.

    That is the home of a new array: it may have moved since.
    """
    batch, state.replaced = dict.fromkeys(state.replaced), []
    for replacement in batch:
        if not state.holds.put_off(replacement):
            new = replacement.new
            node = state.index.home(new.array_id) if state.index.lists(new.array_id) else new.node
            state.to_drop.setdefault(node, []).append(replacement)
    return list(state.to_drop)


def _drop_on(state: State, node: str) -> Conversation[None]:
    """With all that comes for the node meanwhile."""
    try:
        while some := state.to_drop.pop(node, []):
            yield from _drop_or_again(state, node, some)
    finally:
        state.under_way.dropping.discard(node)


def _drop_or_again(state: State, node: str, some: list[Replacement]) -> Conversation[None]:
    try:
        yield from drop_where_sealed(state, node, some)
    except Exception:  # noqa: BLE001 - what comes later is to be dropped all the same
        _log.warning("arrays that were replaced on %s stay for now", node, exc_info=True)
        state.again += some


def drop_where_sealed(state: State, node: str, replacements: list[Replacement]) -> Conversation[None]:
    # Else it was itself replaced or deleted, and what did that drops the old one too; or it was never sealed, and its
    # shelf was listed since. Then it must not be sealed as if that listing had had it.
    replacements = [replacement for replacement in replacements if state.index.lists(replacement.new.array_id)]
    sealed = yield from asking.finish(state, node, [replacement.new.array_id for replacement in replacements])
    ready = [replacement for replacement, done in zip(replacements, sealed, strict=True) if done]
    for replacement in ready:
        yield from _make_safe(state, replacement)
    # One that was replaced before it was sealed may be current by now: its writer has given it a later version.
    ready = [replacement for replacement in ready if not state.index.lists(replacement.old.array_id)]
    yield from asking.drop_for_good(state, [(replacement.old, None) for replacement in ready])
    for replacement, done in zip(replacements, sealed, strict=True):
        if not done and state.index.lists(replacement.new.array_id):
            state.again.append(replacement)  # the shelf has another epoch, or it was never put
            yield from keys.verify(state, replacement.new.array_id)


def _make_safe(state: State, replacement: Replacement) -> Conversation[None]:
    """Before the old array goes, the new one is on as many nodes as it shall be, as far as it can."""
    entry = state.index.find(replacement.store, replacement.key)
    if entry is not None and entry.info.id == replacement.new.array_id and entry.info.replicas > 1:
        yield from replicas.secure(state, [entry.info.id])


def try_again(state: State) -> None:
    """What was not sealed, or could not be asked, and what nobody came back for."""
    state.replaced += state.again + state.holds.expire()
    state.again = []


def clear(state: State) -> Conversation[None]:
    """Drop what is unwanted, of which a node did not confirm that it dropped it. No node waits for another."""
    for node in sorted({node for nodes in state.unwanted.values() for node in nodes} - state.under_way.clearing):
        state.under_way.clearing.add(node)
        yield Start(_clear_on(state, node))


def _clear_on(state: State, node: str) -> Conversation[None]:
    """Drop what is unwanted on a node, and what somebody else may be dropping there just now: that does no harm."""
    try:
        there = [(Holding(one, node), nodes[node]) for one, nodes in state.unwanted.items() if node in nodes]
        yield from asking.drop_for_good(state, there)
    finally:
        state.under_way.clearing.discard(node)
