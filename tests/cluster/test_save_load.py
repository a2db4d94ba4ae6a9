"""Saving and loading from tasks of Ray. tests/nodes/test_save_load.py has what can be tried without Ray."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import ray

import outlive


def test_a_task_saves_and_loads(store: outlive.Store, tmp_path: Path) -> None:
    store["a"] = np.ones(3)

    @ray.remote
    def both(store: outlive.Store) -> int:
        store.save(tmp_path)
        return outlive.load(tmp_path, store="other").arrays

    assert ray.get(both.remote(store)) == 1
    assert outlive.open("other")["a"].tolist() == [1, 1, 1]
    outlive.open("other").clear()
