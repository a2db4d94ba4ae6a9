"""What to do with the drafts of a put that fails, or is interrupted, when the catalog may have listed them."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from ray.exceptions import RayError

from outlive.arrays.ended import Why
from outlive.arrays.full import full
from outlive.arrays.remains import Remains
from outlive.arrays.shelf import NO_ROOM
from outlive.errors import OutliveError, StoreFull, StoreUnavailable

if TYPE_CHECKING:
    from outlive.arrays.draft import Draft
    from outlive.cluster.session import Session


def take_back(session: Session, drafts: list[Draft], error: BaseException, epoch: int) -> None:
    """Discard those of the drafts that `error` kept from being sealed, and have the catalog forget them.

    What had their keys before has them again: it is dropped only once a new array is sealed. Others may have sealed
    them for us meanwhile; if they did so with all, all is well.

    The catalog need not answer. It may even list them later, as a call that was given up can still reach it. So what is
    discarded is written down on the shelf first, as never put: who finds it listed and not there has the catalog look.

    Parameters
    ----------
    epoch
        Of the shelf, before the catalog was asked.

    Raises
    ------
    BaseException
        `error`, or what it means for the caller, unless all of the drafts were sealed by others. An interrupt is
        always raised.
    """
    refused = isinstance(error, OSError) and not isinstance(error, OutliveError)  # by the file system
    settling, forgotten = Settling(session, drafts, epoch, whole=not refused), Forgotten()
    remains = Remains(forgotten, settling.go_on)  # should another interrupt come now, the next put goes on with it
    failed, stored = settling.settle()
    remains.settled()
    if not failed:
        if isinstance(error, Exception):
            return
        raise error
    if not refused or not isinstance(error, OSError):
        settling.tell()
        raise error
    raise _refused(session, failed, stored, error) from error


class Forgotten:
    """Is forgotten by whoever is interrupted."""


class Settling:
    """What is discarded of some drafts, and what others had sealed.

    Parameters
    ----------
    whole
        If others have sealed one of them, the catalog had listed all, so the rest is sealed too.
    """

    def __init__(self, session: Session, drafts: list[Draft], epoch: int, *, whole: bool) -> None:
        self._session, self._drafts, self._epoch, self._whole = session, list(drafts), epoch, whole
        self._failed: list[Draft] | None = None  # to be discarded: known once that is decided

    def settle(self) -> tuple[list[Draft], list[Draft]]:
        """Those drafts that are discarded now, and those that others had sealed, in one step that nobody sees half of.

        It may be done again, by whoever was interrupted.
        """
        shelf = self._session.shelf
        with shelf.ledger.locked():  # nobody seals any now
            if self._failed is None:
                self._failed = self._decide()
            with contextlib.suppress(OSError):  # a full disk: then a reader takes it for lost, and `check` mends it
                if self._failed:
                    shelf.ended.add([draft.info for draft in self._failed], Why.NOT_PUT, time.time_ns())
            for draft in self._failed:
                draft.discard()
        return self._failed, [draft for draft in self._drafts if draft not in self._failed]

    def _decide(self) -> list[Draft]:
        shelf = self._session.shelf
        left = [draft for draft in self._drafts if draft.exists()]
        if self._whole and len(left) < len(self._drafts) and shelf.ledger.epoch == self._epoch:
            with contextlib.suppress(OSError):
                shelf.seal_many(left)
                left = []
        return left

    def tell(self) -> None:
        """Have the catalog forget them. Nobody waits for it: it may be what does not answer."""
        with contextlib.suppress(Exception):
            self._session.catalog.take_off.remote([draft.info.id for draft in self._failed or ()])

    def go_on(self) -> None:
        """All of it."""
        self.settle()
        self.tell()


def _refused(session: Session, failed: list[Draft], stored: list[Draft], error: OSError) -> Exception:
    """What the caller is told when the file system refuses to seal an array that is listed already."""
    kind: type[StoreFull | StoreUnavailable] = StoreFull if error.errno in NO_ROOM else StoreUnavailable
    if kind is StoreFull:
        said = str(full(session.shelf, failed[0].info.size, f"the file system: {error.strerror}"))
    else:
        said = f"the file system refused to seal {_keys(failed)}: {error}"
    if stored:
        said += f". Of this put some arrays were already stored, and cannot be taken back: {_keys(stored)}"
    try:
        session.ask(session.catalog.take_off.remote([draft.info.id for draft in failed]))
    except (RayError, StoreUnavailable) as unheard:
        said += f". The catalog did not answer, and will find out when somebody reads {_keys(failed)} ({unheard})"
    return kind(said)


def _keys(drafts: list[Draft]) -> str:
    return ", ".join(repr(draft.info.key) for draft in drafts[:5]) + (", ..." if len(drafts) > 5 else "")
