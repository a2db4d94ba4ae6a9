"""Ending: arrays end by themselves with their job, their scope or their time to live."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from outlive.arrays.ended import Why
from outlive.arrays.layout import is_cached, is_copied, kind_of, scope_name
from outlive.arrays.lifetimes import SCOPE, joined_scopes, leave_scope
from outlive.arrays.marks import evict, mode_of
from outlive.cluster.port import Call, Nobody, Peers
from outlive.errors import CorruptArray, StoreUnavailable

if TYPE_CHECKING:
    from outlive.arrays.info import ArrayInfo
    from outlive.arrays.shelf import Shelf

_TO_LOOK = 2.0  # seconds for another keeper to answer: this one has other work to do


def end(
    shelf: Shelf,
    end_keys: Callable[[list[str]], object],
    array_ids: list[str],
    why: Why,
    end_copies: Callable[[list[str]], object] | None = None,
) -> None:
    """Delete these arrays of a shelf, and record why.

    Parameters
    ----------
    end_keys
        Has the catalog delete the arrays that have a key.
    end_copies
        Tells the catalog that arrays without a key, whose copies it may know, are gone from here.
    """
    infos = []
    if why == Why.TTL:  # a cached copy is only evicted: the array may have been touched on the node that keeps it
        array_ids = [one for one in array_ids if not (is_cached(mode_of(shelf, one)) and evict(shelf, one))]
    for array_id in array_ids:
        with contextlib.suppress(FileNotFoundError, CorruptArray):
            infos.append(shelf.info(array_id))
    with contextlib.suppress(OSError):  # the disk may be full, and ending arrays makes room
        shelf.ended.add(infos, why, time.time_ns())  # before the deletion, so that every reader learns why
    keyed = {info.id: (info.store, info.key) for info in infos if info.key is not None}
    spread = [info.id for info in infos if info.key is None and _is_spread(shelf, info)]
    for array_id in array_ids:
        if array_id not in keyed:
            shelf.delete(array_id)
    if spread and end_copies is not None:
        end_copies(spread)
    if keyed:
        end_keys(list(keyed))  # last, as the catalog may not answer
    for array_id, name in keyed.items():
        shelf.delete(array_id, name)  # even if the catalog did not know the key: no read by name finds the array


def _is_spread(shelf: Shelf, info: ArrayInfo) -> bool:
    """Whether the catalog may know of an array without a key, as it was copied or is to have replicas."""
    mode = mode_of(shelf, info.id)
    return info.replicas > 1 or is_copied(mode) or is_cached(mode)


def end_scope_here(
    shelf: Shelf,
    number: int,
    end_keys: Callable[[list[str]], object],
    array_ids: list[str] | None = None,
    end_copies: Callable[[list[str]], object] | None = None,
) -> None:
    """Delete the arrays of a scope on this node.

    Parameters
    ----------
    array_ids
        These arrays, if the caller knows them. Otherwise the shelf is searched: a million arrays take about a second.
    end_copies
        See `end`.
    """
    if array_ids is None:
        suffix = scope_name(number)
        array_ids = [array_id for array_id in shelf.ids() if array_id.endswith(suffix) and kind_of(array_id) & SCOPE]
    if array_ids:
        end(shelf, end_keys, array_ids, Why.SCOPE, end_copies)
    leave_scope(shelf.scopes, number)


def leave_scopes_that_ended(shelf: Shelf, peers: Peers) -> None:
    """Ask other nodes whether their scopes that have arrays here are over. `Endings` then finds these arrays."""
    silent = set[str]()
    for number, node in joined_scopes(shelf.scopes).items():
        if node in silent:
            continue
        try:
            over = peers.ask_keeper(node, Call.of("scope_is_over", number), _TO_LOOK)
        except Nobody:  # a keeper does not leave while its node has a scope, but it may be gone for good
            if _start_keeper(peers, node):
                silent.add(node)
                continue
            over = True
        except StoreUnavailable:  # the next round asks again
            silent.add(node)
            continue
        if over:
            leave_scope(shelf.scopes, number)


def _start_keeper(peers: Peers, node: str) -> bool:
    """Start a keeper on a node, if that lives; whether it does."""
    if not any(one.id == node and one.alive for one in peers.nodes()):
        return False
    with contextlib.suppress(StoreUnavailable):
        peers.find_keeper(node, start=True)
    return True
