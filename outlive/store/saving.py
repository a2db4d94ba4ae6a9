"""Saving: a store's arrays become the files of an archive, and its manifest is replaced at the end."""

from __future__ import annotations

import contextlib
import warnings
from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from outlive.archive.files import File
from outlive.archive.manifest import Entry, Manifest
from outlive.archive.place import Place, marked
from outlive.arrays.info import ArrayInfo
from outlive.catalog.wire import Found
from outlive.errors import ArchiveUnavailable, ArrayLost, ArrayNotFound, CorruptArray, OutliveError, UnsupportedArray
from outlive.store.gone import not_found
from outlive.store.reading import MOST_LOOKS, answer, by_handle, changes_too_often, entries, lost_arrays
from outlive.store.spreading import Work, spread

if TYPE_CHECKING:
    from outlive.progress import Bar
    from outlive.store.session import Session

_TRIES = 20  # to replace the manifest, if others save into the same archive


class NotSaved(UserWarning):
    """Lost arrays were not saved. The archive keeps what it has of them."""


class Saved(NamedTuple):
    """The result of `Store.save`."""

    url: str
    arrays: int
    """How many were chosen. All are in the archive now."""
    nbytes: int
    """Bytes of their data."""
    sent: int
    """How many files were written. The archive had the others already."""
    sent_bytes: int
    dropped: list[str]
    """The keys that the archive has no more, as the store has not."""
    lost: list[str]
    """The keys whose arrays are lost. The archive keeps what it has of them."""


class _Wanted(NamedTuple):
    """An array that is to be in the archive."""

    info: ArrayInfo
    hint: str | None
    known: Entry | None  # what the manifest has of its key, if that file is there
    there: dict[str, int]  # files that a save which was cut off has left of it, and their bytes


class _Done(NamedTuple):
    info: ArrayInfo
    entry: Entry | None  # None: the array is gone
    sent: bool
    lost: bool = False
    error: OutliveError | None = None  # why it cannot be saved


def save(
    session: Session, store: str, place: Place, prefix: str, keys: Iterable[str] | None, bar: Bar, *, delete: bool
) -> Saved:
    """See `Store.save`."""
    before = place.manifest()
    seen = {} if before is None else before[0].entries
    chosen = {one.info.key or "": one for one in entries(session, store, prefix)}
    lost = {one.info.key or "" for one in lost_arrays(session, store)} - set(chosen)
    lost = {key for key in lost if key.startswith(prefix)} - {""}
    if keys is not None:
        wanted = dict.fromkeys(keys)
        missing = [key for key in wanted if key not in chosen and key not in lost]
        if missing:
            raise not_found(session, store, missing)
        chosen, lost = {key: chosen[key] for key in wanted if key in chosen}, lost & set(wanted)
    sizes = {} if before is None and not chosen else place.sizes()
    known = {key: one for key, one in seen.items() if key in chosen and _is_there(place, one, sizes)}
    new = {key: one for key, one in chosen.items() if key not in known or known[key].id != one.info.id}
    done = _send(session, store, place, new, known, sizes, bar) if new or before is None else {}
    saved = {key: one.entry for key, one in done.items() if one.entry is not None}
    lost |= {key for key, one in done.items() if one.lost}
    gone = {key for key, one in done.items() if _is_gone(one)}
    dropped: list[str] = []
    if delete:
        asked = seen if keys is None else seen.keys() & set(keys)
        kept = (chosen.keys() - gone) | lost
        dropped = sorted(key for key in asked if key.startswith(prefix) and key not in kept)
    if saved or dropped or before is None:
        old = {one.entry.file for one in done.values() if one.entry is not None and not one.sent}
        old &= {entry.file for entry in seen.values()}
        _replace(place, store, saved, dropped, before or (Manifest(store, {}), None), old)
    there = {key: saved.get(key) or seen[key] for key in chosen if key in saved or (key in seen and key not in new)}
    sent = [one.entry.bytes for one in done.values() if one.entry is not None and one.sent]
    size = sum(chosen[key].info.nbytes for key in there)
    if refused := {key: one.error for key, one in done.items() if one.error is not None}:
        raise _all(place, refused)
    return Saved(place.url, len(there), size, len(sent), sum(sent), dropped, sorted(lost))


def _is_gone(one: _Done) -> bool:
    """Whether the array was gone when it was to be read."""
    return one.entry is None and not one.lost and one.error is None


def _all(place: Place, refused: dict[str, OutliveError]) -> OutliveError:
    """The error for arrays that cannot be saved. The others are."""
    key, first = next(iter(refused.items()))
    others = f"; nor were others ({len(refused) - 1})" * (len(refused) > 1)
    return type(first)(f"{key!r} was not saved to {place}, which keeps what it has of it{others}: {first}")


def _is_there(place: Place, entry: Entry, sizes: dict[str, int]) -> bool:
    """Whether a file that the manifest names is there: somebody may have removed it, or copied a part."""
    return sizes.get(entry.file) == entry.bytes or place.has(entry.file, entry.bytes)


