"""Reading: by the shelf's name if there is one, else by asking the catalog; from another node if need be."""

from __future__ import annotations

import contextlib
import difflib
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from outlive.arrays.info import ArrayInfo
from outlive.arrays.lifetimes import deadline_from
from outlive.arrays.marks import is_only_here
from outlive.catalog.wire import Found, Located, pack, unpack_found, unpack_held
from outlive.cluster.port import PATIENCE, Nobody
from outlive.errors import ArrayLost, ArrayNotFound, StoreFull, StoreUnavailable
from outlive.store.gone import segment_gone, why_gone

if TYPE_CHECKING:
    import numpy as np

    from outlive.store.session import Session

    Array = np.ndarray[Any, Any]

_WORTH_A_PART = 1 << 20  # bytes of an array, up to which all of it is moved
_LOOKS = 1  # at a key whose array is replaced before it is mapped, before it is held for us
_MOST_LOOKS = 20  # in all


def read(session: Session, store: str, key: str) -> Array | None:
    """The array of a key, None if there is none.

    Raises
    ------
    ArrayLost, CorruptArray, TooManyViews
    """
    array = session.shelf.named(store, key)
    return array if array is not None else _read(session, find(session, store, [key])[0])


def read_many(session: Session, store: str, keys: list[str]) -> list[Array | None]:
    """The arrays of many keys, None for those that have none. Of what `put_many` stored it sees all or nothing."""
    named = _named(session, store, keys)
    return _held(session, store, keys) if named is None else named


def _named(session: Session, store: str, keys: list[str]) -> list[Array | None] | None:
    """What the names on this shelf lead to, if there was a moment at which all of them did.

    Another node's batch takes all names of what it replaces away in one step, before any of its arrays is current.
    """
    shelf = session.shelf
    begun, standing = shelf.ledger.batches_begun, [shelf.names.standing(store, key) for key in keys]
    arrays = [shelf.named(store, key) for key in keys]
    missing = any(array is None for array in arrays)
    changed = [shelf.names.standing(store, key) for key in keys] != standing or any(one % 2 for one in standing)
    if missing or changed or shelf.ledger.batches or shelf.ledger.batches_begun != begun:
        return None
    return arrays


def info(session: Session, store: str, key: str) -> Found | None:
    """What is known of a key's array, without mapping its data; None if there is none.

    It is sealed then: nobody reads what it replaced any more.

    Raises
    ------
    ArrayLost
    """
    named = session.shelf.named_info(store, key)
    if named is not None:
        return Found(named, [session.node])
    current = find(session, store, [key])[0]
    while current is not None and not _is_sealed(session, current):
        current = _again(session, current)
    return current


def _is_sealed(session: Session, found: Found) -> bool:
    """Whether the array that the catalog lists is sealed, if need be by us.

    Raises
    ------
    ArrayLost
    """
    if found.lost_at:
        raise lost(found.info, found.nodes[0], found.lost_at)
    if session.node in found.nodes:
        return session.shelf.has(found.info.id) or session.shelf.finish(found.info.id, found.epoch)
    # Elsewhere it matters only where an older array may be read still.
    return not found.replacing or bool(session.ask_catalog("verify", found.info.id))


def find(session: Session, store: str, keys: list[str]) -> list[Found | None]:
    """What the catalog says of these keys."""
    return unpack_found(session.ask_catalog("find", store, keys))


def _read(session: Session, found: Found | None) -> Array | None:
    """The array that was found, or the one that has its key by now; None if the key is deleted meanwhile."""
    for _ in range(_LOOKS):
        if found is None:
            return None
        array = _view(session, found)
        if array is not None:
            return array
        before, found = found, _again(session, found)
    return None if found is None else _held(session, before.info.store, [before.info.key or ""])[0]


def _held(session: Session, store: str, keys: list[str]) -> list[Array | None]:
    """What the keys stand for at one moment, which is held for us until we have it."""
    for _ in range(_MOST_LOOKS):
        number, found = unpack_held(session.ask_catalog("hold", store, keys))
        try:
            arrays: list[Array | None] = []
            for one in found:
                array = None if one is None else _view(session, one, held=True)
                arrays.append(array)
                if one is not None and array is None and not _is_deleted(session, one):
                    break  # it was restored, deleted and put again, or its node is dead: all of them once more
            else:
                return arrays
        finally:
            session.tell_catalog("release", number)
    raise StoreUnavailable(f"{', '.join(map(repr, keys[:5]))} changed {_MOST_LOOKS} times while being read; try again")


