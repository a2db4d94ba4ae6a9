"""Replicas: which nodes have copies, which get one more, and which may drop one.

A copy is either *kept*, and counts as a replica, or *cached*. Nothing drops a replica before the catalog has found
another. So the last one is never dropped, whatever is evicted, evacuated or dies at the same time.
"""

from __future__ import annotations

import contextlib
import math
from collections import defaultdict
from collections.abc import Iterable

from outlive.arrays.info import ArrayInfo
from outlive.catalog import asking, reconciling, shelves, targets
from outlive.catalog.instructions import PATIENCE, Call, Conversation, Together, Wait
from outlive.catalog.state import State
from outlive.catalog.targets import Rooms
from outlive.catalog.wire import pack
from outlive.errors import OutliveError, StoreUnavailable

SMALL = 1 << 20  # bytes: segments up to this size travel together
_STEP_BYTES, _STEP_ARRAYS = 32 << 20, 500  # the most that a node is asked to copy at a time
_WORTH_IT = 8  # the fewest arrays that travel together
_SLOWEST = 10 << 20  # bytes a second: the slowest copy that is waited for
_MOST_TURNS = 20  # how often a node is asked whose shelf has another epoch each time
_LOOKED_AT = 1000  # arrays without a key that lack copies: for so many each second, nodes are asked whether they ended

# --- copies that come


def join_copies(
    state: State, infos: list[ArrayInfo], home: str, node: str, *, kept: bool, epoch: int
) -> Conversation[list[int]]:
    """Note complete copies on a node; they are not sealed yet, unless they are `kept`.

    Parameters
    ----------
    epoch
        The shelf's epoch as it was just before the call, but after the copies were marked as kept.

    Returns
    -------
    For each copy the epoch under which to seal it. 0: the array is deleted or replaced. A copy that is to be `kept` is
    noted only if the answer is `epoch`. Else the shelf has got another epoch since, or another shelf is there now: a
    listing says what is kept, and the keeper asks again, if it has the copy still.
    """
    if shelves.is_removed(state, node, epoch):  # the call comes late, and is no reason to start a keeper
        return [0] * len(infos)
    yield from shelves.know(state, node, epoch)  # so that every overwrite asks this node too
    if not kept:  # else the listing that passes over what is gone would pass over this copy
        yield Wait(lambda: not state.is_gone_from(node, infos))
    if kept and (doubtful := state.may_drop(node, infos)):  # the shelf gets another epoch
        yield from reconciling.forget_absent(state, node, doubtful)
        if state.may_drop(node, infos):
            raise StoreUnavailable(f"node {node} may have dropped what it keeps: its keeper does not answer. Try again")
    known = True
    if any(info.key is None for info in infos):  # only `home` can say whether it keeps an array without a key
        with contextlib.suppress(StoreUnavailable):
            yield from shelves.know(state, home)
        known = home in state.epochs
    return [_join(state, info, home, node, kept, epoch) if known or info.key else 0 for info in infos]


def join_at_once(
    state: State, infos: list[ArrayInfo], home: str, node: str, kept: bool, epoch: int
) -> list[int] | None:
    """`join_copies`, if no shelf has to be listed for it. None: one has, and nothing is changed."""
    needed = {node, home} if any(info.key is None for info in infos) else {node}
    if not shelves.is_listed(state, node, epoch) or not needed <= state.epochs.keys():
        return None
    if state.may_drop(node, infos) if kept else state.is_gone_from(node, infos):
        return None
    return [_join(state, info, home, node, kept, epoch) for info in infos]


def _join(state: State, info: ArrayInfo, home: str, node: str, kept: bool, epoch: int) -> int:
    """`join_copy`, unless a node says under an earlier epoch that it keeps the copy: it may have dropped it since."""
    known = state.epochs.get(node, 0)
    if kept and epoch != known:
        return known if state.is_wanted(info) else 0
    return join_copy(state, info, home, node, kept=kept)


