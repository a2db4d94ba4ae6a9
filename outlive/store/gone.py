"""What to say of an array that a handle names and that is not there: deleted, or lost?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ray.exceptions import RayError

from outlive.catalog.wire import Found, unpack_found
from outlive.errors import ArrayLost, ArrayNotFound, StoreUnavailable

if TYPE_CHECKING:
    from outlive.arrays.info import ArrayInfo
    from outlive.store.session import Session


def why_gone(session: Session, info: ArrayInfo, not_found: ArrayNotFound) -> ArrayNotFound | ArrayLost:
    """`ArrayLost` if the array's key still stands for it, so that nobody deleted it; else `not_found`.

    Of an array without a key nobody knows.
    """
    if info.key is None:
        return not_found
    try:
        [found] = unpack_found(session.ask_catalog("find", info.store, [info.key]))
    except (RayError, StoreUnavailable):
        return not_found
    if found is None or found.doomed or found.lost_at or found.info.id != info.id or session.shelf.has(info.id):
        return not_found
    return segment_gone(session, found)


def segment_gone(session: Session, found: Found) -> ArrayLost:
    """The error for an array that the catalog lists, and whose file is not where it says."""
    info = found.info
    where = session.shelf.path if found.nodes == [session.node] else f"of node {', '.join(found.nodes)}"
    return ArrayLost(
        f"array {info.key!r} of store {info.store!r} is lost: its segment {info.id} is gone from the shelf {where}, "
        "and nobody deleted it through outlive. Make it again; `outlive check` removes the key"
    )
