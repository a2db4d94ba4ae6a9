"""What must be so at the end of a schedule, on the files, in the catalog and in what clients saw."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from outlive.arrays.layout import is_cached, is_id
from outlive.arrays.marks import mode_of
from outlive.arrays.segment import pages
from outlive.arrays.shelf import Shelf
from outlive.testing.history import History, Operation

if TYPE_CHECKING:
    from outlive.catalog.index import Index
    from outlive.testing.simulation.actors import PlayedCatalog
    from outlive.testing.simulation.cluster import Cluster

Holders = dict[str, dict[str, bool]]  # by array, by node: whether it is kept there, or cached


def judge(cluster: Cluster) -> list[str]:
    """What is violated; empty if nothing is."""
    found = list(cluster.violations)
    found += [str(one) for one in History(cluster.history).check()]
    found += _torn(cluster)
    if not found:
        found += _at_the_end(cluster)
    return found


# --- what clients saw


def _torn(cluster: Cluster) -> Iterator[str]:
    """Of what a `put_many` stored, all is read or nothing."""
    history = cluster.history
    whole = {history[number].value: numbers for numbers in cluster.batches for number in numbers}
    for numbers in cluster.seen_together:
        seen = {history[number].key: history[number] for number in numbers}
        for one in seen.values():
            for put in (history[number] for number in whole.get(one.value, ())):
                other = seen.get(put.key, put)
                if other.value != put.value and _is_older(history, other, put):
                    yield f"a batch is torn: {one} but {other}"


def _is_older(history: list[Operation], read: Operation, put: Operation) -> bool:
    """Whether what was read had been put before `put` began."""
    return any(
        one.kind == "put"
        and (one.key, one.value) == (read.key, read.value)
        and one.returned is not None
        and one.returned < put.invoked
        for one in history
    )


# --- what is left


def _at_the_end(cluster: Cluster) -> Iterator[str]:
    """No draft, no orphan, no byte is left that nobody counts, and the catalog knows what there is."""
    catalog = cluster.catalog
    if catalog is None:
        yield "there is no catalog"
        return
    there: Holders = {}
    for name, machine in cluster.machines.items():
        if machine.alive and os.path.exists(f"{machine.path}/ledger"):
            shelf = Shelf(machine.path)
            yield from _shelf(name, shelf)
            for array_id in shelf.ids():
                there.setdefault(array_id, {})[name] = not is_cached(mode_of(shelf, array_id))
    yield from _arrays(catalog.index, there)
    yield from _keys(catalog, there, {name for name, machine in cluster.machines.items() if machine.alive})


def _arrays(index: Index, there: Holders) -> Iterator[str]:
    for array_id, nodes in sorted(there.items()):
        known = dict(index.holders(array_id))
        if not index.lists(array_id):
            yield f"array {array_id} on {sorted(nodes)} is nobody's: the catalog does not list it"
        elif known != nodes:
            yield f"array {array_id} is on {nodes}, and the catalog says {known}"
        if not any(nodes.values()):
            yield f"array {array_id} is kept nowhere: {nodes}"


def _keys(catalog: PlayedCatalog, there: Holders, alive: set[str]) -> Iterator[str]:
    for entry in catalog.index.all_entries():
        key, nodes = entry.info.key, there.get(entry.info.id, {})
        kept = {node for node, is_kept in nodes.items() if is_kept}
        if not nodes:
            yield f"key {key!r} is listed, and its array {entry.info.id} is nowhere"
        if entry.superseded:
            yield f"key {key!r} still supersedes {entry.superseded}"
        able = alive - catalog.left_nodes | kept
        if len(kept) < min(entry.info.replicas, len(able)):
            yield f"key {key!r} is kept on {sorted(kept)}, and shall be on {entry.info.replicas} of {sorted(able)}"


def _shelf(name: str, shelf: Shelf) -> Iterator[str]:
    for folder in os.listdir(shelf.new):
        for draft in os.listdir(f"{shelf.new}/{folder}"):
            yield f"node {name}: {folder}/{draft} is left in new/"
    for file in os.listdir(shelf.mem):
        if not is_id(file):
            yield f"node {name}: {file} is no array"
    if (used := _used(shelf)) != shelf.ledger.used:
        yield f"node {name}: the ledger says {shelf.ledger.used} bytes, the files take {used}"
    if shelf.ledger.batches:
        yield f"node {name}: {shelf.ledger.batches} batches are under way"


def _used(shelf: Shelf) -> int:
    sealed = sum(pages(os.lstat(f"{shelf.mem}/{file}").st_size) for file in os.listdir(shelf.mem))
    return sealed + sum(pages(int(file.partition(".")[0])) for file in os.listdir(shelf.pool.folder))


# --- at any moment


def check_ledgers(cluster: Cluster) -> Iterator[str]:
    """Between two steps of a world whose events are written down: else it would take most of the time."""
    for name, machine in cluster.machines.items():
        if os.path.exists(f"{machine.path}/ledger"):
            shelf = Shelf(machine.path)
            used = _used(shelf) + sum(
                pages(os.lstat(f"{shelf.new}/{folder}/{draft}").st_size)
                for folder in os.listdir(shelf.new)
                for draft in os.listdir(f"{shelf.new}/{folder}")
                if is_id(draft.removesuffix(".copy"))
            )
            if used != shelf.ledger.used:
                yield f"node {name}: the ledger says {shelf.ledger.used} bytes, the files take {used}"
