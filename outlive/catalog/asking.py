"""Questions to keepers about files, as parts of conversations, and what the silence of one means."""

from __future__ import annotations

import itertools
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
    """Ask for the list of nodes anew. A node that has died is then known to be dead, and nobody waits for it."""
    found = yield ListNodes()
    state.nodes = {node.id: node for node in found}


def name_of(info: ArrayInfo) -> Name | None:
    """Store and key of an array. A shelf drops the name with the file, as a process with a view could still use it."""
    return None if info.key is None else (info.store, info.key)


def ask(calls: Mapping[str, Call], patience: float = PATIENCE) -> Conversation[dict[str, Any]]:
    """Call keepers; their answers by node. Without calls, no keeper is asked."""
    answers: dict[str, Any] = (yield Ask(calls, patience)) if calls else {}
    return answers


def ask_known(state: State, method: str, by_node: Mapping[str, Any]) -> Conversation[dict[str, Any]]:
    """Ask each of these nodes, if it lives and its keeper is known, about something of its own; the answers by node."""
    return (
        yield from ask({node: Call.of(method, by_node[node]) for node in sorted(filter(state.has_keeper, by_node))})
    )


def silent(state: State, nodes: Iterable[str]) -> Conversation[list[str]]:
    """Of nodes that did not answer, those that live and have a shelf. They may do or show anything meanwhile."""
    living = sorted(filter(state.is_alive, nodes))
    if living:
        yield from list_nodes(state)
    return [node for node in living if state.is_alive(node) and (node in state.epochs or node in state.unlisted)]


def forbid(state: State, there: Iterable[tuple[str, ArrayInfo]], home: str = "") -> Conversation[list[str]]:
    """Forbid names: on each of these nodes, no read by name finds a version of the key earlier than this array's.

    Returns the nodes that live and did not confirm. Reads by name there may still find an earlier version.

    Parameters
    ----------
    home
        The node of the arrays that replace the earlier ones. The shelves remember it (see `successors`), except for
        an array with `replicas`: its put returns only once another node has it.
    """
    asked: dict[str, list[tuple[str, str, int, Successor | None]]] = defaultdict(list)
    for node, info in there:
        by = Successor(info.version, info.id, home) if home and info.replicas == 1 else None
        asked[node].append((info.store, info.key or "", info.version, by))
    done = yield from ask_known(state, "forbid", asked)
    return (yield from silent(state, asked.keys() - done.keys()))


def drop(state: State, holdings: Iterable[tuple[Holding, Name | None]]) -> Conversation[list[str]]:
    """Delete files, and their names with them; returns the nodes that live and did not confirm."""
    by_node: dict[str, list[tuple[str, Name | None]]] = defaultdict(list)
    for holding, name in holdings:
        by_node[holding.node].append((holding.array_id, name))
    done = yield from ask_known(state, "drop", by_node)
    return (yield from silent(state, by_node.keys() - done.keys()))


def drop_for_good(state: State, holdings: Iterable[tuple[Holding, Name | None]]) -> Conversation[list[str]]:
    """Delete files of arrays that must never be current again. A node that does not confirm is asked each second."""
    unwanted = list(holdings)
    for holding, name in unwanted:
        state.want_no_more(holding, name)
    silent = yield from drop(state, unwanted)
    for holding, _ in unwanted:
        if holding.node not in silent:
            state.has_gone(holding)
    return silent


def finish(state: State, node: str, array_ids: list[str]) -> Conversation[list[bool]]:
    """Have a node seal those of these arrays that are drafts; whether each is sealed then.

    One that is not may come all the same. If the shelf has a later epoch than the catalog knew as it asked, its draft
    stays, and is sealed under that epoch. A caller that is to know whether it is gone asks for that: see `lack`.

    Raises
    ------
    StoreUnavailable
        The node lives, and does not answer.
    """
    if not array_ids:
        return []
    epoch = state.epochs.get(node, 0)
    answers = yield from ask({node: Call.of("finish", array_ids, epoch)} if state.has_keeper(node) else {})
    if node not in answers and (yield from silent(state, [node])):
        raise StoreUnavailable(f"node {node} did not say which arrays it has: its keeper does not answer")
    sealed: list[bool] = answers.get(node, [False] * len(array_ids))  # no answer: the node died, and seals nothing
    return sealed


