"""Reading: by the name on this shelf, or else by asking the catalog; from another node if necessary.

asked for                    where it is                      result
a key ---> find, or hold --> this shelf                   --> Here: a view
^                         a draft here, sealed by us   --> the same
|                         another node, copied here    --> the same
|                         another node, and no copy    --> Here: bytes of our own
|                         may be here: its rows
|                         nowhere                      --> Gone --+
+--- Moved: the key stands for another array by now <-------------+--> none, or ArrayLost
a handle ------------------> the same                     --> Here, or ArrayNotFound, ArrayLost
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from outlive import progress
from outlive.arrays.info import ArrayInfo
from outlive.arrays.tally import MISSED
from outlive.catalog.wire import Found, Located, unpack_found, unpack_held
from outlive.cluster.own_copies import SMALL
from outlive.errors import StoreFull, StoreUnavailable
from outlive.store.elsewhere import fetch, locate, rows
from outlive.store.gone import lost, missing, segment_gone

if TYPE_CHECKING:
    import numpy as np

    from outlive.store.session import Session

    Array = np.ndarray[Any, Any]

_TOGETHER, _TOGETHER_BYTES = 256, 16 << 20  # arrays of other nodes that are copied together, and their bytes
MOST_LOOKS = 20  # attempts at keys whose arrays are replaced while they are read


class Here(NamedTuple):
    """The value that was asked for."""

    value: Any


class Elsewhere(NamedTuple):
    """Other nodes have the array, and no copy can be made here: there is no room, or it is replaced or deleted."""


class Gone(NamedTuple):
    """No node has the array."""

    located: Located = Located([])
    """The catalog's answer, if it was asked: why no node has it."""


class Moved(NamedTuple):
    """The key stands for another array by now, or this array has moved: ask again."""


# --- by key


def read(session: Session, store: str, key: str) -> Array | None:
    """The array of a key, None if there is none.

    Raises
    ------
    ArrayLost, CorruptArray, TooManyViews
    """
    array = session.reader.named(store, key)
    return array if array is not None else _settle(session, store, [key], _view)[0]


def read_many(session: Session, store: str, keys: list[str]) -> list[Array | None]:
    """The arrays of many keys, None for keys that have none. It sees all arrays of one `put_many`, or none."""
    named = _named(session, store, keys)
    if named is not None:
        return named
    with progress.of("reading", unit="arrays", total=len(keys)) as bar:
        return _settle(session, store, keys, _view, held=True, bar=bar)


def info(session: Session, store: str, key: str) -> Found | None:
    """The info of a key's array, without mapping its data; None if there is none.

    The array is sealed by then: no later read returns the array that it replaced.

    Raises
    ------
    ArrayLost
    """
    named = session.shelf.named_info(store, key)
    if named is not None:
        return Found(named, [session.node])
    found: Found | None = _settle(session, store, [key], _sealed)[0]
    return found


def find(session: Session, store: str, keys: list[str]) -> list[Found | None]:
    """The catalog's answer for these keys."""
    return unpack_found(session.ask_catalog("find", store, keys))


def entries(session: Session, store: str, prefix: str = "") -> list[Found]:
    """All arrays with a key that begins so, by key."""
    return [one for one in unpack_found(session.ask_catalog("entries", store, prefix)) if one is not None]


def lost_arrays(session: Session, store: str) -> list[Found]:
    """The arrays whose last copy went with a node, the latest first."""
    return [one for one in unpack_found(session.ask_catalog("lost", store)) if one is not None]


def _settle(
    session: Session,
    store: str,
    keys: list[str],
    look: Callable[[Session, Found], Here | Gone],
    *,
    held: bool = False,
    bar: progress.Bar | None = None,
) -> list[Any]:
    """Call `look` on the arrays that the keys stand for at one moment; None for keys that have none.

    If one key has moved meanwhile, all are looked at again. From then on the catalog holds the arrays that it
    names until we have them.
    """
    for _ in range(MOST_LOOKS):
        with answer(session, store, keys, held=held) as found:
            values: list[Any] = []
            copied = 0
            for number, one in enumerate(found):
                if number == copied:
                    copied = _copy_together(session, found, number)
                outcome: Here | Gone | Moved = Gone() if one is None else look(session, one)
                if one is not None and isinstance(outcome, Gone):
                    outcome = _why(session, one)
                if isinstance(outcome, Moved):
                    break
                values.append(outcome.value if isinstance(outcome, Here) else None)
                if bar is not None:
                    bar.update(len(values), len(keys))
            else:
                return values
        held = True
    raise changes_too_often(keys)


