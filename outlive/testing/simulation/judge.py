"""The judge: it checks the files, the catalog and the reads of clients at the end of a schedule."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from outlive.arrays.layout import is_cached, is_id, kind_of
from outlive.arrays.lifetimes import JOB, SCOPE, TTL
from outlive.arrays.marks import deadline_of, mode_of
from outlive.arrays.segment import pages
from outlive.arrays.shelf import Shelf
from outlive.testing.history import History, Operation
from outlive.testing.simulation.machines import EPOCH
from outlive.testing.simulation.peers import keeper_name

if TYPE_CHECKING:
    from outlive.arrays.disk import Disk
    from outlive.arrays.info import ArrayInfo
    from outlive.catalog.index import Index
    from outlive.testing.simulation.actors import PlayedCatalog
    from outlive.testing.simulation.played import PlayedCluster

_ROUNDS = 60.0  # seconds within which a keeper has made its rounds
_ROUNDS_ENOUGH = 2  # rounds in which a keeper ends all that was over when it started
Holders = dict[str, dict[str, bool]]  # by array, by node: whether the copy there is kept, not cached


def judge(cluster: PlayedCluster) -> list[str]:
    """All violations; empty if there are none."""
    found = list(cluster.violations)
    found += [str(one) for one in History(cluster.history).check()]
    found += _torn(cluster)
    if not found:
        found += [f"node {name} is dead, and its shelf is not adopted" for name in cluster.restarts.left_behind()]
        found += _at_the_end(cluster)
    return found


# --- what clients saw


def _torn(cluster: PlayedCluster) -> Iterator[str]:
    """Check that clients read all arrays of a `put_many` or none."""
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
    """Whether the value of `read` was put before `put` began."""
    return any(
        one.kind == "put"
        and (one.key, one.value) == (read.key, read.value)
        and one.returned is not None
        and one.returned < put.invoked
        for one in history
    )


# --- what is left


def _at_the_end(cluster: PlayedCluster) -> Iterator[str]:
    """Check that no draft, orphan or uncounted byte is left, and that the catalog knows all arrays."""
    catalog: PlayedCatalog | None = cluster.catalog
    if catalog is None:
        yield "there is no catalog"
        return
    there: Holders = {}
    keyless: dict[str, ArrayInfo] = {}
    slowest = min(machine.clock for machine in cluster.machines.values())
    for name, machine in cluster.machines.items():
        if machine.alive and os.path.exists(f"{machine.path}/ledger"):
            shelf = Shelf(machine.path)
            if keeper_name(name) in cluster.network.actors or name in catalog.state.shelves:  # else it has no keeper
                yield from _shelf(name, shelf)
            for array_id in shelf.ids():
                there.setdefault(array_id, {})[name] = not is_cached(mode_of(shelf, array_id))
            if _is_tended(cluster, name):  # otherwise no caller has started a keeper there
                yield from _outlived(name, shelf, EPOCH + cluster.scheduler.now + slowest)
            keyless |= {info.id: info for info in shelf.scan() if info.key is None}
    alive = _with_room(cluster)
    known = {one: _known(cluster, one, nodes) for one, nodes in there.items()}
    yield from _arrays(catalog.index, {one: nodes for one, nodes in there.items() if one not in keyless}, known)
    yield from _keys(catalog, there, alive)
    deleted, returned = _deleted(cluster), {one.handle.id for one in cluster.handles.all()}
    for array_id, info in sorted(keyless.items()):
        if array_id in deleted:
            yield f"array {array_id} without a key was deleted, and is on {there[array_id]}"
        # Clocks differ, so an array with a time to live may end on one node alone and be copied there again. The
        # catalog may not know of an array whose put was cut short.
        if not info.ttl and array_id in returned:
            yield from _without_key(catalog, info, there[array_id], known[array_id], alive)


def _with_room(cluster: PlayedCluster) -> set[str]:
    """The machines that can keep replicas: none for sure if shelves are small enough to spill, as they may be full."""
    if cluster.plan.memory:
        return set()
    return {name for name, machine in cluster.machines.items() if machine.alive and not machine.draining}


def _is_tended(cluster: PlayedCluster, name: str) -> bool:
    actor = cluster.network.actors.get(keeper_name(name))
    return actor is not None and actor.target is not None and actor.target.rounds() > _ROUNDS_ENOUGH


def _deleted(cluster: PlayedCluster) -> set[str]:
    """Arrays without a key that somebody has deleted."""
    registers = {one.key for one in cluster.history if one.kind == "delete" and one.outcome == "done"}
    return {known.handle.id for known in cluster.handles.all() if known.register in registers}


def _without_key(
    catalog: PlayedCatalog, info: ArrayInfo, nodes: dict[str, bool], known: dict[str, bool], alive: set[str]
) -> Iterator[str]:
    """Check that the catalog knows the nodes of an array that is on several nodes, or should be."""
    kept = {node for node, is_kept in nodes.items() if is_kept}
    if known != nodes and (known or len(nodes) > 1 or info.replicas > 1):
        yield f"array {info.id} without a key is on {nodes}, and the catalog says {known}"
    if not kept:
        yield f"array {info.id} without a key is kept nowhere: {nodes}"
    if len(kept) < _as_many(catalog, info, kept, alive):
        yield f"array {info.id} without a key is kept on {sorted(kept)}, and should be on {info.replicas}"


def _as_many(catalog: PlayedCatalog, info: ArrayInfo, kept: set[str], alive: set[str]) -> int:
    """The number of nodes that should keep an array, at most as many as there are."""
    return min(info.replicas, len(alive - catalog.left_nodes | kept))


def _known(cluster: PlayedCluster, array_id: str, nodes: dict[str, bool]) -> dict[str, bool]:
    """The catalog's record of an array on these nodes, without evicted cached copies: it is not told of these."""
    known = cluster.catalog.index.holders(array_id)
    return {node: kept for node, kept in known.items() if kept or node in nodes or not cluster.plan.memory}


