"""Arrays that end by themselves: with a job, a scope or their time to live."""

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

_TO_LOOK = 2.0  # seconds for a keeper that does not answer: the one that asks has other work to do


def end(
    shelf: Shelf,
    end_keys: Callable[[list[str]], object],
    array_ids: list[str],
    why: Why,
    end_copies: Callable[[list[str]], object] | None = None,
) -> None:
    """Delete these arrays of a shelf, and write down why.

    Parameters
    ----------
    end_keys
        Has the catalog delete those of these arrays that a key stands for.
    end_copies
        Tells the catalog that others of them, of which it may know copies, are not here any more.
    """
    infos = []
    if why == Why.TTL:  # of a cached copy: whoever keeps the array knows better, it may have been touched there
        array_ids = [one for one in array_ids if not (is_cached(mode_of(shelf, one)) and evict(shelf, one))]
    for array_id in array_ids:
        with contextlib.suppress(FileNotFoundError, CorruptArray):
            infos.append(shelf.info(array_id))
    with contextlib.suppress(OSError):  # a full disk: to end arrays is what makes room
        shelf.ended.add(infos, why, time.time_ns())  # first: nobody shall find it gone and not learn why
    keyed = {info.id: (info.store, info.key) for info in infos if info.key is not None}
    spread = [info.id for info in infos if info.key is None and _is_spread(shelf, info)]
    for array_id in array_ids:
        if array_id not in keyed:
            shelf.delete(array_id)
    if spread and end_copies is not None:
        end_copies(spread)
    if keyed:
        end_keys(list(keyed))  # last: the catalog may not answer
    for array_id, name in keyed.items():
        shelf.delete(array_id, name)  # whatever the catalog knew: nobody shall find it by its name


def _is_spread(shelf: Shelf, info: ArrayInfo) -> bool:
    """Whether the catalog may know of an array without a key: it was, or shall be, copied."""
    mode = mode_of(shelf, info.id)
    return info.replicas > 1 or is_copied(mode) or is_cached(mode)


def end_scope_here(
    shelf: Shelf,
    number: int,
    end_keys: Callable[[list[str]], object],
    array_ids: list[str] | None = None,
    end_copies: Callable[[list[str]], object] | None = None,
) -> None:
    """Delete what was put in a scope on this node.

    Parameters
    ----------
    array_ids
        Which arrays those are, for whoever knows: to list a million takes most of a second.
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
    """Ask the nodes of other nodes' scopes whether they have ended, or died: `Endings` finds the arrays then."""
    silent = set[str]()
    for number, node in joined_scopes(shelf.scopes).items():
        if node in silent:
            continue
        try:
            over = peers.ask_keeper(node, Call.of("scope_is_over", number), _TO_LOOK)
        except Nobody:  # it does not leave as long as it has a scope, but may have died for good
            if _start_keeper(peers, node):
                silent.add(node)
                continue
            over = True
        except StoreUnavailable:  # it is asked again, at the next round
            silent.add(node)
            continue
        if over:
            leave_scope(shelf.scopes, number)


def _start_keeper(peers: Peers, node: str) -> bool:
    """Have a keeper on a node that lives: False if it does not."""
    if not any(one.id == node and one.alive for one in peers.nodes()):
        return False
    with contextlib.suppress(StoreUnavailable):
        peers.find_keeper(node, start=True)
    return True
