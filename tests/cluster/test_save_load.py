"""Saving and loading from tasks of Ray. tests/nodes/test_save_load.py has what can be tried without Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

import outlive
from outlive.cluster import actors
from tests.conftest import eventually


def test_a_task_saves_and_loads(store: outlive.Store, tmp_path: Path) -> None:
    store["a"] = np.ones(3)

    @ray.remote
    def both(store: outlive.Store) -> int:
        store.save(tmp_path)
        return outlive.load(tmp_path, store="other").arrays

    assert ray.get(both.remote(store)) == 1
    assert outlive.open("other")["a"].tolist() == [1, 1, 1]
    outlive.open("other").clear()


def test_a_mirror_saves_whatever_becomes_of_it(store: outlive.Store, tmp_path: Path) -> None:
    """It is killed, changed and stopped; a worker that started it is gone."""
    store["a"] = np.ones(3)

    @ray.remote(max_calls=1)
    def begin(store: outlive.Store) -> object:
        return store.mirror(tmp_path / "m", every="1s")

    mirror: Any = ray.get(begin.remote(store))
    eventually(lambda: mirror.status().saved_at is not None)
    store["b"] = np.ones(3)
    eventually(lambda: '"b"' in (tmp_path / "m" / "manifest.json").read_text())
    (name,) = actors.mirrors()
    ray.kill(actors.find(name), no_restart=False)
    store["c"] = np.ones(3)
    eventually(lambda: '"c"' in (tmp_path / "m" / "manifest.json").read_text())
    slower = store.mirror(tmp_path / "m", every="1h")
    assert [repr(one) for one in store.mirrors()] == [repr(slower)]
    assert slower.status().every == 3600
    (tmp_path / "m" / "manifest.json").write_text("no manifest")
    assert "CorruptArchive" in str(slower.save().failed)
    (tmp_path / "m" / "manifest.json").unlink()
    slower.stop()
    eventually(lambda: not store.mirrors())
    store.clear()
    assert store.load(tmp_path / "m").arrays == 3
    with pytest.raises(outlive.StoreUnavailable, match="no mirror"):
        slower.status()
