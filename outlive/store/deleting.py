"""Deleting arrays, by key or by handle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outlive.arrays.info import ArrayInfo
from outlive.arrays.marks import is_only_here
from outlive.catalog.wire import pack
from outlive.store.reading import find

if TYPE_CHECKING:
    from outlive.store.session import Session


def delete_keys(session: Session, store: str, keys: list[str]) -> list[str]:
    """Delete the arrays of these keys; returns the keys that had none.

    They are deleted by id: Ray repeats a call whose answer was lost, and a key may stand for a later array by then.
    """
    found = find(session, store, keys)
    # An array that another process is deleting can be read until that is done, so this deletion waits for it.
    there = {key: one.info.id for key, one in zip(keys, found, strict=True) if one is not None}
    session.ask_catalog("end", list(there.values()))
    return [key for key in keys if key not in there]


def delete_array(session: Session, info: ArrayInfo, hint: str | None) -> bool:
    """Delete one array, wherever its copies are. Whether it was there."""
    if info.key is not None:
        return bool(session.ask_catalog("end", [info.id]))
    with session.shelf.ledger.locked():  # no copy begins in between
        if is_only_here(session.shelf, info.id):
            return session.shelf.delete(info.id)
    return bool(session.ask_catalog("erase", pack([info]), hint))
