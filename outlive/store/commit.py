"""How a put with a key ends: the catalog lists complete drafts, then their writer seals them; or takes them back."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from outlive.arrays.batches import Batch
from outlive.arrays.draft import Draft
from outlive.arrays.ended import Why
from outlive.arrays.full import explain, full
from outlive.arrays.info import new_version
from outlive.arrays.limits import NO_ROOM
from outlive.arrays.remains import Remains
from outlive.arrays.shelf import StaleEpoch
from outlive.catalog.wire import Bound, pack, pack_request, unpack_bound
from outlive.errors import OutliveError, StoreFull, StoreUnavailable
from outlive.store.ray_in_use import unanswered

if TYPE_CHECKING:
    from outlive.store.session import Session

_MOST_CATALOGS = 20  # catalogs that may be replaced while one array is put
_UNLISTED = -1  # no shelf has this epoch; one that was never listed has 0, as has the answer that nothing is listed


class KeyTaken(Exception):
    """A key that was to be new stands for another array."""


def commit(session: Session, drafts: list[Draft], *, only_new: bool = False) -> None:
    """Have the catalog list drafts under their keys, and seal them: all, or none.

    No draft is left behind, whether this succeeds or fails: see `_take_back`.

    Parameters
    ----------
    only_new
        Replace no array.

    Raises
    ------
    StoreUnavailable, StoreFull
    KeyTaken
        With `only_new`: a key has an array already, which may be lost.
    """
    batch = Batch(session.shelf) if len(drafts) > 1 else None
    epochs = [session.shelf.ledger.epoch]
    try:
        if batch is not None:
            batch.begin()
        _commit(session, drafts, epochs, only_new=only_new)
    except BaseException as error:  # an interrupt too
        failure = _take_back(session, drafts, error, epochs[-1])
        if failure is error:
            raise
        if failure is not None:
            raise failure from error
    finally:
        failure = None  # an error whose own frame has it would keep all its frames until Python collects
        if batch is not None:
            batch.end()


def seal(session: Session, drafts: list[Draft]) -> None:
    """Seal drafts without keys: all, or none if this fails.

    Raises
    ------
    StoreFull, StoreUnavailable
    """
    shelf = session.shelf
    try:
        shelf.seal_many(drafts)
    except BaseException as error:
        for draft in drafts:
            if not draft.ours:  # a child that was forked meanwhile ends here, and its parent goes on
                raise
            if draft.settled:
                shelf.delete(draft.info.id)
            else:
                draft.discard()
        if isinstance(error, OSError):
            raise explain(shelf, error, drafts[0].info.size) from None
        raise


def _commit(session: Session, drafts: list[Draft], epochs: list[int], *, only_new: bool) -> None:
    """Have the catalog list drafts, and seal them. The epochs under which they were listed are added to `epochs`."""
    for draft in drafts:
        draft.settled = True
    stale = 0
    for _ in range(_MOST_CATALOGS):
        bound = (_add if only_new else _bind)(session, drafts, stale)
        if bound.behind:
            _restamp(drafts, new_version(after=bound.behind))
        else:
            epochs.append(bound.epoch)
            try:
                gone = session.shelf.seal_many(drafts, bound.epoch or _UNLISTED)
            except StaleEpoch:  # a new catalog has started: it has to list those that are not sealed yet
                stale, is_over = bound.epoch, False
                # Others may have replaced some before they were sealed: nobody has them, and they are listed now.
                gone = [draft for draft in drafts if not (draft.exists() or session.shelf.has(draft.info.id))]
            else:
                is_over = True
            if gone:
                session.ask_catalog("unbind", pack(draft.info for draft in gone), session.node)
            if is_over:
                return
        drafts = [draft for draft in drafts if draft.exists()]
        if not drafts:
            return
    raise StoreUnavailable(
        f"the catalog was replaced {_MOST_CATALOGS} times while an array was put; see `ray list actors`"
    )


def _restamp(drafts: list[Draft], version: int) -> None:
    for draft in drafts:
        # one may be gone: an earlier catalog listed it, others sealed it, and it was replaced since
        with contextlib.suppress(FileNotFoundError):
            draft.restamp(version)


def _bind(session: Session, drafts: list[Draft], stale: int) -> Bound:
    request = pack_request([draft.info for draft in drafts], session.node, stale)
    bound = unpack_bound(session.ask_catalog("bind", request))
    return unpack_bound(session.ask_catalog("replace", request)) if bound.elsewhere else bound


def _add(session: Session, drafts: list[Draft], stale: int) -> Bound:
    answer = session.ask_catalog("add", pack_request([draft.info for draft in drafts], session.node, stale))
    if not answer:
        raise KeyTaken
    return unpack_bound(answer)


# --- a put that fails, or is interrupted, when the catalog may have listed its drafts


def _take_back(session: Session, drafts: list[Draft], error: BaseException, epoch: int) -> BaseException | None:
    """Discard those of the drafts that `error` kept from being sealed, and have the catalog forget them.

    Returns what is to be raised: `error`, or what it means for the caller. None if all of the drafts were sealed by
    others; but an interrupt is always raised.

    Their keys stand for the earlier arrays again, which are dropped only once a new array is sealed. Readers may have
    sealed some of the drafts meanwhile. If they sealed all, the put has succeeded.

    The catalog need not answer. It may even list the drafts later, because a call that was given up can still reach it.
    So the shelf first notes that they were never put. A reader that finds such an array listed but missing makes the
    catalog look there.

    Parameters
    ----------
    epoch
        The epoch under which the catalog listed them last. If it has not answered: the shelf's before it was asked.
    """
    if not all(draft.ours for draft in drafts):  # a child that was forked meanwhile ends here, and its parent goes on
        return error
    refused = isinstance(error, OSError) and not isinstance(error, OutliveError)  # the file system refused it
    settling, forgotten = _Settling(session, drafts, epoch, whole=not refused), _Forgotten()
    remains = Remains(forgotten, settling.go_on)  # if another interrupt comes now, the next put goes on from here
    failed, stored = settling.settle()
    remains.settled()
    if not failed:
        return None if isinstance(error, Exception) else error
    if not refused or not isinstance(error, OSError):
        settling.tell()
        return error
    return _refused(session, failed, stored, error)


class _Forgotten:
    """Dropped with the frame of a call that is interrupted: then its remains are cleared away."""


class _Settling:
    """The drafts of a failed put, sorted: some are discarded, and readers had sealed the others.

    Parameters
    ----------
    whole
        If one of them is sealed, by this process or another, the catalog had listed all, so the rest is sealed too.
    """

    def __init__(self, session: Session, drafts: list[Draft], epoch: int, *, whole: bool) -> None:
        self._session, self._drafts, self._epoch, self._whole = session, list(drafts), epoch, whole
        self._failed: list[Draft] | None = None  # the drafts to discard; None until that is decided

    def settle(self) -> tuple[list[Draft], list[Draft]]:
        """Discard drafts, and tell which ones and which others had been sealed. No process sees half of it.

        A call that was interrupted may be repeated.
        """
        shelf = self._session.shelf
        with shelf.ledger.locked():  # under the lock no draft is sealed
            if self._failed is None:
                self._failed = self._decide()
            # the disk may be full: then a reader takes it for lost, and `check` mends that
            with contextlib.suppress(OSError):
                if self._failed:
                    shelf.ended.add([draft.info for draft in self._failed], Why.NOT_PUT, time.time_ns())
            for draft in self._failed:
                draft.discard()
        failed = {draft.info.id for draft in self._failed}
        return self._failed, [draft for draft in self._drafts if draft.info.id not in failed]

    def _decide(self) -> list[Draft]:
        shelf = self._session.shelf
        remaining = [draft for draft in self._drafts if draft.exists()]
        if self._whole and len(remaining) < len(self._drafts) and shelf.ledger.epoch == self._epoch:
            with contextlib.suppress(OSError):
                shelf.seal_many(remaining)
                remaining = []
        return remaining

    def tell(self) -> None:
        """Have the catalog forget the discarded ones, without waiting: the catalog may not answer."""
        with contextlib.suppress(Exception):
            self._session.tell_catalog("take_off", [draft.info.id for draft in self._failed or ()])

    def go_on(self) -> None:
        """Settle, and tell the catalog."""
        self.settle()
        self.tell()


def _refused(session: Session, failed: list[Draft], stored: list[Draft], error: OSError) -> Exception:
    """The error for a listed array that the file system refuses to seal."""
    kind: type[StoreFull | StoreUnavailable] = StoreFull if error.errno in NO_ROOM else StoreUnavailable
    if kind is StoreFull:
        said = str(full(session.shelf, failed[0].info.size, f"the file system: {error.strerror}"))
    else:
        said = f"the file system refused to seal {_keys(failed)}: {error}"
    if stored:
        said += f". Some arrays of this put were already stored, and cannot be taken back: {_keys(stored)}"
    try:
        session.ask_catalog("take_off", [draft.info.id for draft in failed])
    except unanswered() as unheard:
        said += f". The catalog did not answer ({unheard}): it forgets {_keys(failed)} when somebody reads them"
    return kind(said)


def _keys(drafts: list[Draft]) -> str:
    return ", ".join(repr(draft.info.key) for draft in drafts[:5]) + (", ..." if len(drafts) > 5 else "")
