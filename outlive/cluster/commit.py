"""How a put with a key ends: the catalog lists complete drafts, then their writer seals them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ray.exceptions import RayTaskError

from outlive.arrays.batches import Batch
from outlive.arrays.draft import Draft
from outlive.arrays.info import new_version
from outlive.arrays.shelf import StaleEpoch
from outlive.cluster.take_back import take_back
from outlive.cluster.wire import Bound, pack, pack_request, unpack_bound
from outlive.errors import OutliveError, StoreUnavailable

if TYPE_CHECKING:
    from outlive.cluster.session import Session

_MOST_CATALOGS = 20  # while one array is put


def commit(session: Session, drafts: list[Draft]) -> None:
    """Have the catalog list drafts under their keys, and seal them: all, or none.

    If it is interrupted while the catalog may or may not have listed them, they are left for whoever needs to know: a
    reader seals those that are listed, the keeper discards the others once this process has ended.

    Raises
    ------
    StoreUnavailable, StoreFull
    """
    if len(drafts) == 1:
        _commit(session, drafts)
        return
    try:
        batch = Batch(session.shelf)
    except OSError as error:  # nothing is listed yet
        for draft in drafts:
            draft.discard()
        raise session.shelf.explain(error, sum(draft.info.size for draft in drafts)) from None
    try:
        _commit(session, drafts)
    finally:
        if not any(draft.exists() for draft in drafts):  # else some may be listed, and the others not yet sealed
            batch.end()


def _commit(session: Session, drafts: list[Draft]) -> None:
    for draft in drafts:
        draft.settled = True
    stale = 0
    for _ in range(_MOST_CATALOGS):
        bound = _bind(session, drafts, stale)
        if bound.behind:
            try:
                _restamp(drafts, new_version(after=bound.behind))
            except OSError as error:
                take_back(session, drafts, error)
                return
        else:
            try:
                gone = session.shelf.seal_many(drafts, bound.epoch)
            except StaleEpoch:  # a new catalog has started since, and has to be told: of those not sealed already
                stale = bound.epoch
            except OSError as error:
                take_back(session, drafts, error)
                return
            else:
                if gone:
                    session.ask(session.catalog.unbind.remote(pack(draft.info for draft in gone)))
                return
        drafts = [draft for draft in drafts if draft.exists()]
        if not drafts:
            return
    raise StoreUnavailable(
        f"the catalog was replaced {_MOST_CATALOGS} times while an array was put; see `ray list actors`"
    )


def _restamp(drafts: list[Draft], version: int) -> None:
    for draft in drafts:
        with contextlib.suppress(FileNotFoundError):  # an earlier catalog listed it: sealed, and replaced since
            draft.restamp(version)


def _bind(session: Session, drafts: list[Draft], stale: int) -> Bound:
    request = pack_request([draft.info for draft in drafts], session.node, stale)
    try:
        bound = unpack_bound(session.ask(session.catalog.bind.remote(request)))
        return unpack_bound(session.ask(session.catalog.replace.remote(request))) if bound.elsewhere else bound
    except OutliveError as error:
        if isinstance(error.__cause__, RayTaskError):  # it says no: nothing is listed
            for draft in drafts:
                draft.discard()
        raise
