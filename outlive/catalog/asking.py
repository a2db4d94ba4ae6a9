"""What keepers are asked of files, as parts of conversations, and what it means when one does not answer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from outlive.arrays.info import ArrayInfo
from outlive.catalog.index import Holding
from outlive.catalog.instructions import PATIENCE, Ask, Call, Conversation, ListKeepers, ListNodes
from outlive.catalog.state import Name, State
from outlive.catalog.wire import Successor
from outlive.errors import StoreUnavailable


def list_nodes(state: State) -> Conversation[None]:
    """Those who wait for a node's keeper learn from this that the node is dead."""
    found = yield ListNodes()
    state.nodes = {node.id: node for node in found}


def name_of(info: ArrayInfo) -> Name | None:
    """Store and key of an array. Where it is dropped, its name goes too, or who still looks at it reads it by name."""
    return None if info.key is None else (info.store, info.key)


def ask(calls: Mapping[str, Call], patience: float = PATIENCE) -> Conversation[dict[str, Any]]:
    """What keepers answer; at once, if nobody is to be asked."""
    answers: dict[str, Any] = (yield Ask(calls, patience)) if calls else {}
    return answers


def ask_known(state: State, method: str, by_node: Mapping[str, Any]) -> Conversation[dict[str, Any]]:
    """What living nodes answer, of these, whose keepers are known: each is asked about something of its own."""
    return (
        yield from ask({node: Call.of(method, by_node[node]) for node in sorted(filter(state.has_keeper, by_node))})
    )


def silent(state: State, nodes: Iterable[str]) -> Conversation[list[str]]:
    """Those of the nodes that did not answer which live and have a shelf: they may do or show what they like."""
    living = sorted(filter(state.is_alive, nodes))
    if living:
        yield from list_nodes(state)
    return [node for node in living if state.is_alive(node) and (node in state.epochs or node in state.unlisted)]


def forbid(state: State, there: Iterable[tuple[str, ArrayInfo]], home: str = "") -> Conversation[list[str]]:
    """On each of these nodes, nobody finds by name what is earlier than this version of its key.

    Returns the nodes that live and did not confirm it: what is read by name there may be anything.

    Parameters
    ----------
    home
        Where the arrays are that replace what is earlier. The shelves remember it: see `successors`. Of one that shall
        have replicas they do not, as its put returns once another node has it.
    """
    asked: dict[str, list[tuple[str, str, int, Successor | None]]] = defaultdict(list)
    for node, info in there:
        by = Successor(info.version, info.id, home) if home and info.replicas == 1 else None
        asked[node].append((info.store, info.key or "", info.version, by))
    done = yield from ask_known(state, "forbid", asked)
    return (yield from silent(state, asked.keys() - done.keys()))


def drop(state: State, holdings: Iterable[tuple[Holding, Name | None]]) -> Conversation[list[str]]:
    """Delete files, and with them their store and key; returns the nodes that live and did not confirm it."""
    by_node: dict[str, list[tuple[str, Name | None]]] = defaultdict(list)
    for holding, name in holdings:
        by_node[holding.node].append((holding.array_id, name))
    done = yield from ask_known(state, "drop", by_node)
    return (yield from silent(state, by_node.keys() - done.keys()))


def drop_for_good(state: State, holdings: Iterable[tuple[Holding, Name | None]]) -> Conversation[list[str]]:
    """As `drop`, of arrays that are never to be current again. Who did not confirm it is asked again each second."""
    unwanted = list(holdings)
    for holding, name in unwanted:
        state.want_no_more(holding, name)
    silent = yield from drop(state, unwanted)
    for holding, _ in unwanted:
        if holding.node not in silent:
            state.has_gone(holding)
    return silent


def finish(state: State, node: str, array_ids: list[str]) -> Conversation[list[bool]]:
    """Have a node seal what is listed; says of each array whether it is sealed.

    Raises
    ------
    StoreUnavailable
        The node lives, and does not say.
    """
    if not array_ids:
        return []
    epoch = state.epochs.get(node, 0)
    answers = yield from ask({node: Call.of("finish", array_ids, epoch)} if state.has_keeper(node) else {})
    if node not in answers and (yield from silent(state, [node])):
        raise StoreUnavailable(f"node {node} did not say which arrays it has: its keeper does not answer")
    sealed: list[bool] = answers.get(node, [False] * len(array_ids))  # it died: what is not sealed will not be
    return sealed


def keep(state: State, by_node: dict[str, list[ArrayInfo]]) -> Conversation[list[tuple[str, ArrayInfo]]]:
    """Have nodes keep what they have cached; which do."""
    ids = {node: [info.id for info in by_node[node]] for node in sorted(state.known & by_node.keys())}
    answers = yield from ask({node: Call.of("keep", some) for node, some in ids.items()})
    return [
        (node, info)
        for node, kept in answers.items()
        for info, is_kept in zip(by_node[node], kept, strict=True)
        if is_kept
    ]


def have(state: State, array_id: str, nodes: Iterable[str]) -> Conversation[dict[str, bool]]:
    """Whether these nodes have an array now, of those that answer."""
    answers = yield from ask_known(state, "holds", {node: [array_id] for node in nodes})
    return {node: is_there for node, (is_there,) in answers.items()}


def holding_nodes(state: State, array_id: str, nodes: Iterable[str]) -> Conversation[list[str]]:
    """Those of these nodes that have an array now."""
    has = yield from have(state, array_id, nodes)
    return sorted(node for node, is_there in has.items() if is_there)


def unknown_keepers(state: State) -> Conversation[list[str]]:
    """Nodes whose keepers came after this catalog, and where nothing was put by key yet."""
    nodes = yield ListKeepers()
    return [node for node in nodes if node not in state.epochs]