def join_copy(state: State, info: ArrayInfo, home: str, node: str, *, kept: bool) -> int:
    """`join_copies` for one array, on a node that is listed."""
    state.sources.end(info.id, node)
    if not state.is_wanted(info):
        return 0
    if info.key is not None:
        home = state.index.home(info.id)
    elif (info.id, home) in state.ended:  # the array has ended there since it was copied from there
        keeping = [node] if kept else state.kept(info.id)
        if not keeping:
            return 0
        home = keeping[0]
    state.note_there(info.id, node)
    if node != home or kept:
        state.index.copies.add(info, home, node, kept=kept)
        if kept:
            state.note_kept(info, node)
    return state.epochs.get(node, 0)


def replicate(state: State, infos: list[ArrayInfo], home: str, epoch: int) -> Conversation[list[int]]:
    """Make the replicas that sealed arrays lack; on how many nodes each is kept afterwards.

    Parameters
    ----------
    home, epoch
        Where the arrays were put, and the epoch of that shelf, as it was just before the call.
    """
    yield from _know_keyless(state, infos, home, epoch)
    counts = yield from _replicate_all(state, infos)
    state.note_secured(info.id for info in infos)
    return counts


def secure(state: State, array_ids: Iterable[str]) -> Conversation[None]:
    """Make the replicas of these arrays, as far as possible, before anybody is shown them.

    Until then an array may be lost with its node, and the array that it had replaced would be current again.
    """
    entries = [entry for entry in map(state.index.current, array_ids) if entry is not None and not entry.doomed]
    yield from _replicate_all(state, [entry.info for entry in entries])
    state.note_secured(entry.info.id for entry in entries)


def _know_keyless(state: State, infos: list[ArrayInfo], home: str, epoch: int) -> Conversation[None]:
    """Note which of the arrays without a key are on `home`, in case this catalog has not heard of them yet.

    The call may come late: the array may have ended since, or have moved. So the node is asked, and once more if the
    shelf gets another epoch meanwhile: that answer says nothing.
    """
    if shelves.is_removed(state, home, epoch):  # and this is no reason to start a keeper there
        return
    with contextlib.suppress(StoreUnavailable):  # the node may have died, which is noticed elsewhere
        yield from shelves.know(state, home)
    keyless = [info for info in infos if info.key is None]
    asked_in: int | None = -1  # the epoch of the shelf as the node was asked
    for _ in range(_MOST_TURNS):
        if not keyless or state.epochs.get(home) == asked_in:
            return
        # a listing under way may not have them, and would make them forgotten
        yield Wait(lambda: home not in state.under_way.listing)
        asked_in = state.epochs.get(home)
        unknown = [info for info in keyless if not state.index.copies.of(info.id).get(home)]
        for _, info in (yield from asking.keep(state, {home: unknown} if unknown else {})):
            if info.id not in state.erased:
                state.note_kept(info, home)


def _replicate_all(state: State, infos: list[ArrayInfo]) -> Conversation[list[int]]:
    """Copy many small arrays together, and then one by one those that are large or still lack copies."""
    rooms = Rooms()
    yield from _copy_together(state, infos, rooms)
    if len(infos) == 1:  # without a thread of the crew: silent nodes may hold all of these for a while
        return [(yield from _enough(state, infos[0], rooms))]
    counts: list[int] = yield Together([_enough(state, info, rooms) for info in infos], "copy")
    return counts


def _enough(state: State, info: ArrayInfo, rooms: Rooms) -> Conversation[int]:
    """Make the replicas that an array lacks; on how many nodes it is kept then."""
    kept = state.kept(info.id)
    if len(kept) < info.replicas:
        kept = yield from multiply(state, info, rooms=rooms)
    return len(kept)