def _is_deleted(session: Session, found: Found) -> bool:
    return _again(session, found) is None


def _view(session: Session, found: Found, *, held: bool = False) -> Array | None:
    """The array that the catalog lists, wherever it is; None if it is not there any more.

    Raises
    ------
    ArrayLost
    """
    if found.lost_at:
        raise lost(found.info, found.nodes[0], found.lost_at)
    shelf = session.shelf
    for _ in range(2):
        try:
            view = _read_doomed(session, found) if found.doomed else shelf.view(found.info)
        except ArrayNotFound:  # elsewhere; or listed but not sealed yet; or replaced, or deleted, since we asked
            try:
                if found.doomed or not _bring(session, found):
                    break
            except StoreFull:
                held = True
                break
        else:
            if not found.doomed:
                shelf.name(found.info)
            return view
    if not held or found.doomed or found.nodes == [session.node]:
        return None
    try:  # there shall be no copy of it here: it is replaced already, or has no room
        return by_rows(session, found.info, found.nodes[0], found.epoch)
    except (ArrayNotFound, ArrayLost):
        return None


def _read_doomed(session: Session, found: Found) -> Array:
    """An array that is being deleted: until the last node has dropped its file, everyone reads it.

    So nobody reads it after someone did not, not even when a catalog starts anew, which knows of no deletion.

    Raises
    ------
    ArrayNotFound
    """
    shelf, info = session.shelf, found.info
    here = shelf.has(info.id) or (session.node in found.nodes and shelf.finish(info.id, found.epoch))
    if here:
        return shelf.view(info)
    if found.nodes == [session.node]:
        raise shelf.not_found(info)
    try:
        return by_rows(session, info, found.nodes[0], found.epoch)
    except ArrayLost:
        raise shelf.not_found(info) from None


def _bring(session: Session, found: Found) -> bool:
    """Have the array that the catalog lists on this node's shelf; False if it is not where it should be."""
    if session.node in found.nodes and session.shelf.finish(found.info.id, found.epoch):
        return True
    if found.nodes == [session.node]:
        return False
    return session.fetch(found.info, found.nodes[0], found.epoch) is None


def _again(session: Session, before: Found) -> Found | None:
    """Ask again for a key whose array was not there: None if it is deleted.

    Raises
    ------
    ArrayLost
        The key still stands for the array that is not there.
    """
    store, key = before.info.store, before.info.key or ""
    found = find(session, store, [key])[0]
    if found is None or (found.doomed and before.doomed and found.info.id == before.info.id):
        return None
    if found == before and not session.shelf.has(found.info.id):
        if not session.ask_catalog("verify", found.info.id):
            raise segment_gone(session, found)
        return find(session, store, [key])[0]
    return found


def by_handle(session: Session, info: ArrayInfo, hint: str | None) -> Array:
    """The array that a handle names, wherever it is.

    Raises
    ------
    ArrayNotFound, ArrayLost, CorruptArray, TooManyViews
    """
    for _ in range(_MOST_LOOKS):
        try:
            return session.shelf.view(info)
        except ArrayNotFound as here:
            try:
                located = session.fetch(info, hint)
            except StoreFull:
                break
            if located is not None and not located.nodes:
                raise missing(session, info, located) from here
            if located is not None:  # it is there, and no copy of it can be made here
                break
    return by_rows(session, info, hint)


def by_rows(session: Session, info: ArrayInfo, hint: str | None, epoch: int = 0) -> Array:
    """A private copy of an array of which there shall be no cached copy on this node."""
    import numpy as np

    from outlive.arrays.dtypes import decode_dtype

    data = bytearray(info.nbytes)
    located = session.read_rows(info, hint, 0, info.nbytes, memoryview(data), epoch)
    if located is not None:
        raise missing(session, info, located)
    array: Array = np.ndarray(info.shape, decode_dtype(info.dtype), data, order="F" if info.fortran else "C")
    array.flags.writeable = False
    return array


def part(session: Session, info: ArrayInfo, hint: str | None, index: Any) -> Any:
    """`array[index]`; from another node, only the rows are moved that the first of `index` names, and not kept."""
    run = None if session.shelf.has(info.id) else rows_of(info, index)
    if run is None:
        return by_handle(session, info, hint)[index]
    import numpy as np

    from outlive.arrays.dtypes import decode_dtype

    begin, end, rest = run
    row = info.nbytes // info.shape[0]
    data = bytearray((end - begin) * row)
    located = session.read_rows(info, hint, begin * row, end * row, memoryview(data)) if data else None
    if located is not None:
        raise missing(session, info, located)
    array: Array = np.ndarray((end - begin, *info.shape[1:]), decode_dtype(info.dtype), data)
    array.flags.writeable = False
    return array[rest]