def _copy_together(session: Session, found: list[Found | None], begin: int) -> int:
    """Copy the next small arrays of other nodes here, those of each node together; where the rest of `found` begins.

    They are so few that all of them find room, as a rule. Those that are not copied here are looked for one by one.
    """
    end, size, wanted = begin, 0, defaultdict[tuple[str, int], list[ArrayInfo]](list)
    while end < len(found) and end < begin + _TOGETHER and size < _TOGETHER_BYTES:
        one, end = found[end], end + 1
        if one is None or one.info.size > SMALL or one.doomed or one.lost_at or not one.nodes:
            continue
        if session.node not in one.nodes and not session.shelf.has(one.info.id):
            wanted[one.nodes[0], one.epoch].append(one.info)
            size += one.info.size
    if session.own_copies is not None:
        for (node, epoch), infos in wanted.items():
            session.shelf.tally.add(MISSED, session.own_copies.make_many(infos, node, epoch))
    return end


def changes_too_often(keys: list[str]) -> StoreUnavailable:
    """The error for keys that were put again at each of `MOST_LOOKS` looks."""
    return StoreUnavailable(f"{', '.join(map(repr, keys[:5]))} changed {MOST_LOOKS} times while being read; try again")


@contextlib.contextmanager
def answer(session: Session, store: str, keys: list[str], *, held: bool) -> Iterator[list[Found | None]]:
    """The catalog's answer for keys. If they are `held`, none of the arrays goes before the block ends."""
    if not held:
        yield find(session, store, keys)
        return
    number, found = unpack_held(session.ask_catalog("hold", store, keys))
    try:
        yield found
    finally:
        session.tell_catalog("release", number)


def _why(session: Session, before: Found) -> Gone | Moved:
    """Ask again for a key whose array was not there: is it deleted, or has it moved?

    Raises
    ------
    ArrayLost
        The key still stands for the array that is not there.
    """
    [found] = find(session, before.info.store, [before.info.key or ""])
    if found is None or (found.doomed and before.doomed and found.info.id == before.info.id):
        return Gone()
    stays = found == before and not session.shelf.has(found.info.id)
    if stays and not session.ask_catalog("verify", found.info.id):
        located = locate(session, found.info, None)  # this settles its home, if that has died meanwhile
        if located.lost_on is not None:
            raise lost(found.info, located.lost_on, located.lost_at)
        raise segment_gone(session, found)
    return Moved()


def _named(session: Session, store: str, keys: list[str]) -> list[Array | None] | None:
    """The arrays that the names on this shelf lead to, if all names led there at one moment.

    Another node's batch takes away, in one step, all names of the arrays that it replaces, before its own are current.
    """
    shelf = session.shelf
    begun, before = shelf.ledger.batches_begun, [shelf.names.generation(store, key) for key in keys]
    arrays = [session.reader.named(store, key) for key in keys]
    missing = any(array is None for array in arrays)
    changed = [shelf.names.generation(store, key) for key in keys] != before or any(one % 2 for one in before)
    if missing or changed or shelf.ledger.batches or shelf.ledger.batches_begun != begun:
        return None
    return arrays


# --- an array that the catalog lists, or a handle names


def by_handle(session: Session, info: ArrayInfo, hint: str | None) -> Array:
    """The array that a handle names, wherever it is.

    Raises
    ------
    ArrayNotFound, ArrayLost, CorruptArray, TooManyViews
    StoreUnavailable
        It is in the local store of another machine; or see `Session.ask_catalog`.
    """
    outcome = _reach(session, Found(info, [] if hint is None else [hint]), listed=False)
    if isinstance(outcome, Gone):
        raise missing(session, info, outcome.located, hint)
    array: Array = outcome.value
    return array