def multiply(
    state: State, info: ArrayInfo, leaving: str = "", *, anywhere: bool = True, rooms: Rooms | None = None
) -> Conversation[list[str]]:
    """Make the copies that an array lacks; the nodes that keep it then, except the one that is `leaving`.

    Parameters
    ----------
    rooms
        The room of nodes, as known from other copies that are made together with these.
    """
    copying, rooms = state.under_way.copying, rooms or Rooms()
    yield Wait(lambda: info.id not in copying)  # or two conversations would copy it
    copying.add(info.id)
    tried = set[str]()
    try:
        while missing := _missing(state, info, leaving):
            found = yield from targets.find(state, info, rooms, tried, missing, leaving, anywhere=anywhere)
            if not found:
                break
            some = found[:missing]
            tried.update(some)
            yield from _keep_on(state, info, some)
            for target in some:
                rooms.take(target, info.size)
        return state.kept(info.id, leaving)
    finally:
        copying.discard(info.id)


def _missing(state: State, info: ArrayInfo, leaving: str) -> int:
    """How many replicas an array lacks; 0 if no node keeps it any more."""
    return max(0, info.replicas - len(state.kept(info.id, leaving))) if state.kept(info.id) else 0


def _keep_on(state: State, info: ArrayInfo, some: list[str]) -> Conversation[None]:
    """Have these nodes keep an array too: all at once. Those that are dead or stopped are left out."""
    targets = list[str]()
    for target in some:
        with contextlib.suppress(OutliveError):
            yield from _have_keeper(state, target)
            targets.append(target)
    cached = [target for target in targets if target in state.index.holders(info.id)]
    with contextlib.suppress(OutliveError):
        for target, _ in (yield from asking.keep(state, {target: [info] for target in cached})):
            if kept := state.kept(info.id):
                join_copy(state, info, kept[0], target, kept=True)
            targets.remove(target)
    if kept := state.kept(info.id):
        fetch = Call.of("fetch", pack([info]), kept[0], True)
        with contextlib.suppress(OutliveError):
            yield from asking.ask(dict.fromkeys(targets, fetch), _to_copy(info.size * len(targets)))


def _have_keeper(state: State, target: str) -> Conversation[None]:
    """Start a keeper on a node that has none. Raises StoreUnavailable if the keeper has left."""
    if target in state.left:
        raise StoreUnavailable(f"the keeper of node {target} has left")
    yield from shelves.know(state, target)
    if target not in state.known:
        raise StoreUnavailable(f"the keeper of node {target} has left meanwhile")


def _to_copy(size: int) -> float:
    """How long a node may take to copy so many bytes, in seconds."""
    return PATIENCE + size / _SLOWEST


# --- many small arrays together, as a call for each would take longer than its bytes


def _copy_together(state: State, infos: list[ArrayInfo], rooms: Rooms) -> Conversation[None]:
    under_way = state.under_way
    small = [info for info in infos if info.size <= SMALL]
    if len(small) < _WORTH_IT:
        yield Wait(lambda: under_way.in_bulk.isdisjoint(info.id for info in infos))  # they are being copied
        return
    yield Wait(lambda: not under_way.bulk)  # or two conversations would make the same copies
    some = [info for info in small if info.id not in under_way.copying]
    if len(some) < _WORTH_IT:
        return
    under_way.bulk, under_way.in_bulk = True, {info.id for info in some}
    try:
        steps = enumerate(_steps(state, some))
        yield Together([_copy_step(state, number, step, kept, rooms) for number, (step, kept) in steps], "copy")
    finally:
        under_way.bulk, under_way.in_bulk = False, set()


def _steps(state: State, infos: Iterable[ArrayInfo]) -> list[tuple[list[ArrayInfo], list[str]]]:
    """Divide arrays into portions that the same nodes keep; each portion with these nodes."""
    together: dict[tuple[str, ...], list[ArrayInfo]] = defaultdict(list)
    for info in infos:
        kept = state.kept(info.id)
        if 0 < len(kept) < info.replicas:
            together[tuple(kept)].append(info)
    found = []
    for kept_on, some in together.items():
        step, room = list[ArrayInfo](), _STEP_BYTES
        for info in some:
            if step and (info.size > room or len(step) >= _STEP_ARRAYS):
                found.append((step, list(kept_on)))
                step, room = [], _STEP_BYTES
            step.append(info)
            room -= info.size
        found.append((step, list(kept_on)))
    return found


