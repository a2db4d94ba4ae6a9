"""Arrays that end by themselves: with a job, a scope or their time to live."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from outlive.arrays.ended import Why
from outlive.arrays.lifetimes import SCOPE, Lifetime, ScopeLock, kind_of
from outlive.errors import CorruptArray

if TYPE_CHECKING:
    from outlive.arrays.shelf import Shelf
    from outlive.cluster.session import Session


def end(shelf: Shelf, end_keys: Callable[[list[str]], object], array_ids: list[str], why: Why) -> None:
    """Delete these arrays of a shelf, and write down why.

    Parameters
    ----------
    end_keys
        Has the catalog delete those of these arrays that a key stands for.
    """
    infos = []
    for array_id in array_ids:
        with contextlib.suppress(FileNotFoundError, CorruptArray):
            infos.append(shelf.info(array_id))
    with contextlib.suppress(OSError):  # a full disk: to end arrays is what makes room
        shelf.ended.add(infos, why, time.time_ns())  # first: nobody shall find it gone and not learn why
    keyed = [info.id for info in infos if info.key is not None]
    if keyed:
        end_keys(keyed)
    for array_id in array_ids:
        shelf.delete(array_id)


def end_scope(session: Session, lock: ScopeLock) -> None:
    """Delete everything that was put in a scope, by whichever process of this node."""
    suffix = Lifetime(SCOPE, lock.number).suffix[2:]
    try:
        there = [
            array_id for array_id in session.shelf.ids() if array_id.endswith(suffix) and kind_of(array_id) & SCOPE
        ]
        if there:
            end(session.shelf, lambda keyed: session.ask(session.catalog.end.remote(keyed)), there, Why.SCOPE)
    finally:
        lock.release()  # then what is left is the keeper's to end
