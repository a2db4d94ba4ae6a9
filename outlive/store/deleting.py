"""Deleting arrays, by key or by handle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outlive.arrays.info import ArrayInfo
from outlive.arrays.marks import is_only_here
from outlive.catalog.wire import Found, pack
from outlive.store.reading import find

if TYPE_CHECKING:
    from outlive.store.session import Session

_ROUNDS = 10  # of `clear`
_AT_ONCE = 1000  # arrays of one call: a keeper that deletes very many answers late, and then counts as stopped


def delete_keys(session: Session, store: str, keys: list[str]) -> list[str]:
    """Delete the arrays of these keys; returns the keys that had none.

    They are deleted by id: Ray repeats a call whose answer was lost, and a key may stand for a later array by then.
    """
    found = find(session, store, keys)
    # An array that another process is deleting can be read until that is done, so this deletion waits for it.
    there = {key: one.info for key, one in zip(keys, found, strict=True) if one is not None}
    missing = [key for key in keys if key not in there]
    while there:
        gone = set(_end(session, [info.id for info in there.values()]))
        there = {key: info for key, info in there.items() if info.id not in gone}
        # Others have deleted or overwritten these, or they were never sealed. Then the former arrays stand again.
        there = _as_old(there, find(session, store, list(there)) if there else [])
    return missing


def _as_old(before: dict[str, ArrayInfo], found: list[Found | None]) -> dict[str, ArrayInfo]:
    """Of what keys stand for now, all that is no later array than the one that they stood for before."""
    return {
        key: one.info
        for (key, info), one in zip(before.items(), found, strict=True)
        if one is not None and (one.info.id == info.id or one.info.version < info.version)
    }


def clear(session: Session, store: str) -> None:
    """Delete all arrays of a store that have a key."""
    for _ in range(_ROUNDS):  # else others that put meanwhile could have it go on for ever
        array_ids = session.ask_catalog("ids", store)
        if len(_end(session, array_ids)) == len(array_ids):
            return  # else the former arrays of some may stand again


def _end(session: Session, array_ids: list[str]) -> list[str]:
    """Delete these arrays; returns the ids of those that were there."""
    ended: list[str] = []
    for begin in range(0, len(array_ids), _AT_ONCE):
        ended += session.ask_catalog("end", array_ids[begin : begin + _AT_ONCE])
    return ended


def delete_array(session: Session, info: ArrayInfo, hint: str | None) -> bool:
    """Delete one array, wherever its copies are. Whether it was there."""
    if info.key is not None:
        return bool(session.ask_catalog("end", [info.id]))
    with session.shelf.ledger.locked():  # no copy begins in between
        if is_only_here(session.shelf, info.id):
            return session.shelf.delete(info.id)
    return bool(session.ask_catalog("erase", pack([info]), hint))