def _view(session: Session, found: Found) -> Here | Gone:
    """The array that a key stands for. Its name on this shelf leads to it from now on.

    Raises
    ------
    ArrayLost
    """
    if found.lost_at:
        raise lost(found.info, found.nodes[0], found.lost_at)
    outcome = _reach(session, found, listed=True)
    if isinstance(outcome, Here) and not found.doomed:
        if not _is_secure(session, found):
            return Gone()
        session.shelf.name(found.info)
    return outcome


def _is_secure(session: Session, found: Found) -> bool:
    """Have the replicas of a found array made before it is shown; whether it may be shown then.

    Without them it could be lost with its node, and the array before it would come back. False if its node died, or its
    key was put again, before the replicas were made. An array that is being deleted gets none, and is shown.
    """
    if not found.alone or found.doomed:
        return True
    session.ask_catalog("secure", [found.info.id])
    now = _standing(session, found.info)
    return now is not None and not now.lost_at and not now.alone


def _sealed(session: Session, found: Found) -> Here | Gone:
    """The array that a key stands for in the catalog. If its writer has not sealed it, it is sealed here.

    Raises
    ------
    ArrayLost
    """
    if found.lost_at:
        raise lost(found.info, found.nodes[0], found.lost_at)
    if session.node in found.nodes:
        sealed = session.shelf.has(found.info.id) or session.shelf.finish(found.info.id, found.epoch)
    else:  # only a key whose older array may still be read needs this
        sealed = not found.replacing or (
            session.ask_catalog("verify", found.info.id) and _standing(session, found.info) is not None
        )
    return Here(found) if sealed and _is_secure(session, found) else Gone()


def _standing(session: Session, info: ArrayInfo) -> Found | None:
    """The catalog's entry of an array now; None if its key stands for another array.

    If the array's put came to nothing, its key stands for the array before again.
    """
    [found] = find(session, info.store, [info.key or ""])
    return found if found is not None and found.info.id == info.id else None


def _reach(session: Session, found: Found, *, listed: bool) -> Here | Gone:
    """An array, wherever it is. `listed`: the catalog said where. Otherwise a handle did, which may be out of date.

    An array that is being deleted can be read everywhere until the last node has dropped its file. So once one read has
    not found it, no later read finds it, even if a new catalog starts that does not know of the deletion. A view of it
    in this process is not enough.
    """
    for _ in range(2):
        if not found.doomed or session.shelf.has(found.info.id):
            array = session.reader.find(found.info)
            if array is not None:
                return Here(array)
        outcome = _bring(session, found, listed=listed)
        if isinstance(outcome, Gone):
            return outcome
        if isinstance(outcome, Elsewhere):
            break
    return _rows(session, found)  # no copy can be made here, or it was evicted at once


def _bring(session: Session, found: Found, *, listed: bool) -> Elsewhere | Gone | None:
    """Bring an array to this node's shelf: None if it is there now.

    It may be here as a draft that the catalog lists. Its writer has yet to seal it, or was killed.
    """
    info, hint = found.info, found.nodes[0] if found.nodes else None
    if listed and session.node in found.nodes and session.shelf.finish(info.id, found.epoch):
        return None
    session.shelf.tally.add(MISSED)
    if listed and found.nodes == [session.node]:
        return Gone()
    if found.doomed:
        return Elsewhere()
    try:
        located = fetch(session, info, hint, found.epoch)
    except StoreFull:
        return Elsewhere()
    if located is None:
        return None
    return Elsewhere() if located.nodes else Gone(located)


def _rows(session: Session, found: Found) -> Here | Gone:
    """The array in this process's own memory, where no copy can be made on this node's shelf."""
    info, hint = found.info, found.nodes[0] if found.nodes else None
    data = rows(session, info, hint, 0, info.nbytes, found.epoch)
    return Here(as_array(info, data)) if isinstance(data, bytearray) else Gone(data)


def as_array(info: ArrayInfo, data: bytearray) -> Array:
    """These bytes as a read-only array."""
    import numpy as np

    from outlive.arrays.dtypes import decode_dtype
    from outlive.arrays.packed import packed_bytes

    array: Array = np.ndarray(info.shape, decode_dtype(info.dtype), data, order="F" if info.fortran else "C")
    array.flags.writeable = False
    return packed_bytes(array, info) if info.codec else array