def _send(
    session: Session,
    store: str,
    place: Place,
    new: dict[str, Found],
    known: dict[str, Entry],
    sizes: dict[str, int],
    bar: Bar,
) -> dict[str, _Done]:
    """Write the files of these arrays; those that were put again meanwhile too.

    The catalog holds an array that is looked at again, for up to a minute: its key may be put all the time. One that
    was put again at each look is not gone, and must not be taken for that.
    """
    done: dict[str, _Done] = {}
    with marked(place) as mark, contextlib.ExitStack() as held:
        left = _left_over(sizes, new)
        for _ in range(MOST_LOOKS):
            items: dict[str, list[tuple[int, Any]]] = defaultdict(list)
            for key, one in new.items():
                node = session.node if session.node in one.nodes or not one.nodes else one.nodes[0]
                wanted = _Wanted(one.info, node, known.get(key), left.get(one.info.id, {}))
                items[node].append((one.info.nbytes, wanted))
            for result in spread(session, Work(send, place, mark), items, bar):
                done[result.info.key] = result
            gone = [key for key in new if _is_gone(done[key])]
            found = held.enter_context(answer(session, store, gone, held=True)) if gone else []
            new = {}
            for key, now in zip(gone, found, strict=True):
                if now is not None and now.lost_at:  # it was put again, and then lost with its node
                    done[key] = done[key]._replace(lost=True)
                elif now is not None and not now.doomed:
                    new[key] = now
            if not new:
                return done
    late = changes_too_often(list(new))  # told at the end: the others are saved
    return done | {key: done[key]._replace(error=late) for key in new}


def _left_over(sizes: dict[str, int], new: dict[str, Found]) -> dict[str, dict[str, int]]:
    """The files that are there of these arrays, and their bytes, by the array's id."""
    ids = {one.info.id for one in new.values()}
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for name, size in sizes.items() if ids else ():
        array_id = name.rsplit(".", 2)[-2] if name.count(".") >= 2 else ""
        if array_id in ids:
            found[array_id][name] = size
    return found


def send(session: Session, place: Place, wanted: _Wanted) -> _Done:
    """Have the archive have an array: write its file, if it has none with the same bytes."""
    info = wanted.info
    try:
        file = File.of(info, by_handle(session, info, wanted.hint))
    except ArrayNotFound:
        return _Done(info, None, sent=False)
    except ArrayLost:
        return _Done(info, None, sent=False, lost=True)
    except (CorruptArray, UnsupportedArray) as error:
        return _Done(info, None, sent=False, error=error)
    entry, known = file.entry, wanted.known
    if known is not None and file.is_as(known) and file.sha256() == known.sha256:
        return _Done(info, known._replace(id=entry.id, version=entry.version), sent=False)
    if wanted.there.get(entry.file) == entry.bytes:
        return _Done(info, entry._replace(sha256=file.sha256()), sent=False)
    return _Done(info, entry._replace(sha256=file.write(place)), sent=True)


def _replace(
    place: Place, store: str, saved: dict[str, Entry], dropped: list[str], seen: tuple[Manifest, Any], old: set[str]
) -> None:
    """Replace the manifest, and then delete the files that the one before had superseded.

    Parameters
    ----------
    seen
        The manifest from which the changes were made, as `Place.manifest` gave it.
    old
        Files among `saved` that the manifest had named, and that were not written again.
    """
    for _ in range(_TRIES):
        found = place.manifest()
        there, before = (Manifest(store, {}), None) if found is None else found
        after = there.changed(saved, dropped, seen[0].entries, store)
        gone = old - {entry.file for entry in there.entries.values()} - there.superseded
        if before != seen[1]:  # another save of the same array may have named its file, and a later one deleted it
            sizes = place.sizes()
            named = [entry for key, entry in saved.items() if after.entries.get(key) == entry]
            gone |= {entry.file for entry in named if not _is_there(place, entry, sizes)}
        if gone:
            raise ArchiveUnavailable(
                f"{place}: others saved there meanwhile, and {min(gone)!r:.200} is gone; nothing was changed. "
                "Save again"
            )
        if place.replace(after.to_json(), before):
            files = {entry.file for entry in after.entries.values()}
            place.delete(there.superseded - files - after.superseded)
            return
    raise ArchiveUnavailable(f"{place}: others replaced the manifest {_TRIES} times just then; try again")


def warn_of_lost(saved: Saved) -> None:
    """Warn of lost arrays, if there are some: in the process that called, which may be a Ray Client."""
    if not saved.lost:
        return
    some = ", ".join(map(repr, saved.lost[:5])) + ", ..." * (len(saved.lost) > 5)
    warnings.warn(
        f"{len(saved.lost)} arrays whose nodes are dead were not saved: {some}. {saved.url} keeps what it has of them",
        NotSaved,
        stacklevel=3,
    )
