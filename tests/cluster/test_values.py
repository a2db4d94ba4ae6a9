"""Any value through a real cluster: from process to process."""

from __future__ import annotations

import collections
from typing import Any

import numpy as np
import pytest
import ray

import outlive
from tests.values.classes_of_data import assert_scan, scan


@ray.remote
def reads(handle: outlive.ArrayHandle) -> Any:
    found, again = handle.get(), handle.get()
    assert np.shares_memory(found.image["image"], again.image["image"])  # both are the one map
    assert_scan(found)
    return outlive.open(handle.store).put(found)  # and on from there


def test_a_value_goes_from_process_to_process(store: outlive.Store) -> None:
    assert_scan(ray.get(reads.remote(store.put(scan(), key="scan"))).get())
    assert_scan(store["scan"])
    strict = outlive.open(store.name, pickle=False)
    with strict.scope() as tmp, pytest.raises(outlive.PickleRefused):
        tmp["x"] = len
    actor = ray.remote(collections.Counter).options(num_cpus=0).remote()
    for value in (ray.put(1), [ray.put(1)], {"a": actor}, actor):
        with pytest.raises(outlive.UnsupportedArray, match="cannot be stored: Ray"):
            store.put(value)
