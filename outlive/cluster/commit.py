"""How a put with a key ends: the catalog lists complete drafts, then their writer seals them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from outlive.arrays.batches import Batch
from outlive.arrays.draft import Draft
from outlive.arrays.info import new_version
from outlive.arrays.shelf import StaleEpoch
from outlive.catalog.wire import Bound, pack, pack_request, unpack_bound
from outlive.cluster.take_back import take_back
from outlive.errors import StoreUnavailable

if TYPE_CHECKING:
    from outlive.cluster.session import Session

_MOST_CATALOGS = 20  # while one array is put


def commit(session: Session, drafts: list[Draft]) -> None:
    """Have the catalog list drafts under their keys, and seal them: all, or none.

    Whatever goes wrong, none of the drafts is left when this ends: see `take_back`.

    Raises
    ------
    StoreUnavailable, StoreFull
    """
    batch = Batch(session.shelf) if len(drafts) > 1 else None
    epoch = session.shelf.ledger.epoch
    try:
        if batch is not None:
            batch.begin()
        _commit(session, drafts)
    except BaseException as error:  # noqa: BLE001 - an interrupt too; it is raised again
        take_back(session, drafts, error, epoch)
    finally:
        if batch is not None:
            batch.end()


def _commit(session: Session, drafts: list[Draft]) -> None:
    for draft in drafts:
        draft.settled = True
    stale = 0
    for _ in range(_MOST_CATALOGS):
        bound = _bind(session, drafts, stale)
        if bound.behind:
            _restamp(drafts, new_version(after=bound.behind))
        else:
            try:
                gone = session.shelf.seal_many(drafts, bound.epoch)
            except StaleEpoch:  # a new catalog has started since, and has to be told: of those not sealed already
                stale = bound.epoch
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
    bound = unpack_bound(session.ask(session.catalog.bind.remote(request)))
    return unpack_bound(session.ask(session.catalog.replace.remote(request))) if bound.elsewhere else bound
