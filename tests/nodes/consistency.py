"""A client that puts, overwrites, deletes and reads a few keys at random, and writes down what it saw.

Not imported by workers, but sent to them by value: it must not import tests/conftest.py.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections import deque
from typing import Any

import numpy as np
from ray.exceptions import RayError

import outlive
from outlive.testing.history import Recorder

KEYS = ["a", "b/c", "d", "e"]
_KINDS = {"get": 8, "get_many": 2, "put": 6, "put_many": 1, "delete": 2}
_ITEMS = 500, 25_000  # of 8 bytes: some are copied when they are read, some are mapped, some are recycled
_THINKS = 0.004  # seconds at most, between two operations: else reads would be nearly all there is
_HOLDS = 3  # arrays it has read and looks at again later


def client(store: outlive.Store, name: str, number: int, seed: int, folder: str, options: dict[str, Any]) -> None:
    """Work until there is a file named stop."""
    worker = _Client(store, name, number, seed, folder, options)
    while not os.path.exists(f"{folder}/stop"):
        worker.do_something()


class _Client:
    def __init__(
        self, store: outlive.Store, name: str, number: int, seed: int, folder: str, options: dict[str, Any]
    ) -> None:
        self.store, self.options, self.rng = store, options, random.Random(seed)
        self.recorder = Recorder(f"{folder}/{name}.jsonl", name)
        self.value = number * 10**8  # no other client puts the same
        self.held: deque[tuple[Any, int]] = deque(maxlen=_HOLDS)

    def do_something(self) -> None:
        kind = self.rng.choices(list(_KINDS), list(_KINDS.values()))[0]
        keys = self.rng.sample(KEYS, 2 if kind.endswith("many") else 1)
        recorded = kind.removesuffix("_many")
        values = [self._new_value() if recorded == "put" else None for _ in keys]
        arrays = [np.full(self.rng.randint(*_ITEMS), value) for value in values if value is not None]
        numbers = [self.recorder.invoke(recorded, key, value) for key, value in zip(keys, values, strict=True)]
        try:
            seen = getattr(self, kind)(keys, arrays)
        except (ConnectionError, RayError, _Unclear):  # it may have taken effect, or may yet
            for one in numbers:
                self.recorder.respond(one, outcome="unknown")
        except outlive.ArrayLost:
            # With its node, before it had its replicas and its put returned: what does return, test_chaos looks after.
            if not self.options:
                raise
            for one in numbers:
                self.recorder.respond(one, outcome="unknown")
        else:
            for one, array in zip(numbers, seen, strict=True):
                self.recorder.respond(one, None if array is None else int(array[0]))
            for key, array in zip(keys, seen, strict=True):
                self._look(key, array)
        if self.held:
            self._unchanged(*self.rng.choice(self.held))
        time.sleep(self.rng.uniform(0, _THINKS))

    def _new_value(self) -> int:
        self.value += 1
        return self.value

    def _look(self, key: str, array: Any) -> None:
        if array is not None:
            assert (array == array[0]).all(), f"torn read of {key!r}: {np.unique(array)}"
            self.held.append((array, int(array[0])))

    def _unchanged(self, array: Any, value: int) -> None:
        assert (array == value).all(), f"an array that held {value} when it was read holds {np.unique(array)} now"

    # --- what it does; each returns what it saw, of each key

    def put(self, keys: list[str], arrays: list[Any]) -> list[None]:
        self.store.put(arrays[0], keys[0], **self.options)
        return [None]

    def put_many(self, keys: list[str], arrays: list[Any]) -> list[None]:
        self.store.put_many(dict(zip(keys, arrays, strict=True)), **self.options)
        return [None] * len(keys)

    def delete(self, keys: list[str], arrays: list[Any]) -> list[None]:
        with contextlib.suppress(outlive.ArrayNotFound):  # nobody put it, or Ray repeated the call
            self.store.delete(keys[0])
        return [None]

    def get(self, keys: list[str], arrays: list[Any]) -> list[Any]:
        return [self.store.get(keys[0])]

    def get_many(self, keys: list[str], arrays: list[Any]) -> list[Any]:
        try:
            found = self.store.get_many(keys)
        except outlive.ArrayNotFound as error:
            raise _Unclear from error  # one of them
        return [found[key] for key in keys]


class _Unclear(Exception):
    """It says nothing of each key."""


def read_all(store: outlive.Store, name: str, folder: str) -> None:
    """Read every key once, at the end."""
    recorder = Recorder(f"{folder}/{name}.jsonl", name)
    for key in KEYS:
        number = recorder.invoke("get", key)
        array = store.get(key)
        recorder.respond(number, None if array is None else int(array[0]))
