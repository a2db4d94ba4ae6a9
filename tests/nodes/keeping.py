"""A client that puts arrays, and writes down each whose put returned: from then on it must not be lost.

Not imported by workers, but sent to them by value: it must not import tests/conftest.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import random
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ray.exceptions import RayError

import outlive

_KEEPS = 12  # arrays a client has at a time; then it deletes one for each that it puts
_BYTES = [100, 40_000, 300_000, 3_000_000]  # at most; the largest are spilled first
_PAUSE = 0.02  # seconds at most


class Kept(NamedTuple):
    """An array whose put returned, and from what it can be made again."""

    seed: int
    nbytes: int
    handle: outlive.ArrayHandle
    key: str | None


def make(seed: int, nbytes: int) -> Any:
    """The same bytes each time."""
    return np.random.default_rng(seed).integers(0, 256, nbytes, np.uint8)


def writer(store: outlive.Store, name: str, number: int, seed: int, folder: str, options: dict[str, Any]) -> None:
    """Put, and delete, until there is a file named stop."""
    rng, kept = random.Random(seed), list[Kept]()
    warnings.simplefilter("error", outlive.FewerReplicas)  # of such a put nothing is promised: a keeper was slow
    with open(f"{folder}/{name}.jsonl", "ab", buffering=0) as file:
        while not os.path.exists(f"{folder}/stop"):
            if len(kept) >= _KEEPS:
                one = kept.pop(rng.randrange(len(kept)))
                file.write(json.dumps({"deleting": one.seed}).encode() + b"\n")
                with contextlib.suppress(ConnectionError, RayError, outlive.ArrayNotFound):  # or Ray repeated the call
                    store.delete(one.key or one.handle)
            seed, nbytes = rng.getrandbits(62), rng.randint(0, rng.choice(_BYTES))
            key = rng.choice([None, f"{name}/{seed}"])
            try:
                handle = store.put(make(seed, nbytes), key, lifetime=rng.choice(["job", "detached"]), **options)
            except (ConnectionError, RayError, outlive.FewerReplicas):  # nothing is promised
                continue
            kept.append(Kept(seed, nbytes, handle, key))
            event = {"put": seed, "nbytes": nbytes, "handle": pickle.dumps(handle).hex(), "key": key}
            file.write(json.dumps(event).encode() + b"\n")
            one = rng.choice(kept)
            assert np.array_equal(one.handle.get(), make(one.seed, one.nbytes)), f"{one} is another array now"
            time.sleep(rng.uniform(0, _PAUSE))


def promised(paths: Iterable[Path]) -> list[Kept]:
    """The arrays that must be there: all puts that returned, but for those that somebody began to delete."""
    kept: dict[int, Kept] = {}
    deleted: set[int] = set()
    for path in paths:
        for line in path.read_text().splitlines():
            event = json.loads(line)
            if "put" in event:
                handle = pickle.loads(bytes.fromhex(event["handle"]))
                kept[event["put"]] = Kept(event["put"], event["nbytes"], handle, event["key"])
            else:
                deleted.add(event["deleting"])
    return [one for seed, one in kept.items() if seed not in deleted]


def lost(store: outlive.Store, some: list[Kept]) -> list[str]:
    """Which of these are not there, bit for bit, seen from the node where this runs."""
    wrong = []
    for one in some:
        try:
            found = [one.handle.get(), *([] if one.key is None else [store[one.key]])]
        except (outlive.OutliveError, RayError) as error:
            wrong.append(f"{one}: {type(error).__name__}: {error}")
        else:
            wrong += [f"{one}: other bytes" for array in found if not np.array_equal(array, make(one.seed, one.nbytes))]
    return wrong
