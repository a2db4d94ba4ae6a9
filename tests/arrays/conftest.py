"""Fixtures: a private root folder, in shared memory where there is one, and a shelf in it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from outlive.arrays.shelf import Shelf

pytest.register_assert_rewrite("outlive.testing.conformance")

MIB = 1 << 20


@pytest.fixture(scope="module")
def module_root() -> Iterator[Path]:
    where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    path = Path(tempfile.mkdtemp(prefix=f"outlive-test-{os.getpid()}-", dir=where))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def root(module_root: Path) -> Iterator[Path]:
    """A folder of the test's own, removed at its end."""
    path = Path(tempfile.mkdtemp(dir=module_root))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def shelf(root: Path) -> Shelf:
    return Shelf(str(root / "shelf"), budget=64 * MIB)
