"""Errors for an array that is not there: was it deleted, is it lost, or was it never put?"""

from __future__ import annotations

import difflib
from datetime import datetime
from typing import TYPE_CHECKING

from outlive.catalog.wire import Found, Located, unpack_found
from outlive.errors import ArrayLost, ArrayNotFound, StoreUnavailable
from outlive.local.place import of_another_machine
from outlive.store.ray_in_use import unanswered

if TYPE_CHECKING:
    from outlive.arrays.info import ArrayInfo
    from outlive.store.session import Session


def missing(
    session: Session, info: ArrayInfo, located: Located, hint: str | None
) -> ArrayNotFound | ArrayLost | StoreUnavailable:
    """Why an array is on no node. `hint`: where its handle says that it is."""
    place = None if hint == session.node else session.place  # the machine may have another name by now
    if place is not None and (other := of_another_machine(place, hint)) is not None:
        return other
    if located.lost_on is not None:
        return lost(info, located.lost_on, located.lost_at)
    return why_gone(session, info, session.shelf.not_found(info, located.why))


def lost(info: ArrayInfo, node: str, at: float) -> ArrayLost:
    """The error for an array whose last copy went with its node."""
    name = f"array {info.key!r}" if info.key is not None else f"array {info.id}"
    when = datetime.fromtimestamp(at).astimezone().isoformat(sep=" ", timespec="seconds")
    held = "the only node" if info.replicas == 1 else f"the last (replicas={info.replicas})"
    return ArrayLost(
        f"{name} of store {info.store!r} was lost at {when} with node {node}, {held} that held a copy. "
        f"Make it again; put it with replicas={info.replicas + 1} to have it survive that"
    )


def not_found(session: Session, store: str, keys: list[str]) -> ArrayNotFound:
    """The error for keys that are missing, with similar ones."""
    if len(keys) > 1:
        shown = ", ".join(repr(key) for key in keys[:5]) + (", ..." if len(keys) > 5 else "")
        return ArrayNotFound(f"store {store!r} has no arrays {shown} ({len(keys)} missing)")
    ended = session.shelf.ended.find_key(store, keys[0])
    if ended is not None:
        return ArrayNotFound(f"store {store!r} has no array {keys[0]!r}: {ended}")
    # Comparing is slow, so it is done here and not in the catalog, and of only a few keys if they are long.
    limit = 20_000 // max(20, len(keys[0]))
    candidates = session.ask_catalog("some_keys", store, keys[0], limit)
    similar = difflib.get_close_matches(keys[0], candidates)
    count = session.ask_catalog("count", store)
    has = f"it has {count} key{'s' * (count != 1)}"
    hint = f"; similar: {', '.join(map(repr, similar))}" if similar else f" ({has})"
    return ArrayNotFound(f"store {store!r} has no array {keys[0]!r}{hint}")


def why_gone(session: Session, info: ArrayInfo, not_found: ArrayNotFound) -> ArrayNotFound | ArrayLost:
    """`ArrayLost` if the array's key still stands for it (so nobody deleted it); else `not_found`.

    For an array without a key nobody knows whether it was deleted.
    """
    if info.key is None:
        return not_found
    try:
        [found] = unpack_found(session.ask_catalog("find", info.store, [info.key]))
    except unanswered():
        return not_found
    if found is not None and found.lost_at and found.info.id == info.id:  # its node has died meanwhile
        return lost(info, found.nodes[0], found.lost_at)
    if found is None or found.doomed or found.lost_at or found.info.id != info.id or session.shelf.has(info.id):
        return not_found
    return segment_gone(session, found)


def segment_gone(session: Session, found: Found) -> ArrayLost:
    """The error for an array whose file is not where the catalog says."""
    info = found.info
    where = session.shelf.path if found.nodes == [session.node] else f"of node {', '.join(found.nodes)}"
    return ArrayLost(
        f"array {info.key!r} of store {info.store!r} is lost: its segment {info.id} is gone from the shelf {where}, "
        "and nobody deleted it through outlive. Make it again; `outlive check` removes the key"
    )
