"""Overwritten arrays whose node dies before the later ones are sealed: they count if the later puts come to nothing."""

from __future__ import annotations

from collections.abc import Iterator

from outlive.arrays.info import ArrayInfo
from outlive.catalog.index import Entry, Holding, Replacement
from outlive.catalog.losses import Lost
from outlive.catalog.state import State


def cached_elsewhere(state: State, node: str) -> Iterator[tuple[ArrayInfo, list[str]]]:
    """The overwritten arrays that no living node but this keeps, and that others have cached: each with those nodes."""
    for _, info, others in _kept_only_on(state, node):
        if others:
            yield info, others


def keep(state: State, info: ArrayInfo, node: str) -> None:
    """Note that a node keeps an overwritten array that it had cached."""
    for holding, (store, key) in state.index.superseded({info.id}):
        entry = state.index.find(store, key)
        if entry is not None and holding.node == node:
            del entry.superseded[holding]  # a dict keeps the key that is there
            kept = Holding(info.id, node, info)
            entry.superseded[kept] = kept


def lose(state: State, node: str, at: float) -> None:
    """Note that a dead node took the only files of overwritten arrays along.

    If the put over such an array comes to nothing, the array is lost, and earlier ones of its key stay gone.
    """
    for entry, info, others in list(_kept_only_on(state, node)):
        name = info.store, info.key or ""
        before = state.beneath.get(name)
        is_latest = before is None or before.info.version < info.version
        if is_latest and not others and (state.may_be_shown(info) or not _has_earlier(entry, info, node)):
            state.beneath[name] = Lost(info, node, at)
            state.replaced.append(Replacement(Holding(info.id, node), _file(entry), *name))  # until that is sealed


def _kept_only_on(state: State, node: str) -> Iterator[tuple[Entry, ArrayInfo, list[str]]]:
    """The overwritten arrays that no living node but this keeps: the later array, this array, who has it cached."""
    for _, _, entry in state.index.replacing():
        for file in entry.superseded:
            others = [one for one in entry.superseded if one.array_id == file.array_id and one.node != node]
            living = [one for one in others if state.is_alive(one.node)]
            if file.node == node and file.kept and file.info is not None and not any(one.kept for one in living):
                yield entry, file.info, [one.node for one in living]


def _has_earlier(entry: Entry, info: ArrayInfo, node: str) -> bool:
    """Whether another node has an earlier array of the key, which would stand if nobody was shown this one."""
    return any(one.node != node and (one.info is None or one.info.version < info.version) for one in entry.superseded)


def _file(entry: Entry) -> Holding:
    return Holding(entry.info.id, entry.node, entry.info)