def rows_of(info: ArrayInfo, index: Any) -> tuple[int, int, Any] | None:
    """The run of rows that an index needs, and the index into them; None if it is better to have the whole array."""
    import numpy as np

    first, *rest = index if isinstance(index, tuple) and index else (index,)
    whole = info.fortran or not info.shape or info.nbytes < _WORTH_A_PART
    if whole or isinstance(first, bool) or not isinstance(first, int | np.integer | slice):
        return None
    count = info.shape[0]
    if not isinstance(first, slice):
        first = int(first)
        if not -count <= first < count:
            raise IndexError(f"index {first} is out of bounds for axis 0 with size {count}")
        return first % count, first % count + 1, (0, *rest)
    steps = range(count)[first]
    if not steps:
        return 0, 0, (slice(0, 0), *rest)
    begin, end = min(steps[0], steps[-1]), max(steps[0], steps[-1]) + 1
    if (end - begin) * 2 > count:
        return None
    return begin, end, (slice(None, None, steps.step), *rest)


def touch(session: Session, info: ArrayInfo, hint: str | None) -> None:
    """Let an array's time to live begin again, on all nodes that have it.

    Raises
    ------
    ArrayNotFound, ArrayLost
    """
    if session.shelf.has(info.id):
        session.shelf.touch(info)  # raises if it is too late
    if is_only_here(session.shelf, info.id):
        return
    deadline = deadline_from(time.time(), info.ttl)
    if not session.ask_catalog("touch", pack([info]), deadline, hint):
        raise missing(session, info, session.locate(info, hint))


def deadline(session: Session, info: ArrayInfo, hint: str | None) -> float | None:
    """When an array's time to live is over, in seconds since 1970.

    Raises
    ------
    ArrayNotFound, ArrayLost
    """
    if session.shelf.has(info.id):
        return session.shelf.deadline(info)
    located = session.locate(info, hint)
    for node in located.nodes:
        with contextlib.suppress(Nobody):  # it has left the node
            found: int = session.ask_node(node, "deadline_ns", info.id, patience=PATIENCE)
            if found:
                return found / 1e9 if info.ttl else None
    raise missing(session, info, located)


def missing(session: Session, info: ArrayInfo, located: Located) -> ArrayNotFound | ArrayLost:
    """Why an array that is on no node is not there."""
    if located.lost_on is not None:
        return lost(info, located.lost_on, located.lost_at)
    return why_gone(session, info, session.shelf.not_found(info, located.why))


def lost(info: ArrayInfo, node: str, at: float) -> ArrayLost:
    """The error for an array whose last copy went with its node."""
    name = f"array {info.key!r}" if info.key is not None else f"array {info.id}"
    when = datetime.fromtimestamp(at).astimezone().isoformat(sep=" ", timespec="seconds")
    had = "the only" if info.replicas == 1 else f"the last (replicas={info.replicas})"
    return ArrayLost(
        f"{name} of store {info.store!r} was lost at {when} with node {node}, {had} that had it. Make it again; "
        f"put it with replicas={info.replicas + 1} to have it survive that"
    )


def not_found(session: Session, store: str, keys: list[str]) -> ArrayNotFound:
    """The error for keys that are missing, with similar ones."""
    if len(keys) > 1:
        shown = ", ".join(repr(key) for key in keys[:5]) + (", ..." if len(keys) > 5 else "")
        return ArrayNotFound(f"store {store!r} has no arrays {shown} ({len(keys)} missing)")
    ended = session.shelf.ended.find_key(store, keys[0])
    if ended is not None:
        return ArrayNotFound(f"store {store!r} has no array {keys[0]!r}: {ended}")
    # Comparing is slow, so it is done here and not in the catalog, and of few keys if they are long.
    limit = 50_000 // max(20, len(keys[0]))
    candidates = session.ask_catalog("some_keys", store, keys[0], limit)
    similar = difflib.get_close_matches(keys[0], candidates)
    count = session.ask_catalog("count", store)
    hint = f"; similar: {', '.join(map(repr, similar))}" if similar else f" (it has {count} keys)"
    return ArrayNotFound(f"store {store!r} has no array {keys[0]!r}{hint}")
