"""Reading by key: by the shelf's name if there is one, else by asking the catalog."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from outlive.arrays.info import ArrayInfo
from outlive.cluster.wire import Found, unpack_found
from outlive.errors import ArrayLost, ArrayNotFound

if TYPE_CHECKING:
    import numpy as np

    from outlive.cluster.session import Session

    Array = np.ndarray[Any, Any]


def read(session: Session, store: str, key: str) -> Array | None:
    """The array of a key, None if there is none.

    Raises
    ------
    ArrayLost, CorruptArray, TooManyViews
    """
    array = session.shelf.named(store, key)
    return array if array is not None else _read(session, find(session, store, [key])[0])


def read_many(session: Session, store: str, keys: list[str]) -> list[Array | None]:
    """`read` for many keys, with at most one call of the catalog. Of a batch it sees all or nothing."""
    begun = session.shelf.ledger.batches_begun
    arrays = [session.shelf.named(store, key) for key in keys]
    if session.shelf.ledger.batches_begun != begun or session.shelf.ledger.batches:
        arrays = [None] * len(keys)
    unnamed = [key for key, array in zip(keys, arrays, strict=True) if array is None]
    if unnamed:
        found = iter(find(session, store, unnamed))
        arrays = [_read(session, next(found)) if array is None else array for array in arrays]
    return arrays


def info(session: Session, store: str, key: str) -> ArrayInfo | None:
    """What is known of a key's array, without mapping its data; None if there is none."""
    named = session.shelf.named_info(store, key)
    if named is not None:
        return named
    current = find(session, store, [key])[0]
    while current is not None and not session.shelf.has(current.info.id):
        if not session.shelf.finish(current.info.id, current.epoch):
            current = _again(session, current)
    return None if current is None else current.info


def find(session: Session, store: str, keys: list[str]) -> list[Found | None]:
    """What the catalog says of these keys."""
    return unpack_found(session.ask(session.catalog.find.remote(store, keys)))


def _read(session: Session, found: Found | None) -> Array | None:
    """The array that was found, or the one that has its key by now; None if the key is deleted meanwhile."""
    shelf = session.shelf
    while found is not None:
        try:
            view = shelf.view(found.info)
        except ArrayNotFound:  # listed but not sealed yet; or replaced, or deleted, since we asked
            if not shelf.finish(found.info.id, found.epoch):
                found = _again(session, found)
        else:
            if not found.doomed:
                shelf.name(found.info)
            return view
    return None


def _again(session: Session, before: Found) -> Found | None:
    """Ask again for a key whose array was not there: None if it is deleted.

    Raises
    ------
    ArrayLost
        The key still stands for the array that is not there.
    """
    store, key = before.info.store, before.info.key or ""
    found = find(session, store, [key])[0]
    if found is None or found.doomed:
        return None
    if found == before and not session.shelf.has(found.info.id):
        raise ArrayLost(
            f"array {key!r} of store {store!r} is lost: its segment {before.info.id} is gone from the shelf "
            f"{session.shelf.path}, and nobody deleted it through outlive. Make it again; "
            "`outlive check` removes the key"
        )
    return found


def not_found(session: Session, store: str, keys: list[str]) -> ArrayNotFound:
    """The error for keys that are missing, with similar ones."""
    if len(keys) > 1:
        shown = ", ".join(repr(key) for key in keys[:5]) + (", ..." if len(keys) > 5 else "")
        return ArrayNotFound(f"store {store!r} has no arrays {shown} ({len(keys)} missing)")
    ended = session.shelf.ended.find_key(store, keys[0])
    if ended is not None:
        return ArrayNotFound(f"store {store!r} has no array {keys[0]!r}: {ended}")
    # Comparing is slow, so it is done here and not in the catalog, and of few keys if they are long.
    limit = 50_000 // max(20, len(keys[0]))
    candidates = session.ask(session.catalog.some_keys.remote(store, keys[0], limit))
    similar = difflib.get_close_matches(keys[0], candidates)
    count = session.ask(session.catalog.count.remote(store))
    hint = f"; similar: {', '.join(map(repr, similar))}" if similar else f" (it has {count} keys)"
    return ArrayNotFound(f"store {store!r} has no array {keys[0]!r}{hint}")