def _arrays(index: Index, there: Holders, known: Holders) -> Iterator[str]:
    for array_id, nodes in sorted(there.items()):
        if not index.lists(array_id):
            yield f"array {array_id} on {sorted(nodes)} is an orphan: the catalog does not list it"
        elif known[array_id] != nodes:
            yield f"array {array_id} is on {nodes}, and the catalog says {known[array_id]}"
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
        if len(kept) < _as_many(catalog, entry.info, kept, alive):
            yield f"key {key!r} is kept on {sorted(kept)}, and should be on {entry.info.replicas} of {sorted(alive)}"


def _outlived(name: str, shelf: Shelf, now: float) -> Iterator[str]:
    """Check that all lifetimes have ended. No client lives any more, and no scope is open."""
    for array_id in shelf.ids():
        kind = kind_of(array_id)
        if kind & (JOB | SCOPE):
            yield f"node {name}: array {array_id} has outlived its {'job' if kind & JOB else 'scope'}"
        elif kind & TTL and now > deadline_of(shelf, array_id) / 1e9 + _ROUNDS:
            yield f"node {name}: array {array_id} has outlived its time to live"


def _shelf(name: str, shelf: Shelf) -> Iterator[str]:
    for folder in os.listdir(shelf.new):
        for draft in os.listdir(f"{shelf.new}/{folder}"):
            yield f"node {name}: {folder}/{draft} is left in new/"
    for file in os.listdir(shelf.mem):
        if not is_id(file):
            yield f"node {name}: {file} is no array"
    if (used := _used(shelf)) != shelf.ledger.used:
        yield f"node {name}: the ledger says {shelf.ledger.used} bytes, the files take {used}"
    yield from _on_disk(name, shelf)
    if shelf.ledger.batches:
        yield f"node {name}: {shelf.ledger.batches} batches are under way"


def _on_disk(name: str, shelf: Shelf) -> Iterator[str]:
    if (disk := shelf.disk) is not None:
        for folder in os.listdir(disk.new):
            for draft in os.listdir(f"{disk.new}/{folder}"):
                yield f"node {name}: {folder}/{draft} is left on disk"
        if (used := _used(disk)) != shelf.ledger.disk.used:
            yield f"node {name}: the ledger says {shelf.ledger.disk.used} bytes on disk, the files take {used}"


def _used(shelf: Shelf | Disk) -> int:
    sealed = sum(pages(os.lstat(f"{shelf.mem}/{file}").st_size) for file in os.listdir(shelf.mem))
    return sealed + sum(pages(int(file.partition(".")[0])) for file in os.listdir(shelf.pool.folder))


# --- at any moment


def check_ledgers(cluster: PlayedCluster) -> Iterator[str]:
    """Check the ledgers between two steps. This is slow, so it is done only while a trace is written."""
    for name, machine in cluster.machines.items():
        if machine.alive and os.path.exists(f"{machine.path}/ledger"):  # a dead node's ledger counts no adopted bytes
            shelf = Shelf(machine.path)
            used = _used(shelf) + sum(
                pages(os.lstat(f"{shelf.new}/{folder}/{draft}").st_size)
                for folder in os.listdir(shelf.new)
                for draft in os.listdir(f"{shelf.new}/{folder}")
                if is_id(draft.removesuffix(".copy"))
            )
            if used != shelf.ledger.used:
                yield f"node {name}: the ledger says {shelf.ledger.used} bytes, the files take {used}"
