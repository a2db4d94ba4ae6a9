"""Loading: the files of an archive become a store's arrays, each whole and verified, or not at all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from outlive.archive.files import bad, check_trust, fill
from outlive.archive.manifest import ARROW, NPY, Entry
from outlive.arrays import segment
from outlive.arrays.draft import Draft
from outlive.arrays.info import new_version
from outlive.arrays.packed import DTYPE as PACKED
from outlive.arrays.writer import mapped
from outlive.errors import ArchiveNotFound, CorruptArchive, MissingPackage, OutliveError, PickleRefused
from outlive.extras import named
from outlive.store import reading
from outlive.store.commit import KeyTaken, commit
from outlive.store.options import put_options
from outlive.store.replicas import replicate
from outlive.store.scopes import Scope
from outlive.store.spreading import Work, spread
from outlive.store.values import stored_form
from outlive.values.structure import mark_foreign

if TYPE_CHECKING:
    from outlive.archive.place import Place
    from outlive.progress import Bar
    from outlive.store.session import Session

_TRIES = 5  # for files that a later save has deleted meanwhile
_FEW = 64 << 20  # bytes up to which this process loads all
_SMALL = 256 << 10  # bytes of a file up to which its array is stored with others: a call of the catalog takes longer


class Loaded(NamedTuple):
    """The result of `Store.load`."""

    url: str
    arrays: int
    """How many were loaded."""
    nbytes: int
    """Bytes of their files."""
    kept: int
    """How many were not, as the store has arrays with their keys already."""


class Ends(NamedTuple):
    """With what loaded arrays end, and how they are kept: as for `Store.put`."""

    store: str
    scope: Scope | None
    lifetime: str
    ttl: float | str | None
    pin: bool
    replicas: int


class _Wanted(NamedTuple):
    entry: Entry
    only_new: bool


class _Done(NamedTuple):
    entry: Entry
    kept: bool = False
    missing: bool = False
    error: OutliveError | None = None


class _Pending(NamedTuple):
    """A small array, verified, which is stored with the others of its call."""

    wanted: _Wanted
    draft: Draft


def load(
    session: Session,
    ends: Ends,
    place: Place,
    prefix: str,
    keys: Iterable[str] | None,
    bar: Bar,
    *,
    pickle: bool,
    replace: bool,
) -> Loaded:
    """See `Store.load`."""
    put_options(session, *ends[1:])  # an error in them is raised first
    wanted = None if keys is None else dict.fromkeys(keys)
    there = {one.info.key for one in reading.entries(session, ends.store, prefix)}
    lost = {one.info.key for one in reading.lost_arrays(session, ends.store)} - there
    done: dict[str, _Done] = {}
    kept, again = 0, False
    for _ in range(_TRIES):
        entries = place.existing().entries
        if wanted is not None and (missing := [key for key in wanted if key not in entries]):
            raise ArchiveNotFound(f"{place} has no {', '.join(map(repr, missing[:5]))}{', ...' * (len(missing) > 5)}")
        chosen = [one for key, one in entries.items() if key.startswith(prefix) and (wanted is None or key in wanted)]
        new = [one for one in chosen if replace or one.key not in there]
        kept = len(chosen) - len(new)
        items = [
            _Wanted(one, not replace and one.key not in lost)
            for one in new
            if one.key not in done or _worth_another(done[one.key], again=again)
        ]
        if not items:
            break
        nodes = [session.node] if again else _nodes(session, items)
        for result in spread(
            session, Work(receive, place, "", (ends, pickle), store_pending), _shared(nodes, items), bar
        ):
            done[result.entry.key] = result
        again = again or any(one.error is not None for one in done.values())
    failed = [one.error for one in done.values() if one.error is not None]
    failed += [bad(place, one.entry, "the file is not there") for one in done.values() if one.missing]
    if failed:
        raise _all(failed)
    loaded = [one.entry for one in done.values() if not one.kept]
    return Loaded(place.url, len(loaded), sum(one.bytes for one in loaded), kept + len(done) - len(loaded))


def _worth_another(one: _Done, *, again: bool) -> bool:
    """Whether to try once more: a later save has deleted the file, or another node has another folder there."""
    return one.missing or (isinstance(one.error, CorruptArchive | MissingPackage) and not again)


def _all(failed: list[OutliveError]) -> OutliveError:
    first, rest = failed[0], len(failed) - 1
    return type(first)(f"{first}. The same goes for {rest} others" if rest else str(first))


def _nodes(session: Session, items: list[_Wanted]) -> list[str]:
    """The nodes that load: this one alone if there is little to load."""
    if sum(one.entry.bytes for one in items) <= _FEW:
        return [session.node]
    living = [one.id for one in session.peers.nodes() if one.alive and one.draining_until is None]
    return list(dict.fromkeys([session.node, *living]))


def _shared(nodes: list[str], items: list[_Wanted]) -> dict[str, list[tuple[int, Any]]]:
    """Which node loads what: each about as many bytes, so that no shelf gets more than its share."""
    loads, shared = dict.fromkeys(nodes, 0), defaultdict(list)
    for one in sorted(items, key=lambda one: -one.entry.bytes):
        node = min(nodes, key=loads.__getitem__)
        loads[node] += one.entry.bytes
        shared[node].append((one.entry.bytes, one))
    return shared


def receive(session: Session, place: Place, wanted: _Wanted, ends: Ends, pickle: bool) -> _Done | _Pending:
    """Load one array, or say why not. A small one is left to `store_pending`."""
    entry = wanted.entry
    try:
        draft = _draft(session, place, entry, ends, pickle=pickle)
    except FileNotFoundError:
        return _Done(entry, missing=True)
    except (CorruptArchive, PickleRefused, MissingPackage) as error:
        return _Done(entry, error=error)
    pending = _Pending(wanted, draft)
    return pending if entry.bytes <= _SMALL else _store_one(session, pending)


def store_pending(
    session: Session, place: Place, received: list[_Done | _Pending], ends: Ends, pickle: bool
) -> list[_Done]:
    """Store what is pending, by a call of the catalog or two. If the store has some of the keys by now: the others."""
    done = [one for one in received if isinstance(one, _Done)]
    pending = [one for one in received if isinstance(one, _Pending)]
    try:
        for only_new in (True, False):
            some = [one for one in pending if one.wanted.only_new == only_new]
            if not some or _store(session, some):
                done += [_Done(one.wanted.entry) for one in some]
            elif len(some) == 1:
                done.append(_Done(some[0].wanted.entry, kept=True))
            else:  # none was stored, and the drafts are gone
                for one in some:
                    found = receive(session, place, one.wanted, ends, pickle)
                    done.append(found if isinstance(found, _Done) else _store_one(session, found))
    finally:
        for one in pending:  # those that were not reached
            if not one.draft.settled:
                one.draft.discard()
    return done


def _store_one(session: Session, pending: _Pending) -> _Done:
    return _Done(pending.wanted.entry, kept=not _store(session, [pending]))


def _store(session: Session, pending: list[_Pending]) -> bool:
    """Store these: all, or none if some are to be new and the store has their keys. Whether they are stored."""
    drafts = [one.draft for one in pending]
    try:
        commit(session, drafts, only_new=pending[0].wanted.only_new)
    except KeyTaken:
        return False
    replicate(session, [draft.info for draft in drafts])
    return True


def _draft(session: Session, place: Place, entry: Entry, ends: Ends, *, pickle: bool) -> Draft:
    """A draft with what a file has, verified."""
    options = put_options(session, *ends[1:])
    if entry.codec == ARROW:
        table = _table(place, entry)
        return session.writer.draft_of(
            stored_form(table, pickle=False), store=ends.store, key=entry.key, options=options
        )
    is_array = entry.codec == NPY
    info = segment.describe(
        entry.dtype if is_array else PACKED,
        entry.shape if is_array else (entry.bytes,),
        entry.nbytes if is_array else entry.bytes,
        fortran=entry.order == "F" and is_array,
        store=ends.store,
        key=entry.key,
        version=new_version(),
        options=options,
        codec="" if is_array else entry.kind,
    )
    made: list[Draft] = []

    def target() -> np.ndarray[Any, Any]:
        made.append(Draft.make(session.shelf, info, options.mode))
        return mapped(made[0])

    try:
        array = fill(place, entry, target)
        if not is_array:
            check_trust(place, entry, array, pickle=pickle)
            if not pickle:
                mark_foreign(array)
        made[0].detach()
    except BaseException:
        for draft in made:
            draft.discard()
        raise
    return made[0]


def _table(place: Place, entry: Entry) -> Any:
    try:
        from outlive.values.of_arrow import table_of
    except ModuleNotFoundError as error:
        raise named(error) from None
    data = fill(place, entry, lambda: np.empty(entry.bytes, np.uint8))
    try:
        return table_of(data)
    except ValueError as error:
        raise bad(place, entry, str(error)) from None
