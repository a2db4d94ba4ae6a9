"""The page about stores without Ray does what it says."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

import outlive


def test_page(root, monkeypatch):
    pytest.importorskip("dask.array")
    import dask

    monkeypatch.setenv("OUTLIVE_ROOT", root)
    page = Path(__file__).parents[2] / "docs/howto/without-ray.md"
    with dask.config.set(num_workers=1):  # one process of dask that imports it, which takes over a second
        result = doctest.testfile(str(page), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert result.attempted > 6 and result.failed == 0
    assert outlive.shutdown(local=True) > 8_000_000
