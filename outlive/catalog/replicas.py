"""Replicas: who has copies, who shall have one more, and who may drop one.

A copy is *kept*, and counts, or *cached*. Nothing drops one that is kept before the catalog has found another: so the
last replica of an array is never dropped, whoever evicts, evacuates or dies at the same time.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable

from outlive.arrays.info import ArrayInfo
from outlive.catalog import asking, shelves, targets
from outlive.catalog.instructions import PATIENCE, Call, Conversation, Together, Wait
from outlive.catalog.state import State
from outlive.catalog.targets import Rooms
from outlive.catalog.wire import pack
from outlive.errors import OutliveError, StoreUnavailable

SMALL = 1 << 20  # bytes of a segment, up to which it travels with others
_STEP_BYTES, _STEP_ARRAYS = 32 << 20, 500  # that a node is asked to copy at a time
_WORTH_IT = 8  # arrays that travel together
_SLOWEST = 10 << 20  # bytes a second, at which a copy is thought to get on
_LOOKED_AT = 1000  # arrays without a key that lack copies, of which it is asked each second whether they ended

# --- copies that come


def join_copies(
    state: State, infos: list[ArrayInfo], home: str, node: str, *, kept: bool, stale: int = 0
) -> Conversation[list[int]]:
    """A node has complete copies, not yet sealed unless they are `kept`.

    Parameters
    ----------
    stale
        An epoch that a former answer gave and that the shelf does not have.

    Returns
    -------
    Of each the epoch under which to seal it; 0: it is deleted or replaced.
    """
    yield from shelves.know(state, node, stale)  # its keeper came after this catalog: who overwrites has to ask it too
    known = True
    if any(info.key is None for info in infos):  # of those, only `home` can say which of its copies it keeps
        with contextlib.suppress(StoreUnavailable):
            yield from shelves.know(state, home)
        known = home in state.epochs
    return [join_copy(state, info, home, node, kept=kept) if known or info.key else 0 for info in infos]


def join_copy(state: State, info: ArrayInfo, home: str, node: str, *, kept: bool) -> int:
    """As `join_copies`, of one array, and of a node that is known."""
    if not state.is_wanted(info):
        return 0
    if info.key is not None:
        home = state.index.home(info.id)
    elif (info.id, home) in state.ended:  # since it was copied from there
        keeping = [node] if kept else state.kept(info.id)
        if not keeping:
            return 0
        home = keeping[0]
    state.ended.pop((info.id, node), None)
    if node != home or kept:
        state.index.copies.add(info, home, node, kept=kept)
        if kept:
            state.note_back(node, info.id)
    return state.epochs.get(node, 0)


def replicate(state: State, infos: list[ArrayInfo], home: str) -> Conversation[list[int]]:
    """Have sealed arrays kept on as many nodes as they shall be; on how many each is, when that is tried."""
    yield from _know_keyless(state, infos, home)
    counts = yield from _replicate_all(state, infos)
    state.note_secured(info.id for info in infos)
    return counts


def secure(state: State, array_ids: Iterable[str]) -> Conversation[None]:
    """Others keep these arrays too, as far as they can, before anybody is shown them.

    Until then a node that dies takes the array along, and what it had replaced stands again.
    """
    entries = [entry for entry in map(state.index.current, array_ids) if entry is not None and not entry.doomed]
    yield from _replicate_all(state, [entry.info for entry in entries])
    state.note_secured(entry.info.id for entry in entries)


def _know_keyless(state: State, infos: list[ArrayInfo], home: str) -> Conversation[None]:
    """Where arrays without a key are, of which nobody told this catalog yet."""
    with contextlib.suppress(StoreUnavailable):  # the node dies, and that is seen too
        yield from shelves.know(state, home)
    if any(info.key is None for info in infos):  # a listing under way may not have them, and would have them forgotten
        yield Wait(lambda: home not in state.under_way.listing)
    for info in infos:
        if info.key is None and info.id not in state.erased:
            state.index.copies.add(info, home, home)


def _replicate_all(state: State, infos: list[ArrayInfo]) -> Conversation[list[int]]:
    """Many small ones together; then those that are large, or whose turn failed."""
    rooms = Rooms()
    yield from _copy_together(state, infos, rooms)
    counts: list[int] = yield Together([_enough(state, info, rooms) for info in infos], "copy")
    return counts


def _enough(state: State, info: ArrayInfo, rooms: Rooms) -> Conversation[int]:
    """On how many nodes an array is kept, once others keep it too if these are too few."""
    kept = state.kept(info.id)
    if len(kept) < info.replicas:
        kept = yield from multiply(state, info, rooms=rooms)
    return len(kept)


def multiply(
    state: State, info: ArrayInfo, leaving: str = "", *, anywhere: bool = True, rooms: Rooms | None = None
) -> Conversation[list[str]]:
    """Make the copies of an array that are missing; the nodes that keep it then, apart from the one `leaving`.

    Parameters
    ----------
    rooms
        Of the copies that are made together with these.
    """
    copying, rooms = state.under_way.copying, rooms or Rooms()
    yield Wait(lambda: info.id not in copying)  # or both would copy it
    copying.add(info.id)
    tried = set[str]()
    try:
        while missing := _missing(state, info, leaving):
            found = yield from targets.find(state, info, rooms, tried, missing, leaving, anywhere=anywhere)
            if not found:
                break
            for target in found[:missing]:
                tried.add(target)
                if (kept := state.kept(info.id)) and _missing(state, info, leaving):
                    with contextlib.suppress(OutliveError):  # the target dies, or is stopped
                        yield from _keep_on(state, info, kept[0], target)
                    rooms.take(target, info.size)
        return state.kept(info.id, leaving)
    finally:
        copying.discard(info.id)


def _missing(state: State, info: ArrayInfo, leaving: str) -> int:
    """How many more nodes shall keep an array; none, if nobody does any more."""
    return max(0, info.replicas - len(state.kept(info.id, leaving))) if state.kept(info.id) else 0


def _keep_on(state: State, info: ArrayInfo, home: str, target: str) -> Conversation[None]:
    """Have one more node keep an array. Its keeper is started if it has none."""
    yield from _have_keeper(state, target)
    if target in state.index.holders(info.id):
        kept = yield from asking.keep(state, {target: [info]})
        if kept:
            join_copy(state, info, home, target, kept=True)
            return
    yield from asking.ask({target: Call.of("fetch", pack([info]), home, True)}, _to_copy(info.size))


def _have_keeper(state: State, target: str) -> Conversation[None]:
    """It is started if it has none. Raises StoreUnavailable if it has left."""
    if target in state.left:
        raise StoreUnavailable(f"the keeper of node {target} has left")
    yield from shelves.know(state, target)
    if target not in state.known:
        raise StoreUnavailable(f"the keeper of node {target} has left meanwhile")


def _to_copy(size: int) -> float:
    """How long a node may take to copy so many bytes, in seconds."""
    return PATIENCE + size / _SLOWEST


# --- many small ones together, where a call for each would take longer than its bytes


def _copy_together(state: State, infos: list[ArrayInfo], rooms: Rooms) -> Conversation[None]:
    under_way = state.under_way
    yield Wait(lambda: not under_way.bulk)  # so that no two make the same copies
    some = [info for info in infos if info.size <= SMALL and info.id not in under_way.copying]
    if len(some) < _WORTH_IT:
        return
    under_way.bulk, under_way.in_bulk = True, {info.id for info in some}
    try:
        steps = enumerate(_steps(state, some))
        yield Together([_copy_step(state, number, step, kept, rooms) for number, (step, kept) in steps], "copy")
    finally:
        under_way.bulk, under_way.in_bulk = False, set()


def _steps(state: State, infos: Iterable[ArrayInfo]) -> list[tuple[list[ArrayInfo], list[str]]]:
    """Portions of arrays that the same nodes keep, and those nodes."""
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
    """Have nodes copy a portion; each portion by others, so that they share the load."""
    whole = infos[0]._replace(size=sum(info.size for info in infos))
    missing = max(info.replicas for info in infos) - len(kept)
    found = yield from targets.find(state, whole, rooms, set(), missing)
    for i in range(min(missing, len(found))):
        target = found[(number + i) % len(found)]
        wanted = [info for info in infos if len(state.kept(info.id)) < info.replicas]
        with contextlib.suppress(OutliveError):  # it dies, or is stopped
            yield from _have_keeper(state, target)
            yield from asking.ask({target: Call.of("fetch_many", pack(wanted), kept[0])}, _to_copy(whole.size))
        rooms.take(target, whole.size)


# --- what is kept on too few nodes


def multiply_few(state: State) -> Conversation[None]:
    """Copy again what is kept on too few nodes."""
    copies = state.index.copies
    before = copies.lacking + 1
    while copies.lacking < before:  # a portion at a time, as long as that gets on
        before = copies.lacking
        few = yield from too_few(state)
        if few:
            yield from _replicate_all(state, few)


def too_few(state: State) -> Conversation[list[ArrayInfo]]:
    """Some of the arrays that lack copies, and of which there could be more."""
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
    """Of arrays without a key that lack copies: those that the nodes which kept them do not have any more."""
    by_node: dict[str, list[str]] = defaultdict(list)
    for info, kept in few:
        for node in kept:
            by_node[node].append(info.id)
    answers = yield from asking.ask_known(state, "holds", by_node)
    for node, there in answers.items():
        for array_id, is_there in zip(by_node[node], there, strict=True):
            if not is_there:
                state.forget_copy(array_id, node)


# --- copies that go


def evacuate(state: State, infos: list[ArrayInfo], node: str, *, anywhere: bool) -> Conversation[list[bool]]:
    """Have other nodes keep what a node would drop; says of each array whether one does, or it is deleted.

    Parameters
    ----------
    anywhere
        On nodes that may be evacuated themselves too. Else on the head, or one whose id comes before this one's, so
        that no two hand each other their arrays.
    """
    yield from _know_keyless(state, infos, node)
    elsewhere = yield Together([multiply(state, info, node, anywhere=anywhere) for info in infos], "copy")
    by_node: dict[str, list[ArrayInfo]] = defaultdict(list)
    for info, others in zip(infos, elsewhere, strict=True):
        for other in others:
            by_node[other].append(info)
    # They say that they keep it, now, whatever was known of them: it may be the last one that is dropped.
    seen = {(other, info.id) for other, info in (yield from asking.keep(state, by_node))}
    back = state.index.is_superseded  # what replaces it may turn out to be no array
    return [
        any((other, info.id) in seen for other in others) or not (state.index.holders(info.id) or back(info.id))
        for info, others in zip(infos, elsewhere, strict=True)
    ]


def leave(state: State, infos: Iterable[ArrayInfo], node: str) -> list[bool]:
    """A node drops what others keep; says of each array whether it may. From then on there is no copy there.

    Asking twice is harmless: the first answer may have been lost.
    """
    return [_leave(state, info, node) for info in infos]


def _leave(state: State, info: ArrayInfo, node: str) -> bool:
    is_listed = node in state.epochs and node not in state.unlisted  # else its files may not be in the books
    if older := state.index.superseded({info.id}):  # it may be current again
        return is_listed and node not in {holding.node for holding, _ in older}
    if not state.index.holders(info.id):  # deleted meanwhile
        return is_listed
    if not state.kept(info.id, node):
        return False
    if state.index.holders(info.id).get(node, True):  # else a reader there has had it copied again: it is cached
        state.not_there(node, info.id)
    return True


def ended(state: State, array_ids: Iterable[str], node: str) -> None:
    """Arrays without a key have ended on a node, by their lifetime."""
    for array_id in array_ids:
        state.forget_copy(array_id, node)
        state.note_ended(array_id, node)