def _copy_step(state: State, number: int, infos: list[ArrayInfo], kept: list[str], rooms: Rooms) -> Conversation[None]:
    """Have nodes copy a portion. The portion's number decides which nodes, so that they share the load."""
    whole = infos[0]._replace(size=sum(info.size for info in infos))
    missing = max(info.replicas for info in infos) - len(kept)
    found = yield from targets.find(state, whole, rooms, set(), missing)
    for i in range(min(missing, len(found))):
        target = found[(number + i) % len(found)]
        lacking = [info for info in infos if len(state.kept(info.id)) < info.replicas]
        wanted = [info for info in lacking if state.may_last_on(info.id, target)]
        with contextlib.suppress(OutliveError):  # the target may be dead or stopped
            yield from _have_keeper(state, target)
            yield from asking.ask({target: Call.of("fetch_many", pack(wanted), kept[0])}, _to_copy(whole.size))
        rooms.take(target, whole.size)


# --- what is kept on too few nodes


def multiply_few(state: State) -> Conversation[None]:
    """Copy arrays that are kept on too few nodes, at the most `state.rate` bytes a second."""
    copies = state.index.copies
    before = copies.lacking + 1
    # a portion at a time, as long as they become fewer
    while copies.lacking < before and state.outside.now() >= state.rests_until:
        before, began = copies.lacking, state.outside.now()
        few = yield from too_few(state)
        if few and math.isinf(state.rate):
            yield from _replicate_all(state, few)
        elif few:
            some = _of_a_second(state, few)
            counts = [len(state.kept(info.id)) for info in some]
            yield from _replicate_all(state, some)
            made = sum(
                info.size * max(0, len(state.kept(info.id)) - count) for info, count in zip(some, counts, strict=True)
            )
            state.rests_until = began + made / state.rate


def _of_a_second(state: State, few: list[ArrayInfo]) -> list[ArrayInfo]:
    """Some of these arrays, as many as a second has bytes for, but at least one. Chance decides which.

    Those for which no node has room do not keep the others waiting so.
    """
    some, size = list[ArrayInfo](), 0
    for info in state.outside.chance.sample(few, len(few)):
        if some and size + info.size > state.rate:
            break
        some.append(info)
        size += info.size
    return some


def too_few(state: State) -> Conversation[list[ArrayInfo]]:
    """Some of the arrays that lack copies and that another node could keep."""
    if not state.index.copies.lacking:
        return []
    able = set(state.staying) - state.left
    busy = state.under_way.copying | state.under_way.in_bulk
    few = [
        (info, kept) for info, kept in state.index.copies.too_few() if not able.issubset(kept) and info.id not in busy
    ]
    if keyless := [one for one in few if one[0].key is None]:
        some = state.outside.chance.sample(keyless, min(len(keyless), _LOOKED_AT))
        yield from _forget_ended(state, some)
    return [info for info, _ in few if state.index.holders(info.id)]


def _forget_ended(state: State, few: list[tuple[ArrayInfo, list[str]]]) -> Conversation[None]:
    """Forget copies of arrays without a key that have ended: nodes are asked whether they still have them."""
    by_node: dict[str, list[str]] = defaultdict(list)
    for info, kept in few:
        for node in kept:
            by_node[node].append(info.id)
    mortal = {info.id for info, _ in few if info.ttl}
    gone = yield from asking.lack(state, by_node)
    for node, array_id in gone:
        _remove(state, array_id, node)
        if array_id in mortal:
            state.note_over(array_id, node)
    yield from _keep_cached(state, [array_id for _, array_id in gone])


def _remove(state: State, array_id: str, node: str) -> None:
    """Note that a node lacks an array without a key."""
    state.index.copies.remove(array_id, node)
    state.note_gone(node, [array_id])


# --- copies that go


