"""Steps in any order on a cluster that is played: what was put is read, what was deleted is not, and nothing is left.

`OUTLIVE_GAMES=1000` plays so many games, and `OUTLIVE_SEED=7` plays one again. None is played by default: one in two
hundred still fails, of a node that is stopped for long.
"""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from outlive import lookup
from outlive.arrays.info import ArrayInfo
from outlive.arrays.marks import evict, is_only_here
from outlive.cluster import actors
from outlive.cluster.evacuation import Evacuation
from outlive.cluster.wire import pack
from outlive.errors import ArrayNotFound, StoreUnavailable
from outlive.lookup import by_handle
from tests.conftest import ROOT
from tests.nodes.played import PlayedCluster, PlayedSession, play

KEYS, NODES = ["k0", "k1", "k2"], "abc"
STEPS = 60
GAMES = int(os.environ.get("OUTLIVE_GAMES", "0"))


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedCluster]:
    root = f"{ROOT}/random-{secrets.token_hex(4)}"
    Path(root).mkdir(mode=0o700, parents=True)
    monkeypatch.setattr(actors, "adopt_on", lambda node: None)
    monkeypatch.setattr(PlayedSession, "stands", lambda self: True)
    yield from play(root, len(NODES), monkeypatch)


class Player:
    """Takes steps at random, and knows what may be read. A call that fails may have taken effect, or may yet."""

    def __init__(self, cluster: PlayedCluster, seed: int) -> None:
        self.cluster, self.rng, self.value = cluster, random.Random(seed), 0
        self.possible: dict[str, set[int | None]] = {key: {None} for key in KEYS}
        self.unkeyed: list[tuple[ArrayInfo, str, set[bool]]] = []  # where it was put, and whether it may be there
        self.held: list[Any] = []  # what the processes of all nodes look at
        self.steps: dict[Callable[[str, str], object], float] = {
            self.put: 6,
            self.get: 12,
            self.delete: 3,
            self.put_without_key: 2,
            self.get_without_key: 3,
            self.delete_without_key: 1,
            self.evict: 3,
            self.evacuate: 2,
            self.check: 1,
            lambda *_: cluster.restart_catalog(): 1.5,
            lambda node, _: cluster.replace_keeper(node): 1,
            lambda node, _: cluster.frozen or cluster.frozen.add(node): 1,
            lambda *_: cluster.frozen.clear(): 1,
            lambda *_: cluster.catalog._mend(): 2,
            lambda *_: self.drop_replaced(): 3,
            lambda *_: cluster.catalog._finish_deletions(): 1,
        }

    def step(self) -> None:
        (work,) = self.rng.choices(list(self.steps), list(self.steps.values()))
        node, key = self.rng.choice(NODES), self.rng.choice(KEYS)
        if node not in self.cluster.frozen:  # no process goes on there
            work(node, key)

    def put(self, node: str, key: str) -> None:
        self.value += 1
        try:
            self.cluster.put(node, key, self.value, self.rng.choice([5, 20_000]), self.rng.choice([1, 1, 2]))
            self.possible[key] = {self.value}
        except StoreUnavailable:
            self.possible[key].add(self.value)

    def get(self, node: str, key: str) -> None:
        try:
            array = lookup.read(self.cluster.session(node), "s", key)
        except StoreUnavailable:
            assert self.cluster.frozen or self.cluster.catalog._unlisted
            return
        self.held = [*self.held, array][-self.rng.choice([1, 5]) :]
        assert (None if array is None else int(array[0])) in self.possible[key]

    def delete(self, node: str, key: str) -> None:
        try:
            found = lookup.find(self.cluster.session(node), "s", [key])[0]
            if found is not None and self.cluster.catalog.end([found.info.id]):
                self.possible[key] = {None}
        except StoreUnavailable:
            self.possible[key].add(None)

    def put_without_key(self, node: str, _: str) -> None:
        self.value += 1
        self.unkeyed.append((self.cluster.shelves[node].put(np.full(5, self.value), store="s"), node, {True}))

    def get_without_key(self, node: str, _: str) -> None:
        for info, home, there in self.rng.sample(self.unkeyed, min(1, len(self.unkeyed))):
            try:
                found = bool(by_handle(self.cluster.session(node), info, home).size)
            except ArrayNotFound:
                found = False
            except StoreUnavailable:
                continue
            assert found in there

    def delete_without_key(self, node: str, _: str) -> None:
        shelf = self.cluster.shelves[node]
        for info, home, there in self.rng.sample(self.unkeyed, min(1, len(self.unkeyed))):
            try:
                if is_only_here(shelf, info.id):
                    deleted = shelf.delete(info.id)
                else:
                    deleted = self.cluster.catalog.erase(pack([info]), home)
                assert deleted or False in there
                there.clear()
            except StoreUnavailable:
                pass
            there.add(False)

    def evict(self, node: str, _: str) -> None:
        for array_id in self.cluster.shelves[node].ids():
            evict(self.cluster.shelves[node], array_id)

    def evacuate(self, node: str, _: str) -> None:
        shelf = self.cluster.shelves[node]
        if not self.cluster.frozen:
            Evacuation(shelf, node).evacuate(shelf.ids(), anywhere=True)

    def check(self, node: str, _: str) -> None:
        if not self.cluster.frozen:
            found = pack(info for info in self.cluster.shelves[node].scan() if info.key is not None)
            self.cluster.catalog.reconcile(node, found)

    def drop_replaced(self) -> None:
        catalog = self.cluster.catalog
        while not catalog._replaced.empty():
            one = catalog._replaced.get()
            if not catalog._holds.put_off(one.old.array_id, one):
                catalog._drop_or_again(one.new.node, [one])

    def settle(self) -> None:
        """Everybody goes on, and the catalog does what it does each second."""
        self.cluster.frozen.clear()
        self.held.clear()
        for _ in range(3):
            self.cluster.catalog._mend()
            self.cluster.catalog._look_at_nodes()
            self.drop_replaced()

    def read_everywhere(self) -> dict[str, int | None]:
        read = {key: {self.cluster.get(node, key) for node in NODES} for key in KEYS}
        assert all(len(values) == 1 for values in read.values()), read
        return {key: values.pop() for key, values in read.items()}


@pytest.mark.parametrize("game", range(GAMES))
def test_steps_in_any_order(cluster: PlayedCluster, game: int) -> None:
    seed = int(os.environ.get("OUTLIVE_SEED", "0")) or secrets.randbits(32) + 1
    print(f"OUTLIVE_SEED={seed}")  # shown if it fails
    player = Player(cluster, seed)
    for _ in range(STEPS):
        player.step()
    player.settle()
    read = player.read_everywhere()
    assert all(value in player.possible[key] for key, value in read.items())
    for info, home, there in player.unkeyed:
        for node in NODES:
            try:
                assert by_handle(cluster.session(node), info, home).size and True in there
            except ArrayNotFound:
                assert False in there
    current = {entry.info.id for entry in cluster.catalog._index.all_entries()}
    for shelf in cluster.shelves.values():
        assert set(shelf.ids()) <= current.union(info.id for info, _, _ in player.unkeyed)
        assert shelf.recount() == 0
    cluster.restart_catalog()
    player.settle()
    assert player.read_everywhere() == read
    for entry in cluster.catalog._index.all_entries():
        assert set(cluster.holders(entry.info.id)) <= set(cluster.catalog._index.holders(entry.info.id))
