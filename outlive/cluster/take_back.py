"""What to do when the catalog has listed drafts and the file system then refuses to seal them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ray.exceptions import RayError

from outlive.arrays.full import full
from outlive.arrays.shelf import NO_ROOM
from outlive.cluster import actors
from outlive.errors import StoreFull, StoreUnavailable

if TYPE_CHECKING:
    from outlive.arrays.draft import Draft
    from outlive.cluster.session import Session


def take_back(session: Session, drafts: list[Draft], error: OSError) -> None:
    """Discard those of the drafts that `error` kept from being sealed, and have the catalog forget them.

    What had their keys before has them again: it is dropped only once a new array is sealed. Others may have sealed
    them for us meanwhile; if they did so with all, all is well.

    Raises
    ------
    StoreFull, StoreUnavailable
        What is left of them was not put.
    """
    shelf = session.shelf
    try:
        present = session.ask(actors.keeper(session.node).listed_here.remote())  # beforehand, as it takes a while
    except (RayError, ValueError, StoreUnavailable):
        present = None
    failed: list[Draft] = []
    stored: list[Draft] = []
    for draft in drafts:
        with shelf.ledger.locked():  # nobody seals it now
            if draft.exists():
                draft.discard()
                failed.append(draft)
            else:
                stored.append(draft)
    if not failed:
        return
    kind: type[StoreFull | StoreUnavailable] = StoreFull if error.errno in NO_ROOM else StoreUnavailable
    if kind is StoreFull:
        said = str(full(shelf, failed[0].info.size, f"the file system: {error.strerror}"))
    else:
        said = f"the file system refused to seal {_keys(failed)}: {error}"
    if stored:
        said += f". Of this put some arrays were already stored, and cannot be taken back: {_keys(stored)}"
    try:
        if present is None:
            raise StoreUnavailable("the keeper did not answer")
        session.ask(session.catalog.reconcile.remote(*present))
    except (RayError, StoreUnavailable) as unheard:
        said += f". Nor could that be undone: the catalog lists {_keys(failed)} still ({unheard}); run `outlive check`"
    raise kind(said) from error


def _keys(drafts: list[Draft]) -> str:
    return ", ".join(repr(draft.info.key) for draft in drafts[:5]) + (", ..." if len(drafts) > 5 else "")
