"""The conformance suite, against a store in one process."""

from __future__ import annotations

from pathlib import Path

import pytest

from outlive.arrays.shelf import Shelf
from outlive.testing.conformance import StoreTests

from .local_store import LocalStore


class TestLocalStore(StoreTests):
    @pytest.fixture
    def store(self, root: Path) -> LocalStore:
        return LocalStore(Shelf(str(root / "shelf"), budget=256 << 20))
