"""Locating: where an array is, for a node that does not have it; and how long it lives there."""

from __future__ import annotations

from collections import Counter

from outlive.arrays.info import ArrayInfo
from outlive.catalog import asking, losing, shelves, sources
from outlive.catalog.instructions import Call, Conversation, WhoIsLate
from outlive.catalog.state import State
from outlive.catalog.wire import Located
from outlive.errors import StoreUnavailable


def locate(state: State, info: ArrayInfo, hint: str | None, asker: str, copies: bool = False) -> Conversation[Located]:
    """The nodes that have an array, the nearest first; or how it was lost, or why it ended.

    Parameters
    ----------
    hint
        The node where it was put, if the caller knows.
    asker
        The node that asks. Nodes on the same machine are the nearest.
    copies
        Whether that node is about to copy all of the array, which is large, and can ask again: see `sources`.

    Raises
    ------
    StoreUnavailable
        An unlisted or silent node may have it.
    """
    yield from losing.settle(state, info.id)
    if info.id in state.erased:
        return Located([])
    found = list(filter(state.is_alive, state.index.holders(info.id)))
    silent = set[str]()
    if not found:
        found = yield from shelves.ask_who_has(state, info.id, hint, silent)
    if found:
        return (yield from _best_first(state, found, asker, info if copies else None))
    yield from losing.settle(state, info.id)  # a node that did not answer may have died
    lost = state.index.lost.of(info)
    if lost is not None and lost.info.id == info.id:
        return Located([], lost.node, lost.at)
    dead = state.nodes.get(hint or "")
    if info.key is None and dead is not None and not dead.alive:
        return Located([], dead.id, dead.died_at or state.outside.time())
    state.say_unlisted(f"array {info.id}")
    state.say_silent(info.id, silent)
    knows = [hint] if hint is not None and state.has_keeper(hint) else state.keepers()
    why = yield from asking.ask({node: Call.of("why_ended", info.id) for node in knows})
    return Located([], why=next(filter(None, why.values()), None))


def _best_first(state: State, found: list[str], asker: str, copied: ArrayInfo | None) -> Conversation[Located]:
    """The nearest first. Of those equally near, chance decides, and for a large array how many get it from there."""
    askers = [] if copied is None else state.sources.askers(copied.id)
    late = yield WhoIsLate([*found, *askers])
    here = state.nodes.get(asker)
    # Nobody waits for one that is stopped. Others may have begun since `askers` was made.
    busy = Counter[str]() if copied is None else state.sources.busy(copied.id, {*late, asker})

    def is_near(node: str) -> bool:
        there = state.nodes.get(node)
        return here is not None and there is not None and there.ip == here.ip

    def rank(node: str) -> tuple[bool, bool, bool, bool, int]:
        mine = node == asker and copied is not None
        return mine, node in late, busy[node] >= sources.MOST, not is_near(node), busy[node]

    shuffled = state.outside.chance.sample(found, len(found))
    nodes = sorted(shuffled, key=rank)
    if copied is not None and nodes[0] != asker:
        if busy[nodes[0]] >= sources.MOST:
            return Located(nodes, busy=True)
        state.sources.begin(copied.id, asker, nodes[0], copied.size)
    return Located(nodes)


def touch(state: State, info: ArrayInfo, deadline_ns: int, hint: str | None) -> Conversation[bool]:
    """Let an array live until `deadline_ns` on every node that has it; False if none has it.

    Parameters
    ----------
    deadline_ns
        Nanoseconds since 1970.

    Raises
    ------
    StoreUnavailable
        A node that keeps an array with a key did not confirm. Its keeper would end the array everywhere, too early.
    """
    state.note_longer(info.id)
    there, asked, touched = set(state.index.holders(info.id)), set[str](), set[str]()
    if not there:
        silent = set[str]()
        there = set((yield from shelves.ask_who_has(state, info.id, hint, silent)))
        if not there:
            state.say_silent(info.id, silent)
    while more := sorted(filter(state.has_keeper, there - asked)):
        answers = yield from asking.ask({node: Call.of("touch", info.id, deadline_ns) for node in more})
        asked.update(more)
        touched.update(node for node, is_there in answers.items() if is_there)
        unsure = [node for node in state.kept(info.id) if node in more and node not in answers]
        if info.key is not None and (mute := (yield from asking.silent(state, unsure))):
            raise StoreUnavailable(
                f"node {', '.join(mute)} keeps array {info.key!r} too, and did not confirm that it lives longer: its "
                "keeper does not answer. The array may end at its earlier time; try again"
            )
        there.update(state.index.holders(info.id))  # a copy that has come meanwhile has the earlier time
    return bool(touched)