def evacuate(
    state: State, infos: list[ArrayInfo], node: str, epoch: int, *, anywhere: bool
) -> Conversation[list[bool]]:
    """Have other nodes keep the arrays of a node that is to leave; whether each is kept elsewhere, or deleted.

    Parameters
    ----------
    epoch
        The epoch of the node's shelf, as it was just before the call.
    anywhere
        Any node may take them, even one that may be evacuated itself. Otherwise only the head and nodes whose ids come
        before this one's may, so that no two nodes hand each other their arrays.
    """
    yield from _know_keyless(state, infos, node, epoch)
    elsewhere = yield Together([multiply(state, info, node, anywhere=anywhere) for info in infos], "copy")
    by_node: dict[str, list[ArrayInfo]] = defaultdict(list)
    for info, others in zip(infos, elsewhere, strict=True):
        for other in others:
            by_node[other].append(info)
    # The others have to confirm it now, whatever was known of them: the node may be about to drop the last replica.
    seen = {(other, info.id) for other, info in (yield from asking.keep(state, by_node))}
    found = [any((other, info.id) in seen for other in others) for info, others in zip(infos, elsewhere, strict=True)]
    return [is_seen or _is_gone(state, info, node) for is_seen, info in zip(found, infos, strict=True)]


def _is_gone(state: State, info: ArrayInfo, node: str) -> bool:
    """Whether an array was deleted or has ended, as far as the catalog knows for certain.

    The catalog may not know of an array without a key, or no longer. A listing names only those that have replicas.
    """
    if info.key is None:
        return info.id in state.erased or (info.id, node) in state.ended
    if state.index.holders(info.id) or state.index.is_superseded(info.id):  # the latter may be current again
        return False
    if state.index.unsettled(info.store, info.key).get(node):  # it may be the only copy of its key
        return False
    # It counts as lost with its node, and this node has adopted that one's shelf and is not listed since.
    lost = state.index.lost.of(info)
    return node not in state.under_way.listing and (lost is None or lost.info.id != info.id)


def leave(state: State, infos: Iterable[ArrayInfo], node: str) -> list[bool]:
    """Let a node drop arrays that others keep; whether it may drop each. Dropped arrays count as gone from the node.

    Asking twice is harmless: the first answer may have been lost.
    """
    return [_leave(state, info, node) for info in infos]


def _leave(state: State, info: ArrayInfo, node: str) -> bool:
    is_listed = node in state.epochs and node not in state.unlisted
    if older := state.index.superseded({info.id}):  # it may be current again
        return is_listed and node not in {holding.node for holding, _ in older}
    if not state.index.holders(info.id):  # deleted meanwhile, if this catalog has listed the node's shelf
        return is_listed and _is_gone(state, info, node)
    if not state.kept(info.id, node):
        return False
    if state.index.holders(info.id).get(node, True):  # if it is cached, a reader there has fetched it again
        state.not_there(node, info.id)
        state.grant(node, info.id)
    return True


def ended(state: State, array_ids: list[str], node: str, over: bool = False) -> Conversation[None]:
    """Note that arrays without a key are on a node no more. `over`: their lifetimes are, as the node says.

    The call may come late: the node may have got a copy again, or one may be on its way. So it is asked.
    """
    gone = [array_id for _, array_id in (yield from asking.lack(state, {node: array_ids}))]
    for array_id in gone:
        _remove(state, array_id, node)
        state.note_ended(array_id, node)
        if over:
            state.note_over(array_id, node)
    yield from _keep_cached(state, gone)


def _keep_cached(state: State, array_ids: list[str]) -> Conversation[None]:
    """Have nodes keep what they have cached of arrays that no node keeps any more, or forget it.

    An array may live longer there: somebody touched it, and the node that kept it did not answer. If it does not, that
    node's keeper ends it and says so.
    """
    by_node: dict[str, list[ArrayInfo]] = defaultdict(list)
    for array_id in array_ids:
        copies, info = state.index.copies.of(array_id), state.index.copies.info(array_id)
        if info is not None and not any(copies.values()):
            for node in copies:
                by_node[node].append(info)
    for node, info in (yield from asking.keep(state, by_node)):
        if state.is_wanted(info):
            state.note_kept(info, node)
    for array_id in array_ids:
        if not any(state.index.copies.of(array_id).values()):
            state.index.copies.forget_array(array_id)