def finish_each(state: State, by_node: Mapping[str, list[str]]) -> Conversation[list[str]]:
    """Have nodes seal those of their arrays that are drafts; those that are sealed then, as far as nodes answer.

    If a shelf gets another epoch meanwhile, its node is asked again about drafts that are still listed.
    """
    sealed = list[str]()
    while nodes := sorted(filter(state.has_keeper, by_node)):
        epochs = {node: state.epochs.get(node, 0) for node in nodes}
        answers = yield from ask({node: Call.of("finish", by_node[node], epochs[node]) for node in nodes})
        again: dict[str, list[str]] = defaultdict(list)
        for node, done in answers.items():
            sealed += itertools.compress(by_node[node], done)
            if state.epochs.get(node, 0) != epochs[node]:
                drafts = itertools.compress(by_node[node], (not is_sealed for is_sealed in done))
                for array_id in filter(state.index.lists, drafts):
                    again[state.index.home(array_id)].append(array_id)  # it may have moved
        by_node = again
    return sealed


def keep(state: State, by_node: dict[str, list[ArrayInfo]]) -> Conversation[list[tuple[str, ArrayInfo]]]:
    """Have nodes keep arrays that they have cached; returns node and array of each that is kept then.

    An answer is passed over if the shelf got another epoch meanwhile, or was removed: it may speak of what was there
    before. So is one about an array that the node may drop since. The array may be kept there all the same.
    """
    ids = {node: [info.id for info in by_node[node]] for node in sorted(by_node) if node in state.known}
    before = {node: (state.epochs.get(node), state.leavings[node]) for node in ids}
    asked = [(node, array_id) for node, some in ids.items() for array_id in some]
    with state.under_way.keeping.about(asked) as count_still:
        answers = yield from ask({node: Call.of("keep", some) for node, some in ids.items()})
        return [
            (node, info)
            for node, kept in answers.items()
            if (state.epochs.get(node), state.leavings[node]) == before[node]
            for info, is_kept in zip(by_node[node], kept, strict=True)
            if is_kept and (node, info.id) in count_still
        ]


def lack(state: State, by_node: Mapping[str, list[str]]) -> Conversation[list[tuple[str, str]]]:
    """Ask nodes whether they lack arrays; node and array of each that is not there, and does not come meanwhile.

    A copy is joined after its draft was made. So a node that has neither, and joins none until it has answered, has no
    copy.
    """
    asked = [(node, array_id) for node, some in by_node.items() for array_id in some]
    with state.under_way.lacking.about(asked) as count_still:
        answers = yield from ask_known(state, "lacks", by_node)
        return [
            (node, array_id)
            for node, lacks in answers.items()
            for array_id in itertools.compress(by_node[node], lacks)
            if (node, array_id) in count_still
        ]


def have(state: State, array_id: str, nodes: Iterable[str]) -> Conversation[dict[str, bool]]:
    """Whether each of these nodes has an array now; nodes that do not answer are left out."""
    answers = yield from ask_known(state, "holds", {node: [array_id] for node in nodes})
    return {node: is_there for node, (is_there,) in answers.items()}


def holding_nodes(state: State, array_id: str, nodes: Iterable[str]) -> Conversation[list[str]]:
    """The nodes, of these, that have an array now."""
    has = yield from have(state, array_id, nodes)
    return sorted(node for node, is_there in has.items() if is_there)


def unknown_keepers(state: State) -> Conversation[list[str]]:
    """Nodes with a keeper whose shelf is not listed: the keeper started after this catalog, and had no put by key."""
    nodes = yield ListKeepers()
    return [node for node in nodes if node not in state.epochs]
